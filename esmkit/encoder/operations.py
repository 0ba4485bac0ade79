"""Products and attention of the forward pass, as PyTorch has them: for any device and any data type.

:class:`Operations` is also the interface behind which faster forms stand
(:mod:`esmkit.encoder.onednn`).
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from esmkit.encoder.checkpoints.parts import LayerParts
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import Rotary, rotate
from esmkit.encoder.threads import threads_of_a_pass

__all__ = ["ROWS", "Observe", "Operations", "attend_by_group", "filled_up", "starts_of"]

ROWS = 64
"""On a CPU a row of tokens is filled up with zeros to a multiple of this; see :attr:`Operations.rows`."""

Observe = Callable[[torch.Tensor, torch.Tensor, float], None]
"""Shown queries and keys, (1, H, T, K) and turned by their positions, and the scale of the scores."""


class Operations:
    """PyTorch's form of what the forward pass consists of.

    Attributes
    ----------
    compiled : bool
        Whether attention is compiled for this CPU.
    rows : int
        On a CPU a row of tokens is filled up with zeros to a multiple of this.
    """

    compiled: bool = False
    rows: int = ROWS

    def linear(
        self, x: torch.Tensor, dense: nn.Linear, *, add: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return W x + b, plus ``add`` if it is given: (1, T, inputs) to (1, T, outputs)."""
        product = dense(x)
        return product if add is None else product + add

    def feed_forward(
        self,
        normed: torch.Tensor,
        layer: LayerParts,
        *,
        add: torch.Tensor,
        hidden: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return W_2 GELU(W_1 x + b_1) + b_2, plus ``add``, all (1, T, D); GELU by erf.

        A list ``hidden`` is given what stands between the two, (1, T, F).
        """
        inner = self.expand(normed, layer)
        if hidden is not None:
            hidden.append(inner)
        return self.contract(inner, layer, add=add)

    def expand(self, normed: torch.Tensor, layer: LayerParts) -> torch.Tensor:
        """Return GELU(W_1 x + b_1): (1, T, D) to (1, T, F), what :meth:`feed_forward` has inside."""
        return gelu(layer.expand(normed))

    def contract(
        self, hidden: torch.Tensor, layer: LayerParts, *, add: torch.Tensor
    ) -> torch.Tensor:
        """Return W_2 h + b_2, plus ``add``: after :meth:`expand` that is :meth:`feed_forward`."""
        return layer.contract(hidden) + add

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rotary: Rotary,
        groups: tuple[Group, ...],
        observe: Observe | None = None,
    ) -> torch.Tensor:
        """Attend within each sequence.

        Parameters
        ----------
        query, key, value : torch.Tensor, shape (1, H, T, K)
            Not yet turned by their positions.
        rotary : tuple of two torch.Tensor, shape (1, T, K)
        groups : tuple of Group
        observe : callable, optional
            Shown what the maps follow from.

        Returns
        -------
        torch.Tensor, shape (1, T, H, K)
            softmax(Q K^T / sqrt(K)) V of each head, before W^O joins them.
        """
        scaling = query.shape[-1] ** -0.5
        query, key = rotate(query, *rotary), rotate(key, *rotary)
        if observe is not None:
            observe(query, key, scaling)
        return attend_by_group(query, key, value, groups, scaling)


def starts_of(groups: tuple[Group, ...], tokens: int) -> list[int]:
    """Return where the sequences of a row of that many tokens begin, and where the last one ends.

    Tokens that only fill up a row come last, as a sequence of their own.
    """
    starts = [group.start + i * group.length for group in groups for i in range(group.count)]
    end = groups[-1].tokens.stop
    return [*starts, end] if end == tokens else [*starts, end, tokens]


def attend_by_group(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: tuple[Group, ...],
    scaling: float,
) -> torch.Tensor:
    """Run PyTorch's attention once for each group: (1, H, T, K) to (1, T, H, K)."""
    _, heads, tokens, width = query.shape
    mixed = query.new_empty(1, tokens, heads, width)
    mixed[0, groups[-1].tokens.stop :] = 0  # of rows that only fill up a block
    for group in groups:
        # (1, H, c*n, K) -> (c, H, n, K): a view, tokens of a sequence are neighbours in the row
        q, k, v = (
            x[0, :, group.tokens].unflatten(1, (group.count, group.length)).transpose(0, 1)
            for x in (query, key, value)
        )
        result = scaled_dot_product_attention(q, k, v, scale=scaling)  # (c, H, n, K)
        mixed[0, group.tokens] = result.transpose(1, 2).flatten(0, 1)  # (c*n, H, K)
    return mixed


def filled_up(x: torch.Tensor, *, dim: int, rows: int = ROWS) -> torch.Tensor:
    """Add zeros to a dimension up to a multiple of ``rows``, for each thread that shares a pass.

    What has such a size already is returned.
    """
    missing = -x.shape[dim] % (rows * threads_of_a_pass())
    if not missing:
        return x
    return nn.functional.pad(x, (0, 0) * (x.ndim - 1 - dim) + (0, missing))
