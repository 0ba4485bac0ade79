"""Several files that one run writes at its end: a kill between two of them is no obstacle."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from esmkit.files.disk import (
    delete,
    delete_folder,
    disk_errors,
    file_identity,
    move_into_place,
    sync,
    sync_folder,
    through_links,
    write_durably,
)
from esmkit.files.locks import take_lock

__all__ = ["Together"]

MOVING = "moving.json"
"""Names each finished file by inode, size and time, just before the first is moved to its place."""


class Together(contextlib.AbstractContextManager["Together"]):
    """Files that are written in a folder of their own, and moved to their places one after the other.

    :meth:`take_back`, before the outputs are looked at, deletes what a killed run had moved: else the
    next would be refused because of files that exist. A single file needs none of this, and is written where it belongs.

    Parameters
    ----------
    place : Path
        What the folder is named after: ``<place>.files.work`` beside it.
    outputs : sequence of Path
        All that is to be written.

    Raises
    ------
    ResumeError
        If another process is writing them.
    OutputError
        If the disk fails.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table, note = Path(folder, "a.csv"), Path(folder, "b.txt")
    ...     with Together(table, [table, note]) as files:
    ...         _ = files.staged(table).write_text("1,2")
    ...         _ = files.staged(note).write_text("a note")
    ...         before = table.exists()
    ...         files.finish()
    ...     before, sorted(path.name for path in Path(folder).iterdir())
    (False, ['a.csv', 'b.txt'])
    """

    def __init__(self, place: Path, outputs: Sequence[Path]) -> None:
        self._staged: dict[Path, Path] = {path: path for path in outputs}
        self._folder = _folder_of(place)
        self._lock: IO[bytes] | None = None
        if len(outputs) < 2:
            return
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            self._lock = take_lock(self._folder / "lock", place)
            for path in self._folder.iterdir():
                if path.name != "lock":
                    delete(path)
        self._staged = {
            path: self._folder / f"{number}{path.suffix}" for number, path in enumerate(outputs)
        }

    @staticmethod
    def take_back(place: Path) -> None:
        """Delete what a run had moved that was killed between two moves.

        If all was in place it stays, for it is the whole output.

        Parameters
        ----------
        place : Path
            As it was given to that run.

        Raises
        ------
        ResumeError
            If that run is still at it.
        OutputError
            If the disk fails.
        """
        folder = _folder_of(place)
        if not folder.is_dir():
            return
        with disk_errors(folder), take_lock(folder / "lock", place) as lock:
            _take_back(folder)
            delete_folder(folder, last=(MOVING,), lock=lock)

    def staged(self, output: Path) -> Path:
        """Return where to write one of the outputs."""
        return self._staged[output]

    def finish(self) -> None:
        """Move all that was written to its place.

        Raises
        ------
        OutputError
            If the disk fails.
        """
        if self._lock is None:
            return
        with disk_errors(self._folder):
            moves = {new: old.absolute() for old, new in self._staged.items() if new.exists()}
            for new in moves:
                sync(new)
            identities = {str(old): file_identity(new) for new, old in moves.items()}
            write_durably(self._folder / MOVING, json.dumps(identities).encode())
            for new, old in moves.items():
                move_into_place(new, old)
            for parent in {old.parent for old in moves.values()}:
                sync_folder(parent)

    def __exit__(self, kind: object, *_: object) -> None:
        if self._lock is not None:
            if kind is not None:  # stopped, or the disk failed, between two moves
                _take_back(self._folder)
            delete_folder(self._folder, last=(MOVING,), lock=self._lock)
            self._lock.close()


def _folder_of(place: Path) -> Path:
    real = through_links(place)
    return real.with_name(f"{real.name}.files.work")


def _take_back(folder: Path) -> None:
    """Delete what a killed run had moved, unless that was all: then it is the whole output."""
    try:
        moved = json.loads((folder / MOVING).read_bytes())
        there = [Path(p) for p, identity in moved.items() if file_identity(Path(p)) == identity]
    except (OSError, ValueError, AttributeError):
        return
    if len(there) < len(moved):
        for path in there:
            path.unlink(missing_ok=True)
