"""Layers and whole transformers of random weights: what training starts from."""

import numpy as np

from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import at_least
from esmkit.reference.encoder import Affine, Array, Attention, Layer
from esmkit.reference.transformer.layers import DecoderLayer
from esmkit.reference.transformer.stacks import (
    POSITIONS,
    DecoderOnly,
    DecoderStack,
    EncoderStack,
    Transformer,
)


def random_layer(generator: np.random.Generator, width: int, hidden: int) -> Layer:
    """Draw an untrained encoder layer in float64, to look at the arithmetic.

    Weights have variance 1 / inputs, which keeps the size of what passes through; biases are 0.

    Parameters
    ----------
    generator : numpy.random.Generator; the same seed draws the same layer
    width, hidden : int, D and F; [1] has 512 and 2,048

    Returns
    -------
    Layer

    Examples
    --------
    >>> random_layer(np.random.default_rng(0), width=8, hidden=32).expand.weight.shape
    (32, 8)
    """
    return Layer(
        attention_norm=_plain_norm(width),
        attention=_random_attention(generator, width),
        feed_forward_norm=_plain_norm(width),
        expand=_random_affine(generator, hidden, width),
        contract=_random_affine(generator, width, hidden),
    )


def random_decoder_layer(generator: np.random.Generator, width: int, hidden: int) -> DecoderLayer:
    """Draw an untrained decoder layer.

    The `generator`, `width` and `hidden` are those of `random_layer`.

    Examples
    --------
    >>> random_decoder_layer(np.random.default_rng(0), width=8, hidden=32).contract.weight.shape
    (8, 32)
    """
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


def random_encoder_stack(
    generator: np.random.Generator,
    *,
    tokens: int,
    width: int,
    heads: int,
    layers: int = 2,
    hidden: int | None = None,
    positions: str = "sinusoidal",
    longest: int | None = None,
) -> EncoderStack:
    """Draw an untrained encoder stack in float64.

    Parameters
    ----------
    generator : numpy.random.Generator
    tokens : int, V, size of the vocabulary
    width, heads : int, D and H
    layers : int, N
    hidden : int, F; by default 4 D, as in [1]
    positions : str, one of `POSITIONS`
    longest : int, rows of the table of learned positions; needed for those alone

    Returns
    -------
    EncoderStack

    Raises
    ------
    OptionError
        If a number is below 1, the positions are unknown, or learned without `longest`.
    InputError
        If the width does not split into the heads, or is odd where positions need pairs.

    Examples
    --------
    >>> stack = random_encoder_stack(np.random.default_rng(0), tokens=21, width=16, heads=2)
    >>> stack.embedding.shape, len(stack.layers), stack.positions
    ((21, 16), 2, 'sinusoidal')
    """
    hidden = 4 * width if hidden is None else hidden
    at_least(1, tokens=tokens, width=width, heads=heads, layers=layers, hidden=hidden)
    _check(width, heads, positions, longest)
    return EncoderStack(
        embedding=_random_embedding(generator, tokens, width),
        layers=tuple(random_layer(generator, width, hidden) for _ in range(layers)),
        heads=heads,
        positions=positions,
        table=_random_table(generator, width, positions, longest),
    )


def random_decoder_stack(
    generator: np.random.Generator,
    *,
    tokens: int,
    width: int,
    heads: int,
    layers: int = 2,
    hidden: int | None = None,
    positions: str = "sinusoidal",
    longest: int | None = None,
) -> DecoderStack:
    """Draw an untrained decoder stack in float64.

    Parameters
    ----------
    generator, tokens, width, heads, layers, hidden, positions, longest
        As in `random_encoder_stack`, with the same errors.

    Returns
    -------
    DecoderStack

    Examples
    --------
    >>> stack = random_decoder_stack(np.random.default_rng(0), tokens=4, width=16, heads=2)
    >>> len(stack.layers)
    2
    """
    hidden = 4 * width if hidden is None else hidden
    at_least(1, tokens=tokens, width=width, heads=heads, layers=layers, hidden=hidden)
    _check(width, heads, positions, longest)
    return DecoderStack(
        embedding=_random_embedding(generator, tokens, width),
        layers=tuple(random_decoder_layer(generator, width, hidden) for _ in range(layers)),
        heads=heads,
        positions=positions,
        table=_random_table(generator, width, positions, longest),
    )


def random_transformer(
    generator: np.random.Generator,
    *,
    source_tokens: int,
    tokens: int,
    width: int,
    heads: int,
    layers: int = 2,
    hidden: int | None = None,
    positions: str = "sinusoidal",
    longest: int | None = None,
) -> Transformer:
    """Draw an untrained encoder and decoder of N layers each.

    Parameters
    ----------
    generator : numpy.random.Generator
    source_tokens, tokens : int, sizes of the two vocabularies, of what is read and what is written
    width, heads, layers, hidden, positions, longest
        Of both stacks, as in `random_encoder_stack`.

    Returns
    -------
    Transformer

    Raises
    ------
    OptionError, InputError
        As `random_encoder_stack`.

    Examples
    --------
    >>> from esmkit.reference.training import parameter_count
    >>> model = random_transformer(
    ...     np.random.default_rng(0), source_tokens=21, tokens=4, width=16, heads=2
    ... )
    >>> parameter_count(model)
    15828
    """
    sizes = {"width": width, "heads": heads, "layers": layers, "hidden": hidden}
    sizes |= {"positions": positions, "longest": longest}
    return Transformer(
        encoder=random_encoder_stack(generator, tokens=source_tokens, **sizes),
        decoder=random_decoder_stack(generator, tokens=tokens, **sizes),
        output=_random_affine(generator, tokens, width),
    )


def random_decoder_only(
    generator: np.random.Generator,
    *,
    tokens: int,
    width: int,
    heads: int,
    layers: int = 2,
    hidden: int | None = None,
    positions: str = "sinusoidal",
    longest: int | None = None,
) -> DecoderOnly:
    """Draw an untrained decoder of N layers that has no encoder beside it.

    Parameters
    ----------
    generator, tokens, width, heads, layers, hidden, positions, longest
        As in `random_encoder_stack`, with the same errors.

    Returns
    -------
    DecoderOnly

    Examples
    --------
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=16, heads=2)
    >>> model.output.weight.shape
    (5, 16)
    """
    sizes = {"width": width, "heads": heads, "layers": layers, "hidden": hidden}
    sizes |= {"positions": positions, "longest": longest}
    return DecoderOnly(
        decoder=random_encoder_stack(generator, tokens=tokens, **sizes),
        output=_random_affine(generator, tokens, width),
    )


def _check(width: int, heads: int, positions: str, longest: int | None) -> None:
    if positions not in POSITIONS:
        raise OptionError(f"positions {positions!r}: choose one of {', '.join(POSITIONS)}")
    if positions == "learned" and longest is None:
        raise OptionError("learned positions need a longest length: nothing is learned beyond it")
    if longest is not None:
        at_least(1, longest=longest)
    if width % heads:
        raise InputError(f"width {width} does not split into {heads} heads")
    if positions == "sinusoidal" and width % 2:
        raise InputError(f"width {width}: sinusoidal positions need an even width")
    if positions == "rotary" and width // heads % 2:
        raise InputError(f"heads of width {width // heads}: rotary positions need an even width")


def _random_embedding(generator: np.random.Generator, tokens: int, width: int) -> Array:
    """Draw (V, D) such that, times sqrt(D), each number has variance 1."""
    return generator.normal(0.0, width**-0.5, (tokens, width))


def _random_table(
    generator: np.random.Generator, width: int, positions: str, longest: int | None
) -> Array | None:
    """Draw the learned positions, as large as the waves they stand for: variance 1/2."""
    if positions != "learned" or longest is None:
        return None
    return generator.normal(0.0, 0.5**0.5, (longest, width))
