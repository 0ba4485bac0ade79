"""FASTA files in ranges: byte ranges cut at record boundaries, each a small FASTA file of its own.

Range ``k`` of a file holds the records whose ``>`` stands at a byte from ``k * size`` to
``(k + 1) * size - 1``: whoever reads it needs to know nothing of the other ranges, every record is
in exactly one, and a range in which no record begins is empty. In a gzip file the bytes counted
are those of the text; it can be read from its beginning only, so one reader goes through it.
"""

import hashlib
from collections.abc import Iterator
from typing import IO

__all__ = ["count_ranges", "digest_of", "ranges_of_stream", "read_range"]

_RECORD = b"\n>"
"""Where one record ends and the next begins. A ``>`` elsewhere in a line is part of a header."""

_BLOCK = 2**20


def count_ranges(size: int, range_bytes: int) -> int:
    """Return how many ranges a plain file of so many bytes has: at least one."""
    return max(1, -(-size // range_bytes))


def digest_of(data: bytes) -> str:
    """Return what tells whether a range still holds what it held: BLAKE2b, 128 bits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_range(handle: IO[bytes], number: int, range_bytes: int) -> bytes:
    """Read the records of one range of a plain file.

    Parameters
    ----------
    handle : binary file that can seek
    number : int
        From 0.
    range_bytes : int

    Returns
    -------
    bytes
        From the first record that begins in the range to the end of the last one; range 0 begins
        with the file. Empty if no record begins here.
    """
    handle.seek(max(0, number * range_bytes - 1))
    data = bytearray(handle.read(range_bytes + (number > 0)))
    begin = 0
    if number:  # the byte before the range decides whether a record begins with its first one
        begin = data.find(_RECORD) + 1
        if not begin:
            return b""
    searched = max(0, len(data) - 1)
    while True:
        end = data.find(_RECORD, searched)
        if end >= 0:
            return bytes(data[begin : end + 1])
        searched = max(0, len(data) - 1)
        block = handle.read(_BLOCK)
        if not block:
            return bytes(data[begin:])
        data += block


def ranges_of_stream(stream: IO[bytes], range_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield (number, records) of every range of a file that is read from its beginning.

    The ranges are those of :func:`read_range`, except that empty ones at the end are left out. No
    more than one range and one block are held.
    """
    buffer = bytearray()
    offset = 0  # of the buffer in the file
    number = 0
    searched = 0
    while True:
        boundary = (number + 1) * range_bytes - offset  # in the buffer
        if number and boundary <= 0:  # a record longer than a range
            yield number, b""
            number += 1
            continue
        end = buffer.find(_RECORD, max(searched, boundary - 1))
        if end >= 0:
            yield number, bytes(buffer[: end + 1])
            del buffer[: end + 1]
            offset += end + 1
            number, searched = number + 1, 0
            continue
        searched = max(0, len(buffer) - 1)
        block = stream.read(_BLOCK)
        if not block:
            yield number, bytes(buffer)
            return
        buffer += block
