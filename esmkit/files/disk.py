"""Files on disks that fill up, fail, or may not be written: small steps that leave nothing half done."""

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from esmkit.errors import OutputError
from esmkit.files.outputs import is_stream
from esmkit.paths import no_name

__all__ = [
    "SteadyFile",
    "check_output",
    "delete",
    "delete_folder",
    "disk_errors",
    "file_identity",
    "move_into_place",
    "named_place",
    "place_of",
    "sync",
    "sync_folder",
    "through_links",
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
        If it exists and ``force`` is not set, its folder is missing or not writable, or
        :func:`place_of` refuses it.
    """
    if (why := no_name(output)) is not None:
        raise OutputError(f"{why} with `{named}`")
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
    parent = place_of(output).resolve().parent
    if not parent.is_dir():
        raise OutputError(
            f"there is no folder {str(parent)!r}; make it, or choose another with `{named}`"
        )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(
            f"the folder {str(parent)!r} cannot be written; choose another with `{named}`"
        )


def named_place(output: Path) -> Path:
    """Return where an output really is, or will be, with a name of its own.

    Parameters
    ----------
    output : Path
        Its name may be a link, or ``.``.

    Raises
    ------
    OutputError
        If no file can have the name, or it is the root of all folders.

    Examples
    --------
    >>> named_place(Path("maps.h5")).name, named_place(Path(".")).name == Path.cwd().name
    ('maps.h5', True)
    """
    if (why := no_name(output)) is not None:
        raise OutputError(f"{why} as output")
    real = through_links(output)
    if real.name in ("", ".."):  # `.`, whose own name is not in it
        real = real.resolve()
    if not real.name:
        raise OutputError(f"{str(output)!r} is the root of all folders; give another as output")
    return real


def through_links(path: Path) -> Path:
    """Return where a file or folder really is, or will be, if its name is a symbolic link.

    What is written there leaves the link as it is.

    Raises
    ------
    OutputError
        If the link leads back to itself.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     link = Path(folder, "link.h5")
    ...     link.symlink_to("real.h5")
    ...     through_links(link).name
    'real.h5'
    """
    try:
        path.readlink()
    except (OSError, ValueError):  # no link, or no name that a file can have
        return path
    real = Path(os.path.realpath(path))
    if real.is_symlink():
        raise OutputError(
            f"{str(path)!r} is a link that leads back to itself; delete it, or name another output"
        )
    return real


def place_of(path: Path) -> Path:
    """Return where a file that appears whole is written: through links, but not into a stream.

    Raises
    ------
    OutputError
        If it is a stream, a link that leads back to itself, or a file with a second name (a hard
        link), which would keep the old contents.
    """
    if is_stream(path):
        raise OutputError(
            f"{str(path)!r} is a stream, and this output is a file that appears whole; name a file"
        )
    path = through_links(path)
    try:
        found = path.stat()
    except OSError:
        return path
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise OutputError(
            f"{str(path)!r} has another name (a hard link), which would keep the old contents; "
            "delete one of the two, or name another output"
        )
    return path


def move_into_place(source: Path, target: Path) -> None:
    """Move a finished file to its place, through a link, also to another disk; whole or not at all.

    Raises
    ------
    OSError
        If the disk fails.
    OutputError
        If the file there has a second name.
    """
    target = place_of(target)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the link leads to another disk
            raise
        temporary = target.with_name(target.name + ".tmp")
        try:
            shutil.copyfile(source, temporary)
            sync(temporary)
            temporary.replace(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        source.unlink()


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


HELD_BYTES = 2**20
"""What a library writes piece by piece, end to end, goes to the disk in pieces of this size."""


class SteadyFile(io.FileIO):
    """A file that a library can always finish: a failing disk is told to whoever asks, not to it.

    HDF5 cannot close a file that it cannot write: the file stays open, its room on the disk is not
    given back, and every object in it complains when it is deleted. It writes each chunk apart, with
    the disk asked for each: what lies end to end is held here until it is worth the asking.

    Parameters
    ----------
    path : Path
        Written anew.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self._error: OSError | None = None
        self._held = bytearray()
        self._place = 0
        self._process = os.getpid()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; what is held stays so if that is its end."""
        if (offset, whence) != (self._place, os.SEEK_SET):
            self.flush()
            self._place = super().seek(offset, whence)
        return self._place

    def tell(self) -> int:
        """Return the place, after what is held."""
        return self._place

    def write(self, data: Any) -> int:
        """Write all of some bytes; once that has failed, nothing is written any more."""
        if self.closed:
            raise ValueError("the file is closed")
        view = memoryview(data).cast("B")
        if len(self._held) + len(view) > HELD_BYTES:
            self.flush()
        if len(view) < HELD_BYTES:
            self._held += view
        else:  # as it is: a copy would take as much memory
            self._put(view)
        self._place += len(view)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read what is there."""
        self.flush()
        count = super().readinto(buffer) or 0
        self._place += count
        return count

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes, or all that follow."""
        if size is None or size < 0:
            return self.readall()
        return (
            io.RawIOBase.read(self, size) or b""
        )  # by `readinto`; FileIO's own knows of nothing held

    def readall(self) -> bytes:
        """Read all that follow."""
        return io.RawIOBase.readall(self) or b""

    def flush(self) -> None:
        """Write what is held; a forked process has nothing to write of its parent's."""
        if self._held and self._process == os.getpid():
            super().seek(self._place - len(self._held))
            with memoryview(self._held) as view:
                self._put(view)
        self._held.clear()

    def _put(self, view: memoryview) -> None:
        """Write at the place of the operating system, and go on from behind it whatever happens."""
        done = 0
        try:
            while done < len(view) and self._error is None:
                done += super().write(view[done:]) or 0
        except OSError as error:
            self._error = error
        if done < len(view):
            super().seek(len(view) - done, os.SEEK_CUR)

    def truncate(self, size: int | None = None) -> int:
        """Cut the file, or make it longer."""
        self.flush()
        try:
            if self._error is None:
                return super().truncate(size)
        except OSError as error:
            self._error = error
        return self._place if size is None else size

    def check(self) -> None:
        """Raise the error of the disk, if there was one as far as it was asked."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Write what is held, and raise the error of the disk, if there was one."""
        self.flush()
        self.check()


def delete(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def delete_folder(folder: Path, *, last: Collection[str], lock: IO[bytes]) -> None:
    """Delete a folder with what is in it, as far as it can be: files of the names ``last`` last.

    Parameters
    ----------
    folder : Path
    last : collection of str
    lock : file
        A file in it that is open. Windows deletes no such file: there it is closed, and goes, after
        all others.
    """
    left = None
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir(), key=lambda path: path.name in last):
            try:
                delete(path)
            except PermissionError:
                if path.name != Path(lock.name).name:
                    raise
                left = path
        if left is not None:
            lock.close()
            left.unlink()
        folder.rmdir()


def sync(path: Path) -> None:
    """Have the disk take a file for good."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


def write_durably(path: Path, *parts: bytes | memoryview) -> None:
    """Write a small file, its parts one after the other, so that it is whole, or as it was before.

    A file that is a link is written through it.
    """
    path = place_of(path)
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
        found = path.stat()
    except OSError:
        return None
    return [found.st_ino, found.st_size, found.st_mtime_ns]
