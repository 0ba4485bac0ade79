"""Embedding files: one writer for each format; :mod:`esmkit.embeddings.reader` reads them all.

Every writer takes proteins one at a time, in input order, and never holds more than a few.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.files.arrays import Writer, _H5Writer, _NpzWriter
from esmkit.files.provenance import PROVENANCE
from esmkit.files.tables import import_pyarrow, spreadsheet_text
from esmkit.sequences.proteins import Protein

__all__ = ["FORMATS", "open_writer"]
_PARQUET_ROWS = 2_048
"""Rows gathered before a Parquet row group is written."""


def _rows(
    protein: Protein, values: NDArray[np.float32], layers: Sequence[int], per: str
) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Yield tidy rows: one for each protein, layer and (per residue) residue."""
    stacked = values if len(layers) > 1 else values[None]  # (L, D) or (L, R, D)
    for layer, of_layer in zip(layers, stacked, strict=True):
        facts: dict[str, Any] = {"id": protein.id, "length": len(protein), "layer": layer}
        if per == "protein":
            yield facts, of_layer
        else:
            for index, vector in enumerate(of_layer):
                letter = protein.sequence[index]
                yield {**facts, "residue_number": index + 1, "residue": letter}, vector


class _CsvWriter:
    """One row for each protein (or residue) and layer; columns e0, e1, ... hold the vector."""

    def __init__(
        self, target: Path | IO[str], provenance: dict[str, Any], *, layers: Sequence[int], per: str
    ) -> None:
        if isinstance(target, Path):
            self._handle: IO[str] = target.open("w", encoding="utf-8", newline="")
            self._owned = True
        else:
            self._handle, self._owned = target, False
        self._writer = csv.writer(self._handle, lineterminator="\n")
        self._layers, self._per = layers, per
        self._begun = False

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        for facts, vector in _rows(protein, values, self._layers, self._per):
            if not self._begun:
                self._writer.writerow([*facts, *(f"e{i}" for i in range(len(vector)))])
                self._begun = True
            # np.float32's own repr is the shortest text that reads back to the same float32
            facts["id"] = spreadsheet_text(protein.id)
            self._writer.writerow([*facts.values(), *map(str, vector)])

    def close(self) -> None:
        if self._owned:
            self._handle.close()
        else:
            self._handle.flush()


class _ParquetWriter:
    """The rows of the CSV with the header, and the vector as one fixed-size list column."""

    def __init__(
        self, path: Path, provenance: dict[str, Any], *, layers: Sequence[int], per: str
    ) -> None:
        self._arrow, self._parquet = import_pyarrow()
        self._path, self._layers, self._per = path, layers, per
        self._metadata = {PROVENANCE: json.dumps(provenance)}
        self._facts: list[dict[str, Any]] = []
        self._vectors: list[NDArray[np.float32]] = []
        self._file: Any = None
        self._stream: Any = None

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        for facts, vector in _rows(protein, values, self._layers, self._per):
            if self._per == "protein":
                facts = {"id": facts.pop("id"), "header": protein.header, **facts}
            self._facts.append(facts)
            self._vectors.append(vector)
            if len(self._facts) >= _PARQUET_ROWS:
                self._flush()

    def _flush(self) -> None:
        if not self._facts:
            return
        arrow = self._arrow
        width = len(self._vectors[0])
        flat = arrow.array(np.concatenate(self._vectors), type=arrow.float32())
        columns = {
            name: arrow.array(
                [row[name] for row in self._facts],
                type=arrow.string() if isinstance(value, str) else arrow.int32(),
            )
            for name, value in self._facts[0].items()
        }
        columns["embedding"] = arrow.FixedSizeListArray.from_arrays(flat, width)
        table = arrow.table(columns)
        if self._file is None:
            schema = table.schema.with_metadata(self._metadata)
            # pyarrow itself opens no file whose name is not UTF-8
            self._stream = self._path.open("wb")
            self._file = self._parquet.ParquetWriter(self._stream, schema)
        self._file.write_table(table.replace_schema_metadata(self._metadata))
        self._facts, self._vectors = [], []

    def close(self) -> None:
        try:  # on a full disk each step may fail
            self._flush()
        finally:
            try:
                if self._file is not None:
                    self._file.close()
            finally:
                if self._stream is not None:
                    self._stream.close()


FORMATS = {"h5": _H5Writer, "parquet": _ParquetWriter, "npz": _NpzWriter, "csv": _CsvWriter}
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
    if kind not in FORMATS:
        raise OptionError(f"format is {', '.join(FORMATS)}, not {kind!r}")
    return FORMATS[kind](target, provenance, layers=layers, per=per)  # type: ignore[arg-type]
