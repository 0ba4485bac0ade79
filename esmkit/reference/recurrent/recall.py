"""A task that needs distance and nothing else: say which letter came first."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from esmkit.errors import OptionError
from esmkit.reference.recurrent.learning import fit
from esmkit.reference.recurrent.letters import ASK, LETTERS, START

__all__ = ["recall_accuracy", "recall_batch", "train_recall"]


def recall_batch(generator: np.random.Generator, batch: int, between: int) -> tuple[Tensor, Tensor]:
    """Draw sequences of random letters that end by asking for the first.

    Each is ``START``, the letter to be kept, ``between`` random letters, and ``ASK``.

    Parameters
    ----------
    generator : numpy.random.Generator
    batch : int, B
    between : int
        Letters between the one that is asked for and the question.

    Returns
    -------
    numbers : (B, between + 3) int64
    targets : (B, between + 3) int64
        The first letter at the last place; -100, which does not count, elsewhere.

    Raises
    ------
    OptionError
        If ``between`` is negative or there is no sequence.

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
    numbers = generator.integers(len(LETTERS), size=(batch, between + 3))
    numbers[:, 0], numbers[:, -1] = START, ASK
    targets = np.full_like(numbers, -100)
    targets[:, -1] = numbers[:, 1]
    return torch.from_numpy(numbers), torch.from_numpy(targets)


def train_recall(
    network: nn.Module,
    *,
    steps: int,
    longest: int,
    batch: int = 32,
    rate: float = 3e-3,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Train a network to say the first letter.

    In each step one distance is drawn; the longest of them grows from 1 to ``longest`` over the first
    half of the steps, since from long ones alone neither network learns in so few steps.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork; changed in place
    steps : int
    longest : int
        Most letters between in training.
    batch, rate, seed
        As for `train`.

    Returns
    -------
    (steps,) float64, nats: the loss of each step

    Raises
    ------
    OptionError
        If ``longest`` is under 1.
    """
    if longest < 1:
        raise OptionError(f"longest is {longest}; give 1 or more")
    generator = np.random.default_rng(seed)
    batches = (
        recall_batch(generator, batch, int(generator.integers(1, _up_to(step, steps, longest) + 1)))
        for step in range(steps)
    )
    return fit(network, batches, steps=steps, rate=rate)


def recall_accuracy(
    network: nn.Module, between: int, *, sequences: int = 200, seed: int = 1
) -> float:
    """Return how often the first letter is said; 0.05 is guessing.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork
    between : int
    sequences : int
        Drawn for this.
    seed : int
        Other than in training.

    Returns
    -------
    float, 0 to 1
    """
    numbers, targets = recall_batch(np.random.default_rng(seed), sequences, between)
    with torch.inference_mode():
        said = network.eval()(numbers)[:, -1].argmax(dim=-1)
    return float((said == targets[:, -1]).double().mean())


def _up_to(step: int, steps: int, longest: int) -> int:
    return max(1, min(longest, round(longest * 2 * step / steps)))
