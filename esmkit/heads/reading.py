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

__all__ = ["OF_FOLDER", "read_profile"]

TEXT = ("name", "property", "kind", "family", "label", "evidence", "state", "holds")
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
    >>> profile = read_profile("heads")                                    # doctest: +SKIP
    >>> profile.best("long-range contact", 1)["name"].item()               # doctest: +SKIP
    'L5H4'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"there is no folder {str(folder)!r}; give the folder that `esmkit heads` wrote"
        )
    try:
        facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
        effects, heads = _read(folder / "effects.csv"), _read(folder / "heads.csv")
        if (folder / "offsets.csv").exists():
            offsets = _read(folder / "offsets.csv").drop(columns=["layer", "head"])
            heads = heads.merge(offsets, on="name", how="left", validate="one_to_one")
        effects[["name", "property", "kind", "difference", "q"]]
        heads[["name", "label", "evidence"]]
        more = {
            name: _read(folder / f"{name}.csv")
            for name in ("replication", "disulfides")
            if (folder / f"{name}.csv").exists()
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
    return HeadProfile(effects, heads, provenance, left_out, **more)


def _read(path: Path) -> "pandas.DataFrame":
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
