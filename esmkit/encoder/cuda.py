"""Attention on a CUDA device in one call for a whole row, however many lengths its sequences have.

PyTorch's attention takes sequences of one length, and a pack has ever other lengths: a call for each
of them keeps a GPU waiting for its next one. In half precision ``torch.nn.attention.varlen`` (Flash
Attention) takes a row as it is, with where its sequences begin. In float32, or where that is not to
be had, sequences are padded to the longest of their size and the padding is masked.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from esmkit.encoder.operations import Observe, Operations
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import Rotary, rotate

__all__ = ["CudaOperations", "attend_padded", "varlen_attention"]

LEAST_SHARE = 0.5
"""Sequences are padded to the same length if the shortest has at least this share of the longest."""

HALVES = (torch.float16, torch.bfloat16)

Varlen = Callable[..., Any]


def varlen_attention() -> Varlen:
    """Return PyTorch's attention for sequences end to end.

    Raises
    ------
    RuntimeError
        If this PyTorch lacks it.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        raise RuntimeError("this PyTorch has no attention for sequences end to end") from None
    return varlen_attn


class CudaOperations(Operations):
    """Attention in few calls.

    Parameters
    ----------
    varlen : bool
        Whether half precision goes through :func:`varlen_attention`.
    """

    def __init__(self, *, varlen: bool) -> None:
        self.varlen = varlen

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rotary: Rotary,
        groups: tuple[Group, ...],
        observe: Observe | None = None,
    ) -> torch.Tensor:
        """Attend within each sequence; see :meth:`Operations.attend`."""
        scaling = query.shape[-1] ** -0.5
        query, key = rotate(query, *rotary), rotate(key, *rotary)
        if observe is not None:
            observe(query, key, scaling)
        if self.varlen and query.dtype in HALVES:
            return _attend_end_to_end(query, key, value, groups, scaling)
        return attend_padded(query, key, value, groups, scaling)


def _attend_end_to_end(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: tuple[Group, ...],
    scaling: float,
) -> torch.Tensor:
    """Attend in one call: (1, H, T, K) to (1, T, H, K)."""
    lengths = [group.length for group in groups for _ in range(group.count)]
    tokens = sum(lengths)
    starts = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
    starts = starts.to(query.device, non_blocking=True)
    q, k, v = (x[0, :, :tokens].transpose(0, 1).contiguous() for x in (query, key, value))
    longest = max(lengths)
    # One split: the numbers of a sequence do not depend on its neighbours
    mixed = varlen_attention()(
        *(q, k, v, starts, starts, longest, longest), scale=scaling, num_splits=1
    )
    return _with_rest(mixed, query.shape[2])


def attend_padded(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: tuple[Group, ...],
    scaling: float,
) -> torch.Tensor:
    """Attend in a call for all sequences of like length: (1, H, T, K) to (1, T, H, K).

    A place that is padding holds the first token of its own sequence, so that a NaN stays where it
    is; as a key it is masked.
    """
    mixed = []
    for same in _of_like_length(groups):
        places, real = (x.to(query.device, non_blocking=True) for x in same.places())  # (b, n)
        q, k, v = (x[0][:, places].transpose(0, 1) for x in (query, key, value))  # (b, H, n, K)
        mask = None if same.shortest == same.longest else real[:, None, None]
        result = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        mixed.append(result.transpose(1, 2)[real])  # tokens in the order of the row, (t, H, K)
    return _with_rest(torch.cat(mixed), query.shape[2])


def _with_rest(mixed: torch.Tensor, tokens: int) -> torch.Tensor:
    """Add zeros for what only fills up a row: (t, H, K) to (1, T, H, K)."""
    missing = tokens - len(mixed)
    if missing:
        mixed = torch.cat((mixed, mixed.new_zeros(missing, *mixed.shape[1:])))
    return mixed[None]


@dataclass(frozen=True, slots=True)
class _LikeLength:
    """Sequences that lie side by side in a row, longest first, and are padded to one length.

    Attributes
    ----------
    start : int
        Their first token in the row.
    lengths : sequence of b int
    """

    start: int
    lengths: Sequence[int]

    @property
    def longest(self) -> int:
        return self.lengths[0]

    @property
    def shortest(self) -> int:
        return self.lengths[-1]

    def places(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which token of the row stands where, and whether it does: (b, n) each."""
        counts = torch.tensor(self.lengths)[:, None]
        first = self.start + counts.cumsum(0) - counts
        steps = torch.arange(self.longest)[None]
        real = steps < counts
        return first + steps * real, real


def _of_like_length(groups: tuple[Group, ...]) -> list[_LikeLength]:
    """Cut the groups of a row, whose lengths fall, where the shortest gets too short."""
    found: list[_LikeLength] = []
    start, lengths = groups[0].start, list[int]()
    for group in groups:
        if lengths and group.length < LEAST_SHARE * lengths[0]:
            found.append(_LikeLength(start, lengths))
            start, lengths = group.start, []
        lengths += [group.length] * group.count
    return [*found, _LikeLength(start, lengths)]
