"""What a file holds, told by its first bytes, whatever its name is."""

import re
from mmap import ACCESS_READ, mmap
from pathlib import Path

from esmkit.files.outputs import format_of_name

__all__ = ["describe", "format_of_content", "is_hdf5", "separator_of"]

_HEAD = 4096
"""Bytes of a file that are looked at."""

_USER_BLOCKS = (0, 512, 1024, 2048)
"""Places at which HDF5 may begin (HDF5 file format specification, II.A)."""

_BUNDLE = b"PAR1---PARQUET_DELIMITER---"
"""End of the first part of a ``.parquetbundle`` (protspace 4.8, ``protspace/data/io/bundle.py``)."""

_TABLE = re.compile(r"[\"']?id[\"']?([,;\t])(?:.*\1)?[\"']?e0[\"']?(?:\1|$)")
"""First line of a table of embeddings."""

_MAGIC = {
    b"\x93NUMPY": "one bare NumPy array, without IDs",
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"BZh": "a bzip2 file; unpack it first",
    b"\xfd7zXZ": "an xz file; unpack it first",
    b"\x28\xb5\x2f\xfd": "a Zstandard file; unpack it first",
    b"\x80": "a Python pickle, which esmkit never reads, for it may run anything",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"SQLite format 3": "an SQLite database",
    b"ARROW1": "an Arrow or Feather file; write it as Parquet",
}

_TEXT = (
    (re.compile(r">"), "FASTA; embed it with `esmkit.embed_file` first"),
    (re.compile(r"PFRMAT\s+RR"), "contacts in CASP's RR format, which is text to be read by eye"),
    (
        re.compile(r"id\ti_number\t"),
        "a table of contacts; read it with `pandas.read_csv(path, sep='\\t')`",
    ),
    (
        re.compile(r"id[,\t](length[,\t]\w+_perplexity|residue_number[,\t]residue[,\t]log_p)"),
        "a table of scores; open it with `esmkit.read`",
    ),
    (
        re.compile(r"id([,\t])(mutant\1residue_number|prediction\1variants)\1"),
        "a table of scores of variants; read it with `pandas.read_csv(path, sep=...)`",
    ),
    (
        re.compile(r"id[,\t][^\n]*\blayer[,\t]head\b"),
        "a table of attention in numbers; read it with `pandas.read_csv`",
    ),
    (re.compile(r"(HEADER|ATOM  |CRYST1|data_)"), "a structure; `esmkit.read_structure` reads it"),
    (re.compile(r"\s*<"), "a page of HTML or XML"),
    (re.compile(r"\s*[{\[]"), "JSON"),
    (re.compile(r"version https://git-lfs"), "a pointer of Git LFS; fetch the file itself"),
)


def _head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(_HEAD)


def format_of_content(path: str | Path) -> str | None:
    r"""Return ``h5``, ``npz``, ``parquet`` or ``csv`` by what a file holds; None for all else.

    Only a table with columns ``id`` and ``e0`` is ``csv``, its cells divided by ``,``, ``;`` or a
    tab.

    Raises
    ------
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "named.h5"
    ...     _ = path.write_text("id,length,layer,e0,e1\nP1,2,6,0.5,0.25\n")
    ...     format_of_content(path)
    'csv'
    """
    head = _head(Path(path))
    if any(head[at : at + 8] == b"\x89HDF\r\n\x1a\n" for at in _USER_BLOCKS):
        return "h5"
    if head[:4] == b"PAR1":
        return None if is_bundle(path) else "parquet"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "npz"
    return "csv" if _separator(head) else None


def is_bundle(path: str | Path) -> bool:
    """Tell whether a file is what ProtSpace draws: Parquet files one after the other."""
    with Path(path).open("rb") as stream:
        if stream.read(4) != b"PAR1":
            return False
        with mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
            return content.find(_BUNDLE) >= 0


def is_hdf5(path: str | Path) -> bool:
    """Tell whether a file is HDF5, by what it holds; or by its name if it cannot be read."""
    try:
        return format_of_content(path) == "h5"
    except (OSError, ValueError):
        return format_of_name(path) == "h5"


def separator_of(path: str | Path) -> str | None:
    """Return what divides the cells of a table of embeddings; None if it is none."""
    return _separator(_head(Path(path)))


def _separator(head: bytes) -> str | None:
    line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip(b"\r")
    found = _TABLE.match(line.decode("utf-8", "replace"))
    return found[1] if found else None


def describe(path: str | Path) -> str:
    r"""Return what a file holds that :func:`format_of_content` does not know, for a message.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "x.h5"
    ...     _ = path.write_text(">P1\nMKTV\n")
    ...     describe(path)
    'FASTA; embed it with `esmkit.embed_file` first'
    """
    head = _head(Path(path))
    if not head:
        return "empty"
    for start, name in _MAGIC.items():
        if head.startswith(start):
            return name
    if is_bundle(path):
        return (
            "a bundle of ProtSpace, projections to two or three dimensions without embeddings; "
            "give the HDF5 file that they were made from"
        )
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    for pattern, name in _TEXT:
        if pattern.match(text):
            return name
    if b"\0" in head or text.count("\ufffd") > len(text) // 10:
        return "bytes of no format that esmkit knows"
    return f"text that begins with {text.split(chr(10), 1)[0][:40].strip()!r}"
