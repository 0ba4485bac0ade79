"""What happens to files on their way: bits, lines, encodings, ends, packing; each kind by its name."""

import gzip
import random
from collections.abc import Callable, Sequence

__all__ = ["hurt", "hurt_text"]

ENDS = ("\r\n", "\r", "\n\n", " \n", "\t\n", "\u2028", "\x0b", "\x85", "")
ENCODINGS = ("latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp037", "utf-32", "utf-7")
ODD = (
    *("\0", "\t", "\x0b", "\x1b[2J", "\u00a0", "\u00df", "\u0130", "\u202e", "\u2028", "\ufeff"),
    *("\uff2d", "\U0001f9ec", "\udcff", " ", "*", "-", ".", "J", ">", ";", "\\", "'", '"', "%2F"),
    *("/", "..", "\r", "\n", "=1+1", "#", "nan", "inf", "-0", "1e999", "\u0663", "\u00b2", "0x10"),
    *("9" * 20, "-" + "9" * 20, "1" * 5_000, "1_0", "999999999", "1e38", "1e39", "x" * 40_000),
)
"""Signs and numbers that programs stumble over."""

Bytes = Callable[[random.Random, bytes], bytes]
Text = Callable[[random.Random, str, Sequence[str]], str]


def _span(chance: random.Random, size: int) -> tuple[int, int]:
    start = chance.randrange(size)
    return start, min(size, start + chance.choice((1, 1, 2, 5, 40, 400)))


def _flipped(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def _random(chance: random.Random, data: bytes) -> bytes:
    a, b = _span(chance, len(data))
    return data[:a] + chance.randbytes(b - a) + data[b:]


def _cut_out(chance: random.Random, data: bytes) -> bytes:
    a, b = _span(chance, len(data))
    return data[:a] + data[b:]


def _cut_off(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def _repeated(chance: random.Random, data: bytes) -> bytes:
    a, b = _span(chance, len(data))
    return data[:a] + data[a:b] * chance.choice((2, 2, 3, 50)) + data[b:]


def _swapped(chance: random.Random, data: bytes) -> bytes:
    a, b = sorted((chance.randrange(len(data)), chance.randrange(len(data))))
    return data[b:] + data[a:b] + data[:a]


def _zeros(chance: random.Random, data: bytes) -> bytes:
    a, b = _span(chance, len(data))
    return data[:a] + bytes(b - a) + data[b:]


def _appended(chance: random.Random, data: bytes) -> bytes:
    return data + chance.randbytes(chance.choice((1, 7, 600)))


BYTES: dict[str, Bytes] = {
    "a bit": _flipped,
    "random bytes": _random,
    "bytes cut out": _cut_out,
    "cut off": _cut_off,
    "bytes repeated": _repeated,
    "parts swapped": _swapped,
    "zeros": _zeros,
    "more at the end": _appended,
}


def _packed(chance: random.Random, data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def _packed_badly(chance: random.Random, data: bytes) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:  # members, as bgzip makes them
        half = len(data) // 2
        return gzip.compress(data[:half], 1, mtime=0) + gzip.compress(data[half:], 1, mtime=0)
    if kind == 1:
        return gzip.compress(gzip.compress(data, 1, mtime=0), 1, mtime=0)
    whole = gzip.compress(data, 1, mtime=0)
    return chance.choice([*BYTES.values()])(chance, whole)


def _lines(chance: random.Random, text: str, tokens: Sequence[str]) -> str:
    lines = text.split("\n")
    row, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.randrange(4)
    if kind == 0:
        del lines[row : row + chance.choice((1, 1, 3, 40))]
    elif kind == 1:
        lines[row:row] = lines[row : row + chance.choice((1, 1, 5, 60))]
    elif kind == 2:
        lines[row], lines[other] = lines[other], lines[row]
    else:
        lines.insert(row, chance.choice(tokens))
    return "\n".join(lines)


def _token(chance: random.Random, text: str, tokens: Sequence[str]) -> str:
    """Put an odd word over or between what is there."""
    place = chance.randrange(len(text) + 1)
    new = chance.choice(tokens) if chance.randrange(3) else chance.choice(ODD)
    return text[:place] + new + text[place + (len(new) if chance.randrange(2) else 0) :]


def _cells(chance: random.Random, text: str, tokens: Sequence[str]) -> str:
    """Replace, leave out, repeat or swap a word of a line."""
    lines = text.split("\n")
    row = chance.randrange(len(lines))
    sign = next((s for s in "\t,;" if s in lines[row]), None)
    cells = lines[row].split(sign)
    if not cells:
        return text
    place = chance.randrange(len(cells))
    kind = chance.randrange(4)
    if kind == 0:
        cells[place] = chance.choice([*tokens, *ODD])
    elif kind == 1:
        del cells[place]
    elif kind == 2:
        cells.insert(place, cells[place])
    else:
        other = chance.randrange(len(cells))
        cells[place], cells[other] = cells[other], cells[place]
    lines[row] = (sign or " ").join(cells)
    return "\n".join(lines)


def _ends(chance: random.Random, text: str, tokens: Sequence[str]) -> str:
    end = chance.choice(ENDS)
    if chance.randrange(2):
        return text.replace("\n", end)
    return "".join(part + (end if chance.randrange(3) else "\n") for part in text.split("\n"))


def _case(chance: random.Random, text: str, tokens: Sequence[str]) -> str:
    return chance.choice((text.upper, text.lower, text.swapcase, text.title))()


def _sign(chance: random.Random, text: str, tokens: Sequence[str]) -> str:
    place = chance.randrange(len(text) + 1)
    return text[:place] + chr(chance.randrange(1, 0x3000)) + text[place + 1 :]


TEXT: dict[str, Text] = {
    "lines": _lines,
    "an odd word": _token,
    "cells": _cells,
    "line ends": _ends,
    "case": _case,
    "an odd sign": _sign,
}


def hurt(chance: random.Random, data: bytes, *, often: int = 4) -> tuple[str, bytes]:
    """Damage bytes once, but for one in ``often``; return the kind of damage and what is left."""
    if not data or not chance.randrange(often):
        return "none", data
    name = chance.choice([*BYTES])
    return name, BYTES[name](chance, data)


def hurt_text(
    chance: random.Random, text: str, tokens: Sequence[str], *, often: int = 4
) -> tuple[str, bytes]:
    """Damage a text as people, programs and disks do, once to three times, and encode it.

    Returns
    -------
    str
        Kind of the damage; ``several kinds`` or ``none``.
    bytes
    """
    if not chance.randrange(often):
        if chance.randrange(4):
            return "none", text.encode("utf-8", "replace")
        return "packed", _packed(chance, text.encode("utf-8", "replace"))
    names = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        names.append(chance.choice([*TEXT]))
        text = TEXT[names[-1]](chance, text, tokens)
    encoding = "utf-8"
    rest = chance.randrange(12)
    if rest == 0:
        encoding = chance.choice(ENCODINGS)
        names.append("encoding")
    data = text.encode(encoding, "replace")
    if data and rest in (1, 2, 3):
        names.append(chance.choice([*BYTES]))
        data = BYTES[names[-1]](chance, data)
    elif data and rest in (4, 5):
        names.append("packing")
        data = _packed_badly(chance, data)
    return names[0] if len(names) == 1 else "several kinds", data
