"""Embedding files read back: every format as a mapping from ID to array."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.embeddings.foreign import hdf5_keys, npz_keys, npz_shapes, text_of
from esmkit.errors import EsmkitError, OutputError
from esmkit.files.arrays import NPZ_PROVENANCE, protein_id, stored
from esmkit.files.contents import describe, format_of_content, separator_of
from esmkit.files.hdf5 import open_hdf5
from esmkit.files.outputs import is_stream
from esmkit.files.provenance import (
    PROVENANCE,
    parse_provenance,
    provenance_of_attribute,
    provenance_sidecar,
)
from esmkit.files.reading import UNREADABLE, ProteinFile, damage
from esmkit.files.tables import from_spreadsheet, import_pyarrow
from esmkit.sequences.ids import UniqueIds, accession_of
from esmkit.text import missing

if TYPE_CHECKING:
    import pandas

__all__ = ["EmbeddingFile"]

DATASET_PROVENANCE = "_provenance.json"
"""File of a folder of parts that is there once all of them are."""


class EmbeddingFile(ProteinFile[NDArray[np.float32]]):
    """Embeddings on disk as a mapping from ID to array, in input order.

    What the file holds is told by its contents, whatever its name ends in. HDF5 and npz files are
    read protein by protein when asked; tables are read at once. Files that others wrote are read
    too, with an empty ``provenance``: those of UniProt, bio_embeddings and ProtTrans, and npz files
    of one array per protein; their float16 becomes float32, which is exact.

    A protein is found by its ID, or by another name that means no other: ``P69905`` finds
    ``sp|P69905|HBA_HUMAN``. The object can be pickled and copied, and used in a forked process:
    there the file is opened again, if it is still the same.

    Attributes
    ----------
    path : Path
    provenance : dict
        Versions, checkpoint, options, input and what was done to it.

    Raises
    ------
    OutputError
        If there is no such file, or it holds no embeddings.
    UnknownIdError
        By ``file[name]``, if no protein is meant, or several are.
    ClosedFileError
        By every access after :meth:`close`, or after the end of ``with``.

    See Also
    --------
    esmkit.read : Opens whatever esmkit wrote.
    esmkit.embed_file : Writes such files.

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
    ...         print(list(found), found["1UBI_A"].shape, found.attributes("1UBI_A")["length"], found.layers)
    ['1UBI_A'] (320,) 76 [6]
    """

    def _open(self) -> None:
        self._close: Callable[[], None] | None = None
        is_dataset = (self._place / DATASET_PROVENANCE).is_file()
        if not is_dataset and not self._place.is_file():
            raise OutputError(self._missing())
        try:
            if is_dataset:
                self._open_dataset()
                return
            kind = format_of_content(self._place)
            openers = {
                "h5": self._open_h5,
                "npz": self._open_npz,
                "csv": self._open_csv,
                "parquet": self._open_parquet,
            }
            if kind is None:
                raise OutputError(
                    f"{str(self.path)!r} holds no embeddings: it is {describe(self._place)}"
                )
            openers[kind]()
        except EsmkitError:
            self._release()
            raise
        except PermissionError as error:
            self._release()
            raise OutputError(
                f"cannot read {str(self.path)!r} ({error.strerror or error}); ask its owner for the "
                "right to"
            ) from error
        except UNREADABLE as error:
            self._release()
            what = "is not a file of embeddings, or is damaged"
            raise damage(self.path, error, "make it anew with `esmkit embed`", what) from error

    def _missing(self) -> str:
        """Return what to say where there is no file."""
        name = repr(str(self.path))
        if (self._place / "_manifest.json").is_file():
            return f"the dataset {name} is not complete; run the embedding that makes it to its end"
        if (self._place / "summary.md").is_file():
            return f"{name} is the folder of a profile of heads; read its tables with pandas"
        if self._place.is_dir():
            return f"{name} is a folder, and none of `esmkit embed --engine ray`; name a file in it"
        if is_stream(self._place):
            return f"{name} is a stream, which cannot be read twice; save it to a file first"
        return missing(self.path)

    def _state_of(self) -> Path:
        inside = self._place / DATASET_PROVENANCE
        return inside if inside.is_file() else self._place

    def _release(self) -> None:
        if self._close is not None:
            self._close()

    def _open_h5(self) -> None:
        handle = open_hdf5(self._place)
        self._close = handle.close
        self._attributes = lambda key: dict(handle[key].attrs)
        written = handle.attrs.get(PROVENANCE)
        if written is None:
            self.provenance: dict[str, Any] = {}
            self._keys = hdf5_keys(handle)
        else:
            self.provenance = provenance_of_attribute(str(written))
            self._keys = (
                {protein_id(str(key)): str(key) for key in handle}
                if self.provenance
                else hdf5_keys(handle)
            )
        if self.provenance.get("task") == "attention":
            raise OutputError(
                f"{str(self.path)!r} holds attention maps; open it with `esmkit.read` or "
                "`esmkit.AttentionFile`"
            )
        if self.provenance.get("task") == "score":
            raise OutputError(
                f"{str(self.path)!r} holds log-probabilities of letters; open it with `esmkit.read` "
                "or `esmkit.ScoreFile`"
            )
        self._get = lambda key: _as_float32(stored(handle[key]))

    def _open_npz(self) -> None:
        stream = self._place.open("rb")  # of a damaged file NumPy itself would leave it open
        self._close = stream.close
        with zipfile.ZipFile(stream) as archive:
            shapes = npz_shapes(archive)
        stream.seek(0)
        handle = np.load(stream, allow_pickle=False)
        if NPZ_PROVENANCE in shapes:
            self.provenance = parse_provenance(str(handle[NPZ_PROVENANCE]))
            self._keys = {protein_id(key): key for key in shapes if key != NPZ_PROVENANCE}
        else:
            self.provenance = {}
            self._keys = npz_keys(shapes)
        self._get = lambda key: _as_float32(handle[key])
        self._attributes = lambda key: {}

    def _open_csv(self) -> None:
        import pandas

        # IDs such as "NA" or "1e5" are names, not missing values or numbers
        names: Any = dict.fromkeys(("id", "accession", "header", "residue"), str)
        table = pandas.read_csv(
            self._place, sep=separator_of(self._place), dtype=names, keep_default_na=False
        )
        for name in {"id", "header"} & set(table.columns):
            table[name] = table[name].map(from_spreadsheet)
        first = table.columns.get_loc("e0")
        self.provenance = self._beside()
        if not self.provenance:  # from standard output; the columns still say what the rows are
            per = "residue" if "residue_number" in table else "protein"
            self.provenance = {"per": per}
            if "layer" in table:  # which others leave out
                layers = [int(layer) for layer in table["layer"].unique()]
                self.provenance["layers"] = layers
        self._use_table(
            table.iloc[:, :first], _as_float32(table.iloc[:, first:].to_numpy(np.float64))
        )

    def _beside(self) -> dict[str, Any]:
        """Return the provenance that stands beside a CSV, or beside the file that it links to."""
        for place in (self._place, self._place.resolve()):
            sidecar = provenance_sidecar(place)
            if sidecar.is_file():
                return parse_provenance(sidecar.read_bytes())
        return {}

    def _open_parquet(self) -> None:
        _, parquet = import_pyarrow()
        with self._place.open("rb") as stream:
            arrow = parquet.read_table(stream)
        lacking = {"id", "embedding"} - set(arrow.column_names)
        if lacking:
            raise OutputError(
                f"{str(self.path)!r} is a table with columns {', '.join(arrow.column_names[:6])}, "
                f"but no {' or '.join(sorted(lacking))}; read it with `pandas.read_parquet`"
            )
        written = (arrow.schema.metadata or {}).get(PROVENANCE.encode(), b"{}")
        self.provenance = provenance_of_attribute(written)
        lists = arrow.column("embedding").combine_chunks()
        vectors = lists.flatten().to_numpy().reshape(len(lists), -1)
        self._use_table(arrow.drop(["embedding"]).to_pandas(), _as_float32(vectors))

    def _open_dataset(self) -> None:
        """Read a folder of ``esmkit embed --engine ray``: its parts are in input order by name."""
        arrow, parquet = import_pyarrow()
        self.provenance = parse_provenance((self._place / DATASET_PROVENANCE).read_bytes())
        tables = [parquet.read_table(part) for part in sorted(self._place.glob("part-*.parquet"))]
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
        if "layer" not in table:  # not esmkit's
            table = table.assign(layer=-1)
        arrays, of_row = {}, table["layer"].to_numpy()
        for name, rows in table.groupby("id", sort=False).indices.items():
            layers = of_row[rows]
            stacked = [vectors[rows[layers == layer]] for layer in dict.fromkeys(layers)]
            if "residue_number" not in table:
                stacked = [of_layer[0] for of_layer in stacked]
            arrays[str(name)] = np.stack(stacked) if len(stacked) > 1 else stacked[0]
        first = table.drop_duplicates("id").filter(["length", "header"])
        facts = first.to_dict("records") or [{}] * len(first)  # pandas 2: none without a column
        self._keys = {str(name): str(name) for name in table["id"].unique()}
        attributes = dict(zip(self._keys, facts, strict=True))
        self._get = arrays.__getitem__
        self._attributes = attributes.__getitem__

    def _read(self, key: str) -> NDArray[np.float32]:
        return self._get(key)

    def attributes(self, name: str) -> dict[str, Any]:
        """Return ``length`` and ``header`` of a protein, where the format keeps them.

        Parameters
        ----------
        name : str
            ID of the protein, or another name that means no other.

        Returns
        -------
        dict
        """
        key = self._key(name)
        try:
            return self._attributes(key)
        except UNREADABLE as error:
            what = f"is damaged: what it says of {name!r} cannot be read"
            raise damage(self.path, error, "make it anew", what) from error

    @property
    def layers(self) -> list[int]:
        """Hidden states in the file, in the order of the leading axis."""
        return self.provenance.get("layers", [])

    def to_frame(self, *, facts: bool = True) -> "pandas.DataFrame":
        """Return a pandas table: a row per protein (and layer, and residue), a column per value.

        Parameters
        ----------
        facts : bool
            Begin with the columns ``accession`` and ``header``. Without them all is float32;
            ``frame.loc[:, 0:]`` leaves them out too.

        Returns
        -------
        pandas.DataFrame
            Index ``id``, or (``id``, ``layer``) with several layers, and then, for embeddings per
            residue, ``residue_number`` counted from 1. Columns are ``accession``, UniProt's number
            in the ID or else the ID; ``header``, missing where the file keeps none; and 0 to D - 1,
            float32.

        Examples
        --------
        >>> import tempfile
        >>> from esmkit.embeddings.writers import open_writer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "one.csv"
        ...     writer = open_writer("csv", path, {}, layers=[6], per="protein")
        ...     writer.add(esmkit.Protein("sp|P69905|HBA_HUMAN", "MV"), np.ones(2, np.float32))
        ...     writer.close()
        ...     with EmbeddingFile(path) as found:
        ...         found.to_frame()[["accession", 0, 1]].reset_index()
                            id accession    0    1
        0  sp|P69905|HBA_HUMAN    P69905  1.0  1.0
        """
        try:
            return self._frame(facts=facts)
        except EsmkitError:
            raise
        except UNREADABLE as error:
            what = "holds other arrays than it says"
            raise damage(self.path, error, "make it anew with `esmkit embed`", what) from error

    def _frame(self, *, facts: bool) -> "pandas.DataFrame":
        import pandas

        several, per_residue = len(self.layers) > 1, self.provenance.get("per") == "residue"
        blocks: list[NDArray[np.float32]] = []
        rows: list[tuple[Any, ...]] = []
        columns: dict[str, list[str | None]] = {"accession": [], "header": []}
        for name, array in self.items():
            if not self.provenance:  # the shapes alone tell
                several, per_residue = array.ndim == 3, array.ndim > 1
            layers = self.layers or range(len(array) if several else 1)
            known = self._attributes(self._keys[name]) if facts else {}
            header = known.get("header", known.get("original_id"))
            for layer, of_layer in zip(layers, array if several else array[None], strict=True):
                block = np.atleast_2d(of_layer)
                blocks.append(block)
                key = (name, layer) if several else (name,)
                rows += [(*key, number) if per_residue else key for number in _numbers(block)]
                columns["accession"] += [accession_of(name)] * len(block)
                columns["header"] += [None if header is None else text_of(header)] * len(block)
        levels = ["id", *["layer"] * several, *["residue_number"] * per_residue]
        if len(levels) == 1:
            index: pandas.Index = pandas.Index([name for (name,) in rows], name="id", dtype="str")
        else:
            index = pandas.MultiIndex.from_tuples(rows or [("",) * len(levels)], names=levels)
            index = index if rows else index.delete(0)
        table = _stack(blocks).set_axis(index, axis="index")
        if not facts:
            return table
        before = pandas.DataFrame(columns, index=table.index, dtype="str")
        return pandas.concat([before, table], axis="columns")

    def _said(self) -> str:
        if not self.provenance:
            return "not written by esmkit"
        return self.provenance.get("checkpoint", {}).get("name", "unknown checkpoint")


def _as_float32(values: Any) -> NDArray[np.float32]:
    """Return numbers as float32: (D,), (R, D), or either of several layers."""
    given = np.asarray(values)
    if given.dtype.kind not in "fiu" or not 1 <= given.ndim <= 3:
        raise ValueError(f"{given.dtype} of shape {given.shape}, where floats should be")
    with np.errstate(over="ignore"):
        found = given.astype(np.float32, copy=False)
    if (
        given.dtype.itemsize > found.itemsize
        and not (np.isfinite(found) >= np.isfinite(given)).all()
    ):
        raise ValueError("a number too large for float32")
    return found


def _numbers(block: NDArray[np.float32]) -> range:
    return range(1, len(block) + 1)


def _stack(blocks: "list[NDArray[np.float32]]") -> "pandas.DataFrame":
    """Return rows below each other; shorter ones, of maps of smaller proteins, end in NaN."""
    import pandas

    if len({block.shape[1] for block in blocks}) == 1:
        return pandas.DataFrame(np.concatenate(blocks))
    frames = [pandas.DataFrame(block) for block in blocks]
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()
