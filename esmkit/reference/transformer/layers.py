"""One layer of the encoder and one of the decoder, from the very functions of `reference.encoder`.

Axes and the sources in brackets are those of `esmkit.reference.encoder`. ``S`` counts the tokens of
the encoder's result, the *memory* a decoder attends to.
"""

from dataclasses import dataclass

import numpy as np

from esmkit.errors import InputError
from esmkit.reference.bounds import at_least
from esmkit.reference.encoder import (
    Affine,
    Array,
    Attention,
    Layer,
    Steps,
    apply_mask,
    concatenate_heads,
    feed_forward,
    layer_norm,
    linear,
    multi_head_attention,
    project_heads,
    rotate,
    scale_query,
    softmax,
)

Rotary = tuple[Array, Array]  # cos and sin of each token's angles, (T, K) each


@dataclass(frozen=True, eq=False)
class DecoderLayer:
    """One decoder layer; an encoder layer has the parts of ESM-2's, `reference.Layer`.

    Attributes
    ----------
    attention, cross_attention : Attention, to what is written and to the memory
    attention_norm, cross_attention_norm, feed_forward_norm : Affine (D,), after each of three sums
    expand, contract : Affine, (F, D) and (D, F)

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_layer
    >>> layer = random_decoder_layer(np.random.default_rng(0), width=8, hidden=16)
    >>> layer.cross_attention.key.weight.shape, layer.expand.weight.shape
    ((8, 8), (16, 8))
    """

    attention: Attention
    attention_norm: Affine
    cross_attention: Attention
    cross_attention_norm: Affine
    expand: Affine
    contract: Affine
    feed_forward_norm: Affine


def relu(x: Array) -> Array:
    """Set what is negative in x to 0 ([1], eq. 2); any shape.

    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(x, 0.0)


def causal_mask(tokens: int) -> Array:
    """Let each of T `tokens` see itself and what came before ([1], section 3.2.3): (T, T) bool.

    >>> causal_mask(3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    at_least(1, tokens=tokens)
    return np.tri(tokens, dtype=bool)


def attend(query: Array, key: Array, value: Array, output: Affine, allowed: Array | None) -> Steps:
    """Weigh values by how well keys answer queries that are scaled already ([1], eq. 1).

    Parameters
    ----------
    query : (B, H, T, K), scaled by 1 / sqrt(K) and, with rotary positions, turned
    key, value : (B, H, S, K)
    output : Affine, W^O
    allowed : bool, broadcast to (B, H, T, S), or None

    Returns
    -------
    dict of ``scores`` and ``weights`` (B, H, T, S), ``head_output`` (B, H, T, K) and
    ``attention_output`` (B, T, D)

    Examples
    --------
    >>> query = np.array([[[[10.0, 0.0]]]])  # one token asks
    >>> key = np.array([[[[10.0, 0.0], [0.0, 10.0]]]])  # two answer, the first as it is asked
    >>> value = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> attend(query, key, value, Affine(np.eye(2), np.zeros(2)), None)["attention_output"]
    array([[[1., 2.]]])
    """
    steps = {"scores": apply_mask(query @ key.swapaxes(-1, -2), allowed)}
    steps["weights"] = softmax(steps["scores"])
    steps["head_output"] = steps["weights"] @ value  # (B, H, T, S) @ (B, H, S, K)
    steps["attention_output"] = linear(concatenate_heads(steps["head_output"]), output)
    return steps


def cross_attention(
    x: Array,
    memory: Array,
    p: Attention,
    heads: int,
    *,
    allowed: Array | None = None,
    rotary: Rotary | None = None,
    memory_rotary: Rotary | None = None,
) -> Steps:
    """Attend from x to another sequence whose tokens have positions of their own ([1], 3.2.3).

    Parameters
    ----------
    x : (B, T, D), the tokens that ask
    memory : (B, S, D), the tokens that are asked
    p : Attention
    heads : int, H
    allowed : bool, broadcast to (B, H, T, S)
    rotary, memory_rotary : cos and sin, (T, K) for x and (S, K) for the memory; both or neither

    Returns
    -------
    dict of the steps of `reference.multi_head_attention`

    Raises
    ------
    InputError
        If x and memory are of different numbers of sequences.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_layer
    >>> p = random_layer(np.random.default_rng(0), width=8, hidden=16).attention
    >>> cross_attention(np.ones((1, 3, 8)), np.ones((1, 5, 8)), p, 2)["weights"].shape
    (1, 2, 3, 5)
    """
    if len(x) != len(memory):
        raise InputError(f"{len(x)} sequences cannot attend to {len(memory)}: give one for each")
    query, key, value = project_heads(x, memory, p, heads)
    steps = {"query": query, "key": key, "value": value}
    query = scale_query(query)
    if rotary is not None and memory_rotary is not None:
        query, key = rotate(query, *rotary), rotate(key, *memory_rotary)
    steps |= {"rotated_query": query, "rotated_key": key}
    return steps | attend(query, key, value, p.output, allowed)


def encoder_layer(
    x: Array,
    p: Layer,
    heads: int,
    *,
    allowed: Array | None = None,
    rotary: Rotary | None = None,
) -> Steps:
    """Run one post-LN encoder layer: LN(x + attention(x)), then LN(x + feed_forward(x)) ([1], 3.1).

    Parameters
    ----------
    x : (B, T, D)
    p : Layer
    heads : int, H
    allowed : bool, broadcast to (B, H, T, T): False where a query may not see a key
    rotary : cos and sin (T, K) that turn queries and keys; None, as in [1], turns nothing

    Returns
    -------
    dict of every step: those of `reference.multi_head_attention` and `reference.feed_forward`, the
    two sums ``attention_residual`` and ``feed_forward_residual``, and the two norms' results
    ``feed_forward_input`` and ``output``, which is the layer's; all (B, T, D)

    See Also
    --------
    esmkit.reference.encoder_layer : That of ESM-2, with the norm first.
    decoder_layer : The layer beside it.

    References
    ----------
    [1] Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, section 3.1.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_layer
    >>> p = random_layer(np.random.default_rng(0), width=8, hidden=16)
    >>> x = np.random.default_rng(1).normal(size=(1, 3, 8))
    >>> output = encoder_layer(x, p, 2)["output"]
    >>> output.shape, float(abs(output.mean(axis=-1)).max().round(6))  # the norm comes last
    ((1, 3, 8), 0.0)
    """
    steps = multi_head_attention(x, x, p.attention, heads, allowed=allowed, rotary=rotary)
    steps["attention_residual"] = x + steps["attention_output"]
    x = layer_norm(steps["attention_residual"], p.attention_norm)
    return steps | feed_forward_half(x, p)


def decoder_layer(
    x: Array,
    memory: Array,
    p: DecoderLayer,
    heads: int,
    *,
    allowed: Array | None = None,
    memory_allowed: Array | None = None,
    rotary: Rotary | None = None,
    memory_rotary: Rotary | None = None,
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
    rotary, memory_rotary : cos and sin, (T, K) of x and (S, K) of the memory; None, as in [1], turns
        nothing

    Returns
    -------
    dict of every step, as for `encoder_layer`; those of the cross-attention have the prefix
    ``cross_``, and ``cross_attention_input`` is the result of the first norm

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_layer
    >>> p = random_decoder_layer(np.random.default_rng(0), width=8, hidden=16)
    >>> steps = decoder_layer(np.ones((1, 3, 8)), np.ones((1, 5, 8)), p, 2)
    >>> steps["weights"].shape, steps["cross_weights"].shape
    ((1, 2, 3, 3), (1, 2, 3, 5))
    """
    causal = causal_mask(x.shape[1])
    mask = causal if allowed is None else causal & allowed
    steps = multi_head_attention(x, x, p.attention, heads, allowed=mask, rotary=rotary)
    steps["attention_residual"] = x + steps["attention_output"]
    x = layer_norm(steps["attention_residual"], p.attention_norm)
    cross = cross_attention(
        x,
        memory,
        p.cross_attention,
        heads,
        allowed=memory_allowed,
        rotary=rotary,
        memory_rotary=memory_rotary,
    )
    cross |= {"attention_input": x, "attention_residual": x + cross["attention_output"]}
    steps |= {f"cross_{name}": step for name, step in cross.items()}
    x = layer_norm(cross["attention_residual"], p.cross_attention_norm)
    return steps | feed_forward_half(x, p)


def feed_forward_half(x: Array, p: Layer | DecoderLayer) -> Steps:
    """Finish a layer: LN(x + feed_forward(x)) for x (B, T, D)."""
    steps = {"feed_forward_input": x} | feed_forward(x, p.expand, p.contract, relu)
    residual = x + steps["feed_forward_output"]
    output = layer_norm(residual, p.feed_forward_norm)
    return steps | {"feed_forward_residual": residual, "output": output}
