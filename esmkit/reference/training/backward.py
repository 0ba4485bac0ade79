"""The backward pass: one function beside each forward one of `esmkit.reference.encoder`.

Training needs to know, for each number of the network, how the loss ``L`` changes when that number
grows a little: the gradient. It is worked out from the loss backwards by the chain rule. Each
function here takes ``gradient``, the derivative of the loss by what its forward function returned,
and what that function was given; it returns the derivatives by these, in their order and shapes.

Axes as in `esmkit.reference.encoder`: ``B`` sequences, ``T`` tokens, ``S`` tokens attended to, ``H``
heads, ``D`` width, ``K`` head width, ``F`` feed-forward width, ``V`` vocabulary. A capital ``G`` in a
formula is the gradient of the result. Arrays are float32 or float64, as those they are made from.

Sources: [1] Rumelhart, Hinton and Williams 1986, doi:10.1038/323533a0 (back-propagation). The
functions differentiated, and their sources, stand in `esmkit.reference.encoder`; every derivative
here follows from them with the chain rule and is compared with PyTorch's in the tests.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf  # as in the forward GELU

from esmkit.errors import InputError
from esmkit.reference.bounds import same_shape
from esmkit.reference.encoder import (
    LAYER_NORM_EPS,
    Affine,
    Array,
    Attention,
    Steps,
    concatenate_heads,
    linear,
    rotate,
    split_heads,
)

__all__ = [
    "cross_entropy",
    "embedding_backward",
    "feed_forward_backward",
    "gelu_backward",
    "layer_norm_backward",
    "linear_backward",
    "multi_head_attention_backward",
    "relu_backward",
    "softmax_backward",
]


# ---------------------------------------------------------------------------------- the loss


def cross_entropy(
    logits: Array, targets: ArrayLike, chosen: ArrayLike | None = None
) -> tuple[float, Array]:
    """Return the mean of -ln p(target), and its gradient by the logits.

    With p = softmax(z) the loss of one place is ``-ln p[target]``, and
    ``dL/dz[v] = (p[v] - [v is the target]) / places``: what was said, less what was right.

    Parameters
    ----------
    logits : (..., V)
    targets : (...) int
        The right token of each place.
    chosen : (...) bool, optional
        Which places count; by default all.

    Returns
    -------
    float
        In nats: 0 where the target is certain, ln V where all tokens are equally likely.
    array (..., V)
        0 where a place does not count.

    Raises
    ------
    InputError
        If the shapes do not fit, no place counts, or a target is no token of the vocabulary.

    Examples
    --------
    >>> loss, gradient = cross_entropy(np.zeros((1, 4)), [2])
    >>> round(loss, 4), gradient
    (1.3863, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    logits, targets = np.asarray(logits), np.asarray(targets)
    if not np.issubdtype(logits.dtype, np.floating):
        logits = logits.astype(np.float64)
    counted = np.ones(targets.shape, bool) if chosen is None else np.asarray(chosen, bool)
    if logits.shape[:-1] != targets.shape or counted.shape != targets.shape:
        raise InputError(
            f"logits {logits.shape}, targets {targets.shape}, chosen {counted.shape}: targets and "
            "chosen have the shape of the logits without its last axis"
        )
    right = targets[counted]  # (n,)
    if not right.size:
        raise InputError("no place is chosen: the mean over none is not a number")
    if not np.issubdtype(right.dtype, np.integer):
        raise InputError(f"targets are {right.dtype}; give token ids, which are whole numbers")
    if right.min() < 0 or right.max() >= logits.shape[-1]:
        wrong = right[(right < 0) | (right >= logits.shape[-1])][0]
        raise InputError(f"target {wrong} is outside the vocabulary, 0 to {logits.shape[-1] - 1}")
    said = logits[counted]  # (n, V)
    said = said - said.max(axis=-1, keepdims=True)  # no overflow
    said -= np.log(np.exp(said).sum(axis=-1, keepdims=True))  # ln p
    places = np.arange(len(right))
    loss = -float(said[places, right].mean(dtype=np.float64))
    said = np.exp(said)  # p
    said[places, right] -= 1
    gradient = np.zeros_like(logits)
    gradient[counted] = said / len(right)
    return loss, gradient


# ------------------------------------------------------------------------------ building blocks


def linear_backward(gradient: Array, x: Array, p: Affine) -> tuple[Array, Affine]:
    """Undo ``x W^T + b``: ``dL/dx = G W``, ``dL/dW = G^T x``, ``dL/db = sum of G`` over all tokens.

    Parameters
    ----------
    gradient : (..., out)
    x : (..., in), what went in
    p : Affine, (out, in) and (out,)

    Returns
    -------
    array (..., in)
        By x.
    Affine
        By weight and bias.

    Examples
    --------
    >>> p = Affine(np.array([[1.0, 2.0]]), np.zeros(1))
    >>> linear_backward(np.array([[1.0]]), np.array([[5.0, 7.0]]), p)[1].weight
    array([[5., 7.]])
    """
    gradient, x = np.asarray(gradient), np.asarray(x)
    outputs, inputs = p.weight.shape
    shapes = {"x": (x, (*x.shape[:-1], inputs)), "gradient": (gradient, (*x.shape[:-1], outputs))}
    same_shape("linear_backward", **shapes)
    flat = gradient.reshape(-1, gradient.shape[-1])  # (..., out) -> (n, out)
    by_x = (flat @ p.weight).reshape(x.shape)  # (n, out) @ (out, in) -> (n, in) -> (..., in)
    by_weight = flat.T @ x.reshape(-1, x.shape[-1])  # (out, n) @ (n, in) -> (out, in)
    return by_x, Affine(by_weight, flat.sum(axis=0))


def layer_norm_backward(gradient: Array, x: Array, p: Affine) -> tuple[Array, Affine]:
    """Undo the norm of each token: gain, then division by the deviation, then the mean.

    With ``n = (x - mean) / s`` and ``g = G * gain``, the gradient by x is
    ``(g - mean(g) - n * mean(g * n)) / s``. A step along the ones only moves the mean, a step along n
    only stretches: the norm takes both out again, so the gradient has no part along either.

    Parameters
    ----------
    gradient : (..., D)
    x : (..., D), what went in
    p : Affine, (D,) and (D,)

    Returns
    -------
    array (..., D)
        By x.
    Affine
        By gain and bias.

    Examples
    --------
    >>> p, x = Affine(np.ones(3), np.zeros(3)), np.array([[1.0, 2.0, 4.0]])
    >>> layer_norm_backward(np.array([[1.0, 0.0, 0.0]]), x, p)[0].round(3)  # the sum is 0
    array([[ 0.229, -0.344,  0.115]])
    """
    gradient, x = np.asarray(gradient), np.asarray(x)
    same_shape("layer_norm_backward", gradient=(gradient, x.shape))
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt(variance + LAYER_NORM_EPS)  # (..., 1)
    normed = centred * inverse
    tokens = tuple(range(x.ndim - 1))
    by_gain = (gradient * normed).sum(axis=tokens)
    by_bias = gradient.sum(axis=tokens)
    by_normed = gradient * p.weight
    along = (by_normed * normed).mean(axis=-1, keepdims=True)
    by_x = (by_normed - by_normed.mean(axis=-1, keepdims=True) - normed * along) * inverse
    return by_x, Affine(by_gain, by_bias)


def gelu_backward(gradient: Array, x: Array, result: Array | None = None) -> Array:
    """Undo ``x P(x)``, P the normal distribution function: ``G * (P(x) + x p(x))``, p its density.

    Parameters
    ----------
    gradient, x : any shape, the same
    result : the same shape, optional
        What the GELU of x was. P is then read off it, as result / x: computing P is most of the work.

    Returns
    -------
    array of that shape, by x

    Examples
    --------
    >>> gelu_backward(np.ones(3), np.array([-5.0, 0.0, 5.0])).round(3)
    array([-0. ,  0.5,  1. ])
    """
    gradient, x = np.asarray(gradient), np.asarray(x)
    same_shape("gelu_backward", gradient=(gradient, x.shape))
    if result is None:
        distribution = 0.5 * (1.0 + erf(x / math.sqrt(2.0)))
    else:
        distribution = np.divide(result, x, out=np.full_like(x, 0.5), where=x != 0)
    density = np.exp(-0.5 * np.square(x)) / math.sqrt(2.0 * math.pi)
    return gradient * (distribution + x * density)


def relu_backward(gradient: Array, x: Array, result: Array | None = None) -> Array:
    """Undo ``max(x, 0)``: let G, the gradient, pass where x is positive, and nothing elsewhere.

    The result of the forward pass is taken, as by `gelu_backward`, and not needed.

    >>> relu_backward(np.array([1.0, 2.0]), np.array([-3.0, 3.0]))
    array([0., 2.])
    """
    gradient, x = np.asarray(gradient), np.asarray(x)
    same_shape("relu_backward", gradient=(gradient, x.shape))
    return np.where(x > 0, gradient, np.zeros((), gradient.dtype))


def softmax_backward(gradient: Array, weights: Array) -> Array:
    """Undo the softmax: ``dL/dscore = w * (G - sum(G * w))``, sums over the last axis.

    Weights share one whole: what one gains the others lose, so only the difference from the weighted
    mean of G counts. A weight that is exactly 0 (not allowed) gives 0.

    Parameters
    ----------
    gradient : (..., S)
    weights : (..., S), what the softmax returned

    Returns
    -------
    array (..., S), by the scores

    Examples
    --------
    >>> softmax_backward(np.array([1.0, 1.0]), np.array([0.3, 0.7])).round(9) + 0.0
    array([0., 0.])
    """
    gradient, weights = np.asarray(gradient), np.asarray(weights)
    same_shape("softmax_backward", gradient=(gradient, weights.shape))
    shared = np.einsum("...s,...s->...", gradient, weights)  # (..., S) -> (...)
    return weights * (gradient - shared[..., None])


def embedding_backward(gradient: Array, ids: ArrayLike, vocabulary: int) -> Array:
    """Undo the look-up: each token's row is the sum of the gradients of all places where it stands.

    Parameters
    ----------
    gradient : (..., D)
    ids : (...) int
    vocabulary : int, V

    Returns
    -------
    array (V, D)

    Examples
    --------
    >>> embedding_backward(np.ones((3, 2)), [1, 0, 1], vocabulary=3)
    array([[1., 1.],
           [2., 2.],
           [0., 0.]])
    """
    ids = np.asarray(ids)
    same_shape("embedding_backward", gradient=(gradient, (*ids.shape, gradient.shape[-1])))
    ids = ids.ravel()
    if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
        raise InputError(f"ids {ids.min()} to {ids.max()}: the vocabulary is 0 to {vocabulary - 1}")
    flat = gradient.reshape(len(ids), -1)  # (..., D) -> (n, D)
    there = (ids == np.arange(vocabulary)[:, None]).astype(flat.dtype)  # (V, n): 1 where it stands
    return there @ flat  # (V, n) @ (n, D) -> (V, D)


# ------------------------------------------------------------------------ attention, feed-forward


def multi_head_attention_backward(
    gradient: Array,
    x: Array,
    memory: Array,
    steps: Steps,
    p: Attention,
    heads: int,
    *,
    rotary: tuple[Array, Array] | None = None,
    memory_rotary: tuple[Array, Array] | None = None,
) -> tuple[Array, Array, Attention]:
    """Undo attention: the steps of `reference.multi_head_attention` in the opposite order.

    With ``O = A V`` and ``A = softmax(Q K^T)``, Q scaled: ``dL/dA = G V^T``, ``dL/dV = A^T G``, then
    through the softmax to the scores Z, ``dL/dQ = dL/dZ K`` and ``dL/dK = (dL/dZ)^T Q``. A rotation is
    undone by turning back by the same angle.

    Parameters
    ----------
    gradient : (B, T, D), by ``attention_output``
    x : (B, T, D), the tokens that asked
    memory : (B, S, D), the tokens that were asked: x itself in self-attention
    steps : dict
        What `reference.multi_head_attention` returned; where a mask hid a key, its weight is 0 and
        so is the gradient, so the mask is not needed again.
    p : Attention
    heads : int, H
    rotary : cos and sin (T, K), as given to the forward function
    memory_rotary : cos and sin (S, K), where the keys were turned by others than the queries

    Returns
    -------
    array (B, T, D)
        By x, as the tokens that asked.
    array (B, S, D)
        By memory; in self-attention the sum of both is the gradient by x.
    Attention
        By the four weights and biases.

    Examples
    --------
    >>> from esmkit.reference import multi_head_attention
    >>> p = Attention(*(Affine(np.eye(4), np.zeros(4)) for _ in range(4)))
    >>> x = np.random.default_rng(0).normal(size=(1, 3, 4))
    >>> steps = multi_head_attention(x, x, p, 2)
    >>> asked, answered, by_p = multi_head_attention_backward(np.ones_like(x), x, x, steps, p, 2)
    >>> (asked + answered).shape, by_p.output.weight.shape
    ((1, 3, 4), (4, 4))
    """
    joined = concatenate_heads(steps["head_output"])  # (B, H, T, K) -> (B, T, D)
    by_joined, output = linear_backward(gradient, joined, p.output)
    by_heads = split_heads(by_joined, heads)  # (B, T, D) -> (B, H, T, K)
    weights, value = steps["weights"], steps["value"]
    by_weights = by_heads @ value.swapaxes(-1, -2)  # (B, H, T, K) @ (B, H, K, S) -> (B, H, T, S)
    by_value = weights.swapaxes(-1, -2) @ by_heads  # (B, H, S, T) @ (B, H, T, K) -> (B, H, S, K)
    by_scores = softmax_backward(by_weights, weights)  # (B, H, T, S)
    by_query = by_scores @ steps["rotated_key"]  # (B, H, T, S) @ (B, H, S, K) -> (B, H, T, K)
    by_key = by_scores.swapaxes(-1, -2) @ steps["rotated_query"]  # -> (B, H, S, K)
    if rotary is not None:
        (cos, sin), (key_cos, key_sin) = rotary, memory_rotary or rotary
        by_query, by_key = rotate(by_query, cos, -sin), rotate(by_key, key_cos, -key_sin)
    by_query = by_query * by_query.shape[-1] ** -0.5  # the forward pass scaled Q
    by_x, query = linear_backward(concatenate_heads(by_query), x, p.query)
    from_key, key = linear_backward(concatenate_heads(by_key), memory, p.key)
    from_value, value = linear_backward(concatenate_heads(by_value), memory, p.value)
    return by_x, from_key + from_value, Attention(query, key, value, output)


def feed_forward_backward(
    gradient: Array,
    x: Array,
    steps: Steps,
    expand: Affine,
    contract: Affine,
    activation_backward: Callable[[Array, Array, Array], Array],
) -> tuple[Array, Affine, Affine]:
    """Undo ``W_2 activation(W_1 x + b_1) + b_2``: contract, activation, expand.

    Parameters
    ----------
    gradient : (B, T, D), by ``feed_forward_output``
    x : (B, T, D), what went in
    steps : dict with ``feed_forward_hidden`` (B, T, F), as `reference.feed_forward` returns
    expand, contract : Affine
    activation_backward : callable
        `gelu_backward` or `relu_backward`. It is given the gradient, what the activation was given,
        which is computed once more here instead of kept for every layer, and what it returned.

    Returns
    -------
    array (B, T, D)
        By x.
    Affine, Affine
        By expand and contract.

    Examples
    --------
    >>> from esmkit.reference import feed_forward, gelu
    >>> x, p = np.ones((1, 3, 2)), Affine(np.ones((2, 2)), np.zeros(2))
    >>> steps = feed_forward(x, p, p, gelu)
    >>> feed_forward_backward(x, x, steps, p, p, gelu_backward)[0].shape
    (1, 3, 2)
    """
    hidden = steps["feed_forward_hidden"]
    by_hidden, by_contract = linear_backward(gradient, hidden, contract)
    by_hidden = activation_backward(by_hidden, linear(x, expand), hidden)  # (B, T, F)
    by_x, by_expand = linear_backward(by_hidden, x, expand)
    return by_x, by_expand, by_contract
