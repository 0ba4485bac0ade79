"""Queries, keys, values and residual streams from the reference encoder, packed into few bytes.

A map of R x R weights follows from queries and keys, R x K numbers each: with a head width of 16
and 1,000 residues, 64 kB in place of 1 MB. So a page holds these, in 16 bits, and the browser makes
each map when it is opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.encoder.names import Head, HeadChoice
from esmkit.reference import encoder as reference
from esmkit.sequences.tokens import encode

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["HeadTrace", "LayerTrace", "Trace", "quantise", "run_trace"]

LARGEST: dict[np.dtype[Any], int] = {np.dtype(np.int16): 32_767, np.dtype(np.int8): 127}


@dataclass(frozen=True, eq=False)
class HeadTrace:
    """Trace of one head, for the S tokens of all windows one after the other.

    Attributes
    ----------
    query, key, value : numpy.ndarray of int16, shape (S, K)
        Queries scaled by 1/sqrt(K) and turned by their position, keys turned, values: times their
        scale, the trace's ``rotated_query``, ``rotated_key`` and ``value``.
    scales : tuple of three float
    contribution : numpy.ndarray of float32, shape (S,)
        Length of the vector that the head adds to the residual stream of each token.
    """

    query: NDArray[np.int16]
    key: NDArray[np.int16]
    value: NDArray[np.int16]
    scales: tuple[float, float, float]
    contribution: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """The residual stream around the attention of one layer.

    Attributes
    ----------
    lengths : numpy.ndarray of float32, shape (3, S)
        Lengths of the residual stream before, of what all heads and the bias add, and of the
        stream after.
    before, added : numpy.ndarray of int8, shape (S, D), or None
        The same two vectors; each row times its scale.
    before_scales, added_scales : numpy.ndarray of float32, shape (S,), or None
    output : numpy.ndarray of int16, shape (D, D), or None
        W^O times its scale: head h has columns h K to (h + 1) K.
    output_scale : float
    """

    lengths: NDArray[np.float32]
    before: NDArray[np.int8] | None = None
    before_scales: NDArray[np.float32] | None = None
    added: NDArray[np.int8] | None = None
    added_scales: NDArray[np.float32] | None = None
    output: NDArray[np.int16] | None = None
    output_scale: float = 0.0


@dataclass(frozen=True, eq=False)
class Trace:
    """Heads and layers of one protein.

    Attributes
    ----------
    pieces : list of (start, stop)
        The windows; each has BOS, its residues, EOS.
    heads : dict from (layer, head)
    layers : dict from layer
    """

    pieces: list[tuple[int, int]]
    heads: dict[Head, HeadTrace]
    layers: dict[int, LayerTrace]


def quantise(
    values: NDArray[np.floating[Any]], kind: type = np.int16
) -> tuple[NDArray[np.signedinteger[Any]], float]:
    """Return values as integers and the scale that turns them back.

    Rounding is at most half the scale: 1/65,534 of the largest magnitude for int16.
    """
    largest = LARGEST[np.dtype(kind)]
    scale = float(np.abs(values).max(initial=0)) / largest or 1.0
    return np.round(values / scale).astype(kind), scale


def _pack_rows(values: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    scales = np.abs(values).max(axis=1) / LARGEST[np.dtype(np.int8)]
    scales[scales == 0] = 1.0
    return np.round(values / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def run_trace(
    model: "Encoder",
    sequence: str,
    pieces: Sequence[tuple[int, int]],
    choice: HeadChoice,
    *,
    strips: bool,
) -> Trace:
    """Run the reference encoder in float32 and keep what a page shows.

    Parameters
    ----------
    model : Encoder
        Its weights as they are in memory.
    sequence : str
    pieces : sequence of (start, stop)
    choice : HeadChoice
        Heads to keep.
    strips : bool
        Keep the residual stream itself and W^O, not only lengths.
    """
    tensors = {name: t.float().cpu().numpy() for name, t in model.network.state_dict().items()}
    parameters = reference.read_parameters(tensors, model.heads, dtype=np.float32)
    found = [_run_piece(parameters, sequence[a:b], choice) for a, b in pieces]
    heads = {}
    for head in choice.heads:
        joined = [np.concatenate([of[0][head][n] for of in found]) for n in range(3)]
        packed = [quantise(values) for values in joined]
        heads[head] = HeadTrace(
            packed[0][0],
            packed[1][0],
            packed[2][0],
            (packed[0][1], packed[1][1], packed[2][1]),
            np.concatenate([of[0][head][3] for of in found]),
        )
    layers = {}
    for layer in choice.by_layer:
        before, added = (np.concatenate([of[1][layer][n] for of in found]) for n in (0, 1))
        lengths = np.stack([np.linalg.norm(v, axis=1) for v in (before, added, before + added)])
        lengths = lengths.astype(np.float32)
        if not strips:
            layers[layer] = LayerTrace(lengths)
            continue
        output, scale = quantise(parameters.layers[layer].attention.output.weight)
        layers[layer] = LayerTrace(lengths, *_pack_rows(before), *_pack_rows(added), output, scale)
    return Trace(list(pieces), heads, layers)


def _run_piece(
    parameters: reference.Parameters, sequence: str, choice: HeadChoice
) -> tuple[dict, dict]:
    """Return for each head its query, key, value and contribution, for each layer before, added."""
    ids = encode(sequence)[None]
    x = reference.embed_tokens(ids, np.ones(ids.shape, bool), parameters.embedding)
    rotary = reference.rotary_tables(parameters.inverse_frequencies, ids.shape[1])
    heads, layers = {}, {}
    for number, layer in enumerate(parameters.layers):
        if number > max(choice.by_layer):
            break
        steps = reference.encoder_layer(x, layer, parameters.heads, rotary, None)
        if number in choice.by_layer:
            layers[number] = (x[0], steps["attention_output"][0])
        for head in choice.by_layer.get(number, ()):
            mixed = steps["head_output"][0, head]  # (T, K)
            width = mixed.shape[1]
            part = layer.attention.output.weight[:, head * width : (head + 1) * width]  # (D, K)
            heads[number, head] = (
                steps["rotated_query"][0, head],
                steps["rotated_key"][0, head],
                steps["value"][0, head],
                np.linalg.norm(mixed @ part.T, axis=1).astype(np.float32),
            )
        x = steps["residual"]
    return heads, layers
