"""Names of layers and heads, and which of them a model has."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import items_of, what_is, whole_number
from esmkit.errors import OptionError

__all__ = [
    "HeadChoice",
    "Heads",
    "Layers",
    "choose_heads",
    "head_name",
    "head_names",
    "layer_numbers",
    "parse_head",
    "resolve_layers",
]


Head: TypeAlias = tuple[int, int]
"""(layer, head), both from 0."""

Heads: TypeAlias = str | tuple[int, int] | Sequence[str | tuple[int, int]] | NDArray[np.integer]
"""What may be given for heads: names, (layer, head) pairs, or an array (n, 2) of these."""

Layers: TypeAlias = int | np.integer | Sequence[int] | NDArray[np.integer] | Literal["all"]
"""What may be given for layers: one number, several, or all."""

_HEAD_NAME = re.compile(r"L(\d{1,9})H(\d{1,9})", re.IGNORECASE)
_LAYER_NAME = re.compile(r"L(\d{1,9})", re.IGNORECASE)


def head_name(layer: int, head: int) -> str:
    """Return the name of a head, both numbers from 0.

    >>> head_name(5, 4)
    'L5H4'
    """
    return f"L{layer}H{head}"


def parse_head(name: Any) -> Head:
    """Return (layer, head) of a name such as ``L5H4``, or of a pair of numbers.

    Raises
    ------
    OptionError
        If it is neither.

    Examples
    --------
    >>> parse_head("L5H4"), parse_head((5, 4))
    ((5, 4), (5, 4))
    """
    match = _HEAD_NAME.fullmatch(name.strip()) if isinstance(name, str) else None
    if match is not None:
        return int(match[1]), int(match[2])
    pair = _pair(name)
    if pair is None:
        # Text may come from a command, which takes no pairs
        pairs = "" if isinstance(name, str) else " or is a pair (5, 4)"
        raise OptionError(
            f"a head is named like L5H4 (layer 5, head 4, from 0){pairs}, not {what_is(name)}"
        )
    return pair


def _pair(value: Any) -> Head | None:
    """Return a (layer, head) pair of two whole numbers; of anything else, None."""
    if not isinstance(value, tuple) and getattr(value, "shape", None) != (2,):
        return None
    numbers = [whole_number(number) for number in value]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None or min(value) < 0:
        return None
    return numbers[0], numbers[1]


def head_names(heads: Heads) -> tuple[str, ...]:
    """Return heads by their names, whichever way they are given.

    Raises
    ------
    OptionError
        If one is neither a name nor a pair of numbers.

    Examples
    --------
    >>> head_names([(5, 4), "L2"]), head_names((5, 4))
    (('L5H4', 'L2'), ('L5H4',))
    """
    if isinstance(heads, str) or _pair(heads) is not None:
        found = [heads]
    else:
        found = items_of(heads)
        if found is None:
            raise OptionError(
                "heads are names such as 'L5H4' or pairs such as (5, 4), one or a list of them, "
                f"not {what_is(heads)}"
            )
    return tuple(_name_of(one) for one in found)


def _name_of(head: Any) -> str:
    """Return the name of a head, or of a whole layer as it is given."""
    if isinstance(head, str) and _LAYER_NAME.fullmatch(head.strip()):
        return head.strip()
    return head_name(*parse_head(head))


def layer_numbers(layers: Layers) -> list[int] | Literal["all"]:
    """Return layers as a list of ``int``, whichever way they are given.

    Raises
    ------
    OptionError
        If one is no whole number.

    Examples
    --------
    >>> layer_numbers(-1), layer_numbers(np.array([0, 6])), layer_numbers("all")
    ([-1], [0, 6], 'all')
    """
    if isinstance(layers, str) and layers == "all":
        return "all"
    one = whole_number(layers)
    if one is not None:
        return [one]
    given = items_of(layers)
    for number in [layers] if given is None else given:
        if whole_number(number) is None:
            raise OptionError(
                "layers are whole numbers, one or a list of them, or 'all' (the last is -1), not "
                f"{what_is(number)}"
            )
    return [int(number) for number in given or []]


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

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names, ``L0H0`` first."""
        return tuple(head_name(*head) for head in self.heads)

    @cached_property
    def by_layer(self) -> Mapping[int, tuple[int, ...]]:
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
    heads: Heads | None,
    layers: Layers,
    *,
    of_layers: int,
    of_heads: int,
) -> HeadChoice:
    """Turn names of heads, or numbers of layers, into the heads of a model.

    Parameters
    ----------
    heads : str, pair of int, or sequence of these, optional
        Names such as ``L5H4``, pairs such as ``(5, 4)``, or ``L5`` for every head of a layer;
        without them all of the layers.
    layers : int, sequence of int, or 'all'
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
        for name in head_names(heads):
            layer_only = _LAYER_NAME.fullmatch(name)
            if layer_only:
                found = [(layer, head) for layer, head in every if layer == int(layer_only[1])]
            else:
                found = [head for head in every if head == parse_head(name)]
            if not found:
                raise OptionError(
                    f"there is no {name}: {there} ({head_name(0, 0)} to "
                    f"{head_name(of_layers - 1, of_heads - 1)})"
                )
            chosen.update(found)
    else:
        given = layer_numbers(layers)
        numbers = range(of_layers) if given == "all" else given
        for asked in numbers:
            layer = asked + of_layers if asked < 0 else asked
            if not 0 <= layer < of_layers:
                raise OptionError(f"there is no attention layer {asked}: {there}")
            chosen.update((layer, head) for head in range(of_heads))
    if not chosen:
        raise OptionError(f"give at least one head or layer; {there}")
    return HeadChoice(tuple(sorted(chosen)), of_layers, of_heads)


def resolve_layers(layers: Layers, last: int, checkpoint: str) -> list[int]:
    """Turn layer numbers, negatives counted from the end, into 0..N in the order asked for.

    Parameters
    ----------
    layers : int, sequence of int, or 'all'
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
    given = layer_numbers(layers)
    if given == "all":
        return list(range(count))
    resolved = [layer + count if layer < 0 else layer for layer in given]
    for asked, layer in zip(given, resolved, strict=True):
        if not 0 <= layer < count:
            raise OptionError(
                f"there is no layer {asked}: {checkpoint} has hidden states 0 (token "
                f"embedding) to {last} (last layer), or -1 to -{count} from the end"
            )
    if not resolved or len(set(resolved)) < len(resolved):
        raise OptionError(f"give at least one layer and each only once, not {given}")
    return resolved
