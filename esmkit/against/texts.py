"""Tables of text: which signs divide the cells, and whether the first line is a header."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from esmkit.against.given import Given, by_unique_name
from esmkit.against.tables import IDS, SEQUENCES, cells_of, is_number, of_frame, of_rows
from esmkit.errors import InputError
from esmkit.text import open_text, shorten, visible

if TYPE_CHECKING:
    import pandas

__all__ = ["read_text_table"]

_SPACES = r"\s+"

_LIST = re.compile(r"\s*(array|tensor)?[(\[]\s*[-+.\d\[]")
"""Beginning of a cell that is a vector."""

_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*")
"""A number with a decimal comma."""

_NUMBERED = re.compile(r"(\D*?)[_. -]?(\d{1,9})(\.0)?")

_NOTHING = ("", "nan", "na", "none", "inf", "-inf")


@dataclass(frozen=True)
class _Form:
    """How a table of text is written: its separator, header and sign of decimals."""

    separator: str
    header: bool
    decimal: str
    first: list[str]


def _split(line: str, separator: str) -> list[str]:
    if separator == _SPACES:
        return [cell.strip('"') for cell in line.split()]
    return next(csv.reader([line.rstrip("\r\n")], delimiter=separator), [])


def _separator(first: str, second: str) -> str:
    """Return what divides the cells: as many in the second line as in the first, or one more."""
    found: dict[str, list[str]] = {}
    for sign in "\t;,":
        above, below = _split(first, sign), _split(second, sign)
        if len(above) > 1 and (not second.strip() or len(below) - len(above) in (0, 1)):
            found[sign] = below or above
    for sign, cells in found.items():
        if any(map(_LIST.match, cells)) and len(cells) > 1 and len(_split(first, sign)) < 9:
            return sign
        if sign != "," and sum(bool(_COMMA.fullmatch(c)) for c in cells) > len(cells) / 2:
            return sign
    if found:
        return max(found, key=lambda sign: len(found[sign]))
    return max(",\t;", key=first.count) if any(sign in first for sign in ",\t;") else _SPACES


def counts(cells: Sequence[str]) -> bool:
    """Tell whether most cells count on by one under one name, as names of columns do.

    >>> counts(["id", "0", "1", "2"]), counts(["e0", "e1"]), counts(["0.1", "0.25", "3"])
    (True, True, False)
    """
    found = [_NUMBERED.fullmatch(cell.strip().strip("\"'")) for cell in cells]
    longest = run = 1
    start = 0
    for place, (before, after) in enumerate(pairwise(found), 1):
        follows = before and after and before[1] == after[1] and int(after[2]) == int(before[2]) + 1
        run, start = (run + 1, start) if follows else (1, place)
        begins = found[start]
        if run > 2 or (begins and int(begins[2]) < 2):
            longest = max(longest, run)
    return longest > 1 and longest >= len(cells) / 2


def _form(first: str, second: str) -> _Form:
    separator = _separator(first, second)
    cells, below = _split(first, separator), _split(second, separator)
    commas = sum(bool(_COMMA.fullmatch(cell)) for cell in below or cells)
    decimal = "," if separator != "," and commas > len(below or cells) / 2 else "."
    numbers = sum(
        is_number(cell.replace(",", ".") if decimal == "," else cell) or bool(_LIST.match(cell))
        for cell in cells
    )
    listed = any(map(_LIST.match, cells))
    header = counts(cells) or not (numbers > len(cells) / 2 or listed)
    return _Form(separator, header, decimal, cells)


def read_text_table(path: str, facts: dict[str, Any]) -> Given:
    """Read a CSV or TSV, gzip too, or text with spaces: with a header or without.

    Parameters
    ----------
    path : str
    facts : dict
        What is known of it.

    Raises
    ------
    InputError
        If a line cannot be read; the sentence says which, and why.
    """
    import pandas

    with open_text(path, "CSV", "*.csv") as stream:
        above = 0
        first = stream.readline()
        while first and (not first.strip() or first.startswith("#")):
            above, first = above + 1, stream.readline()
        second = stream.readline()
        width = _word2vec(first, second)
        if width:
            return _read_word2vec(path, width, second, stream, above)
        form = _form(first, second)
        stream.seek(0)
        options: Any = {"dtype": _text_of(form.first) if form.header else None}
        try:
            table = pandas.read_csv(
                stream,
                **options,
                sep=form.separator,
                header=0 if form.header else None,
                skiprows=above,
                decimal=form.decimal,
                keep_default_na=False,
                na_values=[] if form.header else ["nan", "NaN", "inf", "-inf"],
            )
        except pandas.errors.ParserError as error:
            why = " ".join(str(error).split()).rpartition("C error: ")[2]
            raise InputError(
                f"{path!r} cannot be read as a table ({shorten(why, 80)}); write as many cells in "
                "every line as in the first"
            ) from None
    keep = set(_text_of(form.first)) if form.header else None
    table = _with_numbers(path, table, keep, form, above)
    return of_frame(path, table, "a table of text", facts)


def _text_of(cells: Sequence[str]) -> dict[str, type]:
    """Return the columns of names, which "NA" and "1e5" may be."""
    plain = [cell.strip().strip('"') for cell in cells]
    return {c: str for c in plain if c.casefold() in (*IDS, *SEQUENCES)}


def _with_numbers(
    path: str, table: "pandas.DataFrame", keep: set[str] | None, form: _Form, above: int
) -> "pandas.DataFrame":
    """Return a table whose columns of numbers are numbers, though a cell be ``nan`` or empty."""
    import pandas

    changed = {}
    for place, name in enumerate(table.columns):
        column = table[name]
        if pandas.api.types.is_numeric_dtype(column) or str(name) in (keep or ()):
            continue
        numbers: Any = pandas.to_numeric(column, errors="coerce")
        odd = [n for n in np.flatnonzero(numbers.isna()) if _odd(column.iloc[n])]
        if not odd and place:
            changed[name] = numbers
        elif place and len(odd) < len(column) / 2 and _NUMBERED.fullmatch(str(name)):
            line = int(odd[0]) + 1 + form.header + above
            raise InputError(
                f"line {line:,} of {path!r} has {shorten(visible(str(column.iloc[odd[0]])), 30)!r} "
                f"in column {place + 1:,}, where numbers should be; write the table anew"
            )
    return table.assign(**{str(n): c for n, c in changed.items()}) if form.header else table


def _odd(cell: Any) -> bool:
    return str(cell).strip().casefold() not in _NOTHING


def _word2vec(first: str, second: str) -> int:
    """Return the width that the first line of word2vec's text tells; 0 if it is none."""
    told = first.split()
    if len(told) != 2 or not all(cell.isdecimal() and len(cell) < 10 for cell in told):
        return 0
    width, cells = int(told[1]), second.split()
    numbers = all(map(is_number, cells[-width:])) if width else False
    return width if numbers and len(cells) > width else 0


def _read_word2vec(path: str, width: int, line: str, stream: IO[str], above: int) -> Given:
    """Read lines of a name and numbers after the line that counts them."""
    names, vectors = [], []
    number = above + 2
    while line:
        if line.strip():
            cells = cells_of(line, width)
            if cells is None:
                raise InputError(
                    f"line {number:,} of {path!r} is not a name and {width:,} numbers, as its first "
                    "line says; write the file anew"
                )
            names.append(cells[0])
            vectors.append(cells[1])
        line, number = stream.readline(), number + 1
    rows = dict(zip(by_unique_name(names), vectors, strict=True))
    return of_rows(path, "text as word2vec writes it", rows)
