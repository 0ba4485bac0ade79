"""Rows of arrays of residues, and the order of records, in words."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from esmkit.against.pooling import ROWS
from esmkit.against.records import Records
from esmkit.sequences.tokens import SPECIALS
from esmkit.text import shorten, visible

__all__ = ["order_words", "row_words", "token_words"]


def row_words(records: Records, pooling: str, number: int) -> list[str]:
    """Return what is wrong with the rows of one record's array; nothing if they are right."""
    given, residues = len(records.arrays[number]), len(records.proteins[number])
    tokens = residues + SPECIALS
    rest = records.arrays[number]
    if pooling == "residues":
        if given == residues:
            return []
        if given < residues:
            return [f"the array is cut off, at {_cut_words(given)} rows"]
        zeros = not rest[residues:].any()
        if zeros and _is_block(records):
            return []
        if given == residues + 1 and not zeros:
            return ["one row too many, such as EOS"]
        return [f"rows after the last residue, {'zeros' if zeros else 'of EOS or padding'}"]
    if pooling == "tokens":
        if given in (tokens, tokens - 1):
            return []
        if given == residues:
            return ["rows counted from BOS: each is one residue late, and the last is lost"]
        if given < residues:
            return [f"rows counted from BOS, and cut off at {_cut_words(given)} rows"]
        zeros = not rest[tokens:].any()
        several = len(set(records.tokens)) > 1  # else nothing was padded to the longest
        if _is_block(records) and (zeros or several):
            return []
        return [f"rows after EOS, {'zeros' if zeros else 'of padding'}"]
    return [ROWS[pooling].words]


def token_words(records: Records) -> str:
    """Return the note on arrays whose first row is BOS: what their other rows are, if all agree.

    Parameters
    ----------
    records : Records
        Arrays with a row for each token.

    Returns
    -------
    str
        Nothing on EOS where some have it and others not, or where rows of padding follow.
    """
    more = {len(array) - len(p) for array, p in zip(records.arrays, records.proteins, strict=True)}
    if more == {SPECIALS}:
        return "the first row of each array is BOS and the last EOS; rows 1 to R are residues"
    if more == {SPECIALS - 1}:
        return (
            "the first row of each array is BOS and the last one the last residue, without EOS; rows "
            "1 to R are residues"
        )
    return "the first row of each array is BOS; rows 1 to R are residues"


def _is_block(records: Records) -> bool:
    """Tell whether all arrays have as many rows, as those of one padded block have.

    The longest protein of the block need not be among the records.
    """
    rows = {len(array) for array in records.arrays}
    return len(rows) == 1 and rows.pop() >= max(records.tokens) - SPECIALS


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
    count = len(records)
    owners = np.array([moved.get(n, n) for n in range(count)])
    # HDF5 lists names by the alphabet, whatever the order in which they were written
    by_protein = np.argsort(records.places, kind="stable")
    ranks = np.argsort(by_protein, kind="stable")
    words = (
        _order(ranks[owners][by_protein], np.array(records.tokens)[by_protein])
        or _order(owners, np.array(records.tokens))
        or "vectors under each other's names (shuffled)"
    )
    if not records.by_id:
        words = _OF_ROWS.get(words, words.replace("names and vectors", "rows"))
        words = words.removesuffix(", and names in another").replace("vectors", "rows", 1)
        words += ", in respect to the FASTA"
    examples = [
        f"{_shown(records.names[n])} holds {_shown(records.proteins[moved[n]].id)}"
        for n in list(moved)[:3]
    ]
    return words, ["; ".join(examples)]


_OF_ROWS = {"vectors under each other's names (shuffled)": "rows shuffled"}
"""Of rows without IDs."""


def _order(owners: NDArray[np.int64], tokens: NDArray[np.int64]) -> str:
    """Say which order it is, of records in one order and their owners in it; empty if none."""
    count, numbers = len(owners), np.arange(len(owners))
    away = owners != numbers
    steps = np.unique((owners - numbers)[away] % count)
    if len(steps) == 1 and away.sum() > 2:
        step = min(int(steps[0]), count - int(steps[0]))
        return f"names and vectors shifted by {step} {'place' if step == 1 else 'places'}"
    if count > 3 and (owners == count - 1 - numbers).all():
        return "vectors in reverse order"
    for sign, words in ((1, "shortest first"), (-1, "longest first")):
        lengths = len(np.unique(tokens))  # of few, any order may be that of length
        if lengths > 3 and away.sum() > 2 and (np.diff(sign * tokens[owners]) >= 0).all():
            return f"vectors in the order of length, {words}, and names in another"
    if away.sum() < count and (owners[owners] == numbers).all():
        pairs = int(away.sum()) // 2
        return f"vectors of {pairs} {'pair' if pairs == 1 else 'pairs'} swapped"
    return ""


def _shown(name: str) -> str:
    return shorten(visible(name), 40)
