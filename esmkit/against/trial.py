"""A hypothesis held against every record that nothing explains yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.against.hypotheses import Hypothesis
from esmkit.against.padding import PADDED
from esmkit.against.pooling import OTHERS
from esmkit.against.records import MOST_MATCHED, Records
from esmkit.against.scoring import unit
from esmkit.against.sources import PLAIN, WINDOWS, Source, with_padding
from esmkit.against.states import MOST_PADDED, Request, Stats, padded, read
from esmkit.against.weighted import MOST_TOKENS, weights_of
from esmkit.encoder.encoder import Encoder

__all__ = ["Fit", "fits"]

AT_ONCE = 64
"""Records whose states are held at a time."""

DISTANCES = 4_000_000
"""Distances between vectors that are held at a time."""

MOST_TRIED = 8
"""Proteins of which a record under a wrong name may be, the nearest first."""

OF_FITTED = 0.02
"""Largest relative difference after columns were fitted: numbers fitted to a sample are not exact."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a hypothesis fits one record.

    Attributes
    ----------
    explained : bool
    relative, absolute : float
        Norm of the difference relative to the own vector's, and the largest difference of a number.
    belongs_to : int
        Number of the record whose protein it is of.
    pads : int
        Padding tokens that were fitted.
    weights : numpy.ndarray, shape (T,), optional
        Of the tokens, if they were fitted.
    factor : float
        Number that the vector was multiplied by, if one was fitted.
    source : Source, optional
        What was fed to the model, if several ways were tried.
    """

    explained: bool
    relative: float
    absolute: float
    belongs_to: int
    pads: int = 0
    weights: NDArray[np.float64] | None = None
    factor: float = 1.0
    source: Source | None = None


def fits(
    model: Encoder,
    records: Records,
    hypothesis: Hypothesis,
    numbers: Sequence[int],
    sources: Sequence[Source] = (),
) -> dict[int, Fit]:
    """Hold a hypothesis against records.

    Parameters
    ----------
    model : Encoder
    records : Records
    hypothesis : Hypothesis
    numbers : sequence of int
    sources : sequence of Source
        To be tried in turn in place of the hypothesis's own.

    Returns
    -------
    dict from int to Fit
        Of every record to which it applies.
    """
    if hypothesis.pooling in PADDED:
        short = [n for n in numbers if records.tokens[n] <= MOST_PADDED]
        return {n: _padded(model, records, hypothesis, n) for n in short}
    if hypothesis.pooling == "weighted":
        most = MOST_TOKENS * model.width
        few = [n for n in numbers if records.tokens[n] <= most]
        return {n: _weighted(model, records, hypothesis, n) for n in few}
    found: dict[int, Fit] = {}
    own: dict[int, list[NDArray[np.float64]]] = {}
    for source in sources or _sources(hypothesis):
        left = [n for n in numbers if n not in found or not found[n].explained]
        for chunk, stats in _read(model, records, hypothesis, source, left):
            for number, one in zip(chunk, stats, strict=True):
                fit = _fit(records, hypothesis, one, number)
                if fit is None:
                    continue
                if number not in found or fit.relative < found[number].relative:
                    found[number] = replace(fit, source=source)
                digest = records.digest(one, hypothesis.pooling)
                if hypothesis.reordered and digest is not None:
                    own.setdefault(number, []).append(digest.mean(axis=0))
    if hypothesis.reordered:
        _reorder(records, hypothesis, found, own)
    return found


def _sources(hypothesis: Hypothesis) -> list[Source]:
    if hypothesis.variants:
        return list(hypothesis.variants)
    return [PLAIN, WINDOWS] if hypothesis.source is PLAIN else [hypothesis.source]


def _read(
    model: Encoder,
    records: Records,
    hypothesis: Hypothesis,
    source: Source,
    numbers: Sequence[int],
) -> Iterator[tuple[list[int], list[Stats]]]:
    """Read records a few at a time; those to which the source does not apply are left out."""
    parts = source.change(model.parts()) if source.change else None
    how: Any = {"rows": bool(records.rows), "others": hypothesis.pooling in OTHERS, "parts": parts}
    layers = list(hypothesis.layers)
    waiting: list[tuple[int, Request]] = []
    for number in numbers:
        protein, text = records.proteins[number], records.texts[number]
        to = hypothesis.padded_to.get(records.names[number])
        request = source.request(protein, text) if to is None else None
        if to is not None and to <= MOST_PADDED:
            request = with_padding(protein, to)
        if request is not None:
            waiting.append((number, request))
        if len(waiting) == AT_ONCE:
            yield [n for n, _ in waiting], read(model, [r for _, r in waiting], layers, **how)
            waiting = []
    if waiting:
        yield [n for n, _ in waiting], read(model, [r for _, r in waiting], layers, **how)


def _fit(records: Records, hypothesis: Hypothesis, stats: Stats, number: int) -> Fit | None:
    pair = records.own(stats, hypothesis.pooling, number)
    if pair is None:
        return None
    own, given = pair
    made = hypothesis.post.apply(own, given)
    fit = _measured(records, hypothesis, made, given, number)
    if hypothesis.post.kind != "scale":
        return fit
    return replace(fit, factor=float((made * own).sum() / ((own * own).sum() or np.nan)))


def _measured(
    records: Records,
    hypothesis: Hypothesis,
    own: NDArray[np.float64],
    given: NDArray[np.float64],
    number: int,
) -> Fit:
    norm = float(np.linalg.norm(own)) or float("nan")
    relative = float(np.linalg.norm(given - own)) / norm
    allowed = records.storage.allowed + hypothesis.slack
    if hypothesis.post.kind in ("scale", "normed"):
        allowed *= 3
    if hypothesis.post.kind == "affine":
        allowed += OF_FITTED
    explained = records.storage.misfit(given, own) <= allowed
    return Fit(explained, relative, float(np.abs(given - own).max()), number)


def _padded(model: Encoder, records: Records, hypothesis: Hypothesis, number: int) -> Fit:
    """Fit the number of padding tokens that were pooled with one record."""
    request = PLAIN.request(records.proteins[number], records.texts[number])
    assert request is not None
    ids, given = request.pieces[0].ids, records.digests[number]
    most = min(max(*records.tokens, 1_024), MOST_PADDED) - len(ids)
    (states,) = padded(model, ids, max(1, most), hypothesis.layers)
    vectors = PADDED[hypothesis.pooling].make(states, len(ids))
    off = np.linalg.norm(vectors - given, axis=-1) / np.linalg.norm(vectors, axis=-1)
    pads = int(off.argmin())
    return replace(_measured(records, hypothesis, vectors[pads], given, number), pads=pads)


def _weighted(model: Encoder, records: Records, hypothesis: Hypothesis, number: int) -> Fit:
    """Fit the weights of the tokens of one record."""
    request = PLAIN.request(records.proteins[number], records.texts[number])
    assert request is not None
    (stats,) = read(model, [request], list(hypothesis.layers), rows=True)
    assert stats.rows is not None
    states, given = stats.rows.mean(axis=0, dtype=np.float64), records.digests[number]
    weights = weights_of(states, given)
    return replace(_measured(records, hypothesis, weights @ states, given, number), weights=weights)


def _reorder(
    records: Records,
    hypothesis: Hypothesis,
    found: dict[int, Fit],
    own: dict[int, list[NDArray[np.float64]]],
) -> None:
    """Find, for each record under a wrong name, the protein whose vector it is.

    Of a long protein there are two: read whole, and in windows.
    """
    free = {n for n, fit in found.items() if not fit.explained}
    waiting = sorted(free)
    pairs = [(n, vector) for n in sorted(own) if n in free for vector in own[n]][:MOST_MATCHED]
    if not pairs:
        return
    proteins = [n for n, _ in pairs]
    block = np.stack([vector for _, vector in pairs])
    given = records.digests[waiting]
    if hypothesis.post.kind in ("scale", "normed"):
        centred = hypothesis.post.kind == "normed"
        given, near = unit(given, centred=centred), unit(block, centred=centred)
    else:
        near = block
    for number, places in zip(waiting, _nearest(given, near), strict=True):
        for place in places:
            owner = proteins[place]
            if owner not in free:
                continue
            made = hypothesis.post.apply(block[place], records.digests[number])
            fit = _measured(records, hypothesis, made, records.digests[number], number)
            if fit.explained:
                free.discard(owner)
                found[number] = Fit(True, fit.relative, fit.absolute, owner)
                break


def _nearest(given: NDArray[np.float64], block: NDArray[np.float64]) -> Iterator[list[int]]:
    """Yield, for each given vector, the places of the nearest of a block, nearest first."""
    lengths = (block**2).sum(axis=-1)
    step = max(1, DISTANCES // len(block))
    for start in range(0, len(given), step):
        with np.errstate(invalid="ignore"):
            squares = lengths - 2 * given[start : start + step] @ block.T
        squares = np.where(np.isfinite(squares), squares, np.inf)
        some = np.arange(len(block))[None].repeat(len(squares), axis=0)
        if len(block) > MOST_TRIED:
            some = np.argpartition(squares, MOST_TRIED, axis=-1)[:, :MOST_TRIED]
        order = np.take_along_axis(squares, some, axis=-1).argsort(axis=-1, kind="stable")
        yield from np.take_along_axis(some, order, axis=-1).tolist()
