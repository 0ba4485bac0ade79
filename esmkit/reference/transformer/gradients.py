"""The backward pass of whole transformers, from the functions of `esmkit.reference.training`.

Each function undoes the forward one of the same name, from the loss backwards. Memory is read by
every decoder layer, so the encoder's gradient is a sum over them.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from esmkit.reference.encoder import Affine, Array, Layer, Steps
from esmkit.reference.training.backward import (
    cross_entropy,
    embedding_backward,
    feed_forward_backward,
    layer_norm_backward,
    linear_backward,
    multi_head_attention_backward,
    relu_backward,
)
from esmkit.reference.transformer.layers import DecoderLayer, Rotary
from esmkit.reference.transformer.stacks import (
    DecoderOnly,
    DecoderStack,
    EncoderStack,
    Pass,
    Transformer,
    forward,
)

Model = TypeVar("Model", Transformer, DecoderOnly)


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences to learn from; the letter that follows each token is known (teacher forcing).

    Attributes
    ----------
    ids : (B, T) int, what the decoder reads: a begin token, then the right letters
    targets : (B, T) int, what it should write: for each token of ids the next one
    chosen : (B, T) bool, which targets count; by default all
    source : (B, S) int, what the encoder reads; for a Transformer only
    present, source_present : (B, T) and (B, S) bool, False at padding
    places : (T,) int, where the tokens of ids stand

    Examples
    --------
    >>> Batch(ids=np.array([[3, 0, 1]]), targets=np.array([[0, 1, 1]])).source is None
    True
    """

    ids: Array
    targets: Array
    chosen: Array | None = None
    source: Array | None = None
    present: Array | None = None
    source_present: Array | None = None
    places: Array | None = None


def loss_and_gradients(model: Model, batch: Batch) -> tuple[float, Model]:
    """Compute the mean loss of a batch, and its gradient by every number of the model.

    Parameters
    ----------
    model : Transformer or DecoderOnly, in float32 or float64
    batch : Batch

    Returns
    -------
    float
        Cross-entropy in nats per letter.
    Transformer or DecoderOnly
        A tree like the model's, which holds the gradients.

    Raises
    ------
    InputError
        If the batch does not fit the model, or no target counts.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=8, heads=2)
    >>> batch = Batch(ids=np.array([[3, 0, 1]]), targets=np.array([[0, 1, 1]]))
    >>> loss, gradients = loss_and_gradients(model, batch)
    >>> round(loss, 2), gradients.output.weight.shape
    (1.87, (5, 8))
    """
    run = forward(
        model,
        batch.ids,
        source=batch.source,
        present=batch.present,
        source_present=batch.source_present,
        places=batch.places,
    )
    loss, by_logits = cross_entropy(run.logits, batch.targets, batch.chosen)
    gradient, output = linear_backward(by_logits, run.decoder.output, model.output)
    if isinstance(model, DecoderOnly):
        decoder = _encoder_stack(gradient, model.decoder, run.decoder, batch.ids, batch.places)
        return loss, DecoderOnly(decoder, output)
    read = cast(Pass, run.encoder)  # `forward` has refused a Transformer without a source
    decoder, by_memory = _decoder_stack(gradient, model.decoder, run.decoder, read, batch)
    encoder = _encoder_stack(by_memory, model.encoder, read, cast(Array, batch.source))
    return loss, Transformer(encoder, decoder, output)


def encoder_layer_backward(
    gradient: Array, x: Array, steps: Steps, p: Layer, heads: int, *, rotary: Rotary | None = None
) -> tuple[Array, Layer]:
    """Undo `encoder_layer`.

    Parameters
    ----------
    gradient : (B, T, D), by the layer's ``output``
    x : (B, T, D), what the layer was given
    steps : dict, what `encoder_layer` returned
    p : Layer
    heads : int, H
    rotary : cos and sin (T, K), as given to the layer

    Returns
    -------
    array (B, T, D)
        By x.
    Layer
        By its parameters.

    Examples
    --------
    >>> from esmkit.reference.transformer import encoder_layer, random_layer
    >>> p = random_layer(np.random.default_rng(0), width=8, hidden=16)
    >>> x = np.random.default_rng(1).normal(size=(1, 3, 8))
    >>> by_x, by_p = encoder_layer_backward(np.ones((1, 3, 8)), x, encoder_layer(x, p, 2), p, 2)
    >>> by_x.shape, by_p.expand.weight.shape
    ((1, 3, 8), (16, 8))
    """
    gradient, halves = _feed_forward_half(gradient, steps, p)
    gradient, norm = layer_norm_backward(gradient, steps["attention_residual"], p.attention_norm)
    asked, answered, attention = multi_head_attention_backward(
        gradient, x, x, steps, p.attention, heads, rotary=rotary
    )
    return gradient + asked + answered, Layer(norm, attention, *halves)


def decoder_layer_backward(
    gradient: Array,
    x: Array,
    memory: Array,
    steps: Steps,
    p: DecoderLayer,
    heads: int,
    *,
    rotary: Rotary | None = None,
    memory_rotary: Rotary | None = None,
) -> tuple[Array, Array, DecoderLayer]:
    """Undo `decoder_layer`.

    Parameters
    ----------
    gradient : (B, T, D), by the layer's ``output``
    x : (B, T, D), what the layer was given
    memory : (B, S, D)
    steps : dict, what `decoder_layer` returned
    p : DecoderLayer
    heads : int, H
    rotary, memory_rotary : cos and sin, (T, K) and (S, K), as given to the layer

    Returns
    -------
    array (B, T, D)
        By x.
    array (B, S, D)
        By memory.
    DecoderLayer
        By its parameters.

    Examples
    --------
    >>> from esmkit.reference.transformer import decoder_layer, random_decoder_layer
    >>> p = random_decoder_layer(np.random.default_rng(0), width=8, hidden=16)
    >>> x, memory = np.random.default_rng(1).normal(size=(2, 1, 3, 8))
    >>> steps = decoder_layer(x, memory, p, 2)
    >>> by_x, by_memory, _ = decoder_layer_backward(np.ones_like(x), x, memory, steps, p, 2)
    >>> by_x.shape, by_memory.shape
    ((1, 3, 8), (1, 3, 8))
    """
    gradient, (feed_norm, expand, contract) = _feed_forward_half(gradient, steps, p)
    residual = steps["cross_attention_residual"]
    gradient, cross_norm = layer_norm_backward(gradient, residual, p.cross_attention_norm)
    asked, by_memory, cross = multi_head_attention_backward(
        gradient,
        steps["cross_attention_input"],
        memory,
        _cross_steps(steps),
        p.cross_attention,
        heads,
        rotary=rotary,
        memory_rotary=memory_rotary,
    )
    gradient = gradient + asked
    gradient, norm = layer_norm_backward(gradient, steps["attention_residual"], p.attention_norm)
    asked, answered, attention = multi_head_attention_backward(
        gradient, x, x, steps, p.attention, heads, rotary=rotary
    )
    parameters = DecoderLayer(attention, norm, cross, cross_norm, expand, contract, feed_norm)
    return gradient + asked + answered, by_memory, parameters


def _cross_steps(steps: Steps) -> Steps:
    """Take the steps of the cross-attention, by the names of `reference.multi_head_attention`."""
    prefix = "cross_"
    return {n.removeprefix(prefix): step for n, step in steps.items() if n.startswith(prefix)}


def _feed_forward_half(
    gradient: Array, steps: Steps, p: Layer | DecoderLayer
) -> tuple[Array, tuple[Affine, Affine, Affine]]:
    """Undo LN(x + feed_forward(x)); returns the gradients by x, and by norm, expand, contract."""
    gradient, norm = layer_norm_backward(
        gradient, steps["feed_forward_residual"], p.feed_forward_norm
    )
    through, expand, contract = feed_forward_backward(
        gradient, steps["feed_forward_input"], steps, p.expand, p.contract, relu_backward
    )
    return gradient + through, (norm, expand, contract)


def _encoder_stack(
    gradient: Array, stack: EncoderStack, run: Pass, ids: Array, places: ArrayLike | None = None
) -> EncoderStack:
    inputs = [run.embedded, *(steps["output"] for steps in run.layers)]
    layers = []
    for x, steps, layer in reversed(list(zip(inputs[:-1], run.layers, stack.layers, strict=True))):
        gradient, by_layer = encoder_layer_backward(
            gradient, x, steps, layer, stack.heads, rotary=run.rotary
        )
        layers.insert(0, by_layer)
    embedding, table = _embedding(gradient, stack, ids, places)
    return replace(stack, embedding=embedding, layers=tuple(layers), table=table)


def _decoder_stack(
    gradient: Array, stack: DecoderStack, run: Pass, encoder: Pass, batch: Batch
) -> tuple[DecoderStack, Array]:
    inputs = [run.embedded, *(steps["output"] for steps in run.layers)]
    layers, by_memory = [], np.zeros_like(encoder.output)
    for x, steps, layer in reversed(list(zip(inputs[:-1], run.layers, stack.layers, strict=True))):
        gradient, read, by_layer = decoder_layer_backward(
            gradient,
            x,
            encoder.output,
            steps,
            layer,
            stack.heads,
            rotary=run.rotary,
            memory_rotary=encoder.rotary,
        )
        by_memory += read
        layers.insert(0, by_layer)
    embedding, table = _embedding(gradient, stack, batch.ids, batch.places)
    return replace(stack, embedding=embedding, layers=tuple(layers), table=table), by_memory


def _embedding(
    gradient: Array, stack: EncoderStack | DecoderStack, ids: ArrayLike, places: ArrayLike | None
) -> tuple[Array, Array | None]:
    """Undo `embed_places`: by the embedding (V, D) and, if positions are learned, by their table."""
    vocabulary, width = stack.embedding.shape
    table = None
    if stack.table is not None:
        places = np.arange(gradient.shape[1]) if places is None else places
        table = embedding_backward(gradient.sum(axis=0), places, len(stack.table))
    return embedding_backward(gradient, ids, vocabulary) * math.sqrt(width), table
