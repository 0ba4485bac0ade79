"""FASTA as text: files opened, packed or not, and cut into records of bounded size.

However large a file or a line is, no more than one record is held, and of a record no more than
the longest protein could have: a packed file of a megabyte may unfold to any number of gigabytes.
"""

import contextlib
import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from esmkit.errors import InputError
from esmkit.report import MAX_HEADER_BYTES, shorten

__all__ = ["LONGEST_PROTEIN", "fasta_records", "open_text", "stem_of"]

LONGEST_PROTEIN = 1_000_000
"""Of a record. The longest proteins known have some 45,000 (PKZILLA-1, Prymnesium parvum: 45,212;
Fallon et al. 2024, Science 385, 671); what is longer is a genome, or no sequence at all."""

_LINE_PART = 2**16
"""Characters; longer lines are read in parts."""

_MAGIC_OF_UTF16 = (b"\xff\xfe", b"\xfe\xff")

_MAGIC_OF_OTHER_ARCHIVES = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x89HDF": "HDF5",
}


@contextlib.contextmanager
def open_text(path: str | Path, kind: str = "FASTA", example: str = "*.fasta") -> Iterator[IO[str]]:
    """Open a file, plain or gzip, or standard input (``-``), as UTF-8 text.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, or ``-``.
    kind, example : str
        What the file should be and what such a file is called, for the messages.

    Raises
    ------
    InputError
        If the file is missing, is a folder, is compressed in another way, is damaged or cannot be
        read.
    """
    name = "standard input" if str(path) == "-" else str(path)
    with contextlib.ExitStack() as stack:
        if str(path) == "-":
            raw = sys.stdin.buffer
        else:
            try:
                raw = stack.enter_context(Path(path).open("rb"))
            except FileNotFoundError:
                raise InputError(f"there is no file {name!r}; check the path") from None
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
            for magic, other in _MAGIC_OF_OTHER_ARCHIVES.items():
                if head.startswith(magic):
                    raise InputError(
                        f"{name!r} is {other} data; give plain {kind} text or {kind} packed with gzip"
                    )
            if head.startswith(_MAGIC_OF_UTF16):
                raise InputError(f"{name!r} is UTF-16 text; save it again as UTF-8")
            plain = gzip.GzipFile(fileobj=buffered) if head.startswith(b"\x1f\x8b") else buffered
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


def fasta_records(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the records of one file after checking that it is FASTA at all.

    The rules are Biopython's (``SimpleFastaParser``), which reads a line of any length at once.

    Yields
    ------
    header : str
        Without ``>`` and without white space at its end; of a longer one the first
        ``MAX_HEADER_BYTES + 1`` characters, so that it is seen to be too long.
    sequence : str
        Without blanks; of a longer one the first ``LONGEST_PROTEIN + 1`` letters, as soon as they
        are there.
    """
    name = "standard input" if str(path) == "-" else str(path)
    with open_text(path) as handle:
        first = _first_part(handle)
        if not first:
            raise InputError(f"{name!r} is empty; a FASTA file has a '>' line for each protein")
        if not first.startswith(">"):
            raise InputError(
                f"{name!r} is not FASTA: it begins with {shorten(first.strip(), 30)!r} where "
                "a line that begins with '>' should stand"
            )
        yield from _records(first, handle)


def _first_part(handle: IO[str]) -> str:
    """Return the first line that is not blank, or the beginning of it."""
    while part := handle.readline(_LINE_PART):
        if part.strip():
            return part
    return ""


def _records(part: str, handle: IO[str]) -> Iterator[tuple[str, str]]:
    """Yield (header, sequence); ``part`` is the beginning of the first header's line."""
    read = handle.readline
    while part:
        header = part[1 : MAX_HEADER_BYTES + 2].rstrip()
        while part and part[-1] != "\n":
            part = read(_LINE_PART)
        letters: list[str] = []
        size, begins_line = 0, True
        while part := read(_LINE_PART):
            if begins_line and part[0] == ">":
                break
            begins_line = part[-1] == "\n"
            if size > LONGEST_PROTEIN:
                continue  # of a record that is left out
            piece = part.rstrip()
            if " " in piece:
                piece = piece.replace(" ", "")
            if piece:
                letters.append(piece)
                size += len(piece)
            if size > LONGEST_PROTEIN:
                yield header, "".join(letters)
        if size <= LONGEST_PROTEIN:
            yield header, "".join(letters)


def stem_of(source: str | Path) -> str:
    """Return the name of a FASTA file without folder and endings; it may be empty.

    >>> stem_of("runs/seqs.fasta.gz")
    'seqs'
    """
    name = Path(source).name
    for ending in (".gz", ".fasta", ".fa", ".faa", ".fas", ".pep"):
        name = name.removesuffix(ending)
    return name
