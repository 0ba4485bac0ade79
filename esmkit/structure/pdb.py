"""PDB files through Biopython's parser, so that nothing is lost in silence."""

from pathlib import Path

from Bio.PDB.PDBParser import PDBParser

from esmkit.errors import InputError
from esmkit.structure.contents import StructureFile
from esmkit.structure.parsing import _COORDINATE, _build, _Builder

__all__ = ["ATOM_RECORDS", "parse_pdb"]

ATOM_RECORDS = ("ATOM  ", "HETATM")

_END_OF_COORDINATES = 54  # columns of a PDB line


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
