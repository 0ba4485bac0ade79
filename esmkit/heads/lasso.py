"""L1-penalised logistic regression, fitted many times to the same features without one of them.

The problem is liblinear's (``LogisticRegression(solver="liblinear")`` with an L1 penalty, which
esmkit.contacts.fit uses): the least of sum |w| + C x log loss, the constant being a feature with a
weight that is penalised too. liblinear cannot start from a solution, and takes seconds for each
fit of 220,000 pairs. Here a fit begins at the solution with all heads, which differs little, and is
a few Newton steps on the features in use (proximal Newton; Yuan et al. 2012, JMLR 13:1999).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

__all__ = ["TOLERANCE", "fit_lasso"]

TOLERANCE = 1e-4
"""Largest violation of the conditions of optimality at which a fit ends; the penalty's slope is 1."""

STEPS, SWEEPS, HALVINGS = 200, 1_000, 30
"""Most Newton steps of a fit, coordinate descents of a step, and halvings of a step that is too long."""

Array = NDArray[np.float64]


def fit_lasso(
    features: NDArray[np.float32],
    labels: NDArray[np.bool_],
    *,
    inverse_penalty: float,
    start: Array | None = None,
    without: int | None = None,
) -> Array:
    """Return the weights of the regression.

    Parameters
    ----------
    features : numpy.ndarray of float32, shape (n, pairs)
        A row for each feature, one of them of ones for the constant.
    labels : numpy.ndarray of bool, shape (pairs,)
        Both kinds.
    inverse_penalty : float
        C: the weight of the loss.
    start : numpy.ndarray of float64, shape (n,), optional
        Where to begin; by default at 0. The result does not depend on it beyond the tolerance.
    without : int, optional
        A feature that is left out.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        0 for the features that are not used.

    Examples
    --------
    >>> x = np.array([[-2, -1, 1, 2], [1, 1, 1, 1]], np.float32)
    >>> fit_lasso(x, np.array([False, True, False, True]), inverse_penalty=10.0).round(2)
    array([0.37, 0.  ])
    """
    weights = np.zeros(len(features)) if start is None else start.copy()
    if without is not None:
        weights[without] = 0
    for _ in range(STEPS):
        used = np.flatnonzero(weights)
        odds = weights[used] @ features[used].astype(float)
        likely = expit(odds)
        slopes = inverse_penalty * (features @ (likely - labels).astype(np.float32)).astype(float)
        if without is not None:
            slopes[without] = 0
        slack = np.abs(slopes) - 1
        off = np.abs(slopes[used] + np.sign(weights[used]))
        if max(slack.max(), off.max(initial=0)) <= TOLERANCE:
            break
        moved = np.flatnonzero((weights != 0) | (slack > 0))
        part = features[moved].astype(float)
        curved = inverse_penalty * (part * (likely * (1 - likely))) @ part.T
        step = _descend(weights[moved], slopes[moved], curved)
        weights[moved] = _shorten(weights[moved], step, part, labels, inverse_penalty)
    return weights


def _descend(weights: Array, slopes: Array, curved: Array) -> Array:
    """Return the step to the least of the quadratic model and the penalty, coordinate by coordinate."""
    step = np.zeros_like(weights)
    bends = np.maximum(np.diag(curved), 1e-12)
    for _ in range(SWEEPS):
        largest = 0.0
        for j, bend in enumerate(bends):
            here = weights[j] + step[j]
            to = here - (slopes[j] + curved[j] @ step) / bend
            change = np.sign(to) * max(abs(to) - 1 / bend, 0.0) - here
            step[j] += change
            largest = max(largest, bend * abs(change))
        if largest < TOLERANCE / 100:
            break
    return step


def _shorten(
    weights: Array, step: Array, part: Array, labels: Any, inverse_penalty: float
) -> Array:
    """Return the weights after a step, halved until it leads down."""

    def height(at: Array) -> float:
        odds = at @ part
        loss = np.logaddexp(0, np.where(labels, -odds, odds)).sum()
        return float(np.abs(at).sum() + inverse_penalty * loss)

    before, length = height(weights), 1.0
    for _ in range(HALVINGS):
        if height(weights + length * step) <= before:
            break
        length /= 2
    return weights + length * step
