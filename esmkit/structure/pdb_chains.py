"""Atoms of a PDB file to chains, where the file's own names do not tell them apart.

A chain has a name of its own in column 22, as a rule. Programs of molecular dynamics leave it
blank, give several proteins the same, or name the segment (columns 73-76) in its place, and end
each protein with TER. So a chain here is a protein or nucleic acid that has one name and is not
divided by TER, by another segment, or by numbers that begin anew. TER at a gap of a chain or
segment with a name, as pdb-tools and HADDOCK write it, does not divide.
"""

from dataclasses import dataclass, field
from itertools import groupby, pairwise

from esmkit.structure.letters import is_known, nucleotides
from esmkit.structure.pdb_lines import AtomLine
from esmkit.structure.residues import BACKBONE, MAX_BONDED_ALPHAS, MAX_PEPTIDE_BOND, MAX_STEP

__all__ = ["Group", "Part", "divide", "explain", "groups_of"]

PROTEIN, NUCLEIC = "protein", "nucleic acid"

MAX_LOOP = 50
"""Residues; a longer jump of the numbers at TER is another protein more often than a gap."""

_ENDS = frozenset(("OXT", "OT1", "OT2", "OC1", "OC2"))  # the last residue of a chain alone has them

_DIVIDERS = {"ter": "TER", "segment": "the segment column", "numbers": "numbers that begin anew"}


class Group:
    """Lines of one residue that follow each other.

    Attributes
    ----------
    atoms : list of AtomLine
        At least one.
    first : dict
        Name of an atom to its position in Å, the first where there are several.
    kind : str
        What it can be in a chain: protein, nucleic acid, or ``""``.
    """

    __slots__ = ("atoms", "first", "kind")

    def __init__(self, atoms: list[AtomLine]) -> None:
        self.atoms: list[AtomLine] = atoms
        self.first: dict[str, tuple[float, float, float]] = {}
        for atom in atoms:
            self.first.setdefault(atom.name, atom.xyz)
        self.kind: str = self._kind()

    def _kind(self) -> str:
        residue = self.atoms[0].residue
        if self.atoms[0].hetero:
            return ""
        if residue in nucleotides():
            return NUCLEIC
        if all(name in self.first for name in ("N", "CA", "C")):
            return PROTEIN
        return PROTEIN if is_known(residue) and any(n in self.first for n in BACKBONE) else ""

    @property
    def place(self) -> tuple[int, str]:
        """The authors' residue number and insertion code."""
        return self.atoms[0].number, self.atoms[0].insertion

    @property
    def residue(self) -> str:
        """Name of the residue."""
        return self.atoms[0].residue

    @property
    def is_alternative(self) -> bool:
        """Whether all of its atoms have an alternate location."""
        return all(atom.altloc != " " for atom in self.atoms)

    def is_bonded(self, following: "Group") -> bool:
        """Tell whether a residue is bonded to the one that follows it.

        C-N of a protein and O3'-P of nucleotides decide; where there is neither, the Cα do.
        """
        for mine, theirs in (("C", "N"), ("O3'", "P"), ("O3*", "P")):
            if mine in self.first and theirs in following.first:
                return self.is_near(mine, following, theirs, MAX_PEPTIDE_BOND)
        return self.is_near("CA", following, "CA", MAX_BONDED_ALPHAS)

    def is_neighbour(self, following: "Group") -> bool:
        """Tell whether a residue that has the same number is the next one of the chain."""
        if self.place != following.place or following.is_alternative:
            return False
        return self.is_near("C", following, "N", MAX_PEPTIDE_BOND)

    def is_near(self, mine: str, other: "Group", theirs: str, longest: float) -> bool:
        """Tell whether an atom is closer to one of another residue than a distance in Å."""
        a, b = self.first.get(mine), other.first.get(theirs)
        if a is None or b is None:
            return False
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) < longest**2


@dataclass
class Part:
    """A chain as it is asked for: residues in file order, and what was decided about them."""

    name: str
    groups: list[Group] = field(default_factory=list)
    kind: str = ""
    segment: str = ""
    divided_by: str = ""
    last: Group | None = None
    places: dict[tuple[int, str], Group] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, group: Group) -> None:
        """Append a residue."""
        self.groups.append(group)
        if group.kind and not self.is_late(group):
            self.kind = self.kind or group.kind
            self.segment = self.segment or group.atoms[0].segment
            self.last = group
            self.places.setdefault(group.place, group)

    def is_late(self, group: Group) -> bool:
        """Tell whether a group holds atoms that a residue lacked so far."""
        there = self.places.get(group.place)
        return (
            there is not None
            and there.residue == group.residue
            and there.first.keys().isdisjoint(group.first)
        )

    def begins_anew(self, group: Group, is_named: bool) -> bool:
        """Tell whether a residue of the same chain name has to be of another protein."""
        if self.last is None or not group.kind or self.is_late(group) or group.is_alternative:
            return False
        if group.place > self.last.place or self.last.is_bonded(group):
            return False
        return group.place in self.places or not is_named


def groups_of(atoms: list[AtomLine]) -> list[Group]:
    """Divide the atoms of a chain name into residues.

    A residue ends where name, number, insertion code or kind of line change, at TER, and where a
    second residue of the same name and number is bonded to it.
    """
    groups: list[Group] = []
    for _, same in groupby(
        atoms, key=lambda a: (a.block, a.segment, a.number, a.insertion, a.residue, a.hetero)
    ):
        lines = list(same)
        if len(lines) > len({(a.name, a.altloc) for a in lines}):
            groups.extend(_neighbours(lines))
        else:
            groups.append(Group(lines))
    return groups


def _neighbours(lines: list[AtomLine]) -> list[Group]:
    """Divide lines in which atoms come again: where N comes again, bonded to C before it."""
    starts = [0]
    for i, atom in enumerate(lines):
        if atom.name == "N" and i > starts[-1]:
            before = Group(lines[starts[-1] : i])
            if "N" in before.first and before.is_neighbour(Group([atom])):
                starts.append(i)
    return [Group(lines[a:b]) for a, b in pairwise([*starts, len(lines)])]


def divide(chain: str, atoms: list[AtomLine], full: list[str]) -> tuple[list[Part], dict[str, str]]:
    """Divide the atoms of one chain name into chains.

    Parameters
    ----------
    chain : str
        The name in the file, ``""`` if blank.
    atoms : list of AtomLine
        Its atoms in file order.
    full : list of str
        Residues of the full sequence that the file gives for this name.

    Returns
    -------
    parts : list of Part
        At least one. Of one name they are called ``A``, ``A~2``; without a name by their segments
        or ``1``, ``2``; a single protein without a name ``""``.
    also : dict of str
        Other names under which a part may be asked for.
    """
    parts: list[Part] = [Part(chain)]
    groups = groups_of(atoms)
    polymers = sum(1 for group in groups if group.kind)
    whole = bool(full) and polymers <= len(full)
    for (_, segment), run in groupby(groups, key=lambda g: (g.atoms[0].block, g.atoms[0].segment)):
        members = list(run)
        part = parts[-1]
        first = next((g for g in members if g.kind and not part.is_late(g)), None)
        if part.last is None or first is None or _goes_on(part, first, whole):
            pass
        elif (chain or segment) and _is_gap(part.last, first):
            numbers = " and ".join(f"{n}{i.strip()}" for n, i in (part.last.place, first.place))
            part.notes.append(f"TER between residues {numbers} is taken for a gap of the chain")
        else:
            by = "segment" if segment != part.segment and _same_block(part, first) else "ter"
            parts.append(Part(chain, divided_by=by))
        for i, group in enumerate(members):
            if not whole and parts[-1].begins_anew(group, bool(chain)) and _is_run(members, i):
                parts.append(Part(chain, divided_by="numbers"))
            parts[-1].add(group)
    return parts, _name(chain, parts)


def _same_block(part: Part, group: Group) -> bool:
    return part.last is not None and part.last.atoms[0].block == group.atoms[0].block


def _goes_on(part: Part, group: Group, whole: bool) -> bool:
    """Tell whether a residue after TER, or of another segment, is of the same chain after all."""
    assert part.last is not None
    if part.last.is_bonded(group) or (group.is_alternative and group.place in part.places):
        return True
    # The full sequence has room for both, and the numbers rise: a break, not an end.
    return whole and group.kind == part.kind and group.place > part.last.place


def _is_gap(last: Group, group: Group) -> bool:
    """Tell whether TER stands where a few residues are missing that can bridge the distance."""
    missing = group.place[0] - last.place[0] - 1
    if last.kind != PROTEIN or group.kind != PROTEIN or not 0 < missing <= MAX_LOOP:
        return False
    if last.atoms[0].segment != group.atoms[0].segment or not _ENDS.isdisjoint(last.first):
        return False
    return last.is_near("CA", group, "CA", MAX_STEP * (missing + 1) + 1.0)


def _is_run(groups: list[Group], i: int) -> bool:
    """Tell whether a residue is bonded to one that follows: one that is given again is not."""
    following = next((groups[j] for j in range(i + 1, len(groups)) if groups[j].kind), None)
    return following is not None and groups[i].is_bonded(following)


def _name(chain: str, parts: list[Part]) -> dict[str, str]:
    """Give the parts of one chain name their names; return further names for them."""
    if len(parts) == 1:
        segment = parts[0].segment
        return {} if chain else {"1": "", **({segment: ""} if segment else {})}
    segments = [part.segment for part in parts]
    by_segment = all(segments) and len(set(segments)) == len(segments)
    also: dict[str, str] = {}
    proteins = [part for part in parts if part.kind == PROTEIN]
    for i, part in enumerate(parts, 1):
        number = f"{chain}~{i}" if chain and i > 1 else chain or str(i)
        if not chain and len(proteins) == 1 and part is proteins[0]:
            part.name = ""  # as if the rest had a name
            also |= {number: "", **({part.segment: ""} if part.segment else {})}
        elif by_segment:
            part.name = part.segment
            if not chain:
                also[number] = part.segment
        else:
            part.name = number
    return also


def explain(chain: str, parts: list[Part]) -> str:
    """Return a sentence about the parts of one chain name; ``""`` if there is but one."""
    if len(parts) == 1:
        return ""
    by = dict.fromkeys(_DIVIDERS[part.divided_by] for part in parts[1:])
    names = ", ".join(part.name or "blank" for part in parts)
    what = f"calls {len(parts)} chains {chain!r}" if chain else f"names none of {len(parts)} chains"
    return f"the file {what}, divided by {' and '.join(by)}: {names}"
