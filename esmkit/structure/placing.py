"""Residues with coordinates to positions in the sequence of the chain, gaps included."""

from collections.abc import Iterator
from itertools import islice, pairwise

import numpy as np

from esmkit.structure.contents import StructureFile
from esmkit.structure.letters import CAPS, letter_of, remarks
from esmkit.structure.residues import MAX_STEP, Residue, distance, is_bonded

__all__ = ["place"]

MAX_GAP = 200
"""Residues; a longer jump in the numbering is a construct's renumbering more often than a loop."""

MIN_AGREEMENT = 0.9
"""Share of the observed residues that SEQRES has to explain; less is another chain's SEQRES."""

MAX_TIES = 1000
"""Equally good alignments that are compared."""


def place(
    found: StructureFile, chain: str, residues: list[Residue]
) -> tuple[str, np.ndarray, tuple[str, ...]]:
    """Place the residues of a chain in its full sequence, or keep their gaps by their numbers.

    mmCIF gives the positions. SEQRES of a PDB file gives the letters, to which the residues are
    aligned. Without a usable sequence the observed residues are the sequence, with X for each
    number that is missing between two residues, unless they are bonded, the jump is over 200, or
    the residues are too far apart for it.

    Returns
    -------
    sequence : str
        R letters: of the residues where there are some, else of the full sequence or X.
    positions : numpy.ndarray
        int64, one for each residue, 0-based, rising strictly.
    notes : tuple of str
        What did not fit, one sentence each.
    """
    names = found.polymers.get(chain, [])
    observed = "".join(letter_of(r.name, found.parents) for r in residues)
    notes: tuple[str, ...] = ()
    if names:
        labels = [residue.label for residue in residues if residue.label is not None]
        if len(labels) == len(residues):
            positions = np.array(labels) - 1
        else:
            names = [name for name in names if name not in CAPS]
            full = "".join(letter_of(name, found.parents) for name in names)
            positions = _align(observed, full, residues)
        rising = (np.diff(positions) > 0).all()
        if len(positions) and rising and positions[0] >= 0 and positions[-1] < len(names):
            letters = np.array([letter_of(n, found.parents) * (n not in CAPS) for n in names])
            letters[positions] = list(observed)
            places = np.cumsum(letters != "") - 1  # caps are in the numbers of mmCIF
            seen = dict(zip(positions.tolist(), (r.name for r in residues), strict=True))
            every = (seen.get(i, name) for i, name in enumerate(names))
            notes = remarks((name for name in every if name not in CAPS), found.parents)
            return "".join(letters), places[positions], notes
        notes = (
            "the full sequence that the file gives does not fit the residues; "
            "the sequence is that of the residues with coordinates",
        )
    positions, more = _by_numbering(residues)
    letters = np.full(int(positions[-1]) + 1, "X")
    letters[positions] = list(observed)
    more += remarks((residue.name for residue in residues), found.parents)
    return "".join(letters), positions, notes + more


def _align(observed: str, full: str, residues: list[Residue]) -> np.ndarray:
    """Find the residues in the full sequence.

    The authors' numbers nearly always tell: if all letters agree where the numbers, shifted by a
    constant, put the residues, that is the answer. Otherwise the letters are aligned. Of equally
    good alignments the one counts that keeps most bonded residues together, then the one in which
    most letters agree, then the one nearest to the numbers.

    Returns
    -------
    numpy.ndarray
        int64, one position for each residue; empty if they do not fit.
    """
    letters, target = np.array(list(observed)), np.array(list(full))
    numbers = np.array([residue.number for residue in residues])
    steps = numbers - numbers[0]
    if (np.diff(steps) > 0).all():
        starts = range(len(full) - int(steps[-1]))
        for start in sorted(starts, key=lambda i: i + 1 != numbers[0]):  # as numbered, if it fits
            if (target[start + steps] == letters).all():
                return start + steps
    if len(observed) > len(full):
        return np.empty(0, dtype=np.int64)
    bonded = np.array([is_bonded(one, two) for one, two in pairwise(residues)], dtype=bool)

    def fit(positions: np.ndarray) -> tuple[int, int, int]:
        jumps = np.diff(positions)
        return (
            int((jumps[bonded] == 1).sum()),
            int((target[positions] == letters).sum()),
            int((jumps == np.diff(numbers)).sum()),
        )

    best = max(_alignments(observed, full), key=fit)
    agreeing = int((target[best] == letters).sum())
    return best if agreeing >= MIN_AGREEMENT * len(observed) else np.empty(0, dtype=np.int64)


def _alignments(observed: str, full: str) -> Iterator[np.ndarray]:
    """Yield the positions of the observed letters in the best alignments, MAX_TIES at most."""
    from Bio.Align import PairwiseAligner

    aligner = PairwiseAligner(mode="global", match_score=2, mismatch_score=-1)
    # Before 1.86 Biopython called an insertion a gap in the target, a deletion one in the query
    old = not hasattr(aligner, "insertion_score")
    insertion = "target_gap_score" if old else "insertion_score"
    setattr(aligner, insertion, -1000)  # every observed residue has a place
    # A gap of any length costs what a letter gains by it: where the residues are bonded it is
    # not opened for one letter, and what stands alone finds its letter.
    name = "query_internal_{}_gap_score" if old else "{}_internal_deletion_score"
    setattr(aligner, name.format("open"), -3)
    setattr(aligner, name.format("extend"), 0)
    setattr(aligner, "query_end_gap_score" if old else "end_deletion_score", 0)
    for alignment in islice(aligner.align(full, observed), MAX_TIES):
        in_full, in_observed = alignment.indices
        yield in_full[in_observed >= 0].astype(np.int64)


def _by_numbering(residues: list[Residue]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Keep gaps by the numbering: mmCIF's own where every residue has one, else the authors'."""
    labels = [residue.label for residue in residues]
    numbers = [n for n in labels if n is not None]
    if len(numbers) < len(residues):
        numbers = [residue.number for residue in residues]
    positions = [0]
    notes = []
    for i in range(1, len(residues)):
        one, two = residues[i - 1], residues[i]
        missing = 0
        if not is_bonded(one, two):
            missing = max(numbers[i] - numbers[i - 1] - 1, 0)
            apart = distance(one, "CA", two, "CA") or 0.0
            where = f"between residues {one.author_number} and {two.author_number}"
            if missing > MAX_GAP:
                notes.append(f"the numbering jumps by {missing + 1:,} {where}; no X written")
                missing = 0
            elif apart > MAX_STEP * (missing + 1) + 1.0:
                notes.append(f"{apart:.0f} Å {where}, too far for {missing} missing; no X written")
                missing = 0
        positions.append(positions[-1] + 1 + missing)
    return np.array(positions, dtype=np.int64), tuple(notes)
