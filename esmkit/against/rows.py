"""Rows of arrays of residues, and the order of records, in words."""

from collections.abc import Mapping

import numpy as np

from esmkit.against.pooling import ROWS
from esmkit.against.records import Records
from esmkit.sequences.tokens import SPECIALS
from esmkit.text import shorten, visible

__all__ = ["order_words", "row_words"]


def row_words(records: Records, pooling: str, number: int) -> list[str]:
    """Return what is wrong with the rows of one record's array; nothing if they are right."""
    given, residues = len(records.arrays[number]), len(records.proteins[number])
    tokens = residues + SPECIALS
    rest = records.arrays[number]
    if pooling == "residues":
        if given == residues:
            return []
        if given == residues + 1:
            return ["one row too many: EOS is the last"]
        if given < residues:
            return [f"the array is cut off, at {_cut_words(given)} rows"]
        zeros = not rest[residues:].any()
        return [f"rows after the last residue, {'zeros' if zeros else 'of EOS or padding'}"]
    if pooling == "tokens":
        if given in (tokens, tokens - 1):
            return []
        if given == residues:
            return ["rows counted from BOS: each is one residue late, and the last is lost"]
        if given < residues:
            return [f"rows counted from BOS, and cut off at {_cut_words(given)} rows"]
        zeros = not rest[tokens:].any()
        return [f"rows after EOS, {'zeros' if zeros else 'of padding'}"]
    return [ROWS[pooling].words]


def _cut_words(given: int) -> str:
    return f"{given:,}"


def order_words(records: Records, moved: Mapping[int, int]) -> tuple[str, list[str]]:
    """Say how records under wrong names are ordered.

    Parameters
    ----------
    records : Records
    moved : mapping from int to int
        Record, and the record whose protein it is of.

    Returns
    -------
    str
        In a few words.
    list of str
        Examples.
    """
    numbers = np.array(sorted(moved))
    owners = np.array([moved[n] for n in numbers])
    count, tokens = len(records), np.array(records.tokens)
    steps = (owners - numbers) % count
    pairs = sum(moved.get(owner) == n for n, owner in moved.items())
    whole = len(numbers) >= 0.9 * count
    words = "vectors under each other's names (shuffled)"
    if len(set(steps.tolist())) == 1 and len(numbers) > 2:
        step = int(steps[0]) if steps[0] <= count / 2 else int(steps[0]) - count
        words = (
            f"names and vectors shifted by {abs(step)} {'place' if abs(step) == 1 else 'places'}"
        )
    elif whole and (owners == count - 1 - numbers).all() and count > 2:
        words = "vectors in reverse order"
    elif whole and (np.diff(tokens[owners]) >= 0).all() and count > 3:
        words = "vectors in the order of length, shortest first, and names in another"
    elif whole and (np.diff(tokens[owners]) <= 0).all() and count > 3:
        words = "vectors in the order of length, longest first, and names in another"
    elif pairs == len(moved) and len(moved) < count:
        words = f"vectors of {pairs // 2} {'pair' if pairs == 2 else 'pairs'} swapped"
    examples = [
        f"{_shown(records.names[n])} holds {_shown(records.proteins[moved[n]].id)}"
        for n in list(moved)[:3]
    ]
    return words, ["; ".join(examples)]


def _shown(name: str) -> str:
    return shorten(visible(name), 40)
