"""PyTorch's products of float32 on a CPU, those of feed-forward layers in blocks that stay in the cache.

GELU and the sum with the residual stream are done on a block that a product has just written, not in
passes over the whole row. With AVX2, two threads, the feed-forward layers of the 8M model took 0.88 of
the time so, and 0.74 of that of oneDNN's products. As those, they are made in float32 under autocast too.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from esmkit.encoder.checkpoints.parts import LayerParts
from esmkit.encoder.operations import Operations, filled_up
from esmkit.encoder.threads import threads_of_a_pass

__all__ = ["BlockOperations", "is_plain"]

FULL_ROWS = 16
"""A row of tokens is filled up to a multiple of this. Of one to three rows MKL's sums are rounded
otherwise than of more, in each of the threads that share a product: with 16 none has so few (tried with
1 to 16 threads; with 16 multiples of eight do too)."""

CACHED_ROWS = 512
"""Tokens of a block, for each thread that shares a pass."""


class BlockOperations(Operations):
    """PyTorch's products, in feed-forward layers block by block, and its attention."""

    rows: int = FULL_ROWS

    def linear(
        self, x: torch.Tensor, dense: nn.Linear, *, add: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return W x + b, plus ``add`` if it is given: (1, T, inputs) to (1, T, outputs)."""
        if not is_plain(x, dense):
            return super().linear(x, dense, add=add)
        product = _product(x, dense)
        return product if add is None else product.add_(add)

    def feed_forward(
        self,
        normed: torch.Tensor,
        layer: LayerParts,
        *,
        add: torch.Tensor,
        hidden: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return W_2 GELU(W_1 x + b_1) + b_2, plus ``add``, block by block."""
        expand, contract = layer.expand, layer.contract
        if not (is_plain(normed, expand) and is_plain(normed, contract)):
            return super().feed_forward(normed, layer, add=add, hidden=hidden)
        total, seen = torch.empty_like(add), []
        for rows in _blocks(normed):
            inner = _expanded(normed[..., rows, :], expand)
            if hidden is not None:
                seen.append(inner)
            _add(_product(inner, contract), add, total, rows)
        if hidden is not None:
            hidden.append(torch.cat(seen, dim=-2))
        return total

    def expand(self, normed: torch.Tensor, layer: LayerParts) -> torch.Tensor:
        """Return GELU(W_1 x + b_1), made as in :meth:`feed_forward`, to the last bit."""
        expand = layer.expand
        if not is_plain(normed, expand):
            return super().expand(normed, layer)
        made = [_expanded(normed[..., rows, :], expand) for rows in _blocks(normed)]
        return torch.cat(made, dim=-2)

    def contract(
        self, hidden: torch.Tensor, layer: LayerParts, *, add: torch.Tensor
    ) -> torch.Tensor:
        """Return W_2 h + b_2, plus ``add``, made as in :meth:`feed_forward`, to the last bit."""
        contract = layer.contract
        if not is_plain(hidden, contract):
            return super().contract(hidden, layer, add=add)
        total = torch.empty_like(add)
        for rows in _blocks(hidden):
            _add(_product(hidden[..., rows, :], contract), add, total, rows)
        return total


def is_plain(x: torch.Tensor, dense: nn.Module) -> bool:
    """Say whether a product can be made by another way than by calling the layer.

    Not if somebody has converted or moved the network, wants gradients, has hung a hook on a linear
    layer, or has put something else, such as an adapter, in its place.
    """
    return (
        type(dense) is nn.Linear
        and x.dtype == dense.weight.dtype == torch.float32
        and x.device.type == dense.weight.device.type == "cpu"
        and dense.bias is not None
        and "forward" not in vars(dense)
        and not torch.is_grad_enabled()
        and not dense._forward_hooks
        and not dense._forward_pre_hooks
    )


def _blocks(x: torch.Tensor) -> Iterator[slice]:
    most = CACHED_ROWS * threads_of_a_pass()
    return (slice(start, start + most) for start in range(0, max(1, x.shape[-2]), most))


def _product(x: torch.Tensor, dense: nn.Linear) -> torch.Tensor:
    """Return W x + b in two halves of the sum: the fewer products it runs over, the less is rounded.

    Rows are filled up, so that none depends on how many there are.
    """
    with _in_float32():
        *front, tokens, width = x.shape
        rows = filled_up(x, dim=x.ndim - 2, rows=FULL_ROWS)
        shape = (*front, rows.shape[-2], dense.out_features)
        rows, weight, half = rows.reshape(-1, width), dense.weight, width // 2
        product = torch.addmm(dense.bias, rows[:, :half], weight[:, :half].T)
        product.addmm_(rows[:, half:], weight[:, half:].T)
        return product.view(shape)[..., :tokens, :].contiguous()


def _in_float32() -> AbstractContextManager[Any]:
    """Keep autocast off, if it is on."""
    if torch.is_autocast_enabled("cpu"):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def _expanded(normed: torch.Tensor, dense: nn.Linear) -> torch.Tensor:
    inner = _product(normed, dense)
    return torch.ops.aten.gelu_(inner)


def _add(product: torch.Tensor, add: torch.Tensor, total: torch.Tensor, rows: slice) -> None:
    torch.add(product, add[..., rows, :], out=total[..., rows, :])
