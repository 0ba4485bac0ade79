"""Poolings: how the states of a protein's tokens may have become one vector, or one per residue."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esmkit.against.states import Stats

__all__ = ["OTHERS", "POOLINGS", "ROWS", "Pooling", "RowChoice"]

Array = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Pooling:
    """One way to make a vector of a protein.

    Attributes
    ----------
    words : str
        What the vector is, such as "the mean over residues".
    make : callable
        From :class:`Stats` to (L, D), or None where it cannot be.
    cost : int
        How odd it is; of two that explain the same, the lower is believed.
    """

    words: str
    make: Callable[[Stats], Array | None]
    cost: int = 1


def _with(
    stats: Stats, *, bos: bool = False, eos: bool = False
) -> tuple[Array, int] | tuple[None, int]:
    """Return the sum of residues and specials, and how many tokens it is of."""
    total, count = stats.total, stats.residues
    for wanted, state in ((bos, stats.bos), (eos, stats.eos)):
        if wanted:
            if state is None:
                return None, 0
            total, count = total + state, count + 1
    return total, count


def _mean(*, bos: bool = False, eos: bool = False) -> Callable[[Stats], Array | None]:
    def make(stats: Stats) -> Array | None:
        total, count = _with(stats, bos=bos, eos=eos)
        return None if total is None else total / count

    return make


def _sum(*, bos: bool = False, eos: bool = False) -> Callable[[Stats], Array | None]:
    return lambda stats: _with(stats, bos=bos, eos=eos)[0]


def _specials_by_residues(stats: Stats) -> Array | None:
    total = _with(stats, bos=True, eos=True)[0]
    return None if total is None else total / stats.residues


def _most_of_all(stats: Stats) -> Array | None:
    if stats.bos is None or stats.eos is None:
        return None
    return np.maximum(np.maximum(stats.most, stats.bos), stats.eos)


def _shifted_left(stats: Stats) -> Array | None:
    return None if stats.bos is None else (stats.total + stats.bos - stats.last) / stats.residues


def _shifted_right(stats: Stats) -> Array | None:
    return None if stats.eos is None else (stats.total + stats.eos - stats.first) / stats.residues


def _without_ends(stats: Stats, *, first: bool, last: bool) -> Array | None:
    left = stats.residues - first - last
    if left < 1:
        return None
    return (stats.total - first * stats.first - last * stats.last) / left


def _other(name: str) -> Callable[[Stats], Array | None]:
    return lambda stats: stats.others.get(name)


def _with_padding(stats: Stats) -> Array | None:
    total, count = _with(stats, bos=True, eos=True)
    if total is None or not stats.pads:
        return None
    return (total + stats.padding) / (count + stats.pads)


POOLINGS: dict[str, Pooling] = {
    "mean": Pooling("the mean over residues", _mean(), 0),
    "bos": Pooling("the BOS token (<cls>)", lambda s: s.bos),
    "mean_all": Pooling("the mean over residues, BOS and EOS", _mean(bos=True, eos=True)),
    "mean_bos": Pooling("the mean over residues and BOS", _mean(bos=True)),
    "mean_eos": Pooling("the mean over residues and EOS", _mean(eos=True)),
    "sum": Pooling("the sum over residues, not the mean", _sum()),
    "mean_counted": Pooling(
        "the sum over residues divided by R + 2, as if BOS and EOS were residues",
        lambda s: s.total / (s.residues + 2),
        2,
    ),
    "sum_all_by_residues": Pooling(
        "the sum over residues, BOS and EOS, divided by R alone", _specials_by_residues, 2
    ),
    "sum_all": Pooling("the sum over residues, BOS and EOS", _sum(bos=True, eos=True), 2),
    "max": Pooling("the maximum over residues", lambda s: s.most),
    "max_all": Pooling("the maximum over residues, BOS and EOS", _most_of_all),
    "eos": Pooling("the EOS token", lambda s: s.eos),
    "first": Pooling("the vector of the first residue", lambda s: s.first, 2),
    "last": Pooling("the vector of the last residue", lambda s: s.last, 2),
    "mean_left": Pooling(
        "the mean over BOS and all residues but the last (tokens counted from 0)", _shifted_left, 2
    ),
    "mean_right": Pooling(
        "the mean over EOS and all residues but the first (tokens counted from 2)",
        _shifted_right,
        2,
    ),
    "mean_no_last": Pooling(
        "the mean over all residues but the last",
        lambda s: _without_ends(s, first=False, last=True),
        2,
    ),
    "mean_no_first": Pooling(
        "the mean over all residues but the first",
        lambda s: _without_ends(s, first=True, last=False),
        2,
    ),
    "mean_no_ends": Pooling(
        "the mean over all residues but the first and the last",
        lambda s: _without_ends(s, first=True, last=True),
        2,
    ),
    "mean_padding": Pooling("the mean over all tokens, padding too", _with_padding, 2),
    "min": Pooling("the minimum over residues", _other("min"), 2),
    "median": Pooling("the median over residues", _other("median"), 2),
    "median_lower": Pooling(
        "the median over residues (of an even number the lower one, as PyTorch takes it)",
        _other("median_lower"),
        2,
    ),
    "deviation": Pooling("the standard deviation over residues", _other("deviation"), 2),
    "deviation_sample": Pooling(
        "the standard deviation over residues (divided by R - 1)", _other("deviation_sample"), 2
    ),
    "mean_of_units": Pooling(
        "the mean over residues, each scaled to length 1 before", _other("mean_of_units"), 2
    ),
}
"""By name; ``mean`` and ``bos`` are what ``esmkit embed`` makes."""

OTHERS = ("min", "median", "median_lower", "deviation", "deviation_sample", "mean_of_units")
"""Those that take longer than sums, and are made where they are looked for."""


@dataclass(frozen=True, slots=True)
class RowChoice:
    """Which tokens the rows of an array of residues are.

    Attributes
    ----------
    words : str
    start : int
        Token of the first row: 0 is BOS, 1 the first residue.
    cost : int
    """

    words: str
    start: int
    cost: int = 1

    def rows(self, stats: Stats, given: int) -> tuple[Array | None, int]:
        """Return own states of the first ``n`` of ``given`` rows, (L, n, D), and n."""
        if stats.rows is None:
            return None, 0
        first = self.start - (1 - stats.front)
        if first < 0:
            return None, 0
        tokens = stats.front + stats.residues + (stats.eos is not None)
        if self.start:  # EOS is no residue, and zeros may stand in its place
            tokens = stats.front + stats.residues
        count = min(given, tokens - first)
        if count < 1:
            return None, 0
        return stats.rows[:, first : first + count], count


ROWS: dict[str, RowChoice] = {
    "residues": RowChoice("one vector per residue", 1, 0),
    "tokens": RowChoice("one vector per token, BOS first", 0),
    "late": RowChoice("one vector per token from the second residue on", 2),
}
