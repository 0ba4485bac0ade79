"""The first and the last layer of copies of a protein that differ in one hidden token.

A copy is a protein in which one token i is replaced by ``<mask>``. T is its tokens, D the width, H the
number of heads, K = D / H.

- In the first layer the copies differ at i alone: all other tokens have the same queries, keys and
  values. What token t != i attends to is softmax over the same keys, less key i, plus the key of
  ``<mask>``. So attention is computed once for all copies, and corrected for each.
- Of the last layer the output of token i alone is wanted: one query, one row of attention, one row
  of everything behind it. The keys of all tokens are still needed; their values W n_t + b are not,
  for sum_t p_t (W n_t + b) = W (sum_t p_t n_t) + b, as the weights p sum to 1.

Both are sums of the same terms in another order: results differ by rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from esmkit.encoder.checkpoints.parts import LayerParts
from esmkit.encoder.forward import Row
from esmkit.encoder.operations import Operations
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import Rotary, rotate

__all__ = ["FirstAttention", "behind_attention", "last_layer"]

SCORES_AT_ONCE = 2**22
"""Scores held at once while attention is shared, 16 MB: a group of heads of a long protein."""


@dataclass(frozen=True, slots=True)
class FirstAttention:
    """Attention of the first layer, as far as all copies of a protein share it.

    ``x`` are the tokens that are not hidden, ``m`` is ``<mask>``, which may stand at any of the T
    positions. Everything is float32 or wider, queries and keys are turned by their positions.

    Attributes
    ----------
    query, key, value : torch.Tensor, shape (H, T, K)
        Of x; queries are scaled by 1 / sqrt(K).
    mask_query, mask_key : torch.Tensor, shape (H, T, K)
        Of m at each position.
    mask_value : torch.Tensor, shape (H, K)
    mixed : torch.Tensor, shape (T, H, K)
        What x_t attends to among all of x: softmax(q_t K^T) V.
    log_sum : torch.Tensor, shape (T, H)
        Logarithm of the sum of that softmax.
    top : torch.Tensor of int64, shape (T, H)
        The key with the largest score.
    rest, rest_log_sum : torch.Tensor, shape (T, H, K) and (T, H)
        The same without that key.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask_query: torch.Tensor
    mask_key: torch.Tensor
    mask_value: torch.Tensor
    mixed: torch.Tensor
    log_sum: torch.Tensor
    top: torch.Tensor
    rest: torch.Tensor
    rest_log_sum: torch.Tensor

    @classmethod
    def of(
        cls,
        embedded: torch.Tensor,
        mask: torch.Tensor,
        layer: LayerParts,
        rotary: Rotary,
        operations: Operations,
    ) -> Self:
        """Compute what the copies share.

        Parameters
        ----------
        embedded : torch.Tensor, shape (T, D)
            Embeddings of the tokens as they are in the copies (token dropout), none of them hidden.
        mask : torch.Tensor, shape (D,)
            Embedding of ``<mask>`` in the copies.
        layer : LayerParts
            The first layer.
        rotary : tuple of two torch.Tensor, shape (T, K)
        operations : Operations
        """
        tokens, width = rotary[0].shape  # T, K
        normed = layer.attention_norm(torch.cat([embedded, mask[None]])[None])  # (1, T + 1, D)
        query, key, value = (
            _wide(operations.linear(normed, projection)[0])
            .unflatten(-1, (-1, width))  # (T + 1, H, K)
            .transpose(0, 1)  # (H, T + 1, K)
            for projection in (layer.query, layer.key, layer.value)
        )
        query, turns = query * width**-0.5, (_wide(rotary[0]), _wide(rotary[1]))
        everywhere = (-1, tokens, -1)
        mask_query = rotate(query[:, -1:].expand(everywhere), *turns)  # (H, T, K)
        mask_key = rotate(key[:, -1:].expand(everywhere), *turns)  # (H, T, K)
        query, key = rotate(query[:, :-1], *turns), rotate(key[:, :-1], *turns)  # (H, T, K)
        mask_value, value = value[:, -1], value[:, :-1].contiguous()  # (H, K), (H, T, K)
        step = max(1, SCORES_AT_ONCE // tokens**2)
        shared = [
            _with_and_without_top(query[h : h + step], key[h : h + step], value[h : h + step])
            for h in range(0, len(query), step)
        ]
        whole = (
            torch.cat(parts).transpose(0, 1).contiguous() for parts in zip(*shared, strict=True)
        )
        return cls(query, key, value, mask_query, mask_key, mask_value, *whole)

    def of_copies(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the heads in the copies: (c,) hidden tokens to (c, T, H, K).

        Token t loses key i and gains that of ``<mask>``. With p the weight of key i in the shared
        softmax, what is left of it is (mixed - p v_i) / (1 - p); then ``<mask>`` takes the share
        g = sigmoid(score - log of the sum that is left). Where i is the key that t attends to most, p
        may be near 1 and the difference nothing but rounding errors: there it is what was computed
        without that key. Elsewhere p <= 1/2, and nothing cancels.
        """
        dropped = torch.einsum("htk,hck->cth", self.query, self.key[:, hidden])  # (c, T, H)
        gained = torch.einsum("htk,hck->cth", self.query, self.mask_key[:, hidden])  # (c, T, H)
        is_top = self.top == hidden[:, None, None]  # (c, T, H)
        weight = (dropped - self.log_sum).exp_().masked_fill_(is_top, 0)  # p
        left = self.log_sum + torch.log1p(-weight)
        left = torch.where(is_top, self.rest_log_sum, left)
        share = torch.sigmoid(gained - left)  # g
        keep = (1 - share) / (1 - weight)
        value = self.value.transpose(0, 1)  # (T, H, K)
        mixed = self.mixed * keep[..., None]  # (c, T, H, K)
        mixed -= (weight * keep)[..., None] * value[hidden][:, None]
        mixed += share[..., None] * self.mask_value
        copy, token, head = is_top.nonzero(as_tuple=True)
        kept = keep[copy, token, head, None] * self.rest[token, head]
        mixed[copy, token, head] = kept + share[copy, token, head, None] * self.mask_value[head]
        mixed[torch.arange(len(hidden), device=hidden.device), hidden] = self._of_masks(hidden)
        return mixed

    def _of_masks(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what ``<mask>`` attends to in each copy, (c, H, K)."""
        each = torch.arange(len(hidden), device=hidden.device)
        query = self.mask_query[:, hidden]  # (H, c, K)
        scores = query @ self.key.transpose(1, 2)  # (H, c, T)
        scores[:, each, hidden] = (query * self.mask_key[:, hidden]).sum(-1)
        weights = scores.softmax(-1)
        own = weights[:, each, hidden]  # (H, c)
        weights[:, each, hidden] = 0
        mixed = weights @ self.value + own[..., None] * self.mask_value[:, None]  # (H, c, K)
        return mixed.transpose(0, 1)


def _with_and_without_top(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Attend, and attend again without the key of the largest score; see :class:`FirstAttention`."""
    scores = query @ key.transpose(1, 2)  # (h, T, T)
    log_sum = scores.logsumexp(-1)  # (h, T)
    mixed = (scores - log_sum[..., None]).exp_() @ value  # (h, T, K)
    top = scores.argmax(-1)  # (h, T)
    scores.scatter_(-1, top[..., None], -torch.inf)
    rest_log_sum = scores.logsumexp(-1)
    rest = (scores - rest_log_sum[..., None]).exp_() @ value
    return mixed, log_sum, top, rest, rest_log_sum


def behind_attention(
    heads: torch.Tensor, x: torch.Tensor, layer: LayerParts, operations: Operations
) -> torch.Tensor:
    """Run what comes after the heads of a layer: (1, T, H, K) and x (1, T, D) to (1, T, D)."""
    x = operations.linear(heads.flatten(2), layer.output, add=x)
    return operations.feed_forward(layer.feed_forward_norm(x), layer, add=x)


def last_layer(x: torch.Tensor, hidden: torch.Tensor, layer: LayerParts, row: Row) -> torch.Tensor:
    """Run a layer for one token of each sequence.

    Parameters
    ----------
    x : torch.Tensor, shape (1, T, D)
        The residual stream of a pack of C sequences.
    hidden : torch.Tensor of int64, shape (C,)
        Where in the row the wanted token of each sequence is.
    layer : LayerParts
    row : Row

    Returns
    -------
    torch.Tensor, shape (1, C, D)
    """
    operations, width = row.operations, row.rotary[0].shape[-1]  # K
    normed = layer.attention_norm(x)  # (1, T, D)
    query, key = (
        operations.linear(rows, projection).unflatten(-1, (-1, width)).transpose(1, 2)
        for rows, projection in ((normed[:, hidden], layer.query), (normed, layer.key))
    )
    query = rotate(query, *(turns[:, hidden] for turns in row.rotary))[0].transpose(
        0, 1
    )  # (C, H, K)
    key = rotate(key, *row.rotary)[0].transpose(0, 1)  # (T, H, K)
    weights = _weights(query * width**-0.5, key, row.groups)  # of each group (c, H, n)
    if _is_linear(layer.value):
        mixed = _mix(weights, normed[0], row.groups)  # (C, H, D)
        values = operations.linear(mixed.flatten(0, 1)[None], layer.value)  # (1, C H, D): all heads
        # Of each row its own head
        values = values[0].unflatten(0, mixed.shape[:2]).unflatten(-1, (-1, width))  # (C, H, H, K)
        heads = values.diagonal(dim1=1, dim2=2).transpose(1, 2)  # (C, H, K)
    else:
        values = operations.linear(normed, layer.value)[0].unflatten(-1, (-1, width))  # (T, H, K)
        heads = _mix_heads(weights, values, row.groups)  # (C, H, K)
    return behind_attention(heads[None], x[:, hidden], layer, operations)


def _is_linear(dense: nn.Module) -> bool:
    """Say whether a module is W n + b and nothing else: no adapter in its place, no hook on it."""
    return type(dense) is nn.Linear and not (dense._forward_hooks or dense._forward_pre_hooks)


def _weights(query: torch.Tensor, key: torch.Tensor, groups: Sequence[Group]) -> list[torch.Tensor]:
    """Return what one token of each sequence attends to: (C, H, K), (T, H, K) to (c, H, n) each."""
    weights, first = [], 0
    for group in groups:
        q = _wide(query[first : first + group.count])  # (c, H, K)
        k = _wide(_of_group(key, group))  # (c, n, H, K)
        weights.append(torch.einsum("chk,cnhk->chn", q, k).softmax(-1))
        first += group.count
    return weights


def _mix(
    weights: Sequence[torch.Tensor], normed: torch.Tensor, groups: Sequence[Group]
) -> torch.Tensor:
    """Return the weighted sums of rows, (T, D) to (C, H, D)."""
    mixed = [w @ _wide(_of_group(normed, g)) for w, g in zip(weights, groups, strict=True)]
    return torch.cat(mixed).to(normed.dtype)


def _mix_heads(
    weights: Sequence[torch.Tensor], values: torch.Tensor, groups: Sequence[Group]
) -> torch.Tensor:
    """Return the weighted sums of the values of each head, (T, H, K) to (C, H, K)."""
    mixed = [
        torch.einsum("chn,cnhk->chk", w, _wide(_of_group(values, g)))
        for w, g in zip(weights, groups, strict=True)
    ]
    return torch.cat(mixed).to(values.dtype)


def _of_group(x: torch.Tensor, group: Group) -> torch.Tensor:
    """Return the rows of a group by sequence, (T, ...) to (c, n, ...)."""
    return x[group.tokens].unflatten(0, (group.count, group.length))


def _wide(x: torch.Tensor) -> torch.Tensor:
    """Return numbers of half the width as float32, others as they are."""
    return x.float() if x.dtype.itemsize < 4 else x
