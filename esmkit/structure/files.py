"""Structure files, PDB and mmCIF, plain or gzip, to the atoms of one model.

PDB lines are read by their columns (wwPDB format 3.3), mmCIF through Biopython's ``MMCIF2Dict``.
Nothing is chosen here: alternate locations, ligands and waters are all still there.
"""

import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from esmkit.errors import InputError
from esmkit.report import shorten

__all__ = ["Atom", "StructureFile", "read_file"]

MAX_COORDINATE = 1e6
"""Å; PDB has room for 9,999.999, and what is larger than this is a damaged number."""

_MAGIC_OF_OTHER_FILES = {
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"\x89HDF": "HDF5 data",
    b"<?xml": "XML",
}
_UNKNOWN = frozenset((".", "?", ""))  # how mmCIF writes "not applicable" and "unknown"


class Atom(NamedTuple):
    """One line of coordinates.

    ``label`` is the 1-based position in the full sequence of the polymer, which mmCIF gives and
    PDB does not; ``number`` and ``insertion`` are the authors' residue number.
    """

    name: str
    altloc: str
    residue: str
    chain: str
    number: int
    insertion: str
    position: tuple[float, float, float]
    occupancy: float
    hetero: bool
    label: int | None = None
    asym: str = ""
    entity: str = ""


@dataclass
class StructureFile:
    """The atoms of one model, by chain, and what the header says about the chains.

    Attributes
    ----------
    atoms : dict of list of Atom
        By the authors' chain name, in file order; ``""`` where a PDB file has a blank.
    polymers : dict of list of str
        Three-letter names of the full sequence, resolved or not, for chains that have one.
    parents : dict of str
        Name of a modified residue to the name of its parent, where the file says so.
    models : list of int
        The numbers of all models in the file.
    """

    path: Path
    model: int | None
    atoms: dict[str, list[Atom]] = field(default_factory=dict)
    polymers: dict[str, list[str]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    models: list[int] = field(default_factory=list)


def read_file(path: str | Path, model: int | None = None) -> StructureFile:
    """Read one model of a structure file; which format it is, its content says.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged, no structure, or lacks the model.
    """
    path = Path(path)
    text = _read_text(path)
    lines = text.splitlines()
    first = next((s for line in lines if (s := line.strip()) and s[0] != "#"), "")
    found = StructureFile(path, model)
    if not first:
        raise InputError(f"{str(path)!r} is empty; a structure file is in PDB or mmCIF format")
    if first[:5].lower() == "data_":
        _read_mmcif(text, found)
    elif any(line.startswith(("ATOM  ", "HETATM")) for line in lines):
        _read_pdb(lines, found)
    else:
        raise InputError(
            f"{str(path)!r} is no structure file: it begins with {shorten(first, 30)!r} and has "
            "neither the ATOM lines of a PDB file nor the 'data_' line of an mmCIF file"
        )
    if not found.atoms:
        if model is not None and found.models and model not in found.models:
            there = shorten(", ".join(map(str, found.models)))
            raise InputError(f"{str(path)!r} has no model {model}; it has {there}")
        raise InputError(f"{str(path)!r} has no atoms; download it again, or check what wrote it")
    return found


def _read_text(path: Path) -> str:
    name = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {name!r}; check the path") from None
    except IsADirectoryError:
        raise InputError(
            f"{name!r} is a folder; name one structure file in it, such as {name}/1ubi.pdb"
        ) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {name!r}: {why}; check the path and its rights") from None
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (EOFError, zlib.error, OSError) as error:
            raise InputError(
                f"{name!r} is a damaged gzip file ({error}); copy or download it again"
            ) from None
    for magic, kind in _MAGIC_OF_OTHER_FILES.items():
        if data.startswith(magic):
            raise InputError(
                f"{name!r} is {kind}; give a PDB or mmCIF file, plain or packed with gzip"
            )
    return data.decode("utf-8-sig", errors="replace")


def _read_pdb(lines: list[str], found: StructureFile) -> None:
    """Read the columns of the records that matter; line numbers are for the messages."""
    active = found.model in (None, 1)  # atoms that precede every MODEL line are model 1
    for number, line in enumerate(lines, 1):
        record = line[:6]
        if record in ("ATOM  ", "HETATM"):
            found.models = found.models or [1]
            if active:
                atom = _pdb_atom(line, f"{str(found.path)!r}, line {number}")
                found.atoms.setdefault(atom.chain, []).append(atom)
        elif record == "SEQRES":
            found.polymers.setdefault(line[11:12].strip(), []).extend(line[19:70].split())
        elif record == "MODRES":
            found.parents[line[12:15].strip()] = line[24:27].strip()
        elif record.rstrip() == "MODEL":
            text = line[6:].strip()
            model = int(text) if _is_number(text) else len(found.models) + 1
            active = model not in found.models and (
                model == found.model if found.model is not None else not found.models
            )
            found.models.append(model)
        elif record == "ENDMDL":
            active = False


def _pdb_atom(line: str, where: str) -> Atom:
    x, y, z = (_coordinate(line[i : i + 8], where) for i in (30, 38, 46))
    return Atom(
        name=line[12:16].strip(),
        altloc=line[16].strip(),
        residue=line[17:20].strip(),
        chain=line[21].strip(),
        number=_residue_number(line[22:26].strip(), where),
        insertion=line[26].strip(),
        position=(x, y, z),
        occupancy=_occupancy(line[54:60], where),
        hetero=line.startswith("HETATM"),
    )


def _coordinate(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < MAX_COORDINATE:
        raise InputError(
            f"{where}: the coordinate {text.strip()!r} is not a number of Å below "
            f"{MAX_COORDINATE:,.0f}; the line is cut or its columns have moved"
        )
    return value


def _occupancy(text: str, where: str) -> float:
    if text.strip() in _UNKNOWN:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{where}: the occupancy {text.strip()!r} is not a number; leave it blank for 1"
        )
    return value


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 10


def _residue_number(text: str, where: str) -> int:
    """Read a residue number; those over 9,999 in PDB files are hybrid-36 (cctbx, iotbx/pdb)."""
    if _is_number(text):
        return int(text)
    if len(text) == 4 and text.isascii() and text.isalnum() and text[0].isalpha():
        offset = 10**4 - 10 * 36**3
        return int(text, 36) + (offset if text[0].isupper() else offset + 26 * 36**3)
    raise InputError(
        f"{where}: the residue number {text!r} is not a number; the line is cut or its columns "
        "have moved"
    )


def _read_mmcif(text: str, found: StructureFile) -> None:
    from Bio.PDB.MMCIF2Dict import MMCIF2Dict

    name = str(found.path)
    try:
        table: dict[str, Any] = MMCIF2Dict(io.StringIO(text))
    # What the tokenizer raises on text that is not mmCIF after all, or is cut short.
    except (ValueError, LookupError, ArithmeticError, UnboundLocalError) as error:
        raise InputError(
            f"{name!r} is a damaged mmCIF file ({shorten(str(error))}); download it again"
        ) from None
    for atom in _mmcif_atoms(table, found):
        found.atoms.setdefault(atom.chain, []).append(atom)
    found.parents.update(_mmcif_parents(table))
    for chain in found.atoms:
        _mmcif_polymer(table, chain, found)


def _columns(table: dict[str, Any], category: str, *names: str) -> list[list[str]]:
    """Return columns of one mmCIF category, [] for those that are not there, or all cut alike."""
    columns = [table.get(f"_{category}.{name}", []) for name in names]
    columns = [column if isinstance(column, list) else [] for column in columns]
    rows = min((len(column) for column in columns if column), default=0)
    return [column[:rows] for column in columns]


def _mmcif_atoms(table: dict[str, Any], found: StructureFile) -> Iterator[Atom]:
    """Yield the atoms of the model that was asked for, else of the first."""
    columns = {
        key.removeprefix("_atom_site."): values
        for key, values in table.items()
        if key.startswith("_atom_site.") and isinstance(values, list)
    }
    rows = max(map(len, columns.values()), default=0)
    needed = ("label_atom_id", "label_comp_id", "Cartn_x", "Cartn_y", "Cartn_z")
    missing = [name for name in needed if name not in columns]
    if rows and missing:
        raise InputError(
            f"{str(found.path)!r} has atoms without _atom_site.{missing[0]}; "
            "write it again with all columns of the mmCIF format"
        )
    if any(len(column) != rows for column in columns.values()):
        raise InputError(
            f"{str(found.path)!r} is cut short: its last atom is incomplete; download it again"
        )

    def value(row: int, *names: str) -> str:
        """Return the first of these columns that is there and known."""
        cells = (columns[name][row] for name in names if name in columns)
        return next((cell for cell in cells if cell not in _UNKNOWN), "")

    for row in range(rows):
        where = f"{str(found.path)!r}, atom {row + 1}"
        text = value(row, "pdbx_PDB_model_num")
        model = int(text) if _is_number(text) else 1
        if model not in found.models:
            found.models.append(model)
        if model != (found.models[0] if found.model is None else found.model):
            continue
        x, y, z = (_coordinate(columns[f"Cartn_{axis}"][row], where) for axis in "xyz")
        label = value(row, "label_seq_id")
        yield Atom(
            name=value(row, "label_atom_id"),
            altloc=value(row, "label_alt_id"),
            residue=value(row, "label_comp_id"),
            chain=value(row, "auth_asym_id", "label_asym_id"),
            number=_residue_number(value(row, "auth_seq_id", "label_seq_id") or "0", where),
            insertion=value(row, "pdbx_PDB_ins_code"),
            position=(x, y, z),
            occupancy=_occupancy(value(row, "occupancy"), where),
            hetero=value(row, "group_PDB") == "HETATM",
            label=int(label) if _is_number(label) else None,
            asym=value(row, "label_asym_id"),
            entity=value(row, "label_entity_id"),
        )


def _mmcif_parents(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from zip(*_columns(table, "chem_comp", "id", "mon_nstd_parent_comp_id"), strict=False)
    names = ("label_comp_id", "parent_comp_id")
    yield from zip(*_columns(table, "pdbx_struct_mod_residue", *names), strict=False)


def _mmcif_polymer(table: dict[str, Any], chain: str, found: StructureFile) -> None:
    """Find the full sequence of a chain, if it is complete."""
    atoms = found.atoms[chain]
    counts = Counter((a.asym, a.entity) for a in atoms if a.label is not None)
    names: dict[int, str] = {}
    asym = ""
    if counts:
        (asym, entity), _ = counts.most_common(1)[0]
        sources = [
            (entity, _columns(table, "entity_poly_seq", "entity_id", "num", "mon_id")),
            (asym, _columns(table, "pdbx_poly_seq_scheme", "asym_id", "seq_id", "mon_id")),
        ]
        for owner, columns in sources:
            for key, number, residue in zip(*columns, strict=False):
                if key == owner and _is_number(number):
                    names.setdefault(int(number), residue)
            if names:
                break
    if names and sorted(names) == list(range(1, len(names) + 1)):
        found.polymers[chain] = [names[number] for number in sorted(names)]
    # A position in another polymer is none in this one.
    found.atoms[chain] = [a if a.asym == asym else a._replace(label=None) for a in atoms]
