"""How good a masked-LM head is on residues that were hidden from the encoder.

M residues of P proteins. Probabilities are those of the 20 amino acids, which sum to 1. The
baseline, *letters*, gives each amino acid its frequency and looks at nothing else. Residues of one
protein are not independent, so intervals come from a bootstrap over proteins.
"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import InputError
from esmkit.score.probabilities import AMINO_ACID_TOKENS, log_softmax_20

if TYPE_CHECKING:
    import pandas

__all__ = ["HeldOut", "calibration_of", "letter_frequencies", "measure", "places_of"]

RESAMPLES = 1_000
"""Bootstrap samples of an interval."""

BINS = 10
"""Bins of equal width of a reliability table."""


@dataclass(frozen=True)
class HeldOut:
    """How well hidden residues were guessed.

    Attributes
    ----------
    proteins, residues : int
        P and M.
    perplexity, perplexity_low, perplexity_high : float
        exp(-mean log p of the residue that is there), 1 to infinity, and its 95 % interval.
    accuracy, accuracy_low, accuracy_high : float
        Share of residues whose most likely letter is the one that is there, and its 95 % interval.
    letters : float
        Perplexity of letter frequencies that the head could know: those of the training set.
    own_letters : float
        Perplexity of the letter frequencies of these residues themselves, which nothing that
        looks at no context can be better than.
    ratio, ratio_low, ratio_high : float
        ``perplexity`` over ``own_letters``, below 1 where context helps, and its 95 % interval.
    calibration_error : float
        Of the probability of the most likely letter: the mean over residues of the distance
        between mean probability and share that is right, in each of ten bins.
    calibration_error_all : float
        The same of the probabilities of all 20 letters, over 20 M of them.
    """

    proteins: int
    residues: int
    perplexity: float
    perplexity_low: float
    perplexity_high: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    letters: float
    own_letters: float
    ratio: float
    ratio_low: float
    ratio_high: float
    calibration_error: float = field(default=float("nan"))
    calibration_error_all: float = field(default=float("nan"))

    def to_dict(self) -> dict[str, float | int]:
        """Return the numbers, rounded to four digits after the point."""
        return {
            name: value if isinstance(value, int) else round(float(value), 4)
            for name, value in asdict(self).items()
        }

    def to_text(self) -> str:
        """Return the main numbers as one line."""
        return (
            f"perplexity {self.perplexity:.2f} [{self.perplexity_low:.2f}, "
            f"{self.perplexity_high:.2f}] (letters {self.letters:.2f}, their own {self.own_letters:.2f}), accuracy "
            f"{self.accuracy:.3f} [{self.accuracy_low:.3f}, {self.accuracy_high:.3f}], calibration "
            f"error {self.calibration_error:.3f}; {self.residues:,} hidden residues of "
            f"{self.proteins:,} protein(s)"
        )


def letter_frequencies(targets: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the frequencies of the 20 amino acids among token ids, one of each added: (20,).

    Examples
    --------
    >>> frequencies = letter_frequencies(np.array([5, 5, 5]))  # A, three times
    >>> frequencies.shape, round(float(frequencies[0]), 3)
    ((20,), 0.174)
    """
    counts = np.bincount(targets, minlength=33)[list(AMINO_ACID_TOKENS)] + 1.0
    return counts / counts.sum()


def places_of(targets: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return where the amino acids of token ids stand in ``AMINO_ACIDS``, (M,) of 0 to 19."""
    places = np.full(33, -1)
    places[list(AMINO_ACID_TOKENS)] = np.arange(20)
    return places[targets]


def measure(
    logits: Any,
    targets: NDArray[np.integer],
    owners: NDArray[np.integer],
    frequencies: NDArray[np.floating],
    *,
    seed: int = 0,
) -> HeldOut:
    """Measure a head on hidden residues.

    Parameters
    ----------
    logits : array of float, shape (M, 33)
    targets : numpy.ndarray of int, shape (M,)
        Token ids of the residues that are there, each one of the 20 amino acids.
    owners : numpy.ndarray of int, shape (M,)
        Which protein each is of.
    frequencies : numpy.ndarray of float, shape (20,)
        Of the letters of the training set, above 0.
    seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        If there is no residue.
    """
    if not len(targets):
        raise InputError("there is no hidden residue to measure a head on; give longer proteins")
    logs = log_softmax_20(logits)  # (M, 20)
    truth = places_of(targets)
    rows = np.arange(len(truth))
    own = np.log(np.maximum(np.bincount(truth, minlength=20), 1) / len(truth))
    _, owner = np.unique(owners, return_inverse=True)
    scores = np.stack(
        [
            -logs[rows, truth],
            (logs.argmax(axis=1) == truth).astype(np.float64),
            -np.log(frequencies)[truth],
            -own[truth],
            np.ones(len(truth)),
        ]
    )
    sums = np.stack([np.bincount(owner, row) for row in scores])  # (5, P)
    random = np.random.default_rng(seed)
    drawn = random.integers(sums.shape[1], size=(RESAMPLES, sums.shape[1]))
    samples = sums[:, drawn].sum(axis=2)  # (5, RESAMPLES)
    bounds = [_derived(samples)[k] for k in range(3)]
    low, high = np.percentile(bounds, [2.5, 97.5], axis=1)
    perplexity, accuracy, ratio = (float(value) for value in _derived(sums.sum(axis=1)))
    probabilities = np.exp(logs)
    is_there = np.zeros_like(logs)
    is_there[rows, truth] = 1
    top = logs.argmax(axis=1)
    return HeldOut(
        sums.shape[1],
        len(truth),
        *(perplexity, float(low[0]), float(high[0])),
        *(accuracy, float(low[1]), float(high[1])),
        float(np.exp(scores[2].mean())),
        float(np.exp(scores[3].mean())),
        *(ratio, float(low[2]), float(high[2])),
        _error(calibration_of(probabilities[rows, top], is_there[rows, top])),
        _error(calibration_of(probabilities.ravel(), is_there.ravel())),
    )


def _derived(sums: NDArray[np.float64]) -> tuple[Any, Any, Any]:
    """Return perplexity, accuracy, and perplexity over that of the source's own letters."""
    surprise, right, _, own, count = sums
    return np.exp(surprise / count), right / count, np.exp((surprise - own) / count)


def calibration_of(probabilities: NDArray[np.floating], right: NDArray[Any]) -> "pandas.DataFrame":
    """Return probabilities beside how often what they say is there.

    Parameters
    ----------
    probabilities : numpy.ndarray of float, shape (n,)
        Between 0 and 1.
    right : numpy.ndarray of float or bool, shape (n,)
        Whether the letter is there.

    Returns
    -------
    pandas.DataFrame
        A row for each of ten bins of equal width: ``from``, ``to`` (which belongs to the next),
        ``count``, ``probability``, their mean, and ``right``, the share; NaN where there is none.

    Examples
    --------
    >>> table = calibration_of(np.array([0.05, 0.15, 0.15]), np.array([0, 1, 0]))
    >>> table["count"].tolist()[:3], table["right"].tolist()[:2]
    ([1, 2, 0], [0.0, 0.5])
    """
    import pandas

    edges = np.arange(1, BINS) / BINS
    place = np.searchsorted(edges, probabilities, side="right")
    count = np.bincount(place, minlength=BINS)
    safe = np.where(count, count, np.nan)
    return pandas.DataFrame(
        {
            "from": np.arange(BINS) / BINS,
            "to": np.arange(1, BINS + 1) / BINS,
            "count": count,
            "probability": np.bincount(place, probabilities, BINS) / safe,
            "right": np.bincount(place, right, BINS) / safe,
        }
    )


def _error(table: "pandas.DataFrame") -> float:
    """Return the expected calibration error."""
    count = np.asarray(table["count"], np.float64)
    gap = np.abs(np.asarray(table["probability"] - table["right"], np.float64))
    return float(np.nansum(gap * count) / count.sum())
