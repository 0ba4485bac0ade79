"""Effects of pairs once more, where repeated stretches are left out.

A head that copies looks from one copy of a repeat to the other. Copies of a domain touch, or are
strands side by side, or have cysteines at the same places, and so a head that copies can pass for
one that knows contacts. So pairs of a residue and its aligned one in another copy, and those next
to it, are left out of chains that have repeats (:mod:`esmkit.sequences.repeated`), weights
and labels both, and every effect of pairs is tested again with all other pairs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.heads.judgement import CONTROLS, TESTED_AGAIN, UNREPEATED
from esmkit.heads.scores import BlockScores
from esmkit.heads.statistics import Accumulator, benjamini_hochberg
from esmkit.sequences.repeated import internal_repeats, near, residue_pairs

if TYPE_CHECKING:
    from esmkit.heads.properties import Property
    from esmkit.structure import Structure

__all__ = ["APART", "copies_in", "of_pairs", "pair_places", "unrepeated_columns"]

APART = 2_500
"""The stage of a keeper."""

Array = NDArray[np.float64]


def copies_in(structure: "Structure") -> NDArray[np.bool_] | None:
    """Return the pairs of a chain that are aligned copies, or next to them: (R, R), or None.

    In both directions; next to an aligned residue are the two before and the two after it.

    Examples
    --------
    >>> copies_in(esmkit.data.demo_structure()) is None
    True
    """
    pairs = residue_pairs(internal_repeats(structure.sequence))
    if not len(pairs):
        return None
    both = np.concatenate([pairs, pairs[:, ::-1]])
    found = near(both, len(structure))
    return found | found.T


def pair_places(properties: "Sequence[Property]") -> list[int]:
    """Return which properties are of pairs."""
    return [place for place, of in enumerate(properties) if of.kind == "pair"]


def of_pairs(scores: BlockScores, places: Sequence[int]) -> BlockScores:
    """Return the scores of some of the properties alone."""
    names = ("hits", "expected", "mean", "variance", "third", "arc_hits", "arc_expected")
    return replace(scores, **{name: getattr(scores, name)[:, places] for name in names})


def unrepeated_columns(
    properties: "Sequence[Property]",
    apart: Accumulator,
    inflation: Array | float,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Array]:
    """Return the columns of effects that say what is left of them: (n heads x P,) each.

    Parameters
    ----------
    properties : sequence of Property
        P properties; those that are not of pairs get NaN.
    apart : Accumulator
        Of the properties of pairs, with repeats left out.
    inflation : numpy.ndarray of float64, shape (P,), or float
        As for all pairs: that of untrained networks.
    resamples, seed : int
        Of the bootstrap over proteins.
    """
    places = pair_places(properties)
    names = [properties[place].name for place in places]
    wide = np.broadcast_to(inflation, (len(properties),))[places]
    found = apart.effects(resamples=resamples, seed=seed, inflated=wide)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = found.share / found.background
    ratio[~np.isfinite(ratio)] = np.nan
    beyond, beyond_low = (np.full(ratio.shape, np.nan) for _ in range(2))
    for name, control in CONTROLS.items():
        if name in names and control in names:
            one, other = names.index(name), names.index(control)
            with np.errstate(invalid="ignore", divide="ignore"):
                beyond[:, one] = ratio[:, one] / ratio[:, other]
            beyond_low[:, one] = apart.between(one, other, resamples=resamples, seed=seed)[0]
    known = {
        "proteins": np.broadcast_to(apart.proteins[None], ratio.shape),
        **{name: getattr(found, name) for name in ("share", "background", "low", "high")},
        "difference": found.share - found.background,
        "ratio": ratio,
        "ratio_low": found.ratio_low,
        "q": benjamini_hochberg(found.p.reshape(-1)).reshape(found.p.shape),
        "half_a": found.half[0],
        "half_b": found.half[1],
        "half_b_low": found.half_low,
        "beyond_control": beyond,
        "beyond_control_low": beyond_low,
    }
    columns = {}
    for name in TESTED_AGAIN:
        values = np.full((len(ratio), len(properties)), np.nan)
        values[:, places] = known[name]
        columns[f"{UNREPEATED}{name}"] = values.reshape(-1)
    return columns
