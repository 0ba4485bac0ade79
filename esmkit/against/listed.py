"""IDs in a list of text beside an array that has none, one a line."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from esmkit.against.given import Given, Lazy, Part, by_unique_name
from esmkit.against.named import across_words
from esmkit.against.tables import IDS
from esmkit.errors import InputError
from esmkit.text import open_text, shorten

__all__ = ["with_ids_beside"]


def with_ids_beside(given: Given, place: Path) -> Given:
    """Return what a file holds under the IDs that a list beside it names.

    Parameters
    ----------
    given : Given
    place : pathlib.Path
        The file; of ``x.npy`` the list is ``x_ids.txt``, ``x.ids``, ``x.ids.txt``, or ``ids.txt`` if
        it names as many.

    Raises
    ------
    InputError
        If the list that is named like the file names another number of records.
    """
    if len(given.parts) != 1 or not _are_rows(given.parts[0].arrays):
        return given
    (part,) = given.parts
    across = part.across if part.across is not None and _are_rows(part.across.arrays) else None
    counts = {len(part.arrays), len(across.arrays) if across else len(part.arrays)}
    own = [place.with_name(f"{place.stem}{end}") for end in ("_ids.txt", ".ids", ".ids.txt")]
    for path in (*own, place.with_name("ids.txt")):
        if not path.is_file() or path == place:
            continue
        ids = _ids_of(path, max(counts))
        if len(ids) in counts:
            return _under(given, part, across, ids, path)
        if path in own:
            raise InputError(
                f"{given.path!r} has {len(part.arrays):,} rows, and {shorten(str(path))!r} beside it "
                "names another number of records; keep the two of one run together"
            )
    return given


def _are_rows(names: Mapping[str, Any]) -> bool:
    return all(name == f"row {n}" for n, name in enumerate(names))


def _ids_of(path: Path, most: int) -> list[str]:
    """Return the lines of a list, up to one more than so many, without its header."""
    with open_text(path, "text", "*.txt") as stream:
        lines = [line.strip().removeprefix(">") for line in islice(stream, most + 2)]
    lines = [line for line in lines if line]
    return lines[1:] if lines and lines[0].casefold() in IDS else lines


def _under(given: Given, part: Part, across: Part | None, ids: Sequence[str], path: Path) -> Given:
    notes = [*given.notes, f"the file has no IDs: they were taken from {path.name} beside it"]
    if len(ids) == len(part.arrays):
        return replace(given, parts=[_renamed(part, ids)], notes=notes)
    assert across is not None
    notes.append(across_words(len(part.arrays), f"{len(across.arrays):,} records"))
    return replace(given, parts=[_renamed(across, ids)], notes=notes)


def _renamed(part: Part, ids: Sequence[str]) -> Part:
    rows = list(part.arrays)
    names = {name: rows[place] for name, place in by_unique_name(ids).items()}
    return replace(part, arrays=Lazy(names, lambda row: part.arrays[row]), across=None)
