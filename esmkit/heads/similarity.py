"""Likeness of a head's 20 x 20 matrices to BLOSUM62, and how much of it is the head's own.

The Mantel test permutes the letters of BLOSUM62 and asks whether a matrix knows amino acids at all.
For the matrices of a head that is a weak question. They are bilinear in the embedding, in which
amino acids that replace each other lie close, and so with ESM-2 8M's embedding a head of *random*
projections passes it about as often as a trained one (at p < 0.05: 47 % against 68 % of heads for
OV, 73 % against 72 % for QK). Hence the *control*: the same statistic for heads with Gaussian
projections in place of the trained ones, from the same embedding, through the same LayerNorm.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from esmkit.heads.statistics import benjamini_hochberg
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import AMINO_ACIDS

if TYPE_CHECKING:
    import pandas

__all__ = [
    "LETTERS",
    "RandomHeads",
    "Similarity",
    "add_false_discovery",
    "blosum62",
    "centre",
    "copying_score",
    "empirical_p",
    "turn",
]

Array = NDArray[np.float64]
LETTERS = len(AMINO_ACIDS)
"""Number of amino acids, A = 20."""

ROUNDING = 1e-12
"""Part of the largest number below which a difference is rounding: float64 rounds at 1e-16, and
sums have 20 terms."""


def blosum62() -> Array:
    """Return BLOSUM62 (Henikoff and Henikoff 1992) from Biopython: (A, A), in our order."""
    from Bio.Align import substitution_matrices

    table: Any = substitution_matrices.load("BLOSUM62")  # indexed by letters
    return np.array([[table[a, b] for b in AMINO_ACIDS] for a in AMINO_ACIDS])


def centre(matrices: Array) -> Array:
    """Subtract from (..., A, A) the means of rows and columns, so that each sums to 0.

    Where nothing but rounding is left, all is 0: ranks would make much of it.
    """
    rows = matrices - matrices.mean(axis=-1, keepdims=True)
    alone = rows - rows.mean(axis=-2, keepdims=True)
    sizes = [np.abs(x).max(axis=(-1, -2), keepdims=True) for x in (alone, matrices)]
    return np.where(sizes[0] > ROUNDING * sizes[1], alone, 0.0)


def copying_score(ov: Array) -> Array:
    """Return the sum of eigenvalues of (..., A, A) over that of their magnitudes: (...), -1 to 1.

    >>> copying_score(np.stack([np.eye(3), -np.eye(3)]))
    array([ 1., -1.])
    """
    values = np.linalg.eigvals(ov)
    with np.errstate(invalid="ignore"):  # a head without any output has no score: NaN
        return values.sum(axis=-1).real / np.abs(values).sum(axis=-1)


class Similarity:
    """Spearman correlations of matrices with BLOSUM62, as it is and with its letters permuted.

    Parameters
    ----------
    diagonal : bool
        Whether the 20 pairs of equal letters take part, beside the 380 ordered pairs of others.
    permutations : int
        P.
    seed : int
    """

    def __init__(self, *, diagonal: bool, permutations: int = 0, seed: int = 0) -> None:
        same = np.eye(LETTERS, dtype=bool)
        self._taken = np.ones_like(same) if diagonal else ~same
        ranks = np.zeros((LETTERS, LETTERS))
        ranks[self._taken] = rankdata(blosum62()[self._taken])
        random = np.random.default_rng(seed)
        orders = [random.permutation(LETTERS) for _ in range(permutations)]
        # Rows and columns move together, so the diagonal stays and ranks need no new ranking
        moved = [ranks, *(ranks[np.ix_(order, order)] for order in orders)]
        self._scores = _standard(np.stack([m[self._taken] for m in moved]))  # (1 + P, pairs)

    def correlate(self, matrices: Array) -> Array:
        """Correlate n matrices (n, A, A): (n, 1 + P), first with BLOSUM62 itself; NaN if flat."""
        return _standard(rankdata(matrices[:, self._taken], axis=1)) @ self._scores.T


def _standard(ranks: Array) -> Array:
    """Shift and scale rows (n, pairs) so that their products are Pearson correlations."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def empirical_p(observed: Array, null: Array) -> Array:
    """Return two-sided p values: how often the null is at least as far from 0.

    Parameters
    ----------
    observed : numpy.ndarray of float64, shape (n,)
    null : numpy.ndarray of float64, shape (P,) or (n, P)
        The statistic where nothing is going on.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        1 / (P + 1) to 1 (Phipson and Smyth 2010, doi:10.2202/1544-6115.1585); NaN where observed is.
    """
    # equal correlations that were summed in another order must count as equal
    as_far = np.abs(null) >= np.abs(observed)[:, None] - 1e-12  # (n, P)
    p = (1 + as_far.sum(axis=1)) / (1 + null.shape[-1])
    return np.where(np.isnan(observed), np.nan, p)


def add_false_discovery(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Put after each column ``..._p`` a ``..._q``: Benjamini and Hochberg over the rows."""
    for name in [name for name in table.columns if name.endswith("_p")]:
        q = benjamini_hochberg(table[name].to_numpy(float))
        table.insert(list(table.columns).index(name) + 1, f"{name[:-2]}_q", q)
    return table


class RandomHeads:
    """Heads with Gaussian projections: what the embedding alone brings about.

    A Gaussian projection of 20 vectors is, in distribution, a Gaussian mixture of the roots of
    their Gram matrix, so that no number depends on the width of the model.

    Parameters
    ----------
    normed : numpy.ndarray of float64, shape (A, D)
        The amino acids as the layer reads them.
    targets : numpy.ndarray of float64, shape (A, D)
        Their unembeddings.
    head_width : int
        K.
    count : int
        Heads to draw.
    seed : sequence of int
    """

    def __init__(
        self, normed: Array, targets: Array, head_width: int, count: int, seed: Sequence[int]
    ) -> None:
        self._read, self._written = _gram_root(normed), _gram_root(targets)
        self._shape = (LETTERS, head_width)
        self._count = count
        self._random = np.random.default_rng(seed)

    def _pairs(self, left: Array, right: Array) -> Iterator[tuple[Array, Array]]:
        for _ in range(self._count):
            first, second = self._random.standard_normal((2, *self._shape))
            yield left @ first, right @ second  # (A, K) each

    def ov(self) -> Array:
        """Return their OV matrices, (count, A, A)."""
        return np.stack([v @ o.T for v, o in self._pairs(self._read, self._written)])

    def qk(self, offsets: NDArray[np.int64], frequencies: Array) -> Iterator[Array]:
        """Yield their QK matrices, (O, A, A) each, rows and columns centred."""
        for query, key in self._pairs(self._read, self._read):
            yield query @ turn(key, offsets, frequencies).swapaxes(-1, -2)


def _gram_root(vectors: Array) -> Array:
    """Return (A, A) whose product with its transpose is the Gram matrix of centred (A, D)."""
    centred = vectors - vectors.mean(axis=0)
    values, columns = np.linalg.eigh(centred @ centred.T)
    return columns * np.sqrt(values.clip(min=0))


def turn(keys: Array, offsets: NDArray[np.int64], frequencies: Array) -> Array:
    """Rotate keys (..., A, K) to each of O offsets, frequencies (K/2,): (..., O, A, K)."""
    angles = offsets[:, None] * frequencies  # (O, 1) * (K/2,) -> (O, K/2)
    angles = np.concatenate([angles, angles], axis=-1)[:, None]  # (O, 1, K): for every letter
    return reference.rotate(keys[..., None, :, :], np.cos(angles), np.sin(angles))
