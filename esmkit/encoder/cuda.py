"""Attention on a CUDA device in one call for a whole row, however many lengths its sequences have.

PyTorch's attention takes sequences of one length, and a pack has ever other lengths: a call for each
of them keeps a GPU waiting for its next one. In half precision ``torch.nn.attention.varlen`` (Flash
Attention) takes a row as it is, with where its sequences begin. In float32, or where that is not to
be had, sequences are padded to the longest of their size and the padding is masked.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
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
    starts, longest, tokens = _starts(groups, query.device)
    q, k, v = (x[0, :, :tokens].transpose(0, 1).contiguous() for x in (query, key, value))
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
    for places, real, kept in _laid_out(groups, query.device):
        q, k, v = (x[0][:, places].transpose(0, 1) for x in (query, key, value))  # (b, H, n, K)
        result = scaled_dot_product_attention(q, k, v, attn_mask=real, scale=scaling)
        mixed.append(
            result.transpose(1, 2).flatten(0, 1)[kept]
        )  # in the order of the row, (t, H, K)
    return _with_rest(torch.cat(mixed), query.shape[2])


@lru_cache(maxsize=8)  # all layers of a pass ask for the same
@torch.inference_mode(False)  # what is kept may be used where gradients are wanted
def _starts(groups: tuple[Group, ...], device: torch.device) -> tuple[torch.Tensor, int, int]:
    """Return where sequences begin, and the last ends, the longest and all tokens."""
    lengths = [group.length for group in groups for _ in range(group.count)]
    starts = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device="cpu")
    return starts.to(device), max(lengths), sum(lengths)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _laid_out(
    groups: tuple[Group, ...], device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]]:
    """Return, for sequences of like length, what :func:`attend_padded` needs of them, on the device.

    Which token of the row stands where, (b, n); the mask of keys, (b, 1, 1, n), if there is padding;
    and which of the b n places are no padding, (t,): counted here, for a device that is asked has to
    be waited for.
    """
    found = []
    for same in _of_like_length(groups):
        places, real = same.places()
        kept = real.flatten().nonzero()[:, 0].to(device)
        padded = same.shortest < same.longest
        found.append((places.to(device), real[:, None, None].to(device) if padded else None, kept))
    return found


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
        counts = torch.tensor(self.lengths, device="cpu")[:, None]
        first = self.start + counts.cumsum(0) - counts
        steps = torch.arange(self.longest, device="cpu")[None]
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
