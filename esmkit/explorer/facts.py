"""Maps, thumbnails and facts about heads, from packed queries and keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.attention.choosing import reach
from esmkit.attention.extract import Assembly
from esmkit.contacts.map import MIN_SEPARATION
from esmkit.contacts.scores import RANGES, ranked_pairs
from esmkit.explorer.structure import Truth
from esmkit.explorer.trace import HeadTrace
from esmkit.reference.encoder import softmax

__all__ = ["THUMBNAIL", "HeadMap", "corrected", "facts", "head_map", "rows_of", "thumbnail"]

THUMBNAIL = 64
"""Most pixels along the side of a thumbnail."""


@dataclass(frozen=True, eq=False)
class HeadMap:
    """The map of one head: float32 (R, R), ``[query, key]``, and mass on BOS and EOS, (R,)."""

    weights: NDArray[np.float32]
    bos: NDArray[np.float32]
    eos: NDArray[np.float32]


def rows_of(head: HeadTrace, first: int, tokens: int) -> NDArray[np.float64]:
    """Return the weights of one window, (T, T), from 16-bit queries and keys, as the page does."""
    which = slice(first, first + tokens)
    query = head.query[which].astype(np.float64) * head.scales[0]
    key = head.key[which].astype(np.float64) * head.scales[1]
    return softmax(query @ key.T)


def head_map(head: HeadTrace, pieces: Sequence[tuple[int, int]]) -> HeadMap:
    """Return the map of a head over all windows: means of overlaps, NaN where none saw a pair."""
    assembly = Assembly(1, pieces)
    first = 0
    for start, stop in pieces:
        tokens = stop - start + 2
        rows = rows_of(head, first, tokens).astype(np.float32)
        assembly.add([0], start, stop, rows[None])
        first += tokens
    assembly.finish()
    return HeadMap(assembly.maps[0], assembly.bos[0], assembly.eos[0])


def thumbnail(weights: NDArray[np.float32]) -> tuple[NDArray[np.uint8], float]:
    """Shrink a map by the maximum of each block, to 8 bits.

    Returns
    -------
    numpy.ndarray of uint8, shape (s, s)
        s at most 64; 255 is the cut or more.
    float
        The cut: the (R/2)-th largest weight, so that a head whose every row has one peak keeps
        them apart from the rest, and a few large weights do not hide what is between them.
    """
    size = len(weights)
    edges = np.unique(np.linspace(0, size, min(size, THUMBNAIL) + 1).astype(int))[:-1]
    pooled = np.fmax.reduceat(np.fmax.reduceat(weights, edges, axis=0), edges, axis=1)
    pooled = np.nan_to_num(pooled)
    seen = weights[~np.isnan(weights)]
    rank = min(len(seen), max(1, size // 2))
    cut = float(np.partition(seen, len(seen) - rank)[len(seen) - rank]) or 1.0
    return np.round(255 * np.minimum(1.0, pooled / cut)).astype(np.uint8), cut


def corrected(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Symmetrise a map and take off its average product; NaN counts as 0 in the sums."""
    both = weights.astype(np.float64) + weights.T
    sums = np.nansum(both, axis=1)
    total = sums.sum()
    return both - np.outer(sums, sums) / (total if total > 0 else 1.0)


def facts(found: HeadMap, truth: Truth | None) -> dict[str, Any]:
    """Return what the page says about a head on this protein.

    Returns
    -------
    dict
        ``bos``, ``eos``: mean weight; ``focus``: weight between residues times (1 - normalised
        entropy); ``distance``: weighted mean of |key - query|; ``reach``: how strongly residues
        far apart look at each other; ``largest`` weight; and with a
        structure ``on_contacts``, the share of the weight between residues six or more apart that
        is on contacts, ``background``, the share of such pairs that are contacts, ``precision``
        and ``precision_half``, long-range P@L and P@L/2 of the corrected map.
    """
    weights = np.nan_to_num(found.weights).astype(np.float64)
    size = len(weights)
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    mass = weights.sum(1)
    shares = weights / np.where(mass > 0, mass, 1)[:, None]
    logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
    entropy = -(shares * logs).sum(1).mean() / np.log(size) if size > 1 else 0.0
    known: dict[str, Any] = {
        "bos": float(found.bos.mean()),
        "eos": float(found.eos.mean()),
        "focus": float(mass.mean() * (1 - entropy)),
        "distance": float((weights * apart).sum() / mass.sum()) if mass.sum() > 0 else 0.0,
        "reach": reach(found.weights),
        "largest": float(weights.max(initial=0)),
    }
    if truth is not None:
        known |= _against(found.weights, weights, apart, truth)
    return known


def _against(
    raw: NDArray[np.float32], weights: NDArray[np.float64], apart: NDArray[np.int64], truth: Truth
) -> dict[str, float | None]:
    pairs = truth.resolved[:, None] & truth.resolved & (apart >= MIN_SEPARATION)
    total = weights[pairs].sum()
    values = np.where(truth.resolved[:, None] & truth.resolved, corrected(raw), np.nan)
    true = truth.contacts[ranked_pairs(values, least=RANGES["long"][0])]
    length = truth.length

    def precision(count: int) -> float | None:
        return float(true[:count].sum() / count) if count and len(true) else None

    return {
        "on_contacts": float(weights[pairs & truth.contacts].sum() / total) if total > 0 else None,
        "background": float(truth.contacts[pairs].mean()) if pairs.any() else None,
        "precision": precision(length),
        "precision_half": precision(length // 2),
    }
