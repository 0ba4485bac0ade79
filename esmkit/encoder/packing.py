"""Variable-length batches without padding.

Sequences of a batch lie end to end in one row of T tokens. Everything in an encoder but attention
works token by token, so only attention needs to know where one sequence ends: it runs once for
each group of sequences of equal length, as a plain ``(count, heads, length, head width)`` batch.
No token is ever padding.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder.forks import make_ready
from esmkit.encoder.threads import threads_of_a_pass
from esmkit.errors import InputError
from esmkit.sequences.tokens import MASK, TOKENS

__all__ = ["Group", "Pack", "batches_by_tokens", "look_ahead", "most_tokens", "pack", "pass_tokens"]

PASS_TOKENS = 1_024
"""Most tokens of one forward pass on a CPU, for each thread that shares it, so that hidden states stay
in its cache.

A piece that is longer goes alone."""

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

    def sequences(self) -> Iterator[slice]:
        """Yield where each sequence stands in the row."""
        for start in range(self.start, self.tokens.stop, self.length):
            yield slice(start, start + self.length)


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
    has_mask, has_unknown : bool
        Whether there is a ``<mask>``, or an id outside the vocabulary: to ask a GPU, one has to wait
        for it.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    groups: tuple[Group, ...]
    order: tuple[int, ...]
    has_mask: bool
    has_unknown: bool

    def sequences(self) -> Iterator[tuple[int, slice]]:
        """Yield (place in what was given to :func:`pack`, tokens in the row) of each sequence."""
        row = iter(self.order)
        for group in self.groups:
            for tokens in group.sequences():
                yield next(row), tokens


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
    OptionError
        If this process was forked from one that uses the device, and it does not survive that.
    """
    make_ready(torch.device(device))
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
    row = torch.from_numpy(np.stack((ids, positions)))[:, None]  # (2, 1, T): one transfer
    if torch.device(device).type == "cuda":  # which fetches it while the processor goes on
        there = row.pin_memory().to(device, non_blocking=True)
    else:
        there = row.to(device)
    has_unknown = bool(ids.min() < 0 or ids.max() >= len(TOKENS))
    has_mask = bool((ids == MASK).any())
    return Pack(there[0], there[1], tuple(groups), tuple(order), has_mask, has_unknown)


def pass_tokens() -> int:
    """Return how many tokens of short pieces a forward pass on a CPU has; a longer piece goes alone."""
    return PASS_TOKENS * threads_of_a_pass()


def most_tokens(batch_tokens: int, device: torch.device) -> int:
    """Return how many tokens a forward pass has at most, of those that the user allows."""
    return min(batch_tokens, pass_tokens()) if device.type == "cpu" else batch_tokens


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
