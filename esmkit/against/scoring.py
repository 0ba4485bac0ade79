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

__all__ = ["NEARLY_RIGHT", "Candidate", "Score", "best", "candidates", "scores", "unit"]

Array = NDArray[np.float64]

SCALE = Post("scale", "each vector multiplied by a number", 3)
NORMED = Post("normed", "each vector centred and scaled by itself (as layer norm does)", 4)

NEARLY_RIGHT = 0.02
"""Relative difference below which a factor for each vector is not looked for: rounding has them too."""

MARGIN = 1.1
"""Of candidates whose squares are alike but for this factor the plainer one is believed."""


AT_ONCE = 4_000_000
"""Distances between own and given vectors that are held at a time."""


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
) -> Iterator[list[Candidate]]:
    """Yield own digests for every layer, of one pooling after the other.

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
        made = []
        for layers, cost in choices:
            own = stacked[:, list(layers)].mean(axis=1)
            away = 0 if layers == (expected[0],) else 1
            made.append(
                Candidate(source, layers, pooling, own, source.cost + oddness + cost + away)
            )
        yield made


def unit(values: Array, *, centred: bool) -> Array:
    """Return vectors, less their means if so wished, of length 1; NaN where there is no length."""
    if centred:
        values = values - values.mean(axis=-1, keepdims=True)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norms > 0, values / norms, np.nan)


def scores(records: Records, numbers: Sequence[int], block: Sequence[Candidate]) -> list[Score]:
    """Return how well candidates explain some records, in each way.

    Parameters
    ----------
    records : Records
    numbers : sequence of K int
        The records that the rows of each candidate are of.
    block : sequence of H Candidate
    """
    own, given = np.stack([one.own for one in block]), records.digests  # (H, K, C), (n, C)
    of_own = given[list(numbers)]
    norms = np.linalg.norm(own, axis=-1)
    tolerance = records.storage.tolerance(norms, own.shape[-1])
    found = _in_one_way(block, NONE, own, given, numbers, norms, tolerance)
    if own.shape[-1] < 3:
        return found
    tolerance = records.storage.tolerance(np.linalg.norm(of_own, axis=-1), own.shape[-1])
    tolerance = np.broadcast_to(tolerance, norms.shape)
    ones = np.ones_like(norms)
    # what is nearly right without it is not explained by a number of its own
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.linalg.norm(of_own - own, axis=-1) / norms
        centred = np.linalg.norm(own - own.mean(axis=-1, keepdims=True), axis=-1)
        of_rest = tolerance * norms / centred
    besides = ~(off < NEARLY_RIGHT)
    for post, allowed in ((SCALE, tolerance), (NORMED, of_rest)):
        of_one, given_one = (unit(values, centred=post is NORMED) for values in (own, given))
        found += _in_one_way(block, post, of_one, given_one, numbers, ones, allowed, besides)
    return found


def _in_one_way(
    block: Sequence[Candidate],
    post: Post,
    own: Array,
    given: Array,
    numbers: Sequence[int],
    norms: Array,
    tolerance: Array,
    besides: NDArray[np.bool_] | None = None,
) -> list[Score]:
    """Return the scores under the records' own names, and under any where these do not fit."""
    besides = np.ones(norms.shape, bool) if besides is None else besides
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.linalg.norm(given[list(numbers)] - own, axis=-1) / norms
    right = alone <= tolerance
    fitting = right & besides
    found = [Score(c, post, False, alone[h], fitting[h]) for h, c in enumerate(block)]
    if len(given) < 2:
        return found
    others = given[:MOST_MATCHED]
    lengths = (others**2).sum(axis=-1)
    left = np.flatnonzero(~right.all(axis=-1))
    step = max(1, AT_ONCE // (len(others) * own.shape[1]))
    for start in range(0, len(left), step):
        some = left[start : start + step]
        squares = lengths + norms[some, :, None] ** 2 - 2 * own[some] @ others.T  # (h, K, n)
        nearest = np.where(np.isfinite(squares), squares, np.inf).argmin(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            # once more, without the cancellation
            off = np.linalg.norm(others[nearest] - own[some], axis=-1) / norms[some]
        off = np.where(right[some], alone[some], off)
        fitting = (off <= tolerance[some]) & besides[some]
        found += [Score(block[h], post, True, off[i], fitting[i]) for i, h in enumerate(some)]
    return found


def best(found: Sequence[Score]) -> Score | None:
    """Return the score to believe: most records explained, then nearest, then plainest."""
    found = [score for score in found if score.explained.any()]
    if not found:
        return None
    most = max(int(score.explained.sum()) for score in found)
    found = [score for score in found if int(score.explained.sum()) == most]
    # what needs no number fitted to each vector is believed before what does
    for reordered in (False, True):
        if any(score.post is NONE and score.reordered == reordered for score in found):
            found = [s for s in found if s.post is NONE or s.reordered < reordered]
    floor = most * EXACT**2

    def squares(score: Score) -> float:
        return float((score.residuals[score.explained] ** 2).sum())

    least = min(map(squares, found))
    found = [score for score in found if squares(score) <= MARGIN * least + floor]
    return min(found, key=lambda score: (score.cost, squares(score)))
