"""Metrics: one number of a run, to differentiate or to restore by patching."""

from typing import Any

import torch

from esmkit.arguments import checked, what_is, whole_number
from esmkit.errors import InputError, OptionError
from esmkit.inside.attribution import letter_weights
from esmkit.inside.gradients import Live, Metric

__all__ = ["contact_score", "log_odds", "one_number"]


def one_number(value: Any) -> float:
    """Return what a metric gave as a number.

    Raises
    ------
    OptionError
        If it is not one number.
    """
    if isinstance(value, torch.Tensor) and not value.ndim and not value.is_complex():
        return float(value)
    what = f"a tensor of shape {tuple(value.shape)}" if hasattr(value, "ndim") else what_is(value)
    raise OptionError(
        f"the metric returned {what}, and it is to be one number; return a 0-d tensor, such as "
        "seen.logits[5, 3] or seen.mean.norm()"
    )


@checked
def log_odds(residue: int, letter: str, against: str | None = None) -> Metric:
    """Return the metric log p(letter) - log p(against) at a residue.

    Parameters
    ----------
    residue : int
        Counted from 1.
    letter : str
        One of the 20 amino acids.
    against : str, optional
        Another, or ``others`` for the mean of the other 19; by default the logit of ``letter``
        alone.

    Returns
    -------
    callable
        For :func:`esmkit.patch` and :meth:`esmkit.Trace.gradient`.

    Raises
    ------
    OptionError
        If a letter is no amino acid, or the number is no residue's.

    Examples
    --------
    >>> log_odds(24, "A", "G").__name__
    'log-odds of A against G at residue 24'
    """
    weights = torch.from_numpy(letter_weights(letter, against))
    number = _from_one(residue, "residue")

    def metric(seen: Live) -> torch.Tensor:
        logits = seen.logits
        _there(number, len(logits))
        return logits[number - 1] @ weights.to(logits)

    said = "the others" if against == "others" else against
    what = f"logit of {letter}" if against is None else f"log-odds of {letter} against {said}"
    metric.__name__ = f"{what} at residue {number}"
    return metric


@checked
def contact_score(residue: int, partner: int) -> Metric:
    """Return the metric of a contact: its score by the checkpoint's contact head, before the sigmoid.

    Parameters
    ----------
    residue, partner : int
        Counted from 1.

    Returns
    -------
    callable
        For :func:`esmkit.patch` and :meth:`esmkit.Trace.gradient`.

    Raises
    ------
    OptionError
        If a number is no residue's.

    Examples
    --------
    >>> contact_score(4, 12).__name__
    'score of the contact of residues 4 and 12'
    """
    numbers = _from_one(residue, "residue"), _from_one(partner, "partner")

    def metric(seen: Live) -> torch.Tensor:
        scores = seen.contact_scores
        for number in numbers:
            _there(number, len(scores))
        return scores[numbers[0] - 1, numbers[1] - 1]

    metric.__name__ = f"score of the contact of residues {numbers[0]} and {numbers[1]}"
    return metric


def _from_one(given: Any, option: str) -> int:
    number = whole_number(given)
    if number is None or number < 1:
        raise OptionError(
            f"`{option}` is the number of a residue, counted from 1, not {what_is(given)}"
        )
    return number


def _there(number: int, residues: int) -> None:
    if number > residues:
        raise InputError(
            f"the metric is of residue {number}, and the protein has residues 1 to {residues:,}"
        )
