"""What can be asked of the attention task. Nothing here needs PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from esmkit.arguments import check_fields, items_of, what_is
from esmkit.encoder.names import head_names, layer_numbers
from esmkit.errors import OptionError
from esmkit.sequences.proteins import OnInvalid
from esmkit.sequences.windows import Long, check_choices
from esmkit.text import did_you_mean

__all__ = ["MAX_OFFSET", "REDUCTIONS", "AttentionOptions", "Reduction", "columns_of"]


Reduction = Literal["entropy", "distance", "special", "offsets"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)


@dataclass(frozen=True)
class AttentionOptions:
    """Which attention maps to extract.

    Attributes
    ----------
    heads : tuple of str, optional
        Names such as ``L5H4``, or ``L5`` for a whole layer; pairs such as ``(5, 4)`` become names.
        Without them ``layers`` count.
    layers : tuple of int, or 'all'
        Attention layers 0..N-1, or negatives from the end.
    dtype : {'float16', 'float32'}
        Precision of the maps in a file.
    reduce : tuple of {'entropy', 'distance', 'special', 'offsets'}
        Summaries to write in place of maps; see :mod:`esmkit.attention.summaries`.
    long : {'window', 'whole', 'truncate', 'error'}
        Sequences over 1,022 residues: overlapping windows, where overlaps are averaged and pairs
        never seen together are NaN; one pass beyond the training length; the first 1,022 residues;
        or an error.
    on_invalid : {'error', 'replace', 'skip', 'degap'}
        Letters that ESM-2 has no token for. After ``degap`` residues are numbered without the gaps.
    batch_tokens : int
        Most tokens in one forward pass; on a CPU at most 1,024; a longer sequence is a
        pass of its own.

    Examples
    --------
    >>> AttentionOptions(heads=["L5H4", (4, 11)]).heads
    ('L5H4', 'L4H11')
    >>> AttentionOptions(dtype="float64")
    Traceback (most recent call last):
        ...
    esmkit.errors.OptionError: dtype is 'float16' or 'float32', not 'float64'
    """

    heads: tuple[str, ...] | None = None
    layers: tuple[int, ...] | Literal["all"] = "all"
    dtype: Literal["float16", "float32"] = "float16"
    reduce: tuple[Reduction, ...] = ()
    long: Long = "window"
    on_invalid: OnInvalid = "error"
    batch_tokens: int = 2_048

    def __post_init__(self) -> None:
        layers = layer_numbers(self.layers)
        object.__setattr__(self, "layers", "all" if layers == "all" else tuple(layers))
        if self.heads is not None:
            object.__setattr__(self, "heads", head_names(self.heads))
        check_choices(self, {"long": Long, "on_invalid": OnInvalid})
        if not isinstance(self.dtype, str) or self.dtype not in ("float16", "float32"):
            raise OptionError(f"dtype is 'float16' or 'float32', not {what_is(self.dtype)}")
        reduce = items_of(self.reduce)
        for name in [self.reduce] if reduce is None else reduce:
            if not isinstance(name, str) or name not in REDUCTIONS:
                meant = did_you_mean(str(name), REDUCTIONS)
                raise OptionError(
                    f"reduce takes {', '.join(REDUCTIONS)}, not {what_is(name)}{meant}"
                )
        object.__setattr__(self, "reduce", (self.reduce,) if reduce is None else tuple(reduce))
        check_fields(self)


MAX_OFFSET = 32
"""Profiles of attention over offsets reach from -32 to 32 residues."""


def columns_of(reduce: Sequence[Reduction]) -> list[str]:
    """Return the columns of reductions, in the order of :data:`REDUCTIONS`.

    >>> columns_of(["special", "entropy"])
    ['entropy', 'bos', 'eos']
    """
    columns = {
        "entropy": ["entropy"],
        "distance": ["distance"],
        "special": ["bos", "eos"],
        "offsets": [f"offset_{offset}" for offset in range(-MAX_OFFSET, MAX_OFFSET + 1)],
    }
    return [column for name in REDUCTIONS if name in reduce for column in columns[name]]
