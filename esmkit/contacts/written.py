"""Which pairs of a contact map are written, how, and how large that will be."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from esmkit.contacts.top import GivenTop, Top, parse_top
from esmkit.embeddings.writers import open_writer
from esmkit.errors import OptionError
from esmkit.files.tables import open_table
from esmkit.sequences.proteins import Protein
from esmkit.sequences.sites import GivenSites, Sites, parse_sites
from esmkit.sequences.windows import MAX_RESIDUES, Long, windows

if TYPE_CHECKING:
    import pandas

    from esmkit.contacts.map import ContactMap
    from esmkit.structure import Structure

__all__ = ["AUTHOR_COLUMNS", "Chosen", "MapWriter", "RrWriter", "TsvWriter", "Writer"]

AUTHOR_COLUMNS = ("i_author_number", "j_author_number")
"""Columns of the residue numbers of a structure's authors."""


@dataclass(frozen=True)
class Chosen:
    """The pairs of each protein that a table has.

    Attributes
    ----------
    min_separation : int
        Least j - i.
    min_probability : float, optional
        Pairs below this are left out.
    top : Top, optional
        No more than the strongest so many of them.
    residues : Sites, optional
        Only pairs of these residues with any other.
    of_each : dict of Sites
        The residues by the ID of the protein, once these are known.
    """

    min_separation: int = 6
    min_probability: float | None = None
    top: Top | None = None
    residues: Sites | None = None
    of_each: dict[str, Sites] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        min_separation: int,
        min_probability: float | None,
        top: GivenTop | None,
        residues: GivenSites | None,
    ) -> "Chosen":
        """Check options, before anything is computed."""
        if min_probability is not None and not np.isfinite(min_probability):
            raise OptionError(f"the least probability is a number, not {min_probability}")
        if min_separation < 1:
            raise OptionError(f"the least separation is at least 1, not {min_separation}")
        return cls(
            min_separation,
            min_probability,
            None if top is None else parse_top(top),
            None if residues is None else parse_sites(residues),
        )

    def settle(self, proteins: Sequence[Protein]) -> None:
        """Find out whose residues were asked for, and hold them against its sequence."""
        if self.residues is None:
            return
        sequences = {protein.id: protein.sequence for protein in proteins}
        self.of_each.update(self.residues.of_each(list(sequences)))
        for name, sites in self.of_each.items():
            sites.spans(sequences[name], name)

    def settings(self) -> dict[str, Any]:
        """Return what is left out, JSON-ready; what is not asked for is not named."""
        found: dict[str, Any] = {
            "min_separation": self.min_separation,
            "min_probability": self.min_probability,
        }
        for name, value in (("top", self.top), ("residues", self.residues)):
            if value is not None:
                found[name] = str(value)
        return found

    def table(
        self, found: "ContactMap", structure: "Structure | None" = None
    ) -> "pandas.DataFrame":
        """Return the pairs that are to be written, strongest first."""
        residues = self.of_each.get(found.id)
        if self.residues is not None and residues is None:
            return found.to_frame(structure=structure).head(0)  # residues of another protein
        table = found.to_frame(
            min_separation=self.min_separation,
            min_probability=self.min_probability,
            residues=None if residues is None else residues.numbers(found.sequence, found.id),
            structure=structure,
        )
        if self.top is None:
            return table
        return table.head(min(self.top.of(len(found)), len(table)))

    def rows(self, lengths: NDArray[np.int64], long: Long) -> NDArray[np.int64]:
        """Return how many pairs of proteins of these lengths are written at most: int64."""
        distinct, which = np.unique(lengths, return_inverse=True)
        counts = [pairs_seen(int(n), self.min_separation, long) for n in distinct]
        if self.top is not None:
            wanted = [self.top.of(int(n)) for n in distinct]
            counts = [min(pair) for pair in zip(counts, wanted, strict=True)]
        return np.array(counts, np.int64)[which]


def pairs_seen(residues: int, least: int, long: Long) -> int:
    """Return how many pairs of a protein are at least so far apart and were in one window.

    >>> pairs_seen(30, 6, "window"), pairs_seen(1_200, 1_100, "window")
    (300, 0)
    """
    pieces = windows(residues) if long == "window" and residues > MAX_RESIDUES else [(0, residues)]
    reach = np.zeros(residues, np.int64)
    for start, stop in pieces:
        reach[start:stop] = np.maximum(reach[start:stop], stop)
    least = min(least, residues)  # no C integer holds a separation of any size
    return int(np.maximum(reach - np.arange(residues) - least, 0).sum())


class Writer(Protocol):
    """Takes the map of one protein after the other."""

    def add(self, protein: Protein, found: "ContactMap") -> None:
        """Write a map, or its pairs."""

    def close(self) -> None:
        """Finish the file."""


class Structures(Protocol):
    """Knows the structures whose numbers a table is to have too."""

    @property
    def has_structures(self) -> bool: ...
    def structure_of(self, name: str) -> "Structure | None": ...


class MapWriter:
    """Whole maps, in the formats that embeddings have too."""

    def __init__(self, file_format: str, target: Path, provenance: dict[str, Any]) -> None:
        self._writer = open_writer(file_format, target, provenance, layers=[0], per="protein")

    def add(self, protein: Protein, found: "ContactMap") -> None:
        """Write a map."""
        self._writer.add(protein, found.probability)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class TsvWriter:
    """Pairs as a table, a line for each."""

    def __init__(self, target: Path | IO[str], chosen: Chosen, structures: Structures) -> None:
        self._chosen = chosen
        self._structures = structures
        self._table = open_table("tsv", target, {})

    def add(self, protein: Protein, found: "ContactMap") -> None:
        """Write the pairs of a map, with the numbers of a structure's authors if there are any."""
        structure = self._structures.structure_of(protein.id)
        table = self._chosen.table(found, structure)
        table.insert(0, "id", protein.id)
        if self._structures.has_structures:  # every protein has the columns
            if structure is None:
                table = table.assign(**dict.fromkeys(AUTHOR_COLUMNS, ""))
            place = len(table.columns) - len(AUTHOR_COLUMNS)
            table.insert(place, "structure", "" if structure is None else structure.id)
        self._table.add(table)

    def close(self) -> None:
        """Finish the file."""
        self._table.close()


class RrWriter:
    """CASP's RR format: i, j, the bounds 0 and 8 Å of the distance of the Cβ, the score, 0 to 1."""

    def __init__(self, target: Path | IO[str], chosen: Chosen) -> None:
        self._chosen = chosen
        self._owned = isinstance(target, Path)
        self._handle: IO[str] = (
            target.open("w", encoding="utf-8", newline="") if isinstance(target, Path) else target
        )

    def add(self, protein: Protein, found: "ContactMap") -> None:
        """Write a block with the pairs of a map."""
        lines = ["PFRMAT RR", f"TARGET {protein.id}", "AUTHOR esmkit"]
        lines += [f"METHOD {found.checkpoint}, {found.source}", "MODEL 1"]
        letters = found.sequence
        lines += [letters[start : start + 50] for start in range(0, len(letters), 50)]
        table = self._chosen.table(found)
        pairs = zip(table["i_number"], table["j_number"], table["probability"], strict=True)
        lines += [f"{i} {j} 0 8 {p:.5f}" for i, j, p in pairs]
        self._handle.write("\n".join([*lines, "END", ""]))

    def close(self) -> None:
        """Finish the file; a stream stays open."""
        self._handle.flush()
        if self._owned:
            self._handle.close()
