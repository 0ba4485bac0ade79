"""Embedding files: one writer for each format, and one reader for all of them.

Every writer takes proteins one at a time, in input order, and never holds more than a few.
"""

import csv
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import unquote

import h5py
import numpy as np
from numpy.typing import NDArray

from esmkit.errors import MissingDependencyError, OptionError, OutputError
from esmkit.sequences import Protein

if TYPE_CHECKING:
    import pandas

__all__ = ["FORMATS", "EmbeddingFile", "Writer", "dataset_key", "open_writer", "protein_id", "read"]

PROVENANCE = "provenance"
_NPZ_PROVENANCE = "__provenance__"
_PARQUET_ROWS = 2_048
"""Rows gathered before a Parquet row group is written."""


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
    return key.replace("_", "%5F") if key == _NPZ_PROVENANCE else key


def protein_id(key: str) -> str:
    """Return the ID that :func:`dataset_key` made a name from."""
    return unquote(key)


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
        self._file = h5py.File(path, "w", libver=("v108", "v108"), track_order=True)
        self._file.attrs[PROVENANCE] = json.dumps(provenance)

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        dataset = self._file.create_dataset(dataset_key(protein.id), data=values)
        dataset.attrs["id"] = protein.id
        dataset.attrs["header"] = protein.header
        dataset.attrs["length"] = len(protein)

    def close(self) -> None:
        self._file.close()


class _NpzWriter:
    """One array per protein in an uncompressed npz, written without holding them all."""

    def __init__(self, path: Path, provenance: dict[str, Any], **_: Any) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._write(_NPZ_PROVENANCE, np.array(json.dumps(provenance)))

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
            self._writer.writerow([*facts.values(), *map(str, vector)])

    def close(self) -> None:
        self._handle.flush()
        if self._owned:
            self._handle.close()


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
            self._file = self._parquet.ParquetWriter(self._path, schema)
        self._file.write_table(table.replace_schema_metadata(self._metadata))
        self._facts, self._vectors = [], []

    def close(self) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()


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


class EmbeddingFile(Mapping[str, NDArray[np.float32]]):
    """Embeddings on disk as a mapping from ID to array, in input order.

    HDF5 and npz files are read protein by protein when asked; tables are read at once.

    Attributes
    ----------
    path : Path
    provenance : dict
        Versions, checkpoint, options, input and what was done to it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise OutputError(f"there is no file {str(path)!r}; check the path")
        self._close: Any = None
        kind = self.path.suffix.removeprefix(".").lower()
        if kind not in FORMATS:
            raise OutputError(
                f"{str(path)!r} is not an embedding file: its name ends in none of "
                + ", ".join(f".{name}" for name in FORMATS)
            )
        openers = {"h5": self._open_h5, "npz": self._open_npz, "csv": self._open_csv}
        try:
            openers.get(kind, self._open_parquet)()
        except MissingDependencyError:
            raise
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            self.close()
            raise OutputError(
                f"{str(path)!r} is not a file that esmkit wrote ({error}); make it anew with "
                "`esmkit embed`"
            ) from error

    def _open_h5(self) -> None:
        handle = h5py.File(self.path, "r")
        self._close = handle.close
        self.provenance: dict[str, Any] = json.loads(str(handle.attrs[PROVENANCE]))
        self._keys = {protein_id(str(key)): str(key) for key in handle}
        self._get = lambda key: np.asarray(handle[key])
        self._attributes = lambda key: dict(handle[key].attrs)

    def _open_npz(self) -> None:
        stream = self.path.open("rb")  # of a damaged file NumPy itself would leave it open
        self._close = stream.close
        handle = np.load(stream, allow_pickle=False)
        if not isinstance(handle, np.lib.npyio.NpzFile):
            raise ValueError("it holds one bare array")
        self.provenance = json.loads(str(handle[_NPZ_PROVENANCE]))
        self._keys = {protein_id(key): key for key in handle.files if key != _NPZ_PROVENANCE}
        self._get = lambda key: handle[key]
        self._attributes = lambda key: {}

    def _open_csv(self) -> None:
        import pandas

        # IDs such as "NA" or "1e5" are names, not missing values or numbers
        table = pandas.read_csv(self.path, dtype={"id": str, "residue": str}, keep_default_na=False)
        first = table.columns.get_loc("e0")
        sidecar = provenance_sidecar(self.path)
        if sidecar.is_file():
            self.provenance = json.loads(sidecar.read_text(encoding="utf-8"))
        else:  # from standard output; the columns still say what the rows are
            per = "residue" if "residue_number" in table else "protein"
            layers = [int(layer) for layer in table["layer"].unique()]
            self.provenance = {"per": per, "layers": layers}
        self._use_table(table.iloc[:, :first], table.iloc[:, first:].to_numpy(np.float32))

    def _open_parquet(self) -> None:
        _, parquet = import_pyarrow()
        arrow = parquet.read_table(self.path)
        self.provenance = json.loads((arrow.schema.metadata or {})[PROVENANCE.encode()])
        lists = arrow.column("embedding").combine_chunks()
        vectors = lists.flatten().to_numpy().reshape(len(lists), -1)
        self._use_table(arrow.drop(["embedding"]).to_pandas(), vectors)

    def _use_table(self, table: "pandas.DataFrame", vectors: NDArray[np.float32]) -> None:
        """Gather the rows of each protein: facts in ``table``, values in ``vectors``."""
        arrays = {}
        for name, rows in table.groupby("id", sort=False).indices.items():
            layers = table["layer"].to_numpy()[rows]
            stacked = [vectors[rows[layers == layer]] for layer in dict.fromkeys(layers)]
            if "residue_number" not in table:
                stacked = [of_layer[0] for of_layer in stacked]
            arrays[str(name)] = np.stack(stacked) if len(stacked) > 1 else stacked[0]
        facts = table.drop_duplicates("id").filter(["length", "header"]).to_dict("records")
        self._keys = {str(name): str(name) for name in table["id"].unique()}
        attributes = dict(zip(self._keys, facts, strict=True))
        self._get = arrays.__getitem__
        self._attributes = attributes.__getitem__

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        return self._get(self._keys[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, name: object) -> bool:
        return name in self._keys

    def attributes(self, name: str) -> dict[str, Any]:
        """Return ``length`` and ``header`` of a protein, where the format keeps them."""
        return self._attributes(self._keys[name])

    @property
    def layers(self) -> list[int]:
        """Hidden states in the file, in the order of the leading axis."""
        return self.provenance.get("layers", [])

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas table: a row per protein (and layer, and residue), a column per value.

        Returns
        -------
        pandas.DataFrame of float32
            Index ``id``, or (``id``, ``layer``) with several layers, and then, for embeddings per
            residue, ``residue_number`` counted from 1. Columns are 0 to D - 1.
        """
        import pandas

        several = len(self.layers) > 1
        frames = {}
        for name, array in self.items():
            for layer, of_layer in zip(
                self.layers or [-1], array if several else array[None], strict=True
            ):
                key = (name, layer) if several else (name,)
                rows = np.atleast_2d(of_layer)
                per_residue = of_layer.ndim == 2
                index = pandas.RangeIndex(1, len(rows) + 1) if per_residue else [0]
                frames[key] = pandas.DataFrame(rows, index=index)
        names = ["id", "layer"] if several else ["id"]
        table = pandas.concat(frames, names=[*names, "residue_number"])
        if self.provenance.get("per") != "residue":
            table = table.droplevel("residue_number")
        return table

    def close(self) -> None:
        """Close the file."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        model = self.provenance.get("checkpoint", {}).get("name", "unknown checkpoint")
        return f"EmbeddingFile({self.path.name}: {len(self)} proteins, {model})"


def provenance_sidecar(path: Path) -> Path:
    """Return where the provenance of a CSV stands: CSV itself has no place for it."""
    return path.with_name(path.name + ".provenance.json")


def read(path: str | Path) -> EmbeddingFile:
    """Open a file that ``esmkit embed`` wrote: h5, parquet, npz or csv.

    Returns
    -------
    EmbeddingFile
        A mapping from ID to float32 array, (D,) per protein or (R, D) per residue, with a leading
        layer axis if several layers were asked for; with ``.provenance`` and ``.to_frame()``.

    Raises
    ------
    OutputError
        If the file is missing or is not one of esmkit's.

    Examples
    --------
    >>> embeddings = esmkit.read("demo.h5")             # doctest: +SKIP
    >>> embeddings["P69905"].shape                      # doctest: +SKIP
    (320,)
    """
    return EmbeddingFile(path)
