"""The strongest links of heads on a structure, for molecular viewers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from esmkit.structure import Structure
from esmkit.structure.alignment import match
from esmkit.structure.views import View, lacking, made_by, strongest

if TYPE_CHECKING:
    from esmkit.plots.protocols import Maps

__all__ = ["MIN_SEPARATION", "MOST_LINKS", "head_view"]

MOST_LINKS = 100
"""Default limit of links; more hide one another."""

MIN_SEPARATION = 6
"""Closer residues touch because they are neighbours."""


def head_view(
    maps: "Maps",
    head: str,
    structure: Structure,
    count: int | None,
    min_separation: int,
    residues: Sequence[int] | None = None,
) -> View:
    """Return the strongest links of a head as links on a structure.

    A pair of residues has one link: the stronger of the weights that one gives the other.

    Parameters
    ----------
    maps : AttentionMaps
    head : str
        Such as ``L5H4``.
    structure : Structure
        Of the same protein.
    count : int, optional
        How many pairs; by default as many as residues are resolved, but no more than 100.
    min_separation : int
        Least distance along the sequence.
    residues : sequence of int, optional
        Only links of these with any other residue, numbered from 1 in the sequence.

    Raises
    ------
    InputError
        If the structure is that of another protein.
    OptionError
        If the head is not here.
    """
    weights = maps[head]
    matched = match(maps.id, maps.sequence, structure)
    both = np.fmax(weights, weights.T)
    shown = matched.of_sequence < len(both)
    here, there = matched.of_sequence[shown], matched.of_structure[shown]
    size = len(structure)
    values = np.full((size, size), np.nan, np.float32)
    values[np.ix_(there, there)] = both[np.ix_(here, here)]
    number = np.zeros(size, np.int64)
    number[there] = here
    counted = np.abs(np.subtract.outer(number, number)) >= min_separation
    counted &= structure.resolved[:, None] & structure.resolved
    only = ""
    if residues is not None:
        asked = np.isin(number, np.subtract(residues, 1)) & structure.resolved
        asked[np.setdiff1d(np.arange(size), there)] = False
        counted &= asked[:, None] | asked
        only = f" Only links of {len(residues)} chosen residue(s)."
    if count is None:
        count = min(int(structure.resolved.sum()), MOST_LINKS)
    return View(
        structure,
        head,
        "attention",
        (
            f"The strongest links of attention head {head} in {maps.id} on {structure.id}: of both "
            f"directions the stronger, residues at least {min_separation} apart." + only,
            made_by(f"head {head}", maps.checkpoint),
        ),
        lacking(maps.id, maps.sequence, structure),
        tuple(strongest(values, counted, count)),
    )
