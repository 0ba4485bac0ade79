"""Attention within each sequence of a pack, registered with transformers as its documentation shows.

:mod:`esmkit.encoder.packing` lays sequences end to end; here they are kept apart.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from esmkit.encoder.compiled import compile_attention
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import Rotary, rotate
from esmkit.encoder.stream import MapStream
from esmkit.errors import OptionError

__all__ = ["Edit", "register"]

PACKED_ATTENTION = "esmkit_packed"
"""Name under which the packed attention is registered with transformers; with ``_compiled`` added,
that which is compiled for this CPU."""

Edit = Callable[[torch.Tensor], torch.Tensor]
"""Takes what the heads of one layer return, (1, T, H, K) before W^O, and gives what takes its place."""


Mix = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, tuple[Group, ...], float, Rotary | None],
    torch.Tensor,
]
"""Takes query, key, value (1, H, T, K), groups, scale and rotary positions; returns (1, T, H, K)."""


def _packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    groups: tuple[Group, ...] | None = None,
    stream: MapStream | None = None,
    edit: Edit | None = None,
    rotary: Rotary | None = None,
    mix: Mix,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each sequence of a pack; query, key and value are (1, H, T, K).

    If ``rotary``, (1, T, K) each, is given, query and key are not turned by their positions yet.
    Returns (1, T, H, K), the layout that transformers expects of an attention function: the output
    of each head before W^O joins them, or what ``edit`` makes of it.
    """
    if groups is None:
        raise OptionError(
            "this model reads packed batches only; use Esm2.forward, or load the folder that "
            "`esmkit weights path` prints with transformers' EsmModel"
        )
    if rotary is not None and (stream is not None or mix is _mix):
        turned = rotate(query, *rotary), rotate(key, *rotary)
    else:
        turned = query, key
    if stream is not None:
        stream.observe(*turned, scaling)
    if mix is _mix:  # the compiled one turns them itself: the same to the last bit with a stream
        (query, key), rotary = turned, None
    mixed = mix(query, key, value, groups, scaling, rotary)
    return (mixed if edit is None else edit(mixed)), None


def _mix(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: tuple[Group, ...],
    scaling: float,
    rotary: Rotary | None,
) -> torch.Tensor:
    """PyTorch's attention, once for each group."""
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


def _mix_compiled(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: tuple[Group, ...],
    scaling: float,
    rotary: Rotary | None,
) -> torch.Tensor:
    """Attention compiled for this CPU, once for the whole pack; PyTorch's for what is not float32."""
    given = (query, key, value, *(rotary or ()))
    if any(x.dtype != torch.float32 or x.device.type != "cpu" or x.stride(-1) != 1 for x in given):
        # Somebody has moved the network, or computes under autocast
        if rotary is not None:
            query, key = rotate(query, *rotary), rotate(key, *rotary)
        return _mix(query, key, value, groups, scaling, None)
    starts = [group.start + i * group.length for group in groups for i in range(group.count)]
    turns = None if rotary is None else (rotary[0][0], rotary[1][0])
    attend = compile_attention()
    end, tokens = groups[-1].tokens.stop, query.shape[2]
    starts += [end] if end == tokens else [end, tokens]  # rows that only fill up a block come last
    return attend(query[0], key[0], value[0], starts, scaling, turns)[None]


def _no_mask(*unused: Any, **options: Any) -> None:
    """There is nothing to mask: a pack holds no padding, and groups keep sequences apart."""


def register(*, compiled: bool = False) -> str:
    """Make the packed attention known to transformers, and return its name; harmless when repeated.

    Parameters
    ----------
    compiled : bool
        Compile it for this CPU.

    Raises
    ------
    OptionError
        If it cannot be compiled.
    """
    name, mix = PACKED_ATTENTION, _mix
    if compiled:
        compile_attention()
        name, mix = f"{PACKED_ATTENTION}_compiled", _mix_compiled
    AttentionInterface.register(name, partial(_packed_attention, mix=mix))
    AttentionMaskInterface.register(name, _no_mask)
    return name
