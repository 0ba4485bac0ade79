"""Arrays in another layout than records x numbers, told by a model's width and the proteins."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from esmkit.against.given import Given, Lazy, Part
from esmkit.against.named import across_words
from esmkit.against.naming import pair
from esmkit.errors import InputError
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS

__all__ = ["laid_out"]


def laid_out(given: Given, width: int, proteins: Sequence[Protein]) -> Given:
    """Return what a file holds as records x numbers, and a note where it had to be turned.

    Parameters
    ----------
    given : Given
    width : int
        Of the model.
    proteins : sequence of Protein
        Of the FASTA.

    Returns
    -------
    Given
        The same one if nothing is to be done. Where no array is of the model's width, others of
        the file take their place that are.

    Raises
    ------
    InputError
        If arrays are transposed and whose is whose cannot be told.

    Examples
    --------
    >>> block = np.arange(8.0).reshape(4, 2)
    >>> part = Part({f"row {n}": row for n, row in enumerate(block)})
    >>> turned = Part({f"row {n}": row for n, row in enumerate(block.T)})
    >>> given = Given("x.npy", "npy", [replace(part, across=turned)])
    >>> found = laid_out(given, 4, [Protein("P1", "MK"), Protein("P2", "MR")])
    >>> len(found.parts[0].arrays), found.notes
    (2, ['the arrays are transposed, 4 numbers x 2 records: they were read so'])
    """
    parts, notes = [], list(given.notes)
    for part in given.parts:
        found, note = _turned(part, width, proteins, given.path)
        parts.append(found)
        notes += [note] * (note is not None and note not in notes)
    fitting = [part for part in given.spares if _width_of(part) == width]
    if fitting and not any(_width_of(part) % width == 0 for part in parts):
        names = ", ".join(part.name for part in fitting)
        parts, notes = (
            fitting,
            [*notes, f"the other arrays of the file are no vectors: {names} was read"],
        )
    return replace(given, parts=parts, notes=notes)


def _shape(part: Part) -> tuple[int, ...]:
    first = next(iter(part.arrays), None)
    return () if first is None else np.shape(part.arrays[first])


def _width_of(part: Part) -> int:
    shape = _shape(part)
    return shape[-1] if shape else 0


def _pairs(part: Part, proteins: Sequence[Protein], path: str) -> str:
    """Return ``ids`` or ``places`` if the names of a part mean proteins; empty if they do not."""
    try:
        return "places" if pair(list(part.arrays), proteins, path).by_place else "ids"
    except InputError:
        return ""


def _turned(
    part: Part, width: int, proteins: Sequence[Protein], path: str
) -> tuple[Part, str | None]:
    """Return a part, turned where it must be, and a note on that."""
    shape = _shape(part)
    if len(shape) == 1 and part.across is not None and len(part.arrays) == width:
        return _turned_vectors(part, part.across, shape[0], width, proteins, path)
    if not shape or shape[-1] % width == 0:
        return part, None
    if len(shape) == 2 and shape[0] == width and len(part.arrays) > 0:
        rows = [np.shape(array)[-1] for array in part.arrays.values()]
        if all(np.shape(array)[0] == width for array in part.arrays.values()):
            return _turned_residues(part, width, rows, proteins, path)
    return part, None


def _turned_vectors(
    part: Part, across: Part, columns: int, width: int, proteins: Sequence[Protein], path: str
) -> tuple[Part, str | None]:
    """Return records of as many as a model is wide, or numbers that each stand in a row."""
    rows, others = _pairs(part, proteins, path), _pairs(across, proteins, path)
    # of a square names alone can tell
    turn = others == "ids" and rows != "ids" if columns == width else bool(others) and not rows
    if turn:
        return across, across_words(width, f"{len(across.arrays):,} records")
    if rows or columns % width == 0:
        return part, None
    raise _refused(path, width, f"{len(across.arrays):,} records")


def _turned_residues(
    part: Part, width: int, rows: Sequence[int], proteins: Sequence[Protein], path: str
) -> tuple[Part, str | None]:
    lengths = {len(protein) for protein in proteins}
    possible = {length + more for length in lengths for more in range(SPECIALS + 1)}
    padded = len({*rows}) == 1 and rows[0] >= max(lengths)
    if {width} <= possible and len({*rows}) == 1 and rows[0] not in possible:
        return part, None  # as many residues as the model is wide, of another width
    if not ({*rows} <= possible or padded):
        raise _refused(path, width, "residues")
    names = {name: name for name in part.arrays}

    def get(name: str) -> Any:
        return np.asarray(part.arrays[name]).T

    return replace(part, arrays=Lazy(names, get)), across_words(width, "residues")


def _refused(path: str, width: int, what: str) -> InputError:
    rows = "residues x numbers" if what == "residues" else "records x numbers"
    return InputError(
        f"the arrays of {path!r} are transposed: {width:,} numbers x {what}; give them as {rows}, "
        "with IDs"
    )
