"""Effects from the scores of chains: intervals, p values, corrections, support, halves.

Two null hypotheses are tested. ``p_shift``: the labels lie anywhere along the chain. That a head
with *any* taste for amino acids rejects, for contacts, strands and helices differ in what they are
made of, and one amino acid is liked together with others; an untrained network has such tastes, at
random. ``p``: the labels lie anywhere, and the sum varies as much more than that as it does for
the heads of networks that were not trained. This factor on the variance, one for each property, is
the inflation of genomic control (Devlin & Roeder 1999, Biometrics 55:997).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from esmkit.heads.resampling import interval, samples
from esmkit.heads.scores import BlockScores

__all__ = [
    "FAMILIES",
    "MIN_ARCS",
    "MIN_PROTEINS",
    "Accumulator",
    "Effects",
    "benjamini_hochberg",
    "bonferroni",
    "inflation",
    "tail",
    "within",
]

FAMILIES = {"pair": "pairs", "residue": "residues", "offset": "offsets"}
"""Families of tests, by the kind of property; each is corrected for by itself."""

MIN_ARCS = 100
"""Fewer arcs give no thresholded share (Vig et al. 2021)."""

MIN_PROTEINS = 10
"""Fewer proteins with the property give no effect: "insufficient"."""

MAX_GROUPS = 128
"""Groups of proteins that are resampled. At twice as many, neighbours are merged two by two."""

Array = NDArray[np.float64]


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Return the false discovery rate at which each p value is significant; NaN stays NaN.

    >>> benjamini_hochberg([0.01, 0.03, 0.5]).round(3)
    array([0.03 , 0.045, 0.5  ])
    """
    from scipy.stats import false_discovery_control

    p = np.asarray(p, float)
    q = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q


def bonferroni(p: ArrayLike) -> Array:
    """Return p times the number of tests, at most 1; NaN stays NaN and is no test.

    >>> bonferroni([0.01, 0.5, float("nan")])
    array([0.02, 1.  ,  nan])
    """
    p = np.asarray(p, float)
    return np.minimum(p * (~np.isnan(p)).sum(), 1.0)


def within(groups: ArrayLike, correct: Callable[[Array], Array], p: ArrayLike) -> Array:
    """Return p values corrected for the tests of their own group.

    A family of tests that all come out, such as heads that attend to an offset against that very
    offset, would otherwise lower the bar for the others.

    Parameters
    ----------
    groups : array_like, shape (n,)
        The group of each test.
    correct : callable
        :func:`benjamini_hochberg` or :func:`bonferroni`.
    p : array_like of float, shape (n,)

    Returns
    -------
    numpy.ndarray of float64, shape (n,)

    Examples
    --------
    >>> within(["a", "a", "b"], bonferroni, [0.01, 0.5, 0.02])
    array([0.02, 1.  , 0.02])
    """
    groups, p = np.asarray(groups), np.asarray(p, float)
    found = np.empty_like(p)
    for group in np.unique(groups):
        found[groups == group] = correct(p[groups == group])
    return found


def inflation(deviations: Array) -> Array:
    """Return by how much the variance of each property exceeds that of shifted labels.

    Parameters
    ----------
    deviations : numpy.ndarray, shape (n, P)
        Those of heads that know nothing (:meth:`Accumulator.deviations`), NaN where not known.

    Returns
    -------
    numpy.ndarray of float64, shape (P,)
        Their mean square, at least 1: a test is never made easier. 1 where nothing is known.

    Examples
    --------
    >>> inflation(np.array([[2.0, 0.1], [-2.0, 0.2]]))
    array([4., 1.])
    """
    known = ~np.isnan(deviations)
    squares = np.where(known, deviations, 0.0) ** 2
    return np.maximum(squares.sum(0) / np.maximum(known.sum(0), 1), 1.0)


def tail(observed: Array, mean: Array, variance: Array, third: Array) -> Array:
    """Return the chance of a sum at least this large under random shifts of the labels.

    The sum over independent chains has the exact mean, variance and third central moment given; its
    upper tail is taken from the Pearson type III distribution with these three, the usual
    approximation of permutation tests (Mielke & Berry 2007).

    Returns
    -------
    numpy.ndarray of float64
        0 to 1; NaN where nothing varies.
    """
    from scipy.stats import pearson3

    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(variance)
        z = (observed - mean) / deviation
        skew = third / deviation**3
    p = np.full(np.shape(observed), np.nan)
    varies = deviation > _rounding(mean)
    p[varies] = np.clip(pearson3.sf(z[varies], skew[varies]), 0.0, 1.0)
    return p


def _rounding(mean: Array) -> Array:
    """Return the deviation below which it is rounding: labels are the same under every shift."""
    return 1e-9 * np.maximum(1.0, np.abs(mean))


@dataclass
class Effects:
    """Pooled effects of n heads and P properties.

    ``share``, ``background`` (expected share) and ``difference`` are (n, P), as are ``low`` and
    ``high`` (95 % bootstrap interval of the difference over proteins), ``ratio_low`` and
    ``ratio_high`` (that of share over background), ``p`` and ``p_shift`` (see the module), ``half`` (difference in the even and in the odd proteins: (2, n, P)), ``half_low``
    and ``half_high`` (interval in the odd ones), ``arc_share`` and ``arc_background``, ``weight``
    (the weight between residues of the proteins with the property) and ``best_in`` (proteins in
    which no head has a larger difference). Proteins without a property count for none of these, but
    for ``pooled_arc_share``: that over the arcs of all proteins, as Vig et al. 2021 define it.
    """

    share: Array
    background: Array
    difference: Array
    low: Array
    high: Array
    p: Array
    p_shift: Array
    half: Array
    half_low: Array
    half_high: Array
    arc_share: Array
    arc_background: Array
    weight: Array
    best_in: Array
    ratio_low: Array
    ratio_high: Array
    pooled_arc_share: Array


class Accumulator:
    """Adds up the scores of proteins; its size does not grow beyond 256 groups of proteins.

    Parameters
    ----------
    heads, properties : int
        n and P.
    """

    def __init__(self, heads: int, properties: int) -> None:
        self._shape = (heads, properties)
        self._groups: list[dict[str, Array]] = []
        self._per_group = 1
        self._waiting: list[dict[str, Array]] = []
        self.moments: Array = np.zeros((3, heads, properties))
        self.proteins: NDArray[np.int64] = np.zeros(properties, np.int64)
        self.labelled: NDArray[np.int64] = np.zeros(properties, np.int64)
        self.arcs: NDArray[np.int64] = np.zeros((heads, properties), np.int64)
        self.pooled_arcs: NDArray[np.int64] = np.zeros(heads, np.int64)
        self.best_in: Array = np.zeros((heads, properties))
        self.count: int = 0

    def add(self, scores: BlockScores, counts: NDArray[np.int64]) -> None:
        """Take the scores of one protein, all n heads."""
        present = counts > 0
        self.count += 1
        self.proteins += present
        self.labelled += counts
        # A protein without the property says nothing about it: its weight does not count there
        there = present[None, :].astype(np.float64)
        self.arcs += scores.arcs[:, None] * present
        self.pooled_arcs += scores.arcs
        self.moments += np.stack([scores.mean, scores.variance, scores.third]) * there
        one = {
            "mass": scores.mass[:, None] * there,
            "hits": scores.hits * there,
            "expected": scores.expected * there,
            "arcs": scores.arcs[:, None] * there,
            "arc_hits": scores.arc_hits * there,
            "arc_expected": scores.arc_expected * there,
        }
        there = np.nan_to_num(_difference(one)[:, present], nan=-np.inf)
        self.best_in[there.argmax(0), np.flatnonzero(present)] += 1
        self._waiting.append(one)
        if len(self._waiting) == self._per_group:
            self._groups.append(_sum(self._waiting))
            self._waiting = []
        if len(self._groups) == 2 * MAX_GROUPS:
            pairs = zip(self._groups[::2], self._groups[1::2], strict=True)
            self._groups = [_sum(pair) for pair in pairs]
            self._per_group *= 2

    @property
    def _scarce(self) -> NDArray[np.bool_]:
        return np.broadcast_to(self.proteins < MIN_PROTEINS, self._shape)

    def _stacked(self) -> dict[str, Array]:
        groups = self._groups + ([_sum(self._waiting)] if self._waiting else [])
        return {name: np.stack([g[name] for g in groups]) for name in groups[0]}

    def deviations(self) -> Array:
        """Return the excess less its mean over shifts, in standard deviations: (n, P).

        NaN where support is insufficient or nothing varies.
        """
        total = {name: values.sum(0) for name, values in self._stacked().items()}
        mean, variance, _ = self.moments
        deviation = np.sqrt(variance)
        known = (deviation > _rounding(mean)) & ~self._scarce
        found = np.full(self._shape, np.nan)
        apart = total["hits"] - total["expected"] - mean
        found[known] = apart[known] / deviation[known]
        return found

    def effects(self, *, resamples: int, seed: int, inflated: Array | float = 1.0) -> Effects:
        """Return the pooled effects.

        Parameters
        ----------
        resamples : int
            Bootstrap samples of proteins.
        seed : int
        inflated : numpy.ndarray, shape (P,), or float
            What :func:`inflation` returned; 1 makes ``p`` the same as ``p_shift``.
        """
        stacked = self._stacked()
        total = {name: values.sum(0) for name, values in stacked.items()}
        low, high = _interval(stacked, resamples, seed)
        draws = samples(len(stacked["hits"]), resamples, seed)
        ratio_low, ratio_high = interval(draws, stacked["hits"], stacked["expected"])
        halves = [{name: values[start::2] for name, values in stacked.items()} for start in (0, 1)]
        half = np.stack([_difference({n: v.sum(0) for n, v in h.items()}) for h in halves])
        half_low, half_high = _interval(halves[1], resamples, seed + 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = total["hits"] / total["mass"]
            background = total["expected"] / total["mass"]
            arc_share = total["arc_hits"] / total["arcs"]
            arc_background = total["arc_expected"] / total["arcs"]
            pooled = total["arc_hits"] / self.pooled_arcs[:, None]
        excess = total["hits"] - total["expected"]
        mean, variance, third = self.moments
        p_shift = tail(excess, mean, variance, third)
        p = tail(excess, mean, variance * inflated, third * np.power(inflated, 1.5))
        scarce, weight, best_in = self._scarce, total["mass"], self.best_in.copy()
        tested = (low, high, p, p_shift, *half, half_low, half_high, ratio_low, ratio_high)
        of_all = (share, background, *tested, weight, best_in)
        for values in of_all:
            values[scarce] = np.nan
        for values in (arc_share, arc_background):
            values[scarce | (self.arcs < MIN_ARCS)] = np.nan
        pooled[scarce | (self.pooled_arcs < MIN_ARCS)[:, None]] = np.nan
        return Effects(
            share,
            background,
            share - background,
            low,
            high,
            p,
            p_shift,
            half,
            half_low,
            half_high,
            arc_share,
            arc_background,
            weight,
            best_in,
            ratio_low,
            ratio_high,
            pooled,
        )

    def between(self, one: int, other: int, *, resamples: int, seed: int) -> tuple[Array, Array]:
        """Return the interval of how much larger the ratio of one property is than another's.

        Both ratios are taken of the same resampled proteins, so that what they share, such as a
        protein with many cysteines, is not counted as a difference.

        Parameters
        ----------
        one, other : int
            Places of the properties.
        resamples, seed : int

        Returns
        -------
        tuple of numpy.ndarray of float64, shape (n,)
            Ends of the 95 % bootstrap interval; NaN where support is insufficient.
        """
        stacked = self._stacked()
        draws = samples(len(stacked["hits"]), resamples, seed)
        parts = [
            stacked[name][:, :, place] for place in (one, other) for name in ("hits", "expected")
        ]
        low, high = interval(draws, *parts)
        scarce = self._scarce[:, one] | self._scarce[:, other]
        low[scarce] = high[scarce] = np.nan
        return low, high


def _sum(groups: Any) -> dict[str, Array]:
    groups = list(groups)
    return {name: np.sum([g[name] for g in groups], axis=0) for name in groups[0]}


def _difference(total: dict[str, Array]) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total["hits"] - total["expected"]) / total["mass"]


def _interval(stacked: dict[str, Array], resamples: int, seed: int) -> tuple[Array, Array]:
    """Return the 95 % percentile interval of the difference, proteins resampled."""
    draws = samples(len(stacked["hits"]), resamples, seed)
    return interval(draws, stacked["hits"] - stacked["expected"], stacked["mass"])
