"""Files of scores read back, whatever their format."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.errors import EsmkitError, OutputError
from esmkit.files.arrays import protein_id, stored
from esmkit.files.contents import describe, format_of_content
from esmkit.files.hdf5 import open_hdf5
from esmkit.files.outputs import is_stream
from esmkit.files.provenance import PROVENANCE, parse_provenance, provenance_sidecar
from esmkit.files.reading import UNREADABLE, ProteinFile, damage
from esmkit.files.tables import from_spreadsheet, import_pyarrow
from esmkit.score.options import ScoreOptions
from esmkit.score.protein_score import PERPLEXITY, ProteinScore
from esmkit.text import missing

if TYPE_CHECKING:
    import pandas

__all__ = ["ScoreFile", "holds_scores"]

SEPARATORS = {"\t": "tsv", ",": "csv"}
"""What divides the cells of a table of text, and its format."""

_TEXT = ("id", "residue", "expected")
"""Columns of text."""


def holds_scores(path: str | Path) -> bool:
    """Tell whether a file is one of ``esmkit score``; what cannot be read is none."""
    try:
        return _kind_of(Path(path)) is not None
    except (EsmkitError, *UNREADABLE):
        return False


def _kind_of(path: Path) -> str | None:
    """Return the format of a file of scores; None for all else."""
    kind = format_of_content(path)
    if kind == "h5":
        with open_hdf5(path) as handle:
            return kind if _is_of_score(handle.attrs.get(PROVENANCE)) else None
    if kind == "parquet":
        _, parquet = import_pyarrow()
        with path.open("rb") as stream:
            metadata = parquet.read_schema(stream).metadata or {}
        return kind if _is_of_score(metadata.get(PROVENANCE.encode())) else None
    if kind is not None:
        return None
    with path.open("rb") as stream:
        line = stream.readline(4096).decode("utf-8", "replace").rstrip("\r\n")
    return next((kind for sep, kind in SEPARATORS.items() if _are_columns(line.split(sep))), None)


def _is_of_score(provenance: Any) -> bool:
    if provenance is None:
        return False
    text = provenance.decode() if isinstance(provenance, bytes) else str(provenance)
    return parse_provenance(text).get("task") == "score"


def _are_columns(names: list[str]) -> bool:
    if names[:1] != ["id"]:
        return False
    of_residues = {"residue_number", "log_probability", "expected"} <= set(names)
    return of_residues or any(names[1:3] == ["length", name] for name in PERPLEXITY.values())


class ScoreFile(ProteinFile[Any]):
    r"""Scores on disk as a mapping from ID, in input order.

    What it gives for a protein depends on the file. Of log-probabilities (HDF5) it is a
    :class:`~esmkit.ProteinScore`, read when asked for; of a table per residue that protein's rows, a
    pandas table; of a table per protein its row, a pandas Series. A protein is found by its ID, or
    by another name that means no other: ``P69905`` finds ``sp|P69905|HBA_HUMAN``.

    Attributes
    ----------
    path : Path
    provenance : dict
        Versions, checkpoint, masked-LM head, options, input and what was done to it; empty for a
        table of text without its ``.provenance.json``.
    per : str
        ``protein`` or ``residue``.

    Raises
    ------
    OutputError
        If there is no such file, or it holds no scores.
    UnknownIdError
        By ``file[name]``, if no protein is meant, or several are.
    ClosedFileError
        By every access after :meth:`close`, or after the end of ``with``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "one.score.tsv"
    ...     _ = path.write_text("id\tlength\tpseudo_perplexity\nP69905\t142\t12.5\n")
    ...     with ScoreFile(path) as found:
    ...         print(found.per, found["P69905"]["pseudo_perplexity"])
    protein 12.5
    """

    per: str

    def _open(self) -> None:
        self._close: Callable[[], None] | None = None
        self._table: pandas.DataFrame | None = None
        if not self._place.is_file():
            raise OutputError(self._missing())
        try:
            kind = _kind_of(self._place)
            if kind is None:
                raise OutputError(
                    f"{str(self.path)!r} holds no scores: it is {describe(self._place)}"
                )
            if kind == "h5":
                self._open_h5()
            else:
                self._open_table(kind)
        except EsmkitError:
            self._release()
            raise
        except UNREADABLE as error:
            self._release()
            what = "is not a file of scores, or is damaged"
            raise damage(self.path, error, "make it anew with `esmkit score`", what) from error

    def _missing(self) -> str:
        name = repr(str(self.path))
        if self._place.is_dir():
            return f"{name} is a folder; name a file of `esmkit score`"
        if is_stream(self._place):
            return f"{name} is a stream, which cannot be read twice; save it to a file first"
        return missing(self.path)

    def _release(self) -> None:
        if self._close is not None:
            self._close()

    def _open_h5(self) -> None:
        self._handle = open_hdf5(self._place)
        self._close = self._handle.close
        facts = parse_provenance(str(self._handle.attrs[PROVENANCE]))
        lacking = {"lm_head", "masked", "long", "checkpoint"} - set(facts)
        if lacking or "name" not in facts["checkpoint"]:
            what = ", ".join(sorted(lacking)) or "the checkpoint's name"
            raise ValueError(f"its provenance does not say {what}")
        self.provenance: dict[str, Any] = facts
        self.per = "residue"
        self._keys = {protein_id(str(key)): str(key) for key in self._handle}

    def _open_table(self, kind: str) -> None:
        import pandas

        if kind == "parquet":
            _, parquet = import_pyarrow()
            with self._place.open("rb") as stream:
                arrow = parquet.read_table(stream)
            self.provenance = parse_provenance(arrow.schema.metadata[PROVENANCE.encode()])
            table = arrow.replace_schema_metadata(None).to_pandas()
        else:
            separator = next(sep for sep, name in SEPARATORS.items() if name == kind)
            # IDs such as "NA" are names; only an empty cell of numbers is a missing value
            table = pandas.read_csv(
                self._place,
                sep=separator,
                dtype=dict.fromkeys(_TEXT, str),  # type: ignore[arg-type]
                keep_default_na=False,
                na_values={name: [""] for name in _numbers_of(self._place, separator)},
            )
            if not isinstance(table.index, pandas.RangeIndex):
                raise ValueError("a row has more cells than the header")
            for name in _numbers_of(self._place, separator):
                table[name] = pandas.to_numeric(table[name])
            table["id"] = table["id"].map(from_spreadsheet)
            self.provenance = self._beside()
        self.per = "residue" if "residue_number" in table else "protein"
        floats = table.select_dtypes("float").columns.difference(["rank"])
        table = table.astype(dict.fromkeys(floats, np.float32))
        if self.per == "residue":
            table = table.astype({"residue_number": np.int32, "rank": "Int8"})
        self._table = table
        self._rows = table.groupby("id", sort=False).indices
        self._keys = {str(name): str(name) for name in table["id"].unique()}

    def _beside(self) -> dict[str, Any]:
        """Return the provenance that stands beside a table, or beside the file it links to."""
        for place in (self._place, self._place.resolve()):
            sidecar = provenance_sidecar(place)
            if sidecar.is_file():
                return parse_provenance(sidecar.read_bytes())
        return {}

    def _read(self, key: str) -> Any:
        if self._table is None:
            return self._score(key)
        rows = self._table.iloc[self._rows[key]].drop(columns="id")
        if self.per == "residue":
            return rows.reset_index(drop=True)
        row = rows.iloc[0]
        return row.rename(key)

    def _score(self, key: str) -> ProteinScore:
        from esmkit.score.running import windows_of

        dataset = self._handle[key]
        text = {name: str(dataset.attrs[name]) for name in ("id", "header", "sequence")}
        facts = self.provenance
        head = facts["lm_head"]
        options = ScoreOptions(per="residue", masked=facts["masked"], long=facts["long"])
        values = np.asarray(stored(dataset), np.float32)
        return ProteinScore(
            *(text["id"], text["header"], text["sequence"], values),
            masked=facts["masked"],
            windows=windows_of(len(values), options),
            checkpoint=facts["checkpoint"]["name"],
            head=str(head["name"]) if head["source"] == "fitted" else "",
        )

    def to_frame(self) -> "pandas.DataFrame":
        r"""Return one pandas table of all proteins.

        Returns
        -------
        pandas.DataFrame
            Of a table per protein its columns, with the index ``id``. Of residues a row for each,
            index (``id``, ``residue_number``); from HDF5 with the log-probabilities of all letters.

        Examples
        --------
        >>> rows = "id\tlength\tpseudo_perplexity\nP69905\t142\t12.5\nP68871\t147\t11.0\n"
        >>> path = Path("globins.score.tsv")
        >>> _ = path.write_text(rows)
        >>> ScoreFile(path).to_frame()["pseudo_perplexity"].to_dict()
        {'P69905': 12.5, 'P68871': 11.0}
        """
        import pandas

        self._ready()
        if self._table is not None:
            names = ["id", "residue_number"] if self.per == "residue" else ["id"]
            return self._table.set_index(names)
        tables = {name: score.to_frame(all_letters=True) for name, score in self.items()}
        together = pandas.concat(tables, names=["id"]).reset_index("id")
        return together.set_index(["id", "residue_number"])

    def _said(self) -> str:
        made_by = self.provenance.get("checkpoint", {}).get("name", "unknown checkpoint")
        return f"per {self.per}, {made_by}"


def _numbers_of(path: Path, separator: str) -> list[str]:
    """Return the columns of numbers of a table of text."""
    with path.open(encoding="utf-8") as stream:
        names = stream.readline().rstrip("\r\n").split(separator)
    return [name for name in names if name not in _TEXT]
