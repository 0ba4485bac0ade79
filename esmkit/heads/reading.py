"""A profile read back from the folder that ``esmkit heads`` wrote."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.arguments import checked
from esmkit.errors import InputError
from esmkit.files.tables import from_spreadsheet
from esmkit.heads.result import HeadProfile

if TYPE_CHECKING:
    import pandas

__all__ = ["OF_FOLDER", "read_profile", "read_table"]

TEXT = (
    *("name", "property", "kind", "family", "label", "evidence", "reason"),
    *("state", "holds", "other_label"),
)
"""Columns that are text, also where a cell is empty or looks like a number."""

OF_FOLDER = ("left_out", "ablation", "identity", "files")
"""Entries of ``provenance.json`` that are about the folder and not of the profile's provenance."""

_INTEGER = re.compile(r"-?\d+")


@checked
def read_profile(folder: str | Path) -> HeadProfile:
    """Read the profile in a folder that ``esmkit heads`` or ``HeadProfile.save`` wrote.

    Every number is what it was, to the last bit. A folder of an earlier version, which has the
    offsets in ``heads.csv``, is read as well.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    HeadProfile

    Raises
    ------
    InputError
        If there is no such folder, or it lacks a table or holds another.

    Examples
    --------
    >>> import json, tempfile
    >>> import pandas
    >>> effects = pandas.DataFrame(
    ...     {"name": ["L0H0"], "layer": 0, "head": 0, "property": "disulfide", "kind": "pair"}
    ...     | {"share": 0.02, "background": 0.001, "difference": 0.019, "low": 0.01}
    ...     | {"high": 0.03, "q": 1e-4, "proteins": 20, "labelled": 80}
    ... )
    >>> heads = effects[["name", "layer", "head"]].assign(label="disulfide", evidence="made up")
    >>> where_from = {"checkpoint": {"name": "made up"}, "chains": ["chain"] * 20}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     effects.to_csv(f"{folder}/effects.csv", index=False)
    ...     heads.to_csv(f"{folder}/heads.csv", index=False)
    ...     written = Path(folder, "provenance.json").write_text(json.dumps(where_from))
    ...     read_profile(folder)
    HeadProfile(made up: 1 heads, 1 properties, 20 chains)
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {str(folder)!r}; give the folder that `esmkit heads` wrote"
        )
    try:
        facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        effects, heads = read_table(folder / "effects.csv"), read_table(folder / "heads.csv")
        if (folder / "offsets.csv").exists():
            offsets = read_table(folder / "offsets.csv").drop(columns=["layer", "head"])
            heads = heads.merge(offsets, on="name", how="left", validate="one_to_one")
        effects[["name", "property", "kind", "difference", "q"]]
        heads[["name", "label", "evidence"]]
        others = {
            name: read_table(folder / f"{name}.csv") if (folder / f"{name}.csv").exists() else None
            for name in ("replication", "disulfides", "repeats")
        }
        left_out = [(str(name), str(why)) for name, why in facts.get("left_out", [])]
        provenance = {name: value for name, value in facts.items() if name not in OF_FOLDER}
        if not (
            isinstance(provenance["checkpoint"], dict) and isinstance(provenance["chains"], list)
        ):
            raise ValueError("provenance.json names no checkpoint and chains")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{str(folder)!r} is not a folder that `esmkit heads` wrote ({error}); give one with "
            "heads.csv, effects.csv and provenance.json"
        ) from None
    return HeadProfile(effects, heads, provenance, left_out, **others)


def read_table(path: Path) -> "pandas.DataFrame":
    """Read a table so that each cell is what was written: text is text, a float the same float."""
    import pandas

    table: Any = pandas.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    for name in table.columns:
        cells = table[name]
        table[name] = cells.map(from_spreadsheet) if name in TEXT else _values(cells)
    return table


def _values(cells: Any) -> Any:
    """Return the cells of a column as integers, bools or floats; as text if they are none of these."""
    if cells.map(lambda cell: bool(_INTEGER.fullmatch(cell))).all():
        return cells.astype("int64")
    if cells.isin(["True", "False"]).all():
        return cells == "True"
    try:
        return cells.map(lambda cell: float(cell) if cell else np.nan).astype("float64")
    except ValueError:
        return cells.map(from_spreadsheet)
