"""Writing letter by letter, with and without a cache of keys and values.

A letter that is written stays as it is, and no token before it sees it: keys and values of all that
is written can be kept, and a new letter costs one token instead of all of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import at_least
from esmkit.reference.encoder import (
    Array,
    Attention,
    layer_norm,
    linear,
    rotate,
    scale_query,
    softmax,
    split_heads,
)
from esmkit.reference.transformer.layers import DecoderLayer, Rotary, attend, feed_forward_half
from esmkit.reference.transformer.stacks import (
    DecoderOnly,
    Transformer,
    embed_places,
    forward,
    hide_padding,
    run_encoder,
)

COLDEST = 1e-9
"""Temperature below which the likeliest letter is written: divided by less, logits overflow."""

KeysAndValues = tuple[Array, Array]  # (B, H, T, K) each; keys as multiplied (turned)


@dataclass(eq=False)
class Cache:
    """Keys and values of what a decoder has read, which no later letter changes.

    Attributes
    ----------
    written : list of N pairs (B, H, T, K), keys and values of what is written; grows
    source : list of N pairs (B, H, S, K), those of the source; empty without an encoder
    source_allowed : (B, 1, 1, S) bool, or None

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=16, heads=2)
    >>> cache = generate(model, [[0, 3, 1]], 4).cache
    >>> cache.tokens, cache.nbytes  # 2 layers x keys and values x 6 tokens x 16 x 8 bytes
    (6, 3072)
    """

    written: list[KeysAndValues]
    source: list[KeysAndValues]
    source_allowed: Array | None = None

    @property
    def tokens(self) -> int:
        """How many tokens are kept so far."""
        return self.written[0][0].shape[2] if self.written else 0

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept."""
        return sum(array.nbytes for pair in self.written + self.source for array in pair)


@dataclass(frozen=True, eq=False)
class Writing:
    """What `generate` returns.

    Attributes
    ----------
    ids : (B, letters) int, what was written
    logits : (B, letters, V), the scores that each letter was chosen by
    cache : Cache at the end; None if nothing was kept
    """

    ids: Array
    logits: Array
    cache: Cache | None


def start_cache(
    model: Transformer | DecoderOnly,
    *,
    source: ArrayLike | None = None,
    source_present: Array | None = None,
) -> Cache:
    """Read the source once, and keep its keys and values for each decoder layer.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    source : (B, S) int, for a Transformer
    source_present : (B, S) bool, False at padding

    Returns
    -------
    Cache

    Raises
    ------
    InputError
        If a Transformer has no source, or a DecoderOnly has one.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_transformer
    >>> sizes = {"source_tokens": 21, "tokens": 4, "width": 8, "heads": 2}
    >>> model = random_transformer(np.random.default_rng(0), **sizes)
    >>> cache = start_cache(model, source=[[4, 7, 9]])
    >>> cache.tokens, cache.source[0][0].shape  # nothing is written yet; three residues were read
    (0, (1, 2, 3, 4))
    """
    if isinstance(model, DecoderOnly):
        if source is not None:
            raise InputError(
                "a DecoderOnly has no encoder: write the source before the begin token"
            )
        return Cache([], [])
    if source is None:
        raise InputError("a Transformer reads a source: give its token ids, or use DecoderOnly")
    memory = run_encoder(model.encoder, source, present=source_present)
    kept = [
        _keys_and_values(memory.output, layer.cross_attention, model.decoder.heads, memory.rotary)
        for layer in model.decoder.layers
    ]
    return Cache([], kept, hide_padding(source_present, memory.output))


def step(
    model: Transformer | DecoderOnly,
    ids: ArrayLike,
    cache: Cache,
    *,
    places: ArrayLike | None = None,
) -> Array:
    """Read new tokens beside a cache, add their keys and values to it, and score what follows.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    ids : (B, T) int, only the tokens that the cache does not hold yet
    cache : Cache, from `start_cache`; changed in place
    places : (T,) int, where these tokens stand; by default they follow those of the cache

    Returns
    -------
    (B, T, V)

    Raises
    ------
    InputError
        If the ids do not fit the model or the cache.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=16, heads=2)
    >>> cache = start_cache(model)
    >>> step(model, [[0, 3]], cache).shape, cache.tokens
    ((1, 2, 5), 2)
    """
    ids = np.asarray(ids)
    _check_cache(model, ids, cache)
    before = cache.tokens
    if places is None:
        places = np.arange(before, before + ids.shape[-1])
    stack = model.decoder
    x, rotary = embed_places(stack, ids, places)
    allowed = np.tri(x.shape[1], before + x.shape[1], k=before, dtype=bool)
    written = []
    for number, layer in enumerate(stack.layers):
        new = _keys_and_values(x, layer.attention, stack.heads, rotary)
        if before:
            (old_key, old_value), (key, value) = cache.written[number], new
            key, value = np.concatenate([old_key, key], 2), np.concatenate([old_value, value], 2)
            new = key, value
        written.append(new)
        x = layer_norm(
            x + _attend(x, layer.attention, stack.heads, rotary, new, allowed),
            layer.attention_norm,
        )
        if isinstance(layer, DecoderLayer):
            kept, hidden = cache.source[number], cache.source_allowed
            attended = _attend(x, layer.cross_attention, stack.heads, rotary, kept, hidden)
            x = layer_norm(x + attended, layer.cross_attention_norm)
        x = feed_forward_half(x, layer)["output"]
    cache.written = written
    return linear(x, model.output)


def generate(
    model: Transformer | DecoderOnly,
    ids: ArrayLike,
    letters: int,
    *,
    source: ArrayLike | None = None,
    source_present: Array | None = None,
    places: ArrayLike | None = None,
    choices: ArrayLike | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    cached: bool = True,
) -> Writing:
    """Write letter after letter: score, choose one, append it, and again.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    ids : (B, T) int, what is written already: a begin token, or a whole prompt that ends with one
    letters : int, how many to write
    source : (B, S) int, what the encoder reads; for a Transformer only
    source_present : (B, S) bool, False at padding
    places : (T + letters - 1,) int, where prompt and letters stand; by default 0, 1, 2, ...
    choices : ids that may be written; by default the whole vocabulary
    temperature : float, 0 writes the likeliest letter; above, letters are drawn from
        softmax(logits / temperature)
    seed : int, of the draws
    cached : keep keys and values; False reads everything again for each letter

    Returns
    -------
    Writing

    Raises
    ------
    InputError
        If ids, source, choices and model do not fit.
    OptionError
        If the temperature is negative or no finite number, or letters below 1.

    See Also
    --------
    step : One letter beside a cache.
    choose : The choice of a letter.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=5, width=16, heads=2)
    >>> written = generate(model, [[0, 3, 1]], 4)
    >>> written.ids.shape, written.cache.tokens
    ((1, 4), 6)
    """
    ids = np.asarray(ids)
    at_least(1, letters=letters)
    at_least(0, seed=seed)
    _check_temperature(temperature)
    if ids.ndim != 2 or not ids.size:
        raise InputError(f"ids {ids.shape}: give (sequences, tokens), at least a begin token")
    prompt, generator = ids.shape[-1], np.random.default_rng(seed)
    places = np.arange(prompt + letters - 1) if places is None else np.asarray(places)
    if len(places) != prompt + letters - 1:
        raise InputError(f"{len(places)} places: these letters need {prompt + letters - 1}")
    cache = None
    if cached:
        cache = start_cache(model, source=source, source_present=source_present)
    logits, new = [], ids
    for _ in range(letters):
        end = ids.shape[1]
        if cache is None:
            scores = forward(
                model, ids, source=source, source_present=source_present, places=places[:end]
            ).logits
        else:
            scores = step(model, new, cache, places=places[end - new.shape[1] : end])
        logits.append(scores[:, -1])
        new = choose(logits[-1], generator, temperature, choices)[:, None]
        ids = np.concatenate([ids, new], axis=1)
    return Writing(ids[:, prompt:], np.stack(logits, axis=1), cache)


def choose(
    logits: Array,
    generator: np.random.Generator,
    temperature: float = 0.0,
    choices: ArrayLike | None = None,
) -> Array:
    """Choose a letter by its scores: the likeliest at temperature 0, else drawn.

    Parameters
    ----------
    logits : (B, V)
    generator : numpy.random.Generator
    temperature : float, at least 0; below 1e-9 it is taken as 0, since logits / temperature would
        overflow
    choices : ids that may be chosen; by default all

    Returns
    -------
    (B,) int

    Raises
    ------
    InputError
        If a choice is no token, or there is none.
    OptionError
        If the temperature is negative or no finite number.

    Examples
    --------
    >>> choose(np.array([[0.0, 2.0, 1.0]]), np.random.default_rng(0))
    array([1])
    """
    logits, vocabulary = np.asarray(logits), np.shape(logits)[-1]
    _check_temperature(temperature)
    choices = np.arange(vocabulary) if choices is None else np.asarray(choices)
    whole = choices.ndim == 1 and choices.size and np.issubdtype(choices.dtype, np.integer)
    if not whole or choices.min() < 0 or choices.max() >= vocabulary:
        raise InputError(
            f"choices {choices.tolist()}: give token ids from 0 to {vocabulary - 1}, at least one"
        )
    logits = logits[:, choices].astype(np.float64)
    if temperature < COLDEST:
        return choices[logits.argmax(axis=-1)]
    sums = softmax(logits / temperature).cumsum(axis=-1)  # (B, choices), the last is 1
    drawn = generator.random((len(sums), 1)) * sums[:, -1:]
    return choices[(sums <= drawn).sum(axis=-1)]


def _check_temperature(temperature: float) -> None:
    real = isinstance(temperature, int | float | np.integer | np.floating)
    if not real or not 0 <= temperature < np.inf:
        raise OptionError(f"temperature {temperature!r}: give 0 for the likeliest letter, or more")


def _check_cache(model: Transformer | DecoderOnly, ids: Array, cache: Cache) -> None:
    """Refuse a cache of another model, or of another number of sequences."""
    layers = len(model.decoder.layers)
    source = layers if isinstance(model, Transformer) else 0
    if len(cache.source) != source or len(cache.written) not in (0, layers):
        raise InputError("the cache is not of this model; make one with start_cache")
    for key, _ in (cache.source + cache.written)[:1]:
        if len(key) != len(ids):
            raise InputError(f"{len(ids)} sequences beside a cache of {len(key)}; give as many")


def _keys_and_values(x: Array, p: Attention, heads: int, rotary: Rotary | None) -> KeysAndValues:
    key = split_heads(linear(x, p.key), heads)
    if rotary is not None:
        key = rotate(key, *rotary)
    return key, split_heads(linear(x, p.value), heads)


def _attend(
    x: Array,
    p: Attention,
    heads: int,
    rotary: Rotary | None,
    kept: KeysAndValues,
    allowed: Array | None,
) -> Array:
    query = scale_query(split_heads(linear(x, p.query), heads))
    if rotary is not None:
        query = rotate(query, *rotary)
    return attend(query, *kept, p.output, allowed)["attention_output"]
