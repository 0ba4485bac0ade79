"""Structure files, PDB and mmCIF, plain or gzip: their text, and which of the two it is."""

from pathlib import Path

from esmkit.errors import InputError
from esmkit.structure.contents import StructureFile
from esmkit.structure.formats import what_it_is
from esmkit.text import open_text, shorten

__all__ = ["is_mmcif", "read_file", "read_lines"]

MAX_CHARACTERS = 2**27
"""Most text of a file, unpacked: some 1.5 million atoms. A ribosome has 0.2 million; one of this
size takes some forty times as much memory while it is read, and minutes."""

_PER_LINE = 8
"""Bytes that a line takes beside its characters, so that empty ones count as well."""


def read_file(path: str | Path, model: int | None = None) -> StructureFile:
    """Read one model of a structure file; which format it is, its content says.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged, no structure, or lacks the model.
    """
    from esmkit.structure import mmcif, pdb  # these import Bio.PDB, which takes a while

    path = Path(path)
    lines = read_lines(path)
    if not _first(lines):
        raise InputError(f"{str(path)!r} is empty; a structure file is in PDB or mmCIF format")
    if is_mmcif(lines):
        return mmcif.parse_mmcif(lines, path, model)
    atoms = pdb.standardized(lines, path)
    if any(map(pdb.is_atom_line, atoms)):
        return pdb.parse_pdb(atoms, path, model)
    known = what_it_is(lines)
    raise InputError(
        f"{str(path)!r} is no structure file: it begins with {shorten(_first(lines), 30)!r} and has "
        "neither the ATOM lines of a PDB file nor the 'data_' line of an mmCIF file"
        f"{f'. It is {known}' if known else ''}"
    )


def is_mmcif(lines: list[str]) -> bool:
    """Tell whether lines are of an mmCIF file."""
    return _first(lines)[:5].lower() == "data_"


def _first(lines: list[str]) -> str:
    """Return the first line that is neither blank nor a comment."""
    return next((s for line in lines if (s := line.strip()) and s[0] != "#"), "")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file, of bounded size whatever a packed file unfolds to.

    Raises
    ------
    InputError
        If it is missing, cannot be unpacked, or is too large.
    """
    lines: list[str] = []
    size = 0
    with open_text(path, "PDB/mmCIF", "1ubi.pdb") as handle:
        while size <= MAX_CHARACTERS and (line := handle.readline(MAX_CHARACTERS)):
            lines.append(line.rstrip("\n"))
            size += len(line) + _PER_LINE
    if size > MAX_CHARACTERS:
        raise InputError(
            f"{str(path)!r} is larger than any structure esmkit reads (over {MAX_CHARACTERS:,} "
            "characters); give a file with the one chain that is wanted"
        )
    return lines
