"""Which rows of an mmCIF file are of a chain's polymer, and which of its numbers tell the gaps.

``label_seq_id`` is the position in the full sequence, in files of wwPDB and of programs that know
the sequence. Others fill the column with what they have: Biopython counts the residues of ATOM
rows and begins a new ``label_asym_id`` at each HETATM residue; PyMOL repeats the authors' numbers,
for ligands and waters too. Then the chain is what the authors call a chain, and it is read as a
PDB file is: by the authors' numbers, the rows' kind and the bonds.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from esmkit.structure.letters import WATERS, is_known, letter_of, nucleotides
from esmkit.structure.mmcif_sequences import Sequences

__all__ = ["Key", "Placed", "Run", "places"]

MIN_AGREEMENT = 0.9
"""Share of the residues that the full sequence has to explain at their labelled positions."""


class Key(NamedTuple):
    """What tells one residue from another in the table of atoms."""

    chain: str
    asym: str
    entity: str
    label: int | None
    number: str
    insertion: str
    name: str
    hetero: bool


class Run(NamedTuple):
    """Consecutive rows of one residue: its key, and the rows from ``start`` to before ``end``."""

    key: Key
    start: int
    end: int


@dataclass
class Placed:
    """What counts as a position in the sequence.

    Attributes
    ----------
    labels : list of int or None
        For each run: 1-based position in the full sequence, None where there is none.
    members : list of bool
        For each run: whether the file says that it is of a polymer, though there is no position.
    polymers : dict of list of str
        Names of the full sequence, by the authors' name of the chain.
    notes : dict of list of str
        Sentences on what was decided, by the authors' name of the chain.
    also : dict of str
        ``label_asym_id`` of a polymer to the authors' name of its chain.
    """

    labels: list[int | None]
    members: list[bool]
    polymers: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    also: dict[str, str] = field(default_factory=dict)


def places(runs: list[Run], atoms: dict[Key, set[str]], sequences: Sequences) -> Placed:
    """Decide for each author chain whose labels are positions in a sequence.

    Parameters
    ----------
    runs : list of Run
        Of one model, in file order.
    atoms : dict of set of str
        Names of the atoms of each residue.
    sequences : Sequences
        What the file says of its polymers.
    """
    placed = Placed([None] * len(runs), [False] * len(runs))
    of_chain: dict[str, list[int]] = defaultdict(list)
    for i, run in enumerate(runs):
        of_chain[run.key.chain].append(i)
    for chain, indices in of_chain.items():
        _Chain(chain, [runs[i] for i in indices], atoms, sequences).decide(placed, indices)
    return placed


class _Chain:
    """The runs of one author chain."""

    def __init__(
        self, name: str, runs: list[Run], atoms: dict[Key, set[str]], sequences: Sequences
    ) -> None:
        self.name, self.runs, self.sequences = name, runs, sequences
        self.amino = [_is_amino(run.key, atoms[run.key]) for run in runs]
        self.labelled = [i for i, run in enumerate(runs) if run.key.label is not None]
        rows: Counter[tuple[str, str]] = Counter()
        for i in self.labelled or range(len(runs)):
            key, start, end = runs[i]
            rows[key.asym, key.entity] += end - start
        self.owners = [owner for owner, _ in rows.most_common()]

    def decide(self, placed: Placed, indices: list[int]) -> None:
        """Write down what counts as a position, and the full sequence."""
        names: list[str] = []
        for owner in self.owners[: 1 if self.labelled else None]:
            names = names or self.sequences.of(*owner, self.name.strip())
        if names:
            placed.polymers[self.name.strip()] = names
        if not self.labelled:
            return
        asym, entity = self.owners[0]
        if self._are_positions(names):
            placed.also[asym] = self.name.strip()
            for i in self.labelled:
                if self.runs[i].key[1:3] == (asym, entity):
                    placed.labels[indices[i]] = self.runs[i].key.label
            left = {self.runs[i].key for i in self.labelled if self.amino[i]}
            left = {key for key in left if key[1:3] != (asym, entity)}
            if left:
                others = ", ".join(sorted({key.asym or "?" for key in left}))
                placed.notes.setdefault(self.name.strip(), []).append(
                    f"{len(left)} residue(s) of other polymers in this chain (label_asym_id "
                    f"{others}) are left out; it is read as {asym or '?'}"
                )
        elif not self._repeat_the_authors():
            for i in self.labelled:
                placed.members[indices[i]] = True

    def _are_positions(self, names: list[str]) -> bool:
        """Tell whether the labels are positions in a sequence, known or not."""
        if self._have_gaps_in_them():
            return False
        if names:
            return self._fit(names)
        owners = {self.runs[i].key[1:3] for i in self.labelled}
        if len(owners) > 1 and not all(entity for _, entity in owners):
            return False
        return not (self._count_the_residues() or self._repeat_the_authors())

    def _have_gaps_in_them(self) -> bool:
        """Tell whether amino acids stand between the labelled ones that are no other molecule."""
        entity = self.owners[0][1]
        return any(
            self.amino[i] and self.runs[i].key.label is None and self.runs[i].key.entity in ("", entity)
            for i in range(self.labelled[-1])
        )  # fmt: skip

    def _fit(self, names: list[str]) -> bool:
        """Tell whether the full sequence has these residues at these positions."""
        parents = self.sequences.parents
        agree = [
            letter_of(key.name, parents) == letter_of(names[key.label - 1], parents)
            for key in {self.runs[i].key for i in self.labelled if self.amino[i]}
            if key[1:3] == self.owners[0] and key.label and 0 < key.label <= len(names)
        ]
        return sum(agree) >= MIN_AGREEMENT * len(agree)

    def _count_the_residues(self) -> bool:
        """Tell whether the labels only count, so that they know of no gap."""
        keys = [self.runs[i].key for i in self.labelled]
        steps = [(a, b) for a, b in pairwise(keys) if a.label != b.label]
        return all(
            b.label == (a.label or 0) + 1 and (a[4:7] != b[4:7])  # else only they tell them apart
            for a, b in steps
        )

    def _repeat_the_authors(self) -> bool:
        """Tell whether the labels are the authors' numbers, of ligands and waters too."""
        runs = [(self.runs[i].key, self.amino[i]) for i in self.labelled]
        if any(key.name in WATERS for key, _ in runs):
            return True
        others = any(key.hetero and not amino for key, amino in runs)
        return others and all(str(key.label) == key.number for key, _ in runs)


def _is_amino(key: Key, atoms: set[str]) -> bool:
    if key.name in nucleotides() or key.name in WATERS:
        return False
    return {"N", "CA", "C"} <= atoms or (not key.hetero and is_known(key.name))
