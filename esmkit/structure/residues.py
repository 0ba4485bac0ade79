"""Residues of Biopython: alternate locations chosen, kinds told apart, the polymer separated."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from esmkit.structure.contents import StructureFile
from esmkit.structure.letters import WATERS, is_known, nucleotides

if TYPE_CHECKING:
    from Bio.PDB.Chain import Chain as BioChain
    from Bio.PDB.Residue import Residue as BioResidue

__all__ = ["Chain", "Residue", "distance", "is_bonded", "read_chain"]

BACKBONE = ("N", "CA", "C", "O")

MAX_PEPTIDE_BOND = 2.0
"""Å; C-N is 1.33 in a peptide bond, and atoms that are not bonded keep 2.5 apart or more."""

MAX_BONDED_ALPHAS = 4.2
"""Å; Cα-Cα of bonded residues is 3.8 at most, with room for coordinates of low resolution."""

MAX_STEP = 3.8
"""Å between Cα of neighbours: n missing residues bridge (n + 1) steps and no more."""


class Residue(NamedTuple):
    """One residue, ligand or water with one position for each atom, in Å.

    ``label`` is the 1-based position in the full sequence of the polymer, which mmCIF gives and
    PDB does not; ``number`` and ``insertion`` are the authors' residue number; ``b_factor`` is that
    of Cα, NaN without one.
    """

    name: str
    number: int
    insertion: str
    hetero: bool
    label: int | None
    atoms: dict[str, np.ndarray]
    b_factor: float

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

    Examples
    --------
    >>> print(Chain("B", "nucleic acid", 24))
    B (nucleic acid, 24 residues)
    """

    chain: str
    kind: str
    residues: int

    def __str__(self) -> str:
        many = "residue" if self.residues == 1 else "residues"
        return f"{self.chain or 'blank'} ({self.kind}, {self.residues:,} {many})"


def read_chain(found: StructureFile, chain: str) -> tuple[Chain, list[Residue], list[str]]:
    """Return what a chain is, the residues of its protein, and notes on what is not as usual."""
    residues = [
        _choose(group, found.labels) for group in _alternatives(found.chains[chain], found.labels)
    ]
    polymer, repeated = _polymer(residues, found.parents)
    nucleic = sum(residue.name in nucleotides() for residue in residues)
    if polymer and len(polymer) >= nucleic:
        repeated |= {(r[1], r[2].strip()) for r in found.left_out if r[0].strip() == chain}
        repeated &= {(r.number, r.insertion) for r in polymer}
        notes = _within(residues, polymer) if chain not in found.polymers else []
        if repeated:
            notes.append(f"{len(repeated)} residue(s) are given more than once; the first counts")
        ordered = _in_order(polymer)
        if ordered is not polymer:
            notes.append(
                "residues stand where they are not bonded; they are put in the order of the numbers"
            )
        return Chain(chain, "protein", len(polymer)), ordered, notes
    if nucleic:
        return Chain(chain, "nucleic acid", nucleic), [], []
    waters = sum(residue.name in WATERS for residue in residues)
    kind = "water" if 2 * waters > len(residues) else "ligand"
    return Chain(chain, kind, len(residues)), [], []


def _within(residues: list[Residue], polymer: list[Residue]) -> list[str]:
    """Note what is bonded into the chain without being an amino acid, such as a chromophore."""
    members = {id(residue) for residue in polymer}
    last = max(i for i, residue in enumerate(residues) if id(residue) in members)
    notes: list[str] = []
    end = None
    for residue in residues[:last]:
        if id(residue) in members:
            end = residue.atoms.get("C")
        elif end is not None and residue.name not in WATERS:
            gaps = [np.linalg.norm(np.subtract(end, atom)) for atom in residue.atoms.values()]
            if min(gaps) < MAX_PEPTIDE_BOND:
                notes.append(
                    f"{residue.name} {residue.author_number} is bonded into the chain, but has no "
                    "N, CA and C; it counts as missing"
                )
    return notes


def _in_order(polymer: list[Residue]) -> list[Residue]:
    """Put residues that a program appended to the chain where they are bonded.

    What is bonded stays together. The order of the file is kept unless that of the numbers
    has more bonds: a construct may be numbered in any way.
    """
    places = [(r.label or r.number, r.insertion) for r in polymer]
    if all(one <= two for one, two in pairwise(places)):
        return polymer
    runs = [[polymer[0]]]
    for one, two in pairwise(polymer):
        if is_bonded(one, two):
            runs[-1].append(two)
        else:
            runs.append([two])
    runs.sort(key=lambda run: (run[0].label or run[0].number, run[0].insertion))
    joints = sum(is_bonded(one[-1], two[0]) for one, two in pairwise(runs))
    return [residue for run in runs for residue in run] if joints else polymer


def _alternatives(chain: "BioChain", labels: list[int | None]) -> list[list["BioResidue"]]:
    """Return the residues in file order, each with those that stand at the same place.

    Residues of several names are alternatives if they have one number and all of their atoms have
    alternate locations; a ligand elsewhere in the file that is numbered like a residue is none.
    """
    groups: list[list[BioResidue]] = []
    group_at: dict[tuple[int, str, int | None], int] = {}
    for residue in chain:
        atoms = residue.get_unpacked_list()
        if not atoms:  # all of them were left out
            continue
        place = (*residue.id[1:], labels[atoms[0].serial_number] if labels else None)
        index = group_at.get(place, -1)
        both = [*groups[index], residue] if index >= 0 else []
        near = index == len(groups) - 1 or len({_is_hetero(r) for r in both}) == 1
        if both and near and all(a.altloc != " " for r in both for a in r.get_unpacked_list()):
            groups[index] = both
        else:
            group_at[place] = len(groups)
            groups.append([residue])
    return groups


def _is_hetero(residue: "BioResidue") -> bool:
    return residue.id[0][0] != " "


def _choose(group: list["BioResidue"], labels: list[int | None]) -> Residue:
    """Choose one residue name and one alternate location: that of the highest mean occupancy.

    At a tie the first in the alphabet is taken (A before B). An atom that the chosen location
    lacks is taken from the location where it has the highest occupancy.
    """
    options: dict[tuple[str, int], list[float]] = {}
    for i, residue in enumerate(group):
        for atom in residue.get_unpacked_list():
            options.setdefault((atom.altloc, i), []).append(atom.occupancy)
    # The common part of a residue, without altloc, decides nothing.
    candidates = {key: v for key, v in options.items() if key[0] != " "} or options
    altloc, chosen = min(candidates, key=lambda k: (-float(np.mean(candidates[k])), k))
    residue = group[chosen]
    atoms = sorted(
        residue.get_unpacked_list(),
        key=lambda a: (a.altloc not in (" ", altloc), -a.occupancy, a.altloc),
    )
    positions: dict[str, np.ndarray] = {}
    for atom in atoms:
        positions.setdefault(atom.name, atom.coord)
    b_factor = next((float(atom.bfactor) for atom in atoms if atom.name == "CA"), np.nan)
    _, number, insertion = residue.id
    label = labels[atoms[0].serial_number] if labels else None
    name, insertion = residue.resname, insertion.strip()
    return Residue(name, number, insertion, _is_hetero(residue), label, positions, b_factor)


def _polymer(
    residues: list[Residue], parents: dict[str, str]
) -> tuple[list[Residue], set[tuple[int, str]]]:
    """Return the residues of the protein chain, and the numbers of those that were left out.

    In mmCIF they have a position in the sequence. In PDB they are the amino acids of ATOM lines,
    and of HETATM lines those with N, CA and C that MODRES names, that stand before the last ATOM
    residue, or that are bonded to a neighbour, in the file or by number: a free amino acid is a
    ligand. Of residues with one number and insertion code the first counts (a second copy of the
    chain is no part of it), unless the two are bonded.
    """
    amino = [residue for residue in residues if _is_amino(residue)]
    kept = [residue for residue in amino if residue.label is not None]
    if not kept:
        last = max((i for i, r in enumerate(amino) if not r.hetero), default=-1)
        numbered = {residue.number: [residue] for residue in reversed(amino)}
        for i, residue in enumerate(amino):
            if residue.hetero and not (i < last or residue.name in parents):
                before = [*kept[-1:], *numbered.get(residue.number - 1, [])]
                after = [*amino[i + 1 : i + 2], *numbered.get(residue.number + 1, [])]
                if not (
                    any(is_bonded(other, residue) for other in before)
                    or any(is_bonded(residue, other) for other in after)
                ):
                    continue
            kept.append(residue)
    chosen: list[Residue] = []
    seen: set[tuple[int, str, int | None]] = set()
    repeated: set[tuple[int, str]] = set()
    for residue in kept:
        key = (residue.number, residue.insertion, residue.label)
        if key in seen and not _is_neighbour(chosen[-1], residue):
            repeated.add(key[:2])
            continue
        seen.add(key)
        chosen.append(residue)
    return chosen, repeated


def _is_neighbour(one: Residue, following: Residue) -> bool:
    """Tell whether a residue that has the number of another is not that one again."""
    bond = distance(one, "C", following, "N")
    same = one.number == following.number and one.insertion == following.insertion
    return same and bond is not None and bond < MAX_PEPTIDE_BOND


def _is_amino(residue: Residue) -> bool:
    if residue.name in nucleotides() or residue.name in WATERS:
        return False
    if all(name in residue.atoms for name in ("N", "CA", "C")):
        return True
    some = any(name in residue.atoms for name in BACKBONE)
    return some and not residue.hetero and is_known(residue.name)


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
