"""Tables of sequences: which column holds them, which their IDs, and no hole left unseen.

A table iterates over the names of its columns, which are letters too: ``sequence`` would pass for a
protein of eight residues. Tables of pandas, polars and pyarrow and NumPy's structured arrays are
read here, and none of these libraries is imported: whoever has such a table has imported it.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from esmkit.arguments import what_is, whole_number
from esmkit.errors import InputError

__all__ = [
    "ID_COLUMNS",
    "SEQUENCE_COLUMNS",
    "column_of_values",
    "is_a",
    "is_missing",
    "name_of",
    "named_rows",
    "normalised",
]

SEQUENCE_COLUMNS = (
    *("sequence", "sequences", "seq", "protein_sequence", "protein_seq", "aa_sequence", "aa_seq"),
    *("amino_acid_sequence", "aminoacid_sequence", "aaseq", "primary", "mutated_sequence"),
)
"""Names of a column of sequences: UniProt's, TAPE's (``primary``), ProteinGym's, and usual ones."""

ID_COLUMNS = (
    *("id", "protein_id", "sequence_id", "seq_id", "record_id", "entry", "accession"),
    *("uniprot_id", "uniprot", "uniprot_accession", "identifier", "pdb_id", "entry_name", "name"),
    *("protein_name", "sequence_name", "protein", "mutant", "header", "description"),
)
"""Names of a column of IDs; where a table has several, the first of these counts."""

_ARRAYS = (
    "pandas.Index",
    "pandas.api.extensions.ExtensionArray",
    "polars.Series",
    "pyarrow.Array",
    "pyarrow.ChunkedArray",
)
_LISTED = 12
"""Names of columns that a message lists."""


def is_a(value: Any, *names: str) -> bool:
    """Return whether a value is of one of these classes, ``module.Class``, importing nothing.

    >>> is_a([], "pandas.DataFrame"), is_a({}, "builtins.dict")
    (False, True)
    """
    for name in names:
        module, _, kind = name.rpartition(".")
        found = getattr(sys.modules.get(module), kind, None)
        if isinstance(found, type) and isinstance(value, found):
            return True
    return False


def is_missing(value: Any) -> bool:
    """Return whether a value of a table is a hole: None, NaN, pandas' NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def name_of(value: Any, where: str) -> str:
    """Return what was given as an ID as text: text as it is, a whole number in digits.

    Raises
    ------
    InputError
        If it is empty, or something else.
    """
    if isinstance(value, str) and value.strip():
        return value
    number = whole_number(value)
    if number is not None:
        return str(number)
    raise InputError(f"{where} is {what_is(value)}; an ID is text, or a whole number")


def normalised(column: object) -> str:
    """Return the name of a column as it is looked up: small letters, no blanks.

    >>> normalised(" Protein ID")
    'protein_id'
    """
    return "_".join(str(column).lower().replace("-", " ").replace(".", " ").split())


def column_of_values(value: Any) -> list[Any] | None:
    """Return the values of a one-dimensional array or column; of anything else, None.

    Raises
    ------
    InputError
        If it is an array of no or of several axes.
    """
    if is_a(value, "numpy.ndarray"):
        if value.dtype.names or value.ndim == 1:
            return None if value.dtype.names else value.tolist()
    elif is_a(value, *_ARRAYS):
        if getattr(value, "ndim", 1) == 1:
            return _listed(value)
    else:
        return None
    raise InputError(
        f"{what_is(value)} is no list of sequences; give an array of one axis, with a sequence in "
        "each place"
    )


def named_rows(table: Any) -> Iterator[tuple[str, str | None, Any]] | None:
    """Return (where, ID or None, sequence) of each row of a table or Series.

    Returns
    -------
    iterator, or None
        None if it is no table.

    Raises
    ------
    InputError
        If no column is known to hold sequences, several are, or the index has several levels;
        while iterating, if an ID or a sequence is missing.
    """
    if is_a(table, "pandas.Series"):
        _refuse_one_row(table)
        values = list(table)
        where = _where(table.index, "")
        return _rows(values, _index_names(table.index, len(values)), where, where)
    columns = _columns(table)
    if columns is None:
        return None
    name = _sequence_column(table, columns)
    ids = _id_column(columns, name)
    index = table.index if is_a(table, "pandas.DataFrame") else None
    values = _values(table, columns, name)
    names = _values(table, columns, ids) if ids is not None else None
    if names is None and index is not None:
        names = _index_names(index, len(values))
    of_ids = _where(index, f" of column {columns[ids]!r}" if ids is not None else "")
    return _rows(values, names, _where(index, f" of column {columns[name]!r}"), of_ids)


def _rows(
    values: list[Any], names: list[Any] | None, where: Any, of_ids: Any
) -> Iterator[tuple[str, str | None, Any]]:
    for row, value in enumerate(values):
        if is_missing(value):
            raise InputError(
                f"the sequence in {where(row)} is missing ({value}); leave such rows out, for "
                "example with table.dropna()"
            )
        name = None
        if names is not None:
            if is_missing(names[row]):
                raise InputError(
                    f"the ID in {of_ids(row)} is missing ({names[row]}); fill it in, or leave the "
                    "row out"
                )
            name = name_of(names[row], f"the ID in {of_ids(row)}")
        yield where(row), name, value


def _where(index: Any, column: str) -> Any:
    """Return a function that names a row, counted from 1, and its label if it has one."""
    plain = index is None or _is_plain(index)

    def where(row: int) -> str:
        label = "" if plain or index is None else f" (index {_shown(index[row])})"
        return f"row {row + 1:,}{label}{column}"

    return where


def _shown(label: Any) -> str:
    """Return a label as Python writes it; NumPy's scalars without their class."""
    return repr(label.item() if is_a(label, "numpy.generic") else label)


def _is_plain(index: Any) -> bool:
    """Return whether an index only counts: 0, 1, 2, ...

    One that counts otherwise is what a filter has left, and its numbers say which rows those are.
    """
    if getattr(index.dtype, "kind", "") != "i":
        return len(index) == 0
    return index[0] == 0 and list(index) == list(range(len(index))) if len(index) else True


def _index_names(index: Any, rows: int) -> list[Any] | None:
    """Return the labels of an index as IDs; None for one that only counts."""
    if _is_plain(index):
        return None
    if getattr(index, "nlevels", 1) > 1:
        raise InputError(
            f"the index has {index.nlevels} levels and an ID is one text; give (ID, sequence) pairs"
        )
    return list(index) if rows else None


def _refuse_one_row(series: Any) -> None:
    """Refuse a row of a table, whose values are not all sequences."""
    known = {normalised(label) for label in series.index if isinstance(label, str)}
    if known & set(SEQUENCE_COLUMNS) and len(series) > 1:
        raise InputError(
            "the Series is one row of a table (its index has "
            f"{', '.join(repr(str(label)) for label in list(series.index)[:_LISTED])}); give "
            "(row['id'], row['sequence']), with the names of your columns"
        )


def _columns(table: Any) -> list[Any] | None:
    if is_a(table, "pandas.DataFrame", "polars.DataFrame"):
        return list(table.columns)
    if is_a(table, "pyarrow.Table", "pyarrow.RecordBatch"):
        return list(table.schema.names)
    if is_a(table, "numpy.ndarray"):
        return list(table.dtype.names) if table.dtype.names and table.ndim == 1 else None
    return None


def _values(table: Any, columns: Sequence[Any], place: int) -> list[Any]:
    if is_a(table, "pandas.DataFrame"):
        return list(table.iloc[:, place])  # by place: a name may be there twice
    column = table[columns[place]]
    return _listed(column)


def _listed(column: Any) -> list[Any]:
    """Return the values of a column as Python's own."""
    for method in ("to_pylist", "to_list", "tolist"):  # pyarrow's, polars' and pandas', NumPy's
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def _sequence_column(table: Any, columns: Sequence[Any]) -> int:
    found = [i for i, column in enumerate(columns) if normalised(column) in SEQUENCE_COLUMNS]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(repr, columns[:_LISTED])) or "none"
    more = f" and {len(columns) - _LISTED:,} more" if len(columns) > _LISTED else ""
    kind = type(table).__name__
    problem = "has no column that is known to hold sequences"
    if found:
        problem = f"has {len(found)} columns that may hold sequences"
    raise InputError(
        f"the {kind} {problem}: its columns are {listed}{more}; rename one to 'sequence', or give "
        'pairs: zip(table["id"], table["sequence"]), with the names of your columns'
    )


def _id_column(columns: Sequence[Any], sequence: int) -> int | None:
    names = [normalised(column) for column in columns]
    for known in ID_COLUMNS:
        places = [i for i, name in enumerate(names) if name == known and i != sequence]
        if len(places) > 1:
            raise InputError(
                f"the table has {len(places)} columns called {known!r} that may hold the IDs; "
                "rename all but one"
            )
        if places:
            return places[0]
    return None
