"""How well candidates explain records: under their own names, or under any."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esmkit.against.hypotheses import NONE, Post
from esmkit.against.pooling import POOLINGS, ROWS
from esmkit.against.precision import EXACT
from esmkit.against.records import MOST_MATCHED, Records
from esmkit.against.sources import Source
from esmkit.against.states import Stats

__all__ = ["Candidate", "Score", "best", "candidates", "scores"]

Array = NDArray[np.float64]

SCALE = Post("scale", "each vector multiplied by a number", 3)
NORMED = Post("normed", "each vector centred and scaled by itself (as layer norm does)", 4)

NEARLY_RIGHT = 0.02
"""Relative difference below which a factor for each vector is not looked for: rounding has them too."""

MARGIN = 1.1
"""Of candidates whose squares are alike but for this factor the plainer one is believed."""


@dataclass(frozen=True)
class Candidate:
    """Own digests under one source, layer and pooling, (K, C); NaN where there are none."""

    source: Source
    layers: tuple[int, ...]
    pooling: str
    own: Array
    cost: int


@dataclass(frozen=True)
class Score:
    """How well a candidate explains K records.

    Attributes
    ----------
    candidate : Candidate
    post : Post
    reordered : bool
        Whether records may stand under any name.
    residuals : numpy.ndarray, shape (K,)
        Relative differences; NaN where there is no own vector.
    explained : numpy.ndarray of bool, shape (K,)
    """

    candidate: Candidate
    post: Post
    reordered: bool
    residuals: Array
    explained: NDArray[np.bool_]

    @property
    def cost(self) -> int:
        """How odd it is."""
        return self.candidate.cost + self.post.cost + 2 * self.reordered

    @property
    def mean_square(self) -> float:
        """Mean square of the relative differences of all K records."""
        known = self.residuals[np.isfinite(self.residuals)]
        return float((known**2).mean()) if len(known) else float("inf")


def candidates(
    records: Records,
    source: Source,
    stats: Sequence[Stats],
    choices: Sequence[tuple[tuple[int, ...], int]],
    expected: tuple[int, str],
) -> Iterator[Candidate]:
    """Yield own digests for every layer and pooling.

    Parameters
    ----------
    records : Records
    source : Source
    stats : sequence of K Stats
        With hidden states 0..N + 1.
    choices : sequence of (layers, cost)
    expected : (int, str)
        Layer and pooling that cost nothing.
    """
    for pooling in records.poolings:
        each = [records.digest(one, pooling) for one in stats]
        known = next((one for one in each if one is not None), None)
        if known is None:
            continue
        blank = np.full(known.shape, np.nan)
        stacked = np.stack([blank if one is None else one for one in each])  # (K, L, C)
        oddness = (POOLINGS.get(pooling) or ROWS[pooling]).cost
        if expected[1] == "bos":
            oddness = {"bos": 0, "mean": 1}.get(pooling, oddness)
        for layers, cost in choices:
            own = stacked[:, list(layers)].mean(axis=1)
            away = 0 if layers == (expected[0],) else 1
            yield Candidate(source, layers, pooling, own, source.cost + oddness + cost + away)


def _unit(values: Array, *, centred: bool) -> Array:
    if centred:
        values = values - values.mean(axis=-1, keepdims=True)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norms > 0, values / norms, np.nan)


def scores(records: Records, numbers: Sequence[int], candidate: Candidate) -> Iterator[Score]:
    """Yield how well a candidate explains some records, in each way.

    Parameters
    ----------
    records : Records
    numbers : sequence of K int
        The records that the candidate's rows are of.
    candidate : Candidate
    """
    own, given = candidate.own, records.digests
    norms = np.linalg.norm(own, axis=-1)
    tolerance = records.storage.tolerance(norms, own.shape[-1])
    yield from _in_one_way(candidate, NONE, own, given, numbers, norms, tolerance)
    if own.shape[-1] < 3:
        return
    of_given = np.linalg.norm(given[list(numbers)], axis=-1)
    tolerance = records.storage.tolerance(of_given, own.shape[-1])
    ones = np.ones_like(norms)
    # what is nearly right without it is not explained by a number of its own
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.linalg.norm(given[list(numbers)] - own, axis=-1) / norms
    besides = ~(off < NEARLY_RIGHT)
    unit = _unit(own, centred=False)
    unit_given = _unit(given, centred=False)
    yield from _in_one_way(candidate, SCALE, unit, unit_given, numbers, ones, tolerance, besides)
    centred = np.linalg.norm(own - own.mean(axis=-1, keepdims=True), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        tolerance = tolerance * norms / centred
    unit = _unit(own, centred=True)
    unit_given = _unit(given, centred=True)
    yield from _in_one_way(candidate, NORMED, unit, unit_given, numbers, ones, tolerance, besides)


def _in_one_way(
    candidate: Candidate,
    post: Post,
    own: Array,
    given: Array,
    numbers: Sequence[int],
    norms: Array,
    tolerance: Array,
    besides: NDArray[np.bool_] | bool = True,
) -> Iterator[Score]:
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.linalg.norm(given[list(numbers)] - own, axis=-1) / norms
    fitting = (alone <= tolerance) & besides
    yield Score(candidate, post, False, alone, fitting)
    if len(given) < 2 or (alone <= tolerance).all():
        return
    others = given[:MOST_MATCHED]
    squares = (others**2).sum(axis=-1) + norms[:, None] ** 2 - 2 * own @ others.T  # (K, n)
    squares = np.where(np.isfinite(squares), squares, np.inf)
    nearest = squares.argmin(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # once more, without the cancellation
        found = np.linalg.norm(others[nearest] - own, axis=-1) / norms
    found = np.where(alone <= tolerance, alone, found)
    yield Score(candidate, post, True, found, (found <= tolerance) & besides)


def best(found: Sequence[Score]) -> Score | None:
    """Return the score to believe: most records explained, then nearest, then plainest."""
    found = [score for score in found if score.explained.any()]
    if not found:
        return None
    most = max(int(score.explained.sum()) for score in found)
    found = [score for score in found if int(score.explained.sum()) == most]
    floor = most * EXACT**2

    def squares(score: Score) -> float:
        return float((score.residuals[score.explained] ** 2).sum())

    least = min(map(squares, found))
    found = [score for score in found if squares(score) <= MARGIN * least + floor]
    return min(found, key=lambda score: (score.cost, squares(score)))
