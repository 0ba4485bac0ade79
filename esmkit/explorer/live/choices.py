"""What can be asked of a live page, and what belongs to the other kind; known before any weights."""

from typing import Any

from esmkit.errors import OptionError

__all__ = ["check_live"]


def check_live(
    live: bool, *, live_bits: int = 16, heads: Any = None, layers: Any = "all", **_other: Any
) -> None:
    """Refuse choices that mean nothing for the kind of page that is asked for.

    Parameters
    ----------
    live : bool
    live_bits, heads, layers
        As in :func:`esmkit.explore`; its other arguments are allowed with either kind.

    Raises
    ------
    OptionError
        If heads or layers are chosen for a live page, or a size of weights for one that has none.
    """
    if live and (heads is not None or not (isinstance(layers, str) and layers == "all")):
        raise OptionError(
            "a live page computes all heads of all layers; leave out `heads` and `layers`"
        )
    if not live and live_bits != 16:
        raise OptionError("`live_bits` is for a live page; add `live`, or leave `live_bits` out")
