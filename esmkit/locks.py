"""A file that one process at a time holds."""

import errno
import importlib
from pathlib import Path
from typing import IO, Any

__all__ = ["try_lock"]

_HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK, 36)
"""What systems say of a file that another process has locked; 36 is EDEADLOCK of Windows."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""What systems say of a file that cannot be locked where it lies."""


def try_lock(path: Path) -> IO[bytes] | None:
    """Lock a file until what is returned is closed, or the process ends in whatever way.

    Parameters
    ----------
    path : Path
        The file, which is made if there is none; its folder exists.

    Returns
    -------
    file or None
        None if it is locked already. On a file system that knows no locks, such as Lustre where it
        is mounted without ``flock``, everybody gets it.

    Raises
    ------
    OSError
        If the file cannot be opened, or nobody can tell whether it is locked: ``ENOLCK``, as on
        NFS whose server of locks does not answer.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mine = try_lock(Path(folder, "lock"))
    ...     other = try_lock(Path(folder, "lock"))
    ...     mine.close()
    >>> other is None
    True
    """
    handle = path.open("ab")
    try:
        _lock(handle)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return handle
        handle.close()
        if error.errno in _HELD:
            return None
        raise
    return handle


def _lock(handle: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        msvcrt: Any = importlib.import_module("msvcrt")
        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
