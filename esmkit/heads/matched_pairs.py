"""Bonded cysteines against others of the same chain: the AUC of each head, from its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import InputError, OptionError
from esmkit.heads.statistics import MIN_PROTEINS, benjamini_hochberg

if TYPE_CHECKING:
    import pandas

__all__ = [
    "APART",
    "BONDED",
    "MIN_RESAMPLES",
    "TOUCHING",
    "CysteinePairs",
    "check_resamples",
    "compare",
    "score",
    "sums",
]

Array = NDArray[np.float64]

APART, TOUCHING, BONDED = 0, 1, 2
"""Kinds of pairs: Cβ 8 Å apart or more; closer, but not bonded; bonded."""

MIN_RESAMPLES = 2_000
"""Bootstrap samples of chains, at least."""

SAME_SEPARATION = 2
"""Residues by which separations may always differ."""

LIKE_SEPARATION = 0.2
"""Part of the separation of a bonded pair by which that of another may differ."""


@dataclass(frozen=True)
class CysteinePairs:
    """Ordered pairs of the cysteines of one chain, and what h heads give them.

    Attributes
    ----------
    query, key : numpy.ndarray of int64, shape (n,)
        Residues, 0-based; each pair comes in both directions.
    kind : numpy.ndarray of int64, shape (n,)
        ``APART``, ``TOUCHING`` or ``BONDED``.
    weights : numpy.ndarray of float64, shape (h, n)
        Attention from query to key.
    expected : numpy.ndarray of float64, shape (h, n)
        Mean attention of the chain at the same offset: what the distance alone gives.
    """

    query: NDArray[np.int64]
    key: NDArray[np.int64]
    kind: NDArray[np.int64]
    weights: Array
    expected: Array


def check_resamples(resamples: int) -> None:
    """Refuse fewer resamples than an interval needs.

    Raises
    ------
    OptionError
        If there are fewer than 2,000.
    """
    if resamples < MIN_RESAMPLES:
        raise OptionError(f"resamples is at least {MIN_RESAMPLES:,}, not {resamples:,}")


@checked
def compare(
    chains: Sequence[CysteinePairs],
    names: Sequence[str],
    *,
    inflation: float = 1.0,
    resamples: int = 2_000,
    seed: int = 0,
    matched: bool = True,
) -> "pandas.DataFrame":
    """Compare bonded pairs with others of the same chain, for each head.

    Every bonded pair counts once in each direction, whatever the number of pairs that it is held
    against: its part of them with less weight (half of those with the same). The AUC is the mean.

    Parameters
    ----------
    chains : sequence of CysteinePairs
        Of h heads each.
    names : sequence of str
        Names of the heads.
    inflation : float
        By how much more the AUCs of untrained heads vary than chains alone explain.
    resamples, seed : int
        Bootstrap samples of chains, at least 2,000, and their seed.
    matched : bool
        Hold bonded pairs against those of the same direction and a separation that differs by at
        most 2 residues or a fifth; else against all.

    Returns
    -------
    pandas.DataFrame
        ``name``; ``auc`` and its 95 % interval ``low``, ``high`` over chains; ``p`` of 0.5 (two
        sides, from the spread over chains) and ``q`` (Benjamini-Hochberg over the heads); ``half_a``,
        ``half_b``, ``half_b_low``, ``half_b_high``, the AUC in every second chain and in the others;
        ``position``, the AUC of a head that gives each pair the mean weight at its offset;
        ``touching``, of pairs that touch without a bond over pairs apart, and ``over_touching``, of
        bonded pairs over those that touch, both with ``_low`` and ``_high``; ``chains``, ``bonds``
        and ``pairs``, the bonds that have a like pair and those pairs; ``touching_pairs``, those
        of them that touch. NaN where fewer than 10 chains have something to compare.

    Raises
    ------
    InputError
        If there is no chain.
    OptionError
        If there are fewer than 2,000 resamples.
    """
    import pandas

    check_resamples(resamples)
    if not chains:
        raise InputError("there are no chains to compare; give at least one")
    wins, counts = sums(chains, BONDED, None, matched=matched)
    used = counts > 0
    order = np.flatnonzero(used)
    auc, low, high = _interval(wins, counts, resamples, seed)
    half_a = _interval(wins[order[::2]], counts[order[::2]], resamples, seed, least=1)[0]
    half_b = _interval(wins[order[1::2]], counts[order[1::2]], resamples, seed, least=1)
    known = len(order) >= MIN_PROTEINS
    # Of a chain or two the spread is nothing, and so is a p value
    unknown = np.full(len(names), np.nan)
    p = _p_value(score(wins, counts), len(order), inflation) if known else unknown
    by_offset = _interval(*sums(chains, BONDED, None, expected=True, matched=matched), 1, seed)[0]
    touching = _interval(*sums(chains, TOUCHING, APART, matched=matched), resamples, seed)
    over = _interval(*sums(chains, BONDED, TOUCHING, matched=matched), resamples, seed)
    bonds, pairs, close = _support(chains, matched)
    columns: dict[str, Any] = {"auc": auc, "low": low, "high": high}
    columns |= {"p": p, "q": benjamini_hochberg(p), "half_a": half_a}
    columns |= dict(zip(("half_b", "half_b_low", "half_b_high"), half_b, strict=True))
    columns["position"] = by_offset
    for name, values in (("touching", touching), ("over_touching", over)):
        columns |= {f"{name}{end}": v for end, v in zip(("", "_low", "_high"), values, strict=True)}
    if not known:
        columns = {name: np.full(len(names), np.nan) for name in columns}
    columns |= {"chains": len(order), "bonds": bonds, "pairs": pairs, "touching_pairs": close}
    return pandas.DataFrame({"name": list(names), **columns})


def _like(one: NDArray[np.int64], other: NDArray[np.int64], matched: bool) -> NDArray[np.bool_]:
    """Return which offsets (w,) and (l,) are in one direction and of like size: (w, l)."""
    if not matched:
        return np.ones((len(one), len(other)), bool)
    room = np.maximum(SAME_SEPARATION, LIKE_SEPARATION * np.abs(one))[:, None]
    return (one[:, None] * other > 0) & (np.abs(one[:, None] - other) <= room)


def sums(
    chains: Sequence[CysteinePairs],
    upper: int,
    lower: int | None,
    *,
    expected: bool = False,
    matched: bool = True,
) -> tuple[Array, Array]:
    """Return for each chain the sum of the win rates of pairs of a kind, (C, h), and how many: (C,).

    Parameters
    ----------
    chains : sequence of CysteinePairs
    upper, lower : int
        Kinds: the pairs of ``upper`` are held against those of ``lower``, or if that is None
        against all others.
    expected : bool
        Compare the means at the offsets in place of the weights.
    matched : bool
        Hold pairs against those in one direction with a like separation, else against all.
    """
    wins, counts = [], []
    for chain in chains:
        values = chain.expected if expected else chain.weights
        ones = np.flatnonzero(chain.kind == upper)
        others = np.flatnonzero(chain.kind != upper if lower is None else chain.kind == lower)
        offsets = chain.key - chain.query
        like = _like(offsets[ones], offsets[others], matched)
        rates = np.zeros(len(values))
        for place, row in zip(ones, like, strict=True):
            if row.any():
                given, held = values[:, place, None], values[:, others[row]]
                rates += ((given > held) + 0.5 * (given == held)).mean(1)
        wins.append(rates)
        counts.append(like.any(1).sum())
    return np.stack(wins), np.array(counts, float)


def _interval(
    wins: Array, counts: Array, resamples: int, seed: int, least: int = MIN_PROTEINS
) -> tuple[Array, Array, Array]:
    """Return AUC and the 95 % interval of a bootstrap over the chains that count: each (h,)."""
    used = counts > 0
    wins, counts = wins[used], counts[used]
    if len(counts) < least:
        unknown = np.full(wins.shape[1], np.nan)
        return unknown, unknown, unknown
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=resamples)
    samples = (drawn @ wins) / (drawn @ counts)[:, None]
    low, high = np.quantile(samples, (0.025, 0.975), axis=0)
    return wins.sum(0) / counts.sum(), low, high


def score(wins: Array, counts: Array) -> Array:
    """Return by how many standard errors AUCs differ from 0.5, from the spread over chains: (h,).

    Parameters
    ----------
    wins : numpy.ndarray, shape (C, h)
    counts : numpy.ndarray, shape (C,)
        Those of :func:`sums`; not all of them 0.
    """
    used = counts > 0
    wins, counts = wins[used], counts[used]
    auc = wins.sum(0) / counts.sum()
    spread = ((wins - auc * counts[:, None]) ** 2).sum(0) * len(counts) / max(len(counts) - 1, 1)
    apart, error = auc - 0.5, np.sqrt(spread) / counts.sum()
    infinite = np.where(apart == 0, 0.0, np.copysign(np.inf, apart))  # all chains agree
    return np.divide(apart, error, out=infinite, where=error > 0)


def _p_value(size: Array, chains: int, inflation: float) -> Array:
    """Return two-sided p values (Student, one degree of freedom less than chains)."""
    from scipy.stats import t

    return 2 * t.sf(np.abs(size) / np.sqrt(inflation), max(chains - 1, 1))


def _support(chains: Sequence[CysteinePairs], matched: bool) -> tuple[int, int, int]:
    """Count, without directions, the bonds with a like pair, those pairs, and those that touch."""
    bonds = pairs = close = 0
    for chain in chains:
        ahead = chain.key > chain.query
        ones = np.flatnonzero((chain.kind == BONDED) & ahead)
        others = np.flatnonzero((chain.kind != BONDED) & ahead)
        offsets = chain.key - chain.query
        like = _like(offsets[ones], offsets[others], matched)
        held = others[like.any(0)]
        bonds += int(like.any(1).sum())
        pairs += len(held)
        close += int((chain.kind[held] == TOUCHING).sum())
    return bonds, pairs, close
