"""Scores of one attention map for the properties of one chain, and what chance would give.

For a map a (R, R) and labels f of pairs, with sums over all residues i (query) and j (key):

``hits``
    sum of a_ij f_ij: the weight on labelled pairs. Over the whole weight it is the share.
``expected``
    sum of b_ij f_ij, where the background b_ij = u_i w_(j-i) has the head's own weight at each
    offset and of each query, and is even beside that: what a head gives that only counts positions.
    Such a head has hits = expected, whatever the property. Queries belong to it because a softmax
    near the ends of a chain has fewer keys to share its weight among; with offsets alone, heads
    that look at neighbours would seem to seek what ends are rich in, coil.
``excess``
    hits - expected: the sum of r_ij f_ij, where r = a - b.

For chance, labels are shifted along the chain, circularly, against the attention: this keeps how
labels cluster and, nearly, how they are spread over offsets. For each of the R shifts the excess
is a correlation of r and f (FFT along each diagonal), so its mean, variance and third moment over
all shifts are exact. Offsets as properties have no excess of this kind; for them expected is an
even spread over all pairs, and keys alone are shifted.

Residues that are not resolved are left out of maps and labels; offsets are those of the whole
sequence, so that two residues on both sides of a gap are as far apart as they are. Shifts run over
the resolved residues.

The thresholded share is that of Vig et al. 2021: among pairs with a_ij of at least 0.3 ("arcs"),
those that are labelled; arcs are too few for backgrounds of queries, theirs is that of offsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.heads.properties import Property

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["THRESHOLD", "BlockScores", "ChainLabels", "score_block"]

THRESHOLD = 0.3
"""Weight from which a pair counts as an arc (Vig et al. 2021)."""

FIT_ROUNDS = 200
FIT_TOLERANCE = 1e-12
"""Part of the mean row to which the background meets the rows; maps need 10 to 80 rounds."""

Array = NDArray[np.float64]


class ChainLabels:
    """The labels of one chain, made ready for maps of attention.

    What does not depend on the maps is computed once, when first used.

    Parameters
    ----------
    structure : Structure
        R residues, S of them resolved.
    properties : sequence of Property
        P properties.
    left_out : numpy.ndarray of bool, shape (R, R), optional
        Pairs that neither count as labelled nor for weights; by default none.

    Attributes
    ----------
    kept : numpy.ndarray of int64, shape (S,)
        The resolved residues.
    counts : numpy.ndarray of int64, shape (P,)
        Labelled pairs of each property.
    offset_pairs : numpy.ndarray of float64, shape (2 R - 1,)
        Pairs of resolved residues at each offset, from -(R - 1).
    """

    def __init__(
        self,
        structure: "Structure",
        properties: Sequence[Property],
        left_out: NDArray[np.bool_] | None = None,
    ) -> None:
        self.kept: NDArray[np.int64] = np.flatnonzero(structure.resolved)
        self.residues: int = len(structure)
        self.size: int = len(self.kept)
        self.properties: list[Property] = list(properties)
        apart = self.kept[None, :] - self.kept[:, None]
        self._bins = apart + self.residues - 1  # [i, j] -> place of the offset
        self.allowed: NDArray[np.bool_] | None = None
        if left_out is not None:
            self.allowed = ~left_out[np.ix_(self.kept, self.kept)]
        self.offset_pairs: NDArray[np.float64] = self._at_offsets(
            np.ones(apart.size) if self.allowed is None else self.allowed.astype(np.float64)
        )
        self._labels: list[NDArray[np.bool_]] = []
        counts = []
        for of in self.properties:
            found = of.of(structure)
            kept = found[self.kept] if of.kind == "residue" else found[np.ix_(self.kept, self.kept)]
            if self.allowed is not None and of.kind != "residue":
                kept = kept & self.allowed
            self._labels.append(kept)
            counts.append(int(kept.sum()) * (self.size if of.kind == "residue" else 1))
        self.counts: NDArray[np.int64] = np.array(counts, dtype=np.int64)

    def places(self, kind: str) -> list[int]:
        """Return which properties are of a kind."""
        return [place for place, of in enumerate(self.properties) if of.kind == kind]

    def pairs(self, place: int) -> NDArray[np.bool_]:
        """Return the labels of the place-th property as pairs: bool, (S, S)."""
        labels = self._labels[place]
        return np.broadcast_to(labels, (self.size, self.size)) if labels.ndim == 1 else labels

    def of_kind(self, kind: str) -> Array:
        """Return the labels of the p properties of a kind: (p, S, S), or (p, S) of residues."""
        shape = (0, self.size) if kind == "residue" else (0, self.size, self.size)
        found = [self._labels[place] for place in self.places(kind)]
        return np.stack(found).astype(np.float64) if found else np.zeros(shape)

    def _at_offsets(self, values: NDArray[Any]) -> Array:
        """Sum values of pairs (S x S) by offset: (2 R - 1,)."""
        width = 2 * self.residues - 1
        sums = np.bincount(self._bins.ravel(), values.ravel(), minlength=width)
        return sums.astype(np.float64, copy=False)

    def by_offset(self, matrices: Array) -> Array:
        """Sum maps (h, S, S) by offset: (h, 2 R - 1), from -(R - 1)."""
        return np.stack([self._at_offsets(matrix) for matrix in matrices])

    @cached_property
    def _has_key(self) -> Array:
        """Whether a query has a key at an offset, 1 or 0: (S, 2 R - 1)."""
        found = np.zeros((self.size, 2 * self.residues - 1))
        np.put_along_axis(found, self._bins, 1.0, axis=1)
        if self.allowed is not None:
            np.put_along_axis(found, self._bins, self.allowed.astype(np.float64), axis=1)
        return found

    def background(self, rows: Array, by_offset: Array) -> Array:
        """Return the maps b_ij = u_i w_(j-i) with given sums of rows and of offsets: (h, S, S).

        Found by scaling to the one and to the other in turn (iterative proportional fitting, Deming
        & Stephan 1940). Offsets come last: they are met exactly, rows to ``FIT_TOLERANCE``.

        Parameters
        ----------
        rows : numpy.ndarray, shape (h, S)
        by_offset : numpy.ndarray, shape (h, 2 R - 1)
        """
        offsets = by_offset / np.maximum(self.offset_pairs, 1)
        allowed = FIT_TOLERANCE * rows.mean(1, keepdims=True)
        queries = np.ones_like(rows)
        for _ in range(FIT_ROUNDS):
            reached = offsets @ self._has_key.T
            if (np.abs(queries * reached - rows) <= allowed).all():
                break
            queries = _divide(rows, reached)
            offsets = _divide(by_offset, queries @ self._has_key)
        found = queries[:, :, None] * offsets[:, self._bins]
        return found if self.allowed is None else np.where(self.allowed, found, 0.0)

    @cached_property
    def offset_labels(self) -> Array:
        """Labelled pairs at each offset: (P, 2 R - 1)."""
        return np.stack(
            [self._at_offsets(self.pairs(place)) for place in range(len(self.properties))]
        )

    @cached_property
    def chance(self) -> Array:
        """How likely an arc at an offset is labelled if only offsets count: (P, 2 R - 1).

        For an offset as property, how likely any is.
        """
        found = self.offset_labels / np.maximum(self.offset_pairs, 1)
        for place in self.places("offset"):
            found[place] = self.counts[place] / self.size**2
        return found

    @cached_property
    def residue_spectra(self) -> NDArray[np.complex128]:
        """Spectra of residue labels, conjugate: (p, k)."""
        return np.conj(np.fft.rfft(self.of_kind("residue"), axis=1))

    @cached_property
    def pair_spectra(self) -> NDArray[np.complex128]:
        """Spectra of pair labels along each diagonal, conjugate: (k, c, p)."""
        along = np.conj(np.fft.rfft(circular(self.of_kind("pair")), axis=1))  # (p, k, c)
        return np.ascontiguousarray(along.transpose(1, 2, 0))

    @cached_property
    def offset_rows(self) -> list[list[tuple[int, NDArray[np.int64]]]]:
        """For each offset property: diagonals, round the end, and their labelled rows.

        One diagonal without gaps in the chain, as residues beside a gap are further apart.
        """
        found = []
        for place in self.places("offset"):
            query, key = np.nonzero(self._labels[place])
            found.append([(d, query[key - query == d]) for d in np.unique(key - query).tolist()])
        return found


def _divide(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def circular(matrices: Array) -> Array:
    """Turn (n, i, j) into (n, i, c) with c = j - i, round the end: a view of the doubled rows."""
    count, size, _ = matrices.shape
    doubled = np.concatenate([matrices, matrices], axis=2)
    step, row, column = doubled.strides
    return np.lib.stride_tricks.as_strided(
        doubled, (count, size, size), (step, row + column, column), writeable=False
    )


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
    profile : numpy.ndarray of float64, shape (h, 2 R - 1)
        Weight at each offset, from -(R - 1).
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


def score_block(maps: NDArray[np.floating[Any]], labels: ChainLabels) -> BlockScores:
    """Score the maps of some heads on one chain.

    Parameters
    ----------
    maps : numpy.ndarray of float, shape (h, R, R)
        Attention between all residues of the chain, ``[query, key]``.
    labels : ChainLabels

    Returns
    -------
    BlockScores

    Examples
    --------
    >>> from esmkit.heads.properties import standard_properties
    >>> chain = esmkit.data.demo_structure()
    >>> even = np.full((1, 76, 76), 1 / 76)
    >>> scores = score_block(even, ChainLabels(chain, standard_properties()[:1]))
    >>> scores.mass.round(6), bool(np.allclose(scores.hits, scores.expected))
    (array([76.]), True)
    """
    inner = np.asarray(maps, np.float64)[:, labels.kept[:, None], labels.kept]
    if labels.allowed is not None:
        inner = np.where(labels.allowed, inner, 0.0)
    size = labels.size
    by_offset = labels.by_offset(inner)
    rest = inner - labels.background(inner.sum(2), by_offset)
    excess = _shifted(inner, rest, labels)  # (h, P, S), the last for each shift
    average = excess.mean(2)
    apart = excess - average[:, :, None]
    square = apart * apart
    arcs = (inner >= THRESHOLD).astype(np.float64)
    totals = inner.sum((1, 2))
    hits = _hits(inner, labels)
    pairs = np.maximum(labels.offset_pairs, 1)
    return BlockScores(
        mass=totals,
        hits=hits,
        expected=hits - excess[:, :, 0],
        mean=average,
        variance=square.mean(2),
        third=(square * apart).mean(2),
        arcs=arcs.sum((1, 2)).astype(np.int64),
        arc_hits=_hits(arcs, labels),
        arc_expected=labels.by_offset(arcs) @ labels.chance.T,
        profile=by_offset,
        squares=np.stack(
            [(inner**2).sum((1, 2)), (by_offset**2 / pairs).sum(1), totals**2 / size**2], axis=1
        ),
    )


def _hits(inner: Array, labels: ChainLabels) -> Array:
    """Return the weight on labelled pairs: (h, P)."""
    hits = np.zeros((len(inner), len(labels.properties)))
    flat = inner.reshape(len(inner), -1)
    hits[:, labels.places("residue")] = inner.sum(1) @ labels.of_kind("residue").T
    for kind in ("pair", "offset"):
        found = labels.of_kind(kind)
        hits[:, labels.places(kind)] = flat @ found.reshape(len(found), flat.shape[1]).T
    return hits


def _shifted(inner: Array, rest: Array, labels: ChainLabels) -> Array:
    """Return the excess for every shift of the labels: (h, P, S).

    Parameters
    ----------
    inner, rest : numpy.ndarray, shape (h, S, S)
        Maps, and maps less their background.
    labels : ChainLabels
    """
    heads, size, _ = inner.shape
    excess = np.empty((heads, len(labels.properties), size))
    columns = np.fft.rfft(rest.sum(1), axis=1)[:, None]  # (h, 1, k)
    excess[:, labels.places("residue")] = np.fft.irfft(
        columns * labels.residue_spectra, n=size, axis=2
    )
    if labels.places("pair"):
        spectra = np.fft.rfft(circular(rest), axis=1).transpose(1, 0, 2)  # (k, h, c)
        product = spectra @ labels.pair_spectra  # (k, h, p)
        found = np.fft.irfft(product, n=size, axis=0)  # (S, h, p)
        excess[:, labels.places("pair")] = found.transpose(1, 2, 0)
    around = circular(inner)  # (h, i, c)
    even = inner.sum((1, 2))[:, None] / size**2
    for place, diagonals in zip(labels.places("offset"), labels.offset_rows, strict=True):
        found = np.full((heads, size), -labels.counts[place] * even)
        for diagonal, rows in diagonals:  # keys alone move: row i looks at i + diagonal + shift
            found += np.roll(around[:, rows].sum(1), -diagonal, axis=1)
        excess[:, place] = found
    return excess
