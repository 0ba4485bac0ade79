"""Hypotheses: how a vector may have come about, in parts that combine."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from esmkit.against.padding import PADDED
from esmkit.against.pooling import POOLINGS, ROWS
from esmkit.against.sources import PLAIN, WINDOWS, Source

__all__ = ["NONE", "Hypothesis", "Post", "layer_choices", "layer_words", "pooling_words"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Post:
    """What was done to finished vectors.

    Attributes
    ----------
    kind : {'none', 'scale', 'normed', 'affine', 'columns', 'increasing'}
        Nothing; each multiplied by a number of its own; each centred and scaled by itself; each
        column scaled and shifted by ``slope`` and ``shift``; columns in the order ``order``; each
        number put through a function that keeps their order.
    words : str
    cost : int
    slope, shift, order : numpy.ndarray, shape (D,), optional
    """

    kind: str = "none"
    words: str = ""
    cost: int = 0
    slope: Array | None = None
    shift: Array | None = None
    order: NDArray[np.int64] | None = None

    def apply(self, own: Array, given: Array) -> Array:
        """Return own vectors (..., D) as they would look in the file, next to what it gives."""
        if self.slope is not None and self.shift is not None:
            return own * self.slope + self.shift
        if self.order is not None:
            return own[..., self.order]
        if self.kind == "scale":
            return own * _ratio(given, own)
        if self.kind == "normed":
            centred = own - own.mean(axis=-1, keepdims=True)
            rest = given - given.mean(axis=-1, keepdims=True)
            return centred * _ratio(rest, centred) + given.mean(axis=-1, keepdims=True)
        if self.kind == "increasing":
            made = np.empty_like(given)
            np.put_along_axis(made, own.argsort(axis=-1), np.sort(given, axis=-1), axis=-1)
            return made
        return own


def _ratio(given: Array, own: Array) -> Array:
    """Return the factor that takes own nearest to given, for each vector."""
    squares = (own * own).sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(squares > 0, (own * given).sum(axis=-1, keepdims=True) / squares, 0.0)


NONE = Post()


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One way in which records of a file may have come about.

    Attributes
    ----------
    source : Source
        What was fed to the model.
    layers : tuple of int
        Hidden states whose mean it is; N + 1 is the last before the final norm, N + 2 the last
        after two.
    pooling : str
        A name of :data:`POOLINGS`, :data:`ROWS` or :data:`PADDED`, or ``weighted``.
    post : Post
    reordered : bool
        Whether records stand under each other's names.
    half : str
        ``float16`` or ``bfloat16`` if that is what it was computed in.
    padded_to : dict from str to int
        Tokens that a record was padded to, for sources with padding that is attended to.
    slack : float
        Relative difference that it explains beyond rounding.
    variants : tuple of Source
        Sources like ``source`` that are tried in turn, for each record may be of another.
    """

    source: Source = PLAIN
    layers: tuple[int, ...] = (-1,)
    pooling: str = "mean"
    post: Post = NONE
    reordered: bool = False
    half: str = ""
    padded_to: dict[str, int] = field(default_factory=dict)
    slack: float = 0.0
    variants: tuple[Source, ...] = ()

    @property
    def cost(self) -> int:
        """How odd it is."""
        pooling = POOLINGS.get(self.pooling) or ROWS.get(self.pooling)
        pooling_cost = 1 if pooling is None else pooling.cost
        return (
            self.source.cost
            + pooling_cost
            + self.post.cost
            + 2 * self.reordered
            + (len(self.layers) > 1)
            + bool(self.half)
        )

    def words(self, last: int, expected: tuple[int, str]) -> list[str]:
        """Return what it says that differs from what is expected, each thing by itself.

        Parameters
        ----------
        last : int
            N, the number of the last hidden state.
        expected : (int, str)
            Layer and pooling that the file should have.
        """
        found = []
        if self.layers != (expected[0],):
            found.append(layer_words(self.layers, last, expected[0]))
        if self.pooling not in (expected[1], "residues", "tokens"):
            found.append(pooling_words(self.pooling))
        if self.source not in (PLAIN, WINDOWS):
            found.append(self.source.words)
        if self.post.kind != "none":
            found.append(self.post.words)
        if self.half:
            found.append(f"computed in half precision ({self.half})")
        return found

    def remedies(self, last: int, expected: tuple[int, str], *, any_layer: bool) -> list[str]:
        """Return what makes vectors of it what they should be, one thing for each of its words.

        Parameters
        ----------
        last : int
        expected : (int, str)
        any_layer : bool
            Whether every hidden state of the model is right.
        """
        found = []
        if self.layers != (expected[0],) and not (
            any_layer and len(self.layers) == 1 and self.layers[0] <= last
        ):
            found.append(_layer_remedy(self.layers, last, expected[0]))
        if self.pooling not in (expected[1], *ROWS):
            found.append(_pooling_remedy(self.pooling, expected[1]))
        if self.source not in (PLAIN, WINDOWS):
            found.append(self.source.remedy)
        if self.post.kind in _POST_REMEDIES:
            found.append(_POST_REMEDIES[self.post.kind])
        if self.half:
            found.append("embed in float32, or take differences of this size for what they are")
        return found


_POST_REMEDIES = {
    "scale": "leave out the scaling, or scale what you compare it with in the same way",
    "normed": "leave out the scaling, or scale what you compare it with in the same way",
    "affine": "leave out the scaling of columns, or scale what you compare it with in the same way",
    "columns": "bring the columns into the order of the model",
    "increasing": "take the numbers as the model gives them",
}


def _layer_remedy(layers: tuple[int, ...], last: int, expected: int) -> str:
    """Return how to come from hidden states to the expected one.

    >>> _layer_remedy((5,), 6, 6)
    'take hidden state 6, or say that 5 is meant (`layer`)'
    """
    layer, *others = layers
    if others:
        return f"take hidden state {expected} alone"
    if layer > last:
        return f"take hidden state {expected} after the final norm, which is applied once"
    return f"take hidden state {expected}, or say that {layer} is meant (`layer`)"


def _pooling_remedy(pooling: str, expected: str) -> str:
    """Return how to come from a pooling to the expected one."""
    if expected == "bos":
        return "take the state of the first token, BOS"
    if pooling in PADDED:
        return "take the mean over tokens 1 to R of each record, R its residues: no EOS, no padding"
    return {
        "mean_counted": "divide by the number of residues",
        "sum_all_by_residues": "leave BOS and EOS out of the sum",
        "max": "take the mean in place of the maximum",
        "max_all": "take the mean in place of the maximum, of the residues alone",
        "min": "take the mean in place of the minimum",
        "median": "take the mean in place of the median",
        "mean_padding": "leave padding out of the mean, by the attention mask",
        "bos": "take the mean over residues, or say that BOS is meant (`pool`)",
        "sum": "divide by the number of residues",
    }.get(pooling, "take the mean over all residues and nothing else, tokens 1 to R of R + 2")


def pooling_words(name: str) -> str:
    """Return what a pooling is."""
    if name in PADDED:
        return PADDED[name].words
    if name == "weighted":
        return "a weighted sum of this model's own states, and not their mean over residues"
    return (POOLINGS.get(name) or ROWS[name]).words


def layer_words(layers: tuple[int, ...], last: int, expected: int) -> str:
    """Return which hidden state it is.

    >>> layer_words((5,), 6, 6)
    'hidden state 5 and not 6, one layer too early'
    """
    layer, *others = layers
    if others:
        listed = ", ".join(map(str, layers))
        return f"the mean of hidden states {listed}"
    if layer == last + 1:
        return f"hidden state {last} before the final norm"
    if layer == last + 2:
        return f"hidden state {last} after the final norm a second time"
    away = layer - expected
    words = f"hidden state {layer} and not {expected}"
    if abs(away) == 1:
        words += f", one layer too {'early' if away < 0 else 'late'}"
    if layer == 0:
        words += ", the token embedding"
    return words


def layer_choices(last: int) -> list[tuple[tuple[int, ...], int]]:
    """Return hidden states and means of several, each with its cost."""
    found: list[tuple[tuple[int, ...], int]] = [((n,), int(n > last + 1)) for n in range(last + 3)]
    several = {
        *(tuple(range(last - n + 1, last + 1)) for n in (2, 3, 4) if n <= last),
        tuple(range(last + 1)),
        tuple(range(1, last + 1)),
        (0, last),
        (1, last),
    }
    return found + [(choice, 1) for choice in sorted(several) if len(set(choice)) > 1]
