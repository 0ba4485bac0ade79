"""Tables on disk, written a few rows at a time: CSV, TSV and Parquet.

:class:`TextTable` is the only writer of CSV and TSV, :class:`ParquetTable` the only one of Parquet;
:func:`open_table` opens either, and :func:`write_table` writes a small table at once.
"""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from esmkit.errors import OptionError, needed
from esmkit.files.disk import disk_errors, write_durably
from esmkit.files.outputs import is_stream, open_stream
from esmkit.files.provenance import PROVENANCE

if TYPE_CHECKING:
    import pandas

__all__ = [
    "ParquetTable",
    "TableWriter",
    "TextTable",
    "from_spreadsheet",
    "import_pyarrow",
    "open_table",
    "spreadsheet_text",
    "without_formulas",
    "write_table",
]

SEPARATORS = {"csv": ",", "tsv": "\t"}
"""Text between two cells, for each kind of text table."""

ROW_GROUP_BYTES = 16 * 2**20
"""Rows of a Parquet file are written when they, as they are held, take this much memory: some
2,200 proteins of ESM-2 8M, or 13,000 residues. A limit in rows would be too much for wide ones."""

PIECE_BYTES = 6 * 2**10
"""Memory that a table of few rows takes besides its values; measured with pyarrow 26 and pandas 3.1."""

_FORMULA = re.compile(r"'*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")  # the last four: full-width = + - @

_RESIDUE_NUMBER = re.compile(r"-?[0-9]+[A-Za-z]?")


def spreadsheet_text(name: str) -> str:
    """Return text for a cell of a CSV or TSV that no spreadsheet takes for a formula.

    Spreadsheets run what begins with ``=``, ``+``, ``-`` or ``@``, and such a formula can send the
    table elsewhere. A ``'`` before it makes it text; :func:`from_spreadsheet` takes it away.

    >>> spreadsheet_text("=1+1"), spreadsheet_text("P69905")
    ("'=1+1", 'P69905')
    """
    return f"'{name}" if _FORMULA.match(name) else name


def from_spreadsheet(text: str) -> str:
    """Return the text that :func:`spreadsheet_text` made a cell of.

    >>> from_spreadsheet("'=1+1"), from_spreadsheet("'P69905'")
    ('=1+1', "'P69905'")
    """
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def without_formulas(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Return a table whose text no spreadsheet takes for formulas, to be written as CSV or TSV.

    >>> import pandas
    >>> without_formulas(pandas.DataFrame({"id": ["=1+1", "P69905"], "score": [-1, 2]}))
           id  score
    0   '=1+1     -1
    1  P69905      2
    """
    changed = {}
    for name in table.select_dtypes(["object", "string"]).columns:
        texts = [value for value in table[name].unique() if isinstance(value, str)]
        if name.endswith("author_number"):  # -3 and -3A are numbers of residues
            texts = [text for text in texts if not _RESIDUE_NUMBER.fullmatch(text)]
        safe = {text: spreadsheet_text(text) for text in texts if _FORMULA.match(text)}
        if safe:
            changed[name] = table[name].map(lambda value, safe=safe: safe.get(value, value))
    return table.assign(**changed) if changed else table


class TableWriter:
    """Takes rows of the same columns and writes them below each other."""

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


class TextTable(TableWriter):
    r"""Writer of CSV or TSV: UTF-8, one header, lines that end in ``\n``.

    Text never looks like a formula (:func:`spreadsheet_text`), and a float32 is written with the
    fewest digits that read back to the same float32.

    Parameters
    ----------
    target : Path or text stream
        A file, written anew; or a stream such as standard output, which stays open.
    kind : {'csv', 'tsv'}
        Comma- or tab-separated.

    Examples
    --------
    >>> import io, pandas
    >>> text = io.StringIO()
    >>> with TextTable(text, "tsv") as table:
    ...     table.add(pandas.DataFrame({"id": ["P1"], "length": [76]}))
    ...     table.add_rows(["id", "length"], [("=P2", 80)])
    >>> text.getvalue()
    "id\tlength\nP1\t76\n'=P2\t80\n"
    """

    def __init__(self, target: Path | IO[str], kind: str = "csv") -> None:
        self._separator = SEPARATORS[kind]
        self._owned = isinstance(target, Path)
        self._handle: IO[str] = (
            target.open("w", encoding="utf-8", newline="") if isinstance(target, Path) else target
        )
        self._cells = csv.writer(self._handle, delimiter=self._separator, lineterminator="\n")
        self._begun = False

    def add(self, rows: "pandas.DataFrame") -> None:
        """Write the rows of a pandas table; its index is not kept."""
        without_formulas(rows).to_csv(
            self._handle,
            sep=self._separator,
            index=False,
            header=not self._begun,
            lineterminator="\n",
        )
        self._begun = True

    def add_rows(self, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
        """Write rows of cells: text or numbers, also NumPy's. It is quick for wide rows.

        Parameters
        ----------
        columns : sequence of str
            Names for the header, which is written once.
        rows : iterable of iterables
            Cells in the order of the columns.
        """
        if not self._begun:
            self._cells.writerow(columns)
            self._begun = True
        for row in rows:
            self._cells.writerow(
                [spreadsheet_text(cell) if isinstance(cell, str) else cell for cell in row]
            )

    def close(self) -> None:
        """Finish the file; a stream is flushed and stays open."""
        if self._owned:
            self._handle.close()
        else:
            self._handle.flush()


class ParquetTable(TableWriter):
    """Writer of Parquet: rows are gathered until they take ``ROW_GROUP_BYTES``.

    The columns and their types are those of the first rows.

    Parameters
    ----------
    target : Path or binary stream
        A file, written anew when the first row group is complete; or a stream, which stays open.
    metadata : mapping from str to str
        Metadata of the file.
    **options
        Passed to :class:`pyarrow.parquet.ParquetWriter`.

    Raises
    ------
    MissingDependencyError
        If pyarrow is not installed.
    """

    def __init__(
        self, target: Path | IO[bytes], metadata: Mapping[str, str], **options: Any
    ) -> None:
        self._arrow, self._parquet = import_pyarrow()
        self._target, self._metadata, self._options = target, dict(metadata), options
        self._frames: list[pandas.DataFrame] = []
        self._tables: list[Any] = []
        self._bytes = 0
        self._file: Any = None
        self._stream: Any = None

    def add(self, rows: "pandas.DataFrame") -> None:
        """Write the rows of a pandas table; its index is not kept."""
        self._frames.append(rows)
        self._count(int(rows.memory_usage(index=False).sum()))

    def add_arrow(self, rows: Any) -> None:
        """Write the rows of a ``pyarrow.Table``; one without rows still gives the file its columns."""
        self._tables.append(rows)
        self._count(rows.nbytes)

    def _count(self, values: int) -> None:
        """Count a piece with that many bytes of values; write if there is enough."""
        self._bytes += values + PIECE_BYTES
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write what is held: as one row group, or as several if it is much more than one."""
        if self._frames:
            import pandas

            together = pandas.concat(self._frames, ignore_index=True)
            self._tables.append(self._arrow.Table.from_pandas(together, preserve_index=False))
        if not self._tables:
            return
        table = self._arrow.concat_tables(
            [table.replace_schema_metadata(self._metadata) for table in self._tables]
        )
        self._frames, self._tables, self._bytes = [], [], 0
        if self._file is None:
            if isinstance(self._target, Path):  # pyarrow opens no file whose name is not UTF-8
                self._stream = self._target.open("wb")
            where = self._stream or self._target
            self._file = self._parquet.ParquetWriter(where, table.schema, **self._options)
        groups = max(1, table.nbytes // ROW_GROUP_BYTES)
        self._file.write_table(table, row_group_size=max(1, -(-len(table) // groups)))

    def close(self) -> None:
        """Finish the file; there is none if nothing was added."""
        try:  # on a full disk each step may fail
            self._flush()
        finally:
            try:
                if self._file is not None:
                    self._file.close()
            finally:
                if self._stream is not None:
                    self._stream.close()


def open_table(kind: str, target: Path | IO[str], provenance: dict[str, Any]) -> TableWriter:
    """Open a table for writing.

    Parameters
    ----------
    kind : {'csv', 'tsv', 'parquet'}
    target : Path or text stream
        A stream for CSV and TSV only.
    provenance : dict
        Kept in the metadata of Parquet; text has it in a file beside it, which the caller writes.

    Raises
    ------
    OptionError
        If there is no such format.
    MissingDependencyError
        If Parquet is asked for and pyarrow is not installed.
    """
    if kind in SEPARATORS:
        return TextTable(target, kind)
    if kind == "parquet" and isinstance(target, Path):
        return ParquetTable(target, {PROVENANCE: json.dumps(provenance)})
    raise OptionError(f"a table is csv, tsv or parquet, not {kind!r}")


def write_table(path: Path, table: "pandas.DataFrame", kind: str = "csv") -> None:
    r"""Write a small table as CSV or TSV, so that the file is whole, or as it was before.

    Parameters
    ----------
    path : Path
        The file, through a link if it is one; what is there already is replaced. Or a stream.
    table : pandas.DataFrame
        Its index is not kept.
    kind : {'csv', 'tsv'}
        Comma- or tab-separated.

    Raises
    ------
    OutputError
        If the disk is full or fails.

    Examples
    --------
    >>> import pandas, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_table(Path(folder, "x.tsv"), pandas.DataFrame({"id": ["P1"], "n": [2]}), "tsv")
    ...     Path(folder, "x.tsv").read_text()
    'id\tn\nP1\t2\n'
    """
    text = without_formulas(table).to_csv(sep=SEPARATORS[kind], index=False, lineterminator="\n")
    with disk_errors(path):
        if not is_stream(path):
            write_durably(path, text.encode())
            return
        with open_stream(path) as stream:
            stream.write(text)


def import_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and pyarrow.parquet, or say how to install them."""
    with needed("Parquet files", "pyarrow", extra="parquet", instead="use another format"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet
