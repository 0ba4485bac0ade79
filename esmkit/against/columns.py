"""Vectors whose numbers stand in another order, or were changed one by one or column by column."""

import numpy as np
from numpy.typing import NDArray

from esmkit.against.hypotheses import Post
from esmkit.against.records import Records
from esmkit.against.scoring import NEARLY_RIGHT

__all__ = ["INCREASING", "LEAST_ORDERED", "fitted_columns", "keeps_order", "reordered_columns"]

Array = NDArray[np.float64]

LEAST_ORDERED = 16
"""Different numbers of a vector from which their order proves something."""

FAR_FROM_0 = 0.8
"""Mean of a column in its deviations from which it is not centred; of a few records it is not 0."""

INCREASING = Post(
    "increasing",
    "each number put through a function that keeps their order, such as log or tanh",
    5,
)


def keeps_order(records: Records, own: Array, given: Array) -> bool:
    """Tell whether the numbers of every record are in the order of its own, and are others."""
    made = INCREASING.apply(own, given)
    norms = np.linalg.norm(given, axis=-1)
    off = np.linalg.norm(made - given, axis=-1)
    far = np.linalg.norm(own - given, axis=-1) > NEARLY_RIGHT * norms
    tolerance = records.storage.tolerance(norms, own.shape[-1])
    return bool(far.all() and (off <= tolerance * norms).all())


def reordered_columns(records: Records, own: Array, given: Array) -> Post | None:
    """Return which order the columns have, if all records have the same values in it."""
    width = own.shape[-1]
    if width < 8:
        return None
    norms = np.linalg.norm(own, axis=-1)
    tolerance = records.storage.tolerance(norms, width)
    gaps = np.sort(own[0]) - np.sort(given[0])
    if np.linalg.norm(gaps) > tolerance[0] * norms[0]:
        return None
    order = np.empty(width, np.int64)
    order[np.argsort(given[0], kind="stable")] = np.argsort(own[0], kind="stable")
    off = np.linalg.norm(own[:, order] - given, axis=-1) / norms
    moved = int((order != np.arange(width)).sum())
    if moved < 2 or (len(own) > 1 and not (off[1:] <= 30 * tolerance[1:]).all()):
        return None
    text = np.array(sorted(range(width), key=str))
    words = f"the columns in another order ({moved} of {width} moved)"
    if np.mean(order == text) > 0.95:
        order, words = text, "the columns sorted as text: 0, 1, 10, 100, 101, ..."
    elif np.mean(order == np.arange(width)[::-1]) > 0.95:
        order, words = np.arange(width)[::-1], "the columns from last to first"
    return Post("columns", words, 1, order=order)


def fitted_columns(records: Records, own: Array, given: Array) -> Post | None:
    """Return a scale and a shift for each column that explain all records, if there are such."""
    means, of_given = own.mean(axis=0), given.mean(axis=0)
    spread, rest = own - means, given - of_given
    variance = (spread**2).sum(axis=0)
    if not (variance > 0).all():
        return None
    slope = (spread * rest).sum(axis=0) / variance
    left = rest - spread * slope
    whole = np.linalg.norm(rest)
    # rounding is that of the vectors, not of what is left of them without their mean
    larger = np.linalg.norm(own) / np.linalg.norm(spread)
    size = np.array([np.linalg.norm(rest)], np.float64)
    tolerance = records.storage.tolerance(size, rest.size)[0]
    if not whole or np.linalg.norm(left) / whole > min(tolerance * max(larger, 1.0), 0.02):
        return None
    words = _column_words(slope, given)
    return Post("affine", words, 2, slope=slope, shift=of_given - means * slope)


def _column_words(slope: Array, given: Array) -> str:
    """Say how columns were scaled and shifted, by what they are now."""
    deviations, means = given.std(axis=0), given.mean(axis=0)
    if np.allclose(slope, 1, atol=0.01):
        return "one vector taken from all records (centred: the mean over records, perhaps)"
    alike = np.allclose(deviations, deviations.mean(), rtol=0.35) and (slope > 0).all()
    if alike and np.median(np.abs(means) / deviations) < FAR_FROM_0:
        return "standardised: each column centred and divided by its deviation over records"
    ends = float(given.min()), float(given.max())
    if (slope > 0).all() and np.allclose(ends, (0, 1), atol=1e-3):
        return "each column brought to 0 to 1 (min-max scaling)"
    if (slope > 0).all() and np.allclose(ends, (-1, 1), atol=1e-3):
        return "each column brought to -1 to 1 (scaled by its extremes)"
    return "each column scaled and shifted by numbers of its own"
