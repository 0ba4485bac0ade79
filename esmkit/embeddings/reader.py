"""Embedding files read back: every format as a mapping from ID to array."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from esmkit.embeddings.writers import EMBEDDING_FORMATS
from esmkit.errors import MissingDependencyError, OutputError
from esmkit.files.arrays import NPZ_PROVENANCE, protein_id
from esmkit.files.provenance import PROVENANCE, provenance_sidecar
from esmkit.files.tables import from_spreadsheet, import_pyarrow
from esmkit.sequences.proteins import UniqueIds

if TYPE_CHECKING:
    import pandas

__all__ = ["EmbeddingFile"]

DATASET_PROVENANCE = "_provenance.json"
"""File of a folder of parts that is there once all of them are."""


class EmbeddingFile(Mapping[str, NDArray[np.float32]]):
    """Embeddings on disk as a mapping from ID to array, in input order.

    HDF5 and npz files are read protein by protein when asked; tables are read at once.

    Attributes
    ----------
    path : Path
    provenance : dict
        Versions, checkpoint, options, input and what was done to it.

    Examples
    --------
    >>> import tempfile
    >>> from esmkit.embeddings.writers import open_writer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "one.h5"
    ...     writer = open_writer("h5", path, {"layers": [6]}, layers=[6], per="protein")
    ...     writer.add(esmkit.data.demo_proteins()[0], np.ones(320, np.float32))
    ...     writer.close()
    ...     with EmbeddingFile(path) as found:
    ...         print(list(found), found["1UBI_A"].shape, found.attributes("1UBI_A")["length"])
    ['1UBI_A'] (320,) 76
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._close: Any = None
        if (self.path / DATASET_PROVENANCE).is_file():
            self._open_dataset()
            return
        if not self.path.is_file():
            if (self.path / "_manifest.json").is_file():
                raise OutputError(
                    f"the dataset {str(path)!r} is not complete; run the embedding that makes it to "
                    "its end"
                )
            raise OutputError(f"there is no file {str(path)!r}; check the path")
        kind = self.path.suffix.removeprefix(".").lower()
        if kind not in EMBEDDING_FORMATS:
            raise OutputError(
                f"{str(path)!r} is not an embedding file: its name ends in none of "
                + ", ".join(f".{name}" for name in EMBEDDING_FORMATS)
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
        self.provenance = json.loads(str(handle[NPZ_PROVENANCE]))
        self._keys = {protein_id(key): key for key in handle.files if key != NPZ_PROVENANCE}
        self._get = lambda key: handle[key]
        self._attributes = lambda key: {}

    def _open_csv(self) -> None:
        import pandas

        # IDs such as "NA" or "1e5" are names, not missing values or numbers
        table = pandas.read_csv(self.path, dtype={"id": str, "residue": str}, keep_default_na=False)
        table["id"] = table["id"].map(from_spreadsheet)
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
        with self.path.open("rb") as stream:
            arrow = parquet.read_table(stream)
        self.provenance = json.loads((arrow.schema.metadata or {})[PROVENANCE.encode()])
        lists = arrow.column("embedding").combine_chunks()
        vectors = lists.flatten().to_numpy().reshape(len(lists), -1)
        self._use_table(arrow.drop(["embedding"]).to_pandas(), vectors)

    def _open_dataset(self) -> None:
        """Read a folder of ``esmkit embed --engine ray``: its parts are in input order by name."""
        arrow, parquet = import_pyarrow()
        self.provenance = json.loads((self.path / DATASET_PROVENANCE).read_text(encoding="utf-8"))
        tables = [parquet.read_table(part) for part in sorted(self.path.glob("part-*.parquet"))]
        tables = [table.replace_schema_metadata(None) for table in tables]
        arrow = arrow.concat_tables(tables)
        lists = arrow.column("embedding").combine_chunks()
        vectors = lists.flatten().to_numpy().reshape(len(lists), -1)
        table = arrow.drop(["embedding"]).to_pandas()
        # A repeated ID gets the name that it gets in a file: ID, ID~2, in input order
        unique = UniqueIds()
        places = table.groupby(["file", "range", "record"], sort=False)
        names = [unique(name) for name in places["id"].first()]
        table["id"] = [names[number] for number in places.ngroup()]
        self._use_table(table, vectors)

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
