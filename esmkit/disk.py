"""Files on disks that fill up, fail, or may not be written: small steps that leave nothing half done."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from esmkit.errors import OutputError

__all__ = ["check_output", "delete", "disk_errors", "sync", "sync_folder", "write_durably"]


def check_output(output: Path, *, force: bool) -> None:
    """Make sure, before anything is computed, that the output may and can be written.

    Raises
    ------
    OutputError
        If it exists and ``force`` is not set, or its folder is missing or not writable.
    """
    try:
        exists, is_folder = output.exists(), output.is_dir()
    except OSError as error:
        raise OutputError(
            f"{str(output)[:60]!r} cannot be a file name ({error.strerror}); give another with -o"
        ) from None
    if is_folder:
        raise OutputError(f"{str(output)!r} is a folder; give a file name with -o")
    if exists and not force:
        raise OutputError(
            f"{str(output)!r} exists already; --force overwrites it, or -o names another file"
        )
    parent = output.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"there is no folder {str(parent)!r}; make it, or choose another with -o")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {str(parent)!r} cannot be written; choose another with -o")


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
            "before is kept: make room or mend the cause, then run the same command again"
        ) from error


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


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that it is whole, or as it was before."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
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
