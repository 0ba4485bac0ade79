"""One process at a time at an output."""

from pathlib import Path
from typing import IO

from esmkit.errors import OutputError, ResumeError
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
    OutputError
        If nobody can tell whether one has.
    """
    try:
        handle = try_lock(path)
    except OSError as error:
        raise OutputError(
            f"cannot lock {str(path)!r} ({error.strerror or error}), so two runs might write "
            f"{str(output)!r} at once; try again, or give an output on another disk"
        ) from None
    if handle is None:
        raise ResumeError(
            f"another process is writing {str(output)!r} just now; wait for it, or give "
            "the output another name"
        )
    return handle
