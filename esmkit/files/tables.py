"""Tables written a few rows at a time: CSV or Parquet, with provenance."""

import json
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from esmkit.errors import OptionError
from esmkit.files.provenance import PROVENANCE

if TYPE_CHECKING:
    import pandas

import re

from esmkit.errors import MissingDependencyError

__all__ = [
    "TableWriter",
    "from_spreadsheet",
    "import_pyarrow",
    "open_table",
    "spreadsheet_text",
    "without_formulas",
]

_PARQUET_ROWS = 20_000
"""Rows gathered before a Parquet row group is written."""


def without_formulas(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Return a table whose text no spreadsheet takes for formulas, to be written as CSV or TSV."""
    text = table.select_dtypes(["object", "string"]).columns
    safe = {name: table[name].map(spreadsheet_text, na_action="ignore") for name in text}
    return table.assign(**safe)


class TableWriter:
    """Takes pandas tables of the same columns and writes them below each other."""

    def add(self, rows: "pandas.DataFrame") -> None:
        """Write rows; their index is not kept."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Csv(TableWriter):
    def __init__(self, target: Path | IO[str], provenance: dict[str, Any]) -> None:
        self._owned = isinstance(target, Path)
        self._handle: IO[str] = (
            target.open("w", encoding="utf-8", newline="") if isinstance(target, Path) else target
        )
        self._begun = False

    def add(self, rows: "pandas.DataFrame") -> None:
        # float32 is written with the fewest digits that read back to the same float32
        rows = without_formulas(rows)
        rows.to_csv(self._handle, index=False, header=not self._begun, lineterminator="\n")
        self._begun = True

    def close(self) -> None:
        if self._owned:
            self._handle.close()
        else:
            self._handle.flush()


class _Parquet(TableWriter):
    def __init__(self, target: Path, provenance: dict[str, Any]) -> None:
        self._arrow, self._parquet = import_pyarrow()
        self._target = target
        self._metadata = {PROVENANCE: json.dumps(provenance)}
        self._held: list[pandas.DataFrame] = []
        self._file: Any = None

    def add(self, rows: "pandas.DataFrame") -> None:
        self._held.append(rows)
        if sum(map(len, self._held)) >= _PARQUET_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pandas

        if not self._held:
            return
        together = pandas.concat(self._held, ignore_index=True)
        table = self._arrow.Table.from_pandas(together, preserve_index=False)
        table = table.replace_schema_metadata(self._metadata)
        if self._file is None:
            self._stream = self._target.open("wb")  # as in esmkit.embeddings.writers
            self._file = self._parquet.ParquetWriter(self._stream, table.schema)
        self._file.write_table(table)
        self._held = []

    def close(self) -> None:
        self._flush()
        if self._file is not None:
            with self._stream:
                self._file.close()


def open_table(kind: str, target: Path | IO[str], provenance: dict[str, Any]) -> TableWriter:
    """Open a table for writing.

    Parameters
    ----------
    kind : {'csv', 'parquet'}
    target : Path or text stream
        A stream for CSV only.
    provenance : dict
        Kept in the metadata of Parquet; a CSV has it in a file beside it, which the caller writes.

    Raises
    ------
    OptionError
        If there is no such format.
    MissingDependencyError
        If Parquet is asked for and pyarrow is not installed.
    """
    if kind == "csv":
        return _Csv(target, provenance)
    if kind == "parquet" and isinstance(target, Path):
        return _Parquet(target, provenance)
    raise OptionError(f"a table is csv or parquet, not {kind!r}")


_FORMULA = re.compile(r"'*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")  # the last four: full-width = + - @


def spreadsheet_text(name: str) -> str:
    """Return text for a cell of a CSV or TSV that no spreadsheet takes for a formula.

    Spreadsheets run what begins with ``=``, ``+``, ``-`` or ``@``, and such a formula can send the
    table elsewhere. A ``'`` before it makes it text; :func:`from_spreadsheet` takes it away.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("P69905")
    ("'=1+1", 'P69905')
    """
    return f"'{name}" if _FORMULA.match(name) else name


def from_spreadsheet(text: str) -> str:
    """Return the text that :func:`spreadsheet_text` made a cell of."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet, or say how to install them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError(
            "Parquet files need pyarrow; install it with `pip install 'esmkit[parquet]'`, or use "
            "--format h5"
        ) from None
    return pyarrow, pyarrow.parquet
