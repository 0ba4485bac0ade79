"""Which protein each structure is of, found while the proteins go by."""

from collections.abc import Sequence

from esmkit.errors import InputError
from esmkit.sequences.proteins import Protein
from esmkit.structure.record import Structure

__all__ = ["Pairing"]


class Pairing:
    """Finds the protein that each structure is of, and keeps no other.

    Parameters
    ----------
    structures : sequence of Structure
    """

    def __init__(self, structures: Sequence[Structure]) -> None:
        self._structures = structures
        self._best: dict[int, tuple[float, Protein]] = {}  # by the number of the structure
        self._seen = 0
        self._mismatch: InputError | None = None

    def look(self, protein: Protein) -> None:
        """Compare a protein with all structures; of several that are alike the first counts."""
        from esmkit.structure.alignment import match

        self._seen += 1
        for number, structure in enumerate(self._structures):
            try:
                identity = match(protein.id, protein.sequence, structure).identity
            except InputError as mismatch:
                self._mismatch = self._mismatch or mismatch
                continue
            if number not in self._best or identity > self._best[number][0]:
                self._best[number] = (identity, protein)

    def pairs(self) -> list[tuple[Protein, Structure]]:
        """Return each structure with its protein, in the order of the structures.

        Raises
        ------
        InputError
            If a structure is of none of the proteins.
        """
        for number, structure in enumerate(self._structures):
            if number not in self._best:
                if self._seen == 1 and self._mismatch is not None:
                    raise self._mismatch  # it says how far from each other the two are
                raise InputError(
                    f"structure {structure.id!r} is of none of the {self._seen:,} proteins; give "
                    "the structure of one of them, or name its chain: FILE:CHAIN"
                )
        return [(self._best[number][1], s) for number, s in enumerate(self._structures)]
