"""The masked-LM head: what ESM-2 expects at each token, from the last hidden state."""

import math
from typing import Any

import torch
from torch import nn
from torch.nn.functional import gelu

from esmkit.encoder.checkpoints import FittedHeadWarning
from esmkit.encoder.checkpoints.lm_head import HeadWeights
from esmkit.encoder.operations import Operations
from esmkit.errors import InputError
from esmkit.text import warn_caller

__all__ = ["FittedHeadWarning", "LmHead", "warn_if_fitted"]


class LmHead:
    """A masked-LM head on the encoder that it belongs to.

    logits = E norm(GELU(W h + b)) + c, where E is the encoder's token embedding. Computed in float32
    whatever the data type of the encoder is. Gradients reach the hidden states, and no weight.

    Parameters
    ----------
    weights : HeadWeights
    embedding : torch.nn.Module
        Token embedding of the encoder; a change of it is seen.
    operations : Operations
        How products are computed.

    Attributes
    ----------
    facts : dict
        What an output records of it: ``source`` is ``checkpoint``, or ``fitted`` with ``name``,
        ``sha256``, ``note`` and what it was fitted on.

    Examples
    --------
    >>> import torch
    >>> from esmkit.encoder.checkpoints.lm_head import HeadWeights
    >>> weights = HeadWeights(
    ...     torch.nn.Linear(8, 8), torch.nn.LayerNorm(8), torch.zeros(33), None, {"source": "checkpoint"}
    ... )
    >>> head = LmHead(weights, torch.nn.Embedding(33, 8), Operations())
    >>> head.logits(torch.zeros(5, 8)).shape
    torch.Size([5, 33])
    """

    def __init__(self, weights: HeadWeights, embedding: nn.Module, operations: Operations) -> None:
        self.weights = weights
        self.facts: dict[str, Any] = dict(weights.facts)
        self._embedding = embedding
        self._operations = operations

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return a logit for each token of the vocabulary: (..., D) to (..., 33).

        Parameters
        ----------
        states : torch.Tensor, shape (..., D)
            Last hidden states, after the final norm, of any floating-point type, on the model's device.

        Returns
        -------
        torch.Tensor of float32, shape (..., 33)

        Raises
        ------
        InputError
            If the last axis is not as wide as the encoder.
        """
        dense = self.weights.dense
        if states.shape[-1] != dense.in_features:
            raise InputError(
                f"hidden states of shape {tuple(states.shape)} do not fit a masked-LM head of width "
                f"{dense.in_features}; give last hidden states of its encoder, (..., width)"
            )
        tokens = math.prod(states.shape[:-1])
        row = states.float().reshape(1, tokens, dense.in_features)  # (1, T, D)
        hidden = self.weights.norm(gelu(self._operations.linear(row, dense)))  # (1, T, D)
        logits = self._operations.linear(hidden, self._decoder())  # (1, T, 33)
        return logits.reshape(*states.shape[:-1], logits.shape[-1])

    def _decoder(self) -> nn.Linear:
        """Return the decoder over the embedding as it is now: tied, nothing is copied in float32."""
        weight = self.weights.decoder
        if weight is None:
            tied: Any = self._embedding.weight
            weight = tied.detach().float()
        decoder = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
        decoder.weight = nn.Parameter(weight, requires_grad=False)
        decoder.bias = nn.Parameter(self.weights.bias, requires_grad=False)
        return decoder

    def __repr__(self) -> str:
        fitted = self.facts["source"] == "fitted"
        what = f"{self.facts['name']}, fitted" if fitted else "of the checkpoint"
        return f"{type(self).__name__}({what}, width {self.weights.dense.in_features})"


def warn_if_fitted(facts: dict[str, Any]) -> None:
    """Warn, once for each call, that a masked-LM head is not ESM-2's own."""
    if facts["source"] == "fitted":
        warn_caller(str(facts["note"]), FittedHeadWarning)
