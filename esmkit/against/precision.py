"""How exactly numbers are stored, and how far rounding may move an embedding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT", "Storage", "relative", "storage_of"]

EXACT = 3e-5
"""Largest relative difference of two float32 computations of one embedding.

Means of the 8M model over 38 to 1,520 residues differ from transformers' by 2e-6 and less, single
residues by 1e-5; the smallest planted mistakes, EOS in the mean over 1,520 residues and rotary
frequencies computed anew, make 5e-4 and 6e-5."""

MOST_DECIMALS = 6

_LOOKED_AT = 200
"""Records whose values are looked at."""


@dataclass(frozen=True, slots=True)
class Storage:
    """How numbers are stored.

    Attributes
    ----------
    words : str
        Empty for float32 and better.
    relative : float
        Size of the rounding relative to a number, at most.
    absolute : float
        Its absolute size, of a number of decimals.
    """

    words: str
    relative: float = 0.0
    absolute: float = 0.0

    def tolerance(self, norms: NDArray[np.float64], width: int) -> NDArray[np.float64]:
        """Return the largest relative difference that rounding makes, of vectors of these norms."""
        with np.errstate(divide="ignore", invalid="ignore"):
            of_decimals = self.absolute * np.sqrt(width) / norms
        return EXACT + self.relative + np.where(norms > 0, of_decimals, 0.0)

    @property
    def allowed(self) -> float:
        """Largest :meth:`misfit` of right values.

        Half precision may have been the residues' before they were pooled: PEPE's float16 is off by
        8e-5 then, where float16 all the way makes 6e-4 and more.
        """
        return EXACT + 0.4 * self.relative

    def misfit(self, given: NDArray[np.floating], own: NDArray[np.floating]) -> float:
        """Return ``|given - own| / |own|`` less what rounding each number explains."""
        own, given = np.asarray(own, np.float64), np.asarray(given, np.float64)
        slack = np.full(given.shape, self.absolute)
        if self.relative:
            power = np.floor(np.log2(np.maximum(np.abs(given), _LEAST)))
            slack = 2.0**power * self.relative * 1.001
        over = np.maximum(np.abs(given - own) - slack, 0.0)
        norm = float(np.linalg.norm(own))
        return float(np.linalg.norm(over)) / norm if norm else float("inf")


_LEAST = 2.0**-14
"""Numbers below are stored in float16 with the steps of this one."""


_LEAST_STEPPED = 64
"""Numbers of an array from which steps of 8 bits are told by how many of them are equal."""

FLOAT32 = Storage("")
FLOAT16 = Storage("float16", 2.0**-11)
BFLOAT16 = Storage("bfloat16", 2.0**-8)


def storage_of(arrays: Sequence[NDArray[np.floating]]) -> Storage:
    """Tell from the numbers themselves how they were stored.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=(3, 32)).astype(np.float32)
    >>> storage_of(list(values)).words, storage_of(list(values.astype(np.float16))).words
    ('', 'float16')
    >>> storage_of(list(np.round(values, 3))).words
    '3 decimals'
    """
    step = max(1, len(arrays) // _LOOKED_AT)
    values = np.concatenate([np.ravel(a) for a in arrays[::step]]).astype(np.float32)
    values = values[np.isfinite(values) & (values != 0)][:200_000]
    if not len(values):
        return FLOAT32
    if not (values.view(np.uint32) & 0xFFFF).any():
        return BFLOAT16
    with np.errstate(over="ignore"):
        if np.array_equal(values.astype(np.float16).astype(np.float32), values):
            return FLOAT16
    exact = values.astype(np.float64)
    for decimals in range(MOST_DECIMALS + 1):
        scaled = exact * 10.0**decimals
        slack = 2e-7 * np.abs(scaled) + 1e-6
        if slack.max() < 0.1 and (np.abs(scaled - np.round(scaled)) <= slack).all():
            return Storage(f"{decimals} decimals", absolute=0.5 * 10.0**-decimals)
    steps: list[float] = []
    for array in arrays[::step]:
        steps.append(_step_of(array if array.ndim < 2 else array[0]))
        if not steps[-1]:
            return FLOAT32
    return Storage("steps of 8 bits", absolute=0.5 * max(steps))


def _step_of(array: NDArray[np.floating]) -> float:
    """Return the step of numbers that are at most 256 multiples of it; 0 if they are no such.

    Int8, with a scale for each array and a zero anywhere: of 320 numbers many are equal then.
    """
    values = np.unique(np.ravel(array).astype(np.float64))
    if array.size < _LEAST_STEPPED or not 3 < len(values) <= min(256, 0.9 * array.size):
        return 0.0
    step = float(np.diff(values).min())
    places = (values - values[0]) / step
    return step if places[-1] < 255.5 and np.abs(places - np.round(places)).max() < 1e-2 else 0.0


def relative(given: NDArray[np.floating], own: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ``|given - own| / |own|`` along the last axis.

    >>> float(relative(np.array([1.0, 1.0]), np.array([1.0, 0.0])))
    1.0
    """
    own = np.asarray(own, np.float64)
    norms = np.linalg.norm(own, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.linalg.norm(np.asarray(given, np.float64) - own, axis=-1) / norms
