"""Tables as text: which sign stands between cells, and lists that have no line of column names."""

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from esmkit.errors import EsmkitError, InputError
from esmkit.score.variants.mutations import parse_variant
from esmkit.sequences.tables import normalised
from esmkit.text import open_text, visible

__all__ = ["SPREADSHEETS", "TextTable", "is_variant", "read_table"]

SEPARATORS = ("\t", ",", ";")
"""What may stand between two cells."""

SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
"""What the name of a spreadsheet ends in, which is no text."""

_LIKE_A_VARIANT = re.compile(r"(?:p\.)?\(?[A-Za-z*]{1,3}[0-9]+\S*")


@dataclass(frozen=True, slots=True)
class TextTable:
    """Cells of a table, as text.

    Attributes
    ----------
    name : str
        What to call it in messages.
    columns : list of str
    rows : list of (str, list of str)
        Place of each row in the file, and its cells.
    comma : bool
        Whether a number may have a comma in it, as 0,5.
    """

    name: str
    columns: list[str]
    rows: list[tuple[str, list[str]]]
    comma: bool


def read_table(path: Path, known: Collection[str], column: str | None = None) -> TextTable:
    """Read CSV or TSV, plain or gzip, or a list of variants, one a line.

    Parameters
    ----------
    path : Path
    known : collection of str
        Names of columns by which the separator is told.
    column : str, optional
        Another such name; with it there is a line of column names.

    Raises
    ------
    InputError
        If the file cannot be read, is empty, or is no table.
    """
    name = repr(visible(path.name))
    if path.name.lower().endswith(SPREADSHEETS):
        raise InputError(f"{name} is a spreadsheet; save its table as CSV and give that")
    with open_text(path, "CSV", "*.csv") as handle:
        lines = handle.read().splitlines(keepends=True)
    skipped = 0  # MaveDB writes what it is about before the table
    while skipped < len(lines) and (lines[skipped].startswith("#") or not lines[skipped].strip()):
        skipped += 1
    if skipped == len(lines):
        raise InputError(f"{name} is empty; give a table with a column mutant")
    first = lines[skipped]
    if first.startswith(">"):
        raise InputError(f"{name} is a FASTA file; give a table of mutations, such as A24G")
    if column is None and is_variant(first):
        numbered = [(n, [line]) for n, line in enumerate(lines[skipped:], skipped + 1)]
        columns, separator = ["mutant"], ","
    else:
        separator = _separator(first, {*known, normalised(column or "")})
        try:
            (_, columns), *numbered = _cells("".join(lines[skipped:]), separator, skipped)
        except csv.Error as error:
            raise InputError(
                f"{name} is no table that can be read ({error}); write it anew"
            ) from None
    rows = [
        (f"line {number} of {name}", [cell.strip() for cell in cells])
        for number, cells in numbered
        if any(cell.strip() for cell in cells)
    ]
    return TextTable(name, [cell.strip() for cell in columns], rows, separator == ";")


def _cells(text: str, separator: str, before: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the line that each row ends in, and its cells."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    for row in reader:
        yield before + reader.line_num, row


def is_variant(line: str) -> bool:
    """Return whether a text is a variant, be it a wrong one, and so no line of column names."""
    try:
        parse_variant(line)
    except EsmkitError as error:
        like_one = _LIKE_A_VARIANT.fullmatch(line.strip()) is not None
        return like_one and "is no mutation" not in str(error)
    return True


def _separator(line: str, known: Collection[str]) -> str:
    """Return what stands between the cells: what makes a known name, or the most cells."""

    def worth(separator: str) -> tuple[bool, int]:
        try:
            cells = next(csv.reader([line], delimiter=separator), [])
        except csv.Error:
            return False, 0
        return any(normalised(cell) in known for cell in cells), len(cells)

    return max(SEPARATORS, key=worth)
