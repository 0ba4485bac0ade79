"""Tables of embeddings that anybody wrote, whose columns are found: Parquet, Feather, text."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.against.given import Given, Part, by_unique_name
from esmkit.errors import InputError
from esmkit.files.tables import from_spreadsheet, import_pyarrow
from esmkit.text import shorten

if TYPE_CHECKING:
    import pandas

__all__ = [
    "IDS",
    "SEQUENCES",
    "cells_of",
    "is_number",
    "of_frame",
    "of_rows",
    "read_feather",
    "read_parquet",
]

IDS = (
    *("id", "identifier", "protein_id", "proteinid", "protein", "seq_id", "sequence_id", "name"),
    *("accession", "entry", "uniprot", "uniprot_id", "header", "label", "labels", "key"),
)
SEQUENCES = ("sequence", "seq", "aa_sequence", "protein_sequence")
_LISTS = ("embedding", "embeddings", "vector", "representation", "mean", "emb", "features")
_RESIDUES = ("residue_number", "residue_idx", "residue_index", "position", "pos", "residue")
_LAYERS = ("layer", "repr_layer")
LEAST_ROWS = 5
"""Rows for each name from which a table is one of residues, though no column says which."""

_LEAST_LISTED = 20
"""Numbers in a cell without brackets from which it is a vector, whatever its column is called."""

_NUMBERED = re.compile(r"(.*?)[_. -]?(\d+)")

_INDEX = re.compile(r"__index_level_\d+__|unnamed: 0|index|level_0", re.IGNORECASE)
"""Columns that an index of pandas becomes."""


def _named(columns: Sequence[str], known: Sequence[str]) -> str | None:
    """Return the column that has one of some names, the first of them first."""
    folded = {str(column).strip().casefold(): column for column in columns}
    return next((folded[name] for name in known if name in folded), None)


def _values(columns: Sequence[str], numeric: Sequence[str]) -> list[str]:
    """Return the columns of a vector: those numbered from 0 or 1 under one name, else all numbers."""
    groups: dict[str, list[str]] = {}
    for column in columns:
        numbered = _NUMBERED.fullmatch(re.sub(r"^(\d+)\.0$", r"\1", str(column)))
        if numbered and column in numeric:
            groups.setdefault(numbered[1], []).append(column)
    best = max(groups.values(), key=len, default=[])
    return best if len(best) > 1 else list(numeric)


def of_frame(path: str, table: "pandas.DataFrame", kind: str, facts: dict[str, Any]) -> Given:
    """Find IDs, layers, residues and vectors in a table."""
    import pandas

    table = _with_index(table)
    columns = [str(column) for column in table.columns]
    table = table.set_axis(columns, axis="columns")
    text = [c for c in columns if not pandas.api.types.is_numeric_dtype(table[c])]
    sequence, layer = _named(text, SEQUENCES), _named(columns, _LAYERS)
    residue = _named(columns, _RESIDUES)
    lists = _column_of_lists(table, text)
    names = _named([c for c in columns if c != lists], IDS)
    if names is None:
        rest = [c for c in text if c not in (sequence, lists, residue)]
        names = rest[0] if rest else sequence
    index = [c for c in columns[:1] if _is_index(table, c, text)]
    if names is None and index and not _counts(table[index[0]]):
        names = index[0]
    special = {names, sequence, layer, residue, lists, "length", "Unnamed: 0", *index}
    vectors: list[Any]
    if lists is not None:
        with np.errstate(over="ignore"):  # what float32 cannot hold is told of each record
            vectors = [_as_vector(value, path) for value in table[lists]]
    else:
        numeric = [c for c in columns if c not in special and c not in text]
        chosen = _values(columns, numeric)
        if not chosen:
            raise InputError(
                f"{path!r} is a table without columns of numbers or a column of lists (it has "
                f"{shorten(', '.join(columns))}); give a table of embeddings"
            )
        with np.errstate(over="ignore"):
            vectors = list(table[chosen].to_numpy(np.float32))
    ids = [f"row {n}" for n in range(len(table))] if names is None else _ids(table[names])
    rows = table[layer].tolist() if layer else [None] * len(table)
    of_residues = residue is not None or len(ids) >= LEAST_ROWS * len(
        {*zip(ids, rows, strict=True)}
    )
    if not of_residues and layer is None:
        ids = list(by_unique_name(ids))
    parts: dict[Any, list[tuple[str, Any]]] = {}
    for name, of_layer, vector in zip(ids, rows, vectors, strict=True):
        parts.setdefault(of_layer, []).append((name, vector))
    sequences = {}
    if sequence is not None:
        sequences = dict(zip(ids, table[sequence].astype(str), strict=True))
    made = []
    for of_layer, pairs in parts.items():
        single = _stacked(pairs) if of_residues else _one_each(pairs)
        number = int(of_layer) if str(of_layer).lstrip("-").isdigit() else None
        name = "" if len(parts) == 1 else f"layer {of_layer}"
        stated = number if number is not None else facts.get("layer")
        made.append(Part(single, name, stated, facts.get("pool"), facts.get("long")))
    if lists is None and not of_residues and len(made) == 1 and sequence is None:
        made = [replace(made[0], across=_across(table, numeric))]
    return Given(path, kind, made, sequences, facts.get("checkpoint", {}))


def _across(table: "pandas.DataFrame", columns: Sequence[str]) -> Part:
    """Return the columns as records."""
    with np.errstate(over="ignore"):
        return Part({name: table[name].to_numpy(np.float32) for name in columns})


def _stacked(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the vectors of one name below each other."""
    found: dict[str, list[Any]] = {}
    for name, vector in pairs:
        found.setdefault(name, []).append(vector)
    return {name: np.stack(vectors) for name, vectors in found.items()}


def _one_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return one vector for each name, made unique."""
    names = by_unique_name(name for name, _ in pairs)
    return {name: pairs[place][1] for name, place in names.items()}


def _ids(column: Any) -> list[str]:
    return [from_spreadsheet(str(value)) for value in column]


def _column_of_lists(table: "pandas.DataFrame", text: Sequence[str]) -> str | None:
    """Return the column that holds vectors, one in a cell; None if there is none."""
    named = [c for c in text if c.strip().casefold() in _LISTS]
    named.sort(key=lambda column: _LISTS.index(column.strip().casefold()))
    for column in named:
        if _is_list(table[column], least=1):
            return column
    found = next((c for c in text if _is_list(table[c], least=_LEAST_LISTED)), None)
    # what is named so and holds none is refused by its cell where there is nothing else
    return found or (named[0] if named and len(text) == table.shape[1] else None)


def _is_list(column: Any, least: int) -> bool:
    """Tell a column of vectors by its first cell, whose first numbers are numbers."""
    value = column.iloc[0] if len(column) else None
    if isinstance(value, str):
        cells = _cells(value)
        listed = re.match(r"\s*(array|tensor)?[(\[]", value) or len(cells) >= least
        return bool(listed and cells) and all(map(is_number, cells[:3]))
    return isinstance(value, np.ndarray | list)


def _cells(value: str) -> list[str]:
    """Return what stands in a list, written as Python, NumPy, PyTorch and others do."""
    return re.sub(r"[\[\](),;]|array|tensor|dtype=\S+", " ", value).split()


def _as_vector(value: Any, path: str) -> Any:
    """Return one cell of a column of lists as an array."""
    if not isinstance(value, str):
        return np.array(list(value) if value is not None else [], np.float32)
    try:
        return np.array(_cells(value), np.float32)
    except ValueError:
        raise InputError(
            f"a cell of {path!r} begins with {shorten(value, 30)!r}, which is no list of numbers; "
            "write every vector in full"
        ) from None


def is_number(cell: str) -> bool:
    """Tell whether text is a number.

    >>> is_number("1e-5"), is_number("P1")
    (True, False)
    """
    try:
        float(cell)
    except ValueError:
        return False
    return True


def cells_of(line: str, width: int) -> tuple[str, Any] | None:
    """Return the name and the numbers at the end of a line; None if they are not so many.

    >>> cells_of("P1 one 0.5 0.25", 2)[0]
    'P1 one'
    """
    cells = line.rsplit(None, width)
    if len(cells) != width + 1:
        return None
    try:
        return cells[0].strip(), np.array(cells[1:], np.float32)
    except ValueError:
        return None


def of_rows(path: str, kind: str, rows: dict[str, Any]) -> Given:
    """Return vectors by name as what a file holds."""
    return Given(path, kind, [Part(rows)])


def _with_index(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Return a table whose names of rows are its first column; places are no names."""
    import pandas

    index = table.index
    if isinstance(index, pandas.RangeIndex) or (index.nlevels == 1 and _counts(index.to_series())):
        return table.reset_index(drop=True)
    if set(index.names) & set(table.columns):
        return table.reset_index(drop=True)
    return table.reset_index()


def _counts(column: Any) -> bool:
    """Tell whether whole numbers count the rows, from 0 or 1."""
    if column.dtype.kind not in "iu" or not len(column):
        return False
    values = column.to_numpy()
    return bool(values[0] in (0, 1) and (values == values[0] + np.arange(len(values))).all())


def _is_index(table: "pandas.DataFrame", name: str, text: Sequence[str]) -> bool:
    """Tell the column of an index: by its name, or because it counts the rows beside numbers."""
    if name in text or table[name].dtype.kind not in "iu":
        return bool(_INDEX.fullmatch(name)) and name not in text
    floats = any(table[c].dtype.kind == "f" for c in table.columns[1:])
    return bool(_INDEX.fullmatch(name)) or (len(table) > 1 and floats and _counts(table[name]))


def read_parquet(path: str, facts: dict[str, Any]) -> Given:
    """Read a table of Parquet: a column of lists, or one column a number.

    Names may stand in a column or be the index of pandas.
    """
    _, parquet = import_pyarrow()
    with Path(path).open("rb") as stream:
        table = parquet.read_table(stream).to_pandas()
    return of_frame(path, table, "a table of Parquet", facts)


def read_feather(path: str) -> Given:
    """Read a table of Feather, which is Arrow's own file."""
    pyarrow, _ = import_pyarrow()
    with Path(path).open("rb") as stream:
        table = pyarrow.ipc.open_file(stream).read_all().to_pandas()
    return of_frame(path, table, "a table of Feather", {})
