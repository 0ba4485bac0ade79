"""Which sequences are of one protein, or of one family, whatever they are called."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from esmkit.arguments import checked

__all__ = ["are_alike", "first_alike"]

MARGIN = 5.0
"""Percent of identity above Rost's curve: on it one pair in ten is alike by chance."""

LEAST_SCORE = 40.0
"""Local alignments below this are not looked at: no pair that they could be of is above the curve."""

LETTERS = frozenset("ARNDCQEGHILKMFPSTWYVBZX")
"""Those of BLOSUM62."""


def least_identity(aligned: int) -> float:
    """Return the percentage of equal letters from which an alignment is taken for one of relatives.

    The curve of Sander and Schneider as Rost fitted it (1999, Protein Engineering 12, 85), and 5
    points more: the fewer residues are aligned, the more of them must be equal.

    >>> [round(least_identity(length)) for length in (11, 40, 80, 150, 500)]
    [100, 52, 37, 29, 24]
    """
    if aligned <= 11:
        return 100.0
    curve = 480 * aligned ** (-0.32 * (1 + math.exp(-aligned / 1000))) if aligned <= 450 else 19.5
    return min(100.0, curve + MARGIN)


@checked
def are_alike(one: str, other: str) -> bool:
    """Tell whether two sequences are equal, part of each other, or close relatives.

    Relatives have a local alignment (BLOSUM62, gaps 11 and 1) with more equal letters than
    unrelated proteins have in one of its length: 37 % of 80 residues, 29 % of 150.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure().sequence
    >>> are_alike(ubiquitin, "GSHM" + ubiquitin[:40] + "W" + ubiquitin[41:])
    True
    >>> are_alike(ubiquitin, esmkit.data.demo_proteins()[3].sequence)
    False
    """
    shorter, longer = sorted((one.upper(), other.upper()), key=len)
    if not shorter:
        return False
    if shorter in longer:
        return True
    shorter, longer = _known(shorter), _known(longer)
    aligner = _aligner()
    if aligner.score(longer, shorter) < LEAST_SCORE:
        return False
    blocks = aligner.align(longer, shorter)[0].aligned
    pairs = [
        (longer[start + k], shorter[other_start + k])
        for (start, stop), (other_start, _) in zip(*blocks, strict=True)
        for k in range(stop - start)
    ]
    known = [a == b for a, b in pairs if "X" not in (a, b)]
    return bool(known) and 100 * sum(known) / len(known) >= least_identity(len(known))


def first_alike(sequence: str, others: Sequence[str]) -> int | None:
    """Return the place of the first sequence that is like this one, equal ones before others."""
    for place, other in enumerate(others):
        if other == sequence:
            return place
    return next((place for place, o in enumerate(others) if are_alike(sequence, o)), None)


def _known(sequence: str) -> str:
    return "".join(letter if letter in LETTERS else "X" for letter in sequence)


@functools.cache
def _aligner() -> Any:
    from Bio.Align import PairwiseAligner, substitution_matrices

    return PairwiseAligner(
        mode="local",
        substitution_matrix=substitution_matrices.load("BLOSUM62"),
        open_gap_score=-11,
        extend_gap_score=-1,
    )
