"""Structure files through Biopython's parsers, so that nothing is lost in silence.

``PDBParser`` and ``MMCIFParser`` hand every atom to a builder. Ours is theirs, except that what
they would drop with a warning is refused with its place in the file, or noted. Nothing is chosen
here: alternate locations, ligands and waters are all still there.
"""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from Bio.PDB.PDBExceptions import PDBConstructionException
from Bio.PDB.PDBParser import PDBParser
from Bio.PDB.StructureBuilder import StructureBuilder

from esmkit.errors import InputError
from esmkit.structure.contents import StructureFile
from esmkit.text import shorten

__all__ = ["ATOM_RECORDS", "parse_pdb"]

ATOM_RECORDS = ("ATOM  ", "HETATM")

MAX_COORDINATE = 1e6
"""Å; PDB has room for 9,999.999, and what is larger than this is a damaged number."""

_COORDINATE = f"coordinate (Å, below {MAX_COORDINATE:,.0f})"
_END_OF_COORDINATES = 54  # columns of a PDB line


class _Builder(StructureBuilder):
    """Biopython's builder of structures, made stricter about atoms and kinder to repeats.

    ``where`` gives place and text of the line (PDB) or row (mmCIF) of a number that the parser
    counts; atoms get this number as their serial number. ``left_out`` collects (model, chain,
    residue number, insertion code) of residues that stand in the file more than once.
    """

    model: Any
    chain: Any
    residue: Any

    def __init__(self, where: Callable[[int], tuple[str, str]]) -> None:
        super().__init__()
        self.where = where
        self.left_out: set[tuple[int, str, int, str]] = set()
        self._is_again = False

    def refuse(self, what: str) -> NoReturn:
        place, text = self.where(self.line_counter)
        raise InputError(
            f"{place}: missing or wrong {what} in {text!r}; the line is cut or its columns have "
            "moved"
        ) from None

    def init_model(self, model_id: int, serial_num: int | None = None) -> None:
        # Models without a number count from 1, as the numbers of the others do.
        super().init_model(model_id, model_id + 1 if serial_num is None else serial_num)

    def init_residue(self, resname: str, field: str, resseq: int, icode: str) -> None:
        # Each name at a place is a residue of its own, ``" _SER"`` in ATOM lines, ``"H_MSE"`` in
        # HETATM lines. Biopython's own way with several names (DisorderedResidue) loses atoms
        # where their lines alternate, and puts the residue at the end of the chain.
        key = (f"{field}_{resname}", resseq, icode)
        self._is_again = self.chain.has_id(key)
        if self._is_again:
            self.residue = self.chain[key]
        else:
            super().init_residue(resname, *key)

    def init_atom(self, name: str, coord: Any, *fields: Any, **more: Any) -> None:
        _, occupancy, altloc, fullname = fields[:4]
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
            super().init_atom(name, coord, 0.0, occupancy, altloc, fullname, self.line_counter, "C")


def _no_model(path: Path, model: int | None, there: list[int]) -> InputError:
    """Return the error for a file without a model, or without any."""
    listed = shorten(", ".join(dict.fromkeys(map(str, there))))
    if listed and model is not None:
        return InputError(f"{str(path)!r} has no model {model}; it has {listed}")
    return InputError(f"{str(path)!r} has no atoms; download it again, or check what wrote it")


def _build(
    parser: PDBParser, text: str, builder: _Builder, path: Path, model: int | None
) -> dict[str, Any]:
    """Run a parser; return the fields of :class:`StructureFile` that both formats share."""
    try:
        with np.errstate(over="ignore"):  # a coordinate too large for float32 is refused as such
            structure: Any = parser.get_structure("", io.StringIO(text))
    except InputError:
        raise
    except PDBConstructionException:  # the only one that is left
        builder.refuse(_COORDINATE)
    except (ValueError, LookupError):
        builder.refuse("residue number (hybrid-36 is not read; give mmCIF)")
    models = [m for m in structure if len(m) and model in (None, m.serial_num)]
    if not models:
        raise _no_model(path, model, [m.serial_num for m in structure])
    one = models[0]  # of several with the same number the first
    return {
        "path": path,
        "model": one.serial_num,
        "chains": {chain.id.strip(): chain for chain in one},
        "left_out": {key[1:] for key in builder.left_out if key[0] == one.id},
    }


def parse_pdb(lines: list[str], path: Path, model: int | None) -> StructureFile:
    """Parse the lines of a PDB file (wwPDB format 3.3).

    Only what is used goes to Biopython: a damaged ANISOU line or a date in an odd format stops it.
    SEQRES and MODRES are read here, because ``Bio.SeqIO`` gives letters without the names, so that
    caps and whatever MODRES explains would be X.
    """
    kept: list[tuple[int, str]] = []
    polymers: dict[str, list[str]] = {}
    parents: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        record = line[:6].rstrip()
        if line.startswith(ATOM_RECORDS):
            if len(line) < _END_OF_COORDINATES:  # 12.3 of 12.345 would pass for a coordinate
                raise InputError(
                    f"{str(path)!r}, line {number}: missing or wrong {_COORDINATE} in {line!r}; the "
                    "line is cut or its columns have moved"
                )
            occupancy = line[54:60].strip() or "1.00"
            kept.append((number, f"{line[:54]:54}{occupancy:>6}  0.00"))
        elif record == "MODEL":
            kept.append((number, f"MODEL {line[6:].strip():>8}"))
        elif record == "ENDMDL":
            kept.append((number, record))
        elif record == "SEQRES":
            polymers.setdefault(line[11:12].strip(), []).extend(line[19:70].split())
        elif record == "MODRES":
            parents[line[12:15].strip()] = line[24:27].strip()

    def where(counter: int) -> tuple[str, str]:
        number, _ = kept[counter - 1]
        return f"{str(path)!r}, line {number}", lines[number - 1]

    builder = _Builder(where)
    parser = PDBParser(QUIET=True, structure_builder=builder)
    shared = _build(parser, "\n".join(line for _, line in kept), builder, path, model)
    return StructureFile(**shared, polymers=polymers, parents=parents, labels=[])
