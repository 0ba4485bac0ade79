"""A structure as it is given: a :class:`Structure`, or the path of its file."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from esmkit.arguments import what_is
from esmkit.errors import InputError
from esmkit.structure.read import read_structure, split_chain
from esmkit.structure.record import Structure
from esmkit.text import Say, silent

__all__ = ["GivenStructure", "read_chains", "structure_of"]

GivenStructure: TypeAlias = Structure | str | os.PathLike[str]
"""What may be given for a structure: itself, or FILE or FILE:CHAIN."""


def structure_of(given: Any) -> Structure:
    """Return the structure that is given, read if it is a path.

    Parameters
    ----------
    given : Structure, or path FILE or FILE:CHAIN

    Raises
    ------
    InputError
        If it is neither, or the file cannot be read.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> structure_of(ubiquitin.path).id
    '1ubi_A'
    """
    if isinstance(given, Structure):
        return given
    if isinstance(given, str | os.PathLike):
        return read_structure(os.fsdecode(given))
    what = what_is(given)
    if type(given).__name__ == "Structure":  # of Biopython or gemmi
        what += f" of {type(given).__module__.partition('.')[0]}; write it to a file"
    raise InputError(
        f"a structure is a Structure of esmkit or the path of a PDB or mmCIF file, not {what}"
    )


def read_chains(
    texts: Sequence[str],
    say: Say = silent,
    *,
    predicted: bool = False,
    min_plddt: float | None = None,
) -> list[Structure]:
    """Read structures given as FILE or FILE:CHAIN; what had to be decided is said.

    ``predicted`` and ``min_plddt`` are those of :func:`esmkit.structure.read_structure` and
    :meth:`esmkit.structure.Structure.confident`.
    """
    found = []
    for text in texts:
        path, chain = split_chain(text)
        structure = read_structure(path, chain, predicted=predicted)
        if min_plddt is not None:
            structure = structure.confident(min_plddt)
        for note in structure.notes:
            say(f"{structure.id}: {note}")
        found.append(structure)
    return found
