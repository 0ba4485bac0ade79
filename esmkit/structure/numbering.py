"""Two numberings of one protein: residues of a sequence from 1, and the authors' own numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.structure.alignment import Matched, match

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["Numbering", "numbering_of"]


@dataclass(frozen=True, eq=False)
class Numbering:
    """Where the R residues of a sequence are in a structure, and how its authors number them.

    Attributes
    ----------
    structure : str
        ID of the structure.
    places : numpy.ndarray of int64, shape (R,)
        Index of each residue in the structure, from 0; -1 where the structure lacks it.
    authors : tuple of str
        The authors' R numbers with insertion code (``52A``, ``-3``); empty where there is none,
        because the structure lacks the residue or has no atom of it.
    """

    structure: str
    places: NDArray[np.int64]
    authors: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.authors)

    @property
    def aligned(self) -> int:
        """How many residues the structure has too, with coordinates or without."""
        return int((self.places >= 0).sum())

    @cached_property
    def differs(self) -> bool:
        """Whether an author's number is another than the residue's number in the sequence."""
        return any(name not in ("", str(number)) for number, name in enumerate(self.authors, 1))

    @cached_property
    def along_structure(self) -> NDArray[np.float64]:
        """float64, (R,): rising places along the structure, also of residues that it lacks.

        Those before its first and behind its last residue are counted on; those in between lie
        evenly between their neighbours.
        """
        known = np.flatnonzero(self.places >= 0)
        every = np.arange(len(self), dtype=np.float64)
        if not len(known):
            return every
        found = np.interp(every, known, self.places[known])
        first, last = int(known[0]), int(known[-1])
        found[:first] = self.places[first] - np.arange(first, 0, -1)
        found[last + 1 :] = self.places[last] + np.arange(1, len(self) - last)
        return found

    @property
    def has_gaps(self) -> bool:
        """Whether sequence and structure differ by residues between their first and last ones."""
        return bool((np.diff(self.along_structure) != 1).any())


def numbering_of(name: str, sequence: str, structure: "Structure") -> Numbering:
    """Align a sequence with a structure, and number its residues as the authors do.

    Parameters
    ----------
    name : str
        The protein, for the message.
    sequence : str
        R letters.
    structure : Structure

    Raises
    ------
    InputError
        If it is the structure of another protein.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> tagged = numbering_of("tagged", "GSHM" + ubiquitin.sequence, ubiquitin)
    >>> tagged.authors[:6]
    ('', '', '', '', '1', '2')
    >>> tagged.differs, tagged.aligned, tagged.has_gaps
    (True, 76, False)
    """
    return number(match(name, sequence, structure), len(sequence), structure)


def number(matched: Matched, residues: int, structure: "Structure") -> Numbering:
    """Return the numbering of a sequence that is aligned already."""
    places = np.full(residues, -1, np.int64)
    places[matched.of_sequence] = matched.of_structure
    authors = tuple("" if j < 0 else structure.residue_numbers[j] for j in places.tolist())
    return Numbering(structure.id, places, authors)
