"""Residues with coordinates to positions in the sequence of the chain, gaps included."""

from dataclasses import dataclass

import numpy as np

from esmkit.structure.files import StructureFile
from esmkit.structure.residues import CAPS, Residue, distance, is_bonded, letter_of

__all__ = ["Placement", "place"]

MAX_GAP = 200
"""Residues; a longer jump in the numbering is a construct's renumbering more often than a loop."""

MAX_STEP = 3.8
"""Å between Cα of neighbours: n missing residues bridge (n + 1) steps and no more."""

MIN_AGREEMENT = 0.9
"""Share of the observed residues that SEQRES has to explain; less is another chain's SEQRES."""


@dataclass(frozen=True)
class Placement:
    """Where the residues of a chain stand.

    ``positions`` (int64, one for each residue, 0-based) rises strictly; ``sequence`` has R letters,
    those of the residues where there are some, else those of the full sequence or X.
    """

    sequence: str
    positions: np.ndarray
    notes: tuple[str, ...]


def place(found: StructureFile, chain: str, residues: list[Residue]) -> Placement:
    """Place the residues of a chain in its full sequence, or keep their gaps by their numbers.

    mmCIF gives the positions. SEQRES of a PDB file gives the letters, and each run of bonded
    residues is put, in order, where the most letters agree; of equal places the one is taken
    that fits the authors' numbering. Without a usable sequence the observed residues are the
    sequence, with X for each number that is missing between two residues, unless they are bonded,
    the jump is over 200, or the residues are too far apart for it.
    """
    names = found.polymers.get(chain, [])
    observed = "".join(letter_of(r.name, found.parents) for r in residues)
    notes: tuple[str, ...] = ()
    if names:
        full = "".join(letter_of(name, found.parents) for name in names)
        labels = [residue.label for residue in residues]
        positions = (
            np.array([label - 1 for label in labels if label is not None], dtype=np.int64)
            if None not in labels
            else _align(observed, full, residues)
        )
        if _is_usable(positions, len(full)):
            return _without_caps(names, full, observed, positions)
        notes = (
            "the full sequence that the file gives does not fit the residues; "
            "the sequence is that of the residues with coordinates",
        )
    positions, more = _by_numbering(residues)
    letters = np.full(int(positions[-1]) + 1, "X")
    letters[positions] = list(observed)
    return Placement("".join(letters), positions, notes + more)


def _is_usable(positions: np.ndarray, length: int) -> bool:
    return bool(len(positions)) and bool(
        (np.diff(positions) > 0).all() and positions[0] >= 0 and positions[-1] < length
    )


def _without_caps(names: list[str], full: str, observed: str, positions: np.ndarray) -> Placement:
    letters = np.array(list(full))
    letters[positions] = list(observed)
    keep = np.array([name not in CAPS for name in names])
    keep[positions] = True
    return Placement("".join(letters[keep]), (np.cumsum(keep) - 1)[positions], ())


def _align(observed: str, full: str, residues: list[Residue]) -> np.ndarray:
    """Place runs of bonded residues, unbroken and in order, so that most letters agree.

    Returns
    -------
    numpy.ndarray
        int64, one position for each residue; empty if they do not fit.
    """
    n, length = len(observed), len(full)
    empty = np.empty(0, dtype=np.int64)
    if n > length:
        return empty
    breaks = [i for i in range(1, n) if not is_bonded(residues[i - 1], residues[i])]
    starts = np.array([0, *breaks])
    sizes = np.diff([*starts, n])
    letters = np.array(list(full))
    is_same = {letter: letters == letter for letter in set(observed)}

    never = -(10**9)
    best = np.zeros(length + 1, dtype=np.int64)  # best score with all runs before ending by here
    choices = []
    for run, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        score = np.full(length, never)
        places = length - size + 1
        matches = sum(is_same[observed[start + k]][k : k + places] for k in range(size))
        # A letter counts 2 and agreement with the numbering 1: it decides between equal places.
        score[:places] = 2 * np.asarray(matches) + best[:places]
        where = np.full(length, -1)
        if run:
            shift = residues[start].number - residues[starts[run - 1]].number
            if sizes[run - 1] <= shift < length:
                previous = choices[-1][0]
                bonus = 2 * np.asarray(matches)[shift:] + previous[: max(places - shift, 0)] + 1
                better = bonus > score[shift:places]
                score[shift:places][better] = bonus[better]
                where[shift:places][better] = np.arange(places - shift)[better]
        choices.append((score, where))
        ends = np.full(length + 1, never)
        ends[size:] = score[:places]
        best = np.maximum.accumulate(ends)
    return _trace(choices, starts, sizes, n, observed, full)


def _trace(
    choices: list[tuple[np.ndarray, np.ndarray]],
    starts: np.ndarray,
    sizes: np.ndarray,
    n: int,
    observed: str,
    full: str,
) -> np.ndarray:
    """Follow the choices back from the last run; empty if too few letters agree."""
    positions = np.empty(n, dtype=np.int64)
    limit, at = len(full), -1
    for run in range(len(starts) - 1, -1, -1):
        score, where = choices[run]
        size = int(sizes[run])
        if at < 0:
            at = int(np.argmax(score[: max(limit - size + 1, 0)])) if limit >= size else -1
        if at < 0 or score[at] < 0:
            return np.empty(0, dtype=np.int64)
        positions[starts[run] : starts[run] + size] = at + np.arange(size)
        limit, at = at, int(where[at])
    agreeing = sum(observed[i] == full[p] for i, p in enumerate(positions))
    return positions if agreeing >= MIN_AGREEMENT * n else np.empty(0, dtype=np.int64)


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
