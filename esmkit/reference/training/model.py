"""A whole ESM-2 with its masked-LM head: the loss of a batch, and its gradient by every parameter.

The forward pass is `esmkit.reference.encode`, of a model of any size; the backward pass walks through
its trace from the last layer to the first. Axes and sources as in `esmkit.reference.encoder` and
`esmkit.reference.masked_lm`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import at_least, float_type
from esmkit.reference.encoder import (
    MASK,
    PAD,
    TRAIN_MASK_RATE,
    Affine,
    Array,
    Attention,
    Encoding,
    Layer,
    Parameters,
    Steps,
    encode,
    inverse_frequencies,
    linear,
    rotary_tables,
)
from esmkit.reference.masked_lm import MaskedLmHead, masked_lm_steps
from esmkit.reference.training.backward import (
    cross_entropy,
    embedding_backward,
    feed_forward_backward,
    gelu_backward,
    layer_norm_backward,
    linear_backward,
    multi_head_attention_backward,
)
from esmkit.sequences.tokens import TOKENS

__all__ = [
    "MaskedLm",
    "embed_tokens_backward",
    "encoder_layer_backward",
    "masked_lm_loss",
    "masked_lm_loss_and_gradients",
    "random_masked_lm",
]

EMBEDDED, WRITTEN = 0.1, 0.1
"""Size of fresh embeddings, and of the matrices that write into the residual stream beside others."""


@dataclass(frozen=True, eq=False)
class MaskedLm:
    """An encoder and the head it is trained with; the head's decoder is the encoder's embedding.

    A gradient by all parameters has the same form: each array is the derivative of the loss by the
    array at its place.

    Attributes
    ----------
    encoder : Parameters
    dense : Affine (D, D), of the head
    norm : Affine (D,), of the head
    bias : (V,), of the logits

    Examples
    --------
    >>> model = random_masked_lm(0, layers=1, width=16, hidden=32)
    >>> model.head.decoder.weight is model.encoder.embedding
    True
    """

    encoder: Parameters
    dense: Affine  # (D, D)
    norm: Affine  # (D,)
    bias: Array  # (V,)

    @property
    def head(self) -> MaskedLmHead:
        """The head as `reference.masked_lm_logits` takes it."""
        return MaskedLmHead(self.dense, self.norm, Affine(self.encoder.embedding, self.bias))


def random_masked_lm(
    seed: int,
    *,
    layers: int = 4,
    heads: int = 4,
    width: int = 64,
    hidden: int = 256,
    dtype: DTypeLike = np.float32,
) -> MaskedLm:
    """Draw an untrained ESM-2 with a masked-LM head.

    Matrices have variance 1 / inputs, embeddings 1 / 100; biases are 0, gains 1. The two matrices of
    each layer that write into the residual stream are a tenth of that: at first a token's stream is
    nearly the token itself, and what it is does not drown in what untrained layers add.

    Parameters
    ----------
    seed : int
        The same seed draws the same model.
    layers, heads, width, hidden : int
        N, H, D and F.
    dtype : float32 (default) or float64

    Returns
    -------
    MaskedLm

    Raises
    ------
    OptionError
        If the width does not split into heads of even width, or a number is below 1.

    Examples
    --------
    >>> from esmkit.reference.training import parameter_count
    >>> parameter_count(random_masked_lm(0))
    206505
    """
    at_least(0, seed=seed)
    at_least(1, layers=layers, heads=heads, width=width, hidden=hidden)
    float_type(dtype)
    if width % (2 * heads):
        raise OptionError(
            f"width {width} with {heads} heads: give a width that is a multiple of twice the heads, for "
            "rotary positions turn pairs"
        )
    generator = np.random.default_rng(seed)

    def affine(outputs: int, inputs: int, share: float = 1.0) -> Affine:
        weight = generator.normal(0.0, share * inputs**-0.5, (outputs, inputs))
        return Affine(weight.astype(dtype), np.zeros(outputs, dtype))

    def norm() -> Affine:
        return Affine(np.ones(width, dtype), np.zeros(width, dtype))

    def attention() -> Attention:
        query, key, value = (affine(width, width) for _ in range(3))
        return Attention(query, key, value, affine(width, width, WRITTEN))

    drawn = tuple(
        Layer(norm(), attention(), norm(), affine(hidden, width), affine(width, hidden, WRITTEN))
        for _ in range(layers)
    )
    embedding = generator.normal(0.0, EMBEDDED, (len(TOKENS), width)).astype(dtype)
    frequencies = inverse_frequencies(width // heads).astype(dtype)
    encoder = Parameters(embedding, drawn, norm(), frequencies, heads, None)
    return MaskedLm(encoder, affine(width, width), norm(), np.zeros(len(TOKENS), dtype))


def masked_lm_loss(
    model: MaskedLm,
    ids: ArrayLike,
    targets: ArrayLike,
    chosen: ArrayLike,
    *,
    attention_mask: ArrayLike | None = None,
) -> float:
    """Return the loss of a batch, in nats per chosen place.

    Parameters
    ----------
    model, ids, targets, chosen, attention_mask
        As for `masked_lm_loss_and_gradients`.

    Returns
    -------
    float

    Examples
    --------
    >>> model = random_masked_lm(0, layers=1, width=16, hidden=32)
    >>> ids, targets = np.array([[0, 20, 32, 2]]), np.array([[0, 20, 15, 2]])
    >>> round(masked_lm_loss(model, ids, targets, ids == MASK), 1)  # not far from ln 33, of a guess among all tokens
    3.8
    """
    encoding = encode(model.encoder, ids, attention_mask=attention_mask)
    return _head_loss(model, encoding, targets, chosen)[0]


def masked_lm_loss_and_gradients(
    model: MaskedLm,
    ids: ArrayLike,
    targets: ArrayLike,
    chosen: ArrayLike,
    *,
    attention_mask: ArrayLike | None = None,
) -> tuple[float, MaskedLm]:
    """Return the loss of a batch and its gradient by every parameter.

    Parameters
    ----------
    model : MaskedLm
    ids : (B, T) int
        What the model is shown: some tokens hidden behind ``<mask>``, some replaced.
    targets : (B, T) int
        What is right.
    chosen : (B, T) bool
        Which places count.
    attention_mask : (B, T) bool, optional
        False at padding; by default all but ``<pad>`` is True.

    Returns
    -------
    float
        The mean of -ln p(target) over the chosen places, in nats.
    MaskedLm
        The derivatives. That by the embedding has two parts, since it is used twice: to look
        tokens up and as the decoder. The rotary frequencies are not learned: 0. There is none by the
        contact head: None.

    Raises
    ------
    InputError
        If ids, targets and chosen do not fit each other or the model; see `reference.encode`.

    Examples
    --------
    >>> model = random_masked_lm(0, layers=1, width=16, hidden=32)
    >>> targets = np.array([[0, 20, 15, 2]])
    >>> ids = np.where(targets == 15, MASK, targets)
    >>> loss, gradients = masked_lm_loss_and_gradients(model, ids, targets, targets == 15)
    >>> gradients.encoder.embedding.shape == model.encoder.embedding.shape
    True
    """
    p = model.encoder
    encoding = encode(p, ids, attention_mask=attention_mask, trace=True)
    assert encoding.trace is not None  # asked for
    ids = np.asarray(ids)
    present = ids != PAD if attention_mask is None else np.asarray(attention_mask).astype(bool)
    loss, undo_head = _head_loss(model, encoding, targets, chosen)
    gradient, decoder, dense, norm = undo_head()
    gradient, final_norm = layer_norm_backward(
        gradient, encoding.trace[-1]["residual"], p.final_norm
    )
    rotary = rotary_tables(p.inverse_frequencies, ids.shape[1])
    layers = []
    for number in reversed(range(len(p.layers))):
        x, steps = encoding.hidden_states[number], encoding.trace[number]
        gradient, layer = encoder_layer_backward(
            gradient, x, steps, p.layers[number], p.heads, rotary
        )
        layers.append(layer)
    looked_up = embed_tokens_backward(gradient, ids, present, len(p.embedding))
    encoder = Parameters(
        embedding=looked_up + decoder.weight,
        layers=tuple(reversed(layers)),
        final_norm=final_norm,
        inverse_frequencies=np.zeros_like(p.inverse_frequencies),
        heads=p.heads,
        contact=None,
    )
    return loss, MaskedLm(encoder, dense, norm, decoder.bias)


def encoder_layer_backward(
    gradient: Array, x: Array, steps: Steps, p: Layer, heads: int, rotary: tuple[Array, Array]
) -> tuple[Array, Layer]:
    """Undo one layer: ``y = x + attention(LN(x))``, then ``y + feed_forward(LN(y))``.

    A residual connection adds, so its gradient is a sum: G as it is, past the branch, and what comes
    back through the branch. That is why gradients reach the first layers of a deep network.

    Parameters
    ----------
    gradient : (B, T, D), by ``residual``
    x : (B, T, D), what went in
    steps : dict, what `reference.encoder_layer` returned
    p : Layer
    heads : int, H
    rotary : cos and sin (T, K)

    Returns
    -------
    array (B, T, D)
        By x.
    Layer
        By every parameter.

    Examples
    --------
    >>> from esmkit.reference import encoder_layer
    >>> p = random_masked_lm(0, layers=1, width=16, hidden=32).encoder
    >>> rotary, x = rotary_tables(p.inverse_frequencies, 3), np.ones((1, 3, 16))
    >>> steps = encoder_layer(x, p.layers[0], p.heads, rotary, None)
    >>> by_x, by_p = encoder_layer_backward(np.ones_like(x), x, steps, p.layers[0], p.heads, rotary)
    >>> by_x.shape, by_p.attention.query.weight.shape
    ((1, 3, 16), (16, 16))
    """
    by_normed, expand, contract = feed_forward_backward(
        gradient, steps["feed_forward_input"], steps, p.expand, p.contract, gelu_backward
    )
    by_branch, feed_forward_norm = layer_norm_backward(
        by_normed, steps["attention_residual"], p.feed_forward_norm
    )
    gradient = gradient + by_branch
    normed = steps["attention_input"]
    as_asking, as_asked, attention = multi_head_attention_backward(
        gradient, normed, normed, steps, p.attention, heads, rotary=rotary
    )
    by_branch, attention_norm = layer_norm_backward(as_asking + as_asked, x, p.attention_norm)
    layer = Layer(attention_norm, attention, feed_forward_norm, expand, contract)
    return gradient + by_branch, layer


def embed_tokens_backward(gradient: Array, ids: Array, present: Array, vocabulary: int) -> Array:
    """Undo `reference.embed_tokens`: scale as it did, then add up for each token: (V, D).

    ``<mask>`` and padding were set to zero, so nothing comes back to them.

    Parameters
    ----------
    gradient : (B, T, D), by what was embedded
    ids : (B, T) int
    present : (B, T) bool, False at padding
    vocabulary : int, V

    Returns
    -------
    array (V, D)
        By the embedding.

    Examples
    --------
    >>> ids = np.array([[0, 5, MASK, 2]])
    >>> embed_tokens_backward(np.ones((1, 4, 1)), ids, ids != PAD, 33)[[0, 5, MASK], 0].round(3)
    array([1.173, 1.173, 0.   ])
    """
    masked = (ids == MASK) & present
    scale = (1.0 - TRAIN_MASK_RATE) / (1.0 - masked.sum(axis=1) / present.sum(axis=1))  # (B,)
    scale = scale[:, None] * (present & ~masked)  # (B, 1) * (B, T) -> (B, T)
    return embedding_backward(gradient * scale[..., None].astype(gradient.dtype), ids, vocabulary)


def _head_loss(
    model: MaskedLm, encoding: Encoding, targets: ArrayLike, chosen: ArrayLike
) -> tuple[float, Callable[[], tuple[Array, Affine, Affine, Affine]]]:
    """Return the loss, and how to go back through the head: only chosen places pass it."""
    states = encoding.hidden_states[-1]  # (B, T, D)
    targets, chosen = np.asarray(targets), np.asarray(chosen, bool)
    if targets.shape != states.shape[:2] or chosen.shape != states.shape[:2]:
        raise InputError(
            f"targets {targets.shape} and chosen {chosen.shape}: the ids are {states.shape[:2]}"
        )
    final = states[chosen]  # (B, T, D) -> (n, D)
    steps = masked_lm_steps(final, model.head)
    loss, gradient = cross_entropy(steps["logits"], targets[chosen])

    def undo() -> tuple[Array, Affine, Affine, Affine]:
        by_normed, decoder = linear_backward(gradient, steps["lm_normed"], model.head.decoder)
        by_hidden, norm = layer_norm_backward(by_normed, steps["lm_hidden"], model.norm)
        by_dense = gelu_backward(by_hidden, linear(final, model.dense))
        by_final, dense = linear_backward(by_dense, final, model.dense)
        by_states = np.zeros_like(states)
        by_states[chosen] = by_final
        return by_states, decoder, dense, norm

    return loss, undo
