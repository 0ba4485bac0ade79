"""Vectors in which padding has a part, though nothing attended to it: its number is fitted."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PADDED", "Padded"]

Array = NDArray[np.floating]


class Padded(NamedTuple):
    """One way to pool tokens and padding.

    Attributes
    ----------
    words : str
        What the vector is.
    make : callable
        From states of T tokens and M of padding, (T + M, D), and T to the vectors with the first 0
        to M of padding, (M + 1, D).
    alone : str
        The pooling that it is without padding.
    """

    words: str
    make: Callable[[Array, int], NDArray[np.float64]]
    alone: str


def _means(start: int) -> Callable[[Array, int], NDArray[np.float64]]:
    def make(states: Array, tokens: int) -> NDArray[np.float64]:
        sums = states[start:].cumsum(axis=0, dtype=np.float64)[tokens - start - 1 :]
        return sums / np.arange(tokens - start, tokens - start + len(sums))[:, None]

    return make


def _most(states: Array, tokens: int) -> NDArray[np.float64]:
    return np.maximum.accumulate(states, axis=0)[tokens - 1 :].astype(np.float64)


PADDED: dict[str, Padded] = {
    "padded": Padded("the mean over all tokens, padding too", _means(0), "mean_all"),
    "padded_inner": Padded(
        "the mean over all tokens but BOS, padding too, as of `[:, 1:-1].mean(1)` of a batch",
        _means(1),
        "mean_eos",
    ),
    "padded_most": Padded("the maximum over all tokens, padding too", _most, "max_all"),
}
"""By the name that a hypothesis has as its pooling."""
