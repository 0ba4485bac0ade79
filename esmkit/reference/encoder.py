"""The ESM-2 encoder from scratch, in NumPy: read it from top to bottom, like the paper.

It is plain and exact: the yardstick for the fast path, and the place to see what happens inside.
Nothing here knows torch or transformers; weights arrive as NumPy arrays by name.

Axes: ``B`` sequences, ``T`` tokens (``<cls>`` and ``<eos>`` included), ``S`` tokens attended to
(``S = T`` in self-attention), ``R = T - 2`` residues, ``N`` layers, ``H`` heads, ``D`` width,
``K = D / H`` head width, ``F`` feed-forward width, ``V`` vocabulary. Arrays are all float32 or all
float64, as the parameters are; only token ids (integer) and masks (bool) differ.

Sources: [1] Vaswani et al. 2017, arXiv:1706.03762. [2] Lin et al. 2023, doi:10.1126/science.ade2574
(ESM-2), and its code, github.com/facebookresearch/esm. [3] Su et al. 2021, arXiv:2104.09864 (rotary
positions). [4] Ba et al. 2016, arXiv:1607.06450 (LayerNorm). [5] Hendrycks and Gimpel 2016,
arXiv:1606.08415 (GELU). [6] Rao et al. 2021, doi:10.1101/2020.12.15.422761 (contacts from
attention). [7] Dunn et al. 2008, doi:10.1093/bioinformatics/btm604 (average product correction).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy.special import erf  # the one function of the encoder that NumPy lacks

from esmkit.errors import CheckpointError, InputError, OptionError

Array = np.ndarray
Steps = dict[str, np.ndarray]

CLS, PAD, EOS, MASK = 0, 1, 2, 32  # token ids in the alphabet of [2]
TRAIN_MASK_RATE = 0.15 * 0.8  # [2]: 15 % of tokens chosen in training, 80 % of them shown as <mask>
LAYER_NORM_EPS = 1e-5  # [2] keeps the default of torch.nn.LayerNorm
ROTARY_BASE = 10_000.0  # [3], section 3.2.2, after the sinusoids of [1]


@dataclass(frozen=True, eq=False)
class Affine:
    """Weight and bias of a linear map, (out, in) and (out,), or of a LayerNorm, (D,) and (D,).

    >>> linear(np.ones((1, 2)), Affine(weight=np.ones((3, 2)), bias=np.zeros(3)))
    array([[2., 2., 2.]])
    """

    weight: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Attention:
    """W^Q, W^K, W^V, W^O of [1], section 3.2.2: each (D, D), the heads one after the other.

    They are called `query`, `key`, `value` and `output`.

    >>> from esmkit.reference.training import random_masked_lm
    >>> random_masked_lm(0).encoder.layers[0].attention.output.weight.shape
    (64, 64)
    """

    query: Affine
    key: Affine
    value: Affine
    output: Affine


@dataclass(frozen=True, eq=False)
class Layer:
    """Attention, then a feed-forward network: `expand` is (F, D), `contract` (D, F).

    Each half reads the residual stream through a LayerNorm of its own, `attention_norm` before
    `attention` and `feed_forward_norm` before `expand`.

    >>> from esmkit.reference.training import random_masked_lm
    >>> random_masked_lm(0).encoder.layers[0].expand.weight.shape
    (256, 64)
    """

    attention_norm: Affine
    attention: Attention
    feed_forward_norm: Affine
    expand: Affine
    contract: Affine


@dataclass(frozen=True, eq=False)
class Parameters:
    """All weights of one ESM-2 of any size; `read_parameters` makes it.

    Attributes
    ----------
    embedding : (V, D)
    layers : tuple of N Layer
    final_norm : Affine, of the norm after the last layer
    inverse_frequencies : (K/2,), of the rotary positions, in radians per position
    heads : int, H
    contact : Affine (1, N*H), layer by layer; None if the checkpoint has no contact head

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> parameters = random_masked_lm(0, layers=2).encoder
    >>> parameters.embedding.shape, len(parameters.layers), parameters.heads
    ((33, 64), 2, 4)
    """

    embedding: Array
    layers: tuple[Layer, ...]
    final_norm: Affine
    inverse_frequencies: Array
    heads: int
    contact: Affine | None


@dataclass(frozen=True, eq=False)
class Encoding:
    """What `encode` returns; hidden state 0 is the token embedding, N follows the final norm.

    Attributes
    ----------
    hidden_states : N+1 of (B, T, D)
    attentions : N of (B, H, T, T), [query, key], rows sum to 1; None unless asked for
    trace : N dicts, every step of `encoder_layer` by name; None unless asked for

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> encoding = encode(random_masked_lm(0).encoder, [[0, 20, 15, 2]], attentions=True)
    >>> len(encoding.hidden_states), encoding.attentions[0].shape
    (5, (1, 4, 4, 4))
    """

    hidden_states: tuple[Array, ...]
    attentions: tuple[Array, ...] | None
    trace: tuple[Steps, ...] | None


class LayerSteps(Steps):
    """The steps of a layer; ``feed_forward_residual`` was once what ``residual`` is called now."""

    def __missing__(self, name: str) -> Array:
        return {"feed_forward_residual": self["residual"]}[name]


# ------------------------------------------------------------------------------ building blocks


def linear(x: Array, p: Affine) -> Array:
    """Map x (..., in) to x W^T + b (..., out), where p holds W and b.

    >>> linear(np.array([[1.0, 2.0]]), Affine(np.array([[1.0, 1.0], [1.0, -1.0]]), np.zeros(2)))
    array([[ 3., -1.]])
    """
    if x.shape[-1] != p.weight.shape[1]:
        raise InputError(
            f"input of shape {x.shape}: the last axis must be {p.weight.shape[1]} wide"
        )
    return x @ p.weight.T + p.bias


def layer_norm(x: Array, p: Affine) -> Array:
    """Give each token of x (..., D) mean 0 and variance 1, then the learned gain and bias p ([4]).

    References
    ----------
    [4] Ba, Kiros and Hinton 2016, Layer Normalization, arXiv:1607.06450.

    Examples
    --------
    >>> layer_norm(np.array([1.0, 3.0]), Affine(np.ones(2), np.zeros(2))).round(3)
    array([-1.,  1.])
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + LAYER_NORM_EPS) * p.weight + p.bias


def gelu(x: Array) -> Array:
    """Multiply x by the normal distribution function of x: the exact GELU ([5]), not its tanh fit.

    References
    ----------
    [5] Hendrycks and Gimpel 2016, Gaussian Error Linear Units (GELUs), arXiv:1606.08415.

    Examples
    --------
    >>> gelu(np.array([-2.0, 0.0, 2.0])).round(3)
    array([-0.046,  0.   ,  1.954])
    """
    return x * 0.5 * (1.0 + erf(x / math.sqrt(2.0)))


def softmax(scores: Array) -> Array:
    """Turn scores (..., S) into weights that sum to 1; a score of -inf becomes exactly 0.

    >>> softmax(np.array([0.0, 0.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))  # less the maximum: no overflow
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def split_heads(x: Array, heads: int) -> Array:
    """Cut the width of x into heads: (B, T, D) -> (B, H, T, K).

    >>> split_heads(np.zeros((1, 5, 320)), 20).shape
    (1, 20, 5, 16)
    """
    batch, tokens, width = x.shape
    if width % heads:
        raise InputError(f"width {width} does not split into {heads} heads")
    x = x.reshape(batch, tokens, heads, width // heads)  # (B, T, D) -> (B, T, H, K)
    return x.swapaxes(1, 2)  # (B, T, H, K) -> (B, H, T, K)


def concatenate_heads(x: Array) -> Array:
    """Lay the heads of x side by side again: (B, H, T, K) -> (B, T, D).

    >>> concatenate_heads(np.zeros((1, 20, 5, 16))).shape
    (1, 5, 320)
    """
    batch, heads, tokens, head_width = x.shape
    x = x.swapaxes(1, 2)  # (B, H, T, K) -> (B, T, H, K)
    return x.reshape(batch, tokens, heads * head_width)  # (B, T, H, K) -> (B, T, D)


def embed_tokens(ids: Array, present: Array, embedding: Array) -> Array:
    """Look up ids (B, T) in the embedding (V, D), treating ``<mask>`` as a dropped input ([2]).

    ``<mask>`` becomes zero. The rest is scaled by the share of tokens kept in training over the
    share kept in this sequence: 0.88 where nothing is masked. Padding, where `present` (B, T) is
    False, does not count and becomes zero. Returns (B, T, D).

    >>> ids = np.array([[CLS, 5, MASK, EOS]])
    >>> embed_tokens(ids, ids != PAD, np.ones((33, 1)))[0, :, 0].round(3)  # 0.88 / (1 - 1/4)
    array([1.173, 1.173, 0.   , 1.173])
    """
    masked = (ids == MASK) & present
    masked_share = masked.sum(axis=1) / present.sum(axis=1)  # (B,)
    scale = (1.0 - TRAIN_MASK_RATE) / (1.0 - masked_share)  # (B,)
    scale = scale[:, None] * (present & ~masked)  # (B, 1) * (B, T) -> (B, T)
    return embedding[ids] * scale[..., None].astype(embedding.dtype)  # (B, T, D) * (B, T, 1)


# ------------------------------------------------------------------------------------ attention


def inverse_frequencies(head_width: int) -> Array:
    """Compute base^(-2k/K) for k < K/2, in radians per position ([3], section 3.2.2): (K/2,).

    K is `head_width`.

    In float32 whatever follows, as [2] and transformers do: at position 1,000 the rounding shows.

    >>> inverse_frequencies(4)
    array([1.  , 0.01], dtype=float32)
    """
    exponents = np.arange(0, head_width, 2, dtype=np.float32) / np.float32(head_width)
    return 1.0 / np.float32(ROTARY_BASE) ** exponents


def rotary_tables(frequencies: Array, tokens: int) -> tuple[Array, Array]:
    """Tabulate cos and sin of position times `frequencies` (K/2,), for T `tokens` ([3], eq. 15).

    Returns two arrays (T, K).

    >>> cos, sin = rotary_tables(np.array([1.0, 0.01]), 2)
    >>> sin.round(2)
    array([[0.  , 0.  , 0.  , 0.  ],
           [0.84, 0.01, 0.84, 0.01]])
    """
    positions = np.arange(tokens, dtype=frequencies.dtype)
    angles = positions[:, None] * frequencies  # (T, 1) * (K/2,) -> (T, K/2)
    angles = np.concatenate([angles, angles], axis=-1)  # (T, K/2) -> (T, K): once for each half
    return np.cos(angles), np.sin(angles)


def rotate_half(x: Array) -> Array:
    """Turn each pair (x[k], x[k + K/2]) by 90 degrees: (..., K) -> (..., K).

    [2] pairs the halves of a head where [3] pairs neighbours: the same up to a permutation of W^Q
    and W^K, so weights trained with one are wrong with the other.

    >>> rotate_half(np.array([1.0, 2.0, 3.0, 4.0]))
    array([-3., -4.,  1.,  2.])
    """
    first, second = np.split(x, 2, axis=-1)  # (..., K) -> two of (..., K/2)
    return np.concatenate([-second, first], axis=-1)  # two of (..., K/2) -> (..., K)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Turn queries or keys x (B, H, T, K) by their positions ([3], eq. 34); cos, sin are (T, K).

    See Also
    --------
    rotary_tables : The tables of cos and sin.
    rotate_half : The turn by 90 degrees.

    References
    ----------
    [3] Su et al. 2021, RoFormer, arXiv:2104.09864.

    Examples
    --------
    >>> quarter = (np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]]))  # cos and sin of 90 degrees
    >>> rotate(np.array([[1.0, 0.0]]), *quarter)
    array([[0., 1.]])
    """
    return x * cos + rotate_half(x) * sin


def scale_query(query: Array) -> Array:
    """Divide query by sqrt(K), as [1] does the scores (eq. 1); [2] does it here, before rotating.

    >>> float(scale_query(np.ones((1, 1, 1, 16)))[0, 0, 0, 0])
    0.25
    """
    return query * query.shape[-1] ** -0.5


def project_heads(x: Array, source: Array, p: Attention, heads: int) -> tuple[Array, Array, Array]:
    """Project x (B, T, D) to queries (B, H, T, K), source (B, S, D) to keys, values (B, H, S, K).

    The matrices and biases are those of `p`, and `heads` is H.

    >>> from esmkit.reference.training import random_masked_lm
    >>> p = random_masked_lm(0, width=8, heads=2).encoder.layers[0].attention
    >>> [part.shape for part in project_heads(np.ones((1, 3, 8)), np.ones((1, 5, 8)), p, 2)]
    [(1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)]
    """
    query, key, value = linear(x, p.query), linear(source, p.key), linear(source, p.value)
    return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)


def apply_mask(scores: Array, allowed: Array | None) -> Array:
    """Set scores (B, H, T, S) to -inf where `allowed` (bool, broadcast to them) is False.

    >>> apply_mask(np.zeros((1, 1, 2, 2)), np.tri(2, dtype=bool))[0, 0]
    array([[  0., -inf],
           [  0.,   0.]])
    """
    if allowed is None:
        return scores
    try:
        allowed = np.broadcast_to(allowed, scores.shape)
    except ValueError:
        raise InputError(
            f"attention mask of shape {np.shape(allowed)} does not fit scores of shape "
            f"{scores.shape}: sequences, heads, queries, keys"
        ) from None
    if not allowed.any(axis=-1).all():
        raise InputError("the attention mask leaves a token with nothing to attend to")
    return np.where(allowed, scores, -np.inf)


def multi_head_attention(
    x: Array,
    source: Array,
    p: Attention,
    heads: int,
    *,
    allowed: Array | None = None,
    rotary: tuple[Array, Array] | None = None,
) -> Steps:
    """Attend: concat(softmax(Q K^T / sqrt(K)) V) W^O ([1], eq. 1 and section 3.2.2).

    Parameters
    ----------
    x : (B, T, D), the tokens that ask
    source : (B, S, D), the tokens that are asked: x itself, or another sequence (cross-attention)
    p : Attention
    heads : int, H
    allowed : bool, broadcast to (B, H, T, S), False where a query may not see a key: for padding
        (B, 1, 1, S), for a causal mask (T, T); by default every query sees every key
    rotary : cos and sin from `rotary_tables`; None for no rotation

    Returns
    -------
    dict of every step: ``query``, ``key``, ``value`` as projected, and ``rotated_query`` and
    ``rotated_key`` as multiplied (scaled, turned), (B, H, T or S, K); ``scores``, -inf where not
    allowed, and ``weights`` (B, H, T, S); ``head_output`` (B, H, T, K); ``attention_output``
    (B, T, D)

    Raises
    ------
    InputError
        If x, source, heads and mask do not fit, or a token is left with nothing to attend to.

    References
    ----------
    [1] Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762.

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> p = random_masked_lm(0, width=8, heads=2).encoder.layers[0].attention
    >>> x = np.random.default_rng(0).normal(size=(1, 3, 8))
    >>> steps = multi_head_attention(x, x, p, 2)
    >>> steps["weights"].shape, bool(np.allclose(steps["weights"].sum(axis=-1), 1))
    ((1, 2, 3, 3), True)
    """
    if len(x) != len(source):
        raise InputError(f"{len(x)} sequences cannot attend to {len(source)}: give one for each")
    steps: Steps = {}
    query, key, value = project_heads(x, source, p, heads)
    steps |= {"query": query, "key": key, "value": value}
    query = scale_query(query)
    if rotary is not None:
        query, key = rotate(query, *rotary), rotate(key, *rotary)
    steps |= {"rotated_query": query, "rotated_key": key}
    scores = query @ key.swapaxes(-1, -2)  # (B, H, T, K) @ (B, H, K, S) -> (B, H, T, S)
    steps["scores"] = apply_mask(scores, allowed)
    steps["weights"] = softmax(steps["scores"])
    steps["head_output"] = steps["weights"] @ value  # (B, H, T, S) @ (B, H, S, K) -> (B, H, T, K)
    steps["attention_output"] = linear(concatenate_heads(steps["head_output"]), p.output)
    return steps


# ---------------------------------------------------------------------------------- the encoder


def feed_forward(
    x: Array, expand: Affine, contract: Affine, activation: Callable[[Array], Array]
) -> Steps:
    """Compute W_2 activation(W_1 x + b_1) + b_2 for x (B, T, D) ([1], eq. 2).

    W_1 and b_1 are `expand`, W_2 and b_2 `contract`. Returns ``feed_forward_hidden`` (B, T, F), the
    activation, and ``feed_forward_output`` (B, T, D).

    >>> expand = Affine(np.ones((4, 2)), np.zeros(4))
    >>> contract = Affine(np.ones((2, 4)), np.zeros(2))
    >>> steps = feed_forward(np.ones((1, 3, 2)), expand, contract, gelu)
    >>> steps["feed_forward_hidden"].shape, steps["feed_forward_output"].shape
    ((1, 3, 4), (1, 3, 2))
    """
    hidden = activation(linear(x, expand))  # (B, T, D) -> (B, T, F)
    return {"feed_forward_hidden": hidden, "feed_forward_output": linear(hidden, contract)}


def encoder_layer(
    x: Array, p: Layer, heads: int, rotary: tuple[Array, Array], allowed: Array | None
) -> Steps:
    """Run one pre-LN layer on x (B, T, D): x + attention(LN(x)), then x + feed_forward(LN(x)) ([2]).

    Parameters
    ----------
    x : (B, T, D), the residual stream before the layer
    p : Layer
    heads : int, H
    rotary : cos and sin from `rotary_tables`
    allowed : bool, broadcast to (B, H, T, T), or None where every token sees every other

    Returns
    -------
    dict of every step: those of `multi_head_attention` and `feed_forward`; the results of the two
    norms, ``attention_input`` and ``feed_forward_input``; and the residual stream after each half,
    ``attention_residual`` and ``residual``, the layer's result; all (B, T, D)

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> parameters = random_masked_lm(0, layers=1).encoder
    >>> rotary = rotary_tables(parameters.inverse_frequencies, 3)
    >>> steps = encoder_layer(np.ones((1, 3, 64)), parameters.layers[0], 4, rotary, None)
    >>> steps["weights"].shape, steps["residual"].shape
    ((1, 4, 3, 3), (1, 3, 64))
    """
    normed = layer_norm(x, p.attention_norm)
    steps = {"attention_input": normed}
    steps |= multi_head_attention(
        normed, normed, p.attention, heads, allowed=allowed, rotary=rotary
    )
    x = x + steps["attention_output"]
    steps |= {"attention_residual": x, "feed_forward_input": layer_norm(x, p.feed_forward_norm)}
    steps |= feed_forward(steps["feed_forward_input"], p.expand, p.contract, gelu)
    return LayerSteps(steps, residual=x + steps["feed_forward_output"])


def encode(
    parameters: Parameters,
    ids: ArrayLike,
    *,
    attention_mask: ArrayLike | None = None,
    attentions: bool = False,
    trace: bool = False,
) -> Encoding:
    """Encode token ids: embedding, N layers, final norm ([2]).

    Measured with ESM-2 8M in float64 on one protein of 1,000 residues, on two x86-64 cores: 1.2 to
    2.4 s and a peak of 0.6 GB for the whole process, 1.4 GB with `attentions`, 2.3 GB with `trace`.

    Parameters
    ----------
    parameters : Parameters
    ids : (B, T) int, each row ``<cls>`` residues ``<eos>``, then padding
    attention_mask : (B, T) bool or 0/1, False at padding; by default all but ``<pad>`` is True
    attentions : keep the attention maps: N*B*H*T*T numbers
    trace : keep every step of every layer: more than twice as much

    Returns
    -------
    Encoding

    Raises
    ------
    InputError
        If the ids are not (B, T) integers of the vocabulary, a sequence is empty or all ``<mask>``,
        or the mask has another shape; names sequence and position, both counted from 0.

    See Also
    --------
    parameters_of : The weights of a loaded model.
    contact_probabilities : Contacts from the maps.
    masked_lm_logits : Logits from the last hidden states.
    verify : Comparison with Hugging Face and with the fast path.

    References
    ----------
    [2] Lin et al. 2023, Science 379:1123, doi:10.1126/science.ade2574 (ESM-2).

    Examples
    --------
    >>> model = esmkit.load()                                              # doctest: +SKIP
    >>> tensors = {n: t.numpy() for n, t in model.network.state_dict().items()}  # doctest: +SKIP
    >>> parameters = read_parameters(tensors, heads=20)                    # doctest: +SKIP
    >>> encode(parameters, [[0, 20, 15, 11, 2]]).hidden_states[-1].shape   # doctest: +SKIP
    (1, 5, 320)
    """
    ids, present = _check_tokens(ids, attention_mask, len(parameters.embedding))
    x = embed_tokens(ids, present, parameters.embedding)
    rotary = rotary_tables(parameters.inverse_frequencies, ids.shape[1])
    padded = not present.all()
    allowed = present[:, None, None, :] if padded else None  # (B, T) -> (B, 1, 1, T): hides keys
    hidden_states, maps, traces = [x], [], []
    for layer in parameters.layers:
        steps = encoder_layer(x, layer, parameters.heads, rotary, allowed)
        x = steps["residual"]
        hidden_states.append(x)
        if attentions:
            maps.append(steps["weights"])
        if trace:
            traces.append(steps)
        del steps  # unless kept, these maps go before the next layer makes its own
    hidden_states[-1] = layer_norm(x, parameters.final_norm)
    return Encoding(
        hidden_states=tuple(hidden_states),
        attentions=tuple(maps) if attentions else None,
        trace=tuple(traces) if trace else None,
    )


def _check_tokens(
    ids: ArrayLike, attention_mask: ArrayLike | None, vocabulary: int
) -> tuple[Array, Array]:
    """Return ids (B, T) int and present (B, T) bool, or say which token is wrong."""
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.size == 0:
        raise InputError(f"token ids of shape {ids.shape}: give (sequences, tokens), none empty")
    if not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"token ids of type {ids.dtype}: give integers")
    for row, column in np.argwhere((ids < 0) | (ids >= vocabulary))[:1]:
        raise InputError(
            f"sequence {row}, position {column}: token id {ids[row, column]} is outside the "
            f"vocabulary, 0 to {vocabulary - 1}"
        )
    present = ids != PAD if attention_mask is None else np.asarray(attention_mask).astype(bool)
    if present.shape != ids.shape:
        raise InputError(f"attention mask of shape {present.shape}: the ids have {ids.shape}")
    for row in np.flatnonzero(~(present & ~np.isin(ids, (CLS, PAD, EOS))).any(axis=1))[:1]:
        raise InputError(f"sequence {row} is empty: it has no residue")
    for row in np.flatnonzero(~(present & (ids != MASK)).any(axis=1))[:1]:
        raise InputError(f"sequence {row} is all <mask>: leave at least one other token")
    return ids, present


# ---------------------------------------------------------------------------------- the contacts


def residue_maps(maps: Array, ids: Array, present: Array) -> Array:
    """Cut one layer's maps (B, H, T, T) to residues (B, H, R, R), without renormalising ([6]).

    Which tokens are residues follows from `ids` and `present`, (B, T) both.

    >>> ids = np.array([[CLS, 5, 6, EOS]])
    >>> residue_maps(np.full((1, 1, 4, 4), 0.25), ids, ids != PAD)[0, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    kept = present & (ids != EOS)  # (B, T): a shorter sequence has <eos> and padding inside the row
    maps = maps * (kept[:, None, :, None] & kept[:, None, None, :])
    return maps[..., 1:-1, 1:-1]  # (B, H, T, T) -> (B, H, R, R)


def symmetrise(maps: Array) -> Array:
    """Add to `maps` (B, H, R, R) their transpose, for a contact has no direction.

    >>> symmetrise(np.array([[0.0, 0.5], [0.1, 0.0]]))
    array([[0. , 0.6],
           [0.6, 0. ]])
    """
    return maps + maps.swapaxes(-1, -2)


def average_product_correction(maps: Array) -> Array:
    """Subtract from each weight what its row and its column explain ([7]).

    Of ``S_ij`` in `maps` that is ``S_i. S_.j / S_..``; the result is (B, H, R, R) too.

    References
    ----------
    [7] Dunn, Wahl and Gloor 2008, Bioinformatics 24:333, doi:10.1093/bioinformatics/btm604.

    Examples
    --------
    >>> average_product_correction(np.array([[1.0, 1.0], [1.0, 1.0]]))  # nothing but background
    array([[0., 0.],
           [0., 0.]])
    """
    rows, columns = maps.sum(axis=-1, keepdims=True), maps.sum(axis=-2, keepdims=True)
    return maps - rows * columns / maps.sum(axis=(-1, -2), keepdims=True)


def contact_features(maps: Array, ids: Array, present: Array) -> Array:
    """Turn one layer's maps (B, H, T, T) into the regression's inputs (B, H, R, R) ([6]).

    `ids` and `present` are (B, T), as for `residue_maps`.

    >>> ids = np.array([[CLS, 5, 6, 7, EOS]])
    >>> maps = softmax(np.random.default_rng(0).normal(size=(1, 1, 5, 5)))
    >>> features = contact_features(maps, ids, ids != PAD)
    >>> features.shape, float(abs(features.sum(axis=-1)).max().round(9))  # each row sums to 0
    ((1, 1, 3, 3), 0.0)
    """
    return average_product_correction(symmetrise(residue_maps(maps, ids, present)))


def contact_probabilities(
    parameters: Parameters,
    attentions: Sequence[Array],
    ids: ArrayLike,
    *,
    attention_mask: ArrayLike | None = None,
) -> Array:
    """Predict contacts: a logistic regression over the maps of all heads of all layers ([6]).

    Parameters
    ----------
    parameters : Parameters, with a contact head
    attentions : N arrays (B, H, T, T), from `encode`
    ids, attention_mask : as given to `encode`

    Returns
    -------
    (B, R, R) in [0, 1], symmetric; NaN where a shorter sequence has no residue

    Raises
    ------
    CheckpointError
        If the checkpoint has no contact head.
    InputError
        If a row is not ``<cls>`` residues ``<eos>``, or the maps do not fit ids and parameters.

    See Also
    --------
    contact_features : What the regression is given.

    References
    ----------
    [6] Rao et al. 2021, Transformer protein language models are unsupervised structure learners,
    doi:10.1101/2020.12.15.422761.

    Examples
    --------
    >>> model = esmkit.load()                                              # doctest: +SKIP
    >>> parameters = esmkit.reference.parameters_of(model)                 # doctest: +SKIP
    >>> ids = [esmkit.sequences.encode("MKTVRQERLKSIV")]                    # doctest: +SKIP
    >>> maps = encode(parameters, ids, attentions=True).attentions         # doctest: +SKIP
    >>> contact_probabilities(parameters, maps, ids).shape                 # doctest: +SKIP
    (1, 13, 13)
    """
    if parameters.contact is None:
        raise CheckpointError("these weights have no contact head: look at the attention maps")
    ids, present = _check_tokens(ids, attention_mask, len(parameters.embedding))
    for row, (tokens, real) in enumerate(zip(ids, present, strict=True)):
        if not real[0] or tokens[0] != CLS or tokens[real][-1] != EOS:
            raise InputError(f"sequence {row}: contacts need <cls> first and <eos> last")
    depth, (batch, length) = len(parameters.layers), ids.shape
    fitting = (batch, parameters.heads, length, length)
    if [maps.shape for maps in attentions] != [fitting] * depth:
        raise InputError(f"these ids and parameters need {depth} attention maps of shape {fitting}")
    weights = parameters.contact.weight.reshape(depth, parameters.heads)  # (1, N*H) -> (N, H)
    logits = np.tile(parameters.contact.bias, (batch, length - 2, length - 2))  # (1,) -> (B, R, R)
    for maps, head_weights in zip(attentions, weights, strict=True):
        logits += np.einsum("bhij,h->bij", contact_features(maps, ids, present), head_weights)
    probabilities = np.exp(-np.logaddexp(0.0, -logits))  # 1 / (1 + exp(-x)), without overflow
    residue = (present & (ids != EOS))[:, 1:-1]  # (B, T) -> (B, R)
    probabilities[~(residue[:, :, None] & residue[:, None, :])] = np.nan  # (B, R, 1) & (B, 1, R)
    return probabilities


# ------------------------------------------------------------------------- reading a checkpoint

EMBEDDING = "embeddings.word_embeddings.weight"
CONTACT = "contact_head.regression"
INVERSE_FREQUENCIES = "rotary_embeddings.inv_freq"  # of the model, or of each layer's attention
LAYER_MODULES = {  # module in Hugging Face's EsmModel, in the order of `Layer`: axes of its weight
    "attention.LayerNorm": "D",
    "attention.self.query": "DD",
    "attention.self.key": "DD",
    "attention.self.value": "DD",
    "attention.output.dense": "DD",
    "LayerNorm": "D",
    "intermediate.dense": "FD",
    "output.dense": "DF",
}


def read_parameters(
    tensors: Mapping[str, Array], heads: int, *, dtype: DTypeLike = np.float64
) -> Parameters:
    """Check and sort the tensors of a checkpoint in Hugging Face format.

    Parameters
    ----------
    tensors : mapping of upstream name, with or without the prefix ``esm.``, to float array
        What the encoder does not use (pooler, masked-LM head, absolute positions) is left alone.
        The rotary frequencies are taken as stored, for old checkpoints hold them rounded to half
        precision, and computed only where there are none.
    heads : int, the number H of attention heads, which the tensors alone do not tell
    dtype : float64 (default) or float32, the type of every later computation

    Returns
    -------
    esmkit.reference.Parameters

    Raises
    ------
    CheckpointError
        Names the tensors that are missing, or the first whose shape or type is wrong.
    OptionError
        If `dtype` is neither float32 nor float64.

    Examples
    --------
    >>> read_parameters({}, heads=20)
    Traceback (most recent call last):
        ...
    esmkit.errors.CheckpointError: missing tensors: encoder.layer.0.attention... and 14 more
    >>> model = esmkit.load()                                              # doctest: +SKIP
    >>> tensors = {n: t.numpy() for n, t in model.network.state_dict().items()}  # doctest: +SKIP
    >>> len(read_parameters(tensors, heads=20).layers)                     # doctest: +SKIP
    6
    """
    if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise OptionError(f"dtype {np.dtype(dtype)}: the reference runs in float32 or float64")
    prefix = "esm." if any(name.startswith("esm.") for name in tensors) else ""
    arrays = {name.removeprefix(prefix): np.asarray(tensors[name]) for name in tensors}
    numbers = [re.match(r"encoder\.layer\.(\d+)\.", name) for name in arrays]
    depth = 1 + max((int(number[1]) for number in numbers if number), default=0)
    table = arrays.get(EMBEDDING, np.empty((0, 0)))
    if table.ndim != 2:
        raise CheckpointError(f"tensor {prefix}{EMBEDDING} is {table.shape}, not (tokens, width)")
    vocabulary, width = table.shape
    hidden = len(arrays.get("encoder.layer.0.intermediate.dense.weight", ()))
    if heads < 1 or width % (2 * heads):
        raise CheckpointError(f"width {width} does not split into {heads} heads of even width")
    sizes = {"V": vocabulary, "D": width, "F": hidden, "P": width // heads // 2}  # P for K/2
    sizes |= {"1": 1, "M": depth * heads}  # M for N*H
    missing, wrong = [], []

    def take(name: str, axes: str) -> Array:
        shape = tuple(sizes[axis] for axis in axes)
        array = arrays.get(name)
        if array is None:
            missing.append(prefix + name)
        elif array.shape != shape or not np.issubdtype(array.dtype, np.floating):
            wrong.append(f"{prefix}{name} is {array.dtype} {array.shape}, not float {shape}")
        return np.empty(0) if array is None else array.astype(dtype)

    def affine(module: str, axes: str) -> Affine:
        return Affine(take(module + ".weight", axes), take(module + ".bias", axes[0]))

    layers = []
    for i in range(depth):
        parts = [affine(f"encoder.layer.{i}.{name}", axes) for name, axes in LAYER_MODULES.items()]
        layers.append(Layer(parts[0], Attention(*parts[1:5]), *parts[5:]))
    stored = sorted((name for name in arrays if name.endswith(INVERSE_FREQUENCIES)), key=len)
    if any(not np.array_equal(arrays[name], arrays[stored[0]]) for name in stored):
        raise CheckpointError(f"the layers' {INVERSE_FREQUENCIES} differ; ESM-2 has one for all")
    computed = inverse_frequencies(width // heads).astype(dtype)
    parameters = Parameters(
        embedding=take(EMBEDDING, "VD"),
        layers=tuple(layers),
        final_norm=affine("encoder.emb_layer_norm_after", "D"),
        inverse_frequencies=take(stored[0], "P") if stored else computed,
        heads=heads,
        contact=affine(CONTACT, "1M") if any(n.startswith(CONTACT) for n in arrays) else None,
    )
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise CheckpointError(f"missing tensors: {', '.join(missing[:5])}{more}")
    if wrong:
        raise CheckpointError(f"tensor {wrong[0]}, for {depth} layers of {heads} heads")
    return parameters
