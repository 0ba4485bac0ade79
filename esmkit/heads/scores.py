"""What one attention map says about the properties of one chain, and what chance would say.

For a map a (R, R) and labels f of pairs, with sums over all residues i (query) and j (key):

``hits``
    sum of a_ij f_ij: the weight on labelled pairs. Over the whole weight it is the share.
``expected``
    The same if the weight at each offset were spread evenly over the pairs at that offset: sum over
    offsets d of (weight at d) x (share of labelled pairs among those at d). A head that only counts
    positions has hits = expected, whatever the property: separation is taken out.
``excess``
    hits - expected.

For chance, labels are shifted along the chain, circularly, against the attention: this keeps how
labels cluster and, nearly, how they are spread over offsets. For each of the R shifts the excess
follows from a correlation of the two (FFT along each diagonal), so its mean, variance and third
moment over all shifts are exact. Offsets as properties have no excess of this kind; for them
expected is an even spread over all pairs, and keys alone are shifted.

The thresholded share is that of Vig et al. 2021: among pairs with a_ij of at least 0.3 ("arcs"),
those that are labelled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.heads.properties import Property

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["THRESHOLD", "BlockScores", "ChainLabels", "score_block"]

THRESHOLD = 0.3
"""Weight from which a pair counts as an arc (Vig et al. 2021)."""

Array = NDArray[np.float64]


class ChainLabels:
    """The labels of one chain, made ready for maps of attention.

    Residues without coordinates are left out of maps and labels: what is not resolved has no label.

    Parameters
    ----------
    structure : Structure
        R residues, S of them resolved.
    properties : sequence of Property
        P properties.

    Attributes
    ----------
    kept : numpy.ndarray of int64, shape (S,)
        The resolved residues.
    counts : numpy.ndarray of int64, shape (P,)
        Labelled pairs of each property.
    """

    def __init__(self, structure: "Structure", properties: Sequence[Property]) -> None:
        self.kept = np.flatnonzero(structure.resolved)
        size = len(self.kept)
        self.size = size
        self.properties = list(properties)
        place = np.arange(size)
        self._around = (place[:, None] + place) % size  # [c, i] -> i + c, round the end
        self._labels: list[NDArray[np.bool_]] = []
        counts = []
        for of in self.properties:
            found = of.of(structure)
            kept = found[self.kept] if of.kind == "residue" else found[np.ix_(self.kept, self.kept)]
            self._labels.append(kept)
            counts.append(int(kept.sum()) * (size if of.kind == "residue" else 1))
        self.counts = np.array(counts, dtype=np.int64)

    def pairs(self, place: int) -> NDArray[np.bool_]:
        """Return the labels of the place-th property as pairs: bool, (S, S)."""
        labels = self._labels[place]
        return np.broadcast_to(labels, (self.size, self.size)) if labels.ndim == 1 else labels

    def circular(self, matrix: Array) -> Array:
        """Turn [.., i, j] into [.., c, i] with c = j - i, round the end of the chain."""
        rows = np.arange(self.size)[None, :]
        return matrix[..., rows, self._around]

    def offset_counts(self) -> tuple[Array, Array]:
        """Return the labelled pairs at each offset (P, 2 S - 1), from -(S - 1), and all pairs."""
        offsets = range(-(self.size - 1), self.size)
        found = np.array(
            [
                [np.trace(self.pairs(p), offset) for offset in offsets]
                for p in range(len(self.counts))
            ],
            dtype=np.float64,
        )
        return found, np.array([self.size - abs(offset) for offset in offsets], dtype=np.float64)


@dataclass(frozen=True)
class BlockScores:
    """Scores of h heads on one chain for P properties.

    Attributes
    ----------
    mass : numpy.ndarray of float64, shape (h,)
        Weight between resolved residues.
    hits, expected : numpy.ndarray of float64, shape (h, P)
    mean, variance, third : numpy.ndarray of float64, shape (h, P)
        Central moments of the excess over all shifts of the labels.
    arcs : numpy.ndarray of int64, shape (h,)
        Pairs with a weight of at least 0.3.
    arc_hits, arc_expected : numpy.ndarray of float64, shape (h, P)
        The same as hits and expected, for arcs.
    profile : numpy.ndarray of float64, shape (h, 2 S - 1)
        Weight at each offset, from -(S - 1).
    squares : numpy.ndarray of float64, shape (h, 3)
        Sum of squared weights, of squared means by offset, and of squared means over all.
    """

    mass: Array
    hits: Array
    expected: Array
    mean: Array
    variance: Array
    third: Array
    arcs: NDArray[np.int64]
    arc_hits: Array
    arc_expected: Array
    profile: Array
    squares: Array


def score_block(maps: Array, labels: ChainLabels) -> BlockScores:
    """Score the maps of some heads on one chain.

    Parameters
    ----------
    maps : numpy.ndarray of float, shape (h, R, R)
        Attention between all residues of the chain, ``[query, key]``.
    labels : ChainLabels
    """
    inner = np.asarray(maps, np.float64)[:, labels.kept[:, None], labels.kept]
    size, heads, count = labels.size, len(maps), len(labels.properties)
    around = labels.circular(inner)  # (h, c, i)
    split = _Diagonals(around)
    hits, expected = np.zeros((heads, count)), np.zeros((heads, count))
    moments = np.zeros((3, heads, count))
    spectrum = np.fft.rfft(around, axis=2)  # (h, c, k)
    columns = np.fft.rfft(inner.sum(1), axis=1)  # (h, k)
    for place, of in enumerate(labels.properties):
        if of.kind == "offset":
            assert isinstance(of.labels, int)
            all_hits, even = _shifted_keys(around, of.labels)
            chance = np.broadcast_to(even, all_hits.shape)
        elif of.kind == "residue":
            found = labels._labels[place].astype(np.float64)
            all_hits = np.fft.irfft(columns * np.conj(np.fft.rfft(found)), n=size, axis=1)
            chance = split.expected(_residue_windows(found), float(found.sum()))
        else:
            found = labels.circular(labels.pairs(place).astype(np.float64))
            product = spectrum * np.conj(np.fft.rfft(found, axis=1))
            all_hits = np.fft.irfft(product.sum(1), n=size, axis=1)
            chance = split.expected(_pair_windows(found), found.sum(1))
        hits[:, place], expected[:, place] = all_hits[:, 0], chance[:, 0]
        excess = all_hits - chance  # (h, S), a column for each shift
        moments[0, :, place] = mean = excess.mean(1)
        apart = excess - mean[:, None]
        moments[1, :, place] = (apart**2).mean(1)
        moments[2, :, place] = (apart**3).mean(1)
    arcs = inner >= THRESHOLD
    arc_hits, arc_expected = _arc_scores(arcs, labels)
    totals = inner.sum((1, 2))
    by_offset = split.linear()
    pairs = size - np.abs(np.arange(-(size - 1), size))
    squares = [(inner**2).sum((1, 2)), (by_offset**2 / pairs).sum(1), totals**2 / size**2]
    return BlockScores(
        totals,
        hits,
        expected,
        *moments,
        arcs.sum((1, 2)),
        arc_hits,
        arc_expected,
        by_offset,
        np.stack(squares, axis=1),
    )


class _Diagonals:
    """The weight on each diagonal of maps, split where it goes round the end."""

    def __init__(self, around: Array) -> None:
        size = around.shape[-1]
        self._size = size
        place = np.arange(size)
        before = place[None, :] < size - place[:, None]  # [c, i]: i + c is within the chain
        self._forward = np.where(before, around, 0.0).sum(2)  # (h, c): offset c
        self._backward = np.where(before, 0.0, around).sum(2)  # (h, c): offset c - size

    def linear(self) -> Array:
        """Return the weight at offsets -(S - 1) to S - 1: (h, 2 S - 1)."""
        return np.concatenate([self._backward[:, 1:], self._forward], axis=1)

    def expected(self, windows: Array, totals: Array | float) -> Array:
        """Return the expected hits for every shift of the labels: (h, S).

        Parameters
        ----------
        windows : numpy.ndarray, shape (S, S)
            [c, s]: labels on the forward part of diagonal c after a shift by s.
        totals : numpy.ndarray, shape (S,), or float
            Labels on the whole of each circular diagonal.
        """
        size = self._size
        forward = self._forward / np.arange(size, 0, -1)
        backward = self._backward[:, 1:] / np.arange(1, size)
        rest = (np.broadcast_to(totals, (size,))[:, None] - windows)[1:]
        return forward @ windows + backward @ rest


def _pair_windows(around: Array) -> Array:
    """[c, s]: sum over i < S - c of the labels at [c, i - s]."""
    size = around.shape[0]
    sums = np.concatenate([np.zeros((size, 1)), np.cumsum(np.tile(around, 2), axis=1)], axis=1)
    shift = np.arange(size)
    first = np.where(shift == 0, 0, size - shift)  # where i = 0 lies after the shift
    diagonal = np.arange(size)[:, None]
    last = first[None, :] + size - diagonal
    return sums[diagonal, last] - sums[diagonal, np.broadcast_to(first, last.shape)]


def _residue_windows(found: Array) -> Array:
    """[c, s]: sum over keys j >= c of the labels at j - s; keys of offset c begin there."""
    size = len(found)
    sums = np.concatenate([[0.0], np.cumsum(np.tile(found, 2))])
    shift = np.arange(size)
    zero = np.where(shift == 0, 0, size - shift)[None, :]
    begin = np.arange(size)[:, None]
    return sums[zero + size] - sums[zero + begin]


def _shifted_keys(around: Array, offset: int) -> tuple[Array, Array]:
    """Return hits at an offset for every shift of the keys (h, S), and those of an even spread."""
    heads, size, _ = around.shape
    pairs = max(0, size - abs(offset))
    if not pairs:
        return np.zeros((heads, size)), np.zeros((heads, 1))
    rows = np.arange(max(0, -offset), size - max(0, offset))
    diagonals = (offset + np.arange(size)) % size
    hits = around[:, diagonals][:, :, rows].sum(2)
    return hits, (around.sum((1, 2)) * pairs / size**2)[:, None]


def _arc_scores(arcs: NDArray[np.bool_], labels: ChainLabels) -> tuple[Array, Array]:
    """Return labelled arcs, and how many an even spread within offsets would label: (h, P)."""
    heads, count = len(arcs), len(labels.properties)
    hits, expected = np.zeros((heads, count)), np.zeros((heads, count))
    head, query, key = np.nonzero(arcs)
    offset = key - query
    for place, of in enumerate(labels.properties):
        pairs = labels.pairs(place)
        hits[:, place] = np.bincount(head, pairs[query, key], minlength=heads)
        if of.kind == "offset":
            rate = np.full(len(offset), pairs.mean())
        else:
            rates = {d: float(np.diagonal(pairs, d).mean()) for d in np.unique(offset)}
            rate = np.array([rates[d] for d in offset])
        expected[:, place] = np.bincount(head, rate, minlength=heads)
    return hits, expected
