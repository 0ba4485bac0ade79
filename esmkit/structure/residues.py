"""Atoms to residues: alternate locations chosen, kinds told apart, the polymer separated."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from esmkit.sequences import ALLOWED_LETTERS
from esmkit.structure.files import Atom, StructureFile

__all__ = ["CAPS", "Chain", "Residue", "distance", "is_bonded", "letter_of", "read_chain"]

BACKBONE = ("N", "CA", "C", "O")

MAX_PEPTIDE_BOND = 2.0
"""Å; C-N is 1.33 in a peptide bond, and atoms that are not bonded keep 2.5 apart or more."""

MAX_BONDED_ALPHAS = 4.2
"""Å; Cα-Cα of bonded residues is 3.8 at most, with room for coordinates of low resolution."""

CAPS = frozenset(("ACE", "FOR", "NH2", "NME", "NMA"))
"""Groups at the ends of a chain that SEQRES lists but that are no residues."""

# What Biopython's table of modified residues lacks: the rarer letters, and the names that
# molecular dynamics programs give to protonation states (Amber, CHARMM).
_MORE_LETTERS = {
    **{"SEC": "U", "PYL": "O", "ASX": "B", "GLX": "Z", "UNK": "X"},
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "H"),
    **{"CYX": "C", "CYM": "C", "ASH": "D", "GLH": "E", "LYN": "K"},
}
_MORE_NUCLEOTIDES = ("A", "C", "G", "U", "I", "N", "DA", "DC", "DG", "DT", "DU", "DI", "DN")
_WATERS = frozenset(("HOH", "WAT", "DOD", "H2O", "TIP", "TIP3", "SOL"))


@functools.cache
def _tables() -> tuple[dict[str, str], frozenset[str]]:
    """Return residue name to letter, and the names of nucleotides."""
    from Bio.Data import PDBData

    letters = {
        name.strip(): letter
        for name, letter in PDBData.protein_letters_3to1_extended.items()
        if letter in ALLOWED_LETTERS
    }
    nucleotides = {name.strip() for name in PDBData.nucleic_letters_3to1_extended}
    return letters | _MORE_LETTERS, frozenset(nucleotides.union(_MORE_NUCLEOTIDES))


def letter_of(name: str, parents: dict[str, str]) -> str:
    """Return the letter of a residue: of its own name, else of its parent's, else X."""
    letters, _ = _tables()
    return letters.get(name) or letters.get(parents.get(name, ""), "X")


class Residue(NamedTuple):
    """One residue, ligand or water with one position for each atom, in Å."""

    name: str
    number: int
    insertion: str
    hetero: bool
    label: int | None
    atoms: dict[str, tuple[float, float, float]]

    @property
    def author_number(self) -> str:
        """The authors' residue number with its insertion code, such as ``52A``."""
        return f"{self.number}{self.insertion}"


@dataclass(frozen=True)
class Chain:
    """What one chain of a structure file is made of.

    Attributes
    ----------
    chain : str
        The authors' name of the chain; ``""`` where a PDB file has a blank.
    kind : {'protein', 'nucleic acid', 'water', 'ligand'}
        What most of its residues are; of a protein its waters and ligands do not count.
    residues : int
        How many residues have coordinates: of the polymer if it is one, else all.
    """

    chain: str
    kind: str
    residues: int

    def __str__(self) -> str:
        many = "residue" if self.residues == 1 else "residues"
        return f"{self.chain or 'blank'} ({self.kind}, {self.residues:,} {many})"


def read_chain(found: StructureFile, chain: str) -> tuple[Chain, list[Residue], int]:
    """Return what a chain is, the residues of its protein, and how many repeats were left out."""
    residues = [_choose(group) for group in _group(found.atoms[chain])]
    polymer, repeated = _polymer(residues, found.parents)
    _, nucleotides = _tables()
    nucleic = sum(residue.name in nucleotides for residue in residues)
    if polymer and len(polymer) >= nucleic:
        return Chain(chain, "protein", len(polymer)), polymer, repeated
    if nucleic:
        return Chain(chain, "nucleic acid", nucleic), [], 0
    waters = sum(residue.name in _WATERS for residue in residues)
    kind = "water" if 2 * waters > len(residues) else "ligand"
    return Chain(chain, kind, len(residues)), [], 0


def _group(atoms: list[Atom]) -> list[list[Atom]]:
    """Split the atoms of a chain into residues; those with one number and altlocs stay together.

    Two residues of the same number but without alternate locations, such as a ligand numbered
    like a residue, are two groups.
    """
    groups: list[list[Atom]] = []
    open_groups: dict[tuple, int] = {}
    for atom in atoms:
        key = (atom.number, atom.insertion, atom.label, atom.asym)
        index = open_groups.get(key)
        if index is not None:
            last = groups[index][-1]
            current = index == len(groups) - 1
            both_alternate = atom.altloc and last.altloc and (current or atom.hetero == last.hetero)
            if both_alternate or (current and last.residue == atom.residue):
                groups[index].append(atom)
                continue
        open_groups[key] = len(groups)
        groups.append([atom])
    return groups


def _choose(atoms: list[Atom]) -> Residue:
    """Choose one residue name and one alternate location: that of the highest mean occupancy.

    At a tie the first in the alphabet is taken (A before B). An atom that the chosen location
    lacks is taken from the location where it has the highest occupancy.
    """
    options: dict[tuple[str, str], list[float]] = {}
    for atom in atoms:
        options.setdefault((atom.residue, atom.altloc), []).append(atom.occupancy)
    # The common part of a residue, without altloc, decides nothing.
    candidates = {key: v for key, v in options.items() if key[1]} or options
    name, altloc = min(candidates, key=lambda k: (-sum(candidates[k]) / len(candidates[k]), k[1]))
    positions = {}
    chosen = [atom for atom in atoms if atom.residue == name]
    chosen.sort(key=lambda a: (a.altloc not in ("", altloc), -a.occupancy, a.altloc))
    for atom in chosen:
        positions.setdefault(atom.name, atom.position)
    one = chosen[0]
    return Residue(name, one.number, one.insertion, one.hetero, one.label, positions)


def _polymer(residues: list[Residue], parents: dict[str, str]) -> tuple[list[Residue], int]:
    """Return the residues of the protein chain, and how many repeated ones were left out.

    In mmCIF they have a position in the sequence. In PDB they are the amino acids of ATOM lines,
    and of HETATM lines those with N, CA and C that MODRES names, that stand before the last ATOM
    residue, or that are bonded to a neighbour: a free amino acid is a ligand. Of residues with
    one number and insertion code the first counts (a second copy of the chain is no part of it).
    """
    if any(residue.label is not None and _is_amino(residue) for residue in residues):
        kept = [r for r in residues if r.label is not None and _is_amino(r)]
    else:
        amino = [r for r in residues if _is_amino(r)]
        last = max((i for i, r in enumerate(amino) if not r.hetero), default=-1)
        kept = []
        for i, residue in enumerate(amino):
            if residue.hetero and not (i < last or residue.name in parents):
                before = bool(kept) and is_bonded(kept[-1], residue)
                if not before and (i + 1 == len(amino) or not is_bonded(residue, amino[i + 1])):
                    continue
            kept.append(residue)
    first = {}
    for residue in kept:
        first.setdefault((residue.number, residue.insertion, residue.label), residue)
    return list(first.values()), len(kept) - len(first)


def _is_amino(residue: Residue) -> bool:
    letters, nucleotides = _tables()
    if residue.name in nucleotides or residue.name in _WATERS:
        return False
    if all(name in residue.atoms for name in ("N", "CA", "C")):
        return True
    some = any(name in residue.atoms for name in BACKBONE)
    return some and not residue.hetero and residue.name in letters


def distance(one: Residue, name: str, other: Residue, other_name: str) -> float | None:
    """Return the distance in Å between two atoms; None if one of them is not there."""
    a, b = one.atoms.get(name), other.atoms.get(other_name)
    return None if a is None or b is None else float(np.linalg.norm(np.subtract(a, b)))


def is_bonded(one: Residue, following: Residue) -> bool:
    """Tell whether C of a residue is bonded to N of the one that follows.

    Where one of the two is missing, Cα-Cα (3.8 Å across a trans peptide bond, 2.9 across a cis
    one) decides.
    """
    bond = distance(one, "C", following, "N")
    if bond is not None:
        return bond < MAX_PEPTIDE_BOND
    alphas = distance(one, "CA", following, "CA")
    return alphas is not None and alphas < MAX_BONDED_ALPHAS
