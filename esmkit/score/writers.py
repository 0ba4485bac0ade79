"""Files of scores: tables of proteins or of residues, or the log-probabilities as arrays.

:mod:`esmkit.score.reader` reads them all.
"""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.files.arrays import H5Writer
from esmkit.files.tables import open_table
from esmkit.score.options import ScoreOptions
from esmkit.sequences.proteins import Protein

if TYPE_CHECKING:
    from esmkit.score.protein_score import ProteinScore

__all__ = ["PROTEIN_COLUMNS", "SCORE_FORMATS", "ProteinRows", "open_writer", "pack", "unpack"]

PROTEIN_COLUMNS = ("perplexity", "mean_surprise_bits", "mean_entropy_bits", "accuracy")
"""Numbers of a protein that are no counts; in the table the perplexity has its whole name."""

ROWS = 1_000
"""Rows of proteins that are written at once."""


def pack(score: "ProteinScore") -> NDArray[np.float64]:
    """Return the numbers of a protein as one array, which :func:`unpack` undoes."""
    return np.array(list(score.summary().values()), np.float64)


def unpack(packed: NDArray[np.float64]) -> dict[str, Any]:
    """Return the numbers of a protein that was read once, with nothing hidden."""
    from esmkit.score.protein_score import PERPLEXITY

    length, *numbers, counted, left_out = packed.tolist()
    named = zip((PERPLEXITY[False], *PROTEIN_COLUMNS[1:]), numbers, strict=True)
    return {
        "length": int(length),
        **dict(named),
        "counted": int(counted),
        "left_out": int(left_out),
    }


class ProteinRows:
    """A row of a table for each protein."""

    def __init__(self, kind: str, target: Any, provenance: dict[str, Any], _: Any) -> None:
        self._table = open_table(kind, target, provenance)
        self._rows: list[dict[str, Any]] = []

    def add(self, protein: Protein, score: "ProteinScore") -> None:
        """Write the row of a score."""
        self.add_row(protein, score.summary())

    def add_row(self, protein: Protein, numbers: dict[str, Any]) -> None:
        """Write the row of numbers that :meth:`ProteinScore.summary` returned."""
        # What was cut off says the length that the protein has
        self._rows.append({"id": protein.id, **numbers, "length": len(protein)})
        if len(self._rows) >= ROWS:
            self._flush()

    def _flush(self) -> None:
        import pandas

        if self._rows:
            rows = pandas.DataFrame(self._rows)
            floats = rows.select_dtypes("float").columns
            self._table.add(rows.astype(dict.fromkeys(floats, np.float32)))
            self._rows = []

    def close(self) -> None:
        """Finish the table."""
        try:
            self._flush()
        finally:
            self._table.close()


class _Residues:
    """A row of a table for each residue."""

    def __init__(
        self, kind: str, target: Any, provenance: dict[str, Any], options: ScoreOptions
    ) -> None:
        self._table = open_table(kind, target, provenance)
        self._all_letters = options.all_letters

    def add(self, protein: Protein, score: "ProteinScore") -> None:
        rows = score.to_frame(all_letters=self._all_letters)
        rows.insert(0, "id", protein.id)
        self._table.add(rows)

    def close(self) -> None:
        self._table.close()


class _Arrays:
    """The log-probabilities, float32 (R, 20), and the sequence that was read, of each protein."""

    def __init__(self, kind: str, target: Path, provenance: dict[str, Any], _: Any) -> None:
        self._writer = H5Writer(target, provenance)

    def add(self, protein: Protein, score: "ProteinScore") -> None:
        self._writer.add(protein, score.log_probabilities, sequence=score.sequence)

    def close(self) -> None:
        self._writer.close()


SCORE_FORMATS = ("tsv", "csv", "parquet", "h5")
"""Formats, which are also the files' suffixes."""


def open_writer(
    kind: str, target: Path | IO[str], provenance: dict[str, Any], options: ScoreOptions
) -> "ProteinRows | _Residues | _Arrays":
    """Open a writer of the given format."""
    if kind == "h5":
        assert isinstance(target, Path)
        return _Arrays(kind, target, provenance, options)
    makers = {"protein": ProteinRows, "residue": _Residues}
    return makers[options.per](kind, target, provenance, options)
