"""Training of a network that says which residue comes next, and its loss on proteins it never saw."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from esmkit.errors import InputError
from esmkit.reference.bounds import above_zero, at_least
from esmkit.reference.recurrent.letters import ASK, LETTERS, given_sequences, letter_numbers
from esmkit.reference.recurrent.networks import check_network
from esmkit.sequences.proteins import Protein

__all__ = ["held_out_losses", "train"]

WARM_UP = 0.1  # part of the steps in which the rate rises from 0; then it falls to 0 as a cosine
LONGEST_GRADIENT = 1.0  # gradients longer than this are cut to it, which recurrent networks need


def train(
    network: nn.Module,
    sequences: Sequence[str | Protein],
    *,
    steps: int,
    batch: int = 16,
    residues: int = 256,
    rate: float = 3e-3,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Train a network on the next residue of proteins.

    Adam; the rate rises for a tenth of the steps and then falls to 0. The seed alone decides which
    stretches are read, so two networks trained with one seed read the same.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork; changed in place
    sequences : sequence of str or Protein
    steps : int
    batch : int
        Stretches read in each step.
    residues : int
        Of a longer protein a stretch of that many is read, from a random residue on.
    rate : float
        The highest learning rate.
    seed : int

    Returns
    -------
    (steps,) float64, nats: the loss of each step, before it is made

    Raises
    ------
    OptionError
        If steps, batch or residues is under 1, or the rate is not above 0.
    InputError
        If there is no sequence, one is empty, or a letter is no residue.

    Examples
    --------
    >>> from esmkit.reference.recurrent import RecurrentNetwork
    >>> proteins = esmkit.data.demo_proteins()
    >>> network = RecurrentNetwork(width=8, layers=1)
    >>> train(network, proteins, steps=3, batch=2, residues=32).shape
    (3,)
    """
    at_least(1, steps=steps, batch=batch, residues=residues)
    at_least(0, seed=seed)
    above_zero(rate=rate)
    check_network(network)
    given_sequences(sequences)
    generator = np.random.default_rng(seed)
    numbers = [letter_numbers(sequence) for sequence in sequences]
    if not any((row < len(LETTERS)).any() for row in numbers):
        raise InputError("no stretch has any of the 20 amino acids; give other sequences")
    order = (place for _ in iter(int, 1) for place in generator.permutation(len(numbers)))
    batches = (
        _stretches([numbers[next(order)] for _ in range(batch)], residues, generator)
        for _ in range(steps)
    )
    return fit(network, batches, steps=steps, rate=rate)


def fit(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], *, steps: int, rate: float
) -> NDArray[np.float64]:
    """Take an Adam step for each of (numbers (B, T), targets (B, T)); targets of -100 do not count."""
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    network.train()
    losses = []
    with torch.enable_grad():
        for numbers, targets in batches:
            logits = network(numbers)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
    network.eval()
    return np.array(losses)


def held_out_losses(network: nn.Module, sequences: Sequence[str | Protein]) -> NDArray[np.float64]:
    """Return the loss of each protein, read whole, one at a time.

    Parameters
    ----------
    network : RecurrentNetwork or TransformerNetwork
    sequences : sequence of str or Protein, P proteins

    Returns
    -------
    (P,) float64, nats: the mean of -log p over the residues of each protein

    Raises
    ------
    InputError
        If there is no sequence, or one has none of the 20 amino acids.

    Examples
    --------
    >>> from esmkit.reference.recurrent import RecurrentNetwork
    >>> held_out_losses(RecurrentNetwork(width=8, layers=1), ["MKTV", "GG"]).shape
    (2,)
    """
    check_network(network)
    given_sequences(sequences)
    network.eval()
    losses = []
    with torch.inference_mode():
        for sequence in sequences:
            numbers = torch.from_numpy(letter_numbers(sequence))[None]
            if not (numbers[0, 1:] < len(LETTERS)).any():
                raise InputError("a protein without any of the 20 amino acids cannot be judged")
            logits = network(numbers[:, :-1])
            losses.append(F.cross_entropy(logits[0], _as_targets(numbers[0, 1:])).item())
    return np.array(losses)


def _rate(step: int, steps: int) -> float:
    """Return the learning rate of a step, as a part of the highest."""
    rising = max(1, round(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + np.cos(np.pi * (step - rising) / max(1, steps - rising)))


def _stretches(
    chosen: Sequence[NDArray[np.int64]], residues: int, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Cut a stretch of each protein; what is short is filled up, and not counted: (B, T) twice.

    A stretch that begins inside a protein has no START, for nothing begins there.
    """
    read = np.full((len(chosen), residues), ASK)
    targets = np.full((len(chosen), residues), ASK)
    for row, numbers in enumerate(chosen):
        first = generator.integers(max(1, len(numbers) - residues))
        stretch = numbers[first : first + residues + 1]
        read[row, : len(stretch) - 1] = stretch[:-1]
        targets[row, : len(stretch) - 1] = stretch[1:]
    longest = max(1, int((targets != ASK).any(axis=0).nonzero()[0].max(initial=0)) + 1)
    read, targets = torch.from_numpy(read[:, :longest]), torch.from_numpy(targets[:, :longest])
    return read, _as_targets(targets)


def _as_targets(numbers: Tensor) -> Tensor:
    """Leave out what is none of the 20 letters: -100 is what PyTorch's loss does not count."""
    return numbers.masked_fill(numbers >= len(LETTERS), -100)
