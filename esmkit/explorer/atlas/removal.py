"""What taking a head away does, from whatever columns an ablation has."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from esmkit.explorer.atlas.numbers import HEADS_TESTED, Number
from esmkit.plots.ablation import lead_mode

__all__ = ["removal_numbers"]

TITLES = {
    "precision_change": ("long-range P@L, head gone", "points", 100.0),
    "output_change": ("long-range P@L, its output gone", "points", 100.0),
    "map_change": ("long-range P@L, its map gone", "points", 100.0),
    "precision_half_change": ("long-range P@L/2, head gone", "points", 100.0),
    "output_half_change": ("long-range P@L/2, its output gone", "points", 100.0),
    "map_half_change": ("long-range P@L/2, its map gone", "points", 100.0),
    "refit_change": ("long-range P@L, regression fitted anew", "points", 100.0),
    "drift_cosine": ("mean embedding, move", "1 - cosine, 0 to 2", 1.0),
    "drift_relative": ("vectors of residues, mean move", "% of their length", 100.0),
}
"""Title, unit and factor of measures that are known; others go by their column."""

SET_TO = {"mean": "set to its mean", "zero": "set to zero"}

KEYS = ("name", "layer", "head", "mode")


def removal_numbers(ablation: Any, names: list[str]) -> list[Number]:
    """Return the effects of taking each head away, the fairest mode first.

    A measure is each column with an interval beside it, also one that is not known here: a column
    ``X_change`` or ``X`` with ``X_low`` and ``X_high``. What is the same in every mode comes once.

    Parameters
    ----------
    ablation : pandas.DataFrame
        A row for each head and mode, as :func:`esmkit.heads.ablation.ablate` returns it.
    names : list of str
        All heads; those that the table lacks get NaN.
    """
    modes = list(dict.fromkeys(ablation["mode"])) if "mode" in ablation else [""]
    lead = lead_mode(ablation["mode"]) if "mode" in ablation else ""
    found: list[Number] = []
    for mode in sorted(modes, key=lambda mode: mode != lead):
        rows = ablation[ablation["mode"] == mode] if mode else ablation
        table = rows.drop_duplicates("name").set_index("name").reindex(names)
        for number in _numbers(table, str(mode)):
            same = [
                other
                for other in found
                if other.title == number.title
                and np.array_equal(other.values, number.values, equal_nan=True)
            ]
            if not same:
                found.append(number)
    return found


def _numbers(table: Any, mode: str) -> Iterator[Number]:
    set_to = SET_TO.get(mode, mode)
    group = f"Effects of removal, {set_to}" if set_to else "Effects of removal"
    for column, beside in _measures(list(table.columns)):
        if table[column].isna().all():
            continue
        words = column.removesuffix("_change").replace("_", " ")
        unknown = (words, "", 1.0)
        title, unit, factor = TITLES.get(column, unknown)
        values = np.full((4, len(table)), np.nan)
        values[0] = table[column].to_numpy(np.float64) * factor
        for place, name in enumerate(beside, 1):
            if name in table:
                values[place] = table[name].to_numpy(np.float64) * (factor if place < 3 else 1.0)
        counts = "refit_scored" if column.startswith("refit") else "chains"
        note = f"{int(table[counts].max()):,} chains" if counts in table else ""
        if tested := int(np.isfinite(values[3]).sum()):
            note = "; ".join([HEADS_TESTED.format(count=tested), *([note] if note else [])])
        yield Number(f"{mode}:{column}" if mode else column, title, unit, group, values, note)


def _measures(columns: list[str]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Yield each measure, those that are known first, and the columns beside it."""
    known = [column for column in TITLES if column in columns]
    for column in [*known, *(column for column in columns if column not in TITLES)]:
        if column in KEYS or column.endswith(("_low", "_high", "_q", "_p")):
            continue
        if f"{column}_change" in columns:  # the level, whose interval is that of its change
            continue
        stem = "" if column == "precision_change" else column.removesuffix("_change") + "_"
        beside = (f"{stem}low", f"{stem}high", f"{stem}q")
        if column in TITLES or beside[0] in columns:
            yield column, beside
