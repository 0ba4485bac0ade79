"""Structure files through Biopython's parsers, so that nothing is lost in silence.

``PDBParser`` and ``MMCIFParser`` hand every atom to a builder. Ours is theirs, except that what
they would drop with a warning is refused with its place in the file, or noted. Nothing is chosen
here: alternate locations, ligands and waters are all still there.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from Bio.PDB.MMCIF2Dict import MMCIF2Dict
from Bio.PDB.mmcifio import MMCIFIO
from Bio.PDB.MMCIFParser import MMCIFParser
from Bio.PDB.PDBExceptions import PDBConstructionException
from Bio.PDB.PDBParser import PDBParser
from Bio.PDB.StructureBuilder import StructureBuilder

from esmkit.errors import InputError
from esmkit.structure.contents import StructureFile
from esmkit.text import shorten

__all__ = ["parse_mmcif"]

MAX_COORDINATE = 1e6
"""Å; PDB has room for 9,999.999, and what is larger than this is a damaged number."""

_COORDINATE = f"coordinate (Å, below {MAX_COORDINATE:,.0f})"

_UNKNOWN = frozenset((".", "?", ""))  # how mmCIF writes "not applicable" and "unknown"


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


def _build(
    parser: PDBParser | MMCIFParser, text: str, builder: _Builder, path: Path, model: int | None
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
        there = shorten(", ".join(dict.fromkeys(str(m.serial_num) for m in structure)))
        if there and model is not None:
            raise InputError(f"{str(path)!r} has no model {model}; it has {there}")
        raise InputError(f"{str(path)!r} has no atoms; download it again, or check what wrote it")
    one = models[0]  # of several with the same number the first
    return {
        "path": path,
        "model": one.serial_num,
        "chains": {chain.id.strip(): chain for chain in one},
        "left_out": {key[1:] for key in builder.left_out if key[0] == one.id},
    }


def parse_mmcif(text: str, path: Path, model: int | None) -> StructureFile:
    """Parse an mmCIF file.

    ``MMCIFParser`` needs columns that mmCIF does not demand, so it gets the table of atoms with
    these filled in; positions in the sequence and the sequence itself stand in other columns.
    """
    name = str(path)
    try:
        table: dict[str, Any] = MMCIF2Dict(io.StringIO(text))
    # What the tokenizer raises on text that is not mmCIF after all, or is cut short.
    except (ValueError, LookupError, ArithmeticError, UnboundLocalError) as error:
        raise InputError(
            f"{name!r} is a damaged mmCIF file ({shorten(str(error))}); download it again"
        ) from None
    sites = _atom_sites(table, name)

    def column(default: str, *names: str) -> list[str]:
        """Return for each atom the first of these columns that is there and known."""
        cells = zip(*(sites.get(n, [""] * len(sites["Cartn_x"])) for n in names), strict=True)
        return [next((cell for cell in row if cell not in _UNKNOWN), default) for row in cells]

    chains = column(" ", "auth_asym_id", "label_asym_id")
    columns = {
        "group_PDB": column("ATOM", "group_PDB"),
        "id": [str(i) for i in range(len(chains))],
        "label_alt_id": column(".", "label_alt_id"),
        "auth_asym_id": chains,
        "auth_seq_id": column(".", "auth_seq_id", "label_seq_id"),
        "pdbx_PDB_ins_code": column("?", "pdbx_PDB_ins_code"),
        "occupancy": list(map(_number, column("1", "occupancy"))),
        "B_iso_or_equiv": ["0"] * len(chains),
        "pdbx_PDB_model_num": [
            number if _is_number(number) else "1" for number in column("1", "pdbx_PDB_model_num")
        ],
        **{key: column("?", key) for key in ("label_atom_id", "label_comp_id")},
        **{key: list(map(_number, sites[key])) for key in ("Cartn_x", "Cartn_y", "Cartn_z")},
    }

    def where(row: int) -> tuple[str, str]:
        return f"{name!r}, atom {row + 1}", " ".join(cells[row] for cells in sites.values())

    builder = _Builder(where)
    parser = MMCIFParser(QUIET=True, structure_builder=builder)
    handle, writer = io.StringIO(), MMCIFIO()
    writer.set_dict({"data_": "atoms", **{f"_atom_site.{k}": v for k, v in columns.items()}})
    writer.save(handle)
    shared = _build(parser, handle.getvalue(), builder, path, model)

    owners = list(zip(column("", "label_asym_id"), column("", "label_entity_id"), strict=True))
    labels = [int(s) if _is_number(s) else None for s in column("", "label_seq_id")]
    rows = list(zip(chains, owners, labels, strict=True))
    counts = Counter(row[:2] for row in rows if row[2] is not None)
    polymer_of = dict(key for key, _ in reversed(counts.most_common()))  # the largest comes last
    # A position in another polymer of the chain is none.
    labels = [label if polymer_of.get(chain) == owner else None for chain, owner, label in rows]
    polymers = {chain.strip(): _polymer(table, *owner) for chain, owner in polymer_of.items()}
    return StructureFile(**shared, polymers=polymers, parents=_parents(table), labels=labels)


def _atom_sites(table: dict[str, Any], name: str) -> dict[str, list[str]]:
    """Return the columns of the table of atoms, which are all of one length."""
    sites = {
        key.removeprefix("_atom_site."): values
        for key, values in table.items()
        if key.startswith("_atom_site.") and isinstance(values, list)
    }
    needed = ("label_atom_id", "label_comp_id", "Cartn_x", "Cartn_y", "Cartn_z")
    missing = [key for key in needed if key not in sites]
    if not any(sites.values()):
        raise InputError(f"{name!r} has no atoms; download it again, or check what wrote it")
    if missing:
        raise InputError(
            f"{name!r} has atoms without _atom_site.{missing[0]}; "
            "write it again with all columns of the mmCIF format"
        )
    if len({len(column) for column in sites.values()}) > 1:
        raise InputError(f"{name!r} is cut short: its last atom is incomplete; download it again")
    return sites


def _rows(table: dict[str, Any], category: str, *names: str) -> Iterator[tuple[str, ...]]:
    """Return the rows of some columns of one mmCIF category; none if one column is not there."""
    columns = [table.get(f"_{category}.{name}", []) for name in names]
    return zip(*(c if isinstance(c, list) else [] for c in columns), strict=False)


def _parents(table: dict[str, Any]) -> dict[str, str]:
    modified = _rows(table, "pdbx_struct_mod_residue", "label_comp_id", "parent_comp_id")
    return dict([*_rows(table, "chem_comp", "id", "mon_nstd_parent_comp_id"), *modified])  # type: ignore[arg-type]


def _polymer(table: dict[str, Any], asym: str, entity: str) -> list[str]:
    """Return the names of the full sequence of a polymer, [] if it is not complete."""
    names: dict[int, str] = {}
    sources = [
        (entity, _rows(table, "entity_poly_seq", "entity_id", "num", "mon_id")),
        (asym, _rows(table, "pdbx_poly_seq_scheme", "asym_id", "seq_id", "mon_id")),
    ]
    for owner, rows in sources:
        for key, number, residue in rows:
            if key == owner and _is_number(number):
                names.setdefault(int(number), residue)  # the first of several at one place
        if names:
            break
    return [names[i] for i in sorted(names)] if set(names) == set(range(1, len(names) + 1)) else []


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 10


def _number(text: str) -> str:
    """Return the text of a number as it is, else ``nan``, which the builder refuses."""
    try:
        float(text)
    except ValueError:
        return "nan"
    return text
