"""What changes without a head: measures of each chain become a row, with intervals and rates.

All changes are paired: a chain without the head less the same chain with it. An interval is a
bootstrap over chains of that difference. With 120 heads, three intervals would lie below 0 by
chance, so a change of precision also has a false discovery rate ``q``: the signs of the chains'
differences are flipped at random (if nothing changed, either sign is as likely), and Benjamini and
Hochberg's procedure (1995) is run over the heads of the table, for each mode and measure apart.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.contacts.scores import bootstrap
from esmkit.heads.statistics import benjamini_hochberg

if TYPE_CHECKING:
    import pandas

__all__ = ["INTERVALS", "MEASURES", "REMOVED", "flip_test", "summarize", "with_rates"]

REMOVED: Mapping[str, str] = {"precision_": "both", "output_": "output", "map_": "map"}
"""What of a head is taken away, by the prefix of the columns that say what changes."""

MEASURES = (
    *("precision", "precision_change", "precision_half", "precision_half_change"),
    *("drift_cosine", "drift_relative"),
    *("output_change", "output_half_change", "map_change", "map_half_change"),
)
"""Measures of each chain without a head, in the order of the columns."""

INTERVALS: Mapping[str, str] = {
    "precision_change": "",
    "precision_half_change": "precision_half_",
    "drift_cosine": "drift_cosine_",
    "drift_relative": "drift_relative_",
    "output_change": "output_",
    "output_half_change": "output_half_",
    "map_change": "map_",
    "map_half_change": "map_half_",
}
"""Measures with an interval, and the prefix of ``low`` and ``high`` in the names of its columns."""

TESTED: Mapping[str, str] = {
    "precision_change": "q",
    "output_change": "output_q",
    "map_change": "map_q",
}
"""Measures with a false discovery rate, and its column."""

FLIPS = 10_000
"""Random flips of signs behind a p value: enough for 1e-4, below the first threshold of Benjamini
and Hochberg for 120 heads, 4e-4."""


def flip_test(values: NDArray[np.floating[Any]], *, seed: int = 0) -> float:
    """Return the two-sided p value that a mean over chains is 0, by flipping signs of chains.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (chains,)
        Paired differences; NaN is left out.
    seed : int
        Of the flips; the same for all heads.

    Returns
    -------
    float
        From 1 / 10,001 to 1. NaN, which is no test, for fewer than two values, and where nothing
        changes in any chain: the output of a head of the last layer touches no map. Of n chains it
        is not below 2 / 2**n.

    Examples
    --------
    >>> differences = np.array([-0.03, -0.02, -0.05, -0.01, -0.02, -0.04, -0.03, -0.02])
    >>> flip_test(differences) < 0.02  # 2 of 256 ways to set eight signs
    True
    """
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    if len(kept) < 2 or not kept.any():
        return float("nan")
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, len(kept)))
    sums, seen = np.abs(signs @ kept), abs(kept.sum())
    # Sums of the same numbers in another order differ by rounding
    as_large = int((sums >= seen - 1e-9 * np.abs(kept).sum()).sum())
    return (1 + as_large) / (1 + FLIPS)


def summarize(changes: Mapping[str, NDArray[np.float64]], seed: int) -> dict[str, float]:
    """Return the row of one head: means over chains, intervals, and p values under ``q``'s names.

    Parameters
    ----------
    changes : mapping from measure to numpy.ndarray of float64, shape (chains,)
        As in ``MEASURES``; NaN where a chain has none.
    seed : int
        Seed of the bootstrap and of the flips.
    """
    row: dict[str, float] = {}
    for name, values in changes.items():
        kept = values[~np.isnan(values)]
        row[name] = float(kept.mean()) if len(kept) else float("nan")
        if name in INTERVALS:
            low, high = bootstrap(values, seed=seed)
            row |= {f"{INTERVALS[name]}low": low, f"{INTERVALS[name]}high": high}
        if name == "drift_relative":  # the last measure that there always was
            scored = ~np.isnan(changes["precision"])
            row |= {"chains": len(scored), "scored": int(scored.sum())}
    return row | {column: flip_test(changes[name], seed=seed) for name, column in TESTED.items()}


def with_rates(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Turn the p values of rows from :func:`summarize` into false discovery rates over heads."""
    for column in TESTED.values():
        of_mode: Any = table.groupby("mode", sort=False)[column]
        table[column] = of_mode.transform(lambda p: benjamini_hochberg(p.to_numpy()))
    return table
