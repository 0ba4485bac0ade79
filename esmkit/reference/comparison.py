"""The largest difference between two computations of the same arrays, and what it may be."""

from dataclasses import dataclass

import numpy as np

from esmkit.errors import VerificationError
from esmkit.reference.implementations import Array

__all__ = ["Check", "Comparison", "tolerance_of"]

TOLERANCE = 1e-5
"""Largest difference allowed in a model of up to six layers, see :data:`REASONS`."""

LAYERS_OF_TOLERANCE = 6
"""Rounding adds up from layer to layer: deeper models may differ in proportion to their depth."""

REASONS = {
    "relative": "of the layer's largest value; float32 rounds each step by 6e-8 of that",
    "absolute": "values are 0 to 1; float32 rounds the scores, and the exponential amplifies",
    "contacts": "values are 0 to 1; the regression multiplies the rounding of the maps by weights "
    "of up to 29 (8M), which together come to 153",
    "logits": "values are up to some 30; the decoder sums the rounding of all D channels",
}

CONTACT_TOLERANCE = 1e-4
"""The same for contact probabilities: 3e-6 in a map times weights of up to 29."""

LOGIT_TOLERANCE = 1e-4
"""The same for logits."""


def tolerance_of(reason: str, layers: int) -> float:
    """Return the largest difference allowed, for one of the :data:`REASONS`, in a model of N layers.

    >>> tolerance_of("relative", 6), tolerance_of("contacts", 33)
    (1e-05, 0.00055)
    """
    own = {"contacts": CONTACT_TOLERANCE, "logits": LOGIT_TOLERANCE}
    return own.get(reason, TOLERANCE) * max(1.0, layers / LAYERS_OF_TOLERANCE)


@dataclass(frozen=True)
class Check:
    """One row: two computations of the same arrays.

    Attributes
    ----------
    compared, quantity : str
        Which implementations, and which of their results.
    absolute, relative : float
        Largest difference of all; as it is, and divided by the largest magnitude in its array.
    where : str
        Protein, layer (or hidden state) and head at which the bounded one of the two is largest.
    bounded : str
        Which of the two has to stay within the tolerance.
    tolerance : float
    reason : str
        Why the tolerance is what it is.
    values : int
        How many values were compared.
    """

    compared: str
    quantity: str
    absolute: float
    relative: float
    where: str
    bounded: str
    tolerance: float
    reason: str
    values: int

    @property
    def passed(self) -> bool:
        """Whether the bounded difference is within the tolerance; NaN is not."""
        return bool(getattr(self, self.bounded) <= self.tolerance)


class Comparison:
    """Gathers the largest difference between two streams of arrays."""

    def __init__(self, compared: str, quantity: str, bounded: str, reason: str, tolerance: float):
        self._facts = (compared, quantity)
        self._bound = (bounded, tolerance, REASONS[reason])
        self._absolute = self._relative = 0.0
        self._measured = -1.0
        self._where = "nothing compared"
        self._values = 0

    def add(self, ours: Array, theirs: Array, where: str, *, heads: int | None = None) -> None:
        """Compare two arrays; with ``heads`` the first axis is heads, and the worst is named."""
        if ours.shape != theirs.shape:
            raise VerificationError(f"at {where} the shapes differ: {ours.shape}, {theirs.shape}")
        difference = np.abs(ours.astype(np.float64) - theirs)
        scale = float(np.abs(theirs).max())
        absolute = float(difference.max())
        self._values += difference.size
        relative = absolute / scale if scale else absolute
        if not (np.isfinite(absolute) and np.isfinite(scale)):  # NaN must not pass as small
            absolute = relative = np.inf
        measured = relative if self._bound[0] == "relative" else absolute
        if measured > self._measured:
            if heads is not None:
                where += f"H{int(np.unravel_index(difference.argmax(), difference.shape)[0])}"
            self._measured, self._where = measured, where
        self._absolute = max(self._absolute, absolute)
        self._relative = max(self._relative, relative)

    def check(self) -> Check:
        """Return the row. A comparison of nothing is a failure, not a success."""
        return Check(
            *self._facts,
            self._absolute if self._values else np.inf,
            self._relative if self._values else np.inf,
            self._where,
            *self._bound,
            self._values,
        )
