"""mmCIF files: their sequences, and their atoms through Biopython's builder."""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from Bio.PDB.MMCIF2Dict import MMCIF2Dict
from Bio.PDB.mmcifio import MMCIFIO
from Bio.PDB.MMCIFParser import MMCIFParser

from esmkit.errors import InputError
from esmkit.structure.contents import StructureFile
from esmkit.structure.parsing import _build, _Builder
from esmkit.text import shorten

__all__ = ["parse_mmcif"]

_UNKNOWN = frozenset((".", "?", ""))  # how mmCIF writes "not applicable" and "unknown"


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
