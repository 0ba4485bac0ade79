"""Several files that one run writes at its end: a kill between two of them is no obstacle."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from esmkit.files.disk import (
    delete,
    delete_folder,
    disk_errors,
    file_identity,
    move_into_place,
    named_place,
    place_of,
    sync,
    sync_folder,
    write_durably,
)
from esmkit.files.locks import take_lock

__all__ = ["Together"]

MOVING = "moving.json"
"""Names each finished file and what it is known by, just before the first is moved to its place."""

PUT = "put.json"
"""The same of files that are put in their places one at a time."""


class Together(contextlib.AbstractContextManager["Together"]):
    """Files that are written in a folder of their own, and moved to their places one after the other.

    :meth:`take_back`, before the outputs are looked at, deletes what a killed run had moved: else the
    next would be refused because of files that exist. A single file needs none of this, and is written
    where it belongs.

    Files that are of use without each other, such as the pages of several proteins, are not moved by
    :meth:`finish` but each by :meth:`put`, as soon as it is whole. They stay whatever ends the run;
    :meth:`left` names them to the next, which may replace them.

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
        self._put: dict[str, list[Any]] = {}
        if len(outputs) < 2:
            return
        with disk_errors(self._folder):
            self._folder.mkdir(exist_ok=True)
            self._lock = take_lock(self._folder / "lock", place)
            self._put = {str(p): m for p, m in _read(self._folder / PUT).items() if _is_one(p, m)}
            for path in self._folder.iterdir():
                if path.name not in ("lock", PUT):
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

    @staticmethod
    def left(place: Path) -> list[Path]:
        """Return what a stopped run had put in its place, as far as nobody has changed it since.

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
            return []
        with disk_errors(folder), take_lock(folder / "lock", place):
            return [Path(p) for p, marks in _read(folder / PUT).items() if _is_one(p, marks)]

    def staged(self, output: Path) -> Path:
        """Return where to write one of the outputs."""
        return self._staged[output]

    def put(self, output: Path) -> None:
        """Move one of the outputs, which is whole, to its place.

        Raises
        ------
        OutputError
            If the disk fails.
        """
        if self._lock is None:
            return
        new, old = self._staged[output], output.absolute()
        with disk_errors(self._folder):
            sync(new)
            # A kill may come before the move: then what an earlier run had put there is there still
            self._put.setdefault(str(old), []).append(_mark(new, old))
            write_durably(self._folder / PUT, json.dumps(self._put).encode())
            move_into_place(new, old)
            sync_folder(old.parent)

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
            marks = {str(old): _mark(new, old) for new, old in moves.items()}
            write_durably(self._folder / MOVING, json.dumps(marks).encode())
            for new, old in moves.items():
                move_into_place(new, old)
            for parent in {old.parent for old in moves.values()}:
                sync_folder(parent)

    def __exit__(self, kind: object, *_: object) -> None:
        if self._lock is None:
            return
        if kind is not None:  # stopped, or the disk failed
            _take_back(self._folder)
        if kind is not None and self._put:
            with contextlib.suppress(OSError):
                for new in self._staged.values():
                    delete(new)
        else:
            delete_folder(self._folder, last=(MOVING, PUT), lock=self._lock)
        self._lock.close()


def _folder_of(place: Path) -> Path:
    real = named_place(place)
    return real.with_name(f"{real.name}.files.work")


def _mark(new: Path, old: Path) -> Any:
    """Return what a finished file is known by at its place: on another disk it will be a copy."""
    if new.stat().st_dev == place_of(old).parent.stat().st_dev:
        return file_identity(new)
    return _sha256(new)


def _is(path: Path, mark: Any) -> bool:
    if isinstance(mark, str):
        return path.is_file() and _sha256(path) == mark
    return mark is not None and file_identity(path) == mark


def _is_one(path: str, marks: Any) -> bool:
    return isinstance(marks, list) and any(_is(Path(path), mark) for mark in marks)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """Return what was noted of files; nothing if there is no note, or none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _take_back(folder: Path) -> None:
    """Delete what a killed run had moved, unless that was all: then it is the whole output."""
    moved = _read(folder / MOVING)
    with contextlib.suppress(OSError):
        there = [Path(p) for p, mark in moved.items() if _is(Path(p), mark)]
        if len(there) < len(moved):
            for path in there:
                path.unlink(missing_ok=True)
