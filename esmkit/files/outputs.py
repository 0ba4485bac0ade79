"""What an output may be: a file, a link to one, or a stream; and its format.

A *stream* is standard output, a pipe or a device: it takes text as it is made, and nothing can be
kept beside it. Everything else is a file, which appears whole.
"""

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from esmkit.errors import OptionError
from esmkit.text import Say, silent

__all__ = [
    "STDOUT",
    "SUFFIXES",
    "choose_format",
    "format_of_name",
    "is_stream",
    "name_of_target",
    "open_stream",
]

STDOUT = Path("-")
"""Output that stands for standard output."""

SUFFIXES: dict[str, tuple[str, ...]] = {
    "h5": ("h5", "hdf5", "hdf", "he5"),
    "parquet": ("parquet", "pq"),
    "npz": ("npz",),
    "csv": ("csv",),
    "tsv": ("tsv",),
    "rr": ("rr",),
}
"""What the names of files of each format end in; the first is the one that esmkit gives."""

_MOST_LINKS = 40
"""Links that Linux follows one after the other."""

_DESCRIPTOR = re.compile(r"/(?:dev/(stdout|stderr)|(?:dev|proc/self|proc/thread-self)/fd/(\d+))")


def format_of_name(path: str | Path) -> str | None:
    """Return the format that a file's name ends in, if it ends in one.

    >>> format_of_name("x.HDF5"), format_of_name("x.pq"), format_of_name("embeddings")
    ('h5', 'parquet', None)
    """
    suffix = Path(path).suffix.removeprefix(".").lower()
    return next((kind for kind, endings in SUFFIXES.items() if suffix in endings), None)


def choose_format(
    output: str | Path,
    asked: str | None,
    formats: Sequence[str],
    *,
    streamed: Sequence[str],
    say: Say = silent,
) -> str:
    """Return the format that was asked for, or else the one that the name of the output ends in.

    Parameters
    ----------
    output : path
        ``-`` is standard output.
    asked : str, optional
        The format, whatever the name ends in.
    formats : sequence of str
        Those that there are.
    streamed : sequence of str
        Those that a stream takes; the first is what it gets unless another is asked for.
    say : callable
        Is told if the name ends in another format than the file will have.

    Raises
    ------
    OptionError
        If there is no such format, nothing says one, or a stream cannot take it.

    Examples
    --------
    >>> kinds = ["h5", "csv"]
    >>> choose_format("seqs.hdf5", None, kinds, streamed=["csv"])
    'h5'
    >>> choose_format("-", None, kinds, streamed=["csv"])
    'csv'
    >>> choose_format("seqs.csv", "h5", kinds, streamed=["csv"], say=print)
    'seqs.csv' will hold HDF5, as was asked, although its name ends in .csv
    'h5'
    """
    if asked is not None and asked not in formats:
        raise OptionError(f"format is {', '.join(formats)}, not {asked!r}")
    named = format_of_name(output)
    if is_stream(output):
        kind = asked or (named if named in formats else None) or (streamed or formats)[0]
        if kind not in streamed:
            takes = f"takes {' or '.join(streamed)}" if streamed else "takes tables"
            what = "standard output" if Path(output) == STDOUT else f"the stream {str(output)!r}"
            raise OptionError(
                f"{what} {takes}, not {kind}; name a file with `output`, such as result.{SUFFIXES[kind][0]}"
            )
        return kind
    if asked is not None:
        if named not in (None, asked):
            say(
                f"{str(output)!r} will hold {_TITLES.get(asked, asked)}, as was asked, although "
                f"its name ends in {Path(output).suffix}"
            )
        return asked
    if named is None or named not in formats:
        raise OptionError(
            f"{str(output)!r} says no format: let it end in "
            + ", ".join(f".{name}" for name in formats)
            # of one format there is no choice, and the command for it has no option
            + (f', or name one, such as `file_format="{formats[0]}"`' if formats[1:] else "")
        )
    return named


_TITLES = {"h5": "HDF5", "parquet": "Parquet", "csv": "CSV", "tsv": "TSV", "rr": "RR"}


def _descriptor(path: str | Path) -> int | None:
    """Return which of this process's open files a path stands for, such as /dev/stdout."""
    if Path(path) == STDOUT:
        return 1
    step = Path(path).absolute()
    for _ in range(_MOST_LINKS):
        found = _DESCRIPTOR.fullmatch(str(step))
        if found:
            return {"stdout": 1, "stderr": 2}.get(found[1]) or int(found[2] or 0)
        try:
            step = Path(os.path.normpath(step.parent / step.readlink()))
        except (OSError, ValueError):  # no link, or no name that a file can have
            break
    return None


def is_stream(path: str | Path) -> bool:
    """Tell whether an output is a stream: ``-``, ``/dev/stdout``, a pipe or a device.

    Standard output is one also where a shell sends it to a file.

    >>> is_stream("-"), is_stream("/dev/stdout"), is_stream("seqs.h5")
    (True, True, False)
    """
    if _descriptor(path) is not None:
        return True
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def open_stream(path: str | Path) -> Iterator[IO[str]]:
    """Yield a stream for text; standard output stays open afterwards.

    Parameters
    ----------
    path : path
        One of which :func:`is_stream` holds.
    """
    number = _descriptor(path)
    if number == 1:
        yield sys.stdout
        return
    # A copy of the descriptor: to open the name anew would write over what a file there holds
    if number is not None:
        with os.fdopen(os.dup(number), "w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    with Path(path).open("w", encoding="utf-8", newline="") as stream:
        yield stream


def name_of_target(target: Any) -> Path | str:
    """Return what messages call the target of a task: a path, or a stream that is open.

    >>> name_of_target(Path("seqs.csv")), name_of_target(sys.stdout)
    (PosixPath('seqs.csv'), 'standard output')
    """
    if isinstance(target, Path):
        return target
    name = getattr(target, "name", None)
    return name if isinstance(name, str) and not name.startswith("<") else "standard output"
