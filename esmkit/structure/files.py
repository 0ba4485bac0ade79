"""Structure files, PDB and mmCIF, plain or gzip: their text, and which of the two it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esmkit.errors import InputError
from esmkit.report import shorten
from esmkit.sequences import open_text

if TYPE_CHECKING:
    from Bio.PDB.Chain import Chain as BioChain

__all__ = ["StructureFile", "read_file"]


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
        Of mmCIF, by the serial number of the atom: the 1-based position of its residue in the
        full sequence. Empty for PDB.
    """

    path: Path
    model: int
    chains: "dict[str, BioChain]"
    left_out: set[tuple[str, int, str]]
    polymers: dict[str, list[str]]
    parents: dict[str, str]
    labels: list[int | None]


def read_file(path: str | Path, model: int | None = None) -> StructureFile:
    """Read one model of a structure file; which format it is, its content says.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged, no structure, or lacks the model.
    """
    from esmkit.structure import parsing  # imports Bio.PDB, which takes a while

    path = Path(path)
    with open_text(path, "PDB/mmCIF", "1ubi.pdb") as handle:
        text = handle.read()
    lines = text.splitlines()
    first = next((s for line in lines if (s := line.strip()) and s[0] != "#"), "")
    if not first:
        raise InputError(f"{str(path)!r} is empty; a structure file is in PDB or mmCIF format")
    if first[:5].lower() == "data_":
        return parsing.parse_mmcif(text, path, model)
    if any(line.startswith(parsing.ATOM_RECORDS) for line in lines):
        return parsing.parse_pdb(lines, path, model)
    raise InputError(
        f"{str(path)!r} is no structure file: it begins with {shorten(first, 30)!r} and has "
        "neither the ATOM lines of a PDB file nor the 'data_' line of an mmCIF file"
    )
