"""One process at a time at an output."""

import errno
import importlib
from pathlib import Path
from typing import IO, Any

from esmkit.errors import ResumeError

__all__ = ["take_lock"]


def take_lock(path: Path, output: Path) -> IO[bytes]:
    """Lock a file until what is returned is closed, or the process ends in whatever way.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    output : Path
        What is being written, for the message.

    Raises
    ------
    ResumeError
        If another process has it.
    """
    handle = path.open("ab")
    try:
        _lock(handle)
    except OSError as error:
        if error.errno not in _HELD:  # a file system without locks, such as some of clusters
            return handle
        handle.close()
        raise ResumeError(
            f"another process is writing {str(output)!r} just now; wait for it, or give "
            "the output another name"
        ) from None
    return handle


_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK, 36)
"""What systems say of a file that another process has locked; 36 is EDEADLOCK of Windows."""


def _lock(handle: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        msvcrt: Any = importlib.import_module("msvcrt")
        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
