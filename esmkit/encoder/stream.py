"""Attention maps handed out as they are made, so that none has to be kept."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from esmkit.encoder.packing import Pack
from esmkit.encoder.threads import side_by_side

__all__ = ["MapStream", "Prepare", "Sink", "head_blocks"]


BLOCK_BYTES = 4 * 2**20
"""Float32 maps that a stream computes at once; see :func:`head_blocks`."""


Sink = Callable[[int, int, Sequence[int], Any], None]
"""Takes (layer, place of the sequence, heads, maps or what was prepared of them), one at a time."""


Prepare = Callable[[torch.Tensor], Any]
"""Makes of maps (h, T, T) what a sink is given in their place; called in several threads at once."""


def head_blocks(heads: Sequence[int], tokens: int) -> list[Sequence[int]]:
    """Cut heads into blocks whose maps of a sequence of that many tokens are computed at once.

    A block has at least one head, and its float32 maps take at most 4 MiB if it has more: so the
    memory of a stream does not depend on the number of heads, and maps stay in the cache.

    >>> head_blocks([0, 1, 4], tokens=1024)
    [[0], [1], [4]]
    """
    most = max(1, BLOCK_BYTES // (tokens * tokens * 4))
    return [heads[start : start + most] for start in range(0, len(heads), most)]


class MapStream:
    """Hands attention maps to a sink as soon as they exist, so that none has to be kept.

    It looks on: the forward pass is the same, to the last bit, with and without it.

    Parameters
    ----------
    pack : Pack
        The batch that goes through the model.
    sink : callable
        Called with (layer, place, heads, maps) for every layer, sequence and block of heads, in
        this order: the layer from 0; the place of the sequence in what was given to :func:`esmkit.encoder.packing.pack`;
        h head numbers; and float32 maps (h, T, T), [query, key], rows summing to 1, which the
        stream does not use afterwards.
    heads : mapping from layer to head numbers, optional
        Which maps are wanted; by default all.
    prepare : callable, optional
        What becomes of a block of maps, such as its compression. On a CPU blocks are then made and
        prepared side by side, one in each of PyTorch's threads, and the sink, called in the same
        order as ever, is given the result: a map is too small to be shared between threads.
    """

    def __init__(
        self,
        pack: Pack,
        sink: Sink,
        heads: Mapping[int, Sequence[int]] | None = None,
        *,
        prepare: Prepare | None = None,
    ) -> None:
        self._pack = pack
        self._sink = sink
        self._heads = heads
        self._prepare = prepare

    def observe(self, layer: int, query: torch.Tensor, key: torch.Tensor, scaling: float) -> None:
        """Compute the wanted maps of a layer from its queries and keys, (1, H, T, K)."""
        wanted = range(query.shape[1]) if self._heads is None else self._heads.get(layer, ())
        if not wanted:
            return
        with side_by_side(query.device if self._prepare else None) as run:
            for place, tokens in self._pack.sequences():
                # Softmax in float32 whatever the model computes in: maps are what was asked for
                q = (query[0, :, tokens].float() * scaling).contiguous()  # (H, n, K)
                k = key[0, :, tokens].float().contiguous()  # (H, n, K)
                blocks = head_blocks(wanted, q.shape[1])
                for heads, maps in zip(blocks, run(partial(self._make, q, k), blocks), strict=True):
                    self._sink(layer, place, heads, maps)

    @torch.inference_mode()  # which is a state of the thread
    def _make(self, query: torch.Tensor, key: torch.Tensor, heads: Sequence[int]) -> Any:
        """Return the maps (h, n, n) of some heads, or what is prepared of them."""
        first, stop = heads[0], heads[-1] + 1
        # Heads in a row need not be copied: with 300 tokens and more that took longer than their product
        in_a_row = list(heads) == list(range(first, stop))
        chosen = slice(first, stop) if in_a_row else list(heads)
        maps = torch.softmax(query[chosen] @ key[chosen].transpose(1, 2), dim=-1)
        return maps if self._prepare is None else self._prepare(maps)
