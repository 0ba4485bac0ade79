"""What writes into the residual stream: the embedding, heads, biases and feed-forward layers.

Each layer adds to the stream what its heads have gathered, through W^O, the bias of W^O, and what
its feed-forward half makes. So the last residual is a sum, and whatever is linear in it is a sum over
the same components. The norms that follow are linear once their scale is held at what it was.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder.encoder import Encoder
from esmkit.encoder.names import head_name
from esmkit.errors import InputError
from esmkit.inside.result import Trace
from esmkit.inside.tracing import trace
from esmkit.sequences.given import OneProtein, one_protein

__all__ = ["Component", "HeldNorm", "components_of", "head_writes", "seen_at_once", "written"]

KEEP = ("embedding", "L*.head_output", "L*.feed_forward_output", "L*.residual")

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Component:
    """One of the summands of the residual stream.

    Attributes
    ----------
    name : str
        ``embedding``, ``L5H4``, ``L5.attention_bias`` or ``L5.feed_forward``.
    kind : {'embedding', 'head', 'attention_bias', 'feed_forward'}
    layer, head : int, optional
        From 0.
    """

    name: str
    kind: str
    layer: int | None = None
    head: int | None = None


def components_of(layers: int, heads: int) -> tuple[Component, ...]:
    """Return the summands of the last residual, in the order in which they are added.

    >>> [one.name for one in components_of(1, 2)]
    ['embedding', 'L0H0', 'L0H1', 'L0.attention_bias', 'L0.feed_forward']
    """
    found = [Component("embedding", "embedding")]
    for layer in range(layers):
        found += [Component(head_name(layer, h), "head", layer, h) for h in range(heads)]
        found.append(Component(f"L{layer}.attention_bias", "attention_bias", layer))
        found.append(Component(f"L{layer}.feed_forward", "feed_forward", layer))
    return tuple(found)


def seen_at_once(model: Encoder, protein: OneProtein, mask: Any, long: Any, keep: Any) -> Trace:
    """Trace one protein that is read in one piece.

    Raises
    ------
    InputError
        If several proteins are given, or it would be read in windows, each of which has a residual
        stream of its own.
    """
    one = one_protein(protein, "this is done for one protein")
    seen = trace(model, one, keep=keep, mask=() if mask is None else mask, long=long)
    if len(seen.pieces) > 1:
        raise InputError(
            f"{seen.id!r} has {len(seen.sequence):,} residues and would be read in "
            f'{len(seen.pieces)} windows, and this is about one pass; use `long="whole"`, or give a '
            "part of it"
        )
    return seen


def head_writes(dense: Any, width: int) -> tuple[Array, Array]:
    """Return the weight (D, D) and bias (D,) of a linear map of width D, or what stands in its place."""
    if type(dense) is torch.nn.Linear:
        weight, bias = dense.weight, dense.bias
        bias = torch.zeros(width) if bias is None else bias
    else:  # an adapter, which is linear too
        like = next(dense.parameters())
        with torch.inference_mode():
            eye = torch.eye(width, device=like.device, dtype=like.dtype)
            bias = dense(torch.zeros_like(eye[:1]))[0]
            weight = (dense(eye) - bias).T
    return tuple(x.detach().cpu().double().numpy() for x in (weight, bias))  # type: ignore[return-value]


def written(model: Encoder, seen: Trace, one: Component) -> Array:
    """Return what a component adds to the stream at each residue, float64, (R, D).

    Parameters
    ----------
    model : Encoder
    seen : Trace
        With what :data:`KEEP` names.
    one : Component
    """
    if one.kind == "embedding":
        return seen["embedding"].astype(np.float64)
    if one.kind == "feed_forward":
        return seen[f"L{one.layer}.feed_forward_output"].astype(np.float64)
    weight, bias = head_writes(model.parts().layers[one.layer or 0].output, model.width)
    if one.kind == "attention_bias":
        return np.tile(bias, (len(seen.sequence), 1))
    width = model.width // model.heads  # K
    columns = slice((one.head or 0) * width, ((one.head or 0) + 1) * width)
    return seen[f"{one.name}.output"].astype(np.float64) @ weight[:, columns].T


@dataclass(frozen=True)
class HeldNorm:
    """A layer norm whose scale is held: norm(x) = (x - mean x) * scale * weight + bias.

    Attributes
    ----------
    scale : numpy.ndarray of float64, shape (..., 1)
        1 / sqrt(variance + epsilon) of the input that it was taken from.
    weight, bias : numpy.ndarray of float64, shape (D,)
    """

    scale: Array
    weight: Array
    bias: Array

    @classmethod
    def at(cls, norm: Any, x: Array) -> "HeldNorm":
        """Hold a ``torch.nn.LayerNorm`` at an input (..., D)."""
        scale = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + norm.eps)
        weight, bias = (
            np.full(x.shape[-1], other)
            if p is None
            else p.detach().cpu().double().numpy()  # norms without these exist
            for p, other in ((norm.weight, 1.0), (norm.bias, 0.0))
        )
        return cls(scale, weight, bias)

    def direct(self, part: Array) -> Array:
        """Return what a summand of the input becomes, without the bias: (..., D) to (..., D)."""
        return (part - part.mean(axis=-1, keepdims=True)) * self.scale * self.weight

    def back(self, direction: Array) -> Array:
        """Return d of the input such that d . x = direction . direct(x), of one input (D,)."""
        scaled = self.scale * self.weight * direction
        return scaled - scaled.mean(axis=-1, keepdims=True)
