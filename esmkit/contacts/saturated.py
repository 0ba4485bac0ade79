"""Pairs so sure that a float32 probability cannot tell them apart: ranked by their logits.

Near 1 a float32 has steps of 6e-8, and from a logit of 17 on it is 1. Logits are kept where that shows,
which for most maps is nowhere.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

__all__ = ["Saturated", "find_saturated", "in_windows", "rankable"]

HIGH, LOW = 0.999, 1e-30
"""Above and below, logits are kept: there a step of a probability is many of a logit."""


@dataclass(frozen=True, eq=False)
class Saturated:
    """The logits of k pairs.

    Attributes
    ----------
    rows, columns : numpy.ndarray of int64, shape (k,)
        The residues of the pairs, row before column.
    logits : numpy.ndarray of float32, shape (k,)
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    logits: NDArray[np.float32]


def find_saturated(probability: "torch.Tensor", logits: "torch.Tensor") -> Saturated | None:
    """Return the pairs of a map (R, R) that are too sure, or None if there are none."""
    import torch

    sure = ((probability > HIGH) | (probability < LOW)).triu(1)
    rows, columns = torch.nonzero(sure, as_tuple=True)
    if not len(rows):
        return None
    kept = (rows, columns, logits[rows, columns])
    return Saturated(*(values.cpu().numpy() for values in kept))


def in_windows(found: list[tuple[int, Saturated | None]]) -> Saturated | None:
    """Put together what windows found: of a pair that several have, the mean logit.

    Parameters
    ----------
    found : list of (int, Saturated or None)
        With the first residue of each window.
    """
    there = [(start, one) for start, one in found if one is not None]
    if not there:
        return None
    pairs = np.concatenate([np.stack([s.rows, s.columns], 1) + start for start, s in there])
    logits = np.concatenate([one.logits for _, one in there]).astype(np.float64)
    unique, place, times = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    sums = np.bincount(place.ravel(), logits, minlength=len(unique))
    rows, columns = unique.T
    return Saturated(rows, columns, (sums / times).astype(np.float32))


def rankable(probability: NDArray[np.float32], saturated: Saturated | None) -> NDArray[np.floating]:
    """Return a map that ranks pairs as the probability does, and equal ones by their logits.

    Parameters
    ----------
    probability : numpy.ndarray of float32, shape (R, R)
    saturated : Saturated, optional

    Returns
    -------
    numpy.ndarray, shape (R, R)
        ``probability`` itself if nothing is saturated. Else float64, in which equal probabilities
        lie a little above theirs, by less than float32 shows, in the order of their logits.

    Examples
    --------
    >>> sure = Saturated(np.array([0, 0]), np.array([1, 2]), np.float32([30, 40]))
    >>> rankable(np.ones((3, 3), np.float32), sure)[0] - 1 > [0, 0, 2e-8]
    array([False, False,  True])
    """
    if saturated is None:
        return probability
    values = probability.astype(np.float64)
    known = probability[saturated.rows, saturated.columns]
    order = np.lexsort([saturated.logits, known])
    known, logits = known[order], saturated.logits[order]
    begins = np.append(True, known[1:] != known[:-1])  # of those with one probability
    first = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    other = np.cumsum(np.append(False, (logits[1:] != logits[:-1]) | begins[1:]))
    step = other - other[first]  # 0, 1, 2, ... within them; equal logits stay equal
    size = 2 * len(known)  # less than half a step, so that it rounds to its own float32
    broken = known + np.spacing(known).astype(np.float64) * step / size
    rows, columns = saturated.rows[order], saturated.columns[order]
    values[rows, columns] = values[columns, rows] = broken
    return values
