"""Which residue of a sequence is which of a structure: tags, gaps and mutations in between."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from esmkit.sequences.proteins import Protein
    from esmkit.structure import Structure

__all__ = ["MIN_IDENTITY", "Matched", "match", "protein_of"]

MIN_IDENTITY = 0.9
"""Least share of equal letters among aligned residues; below it is another protein's structure."""

MIN_COVERAGE = 0.5
"""Least share of the resolved residues that must be aligned."""


@dataclass(frozen=True)
class Matched:
    """Residues that a sequence and a structure have in common.

    Attributes
    ----------
    of_sequence, of_structure : numpy.ndarray of int64, shape (M,)
        Indices from 0, ascending, M of each.
    identity : float
        Share of equal letters among them, X left out.
    """

    of_sequence: NDArray[np.int64]
    of_structure: NDArray[np.int64]
    identity: float


def match(name: str, sequence: str, structure: "Structure") -> Matched:
    """Align a sequence with that of a structure.

    Global alignment with free ends (Biopython's ``PairwiseAligner``): equal letters 2, others -1,
    X with anything 0, a gap -3 and each further place in it -0.5.

    Raises
    ------
    InputError
        If under 90 % of the aligned letters are equal, or under half of the resolved residues are
        aligned: then they are not of one protein.
    """
    if sequence == structure.sequence:
        every = np.arange(len(sequence))
        return Matched(every, every, 1.0)
    i, j = _align(sequence, structure.sequence)
    letters = np.array(list(sequence)), np.array(list(structure.sequence))
    one, two = letters[0][i], letters[1][j]
    known = (one != "X") & (two != "X")
    identity = float((one == two)[known].mean()) if known.any() else 0.0
    resolved = int(structure.resolved.sum())
    covered = float(structure.resolved[j].sum() / resolved) if resolved else 0.0
    if identity < MIN_IDENTITY or covered < MIN_COVERAGE:
        raise InputError(
            f"sequence {name!r} and structure {structure.id!r} do not belong together: "
            f"{identity:.0%} of the aligned letters are equal and {covered:.0%} of the resolved "
            f"residues are aligned (at least {MIN_IDENTITY:.0%} and {MIN_COVERAGE:.0%} are needed);"
            " give the structure of this protein, or name its chain: FILE:CHAIN"
        )
    return Matched(i, j, identity)


def protein_of(structure: "Structure", proteins: "Sequence[Protein]") -> str:
    """Return the ID of the protein that a structure is of: the one most like it.

    Raises
    ------
    InputError
        If it is of none of them.
    """
    best: tuple[float, str] | None = None
    error: InputError | None = None
    for protein in proteins:
        try:
            identity = match(protein.id, protein.sequence, structure).identity
        except InputError as mismatch:
            error = mismatch
            continue
        if best is None or identity > best[0]:
            best = (identity, protein.id)
    if best is not None:
        return best[1]
    if len(proteins) == 1 and error is not None:
        raise error
    raise InputError(
        f"structure {structure.id!r} is of none of the {len(proteins):,} proteins; give the "
        "structure of one of them, or name its chain: FILE:CHAIN"
    )


def _align(one: str, two: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the aligned pairs of places."""
    from Bio.Align import PairwiseAligner

    aligner = PairwiseAligner(
        mode="global",
        match_score=2,
        mismatch_score=-1,
        wildcard="X",
        open_gap_score=-3,
        extend_gap_score=-0.5,
    )
    aligner.end_gap_score = 0
    blocks = aligner.align(one, two)[0].aligned
    pairs = [(np.arange(*first), np.arange(*second)) for first, second in zip(*blocks, strict=True)]
    if not pairs:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return (
        np.concatenate([first for first, _ in pairs]).astype(np.int64),
        np.concatenate([second for _, second in pairs]).astype(np.int64),
    )
