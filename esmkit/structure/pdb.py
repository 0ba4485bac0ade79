"""PDB files: the atoms of one model, divided into chains, as Biopython's objects.

The lines are read in ``pdb_lines`` and divided in ``pdb_chains``. Nothing is chosen here:
alternate locations, ligands and waters are all still there, and what was left out is noted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from Bio.PDB.Atom import Atom
from Bio.PDB.Chain import Chain
from Bio.PDB.Residue import Residue

from esmkit.errors import InputError
from esmkit.structure.confidence import program_of_pdb
from esmkit.structure.contents import StructureFile
from esmkit.structure.pdb_chains import Group, Part, divide, explain
from esmkit.structure.pdb_lines import (
    AtomLine,
    DamagedLine,
    LineReader,
    is_atom_line,
    is_ter,
    model_number,
)
from esmkit.text import shorten

__all__ = ["is_atom_line", "models_of", "parse_pdb", "standardized"]

_FIRST_LINES = 100
"""Where the remark of PDB2PQR is looked for."""


def standardized(lines: list[str], path: Path) -> list[str]:
    """Return lines whose first word stands in columns 1-6, which PQR files do not need.

    In a file without atoms that word is put in capitals, as some programs write ``atom``.
    """
    if not any(map(is_atom_line, lines)):
        lines = [line[:6].upper() + line[6:] for line in lines]
    if not _is_pqr(lines, path):
        return lines
    return [
        f"{words[0]:<6} {words[1]}"
        if (words := line.split(None, 1))[:1] == ["ATOM"] and len(words) > 1
        else line
        for line in lines
    ]


def _is_pqr(lines: list[str], path: Path) -> bool:
    """Tell whether this is PQR, whose fields stand between blanks (PDB2PQR, APBS)."""
    if path.name.lower().removesuffix(".gz").endswith(".pqr"):
        return True
    return any(line.startswith("REMARK") and "PQR file" in line for line in lines[:_FIRST_LINES])


class Model(NamedTuple):
    """The lines of one model: of its atoms, and of what ends chains."""

    number: int
    lines: list[int]  # of atoms, from 0, and of what ends chains


def parse_pdb(lines: list[str], path: Path, model: int | None) -> StructureFile:
    """Parse the lines of a PDB file (wwPDB format 3.3), or of one that is meant to be one.

    SEQRES and MODRES are read here, because ``Bio.SeqIO`` gives letters without the names, so that
    caps and whatever MODRES explains would be X.

    Raises
    ------
    InputError
        If a line of the protein is damaged, there are no atoms, or the model is not there.
    """
    polymers: dict[str, list[str]] = {}
    parents: dict[str, str] = {}
    is_pqr = _is_pqr(lines, path)
    models, frames = models_of(lines)
    for line in lines:
        if line.startswith("SEQRES"):
            chain = line[10:12].strip()
            polymers.setdefault(chain, []).extend(line[19:70].upper().split())
        elif line.startswith("MODRES"):
            parents[line[12:15].strip().upper()] = line[24:27].strip().upper()
    chosen = next((m for m in models if model in (None, m.number)), None)
    if chosen is None:
        there = shorten(", ".join(dict.fromkeys(str(m.number) for m in models)))
        if there:
            raise InputError(f"{str(path)!r} has no model {model}; it has {there}")
        raise InputError(f"{str(path)!r} has no atoms; download it again, or check what wrote it")
    by_chain, notes = _atoms(lines, chosen.lines, path, is_pqr)
    if not by_chain:
        raise InputError(f"{str(path)!r} has no atoms; download it again, or check what wrote it")
    if frames > 1:
        notes.append(f"END divides the file into {frames:,} models; model {chosen.number} was read")
    chains: dict[str, Chain] = {}
    left_out: set[tuple[str, int, str]] = set()
    notes_of: dict[str, list[str]] = {}
    also: dict[str, str] = {}
    for chain, atoms in by_chain.items():
        full = polymers.get(chain, [])
        parts, more = divide(chain, atoms, full)
        note = explain(chain, parts)
        also |= more
        if len(parts) > 1:
            polymers.pop(chain, None)
        for part in parts:
            while part.name in chains or (part.name != chain and part.name in by_chain):
                part.name += "~2"
            chains[part.name], again = _built(part)
            left_out |= {(part.name, *place) for place in again}
            notes_of[part.name] = [*notes, *filter(None, [note]), *part.notes]
            if full and _fits(part, parts[0]):
                polymers[part.name] = full
    return StructureFile(
        path=path,
        model=chosen.number,
        chains=chains,
        left_out=left_out,
        polymers=polymers,
        parents=parents,
        labels=[],
        predicted_by=program_of_pdb(lines, path),
        notes=notes_of,
        also={name: chain for name, chain in also.items() if name not in chains},
    )


def models_of(lines: list[str]) -> tuple[list[Model], int]:
    """Return the models that have atoms, and how many of them END divides.

    A model that has no number counts from 1. Frames of a trajectory are divided by END alone in
    some programs (VMD): what follows END is another model if it begins as one did, else (files
    put together) the same model goes on.
    """
    models: list[Model] = []
    begins: set[str] = set()
    is_open, after_end, frames = False, False, 1
    for i, line in enumerate(lines):
        if is_atom_line(line):
            begin = line[12:27]
            if not is_open or (after_end and begin in begins):
                frames += is_open
                models.append(Model(len(models) + 1, []))
                is_open, begins = True, set()
            if not models[-1].lines or after_end:
                begins.add(begin)
            after_end = False
            models[-1].lines.append(i)
        elif line.startswith("MODEL") and line[5:6] in ("", " "):
            models.append(Model(model_number(line), []))
            is_open, after_end, begins = True, False, set()
        elif line.startswith("ENDMDL"):
            is_open, after_end = False, False
        elif models and (is_ter(line) or line.rstrip() == "END"):
            models[-1].lines.append(i)
            after_end = after_end or not is_ter(line)
    return [m for m in models if any(is_atom_line(lines[i]) for i in m.lines)], frames


def _atoms(
    lines: list[str], numbers: list[int], path: Path, is_pqr: bool
) -> tuple[dict[str, list[AtomLine]], list[str]]:
    """Read the atoms of a model by the chain name of their lines; note what was left out."""
    reader = LineReader(lines, is_pqr)
    found: dict[str, list[AtomLine]] = {}
    damaged: list[str] = []
    for i in numbers:
        line = lines[i]
        if not is_atom_line(line):
            reader.end_chain(every=not is_ter(line))
            continue
        try:
            atom = reader.read(i)
        except DamagedLine as error:
            if error.is_protein:
                raise InputError(
                    f"{str(path)!r}, line {i + 1}: missing or wrong {error.what} in "
                    f"{shorten(line, 90)!r}; the line is cut or its columns have moved"
                ) from None
            damaged.append(f"line {i + 1}, {error.what} in {shorten(line.strip())!r}")
            continue
        found.setdefault(atom.chain, []).append(atom)
    notes = []
    if reader.counted:
        notes.append(f"{reader.counted:,} residue number(s) are stars; they are counted on")
    if damaged:
        what = f"{len(damaged):,} line(s) that are not protein could not be read and were left out"
        notes.append(f"{what}: {damaged[0]}{' and so on' if len(damaged) > 1 else ''}")
    return found, notes


def _fits(part: Part, first: Part) -> bool:
    """Tell whether a part has the full sequence of its name: the first, and what is its copy."""
    if part is first:
        return True
    both = [
        (g.residue, part.places[p].residue) for p, g in first.places.items() if p in part.places
    ]
    return 2 * len(both) >= len(part.places) and all(one == two for one, two in both)


def _built(part: Part) -> tuple[Chain, set[tuple[int, str]]]:
    """Return a chain for Biopython, and the places of residues that were left out as repeats.

    Each name at a place is a residue of its own, ``" _SER"`` in ATOM lines, ``"H_MSE"`` in HETATM
    lines. Biopython's own way with several names (DisorderedResidue) loses atoms where their lines
    alternate, and puts the residue at the end of the chain.
    """
    chain = Chain(part.name)
    again: set[tuple[int, str]] = set()
    before: Group | None = None
    for group, (kind, name, number, insertion) in _ids(part.groups):
        key = (f"{kind}_{name}", number, insertion or " ")
        residue = chain.child_dict.get(key)
        if residue is not None and before is not None and before.is_neighbour(group):
            residue = None  # two that follow each other have one number
            while key in chain.child_dict:
                key = (f"{key[0]}~", *key[1:])
        is_new = residue is None
        if residue is None:
            residue = Residue(key, name, " ")
            chain.add(residue)
        plain = [atom for atom in group.atoms if atom.altloc == " "]
        # A second copy of the chain has what the first has not: nothing is taken from it.
        taken = is_new or not any(_key(atom) in residue.child_dict for atom in plain)
        if not taken:
            again.add(group.place)
        for atom in group.atoms:
            if (taken or atom.altloc != " ") and _key(atom) not in residue.child_dict:
                residue.add(_atom(atom))
        before = group
    return chain, again


def _ids(groups: list[Group]) -> Iterator[tuple[Group, tuple[str, str, int, str]]]:
    for group in groups:
        kind = "H" if group.atoms[0].hetero else " "
        yield group, (kind, group.residue, *group.place)


def _key(atom: AtomLine) -> str:
    return f"{atom.name} {atom.altloc}"


def _atom(line: AtomLine) -> Atom:
    """Return an atom that stands beside those of its name in other alternate locations."""
    coord = np.array(line.xyz, np.float32)
    # The element is not used, and to guess it from odd names fails.
    atom = Atom(
        line.name, coord, line.b_factor, line.occupancy, line.altloc, line.name, line.line, "C"
    )
    atom.id = _key(line)
    return atom
