"""One process at a time at an output."""

from pathlib import Path
from typing import IO

from esmkit.errors import ResumeError
from esmkit.locks import try_lock

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
    handle = try_lock(path)
    if handle is None:
        raise ResumeError(
            f"another process is writing {str(output)!r} just now; wait for it, or give "
            "the output another name"
        )
    return handle
