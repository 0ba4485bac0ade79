"""What a structure file holds, as Biopython reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from Bio.PDB.Chain import Chain as BioChain

__all__ = ["StructureFile"]


@dataclass(frozen=True)
class StructureFile:
    """One model of a structure file as Biopython reads it, and what the file says beside.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    model : int
        The number of the model in the file.
    chains : dict of Bio.PDB.Chain.Chain
        By the authors' chain name, in file order; ``""`` where a PDB file has a blank.
    left_out : set of tuple
        ``(chain, number, insertion)`` of residues that are given more than once.
    polymers : dict of list of str
        Three-letter names of the full sequence, resolved or not, for chains that have one.
    parents : dict of str
        Name of a modified residue to the name of its parent, where the file says so.
    labels : list of int or None
        The 1-based position of an atom's residue in the full sequence, by the serial number of the
        atom, in mmCIF. Empty for PDB.
    predicted_by : str
        The program that predicted the structure, so that B-factors are pLDDT; ``""`` if it was
        determined by experiment, or nothing says how.
    notes : dict of list of str
        What was decided on reading, one sentence each, by the authors' name of the chain.
    also : dict of str
        Other names under which a chain may be asked for, such as that of its segment.
    """

    path: Path
    model: int
    chains: "dict[str, BioChain]"
    left_out: set[tuple[str, int, str]]
    polymers: dict[str, list[str]]
    parents: dict[str, str]
    labels: list[int | None]
    predicted_by: str = ""
    notes: dict[str, list[str]] = field(default_factory=dict)
    also: dict[str, str] = field(default_factory=dict)
