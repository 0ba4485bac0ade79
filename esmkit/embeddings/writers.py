"""Embedding files: one writer for each format; :mod:`esmkit.embeddings.reader` reads them all.

Every writer takes proteins one at a time, in input order, and never holds more than a few.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.files.arrays import H5Writer, NpzWriter, Writer
from esmkit.files.provenance import PROVENANCE
from esmkit.files.tables import ParquetTable, TextTable, import_pyarrow
from esmkit.sequences.ids import accession_of
from esmkit.sequences.proteins import Protein
from esmkit.text import visible

__all__ = ["EMBEDDING_FORMATS", "open_writer", "vector_table"]

TEXT_COLUMNS = {"id", "accession", "header", "sequence_hash", "residue"}
"""Columns of text in a Parquet file; all others but the vector are int32."""


def _blocks(
    protein: Protein, values: NDArray[np.float32], layers: Sequence[int], per: str
) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Yield the rows of each layer: cells that are the same in all of them, and (rows, D) values."""
    stacked = values if len(layers) > 1 else values[None]  # (L, D) or (L, R, D)
    for layer, of_layer in zip(layers, stacked, strict=True):
        facts = {
            "id": protein.id,
            "accession": accession_of(protein.id),
            "header": protein.header,
            "length": len(protein),
            "layer": layer,
        }
        yield facts, of_layer if per == "residue" else of_layer[None]


class _CsvWriter:
    """One row for each protein (or residue) and layer; columns e0, e1, ... hold the vector.

    Before them stand ``id``, ``accession``, ``header``, ``length``, ``layer``, and for residues
    ``residue_number`` and ``residue``. Characters of a header that cannot be seen are written as
    their numbers, tabs excepted: the table may go to a terminal.
    """

    def __init__(
        self, target: Path | IO[str], provenance: dict[str, Any], *, layers: Sequence[int], per: str
    ) -> None:
        self._table = TextTable(target)
        self._layers, self._per = layers, per

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        more = ("residue_number", "residue") if self._per == "residue" else ()
        for facts, vectors in _blocks(protein, values, self._layers, self._per):
            facts["header"] = "\t".join(map(visible, protein.header.split("\t")))
            columns = [*facts, *more, *(f"e{i}" for i in range(vectors.shape[1]))]
            places = enumerate(protein.sequence, 1) if more else [()]
            rows = ((*facts.values(), *p, *v) for p, v in zip(places, vectors, strict=False))
            self._table.add_rows(columns, rows)

    def close(self) -> None:
        self._table.close()


class _ParquetWriter:
    """The rows of the CSV, with the vector as one fixed-size list column."""

    def __init__(
        self, path: Path, provenance: dict[str, Any], *, layers: Sequence[int], per: str
    ) -> None:
        self._table = ParquetTable(path, {PROVENANCE: json.dumps(provenance)})
        self._layers, self._per = layers, per

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        for facts, vectors in _blocks(protein, values, self._layers, self._per):
            count = len(vectors)
            columns = {name: [value] * count for name, value in facts.items()}
            if self._per == "residue":
                columns["residue_number"] = list(range(1, count + 1))
                columns["residue"] = list(protein.sequence[:count])
            self._table.add_arrow(vector_table(columns, vectors))

    def close(self) -> None:
        self._table.close()


def vector_table(columns: Mapping[str, Sequence[Any]], vectors: NDArray[np.float32]) -> Any:
    """Return an Arrow table of N rows: text and numbers, and a vector of D values.

    Parameters
    ----------
    columns : mapping from str to sequence of N str or N int
        Columns before the vector, in that order; those of ``TEXT_COLUMNS`` are text.
    vectors : numpy.ndarray of float32, shape (N, D)
        Not copied if it is contiguous.

    Returns
    -------
    pyarrow.Table
        Columns of string and int32, and ``embedding``, a fixed-size list of D float32.

    Raises
    ------
    MissingDependencyError
        If pyarrow is not installed.
    """
    arrow, _ = import_pyarrow()
    kinds = {True: arrow.string(), False: arrow.int32()}
    table = {
        name: arrow.array(values, type=kinds[name in TEXT_COLUMNS])
        for name, values in columns.items()
    }
    flat = arrow.array(vectors.reshape(-1), type=arrow.float32())
    table["embedding"] = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return arrow.table(table)


EMBEDDING_FORMATS: dict[str, Callable[..., Writer]] = {
    "h5": H5Writer,
    "parquet": _ParquetWriter,
    "npz": NpzWriter,
    "csv": _CsvWriter,
}
"""Writers by the name of their format, which is also the file's suffix."""


def open_writer(
    kind: str,
    target: Path | IO[str],
    provenance: dict[str, Any],
    *,
    layers: Sequence[int],
    per: str,
) -> Writer:
    """Open a writer of the given format.

    Raises
    ------
    OptionError
        If there is no such format.
    MissingDependencyError
        If it needs a package that is not installed.
    """
    if kind not in EMBEDDING_FORMATS:
        raise OptionError(f"format is {', '.join(EMBEDDING_FORMATS)}, not {kind!r}")
    return EMBEDDING_FORMATS[kind](target, provenance, layers=layers, per=per)  # type: ignore[arg-type]
