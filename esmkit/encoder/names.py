"""Names of layers and heads, and which of them a model has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from esmkit.errors import OptionError

__all__ = ["HeadChoice", "choose_heads", "head_name", "parse_head", "resolve_layers"]


Head: TypeAlias = tuple[int, int]
"""(layer, head), both from 0."""

_HEAD_NAME = re.compile(r"L(\d+)H(\d+)", re.IGNORECASE)
_LAYER_NAME = re.compile(r"L(\d+)", re.IGNORECASE)


def head_name(layer: int, head: int) -> str:
    """Return the name of a head, both numbers from 0.

    >>> head_name(5, 4)
    'L5H4'
    """
    return f"L{layer}H{head}"


def parse_head(name: str) -> Head:
    """Return (layer, head) of a name such as ``L5H4``.

    Raises
    ------
    OptionError
        If it is not such a name.
    """
    match = _HEAD_NAME.fullmatch(name.strip())
    if match is None:
        raise OptionError(f"a head is named like L5H4 (layer 5, head 4, from 0), not {name!r}")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class HeadChoice:
    """The heads that were asked for.

    Attributes
    ----------
    heads : tuple of (layer, head)
        n heads, by layer and then by number, each once.
    of_layers, of_heads : int
        N and H of the model.
    """

    heads: tuple[Head, ...]
    of_layers: int
    of_heads: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names, ``L0H0`` first."""
        return tuple(head_name(*head) for head in self.heads)

    @property
    def by_layer(self) -> dict[int, tuple[int, ...]]:
        """Head numbers of each layer that has any."""
        layers = sorted({layer for layer, _ in self.heads})
        return {n: tuple(head for layer, head in self.heads if layer == n) for n in layers}

    @property
    def whole_layers(self) -> bool:
        """Whether every head of each of these layers was asked for."""
        return all(len(heads) == self.of_heads for heads in self.by_layer.values())

    def place(self, layer: int, head: int) -> int:
        """Return where a head stands in ``heads``."""
        return self.heads.index((layer, head))


def choose_heads(
    heads: Sequence[str] | None,
    layers: Sequence[int] | Literal["all"],
    *,
    of_layers: int,
    of_heads: int,
) -> HeadChoice:
    """Turn names of heads, or numbers of layers, into the heads of a model.

    Parameters
    ----------
    heads : sequence of str, optional
        Names such as ``L5H4``, or ``L5`` for every head of a layer; without them all of the layers.
    layers : sequence of int, or 'all'
        Attention layers 0..N-1, or negatives from the end. Ignored when heads are named.
    of_layers, of_heads : int
        N and H of the model.

    Raises
    ------
    OptionError
        If there is no such head or layer; the message says which there are.
    """
    there = f"the model has layers 0 to {of_layers - 1} with heads 0 to {of_heads - 1} each"
    every = [(layer, head) for layer in range(of_layers) for head in range(of_heads)]
    chosen: set[Head] = set()
    if heads is not None:
        for name in heads:
            layer_only = _LAYER_NAME.fullmatch(name.strip())
            if layer_only:
                found = [(layer, head) for layer, head in every if layer == int(layer_only[1])]
            else:
                found = [head for head in every if head == parse_head(name)]
            if not found:
                raise OptionError(
                    f"there is no {name.strip()}: {there} ({head_name(0, 0)} to "
                    f"{head_name(of_layers - 1, of_heads - 1)})"
                )
            chosen.update(found)
    else:
        numbers = range(of_layers) if layers == "all" else layers
        for asked in numbers:
            layer = asked + of_layers if asked < 0 else asked
            if not 0 <= layer < of_layers:
                raise OptionError(f"there is no attention layer {asked}: {there}")
            chosen.update((layer, head) for head in range(of_heads))
    if not chosen:
        raise OptionError(f"give at least one head or layer; {there}")
    return HeadChoice(tuple(sorted(chosen)), of_layers, of_heads)


def resolve_layers(layers: Sequence[int] | Literal["all"], last: int, checkpoint: str) -> list[int]:
    """Turn layer numbers, negatives counted from the end, into 0..N in the order asked for.

    Parameters
    ----------
    layers : sequence of int, or 'all'
    last : int
        N, the number of the last hidden state.
    checkpoint : str
        What to call the model in an error.

    Raises
    ------
    OptionError
        If a hidden state with that number does not exist, or one is asked for twice.
    """
    count = last + 1
    if layers == "all":
        return list(range(count))
    resolved = [layer + count if layer < 0 else layer for layer in layers]
    for asked, layer in zip(layers, resolved, strict=True):
        if not 0 <= layer < count:
            raise OptionError(
                f"there is no layer {asked}: {checkpoint} has hidden states 0 (token "
                f"embedding) to {last} (last layer), or -1 to -{count} from the end"
            )
    if not resolved or len(set(resolved)) < len(resolved):
        raise OptionError(f"give at least one layer and each only once, not {list(layers)}")
    return resolved
