"""Vectors that are a weighted sum of the model's own states, whatever the weights."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_TOKENS", "weight_words", "weights_of"]

Array = NDArray[np.float64]

MOST_TOKENS = 0.7
"""Tokens of a protein, relative to the width, up to which such a sum proves something.

As many states as a vector has numbers make any vector. Of 70 % other weights leave more than half of
their difference unexplained, by chance; 3e-5 of it is what is asked for."""

_ALIKE = 0.1
"""How far weights that are called equal may be from their mean, relative to it."""


def weights_of(states: Array, vector: Array) -> Array:
    """Return the weights whose sum of states is nearest to a vector.

    Parameters
    ----------
    states : numpy.ndarray, shape (T, D)
        T < D.
    vector : numpy.ndarray, shape (D,)

    Returns
    -------
    numpy.ndarray, shape (T,)

    Examples
    --------
    >>> states = np.random.default_rng(0).normal(size=(5, 32))
    >>> (weights_of(states, states[1:4].mean(axis=0)).round(3) + 0.0).tolist()
    [0.0, 0.333, 0.333, 0.333, 0.0]
    """
    return np.asarray(np.linalg.lstsq(states.T, vector, rcond=None)[0], np.float64)


def weight_words(weights: Array) -> str:
    """Say which tokens count, of weights of BOS, residues and EOS.

    Examples
    --------
    >>> weight_words(np.array([0, 0, 0.5, 0.5, 0, 0]))
    'the mean over 2 of 4 residues, 2 to 3'
    >>> weight_words(np.array([0, 0.6, 0.3, 0.1, 0, 0]))
    'weights of residues from 0 to 0.6, together 1'
    """
    of_residues, whole = weights[1:-1], float(weights.sum())
    count = len(of_residues)
    most = float(np.abs(weights).max())
    counted = np.abs(weights) > _ALIKE * most
    chosen = np.flatnonzero(counted[1:-1])
    specials = " and ".join(
        name for name, there in (("BOS", counted[0]), ("EOS", counted[-1])) if there
    )
    alike = bool((np.abs(weights[counted] - weights[counted].mean()) < _ALIKE * most).all())
    if alike and len(chosen) and abs(whole - 1) < 0.05:
        first, last = int(chosen[0]) + 1, int(chosen[-1]) + 1
        where = (
            f"{first} to {last}" if last - first + 1 == len(chosen) else f"from {first} to {last}"
        )
        which = f"the mean over {len(chosen)} of {count} residues, {where}"
    else:
        low, high = (f"{value:.2g}" for value in (_plain(of_residues.min()), of_residues.max()))
        which = (
            f"weights of residues from {low} to {high}, together {_plain(of_residues.sum()):.2g}"
        )
    return which + (f"; {specials} too" if specials else "")


def _plain(value: float) -> float:
    """Return a number without what rounding has left of zero."""
    return 0.0 if abs(value) < 1e-6 else float(value)
