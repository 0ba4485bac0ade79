"""HDF5 files opened for reading, whoever wrote them: what would never end is refused before.

Texts of any length, such as the attributes of datasets, lie in an HDF5 file's *global heaps*: blocks
that begin with ``GCOL``, in which each entry says how long it is (HDF5 File Format Specification
3.0, section III.E). The free space at the end is an entry with the number 0. Where that one has no
length, as in a block of which a crash or a broken download left zeros, the library (HDF5 2.0 and
before) takes the same place for the next entry for ever, in C, where neither Ctrl-C nor a limit of
Python's ends it.
"""

import os
from functools import lru_cache
from pathlib import Path
from struct import Struct
from typing import IO

import h5py

__all__ = ["open_hdf5"]

SCANNED = 2**25
"""Bytes of a file that are looked through at its beginning and at its end: 32 MiB."""

_MARK = b"GCOL\x01"
_ENTRY = Struct("<H6xQ")
"""Number and length; between them are a count of references and nothing."""

_LONGEST = 2**24
"""Bytes of a heap; by default one has 4,096, or what its longest text needs."""


def open_hdf5(path: str | Path) -> h5py.File:
    """Open a file for reading.

    Parameters
    ----------
    path : path

    Returns
    -------
    h5py.File

    Raises
    ------
    OSError
        If it is no HDF5 file, or so damaged that the library would never return from it, or made so
        that looking for that would take long. Of a file over 64 MiB only both ends are looked
        through.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "x.h5"
    ...     with h5py.File(path, "w") as file:
    ...         file.attrs["title"] = "a heap"
    ...     with open_hdf5(path) as file:
    ...         str(file.attrs["title"])
    'a heap'
    """
    state = Path(path).stat()
    _check(os.fspath(path), state.st_ino, state.st_size, state.st_mtime_ns)
    return h5py.File(path, "r")


@lru_cache(maxsize=16)
def _check(path: str, _inode: int, size: int, _time: int) -> None:
    """Look through a file once, as long as it stays the same."""
    with Path(path).open("rb") as stream:
        for start, end in _parts(size):
            _check_part(stream, start, end)


def _parts(size: int) -> list[tuple[int, int]]:
    if size <= 2 * SCANNED:
        return [(0, size)]
    return [(0, SCANNED), (size - SCANNED, size)]


def _check_part(stream: IO[bytes], start: int, end: int) -> None:
    stream.seek(start)
    data = stream.read(end - start)
    left = len(data) // _ENTRY.size  # entries there can be, for heaps do not overlap
    place = data.find(_MARK)
    while place >= 0:
        length = int.from_bytes(data[place + 8 : place + 16], "little")
        if 4_096 <= length <= _LONGEST:
            entries = _entries(data, place, min(place + length, len(data)), left)
            if entries is None:
                raise OSError(
                    f"its heap of texts at byte {start + place:,} has an entry of no possible length, "
                    "on which the HDF5 library never ends"
                )
            left -= entries
            if left < 0:
                raise OSError(f"its heap of texts at byte {start + place:,} overlaps with others")
        place = data.find(_MARK, place + 1)


def _entries(data: bytes, start: int, end: int, most: int) -> int | None:
    """Count the entries of a heap, up to one more than `most`; None if they never come to its end."""
    place, last, read, count = start + 16, end - _ENTRY.size, _ENTRY.unpack_from, 0
    while place <= last and count <= most:
        count += 1
        number, length = read(data, place)
        if number:  # the library adds lengths as numbers of 64 bits
            length = _ENTRY.size + (length + 7 & ~7) & 2**64 - 1
        if not 0 < length < 2**63:  # the same place again, or one before it
            return None
        place += length
    return count
