"""Text from files and for people: opening files, sizes, percentages, what a terminal may show."""

import contextlib
import difflib
import gzip
import io
import math
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from esmkit.errors import HIDDEN, InputError, OptionError, visible

__all__ = [
    "HIDDEN",
    "Say",
    "did_you_mean",
    "missing",
    "near",
    "open_text",
    "parse_bytes",
    "percent",
    "readable_bytes",
    "shorten",
    "signed",
    "silent",
    "visible",
    "visible_lines",
    "warn_caller",
    "working",
]


Say = Callable[[str], None]
"""Callable that takes one sentence about what was found or done."""


class _Silent:
    def __call__(self, text: str) -> None:
        pass

    def __repr__(self) -> str:
        return "silent"


silent: Say = _Silent()
"""Takes a sentence and says nothing; ``help()`` shows its name."""


PATIENCE = 2.0
"""Seconds of work after which people are told what goes on; silence looks like a program that hangs."""


@contextlib.contextmanager
def working(say: Say, text: str) -> Iterator[None]:
    """Say what goes on, if it takes longer than some two seconds.

    Parameters
    ----------
    say : callable
        Told from another thread; :data:`silent` is never told, and no thread is started for it.
    text : str
        What goes on, such as ``"reading the input"``.

    Yields
    ------
    None

    Examples
    --------
    >>> with working(print, "adding two numbers"):  # quick, so nothing is said
    ...     1 + 1
    2
    """
    if say is silent:
        yield
        return
    timer = threading.Timer(PATIENCE, say, [f"{text} ..."])
    timer.daemon = True  # an error that ends the program does not wait for it
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


CLOSE_ENOUGH = 0.7
"""Similarity of a name that is offered in place of one that is not known, 0 to 1 (difflib)."""

MANY_NEIGHBOURS = 10_000
"""Files of a folder that are compared with one that is not there."""


def near(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Return the known names that look most like a name that is not known, at most `count` of them.

    Capitals do not matter.

    >>> near("evaluat", ["fit", "evaluate"])
    ['evaluate']
    >>> near("x", ["fit", "evaluate"])
    []
    """
    of_folded = {one.casefold(): one for one in known}
    found = difflib.get_close_matches(name.casefold(), of_folded, n=count, cutoff=CLOSE_ENOUGH)
    return [of_folded[one] for one in found]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that ends a message on a name that is not known, or nothing.

    >>> did_you_mean("evaluat", ["fit", "evaluate"])
    "; did you mean 'evaluate'?"
    """
    found = near(name, known)
    return f"; did you mean {visible(found[0])!r}?" if found else ""


def missing(path: str | Path, kind: str = "file") -> str:
    """Return what to say of a file or folder that is not there: what is there that is called so.

    Parameters
    ----------
    path : str or Path
    kind : {'file', 'folder'}

    Returns
    -------
    str
        One sentence.

    Examples
    --------
    >>> Path("demo.fasta").touch()
    >>> missing("Demo.fa")
    "there is no file 'Demo.fa'; did you mean 'demo.fasta'?"
    """
    path = Path(path)
    with contextlib.suppress(OSError, ValueError):
        if kind == "folder" and path.is_file():
            return f"{str(path)!r} is a file; give the folder that it is in"
        if path.name and not path.parent.is_dir():
            return f"there is no {kind} {str(path)!r}, nor a folder {str(path.parent)!r}; check the path"
        there = path.parent.iterdir()
        names = [one.name for one, _ in zip(there, range(MANY_NEIGHBOURS), strict=False)]
        stem = path.name.partition(".")[0]
        # A name with the same ending and nothing else in common is no near one
        alike = [name for name in names if near(stem, [name.partition(".")[0]])]
        for name in near(path.name, alike):
            return f"there is no {kind} {str(path)!r}; did you mean {visible(str(path.parent / name))!r}?"
    return f"there is no {kind} {str(path)!r}; check the path"


_UNITS = {
    **{f"{letter}{end}": 1_000**n for n, letter in enumerate("KMGT", 1) for end in ("", "B")},
    **{f"{letter}IB": 1_024**n for n, letter in enumerate("KMGT", 1)},
    "B": 1,
    "": 1,
}


def parse_bytes(text: str) -> int:
    """Return a number of bytes from text such as ``500M``, ``10GB``, ``4MiB`` or ``2e9``.

    ``K``, ``M``, ``G``, ``T``, with or without a ``B``, are powers of 1,000, and ``KiB``, ``MiB``,
    ``GiB``, ``TiB`` powers of 1,024. Capitals do not matter; a fraction of a byte is cut off.

    Raises
    ------
    OptionError
        If it is no such text, or below 0.

    Examples
    --------
    >>> parse_bytes("10GB"), parse_bytes("1.5 M"), parse_bytes("4MiB")
    (10000000000, 1500000, 4194304)
    """
    upper = text.strip().upper()
    number = upper.rstrip("BIKMGT")
    unit = upper[len(number) :]
    try:
        count = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        count = -1.0
    if not 0 <= count < float("inf"):
        raise OptionError(
            f"a size is a number of bytes such as 500M or 10G, not {shorten(text)!r}; M is 10^6, and MiB 2^20"
        )
    return int(count)


def readable_bytes(count: int) -> str:
    """Return a `count` of bytes for people.

    >>> readable_bytes(13_400_000)
    '13.4 MB'
    """
    for power, unit in ((12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count} bytes"


_MAGIC_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of UTF-16 text."""

_MAGIC_OF_GZIP = b"\x1f\x8b"
_TAR = slice(257, 262)  # where POSIX tar has its magic word

_MAGIC_OF_OTHER_ARCHIVES = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x89HDF": "HDF5",
}
"""First bytes of binary files, and what those are called."""


@contextlib.contextmanager
def open_text(path: str | Path, kind: str = "FASTA", example: str = "*.fasta") -> Iterator[IO[str]]:
    """Open a file, plain or gzip, or standard input (``-``), as UTF-8 text.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, or ``-``.
    kind, example : str
        Kind of file that is expected, and how its name looks; both for the messages.

    Yields
    ------
    text file

    Raises
    ------
    InputError
        If the file is missing, is a folder, is compressed in another way, is damaged or cannot be
        read.

    Examples
    --------
    >>> with open_text(esmkit.data.demo_fasta()) as lines:
    ...     print(next(lines).split()[0])
    >1UBI_A
    """
    name = "standard input" if str(path) == "-" else str(path)
    with contextlib.ExitStack() as stack:
        if str(path) == "-":
            if sys.stdin is None:
                raise InputError(f"standard input is closed; give a {kind} file instead of -")
            raw = sys.stdin.buffer
        else:
            try:
                raw = stack.enter_context(Path(path).open("rb"))
            except FileNotFoundError:
                raise InputError(missing(path)) from None
            except IsADirectoryError:
                raise InputError(
                    f"{name!r} is a folder; name the {kind} files in it, such as {name}/{example}"
                ) from None
            except (OSError, ValueError) as error:  # ValueError: a name that no file can have
                why = getattr(error, "strerror", None) or error
                raise InputError(f"cannot read {name!r}: {why}") from None
        try:
            buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
            head = buffered.peek(8)
            _refuse_archives(head, name, kind)
            if head.startswith(_MAGIC_OF_UTF16):
                raise InputError(f"{name!r} is UTF-16 text; save it again as UTF-8")
            plain = buffered
            if head.startswith(_MAGIC_OF_GZIP):
                plain = gzip.GzipFile(fileobj=buffered)
                head = plain.peek(_TAR.stop)
                _refuse_archives(head, name, kind)
                if head.startswith(_MAGIC_OF_GZIP):
                    raise InputError(f"{name!r} is packed with gzip twice; unpack it once")
            text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="replace")  # type: ignore[type-var]
            try:
                yield text
            finally:
                with contextlib.suppress(ValueError, OSError):
                    text.detach()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"{name!r} is a damaged gzip file ({error}); copy or download it again"
            ) from None
        except OSError as error:  # a disk or a network share that fails half-way
            raise InputError(f"cannot read {name!r}: {error.strerror or error}") from None


def _refuse_archives(head: bytes, name: str, kind: str) -> None:
    for magic, other in _MAGIC_OF_OTHER_ARCHIVES.items():
        if head.startswith(magic):
            raise InputError(
                f"{name!r} is {other} data; give plain {kind} text or {kind} packed with gzip"
            )
    if head[_TAR] == b"ustar":  # its text would be read without the first line
        raise InputError(f"{name!r} is a tar archive; unpack it and name the {kind} file in it")


def percent(share: float, digits: int = 2) -> str:
    """Return a share with that many significant digits, so that a small one is not 0.

    >>> percent(0.0378), percent(0.00038), percent(0.31), percent(0.0)
    ('3.8%', '0.038%', '31%', '0%')
    """
    if not share:
        return "0%"
    places = max(0, digits - 1 - math.floor(math.log10(abs(100 * share))))
    return f"{100 * share:.{min(places, 6)}f}%"


def signed(value: float, digits: int) -> str:
    """Return a value with its sign and that many `digits` after the point, or 0 without a sign.

    >>> signed(1.25, 1), signed(-0.01, 1)
    ('+1.2', '0.0')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


_PACKAGE = str(Path(__file__).parent)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line that called into esmkit, however deep inside esmkit this is said.

    Parameters
    ----------
    message : str
    category : type of Warning

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_caller("these weights are not the original", UserWarning)
    >>> str(caught[0].message)
    'these weights are not the original'
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def shorten(text: str, limit: int = 60) -> str:
    """Cut a text that would make a message unreadable, to at most `limit` characters.

    >>> shorten("P69905", 4)
    'P69…'
    """
    return text if len(text) <= limit else text[: limit - 1] + "…"


def visible_lines(text: str) -> str:
    r"""Return `text` of several lines for a terminal: what :func:`visible` does, to each of them.

    Names come from files, and a terminal obeys what it is sent: an escape sequence in a name could
    clear the screen, change its title, or write a line that looks like the program's own.

    Examples
    --------
    >>> visible_lines("P69905\x1b[2J\nP68871")
    'P69905[U+001B][2J\nP68871'
    """
    return "\n".join(map(visible, text.split("\n")))
