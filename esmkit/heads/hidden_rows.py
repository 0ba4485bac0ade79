"""Copies of a chain with hidden residues in one row, and the loss if a layer's heads say something else."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder import packing
from esmkit.encoder.forward import attention, enter
from esmkit.encoder.hidden_token import behind_attention
from esmkit.encoder.lm_head import LmHead
from esmkit.encoder.rotary import rotate
from esmkit.score.probabilities import AMINO_ACID_TOKENS, log_softmax_20
from esmkit.sequences.tokens import encode

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["PARTS", "HiddenRow", "Job", "hidden_parts"]

PARTS = 7
"""Parts into which the residues of a chain are cut: a seventh is 14 %."""

Job = tuple[int | None, torch.Tensor | None]
"""Head to be replaced, None for all, and by what: (K,), or (H, K) for all; None for the layer as it is."""


def hidden_parts(sequence: str, seed: int) -> list[NDArray[np.int64]]:
    """Return the residues of a chain that are hidden together: parts that cover it once.

    Parameters
    ----------
    sequence : str
    seed : int

    Returns
    -------
    list of numpy.ndarray of int64
        0-based residues, ascending; at most :data:`PARTS` parts, whose sizes differ by at most one, and
        none that is empty. Letters that are none of the 20 amino acids are in no part.

    Examples
    --------
    >>> parts = hidden_parts("MKTVRQXERLKSIVRIL", seed=0)
    >>> [len(part) for part in parts]
    [3, 3, 2, 2, 2, 2, 2]
    >>> 6 in np.concatenate(parts)
    False
    """
    known = np.flatnonzero(np.isin(encode(sequence)[1:-1], AMINO_ACID_TOKENS))
    random = np.random.default_rng([seed, zlib.crc32(sequence.encode())])
    parts = np.array_split(random.permutation(known), PARTS)
    return [np.sort(part) for part in parts if len(part)]


@dataclass
class HiddenRow:
    """Copies of a chain, each with one part hidden, in one row of T tokens, C of them hidden.

    Attributes
    ----------
    hidden, inner : torch.Tensor of int64, shape (C,) and (residues,)
        Where in the row hidden tokens are, and where residues are.
    truth : numpy.ndarray of int64, shape (C,)
        What is hidden, by its place among the 20 amino acids.
    """

    model: "Encoder"
    head: LmHead
    pack: packing.Pack
    hidden: torch.Tensor
    inner: torch.Tensor
    truth: NDArray[np.int64]

    @classmethod
    def of(
        cls, model: "Encoder", head: LmHead, sequence: str, parts: Sequence[NDArray[np.int64]]
    ) -> "HiddenRow":
        """Lay copies of a sequence, each with one part hidden, end to end."""
        ids = encode(sequence)
        pack = packing.pack([encode(sequence, mask=map(int, part)) for part in parts], model.device)
        starts = np.arange(len(parts)) * len(ids) + 1  # all are of one length, and stay in order
        hidden = np.concatenate([start + part for start, part in zip(starts, parts, strict=True)])
        inner = (starts[:, None] + np.arange(len(sequence))).ravel()
        place = {token: number for number, token in enumerate(AMINO_ACID_TOKENS)}
        truth = np.array([place[int(token)] for part in parts for token in ids[1:-1][part]])
        at, residues = (torch.from_numpy(places).to(model.device) for places in (hidden, inner))
        return cls(model, head, pack, at, residues, truth)

    def __post_init__(self) -> None:
        self._parts = self.model.parts()
        self._first, self._row = enter(self.pack, self._parts, self.model.operations)

    def sums(self) -> torch.Tensor:
        """Return the sums of what the heads say, over residues, float64 on the CPU: (N, H, K)."""
        x, found = self._first, []
        for number in range(len(self._parts.layers)):
            heads = self._all_heads(number, x)
            found.append(heads[0, self.inner].cpu().double().sum(0))  # (H, K)
            x = behind_attention(heads, x, self._parts.layers[number], self.model.operations)
        return torch.stack(found)

    def enter(self, layer: int) -> None:
        """Run the layers before this one, and its heads."""
        with torch.inference_mode():
            x = self._first
            for number in range(layer):
                x = self._leave(number, *self._heads(number, x))
            self._layer, (self._own, self._left) = layer, self._heads(layer, x)

    def loss(self, job: Job) -> float:
        """Return the sum over hidden tokens of -log p, if heads of the layer entered say a constant."""
        head, value = job
        with torch.inference_mode():  # of the thread that works on it
            heads = self._own
            if value is not None:
                heads = heads.clone()  # (1, T or C, H, K)
                heads[:, :, slice(None) if head is None else head] = value.to(heads.dtype).to(
                    heads.device
                )
            x = self._leave(self._layer, heads, self._left)
            for number in range(self._layer + 1, len(self._parts.layers)):
                x = self._leave(number, *self._heads(number, x))
            logits = self.head.logits(self._parts.final_norm(x)[0]).cpu()  # (C, 33)
        return -float(log_softmax_20(logits)[np.arange(len(self.truth)), self.truth].sum())

    def _leave(self, number: int, heads: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return behind_attention(heads, x, self._parts.layers[number], self.model.operations)

    def _heads(self, number: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what heads say, and what that is added to: of the last layer for hidden tokens alone."""
        if number < len(self._parts.layers) - 1:
            return self._all_heads(number, x), x
        return self._heads_at_hidden(number, x), x[:, self.hidden]

    def _all_heads(self, number: int, x: torch.Tensor) -> torch.Tensor:
        layer = self._parts.layers[number]
        return attention(number, layer.attention_norm(x), layer, self._row)  # (1, T, H, K)

    def _heads_at_hidden(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """Let the hidden tokens alone attend to those of their sequence: (1, T, D) to (1, C, H, K)."""
        layer, rotary = self._parts.layers[number], self._row.rotary
        linear, width = self.model.operations.linear, rotary[0].shape[-1]  # K
        normed = layer.attention_norm(x)
        query, key, value = (
            linear(rows, projection)[0].unflatten(-1, (-1, width)).transpose(0, 1)
            for rows, projection in (
                (normed[:, self.hidden], layer.query),  # (H, C, K)
                (normed, layer.key),  # (H, T, K)
                (normed, layer.value),
            )
        )
        exact = torch.promote_types(x.dtype, torch.float32)
        turned = (turns[:, self.hidden] for turns in rotary)
        query = rotate(query[None] * width**-0.5, *turned)[0].to(exact)
        key, mixed = rotate(key[None], *rotary)[0].to(exact), []
        for _, tokens in self.pack.sequences():
            here = (self.hidden >= tokens.start) & (self.hidden < tokens.stop)
            weights = (query[:, here] @ key[:, tokens].transpose(1, 2)).softmax(-1)  # (H, c, n)
            mixed.append(weights @ value[:, tokens].to(exact))
        return torch.cat(mixed, dim=1).transpose(0, 1)[None].to(x.dtype)
