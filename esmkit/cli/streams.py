"""Standard streams that are closed, full or of another encoding: one sentence, and no harm."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from esmkit.errors import EsmkitError, OutputError

__all__ = ["at_terminal", "mend_streams", "refused_by_stdout"]


class _Closed(io.TextIOBase):
    """Stands in for a standard output that is closed: whoever writes to it is told."""

    def writable(self) -> bool:
        """Say that nothing can be written, for those who ask first."""
        return False

    def write(self, text: str, /) -> NoReturn:
        """Refuse."""
        raise OutputError(
            "standard output is closed, and what was asked for goes there; name a file with -o if "
            "the command has it, or leave standard output open"
        )


class _Forgiving(io.RawIOBase):
    """Writes to a file as long as that works: what is only reported ends no computation."""

    def __init__(self, file: io.RawIOBase) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        """Say that it takes what is written."""
        return True

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self._file.isatty()

    def fileno(self) -> int:
        """Return its number."""
        return self._file.fileno()

    def write(self, data: Any, /) -> int:
        """Write, or lose what is to be written."""
        with contextlib.suppress(OSError):
            return self._file.write(data) or 0
        return len(data)


def mend_streams() -> None:
    """Make standard streams fit for a command, whatever it was started with.

    The numbers 0 to 2 are taken if they are free: a library that writes to standard error would
    write into whatever file was opened next. Reports that standard error does not take are lost,
    and nothing else is. Tables in a pipe are UTF-8, as in files; a terminal is shown what it has no
    letters for as numbers.
    """
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(number, True)
        os.close(number)
    if sys.stderr is None:
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
        sys.stderr = nowhere
    elif isinstance(sys.stderr, io.TextIOWrapper):
        _forgive(sys.stderr)
    if sys.stdout is None:
        sys.stdout = _Closed()
    elif isinstance(sys.stdout, io.TextIOWrapper) and not _is_utf8(sys.stdout.encoding):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8")


def _forgive(stream: io.TextIOWrapper) -> None:
    """Let standard error lose what its disk, pipe or terminal does not take."""
    file = getattr(stream.buffer, "raw", stream.buffer)  # itself with PYTHONUNBUFFERED
    if not isinstance(file, io.FileIO):  # of a test, or a notebook
        return
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Forgiving(file)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
        write_through=True,
    )


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


def at_terminal() -> bool:
    """Say whether somebody types at standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


@contextlib.contextmanager
def refused_by_stdout() -> Iterator[None]:
    """Say in one sentence that standard output does not take what is written to it.

    Raises
    ------
    OutputError
        If it is full, or its disk fails. That a reader has left stays a ``BrokenPipeError``.
    """
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, EsmkitError):  # whose remedy is its own
        raise
    except OSError as error:
        if not _is_of_stdout(error):
            raise
        _drop_stdout()
        raise OutputError(
            f"cannot write to standard output ({error.strerror or error}); make room, or send it "
            "somewhere else"
        ) from None


def _is_of_stdout(error: OSError) -> bool:
    """Say whether an error comes from standard output: what echoes, or what is still to be written."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_globals.get("__name__") in (__name__, "click.utils")


def _drop_stdout() -> None:
    """Let what is still waiting to be written go nowhere: Python would try again at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
