"""The original Transformer of Vaswani et al. 2017, from the very functions of `esmkit.reference.encoder`.

ESM-2 is the encoder of this blueprint with four changes: the norm goes before each half of a layer
instead of after it, GELU replaces ReLU, rotary positions replace those added to the embedding, and
there is no decoder. All else is shared and stands in `reference`, as do the axes and the sources in
brackets. ``S`` counts the tokens of the encoder's result, the *memory* a decoder attends to.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from esmkit.errors import InputError
from esmkit.reference.encoder import (
    Affine,
    Array,
    Attention,
    Layer,
    Steps,
    feed_forward,
    layer_norm,
    multi_head_attention,
)

SINUSOID_BASE = 10_000.0  # [1], section 3.5


@dataclass(frozen=True, eq=False)
class DecoderLayer:
    """One decoder layer; an encoder layer has the parts of ESM-2's, `reference.Layer`."""

    attention: Attention
    attention_norm: Affine
    cross_attention: Attention
    cross_attention_norm: Affine
    expand: Affine
    contract: Affine
    feed_forward_norm: Affine


def relu(x: Array) -> Array:
    """Set what is negative to 0 ([1], eq. 2); any shape."""
    return np.maximum(x, 0.0)


def sinusoidal_positions(tokens: int, width: int, *, dtype: DTypeLike = np.float64) -> Array:
    """Write each position as waves of growing length ([1], section 3.5).

    Parameters
    ----------
    tokens : int, T
    width : int, D, even: column 2i is the sine, column 2i + 1 the cosine of one wave
    dtype : float64 (default) or float32

    Returns
    -------
    (T, D) in [-1, 1]

    Raises
    ------
    InputError
        If the width is odd.

    Examples
    --------
    >>> sinusoidal_positions(2, 4).round(3)
    array([[0.   , 1.   , 0.   , 1.   ],
           [0.841, 0.54 , 0.01 , 1.   ]])
    """
    if width % 2:
        raise InputError(f"width {width}: sinusoidal positions need an even width")
    wave = np.arange(0, width, 2) / width  # (D/2,): 2i / D
    angles = np.arange(tokens)[:, None] / SINUSOID_BASE**wave  # (T, 1) / (D/2,) -> (T, D/2)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1)  # two of (T, D/2) -> (T, D/2, 2)
    return pairs.reshape(tokens, width).astype(dtype)  # (T, D/2, 2) -> (T, D)


def learned_positions(table: Array, tokens: int) -> Array:
    """Take the first T rows of a learned table (positions, D) ([1], section 3.5, table 3 row E).

    Raises
    ------
    InputError
        If the sequence is longer than the table: nothing was learned for what lies beyond.
    """
    if tokens > len(table):
        raise InputError(f"{tokens} tokens, but positions were learned for {len(table)} only")
    return table[:tokens]


def embed(ids: ArrayLike, embedding: Array, positions: Array) -> Array:
    """Look up tokens, scale them by sqrt(D), add their positions ([1], sections 3.4 and 3.5).

    Parameters
    ----------
    ids : (B, T) int
    embedding : (V, D)
    positions : (T, D), from `sinusoidal_positions` or `learned_positions`

    Returns
    -------
    (B, T, D)

    Raises
    ------
    InputError
        If an id is outside the vocabulary, or the shapes do not fit.
    """
    ids = np.asarray(ids)
    vocabulary, width = embedding.shape
    if ids.ndim != 2 or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"ids {ids.dtype} {ids.shape}: give integers (sequences, tokens)")
    if positions.shape != (ids.shape[1], width):
        raise InputError(f"positions {positions.shape}: these ids need {(ids.shape[1], width)}")
    for row, column in np.argwhere((ids < 0) | (ids >= vocabulary))[:1]:
        raise InputError(
            f"sequence {row}, position {column}: token id {ids[row, column]} is outside the "
            f"vocabulary, 0 to {vocabulary - 1}"
        )
    return embedding[ids] * math.sqrt(width) + positions


def causal_mask(tokens: int) -> Array:
    """Let each token see itself and what came before ([1], section 3.2.3): (T, T) bool.

    >>> causal_mask(3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    return np.tri(tokens, dtype=bool)


def encoder_layer(x: Array, p: Layer, heads: int, *, allowed: Array | None = None) -> Steps:
    """Run one post-LN encoder layer: LN(x + attention(x)), then LN(x + feed_forward(x)) ([1], 3.1).

    Parameters
    ----------
    x : (B, T, D)
    p : Layer
    heads : int, H
    allowed : bool, broadcast to (B, H, T, T): False where a query may not see a key

    Returns
    -------
    dict of every step: those of `reference.multi_head_attention` and `reference.feed_forward`, the
    two sums ``attention_residual`` and ``feed_forward_residual``, and the two norms' results
    ``feed_forward_input`` and ``output``, which is the layer's; all (B, T, D)
    """
    steps = multi_head_attention(x, x, p.attention, heads, allowed=allowed)
    steps["attention_residual"] = x + steps["attention_output"]
    x = layer_norm(steps["attention_residual"], p.attention_norm)
    return steps | _feed_forward_half(x, p)


def decoder_layer(
    x: Array,
    memory: Array,
    p: DecoderLayer,
    heads: int,
    *,
    allowed: Array | None = None,
    memory_allowed: Array | None = None,
) -> Steps:
    """Run one decoder layer: masked self-attention, cross-attention, feed-forward ([1], 3.1).

    Parameters
    ----------
    x : (B, T, D)
    memory : (B, S, D), the encoder's result: keys and values of the cross-attention
    p : DecoderLayer
    heads : int, H
    allowed : bool, broadcast to (B, H, T, T): padding, on top of the causal mask
    memory_allowed : bool, broadcast to (B, H, T, S): padding of the memory

    Returns
    -------
    dict of every step, as for `encoder_layer`; those of the cross-attention have the prefix
    ``cross_``, and ``cross_attention_input`` is the result of the first norm
    """
    causal = causal_mask(x.shape[1])
    mask = causal if allowed is None else causal & allowed
    steps = multi_head_attention(x, x, p.attention, heads, allowed=mask)
    steps["attention_residual"] = x + steps["attention_output"]
    x = layer_norm(steps["attention_residual"], p.attention_norm)
    cross = multi_head_attention(x, memory, p.cross_attention, heads, allowed=memory_allowed)
    cross |= {"attention_input": x, "attention_residual": x + cross["attention_output"]}
    steps |= {f"cross_{name}": step for name, step in cross.items()}
    x = layer_norm(cross["attention_residual"], p.cross_attention_norm)
    return steps | _feed_forward_half(x, p)


def _feed_forward_half(x: Array, p: Layer | DecoderLayer) -> Steps:
    """Finish a layer: LN(x + feed_forward(x)) for x (B, T, D)."""
    steps = {"feed_forward_input": x} | feed_forward(x, p.expand, p.contract, relu)
    residual = x + steps["feed_forward_output"]
    output = layer_norm(residual, p.feed_forward_norm)
    return steps | {"feed_forward_residual": residual, "output": output}


def random_layer(generator: np.random.Generator, width: int, hidden: int) -> Layer:
    """Draw an untrained encoder layer in float64, to look at the arithmetic.

    Weights have variance 1 / inputs, which keeps the size of what passes through; biases are 0.

    Parameters
    ----------
    generator : numpy.random.Generator; the same seed draws the same layer
    width, hidden : int, D and F; [1] has 512 and 2,048
    """
    return Layer(
        attention_norm=_plain_norm(width),
        attention=_random_attention(generator, width),
        feed_forward_norm=_plain_norm(width),
        expand=_random_affine(generator, hidden, width),
        contract=_random_affine(generator, width, hidden),
    )


def random_decoder_layer(generator: np.random.Generator, width: int, hidden: int) -> DecoderLayer:
    """Draw an untrained decoder layer; the parameters are those of `random_layer`."""
    return DecoderLayer(
        attention=_random_attention(generator, width),
        attention_norm=_plain_norm(width),
        cross_attention=_random_attention(generator, width),
        cross_attention_norm=_plain_norm(width),
        expand=_random_affine(generator, hidden, width),
        contract=_random_affine(generator, width, hidden),
        feed_forward_norm=_plain_norm(width),
    )


def _plain_norm(width: int) -> Affine:
    return Affine(np.ones(width), np.zeros(width))


def _random_affine(generator: np.random.Generator, outputs: int, inputs: int) -> Affine:
    return Affine(generator.normal(0.0, inputs**-0.5, (outputs, inputs)), np.zeros(outputs))


def _random_attention(generator: np.random.Generator, width: int) -> Attention:
    return Attention(*(_random_affine(generator, width, width) for _ in range(4)))
