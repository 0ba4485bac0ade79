"""Tasks that need distance and nothing else: say the first letter, or say all of them again."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from esmkit.errors import OptionError
from esmkit.reference.bounds import above_zero, at_least
from esmkit.reference.recurrent.learning import fit
from esmkit.reference.recurrent.letters import ASK, LETTERS, START
from esmkit.reference.recurrent.networks import check_network

__all__ = ["recall_accuracy", "recall_batch", "train_recall"]


Task = Literal["first", "all"]
"""What is asked for: one letter, which is easily kept; or all, of which there are more and more."""


def recall_batch(
    generator: np.random.Generator, batch: int, between: int, task: Task = "first"
) -> tuple[Tensor, Tensor]:
    """Draw sequences of random letters that end by asking for what was read.

    Each is ``START``, a letter, ``between`` others, and ``ASK``. If all letters are asked for they
    follow again, so that each is said after those before it, as in a protein that repeats itself.

    Parameters
    ----------
    generator : numpy.random.Generator
    batch : int, B
    between : int
        Letters between the first one and the question.
    task : {'first', 'all'}
        Which letters are asked for.

    Returns
    -------
    numbers : (B, T) int64
        T is ``between`` + 3 for the first letter, and 2 ``between`` + 3 for all.
    targets : (B, T) int64
        What is to be said at each place, from ``ASK`` on; -100, which does not count, before.

    Raises
    ------
    OptionError
        If ``between`` is negative, there is no sequence, or the task is another.

    Examples
    --------
    >>> numbers, targets = recall_batch(np.random.default_rng(0), 1, 3)
    >>> numbers
    tensor([[20, 17, 12, 10,  5, 21]])
    >>> targets[0, -1]
    tensor(17)
    """
    if between < 0 or batch < 1:
        raise OptionError(f"{batch} sequences with {between} letters between; give 1 and 0 or more")
    if task not in ("first", "all"):
        raise OptionError(f"task {task!r}; give 'first' or 'all'")
    letters = generator.integers(len(LETTERS), size=(batch, between + 1))
    start, ask = np.full((batch, 1), START), np.full((batch, 1), ASK)
    said = letters if task == "all" else letters[:, :1]
    numbers = np.hstack([start, letters, ask, said[:, :-1]])
    targets = np.hstack([np.full((batch, between + 2), -100), said])
    return torch.from_numpy(numbers), torch.from_numpy(targets)


def train_recall(
    network: nn.Module,
    *,
    steps: int,
    longest: int,
    task: Task = "first",
    batch: int = 32,
    rate: float = 3e-3,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Train a network to say the first letter, or all.

    In each step one distance is drawn; the longest of them grows from 1 to ``longest`` over the first
    half of the steps, since from long ones alone neither network learns in so few steps.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork; changed in place
    steps : int
    longest : int
        Most letters between in training.
    task : {'first', 'all'}
    batch, rate, seed
        As for `train`.

    Returns
    -------
    (steps,) float64, nats: the loss of each step

    Raises
    ------
    OptionError
        If ``longest`` or ``steps`` is under 1, or the rate is not above 0.

    Examples
    --------
    >>> from esmkit.reference.recurrent import RecurrentNetwork
    >>> train_recall(RecurrentNetwork(width=8, layers=1), steps=3, longest=2, batch=4).shape
    (3,)
    """
    at_least(1, longest=longest, steps=steps)
    at_least(0, seed=seed)
    above_zero(rate=rate)
    check_network(network)
    generator = np.random.default_rng(seed)
    batches = (
        recall_batch(
            generator, batch, int(generator.integers(1, _up_to(step, steps, longest) + 1)), task
        )
        for step in range(steps)
    )
    return fit(network, batches, steps=steps, rate=rate)


def recall_accuracy(
    network: nn.Module,
    between: int,
    *,
    task: Task = "first",
    sequences: int = 200,
    seed: int = 1,
) -> float:
    """Return how many of the letters asked for are said; 0.05 is guessing.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork
    between : int
    task : {'first', 'all'}
    sequences : int
        Drawn for this.
    seed : int
        Other than in training.

    Returns
    -------
    float, 0 to 1

    Examples
    --------
    >>> from esmkit.reference.recurrent import RecurrentNetwork
    >>> recall_accuracy(RecurrentNetwork(width=8, layers=1), 3) < 0.2  # untrained, it guesses
    True
    """
    numbers, targets = recall_batch(np.random.default_rng(seed), sequences, between, task)
    with torch.inference_mode():
        said = network.eval()(numbers).argmax(dim=-1)
    asked = targets >= 0
    return float((said == targets)[asked].double().mean())


def _up_to(step: int, steps: int, longest: int) -> int:
    return max(1, min(longest, round(longest * 2 * step / steps)))
