"""A structure, laid on the residues of a sequence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.structure import CONTACT_CUTOFF, Structure
from esmkit.structure.alignment import match
from esmkit.structure.numbering import number

if TYPE_CHECKING:
    from esmkit.sequences.proteins import Protein

__all__ = ["Truth", "truth_of"]

UNKNOWN = "."
"""Secondary structure of residues that the structure lacks."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Facts of a structure about the R residues of a sequence.

    Attributes
    ----------
    name : str
        ID of the structure.
    cb : numpy.ndarray of float32, shape (R, 3), Å
        Cβ (glycine: Cα); NaN where there is none.
    contacts : numpy.ndarray of bool, shape (R, R)
    secondary : str
        R letters of DSSP, ``.`` where not known.
    numbers : list of str
        The authors' residue numbers, empty where there is none.
    length : int
        Resolved residues of the structure: the L of P@L.
    aligned : int
        Residues that sequence and structure have in common.
    identity : float
    notes : tuple of str
    """

    name: str
    cb: NDArray[np.float32]
    contacts: NDArray[np.bool_]
    secondary: str
    numbers: list[str]
    length: int
    aligned: int
    identity: float
    notes: tuple[str, ...]

    @property
    def resolved(self) -> NDArray[np.bool_]:
        """bool, (R,): whether a residue has a place."""
        return np.asarray(np.isfinite(self.cb).all(axis=1))


def truth_of(protein: "Protein", structure: Structure) -> Truth:
    """Align a structure with a sequence.

    Raises
    ------
    InputError
        If it is the structure of another protein.
    """
    matched = match(protein.id, protein.sequence, structure)
    size, ours, theirs = len(protein), matched.of_sequence, matched.of_structure
    cb = np.full((size, 3), np.nan, np.float32)
    cb[ours] = structure.cb[theirs]
    contacts = np.zeros((size, size), bool)
    contacts[np.ix_(ours, ours)] = structure.contacts(CONTACT_CUTOFF)[np.ix_(theirs, theirs)]
    secondary = [UNKNOWN] * size
    for i, j in zip(ours, theirs, strict=True):
        secondary[i] = structure.secondary_structure[j]
    numbers = list(number(matched, size, structure).authors)
    return Truth(
        structure.id,
        cb,
        contacts,
        "".join(secondary),
        numbers,
        int(structure.resolved.sum()),
        len(ours),
        matched.identity,
        structure.notes,
    )
