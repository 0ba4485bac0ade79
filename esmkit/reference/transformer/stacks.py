"""Whole transformers: stacks of layers, encoder and decoder together, and the decoder alone.

An encoder reads a sequence at once; a decoder writes one, token after token, and looks at what the
encoder made of its source. A decoder without a source is an encoder whose tokens see only what came
before. Sources in brackets are those of `esmkit.reference.encoder`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from esmkit.errors import InputError
from esmkit.reference.encoder import Affine, Array, Layer, Steps, linear
from esmkit.reference.transformer.layers import (
    DecoderLayer,
    Rotary,
    causal_mask,
    decoder_layer,
    encoder_layer,
)
from esmkit.reference.transformer.positions import embed, rotary_angles, sinusoidal_positions

POSITIONS = ("sinusoidal", "learned", "rotary")
"""How a stack learns where a token stands: waves added ([1]), a learned table added, or queries and
keys turned ([3])."""


@dataclass(frozen=True, eq=False)
class EncoderStack:
    """Embedding, positions and N encoder layers.

    Attributes
    ----------
    embedding : (V, D)
    layers : tuple of N Layer
    heads : int, H
    positions : str, one of `POSITIONS`
    table : (P, D), the learned positions; None for the other two

    Examples
    --------
    >>> from esmkit.reference.transformer import random_encoder_stack
    >>> options = {"tokens": 21, "width": 8, "heads": 2, "positions": "learned", "longest": 50}
    >>> stack = random_encoder_stack(np.random.default_rng(0), **options)
    >>> stack.embedding.shape, stack.table.shape
    ((21, 8), (50, 8))
    """

    embedding: Array
    layers: tuple[Layer, ...]
    heads: int
    positions: str = "sinusoidal"
    table: Array | None = None


@dataclass(frozen=True, eq=False)
class DecoderStack:
    """Embedding, positions and N decoder layers.

    Attributes
    ----------
    embedding, heads, positions, table
        As in `EncoderStack`.
    layers : tuple of N DecoderLayer

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_stack
    >>> stack = random_decoder_stack(np.random.default_rng(0), tokens=4, width=8, heads=2)
    >>> type(stack.layers[0]).__name__
    'DecoderLayer'
    """

    embedding: Array
    layers: tuple[DecoderLayer, ...]
    heads: int
    positions: str = "sinusoidal"
    table: Array | None = None


@dataclass(frozen=True, eq=False)
class Transformer:
    """An `encoder` and a `decoder` ([1], figure 1); `output` (V, D) turns vectors into logits.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_transformer
    >>> sizes = {"source_tokens": 21, "tokens": 4, "width": 8, "heads": 2}
    >>> model = random_transformer(np.random.default_rng(0), **sizes)
    >>> model.encoder.embedding.shape, model.output.weight.shape
    ((21, 8), (4, 8))
    """

    encoder: EncoderStack
    decoder: DecoderStack
    output: Affine


@dataclass(frozen=True, eq=False)
class DecoderOnly:
    """A decoder without a source: encoder layers under a causal mask, then `output` (V, D).

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=8, heads=2)
    >>> forward(model, [[3, 0]]).logits.shape
    (1, 2, 5)
    """

    decoder: EncoderStack
    output: Affine


@dataclass(frozen=True, eq=False)
class Pass:
    """Every step of one pass through a stack.

    Attributes
    ----------
    embedded : (B, T, D), what the first layer reads
    layers : tuple of N dicts, the steps of `encoder_layer` or `decoder_layer` by name
    rotary : cos and sin (T, K), or None

    Examples
    --------
    >>> from esmkit.reference.transformer import random_encoder_stack
    >>> stack = random_encoder_stack(np.random.default_rng(0), tokens=21, width=8, heads=2)
    >>> read = run_encoder(stack, [[4, 7, 9]])
    >>> read.embedded.shape, len(read.layers), read.output.shape
    ((1, 3, 8), 2, (1, 3, 8))
    """

    embedded: Array
    layers: tuple[Steps, ...]
    rotary: Rotary | None

    @property
    def output(self) -> Array:
        """(B, T, D), what the last layer writes."""
        return self.layers[-1]["output"]


@dataclass(frozen=True, eq=False)
class Forward:
    """What `forward` returns.

    Attributes
    ----------
    encoder : Pass of the source; None where there is only a decoder
    decoder : Pass of what is written
    logits : (B, T, V): row t scores the token that follows t

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=8, heads=2)
    >>> run = forward(model, [[3, 0]])
    >>> run.encoder is None, run.decoder.layers[0]["weights"].shape  # no token sees a later one
    (True, (1, 2, 2, 2))
    """

    encoder: Pass | None
    decoder: Pass
    logits: Array


def embed_places(
    stack: EncoderStack | DecoderStack, ids: ArrayLike, places: ArrayLike | None = None
) -> tuple[Array, Rotary | None]:
    """Embed tokens at their places, by the positions of the stack.

    Parameters
    ----------
    stack : EncoderStack or DecoderStack
    ids : (B, T) int
    places : (T,) int, from 0; by default 0, 1, 2, ...

    Returns
    -------
    (B, T, D), and cos and sin (T, K) for rotary positions, else None

    Raises
    ------
    InputError
        If an id is outside the vocabulary, or a place is negative or beyond a learned table.
    """
    ids = np.asarray(ids)
    width, dtype = stack.embedding.shape[1], stack.embedding.dtype
    if ids.ndim != 2:
        raise InputError(f"ids {ids.dtype} {ids.shape}: give integers (sequences, tokens)")
    places = np.arange(ids.shape[1]) if places is None else np.asarray(places)
    if places.shape != ids.shape[1:]:
        raise InputError(f"places {places.shape}: these ids need {ids.shape[1:]}")
    if not np.issubdtype(places.dtype, np.integer) or places.min(initial=0) < 0:
        raise InputError(f"places {places.tolist()[:5]}: give whole numbers from 0")
    last = int(places.max(initial=0)) + 1
    added, rotary = np.zeros((len(places), width), dtype), None
    if stack.positions == "sinusoidal":
        added = sinusoidal_positions(last, width, dtype=dtype)[places]
    elif stack.table is not None:
        if last > len(stack.table):
            raise InputError(
                f"{last} tokens, but positions were learned for {len(stack.table)} only"
            )
        added = stack.table[places]
    else:
        rotary = rotary_angles(places, width // stack.heads, dtype)
    return embed(ids, stack.embedding, added), rotary


def run_encoder(
    stack: EncoderStack,
    ids: ArrayLike,
    *,
    present: Array | None = None,
    causal: bool = False,
    places: ArrayLike | None = None,
) -> Pass:
    """Run ids through embedding and encoder layers.

    Parameters
    ----------
    stack : EncoderStack
    ids : (B, T) int
    present : (B, T) bool, False at padding, which no token then looks at
    causal : let a token see itself and what came before, and no more
    places : (T,) int, by default 0, 1, 2, ...

    Returns
    -------
    Pass

    Raises
    ------
    InputError
        If ids, places or padding do not fit.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_encoder_stack
    >>> stack = random_encoder_stack(np.random.default_rng(0), tokens=21, width=8, heads=2)
    >>> run_encoder(stack, [[4, 7, 9]]).output.shape
    (1, 3, 8)
    """
    embedded, rotary = embed_places(stack, ids, places)
    allowed = hide_padding(present, embedded)
    if causal:
        mask = causal_mask(embedded.shape[1])
        allowed = mask if allowed is None else mask & allowed
    x, trace = embedded, []
    for layer in stack.layers:
        trace.append(encoder_layer(x, layer, stack.heads, allowed=allowed, rotary=rotary))
        x = trace[-1]["output"]
    return Pass(embedded, tuple(trace), rotary)


def run_decoder(
    stack: DecoderStack,
    ids: ArrayLike,
    encoder: Pass,
    *,
    present: Array | None = None,
    source_present: Array | None = None,
    places: ArrayLike | None = None,
) -> Pass:
    """Run ids through embedding and decoder layers, beside what the encoder made of the source.

    Parameters
    ----------
    stack : DecoderStack
    ids : (B, T) int
    encoder : Pass of the source (B, S)
    present, source_present : (B, T) and (B, S) bool, False at padding
    places : (T,) int, by default 0, 1, 2, ...

    Returns
    -------
    Pass

    Raises
    ------
    InputError
        If ids, places, padding or the numbers of sequences do not fit.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_transformer
    >>> sizes = {"source_tokens": 21, "tokens": 4, "width": 8, "heads": 2}
    >>> model = random_transformer(np.random.default_rng(0), **sizes)
    >>> read = run_encoder(model.encoder, [[4, 7, 9]])
    >>> run_decoder(model.decoder, [[3, 0]], read).output.shape
    (1, 2, 8)
    """
    x, rotary = embed_places(stack, ids, places)
    embedded, trace = x, []
    for layer in stack.layers:
        steps = decoder_layer(
            x,
            encoder.output,
            layer,
            stack.heads,
            allowed=hide_padding(present, x),
            memory_allowed=hide_padding(source_present, encoder.output),
            rotary=rotary,
            memory_rotary=encoder.rotary,
        )
        trace.append(steps)
        x = steps["output"]
    return Pass(embedded, tuple(trace), rotary)


def forward(
    model: Transformer | DecoderOnly,
    ids: ArrayLike,
    *,
    source: ArrayLike | None = None,
    present: Array | None = None,
    source_present: Array | None = None,
    places: ArrayLike | None = None,
) -> Forward:
    """Score, for each token of ids, every token that could come next.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    ids : (B, T) int, what is written so far, from its begin token on
    source : (B, S) int, what the encoder reads; for a Transformer only
    present, source_present : (B, T) and (B, S) bool, False at padding; by default nothing is padded
    places : (T,) int, where the tokens of ids stand; by default 0, 1, 2, ...

    Returns
    -------
    Forward

    Raises
    ------
    InputError
        If a Transformer has no source or a DecoderOnly has one, or shapes or ids do not fit.

    See Also
    --------
    generate : Writing letter by letter.
    loss_and_gradients : How it is trained.

    References
    ----------
    [1] Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, figure 1.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> from esmkit.reference.transformer import random_transformer
    >>> model = random_transformer(generator, source_tokens=21, tokens=4, width=16, heads=2)
    >>> forward(model, [[0, 3, 1]], source=[[5, 7, 9, 2]]).logits.shape
    (1, 3, 4)
    """
    encoder = None
    if isinstance(model, Transformer):
        if source is None:
            raise InputError("a Transformer reads a source: give its token ids, or use DecoderOnly")
        encoder = run_encoder(model.encoder, source, present=source_present)
        decoder = run_decoder(
            model.decoder,
            ids,
            encoder,
            present=present,
            source_present=source_present,
            places=places,
        )
    else:
        if source is not None:
            raise InputError(
                "a DecoderOnly has no encoder: write the source before the begin token"
            )
        decoder = run_encoder(model.decoder, ids, present=present, causal=True, places=places)
    return Forward(encoder, decoder, linear(decoder.output, model.output))


def hide_padding(present: Array | None, x: Array) -> Array | None:
    """Turn (B, T) bool into a mask of keys (B, 1, 1, T) for x (B, T, D); None stays None."""
    if present is None:
        return None
    present = np.asarray(present, dtype=bool)
    if present.shape != x.shape[:2]:
        raise InputError(f"padding of shape {present.shape}: the ids have {x.shape[:2]}")
    return present[:, None, None, :]
