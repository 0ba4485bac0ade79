"""Biopython's builder of structures, so that nothing of an mmCIF file is lost in silence.

What Biopython would drop with a warning is refused with its place in the file, or noted. Nothing
is chosen here: alternate locations, ligands and waters are all still there.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
from Bio.PDB.PDBExceptions import PDBConstructionException
from Bio.PDB.StructureBuilder import StructureBuilder

from esmkit.errors import InputError
from esmkit.text import shorten

__all__ = ["Builder"]

MAX_COORDINATE = 1e6
"""Å; PDB has room for 9,999.999, and what is larger than this is a damaged number."""

_COORDINATE = f"coordinate (Å, below {MAX_COORDINATE:,.0f})"


class Builder(StructureBuilder):
    """Biopython's builder of structures, made stricter about atoms and kinder to repeats.

    ``where`` gives place and text of a row by its number, which atoms get as their serial number.
    ``left_out`` collects (model, chain, residue number, insertion code) of residues that stand in
    the file more than once.
    """

    model: Any
    chain: Any
    residue: Any

    def __init__(self, where: Callable[[int], tuple[str, str]]) -> None:
        super().__init__()
        # Biopython sets them itself since some version after 1.83
        self.model: Any = None
        self.chain: Any = None
        self.residue: Any = None
        self.segid: str | None = None
        self.where = where
        self.left_out: set[tuple[int, str, int, str]] = set()
        self._is_again = False

    def refuse(self, what: str) -> NoReturn:
        """Raise the error for a row that lacks what it needs."""
        place, text = self.where(self.line_counter)
        raise InputError(
            f"{place}: missing or wrong {what} in {shorten(text, 160)!r}; the line is cut or its "
            "columns have moved"
        ) from None

    def init_residue(self, resname: str, field: str, resseq: int, icode: str) -> None:
        """Begin a residue, or go on with the one that is there.

        Each name at a place is a residue of its own, ``" _SER"`` in ATOM rows, ``"H_MSE"`` in
        HETATM rows. Biopython's own way with several names (DisorderedResidue) loses atoms where
        their rows alternate, and puts the residue at the end of the chain.
        """
        key = (f"{field}_{resname}", resseq, icode)
        self._is_again = self.chain.has_id(key)
        if self._is_again:
            self.residue = self.chain[key]
        else:
            super().init_residue(resname, *key)

    def init_atom(self, name: str, coord: Any, *fields: Any, **more: Any) -> None:
        """Add an atom; refuse it if it has no place, occupancy or alternate location."""
        b_factor, occupancy, altloc, fullname = fields[:4]
        if not bool(np.all(np.abs(coord) < MAX_COORDINATE)):  # NaN is not smaller
            self.refuse(_COORDINATE)
        if occupancy is None or not np.isfinite(occupancy):
            self.refuse("occupancy (a number, or blank for 1)")
        if len(altloc) != 1:
            self.refuse("alternate location (one character)")
        if self._is_again and altloc == " ":
            # Biopython would add what a second copy of the chain has and the first has not.
            self.left_out.add((self.model.id, self.chain.id, *self.residue.id[1:]))
            return
        there = self.residue[name] if self.residue.has_id(name) else None
        if there is not None and there.is_disordered() and altloc in there.child_dict:
            return  # as of other atoms that are given twice, the first counts
        with contextlib.suppress(PDBConstructionException):
            # The element is not used, and to guess it from odd names fails.
            super().init_atom(
                name, coord, b_factor, occupancy, altloc, fullname, self.line_counter, "C"
            )
