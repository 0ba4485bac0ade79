"""mmCIF files: which block, columns and rows are read, and the atoms to Biopython's builder."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from Bio.PDB.PDBExceptions import PDBConstructionWarning

from esmkit.errors import InputError
from esmkit.structure.building import Builder
from esmkit.structure.cif import ATOMS, Block, read_blocks
from esmkit.structure.confidence import local_plddt, program_of_mmcif
from esmkit.structure.contents import StructureFile
from esmkit.structure.letters import WATERS, is_known, nucleotides
from esmkit.structure.mmcif_chains import Key, Placed, Run, places
from esmkit.structure.mmcif_sequences import Sequences, as_number
from esmkit.text import shorten

__all__ = ["atom_rows", "parse_mmcif"]

_UNKNOWN = frozenset((".", "?", ""))  # how mmCIF writes "not applicable" and "unknown"

_AUTHOR_NUMBER = re.compile(r"(-?[0-9]{1,9})([A-Za-z]?)\Z")
_UNCERTAINTY = re.compile(r"\([0-9]+\)\Z")


class _Atom(NamedTuple):
    """One row of the table of atoms; numbers are still text."""

    key: Key
    name: str
    altloc: str
    occupancy: str
    xyz: tuple[str, str, str]
    b_factor: str


def parse_mmcif(lines: Sequence[str], path: Path, model: int | None) -> StructureFile:
    """Parse the lines of an mmCIF file.

    Of several data blocks the first with atoms counts. The atoms of one model go to Biopython's
    builder. Columns that are not there are filled in from others, so that files of programs which
    write few of them are read too.

    Raises
    ------
    InputError
        If the text is damaged, has no atoms or lacks the model, or an atom of a protein lacks its
        coordinates, number, occupancy or alternate location.
    """
    name = str(path)
    blocks = _blocks_with_atoms(lines, name)
    block, table = blocks[0]
    sites = _atom_sites(table, name)
    numbers = _model_numbers(sites)
    start, end = _rows_of_model(numbers, path, model)
    atoms = _atoms({key: cells[start:end] for key, cells in sites.items()})
    runs, names = _runs(atoms)
    sequences = Sequences(table)
    placed = places(runs, names, sequences)

    def where(row: int) -> tuple[str, str]:
        return f"{name!r}, atom {start + row + 1}", " ".join(c[start + row] for c in sites.values())

    builder = Builder(where)
    builder.init_structure("")
    builder.init_model(0, numbers[start])
    with warnings.catch_warnings():  # what Biopython warns of is dealt with
        warnings.simplefilter("ignore", PDBConstructionWarning)
        _fill(builder, atoms, runs, placed, local_plddt(table, numbers[start]))
    chains = {chain.id.strip(): chain for chain in builder.model}
    if not any(len(chain) for chain in chains.values()):
        raise InputError(f"{name!r} has no atoms; download it again, or check what wrote it")
    if len(blocks) > 1:
        for chain in chains:
            placed.notes.setdefault(chain, []).append(
                f"{len(blocks)} data blocks of the file have atoms; the first is read, "
                f"{shorten(block)!r}"
            )
    return StructureFile(
        path=path,
        model=numbers[start],
        chains=chains,
        left_out={key[1:] for key in builder.left_out},
        polymers=placed.polymers,
        parents=sequences.parents,
        labels=[
            label
            for run, label in zip(runs, placed.labels, strict=True)
            for _ in range(run.start, run.end)
        ],
        predicted_by=program_of_mmcif(table, path),
        notes=placed.notes,
        also={name: chain for name, chain in placed.also.items() if name not in chains},
    )


def atom_rows(
    lines: Sequence[str], path: Path, model: int
) -> tuple[list[tuple[Key, str, str, tuple[str, str, str]]], int, int]:
    """Return the atoms of a model as a program that reads the file finds them.

    Returns
    -------
    rows : list of tuple
        Key of the residue, name of the atom, alternate location (``" "`` if none), and x, y and z
        as text.
    place : int
        Which of the file's models it is, from 1.
    models : int
        How many there are.
    """
    name = str(path)
    sites = _atom_sites(_blocks_with_atoms(lines, name)[0][1], name)
    numbers = _model_numbers(sites)
    start, end = _rows_of_model(numbers, path, model)
    edges = [i for i, (a, b) in enumerate(pairwise(numbers), 1) if a != b]
    atoms = _atoms({key: cells[start:end] for key, cells in sites.items()})
    rows = [(atom.key, atom.name, atom.altloc, atom.xyz) for atom in atoms]
    return rows, 1 + sum(edge <= start for edge in edges), 1 + len(edges)


def _blocks_with_atoms(lines: Sequence[str], name: str) -> list[tuple[str, Block]]:
    """Return the data blocks that have a table of atoms; at least one."""
    try:
        blocks = read_blocks(lines)
    except ValueError as error:
        raise InputError(
            f"{name!r} is a damaged mmCIF file ({shorten(str(error))}); download it again"
        ) from None
    found = [(block, t) for block, t in blocks if any(t[k] for k in t if k.startswith(ATOMS))]
    if not found:
        raise InputError(f"{name!r} has no atoms; download it again, or check what wrote it")
    return found


def _atom_sites(table: Block, name: str) -> Block:
    """Return the columns of the table of atoms, which are all of one length."""
    sites = {key.removeprefix(ATOMS): v for key, v in table.items() if key.startswith(ATOMS)}
    for key, other in (("label_atom_id", "auth_atom_id"), ("label_comp_id", "auth_comp_id")):
        if key not in sites and other in sites:
            sites[key] = sites[other]
    for key in ("label_atom_id", "label_comp_id", "Cartn_x", "Cartn_y", "Cartn_z"):
        if key.lower() not in sites:
            raise InputError(
                f"{name!r} has atoms without _atom_site.{key}; "
                "write it again with all columns of the mmCIF format"
            )
    if len({len(column) for column in sites.values()}) > 1:
        raise InputError(f"{name!r} is cut short: its last atom is incomplete; download it again")
    return sites


def _column(sites: Block, default: str, *names: str) -> list[str]:
    """Return for each atom the first of these columns that is there and known."""
    columns = [sites[name] for name in names if name in sites]
    if not columns:
        return [default] * len(sites["cartn_x"])
    cells = zip(*columns, strict=True)
    return [next((cell for cell in row if cell not in _UNKNOWN), default) for row in cells]


def _model_numbers(sites: Block) -> list[int]:
    models = [as_number(text) for text in _column(sites, "1", "pdbx_pdb_model_num")]
    return [1 if number is None else number for number in models]


def _rows_of_model(numbers: list[int], path: Path, model: int | None) -> tuple[int, int]:
    """Return where the rows of a model begin and end; of several with one number the first."""
    edges = [0, *(i for i, (a, b) in enumerate(pairwise(numbers), 1) if a != b), len(numbers)]
    for start, end in pairwise(edges):
        if model in (None, numbers[start]):
            return start, end
    there = shorten(", ".join(dict.fromkeys(str(numbers[start]) for start in edges[:-1])))
    raise InputError(f"{str(path)!r} has no model {model}; it has {there}")


def _atoms(sites: Block) -> list[_Atom]:
    """Return the rows, with what is missing in them filled in from other columns."""
    texts = _column(sites, "", "label_seq_id")
    labels = list(map(as_number, texts))
    groups = [text.upper() for text in _column(sites, "", "group_pdb")]
    if any(texts) and not any(groups):  # then the position in the sequence tells
        groups = ["ATOM" if text else "HETATM" for text in texts]
    numbers, codes = _author_numbers(sites, labels)
    keys = map(
        Key,
        _chain_names(sites, groups),
        _column(sites, "", "label_asym_id"),
        _column(sites, "", "label_entity_id"),
        labels,
        numbers,
        codes,
        [residue.upper() for residue in _column(sites, "?", "label_comp_id", "auth_comp_id")],
        [group == "HETATM" for group in groups],
    )
    return [
        _Atom(*cells)
        for cells in zip(
            keys,
            _column(sites, "?", "label_atom_id", "auth_atom_id"),
            _column(sites, " ", "label_alt_id"),
            # Biopython writes "None" where a PDB file has a blank.
            ["1" if text == "None" else text for text in _column(sites, "1", "occupancy")],
            zip(*(sites[f"cartn_{axis}"] for axis in "xyz"), strict=True),
            _column(sites, "?", "b_iso_or_equiv"),
            strict=True,
        )
    ]


def _author_numbers(sites: Block, labels: list[int | None]) -> tuple[list[str], list[str]]:
    """Return the authors' numbers and insertion codes, which some write in one column: ``52A``.

    A number that only some atoms of a residue have is damaged, and stays as it is.
    """
    texts = _column(sites, "", "auth_seq_id", "label_seq_id")
    codes = _column(sites, "", "pdbx_pdb_ins_code")
    places = list(
        zip(_column(sites, "", "label_asym_id"), labels, sites["label_comp_id"], strict=True)
    )
    several = Counter(place for place, _ in set(zip(places, texts, strict=True)))
    numbers = []
    for i, text in enumerate(texts):
        found = _AUTHOR_NUMBER.match(text)
        if found and found[2] and (labels[i] is None or several[places[i]] == 1):
            codes[i] = codes[i] or found[2]
        numbers.append(str(int(found[1])) if found and (not found[2] or codes[i]) else text)
    return numbers, codes


def _chain_names(sites: Block, groups: list[str]) -> list[str]:
    """Return the authors' names of the chains; where there are none, those of the labels.

    Biopython writes ``.`` for a chain without a name, ``?`` for every entity, and a new label
    wherever ATOM and HETATM change: such labels tell no chains apart, and the chain has no name.
    """
    names = _column(sites, "", "auth_asym_id")
    labels = _column(sites, " ", "label_asym_id")
    blank = [i for i, name in enumerate(names) if not name]
    cells = [(sites.get(key) or [""] * len(names)) for key in ("auth_asym_id", "label_entity_id")]
    residues = sites["label_comp_id"]
    if all((cells[0][i], cells[1][i]) == (".", "?") for i in blank) and all(
        (labels[i] != labels[j])
        == (groups[i] != groups[j] or (groups[i] == "HETATM" and residues[i] != residues[j]))
        for i, j in pairwise(blank)
    ):
        labels = [" "] * len(names)
    return [name or label for name, label in zip(names, labels, strict=True)]


def _runs(atoms: list[_Atom]) -> tuple[list[Run], dict[Key, set[str]]]:
    """Return the consecutive rows of each residue, and the names of each residue's atoms."""
    runs: list[Run] = []
    names: dict[Key, set[str]] = defaultdict(set)
    start = 0
    for key, group in groupby(atoms, key=lambda atom: atom.key):
        rows = list(group)
        names[key].update(atom.name for atom in rows)
        runs.append(Run(key, start, start := start + len(rows)))
    return runs, names


def _fill(
    builder: Builder,
    atoms: list[_Atom],
    runs: list[Run],
    placed: Placed,
    plddt: dict[tuple[str, int], float],
) -> None:
    """Give the atoms to the builder; rows that are not protein and cannot be read are noted.

    What a table says of a residue's pLDDT takes the place of B-factors.
    """
    left: dict[str, Counter[str]] = defaultdict(Counter)
    for run, label, member in zip(runs, placed.labels, placed.members, strict=True):
        key = run.key
        builder.set_line_counter(run.start)
        if builder.chain is None or builder.chain.id != key.chain:
            builder.init_chain(key.chain)
        is_protein = label is not None or is_known(key.name) or not (
            key.hetero or key.name in WATERS or key.name in nucleotides()
        )  # fmt: skip
        number = as_number(key.number)
        if number is None:
            if is_protein and (key.number or not key.hetero):
                builder.refuse("residue number")
            elif key.number or is_protein:
                left[key.chain][key.name] += run.end - run.start
            continue
        # Residues of one name and number are told apart by their positions.
        field = ("H" if key.hetero and not member else " ") + ("" if label is None else str(label))
        builder.init_residue(key.name, field, number, key.insertion or " ")
        known = plddt.get((key.asym, key.label or 0))
        for row in range(run.start, run.end):
            builder.set_line_counter(row)
            atom = atoms[row]
            with np.errstate(over="ignore"):  # the builder refuses what is too large
                place = np.array(list(map(_number, atom.xyz)), "f")
            occupancy = _number(atom.occupancy)
            try:
                b_factor = _number(atom.b_factor) if known is None else known
                builder.init_atom(atom.name, place, b_factor, occupancy, atom.altloc, atom.name)
            except InputError:
                if is_protein:
                    raise
                left[key.chain][key.name] += 1
    for chain, counts in left.items():
        what = ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))
        placed.notes.setdefault(chain.strip(), []).append(
            f"{counts.total():,} row(s) without a number, coordinates, occupancy or alternate "
            f"location that can be read are left out: {shorten(what)}"
        )


def _number(text: str) -> float:
    """Return a number, without its uncertainty in brackets, else NaN, which the builder refuses."""
    try:
        return float(_UNCERTAINTY.sub("", text))
    except ValueError:
        return np.nan
