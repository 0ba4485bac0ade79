"""What writing costs: the multiplications of all matrix products, with a cache and without."""

from esmkit.reference.bounds import at_least
from esmkit.reference.encoder import Layer
from esmkit.reference.transformer.layers import DecoderLayer
from esmkit.reference.transformer.stacks import DecoderOnly, Transformer


def multiplications(
    model: Transformer | DecoderOnly,
    letters: int,
    *,
    prompt: int = 1,
    source: int = 0,
    cached: bool = True,
) -> int:
    """Count the multiplications of all matrix products that writing one sequence takes.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    letters : int, how many are written
    prompt : int, tokens that stand before them
    source : int, S, tokens that the encoder reads
    cached : with a cache of keys and values, or reading everything again for each letter

    Returns
    -------
    int; norms, softmax and additions are left out

    Raises
    ------
    OptionError
        If no letter is written, or a number of tokens is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=16, heads=2)
    >>> multiplications(model, 100), multiplications(model, 100, cached=False)
    (945600, 53085600)
    """
    at_least(1, letters=letters, prompt=prompt)
    at_least(0, source=source)
    new = [prompt, *[1] * (letters - 1)] if cached else range(prompt, prompt + letters)
    total, seen, read = 0, 0, 0
    for tokens in new:
        seen = seen + tokens if cached else tokens
        read = source if not cached or not total else 0  # tokens that the encoder reads now
        if isinstance(model, Transformer):
            total += sum(_products(layer, read, read) for layer in model.encoder.layers)
            total += sum(_cross(layer, tokens, source, read) for layer in model.decoder.layers)
        total += sum(_products(layer, tokens, seen) for layer in model.decoder.layers)
        total += tokens * model.output.weight.size
    return total


def _products(layer: Layer | DecoderLayer, tokens: int, seen: int) -> int:
    """Self-attention and feed-forward of new tokens that look at all seen."""
    maps = 2 * tokens * seen * layer.attention.output.weight.shape[0]  # scores, weighted values
    sizes = [layer.expand, layer.contract, *vars(layer.attention).values()]
    return maps + tokens * sum(p.weight.size for p in sizes)


def _cross(layer: DecoderLayer, tokens: int, source: int, read: int) -> int:
    """Cross-attention; keys and values of the source are made for `read` of its tokens."""
    p = layer.cross_attention
    maps = 2 * tokens * source * p.output.weight.shape[0]
    return (
        maps
        + tokens * (p.query.weight.size + p.output.weight.size)
        + read * (p.key.weight.size + p.value.weight.size)
    )
