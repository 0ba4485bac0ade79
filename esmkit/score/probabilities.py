"""Logits of the 33 tokens to probabilities of the 20 amino acids."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.tokens import TOKENS

__all__ = ["AMINO_ACID_TOKENS", "entropy_of", "log_softmax_20"]

AMINO_ACID_TOKENS: tuple[int, ...] = tuple(TOKENS.index(letter) for letter in AMINO_ACIDS)
"""Token ids of the 20 amino acids, in the order of :data:`esmkit.sequences.proteins.AMINO_ACIDS`."""


def log_softmax_20(logits: Any) -> NDArray[np.float64]:
    """Return natural logarithms of the probabilities of the 20 amino acids.

    The softmax goes over these 20 tokens only, so that their probabilities sum to 1; other tools
    take all 33 tokens, X, B, U, Z, O, gaps and specials among them.

    Parameters
    ----------
    logits : array or CPU tensor of float, shape (..., 33)
        What a masked-LM head says, in the order of the vocabulary.

    Returns
    -------
    numpy.ndarray of float64, shape (..., 20)
        log p, in nats, in alphabetical order of the one-letter codes (``AMINO_ACIDS``).

    Examples
    --------
    >>> found = log_softmax_20(np.zeros((2, 33), np.float32))
    >>> found.shape, bool(np.allclose(found, -np.log(20)))
    ((2, 20), True)
    """
    chosen = np.asarray(logits, np.float64)[..., AMINO_ACID_TOKENS]
    chosen = chosen - chosen.max(axis=-1, keepdims=True)
    return chosen - np.log(np.exp(chosen).sum(axis=-1, keepdims=True))


def entropy_of(log_probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how undecided each distribution is: its Shannon entropy.

    Parameters
    ----------
    log_probabilities : numpy.ndarray of float, shape (..., 20)
        Natural logarithms that :func:`log_softmax_20` returned.

    Returns
    -------
    numpy.ndarray of float64, shape (...)
        In nats: 0 where one amino acid has all the probability, log(20) = 3.00 where all are
        alike.

    Examples
    --------
    >>> round(float(entropy_of(np.full(20, -np.log(20)))), 3)
    2.996
    """
    logs = np.asarray(log_probabilities, np.float64)
    return -(np.exp(logs) * np.where(np.isneginf(logs), 0.0, logs)).sum(axis=-1)
