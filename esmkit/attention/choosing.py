"""Which heads are worth seeing first: those whose residues look at each other from far away.

The most focused heads are not: each row of theirs is one weight, on a fixed neighbour. Others are
focused on a few residues that every query looks at. What a reader looks for, contacts and residues
that belong together, are links in both directions between residues far apart.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from esmkit.attention.maps import AttentionMaps

__all__ = ["FAR", "FAR_ENOUGH", "heads_that_reach_far", "reach"]

FAR = 6
"""Least separation of a link that counts: contacts begin here (CASP)."""

FAR_ENOUGH = 30
"""Mean distance, in residues, beyond which farther is not better."""

CHOSEN = 6
"""Heads that are chosen when none are named."""


def reach(weights: NDArray[Any]) -> float:
    """Return how strongly residues far apart look at each other in a map, times how far it looks.

    Of the two weights of a pair the smaller counts. Over the R pairs, at least 6 apart, where it is
    largest, its mean is taken, and multiplied with the mean distance of all weight, up to 30.

    Parameters
    ----------
    weights : numpy.ndarray of float, shape (R, R)
        ``[query, key]``; NaN, for pairs never seen together, counts as 0.

    Returns
    -------
    float
        From 0 to 30.

    Examples
    --------
    >>> apart = np.zeros((9, 9)); apart[0, 8] = apart[8, 0] = 0.9
    >>> round(reach(apart), 2)                             # 0.9 / 9 pairs, 8 residues apart
    0.8
    >>> reach(np.eye(9, k=1))                              # it only looks at the next residue
    0.0
    """
    known = np.nan_to_num(weights).astype(np.float32, copy=False)
    residues = len(known)
    total = known.sum(dtype=np.float64)
    if not total > 0 or residues <= FAR:
        return 0.0
    mutual = np.minimum(known, known.T)[np.triu_indices(residues, FAR)]
    if len(mutual) > residues:
        mutual = np.partition(mutual, len(mutual) - residues)[-residues:]
    place = np.arange(residues, dtype=np.float32)
    rows = (known * np.abs(place[:, None] - place)).sum(1).astype(np.float64)
    distance = float(rows.sum() / total)
    return float(mutual.sum(dtype=np.float64) / residues) * min(distance, FAR_ENOUGH)


def heads_that_reach_far(maps: "AttentionMaps", count: int = CHOSEN) -> list[str]:
    """Return the heads with the largest :func:`reach`, by layer and number.

    Where fewer than ``count`` reach at all, as in a peptide, the first of the others make up for it.
    """
    score = [reach(maps.get(place)) for place in range(len(maps))]
    best = np.argsort(-np.asarray(score), kind="stable")[:count]
    return [maps.heads[place] for place in sorted(best)]
