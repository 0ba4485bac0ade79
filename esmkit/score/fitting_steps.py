"""The steps by which a masked-LM head learns: AdamW, a falling rate, averaged weights, a stop.

logits = E norm(GELU(W h + b)) + c, where E is the encoder's token embedding, which stays as it is,
and the cross-entropy goes over all 33 tokens, so that those no protein has become unlikely.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu

from esmkit.encoder.checkpoints.lm_head import HeadWeights

if TYPE_CHECKING:
    from esmkit.score.hidden_states import HiddenStates

__all__ = ["Learner", "Recipe", "learn"]

BETAS = (0.9, 0.99)
"""Of AdamW."""

WARM_UP = 200
"""Steps in which the learning rate rises from 0; a tenth of all of them, where that is less."""

LEAST_STEPS, LEAST_BATCH = 50, 16
"""Steps of an epoch, which few residues are cut into smaller batches for, down to this size."""

AVERAGED = 0.998
"""Share of the average of the weights that stays at each step: it goes over some 500 of them."""

SHARE_OF_IDENTITY = 0.5
"""The map begins as half the identity and half at random, for the states are near the embedding."""

UNSEEN = 0.01
"""Count of a token that no protein has, at the beginning."""

_AT_ONCE = 8_192
"""Held-out residues of one product."""


@dataclass(frozen=True)
class Recipe:
    """How a head is fitted.

    Attributes
    ----------
    epochs : int
        How often each residue is seen at most.
    batch : int
        Residues of a step.
    rate : float
        Highest learning rate; it falls to 0 along half a cosine.
    decay : float
        Weight decay of AdamW, of W only.
    dropout : float
        Share of the numbers of a hidden state that are left out at each step.
    seed : int
    """

    epochs: int
    batch: int
    rate: float
    decay: float
    dropout: float
    seed: int


class Learner(nn.Module):
    """A masked-LM head that learns.

    Parameters
    ----------
    embedding : torch.Tensor, shape (33, D)
        Token embedding of the encoder.
    eps : float
        Of the layer norm.
    seed : int
    targets : torch.Tensor of int64, shape (M,), optional
        Tokens of the training set: the bias begins as the logarithm of their frequencies, so that the
        fit begins with what letters alone tell, and tokens that no protein has are unlikely.
    """

    def __init__(
        self, embedding: torch.Tensor, eps: float, seed: int, targets: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        width = embedding.shape[1]
        random = torch.Generator().manual_seed(seed)
        start = torch.randn(width, width, generator=random) / math.sqrt(width)
        start = SHARE_OF_IDENTITY * torch.eye(width) + (1 - SHARE_OF_IDENTITY) * start
        self.register_buffer("embedding", embedding.detach().float().clone())
        self.dense: nn.Linear = nn.Linear(width, width)
        self.norm: nn.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(len(embedding)))
        with torch.no_grad():
            self.dense.weight.copy_(start)
            self.dense.bias.zero_()
            # Logits begin with a spread of about 1, whatever the length of the embeddings is
            length = embedding.detach().float().norm(dim=1).mean()
            self.norm.weight.fill_(1 / float(length))
            if targets is not None:
                counts = torch.bincount(targets, minlength=len(embedding)) + UNSEEN
                self.bias.copy_(torch.log(counts / counts.sum()))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return logits, (M, 33), of last hidden states, (M, D)."""
        embedding: Any = self.embedding
        return self.norm(gelu(self.dense(states))) @ embedding.T + self.bias

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return copies of the parameters under the names of the file."""
        weights = HeadWeights(self.dense, self.norm, self.bias, None, {})
        return {name: tensor.detach().clone() for name, tensor in weights.tensors().items()}

    def with_tensors(self, tensors: Mapping[str, torch.Tensor]) -> "Learner":
        """Take the parameters from :meth:`tensors` of another, and return itself."""
        own = HeadWeights(self.dense, self.norm, self.bias, None, {}).tensors()
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])
        return self


def learn(
    learner: Learner,
    training: "HiddenStates",
    validation: "HiddenStates",
    recipe: Recipe,
    *,
    told: Callable[[int, float], Any] | None = None,
) -> tuple[Learner, list[float]]:
    """Fit a head and return it as it was when it was best on the validation residues.

    Parameters
    ----------
    learner : Learner
        Is changed.
    training : HiddenStates
    validation : HiddenStates
        Those of masked residues decide when it was best; read after each epoch.
    recipe : Recipe
    told : callable, optional
        Called after each epoch with its number, from 1, and the validation perplexity.

    Returns
    -------
    learner : Learner
        Its weights are averages over the last steps of the epoch.
    perplexities : list of float
        Of the validation residues after each epoch.
    """
    order = np.random.default_rng(recipe.seed)
    random = torch.Generator().manual_seed(recipe.seed)
    batch = min(recipe.batch, max(LEAST_BATCH, len(training) // LEAST_STEPS), len(training))
    steps = recipe.epochs * (len(training) // batch)
    warm_up = min(WARM_UP, max(1, steps // 10))
    optimizer = _optimizer(learner, recipe)
    average = copy.deepcopy(learner)
    best, perplexities, step = copy.deepcopy(learner), [], 0
    for epoch in range(recipe.epochs):
        rows = order.permutation(len(training))
        for start in range(0, len(rows) - batch + 1, batch):
            chosen = np.sort(rows[start : start + batch])  # a file is read forwards
            rate = recipe.rate * min(1.0, (step + 1) / warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            states = torch.from_numpy(training.states[chosen].astype(np.float32))
            states = _left_out(states, recipe.dropout, random)
            targets = torch.from_numpy(training.targets[chosen])
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(learner(states), targets).backward()
            optimizer.step()
            step += 1
            _average(average, learner, min(AVERAGED, (1 + step) / (10 + step)))
        perplexities.append(_perplexity(average, validation))
        if perplexities[-1] == min(perplexities):
            best = copy.deepcopy(average)
        if told is not None:
            told(epoch + 1, perplexities[-1])
    return best, perplexities


def _optimizer(learner: Learner, recipe: Recipe) -> torch.optim.AdamW:
    matrix = learner.dense.weight
    others = [p for p in learner.parameters() if p is not matrix]
    groups = [
        {"params": [matrix], "weight_decay": recipe.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=BETAS)


def _left_out(states: torch.Tensor, share: float, random: torch.Generator) -> torch.Tensor:
    """Leave a share of the numbers out and scale the others, with random numbers of our own."""
    if not share:
        return states
    kept = torch.rand(states.shape, generator=random) >= share
    return states * kept / (1 - share)


def _average(average: Learner, learner: Learner, kept: float) -> None:
    with torch.no_grad():
        for mean, now in zip(average.parameters(), learner.parameters(), strict=True):
            mean.lerp_(now, 1 - kept)


def _perplexity(learner: Learner, held_out: "HiddenStates") -> float:
    """Return exp of the mean cross-entropy over all 33 tokens."""
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(held_out), _AT_ONCE):
            states = held_out.states[start : start + _AT_ONCE].astype(np.float32)
            targets = torch.from_numpy(held_out.targets[start : start + _AT_ONCE])
            logits = learner(torch.from_numpy(states)).double()
            total += float(cross_entropy(logits, targets, reduction="sum"))
    return math.exp(total / len(held_out))
