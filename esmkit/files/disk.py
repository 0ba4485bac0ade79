"""Files on disks that fill up, fail, or may not be written: small steps that leave nothing half done."""

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esmkit.errors import OutputError

__all__ = [
    "SteadyFile",
    "check_output",
    "delete",
    "disk_errors",
    "file_identity",
    "sync",
    "sync_folder",
    "write_durably",
]


def check_output(
    output: Path, *, force: bool, named: str = "output", forced: str = "run=Run(force=True)"
) -> None:
    """Make sure, before anything is computed, that the output may and can be written.

    Parameters
    ----------
    output : Path
    force : bool
        Whether it may be overwritten.
    named, forced : str
        The arguments that name the output and allow that, as the caller's caller writes them.

    Raises
    ------
    OutputError
        If it exists and ``force`` is not set, or its folder is missing or not writable.
    """
    try:
        exists, is_folder = output.exists(), output.is_dir()
    except OSError as error:
        raise OutputError(
            f"{str(output)[:60]!r} cannot be a file name ({error.strerror}); give another with `{named}`"
        ) from None
    if is_folder:
        raise OutputError(f"{str(output)!r} is a folder; give a file name with `{named}`")
    if exists and not force:
        raise OutputError(
            f"{str(output)!r} exists already; `{forced}` overwrites it, or `{named}` names "
            "another file"
        )
    parent = output.resolve().parent
    if not parent.is_dir():
        raise OutputError(
            f"there is no folder {str(parent)!r}; make it, or choose another with `{named}`"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"the folder {str(parent)!r} cannot be written; choose another with `{named}`"
        )


@contextlib.contextmanager
def disk_errors(where: Path | str) -> Iterator[None]:
    """Turn an error of the file system into one sentence that says how to go on."""
    try:
        yield
    except (OutputError, BrokenPipeError):
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write to {str(where)!r} ({error.strerror or error}); what was computed "
            "before is kept: make room or mend the cause, then run the same again"
        ) from error


class SteadyFile(io.FileIO):
    """A file that a library can always finish: a failing disk is told to whoever asks, not to it.

    HDF5 cannot close a file that it cannot write: the file stays open, its room on the disk is not
    given back, and every object in it complains when it is deleted.

    Parameters
    ----------
    path : Path
        Written anew.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of some bytes; once that has failed, nothing is written any more."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self._error is None:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self._error = error
        if done < len(view):
            self.seek(len(view) - done, os.SEEK_CUR)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Cut the file, or make it longer."""
        try:
            if self._error is None:
                return super().truncate(size)
        except OSError as error:
            self._error = error
        return self.tell() if size is None else size

    def check(self) -> None:
        """Raise the error of the disk, if there was one."""
        if self._error is not None:
            raise self._error


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have the disk take a file for good."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def write_durably(path: Path, *parts: bytes | memoryview) -> None:
    """Write a small file, its parts one after the other, so that it is whole, or as it was before."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            for part in parts:
                handle.write(part)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system can, and none needs it for a mere kill."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def file_identity(path: Path) -> list[int] | None:
    """Return inode, size and time of a file, which a move does not change; None if it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]
