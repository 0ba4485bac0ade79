"""Embedding files: one writer for each format; :mod:`esmkit.reading` reads them all.

Every writer takes proteins one at a time, in input order, and never holds more than a few.
"""

import csv
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import unquote

import h5py
import numpy as np
from numpy.typing import NDArray

from esmkit.disk import SteadyFile
from esmkit.errors import MissingDependencyError, OptionError
from esmkit.sequences.proteins import Protein

__all__ = [
    "FORMATS",
    "NPZ_PROVENANCE",
    "PROVENANCE",
    "Writer",
    "dataset_key",
    "from_spreadsheet",
    "import_pyarrow",
    "open_writer",
    "protein_id",
    "provenance_sidecar",
    "spreadsheet_text",
]

PROVENANCE = "provenance"
NPZ_PROVENANCE = "__provenance__"
_PARQUET_ROWS = 2_048
"""Rows gathered before a Parquet row group is written."""
_H5_CACHE_BYTES = 128 * 1024
"""HDF5's cache of B-trees and object headers. It would grow to 32 MiB, and to twice that in memory,
for a file of 100,000 datasets, without being any faster; below 128 KiB it is slower."""


def dataset_key(name: str) -> str:
    """Return the HDF5 or npz name of an ID: ``/`` becomes ``%2F``, and ``%`` itself ``%25``.

    So do names that mean something else there: ``.`` to HDF5, ``x.npy`` to NumPy, and that of
    the provenance.

    >>> dataset_key("a/b")
    'a%2Fb'
    """
    key = name.replace("%", "%25").replace("/", "%2F")
    if not key.strip(".") or key.endswith(".npy"):
        return key.replace(".", "%2E")
    return key.replace("_", "%5F") if key == NPZ_PROVENANCE else key


def protein_id(key: str) -> str:
    """Return the ID that :func:`dataset_key` made a name from."""
    return unquote(key)


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


class Writer(Protocol):
    """Takes results one protein at a time."""

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        """Write one protein: (D,), (R, D), or either with a leading layer axis."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class _H5Writer:
    """One dataset per protein, keyed by ID in input order: the layout of UniProt's files."""

    def __init__(self, path: Path, provenance: dict[str, Any], **_: Any) -> None:
        # The 1.8 format (2008) is the oldest in which attributes may exceed 64 KiB.
        self._disk = SteadyFile(path)
        self._file = h5py.File(self._disk, "w", libver=("v108", "v108"), track_order=True)
        cache = self._file.id.get_mdc_config()
        cache.set_initial_size = True
        cache.min_size = cache.initial_size = cache.max_size = _H5_CACHE_BYTES
        self._file.id.set_mdc_config(cache)
        self._file.attrs[PROVENANCE] = json.dumps(provenance)

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        dataset = self._file.create_dataset(dataset_key(protein.id), data=values)
        dataset.attrs["id"] = protein.id
        dataset.attrs["header"] = protein.header
        dataset.attrs["length"] = len(protein)
        self._disk.check()

    def close(self) -> None:
        with self._disk:
            self._file.close()
            self._disk.check()


class _NpzWriter:
    """One array per protein in an uncompressed npz, written without holding them all."""

    def __init__(self, path: Path, provenance: dict[str, Any], **_: Any) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._write(NPZ_PROVENANCE, np.array(json.dumps(provenance)))

    def _write(self, key: str, array: NDArray[Any]) -> None:
        info = zipfile.ZipInfo(f"{key}.npy")  # a fixed date: the same input gives the same bytes
        with self._zip.open(info, "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        self._write(dataset_key(protein.id), values)

    def close(self) -> None:
        self._zip.close()


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


def provenance_sidecar(path: Path) -> Path:
    """Return where the provenance of a CSV stands: CSV itself has no place for it."""
    return path.with_name(path.name + ".provenance.json")
