"""The atoms that links end at, by the names under which a viewer finds them in the user's file.

A viewer reads the file by itself: it knows chains by the authors' names, residues by the authors'
numbers with insertion code, and every alternate location. So the file is looked through once more,
and an atom is taken only if its coordinates are those that were measured and its name is its own.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from esmkit.errors import InputError
from esmkit.structure.files import is_mmcif, read_lines
from esmkit.structure.record import Structure

__all__ = ["Atom", "FileAtoms", "atoms_of"]

Place = tuple[float, float, float]


class Atom(NamedTuple):
    """One atom of the file: the authors' names and numbers, and where it is, in Å.

    ``altloc`` is ``""`` where there is no alternate location.
    """

    chain: str
    number: int
    insertion: str
    name: str
    altloc: str
    xyz: Place

    @property
    def residue(self) -> str:
        """The authors' residue number with its insertion code."""
        return f"{self.number}{self.insertion}"


@dataclass(frozen=True)
class FileAtoms:
    """What a viewer is told of a structure file.

    Attributes
    ----------
    kind : {'pdb', 'mmcif'}
        Its format.
    lines : list of str
        Its text, unpacked.
    place, models : int
        Which of its models the structure is, from 1, and how many there are.
    atoms : dict of int to Atom
        For rows of the structure: Cβ; Cα for glycine, and where the file has no Cβ at all.
    """

    kind: str
    lines: list[str]
    place: int
    models: int
    atoms: dict[int, Atom]


def atoms_of(structure: Structure, rows: list[int]) -> FileAtoms:
    """Find the atoms of some residues in the file of a structure.

    Raises
    ------
    InputError
        If the file is gone, or an atom has no name of its own by which a viewer could find it.
    """
    lines = read_lines(structure.path)
    if is_mmcif(lines):
        kind, (found, place, models) = "mmcif", _of_mmcif(lines, structure)
    else:
        kind, (found, place, models) = "pdb", _of_pdb(lines, structure)
    by_name: dict[tuple[str, str], list[Atom]] = defaultdict(list)
    for atom in found:
        by_name[atom.residue, atom.name].append(atom)
    times = Counter(atom[:5] for atom in found)
    atoms = {}
    for row in rows:
        number = structure.residue_numbers[row]
        for name, xyz in (("CB", structure.cb[row]), ("CA", structure.ca[row])):
            here = [a for a in by_name[number, name] if _is_at(a.xyz, xyz) and times[a[:5]] == 1]
            if here:
                atoms[row] = here[0]
                break
        else:
            raise InputError(
                f"residue {number} of chain {structure.chain or 'blank'!r} in "
                f"{str(structure.path)!r} cannot be named so that a viewer finds it, as other "
                "residues there are called the same, or the file has changed; write the chain to "
                "a file of its own, with its own numbers"
            )
    return FileAtoms(kind, lines, place, models, atoms)


def _is_at(one: Place, other: np.ndarray) -> bool:
    """Tell whether two places are one, to the rounding of Biopython."""
    return bool(np.array_equal(np.asarray(one, np.float32), other.astype(np.float32)))


def _of_mmcif(lines: list[str], structure: Structure) -> tuple[list[Atom], int, int]:
    from esmkit.structure.mmcif import atom_rows

    rows, place, models = atom_rows(lines, structure.path, structure.model)
    found = []
    for key, name, altloc, cells in rows:
        xyz = _place(cells)
        if xyz is not None and key.number.removeprefix("-").isdecimal():
            found.append(
                Atom(key.chain.strip(), int(key.number), key.insertion, name, altloc.strip(), xyz)
            )
    return found, place, models


def _of_pdb(lines: list[str], structure: Structure) -> tuple[list[Atom], int, int]:
    from esmkit.structure.pdb import is_atom_line, models_of

    models, frames = models_of(lines)
    numbers = [model.number for model in models]
    if structure.model not in numbers or frames > 1:
        raise InputError(
            f"{str(structure.path)!r} has no model {structure.model} that a viewer could find; "
            "write that model to a file of its own"
        )
    place = numbers.index(structure.model)
    rows = (lines[i] for i in models[place].lines if is_atom_line(lines[i]))
    return list(_in_columns(rows)), place + 1, len(models)


def _in_columns(lines: Iterator[str]) -> Iterator[Atom]:
    """Yield the atoms of lines that keep to the columns of the format, which all viewers read."""
    for line in lines:
        number, xyz = line[22:26].strip(), _place((line[30:38], line[38:46], line[46:54]))
        if xyz is not None and number.removeprefix("-").isdecimal():
            yield Atom(
                line[21].strip(),
                int(number),
                line[26].strip(),
                line[12:16].strip(),
                line[16].strip(),
                xyz,
            )


def _place(cells: tuple[str, str, str]) -> Place | None:
    try:
        x, y, z = (float(cell.partition("(")[0]) for cell in cells)
    except ValueError:
        return None
    return x, y, z
