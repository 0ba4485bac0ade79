"""Do the effects of one set of chains hold in another? Two profiles of one model, side by side."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from esmkit.errors import OptionError
from esmkit.heads.judgement import judge, lacks_q
from esmkit.heads.statistics import FAMILIES, MIN_PROTEINS
from esmkit.plots.protocols import Profile

if TYPE_CHECKING:
    import pandas

    from esmkit.structure import Structure

__all__ = ["STATES", "Second", "check_second", "replicate"]

STATES = {
    "label": "labels of a property",
    "confirmed": "confirmed effects",
    "large": "effects that are large but whose q is too high",
}
"""What is compared: effects that name their head, other confirmed ones, and those that lack q alone."""

OF_BOTH = ("share", "background", "difference", "low", "high", "ratio", "proteins")
"""Columns that are given for both sets; those of the second begin with ``other_``."""

Second: TypeAlias = "Sequence[Structure] | Profile"
"""A second set: its chains, or what was found on them before."""

NAMED = 3
"""Chains that an error names."""


def replicate(first: Profile, second: Profile) -> "pandas.DataFrame":
    """Compare what one set of chains says of the heads of a model with what another says.

    Effects are chosen in the first set alone; the second has no part in it, so that its numbers are
    not those of the best of many. Offsets are left out: heads are labelled for them by their share.

    Parameters
    ----------
    first, second : HeadProfile
        Of the same model, on chains of which none is in both.

    Returns
    -------
    pandas.DataFrame
        A row for each effect: ``name``, ``property``, ``family``; ``state``, ``label`` (the head
        has its label for it), ``confirmed`` (another confirmed effect) or ``large`` (of the size
        that a label needs, but of too high a q); ``q`` of the first set; for both sets ``share``,
        ``background``, ``difference``, ``low``, ``high``, ``ratio`` and ``proteins``, those of the
        second with ``other_`` before; ``relative``, the second difference over the first;
        ``holds``, whether the second interval lies above 0: ``yes``, ``no`` or ``insufficient``.
        The second profile may be without controls: nothing here goes by its p values.

    Raises
    ------
    OptionError
        If the profiles are of two models, or a chain is in both.

    Examples
    --------
    >>> chains = esmkit.data.ts50()                              # doctest: +SKIP
    >>> model, asked = esmkit.load(), {"control": False, "resamples": 200}   # doctest: +SKIP
    >>> first = esmkit.heads.profile(model, chains[::2], **asked)  # doctest: +SKIP
    >>> second = esmkit.heads.profile(model, chains[1::2], **asked)  # doctest: +SKIP
    >>> "L5H4" in set(replicate(first, second)["name"])            # doctest: +SKIP
    True
    """
    import pandas

    check_second(first.provenance["checkpoint"], first.provenance["chains"], second)
    if list(first.heads["name"]) != list(second.heads["name"]):
        raise OptionError("the profiles are of two models, for they have other heads")
    rules, labels = first.rules, _labels(first)
    known: Any = first.effects
    known = known[(known["kind"] != "offset") & known["difference"].notna()]
    others = {(row["name"], row["property"]): row for row in second.effects.to_dict("records")}
    rows = []
    for row in known.to_dict("records"):
        state = _state(row, labels[row["name"]], rules)
        found = others.get((row["name"], row["property"]))
        if state and found is not None:
            rows.append(_row(row, found, state))
    columns = ["name", "property", "family", "state", "q", *OF_BOTH]
    columns += [f"other_{name}" for name in OF_BOTH] + ["relative", "holds"]
    rows.sort(key=lambda row: list(STATES).index(row["state"]))
    return pandas.DataFrame(rows, columns=columns)


def _labels(profile: Profile) -> dict[str, str]:
    return dict(zip(profile.heads["name"], profile.heads["label"], strict=True))


def check_second(
    checkpoint: Mapping[str, Any], chains: "Sequence[Structure | str]", second: Second
) -> list[str]:
    """Refuse a second set of another model, or with chains of the first, before it is measured.

    Parameters
    ----------
    checkpoint : mapping
        That of the first profile, as in its provenance.
    chains : sequence of Structure or str
        Its chains, or their IDs.
    second : sequence of Structure, or HeadProfile

    Returns
    -------
    list of str
        IDs of the chains of the second set.

    Raises
    ------
    OptionError
    """
    provenance = getattr(second, "provenance", None)
    if provenance is None:
        structures = cast("Sequence[Structure]", second)
        others = [structure.id for structure in structures]
    else:
        others, other = list(provenance["chains"]), provenance["checkpoint"]
        if any(checkpoint.get(name) != other.get(name) for name in ("name", "sha256")):
            raise OptionError(
                f"the profiles are of two models, {checkpoint.get('name')} and {other.get('name')}; "
                "replication compares one model on two sets of chains"
            )
    ids = {chain if isinstance(chain, str) else chain.id for chain in chains}
    shared = sorted(ids & set(others))
    if shared:
        listed = ", ".join(shared[:NAMED]) + (", ..." if len(shared) > NAMED else "")
        raise OptionError(
            f"{len(shared):,} chain{'s are' if len(shared) > 1 else ' is'} in both profiles "
            f"({listed}); give a second set with none of the first"
        )
    return others


def _state(row: dict[Any, Any], label: str, rules: Any) -> str:
    """Return what an effect is, of :data:`STATES`, or nothing if it is not compared."""
    if judge(row, rules).confirmed:
        return "label" if label == str(row["property"]).removeprefix("to ") else "confirmed"
    return "large" if lacks_q(row, rules) else ""


def _row(row: dict[Any, Any], other: dict[Any, Any], state: str) -> dict[str, Any]:
    holds = "yes" if other["low"] > 0 else "no"
    if np.isnan(other["difference"]) or other["proteins"] < MIN_PROTEINS:
        holds = "insufficient"
    return {
        "name": row["name"],
        "property": row["property"],
        "family": FAMILIES[row["kind"]],
        "state": state,
        "q": row["q"],
        **{name: row[name] for name in OF_BOTH},
        **{f"other_{name}": other[name] for name in OF_BOTH},
        "relative": other["difference"] / row["difference"],
        "holds": holds,
    }
