"""Stretches of a protein that are like other stretches of it: internal repeats, by self-alignment.

A sequence is aligned with itself, locally (Smith & Waterman 1981), with the trivial alignment and
all within a few residues of it left out. The score of the best alignment is held against those of
the same residues in random order, to which an extreme value distribution is fitted. If it is more
than chance, its pairs are taken out, and the next best alignment is looked for, and so on (Waterman
& Eggert 1987), so that all copies of a repeat are paired with all others that they are like.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import InputError, OptionError

if TYPE_CHECKING:
    from Bio.Align import PairwiseAligner

__all__ = ["Repeat", "internal_repeats", "near", "residue_pairs"]

MIN_SEPARATION = 6
"""Residues between aligned ones, at least; closer pairs are no contacts of any range either."""

GAP_OPEN, GAP_EXTEND = -11.0, -1.0
"""Scores of the first and of each further residue of a gap, as BLAST has them with BLOSUM62."""

LAMBDA, K = 0.267, 0.041
"""Statistics of such alignments of unrelated sequences (Altschul et al. 1997, Nucleic Acids Res. 25:3389)."""

SURELY_CHANCE = 0.02
"""Alignments as good that are expected by chance in unrelated sequences, above which no random order
is looked at. Residues of uneven composition align better than that by chance, not worse."""

SHUFFLES = 50
"""Sequences in random order to which the distribution of chance is fitted."""

MAX_P = 1e-3
"""Chance of a score as high, up to which an alignment is a repeat: one false one in 1,000 proteins."""

MARGIN = 2
"""Residues to both sides of a pair that are taken out with it before the next alignment."""

MOST = 100
"""Alignments of one sequence, at most."""

NEVER = -1000.0
"""Score of pairs that are left out."""


@dataclass(frozen=True)
class Repeat:
    """Two stretches of one sequence that are alike.

    Attributes
    ----------
    pairs : numpy.ndarray of int64, shape (n, 2)
        Aligned residues, counted from 0; the first is that of the first stretch.
    score : float
        Of the alignment, BLOSUM62.
    p : float
        Chance that the same residues in random order have an alignment as good.
    identity : float
        Share of pairs of equal residues, 0 to 1.
    """

    pairs: NDArray[np.int64]
    score: float
    p: float
    identity: float

    def __str__(self) -> str:
        (i, j), (k, m) = self.pairs[0] + 1, self.pairs[-1] + 1
        return f"{i}-{k} and {j}-{m}: {len(self.pairs)} pairs, {self.identity:.0%} equal"


@checked
def internal_repeats(sequence: str, *, max_p: float = MAX_P, seed: int = 0) -> list[Repeat]:
    """Find stretches of a protein that are like others of it.

    Parameters
    ----------
    sequence : str
        Letters of amino acids; what is no standard one is taken as X.
    max_p : float
        Chance of a score as high in the same residues in random order, up to which an alignment
        counts, over 0 and below 1.
    seed : int
        Of the random orders.

    Returns
    -------
    list of Repeat
        Best first; empty if nothing is repeated.

    Raises
    ------
    OptionError
        If `max_p` is out of range.
    InputError
        If the sequence is empty.

    References
    ----------
    Smith & Waterman 1981, J. Mol. Biol. 147:195; Waterman & Eggert 1987, J. Mol. Biol. 197:723;
    Altschul et al. 1997, Nucleic Acids Res. 25:3389.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_proteins()[0].sequence
    >>> internal_repeats(ubiquitin)
    []
    >>> print(internal_repeats(ubiquitin * 2)[0])
    1-76 and 77-152: 76 pairs, 100% equal
    """
    if not 0 < max_p < 1:
        raise OptionError(f"max_p is over 0 and below 1, not {max_p:g}")
    if not sequence:
        raise InputError("the sequence is empty; give the letters of a protein")
    return list(_found(sequence, max_p, seed))


@lru_cache(maxsize=256)
def _found(sequence: str, max_p: float, seed: int) -> tuple[Repeat, ...]:
    """Return the repeats of a sequence, which is asked for by each model that it goes through."""
    letters, scores = _coded(sequence), _blosum()[1]
    size = len(letters)
    if size <= MIN_SEPARATION:
        return ()
    own, places = _off_diagonal(scores[np.ix_(letters, letters)]), np.arange(size, dtype=np.int32)
    best = float(_aligner(own).score(places, places))
    if max_p < SURELY_CHANCE < K * size**2 / 2 * np.exp(-LAMBDA * best):
        return ()
    chance = _by_chance(letters, seed)
    found: list[Repeat] = []
    while len(found) < MOST:
        alignments = _aligner(own).align(places, places)
        score = float(alignments.score)
        p = -np.expm1(-np.exp(-(score - chance[0]) / chance[1]))
        if not p <= max_p:
            break
        pairs = np.asarray(next(iter(alignments)).indices, np.int64)
        pairs = np.ascontiguousarray(pairs[:, (pairs >= 0).all(0)].T)
        pairs.flags.writeable = False  # it is shared
        equal = np.mean([sequence[i] == sequence[j] for i, j in pairs])
        found.append(Repeat(pairs, score, float(p), float(equal)))
        own[near(pairs, size)] = NEVER
    return tuple(found)


def residue_pairs(repeats: list[Repeat]) -> NDArray[np.int64]:
    """Return the aligned pairs of all repeats, each once and the first residue first: (n, 2).

    See Also
    --------
    internal_repeats : Where stretches are repeated.

    Examples
    --------
    >>> residue_pairs([])
    array([], shape=(0, 2), dtype=int64)
    """
    every = [repeat.pairs for repeat in repeats]
    return np.unique(np.concatenate([np.empty((0, 2), np.int64), *every]), axis=0)


def near(pairs: NDArray[np.int64], size: int, margin: int = MARGIN) -> NDArray[np.bool_]:
    """Return which pairs are aligned ones, or within a margin of one in the second: (R, R).

    >>> near(np.array([[0, 3]]), 5, margin=1)[0]
    array([False, False,  True,  True,  True])
    """
    found = np.zeros((size, size + 2 * margin), bool)
    for step in range(2 * margin + 1):
        found[pairs[:, 0], pairs[:, 1] + step] = True
    return found[:, margin : margin + size]


def _off_diagonal(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out all pairs but those whose second residue comes long enough after the first."""
    return np.where(np.triu(np.ones(scores.shape, bool), MIN_SEPARATION), scores, NEVER)


def _by_chance(letters: NDArray[np.int64], seed: int) -> tuple[float, float]:
    """Return location and scale of the best scores of random orders (Gumbel), by their moments."""
    random, scores, size = np.random.default_rng(seed), _blosum()[1], len(letters)
    places, best = np.arange(size, dtype=np.int32), []
    for _ in range(SHUFFLES):
        order = random.permutation(letters)
        shuffled = _off_diagonal(scores[np.ix_(order, order)])
        best.append(float(_aligner(shuffled).score(places, places)))
    scale = max(float(np.std(best, ddof=1)) * np.sqrt(6) / np.pi, 1e-6)
    return float(np.mean(best)) - float(np.euler_gamma) * scale, scale


def _aligner(scores: NDArray[np.float64]) -> "PairwiseAligner":
    """Return an aligner for which each residue of a sequence is a letter of its own."""
    from Bio.Align import PairwiseAligner, substitution_matrices

    aligner: Any = PairwiseAligner(mode="local")
    aligner.open_gap_score, aligner.extend_gap_score = GAP_OPEN, GAP_EXTEND
    aligner.substitution_matrix = substitution_matrices.Array(
        alphabet=tuple(range(len(scores))), dims=2, data=scores
    )
    return aligner


@cache
def _blosum() -> tuple[str, NDArray[np.float64]]:
    """Return the letters of BLOSUM62 (Henikoff & Henikoff 1992), and its scores."""
    from Bio.Align import substitution_matrices

    table: Any = substitution_matrices.load("BLOSUM62")
    return "".join(map(str, table.alphabet)), np.array(table, np.float64)


def _coded(sequence: str) -> NDArray[np.int64]:
    alphabet, _ = _blosum()
    unknown = alphabet.index("X")
    return np.array(
        [alphabet.index(a) if a in alphabet else unknown for a in sequence], dtype=np.int64
    )
