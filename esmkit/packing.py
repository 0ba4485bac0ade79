"""Variable-length batches without padding, and attention maps as they are made.

Sequences of a batch lie end to end in one row of T tokens. Everything in an encoder but attention
works token by token, so only attention needs to know where one sequence ends: it runs once for
each group of sequences of equal length, as a plain ``(count, heads, length, head width)`` batch.
No token is ever padding.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.errors import InputError
from esmkit.workers import side_by_side

__all__ = [
    "Group",
    "MapStream",
    "Pack",
    "Prepare",
    "Sink",
    "batches_by_tokens",
    "head_blocks",
    "look_ahead",
    "most_tokens",
    "pack",
]

BLOCK_BYTES = 4 * 2**20
"""Float32 maps that a stream computes at once; see :func:`head_blocks`."""

PASS_TOKENS = 1_024
"""Most tokens of one forward pass on a CPU, but for longer pieces: hidden states stay in the cache."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Group:
    """Sequences of equal length that lie side by side in a pack.

    Attributes
    ----------
    start : int
        First token of the group in the row.
    count : int
        Number of sequences.
    length : int
        Tokens of each sequence, BOS and EOS included.
    """

    start: int
    count: int
    length: int

    @property
    def tokens(self) -> slice:
        """Where the group stands in the row."""
        return slice(self.start, self.start + self.count * self.length)


@dataclass(frozen=True, slots=True)
class Pack:
    """B sequences laid end to end, longest first.

    Attributes
    ----------
    ids : torch.Tensor of int64, shape (1, T)
        Token ids.
    positions : torch.Tensor of int64, shape (1, T)
        Position of each token in its own sequence, from 0.
    groups : tuple of Group
        In the order of the row; together they cover it.
    order : tuple of int, length B
        ``order[k]`` is the place, in what was given to :func:`pack`, of the k-th sequence here.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    groups: tuple[Group, ...]
    order: tuple[int, ...]

    def sequences(self) -> Iterator[tuple[int, slice]]:
        """Yield (place in what was given to :func:`pack`, tokens in the row) of each sequence."""
        row = iter(self.order)
        for group in self.groups:
            for start in range(group.tokens.start, group.tokens.stop, group.length):
                yield next(row), slice(start, start + group.length)


def pack(sequences: Sequence[NDArray[np.int64]], device: torch.device | str = "cpu") -> Pack:
    """Lay token ids of several sequences end to end.

    Parameters
    ----------
    sequences : sequence of B int64 arrays, shape (T_b,)
        Token ids with BOS and EOS, as :func:`esmkit.sequences.tokens.encode` makes them.
    device : torch.device
        Where the pack should live.

    Raises
    ------
    InputError
        If there is nothing to pack.
    """
    if not sequences or not all(len(ids) for ids in sequences):
        raise InputError("there is an empty sequence, or none at all, to pack")
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))  # stable
    groups: list[Group] = []
    start = 0
    for i in order:
        length = len(sequences[i])
        if groups and groups[-1].length == length:
            groups[-1] = Group(groups[-1].start, groups[-1].count + 1, length)
        else:
            groups.append(Group(start, 1, length))
        start += length
    ids = np.concatenate([sequences[i] for i in order])
    positions = np.concatenate([np.arange(len(sequences[i])) for i in order])
    return Pack(
        torch.from_numpy(ids)[None].to(device),
        torch.from_numpy(positions)[None].to(device),
        tuple(groups),
        tuple(order),
    )


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
        this order: the layer from 0; the place of the sequence in what was given to :func:`pack`;
        h head numbers; and float32 maps (h, T, T), [query, key], rows summing to 1, which the
        stream does not use afterwards.
    heads : mapping from layer to head numbers, optional
        Which maps are wanted; by default all.
    prepare : callable, optional
        What becomes of a block of maps, such as its compression. On a CPU blocks are then made and
        prepared side by side, one in each of PyTorch's threads, and the sink, called in the same
        order as ever, is given the result: a map is too small to be shared between threads.
    first : int
        The layer that is run first, where a pass does not begin with layer 0.
    """

    def __init__(
        self,
        pack: Pack,
        sink: Sink,
        heads: Mapping[int, Sequence[int]] | None = None,
        *,
        prepare: Prepare | None = None,
        first: int = 0,
    ) -> None:
        self._pack = pack
        self._sink = sink
        self._heads = heads
        self._prepare = prepare
        self._layer = first

    def observe(self, query: torch.Tensor, key: torch.Tensor, scaling: float) -> None:
        """Compute the wanted maps of the next layer from its queries and keys, (1, H, T, K)."""
        layer, self._layer = self._layer, self._layer + 1  # transformers goes through them in order
        wanted = range(query.shape[1]) if self._heads is None else self._heads.get(layer, ())
        if not wanted:
            return
        with side_by_side(query.device if self._prepare else None) as run:
            for place, tokens in self._pack.sequences():
                # Softmax in float32 whatever the model computes in: maps are what was asked for
                q = query[0, :, tokens].float() * scaling  # (H, n, K)
                k = key[0, :, tokens].float().transpose(1, 2)  # (H, K, n)
                blocks = head_blocks(wanted, q.shape[1])
                for heads, maps in zip(blocks, run(partial(self._make, q, k), blocks), strict=True):
                    self._sink(layer, place, heads, maps)

    @torch.inference_mode()  # which is a state of the thread
    def _make(self, query: torch.Tensor, key: torch.Tensor, heads: Sequence[int]) -> Any:
        """Return the maps (h, n, n) of some heads, or what is prepared of them."""
        chosen = list(heads)
        maps = torch.softmax(query[chosen] @ key[chosen], dim=-1)
        return maps if self._prepare is None else self._prepare(maps)


def most_tokens(batch_tokens: int, device: torch.device) -> int:
    """Return how many tokens a forward pass has at most, of those that the user allows."""
    return min(batch_tokens, PASS_TOKENS) if device.type == "cpu" else batch_tokens


def batches_by_tokens(tokens: Sequence[int], budget: int) -> list[list[int]]:
    """Split items into few batches of at most ``budget`` tokens, items of like length together.

    The longest first, each goes into the fullest batch that has room for it (best fit, decreasing):
    what long items leave is filled with shorter ones.

    Parameters
    ----------
    tokens : sequence of int
        Tokens of each item.
    budget : int
        Most tokens in a batch. An item with more than that is a batch of its own.

    Returns
    -------
    list of list of int
        Indices of the items, longest first; every item is in exactly one batch.

    Examples
    --------
    >>> batches_by_tokens([3, 9, 4, 3, 1], budget=10)
    [[1, 4], [2, 0, 3]]
    """
    batches: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (tokens left, batch), ascending
    for index in sorted(range(len(tokens)), key=lambda i: -tokens[i]):
        place = bisect_left(rooms, (tokens[index], 0))
        if place < len(rooms):
            room, batch = rooms.pop(place)
        else:
            room, batch = budget, len(batches)
            batches.append([])
        batches[batch].append(index)
        if room > tokens[index]:
            insort(rooms, (room - tokens[index], batch))
    return batches


def look_ahead(items: Iterable[tuple[int, Item]], budget: int) -> Iterator[list[Item]]:
    """Cut a stream of (cost, item) into windows of about ``budget`` cost, in order.

    A window is what is held in memory at once and sorted by length. It ends before the item that
    would exceed the budget, so windows depend on the stream alone.
    """
    window: list[Item] = []
    spent = 0
    for cost, item in items:
        if window and spent + cost > budget:
            yield window
            window, spent = [], 0
        window.append(item)
        spent += cost
    if window:
        yield window
