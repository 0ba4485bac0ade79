"""The backward pass against PyTorch's automatic gradients, in float64, and once by small steps.

Every forward function of the reference is built again from PyTorch's own (`layer_norm`, `gelu`,
`scaled_dot_product_attention`, `cross_entropy`) with the same numbers; the gradients asked for are
those of a random weighted sum of what it returns.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from esmkit.errors import InputError
from esmkit.reference import encoder as reference
from esmkit.reference import training
from esmkit.reference.encoder import Affine, Attention
from esmkit.reference.transformer import causal_mask, relu

TOLERANCE = 1e-11  # gradients are of size 1 to 30; measured 2e-14
GENERATOR = np.random.default_rng


def affine(generator: np.random.Generator, *shape: int) -> Affine:
    return Affine(generator.normal(size=shape), generator.normal(size=shape[0]))


def attention_of(generator: np.random.Generator, width: int) -> Attention:
    return Attention(*(affine(generator, width, width) for _ in range(4)))


def tensors(*arrays: Any) -> list[torch.Tensor]:
    """Leaves that collect a gradient; affine maps give two."""
    flat = [a for array in arrays for a in training.tree_arrays({"": array}).values()]
    return [torch.tensor(array, requires_grad=True) for array in flat]


def same(found: Any, leaves: list[torch.Tensor]) -> None:
    """Gradients equal those that the leaves collected, in order."""
    arrays = [a for one in found for a in training.tree_arrays({"": one}).values()]
    assert len(arrays) == len(leaves)
    for array, leaf in zip(arrays, leaves, strict=True):
        assert leaf.grad is not None
        assert array.dtype == np.float64
        assert np.abs(array).max() > 1e-3
        np.testing.assert_allclose(array, leaf.grad.numpy(), rtol=0, atol=TOLERANCE)


def test_linear():
    generator = GENERATOR(0)
    x, p = generator.normal(size=(2, 3, 5)), affine(generator, 4, 5)
    gradient = generator.normal(size=(2, 3, 4))
    leaves = tensors(x, p)
    functional.linear(*leaves).backward(torch.tensor(gradient))
    same(training.linear_backward(gradient, x, p), leaves)


def test_layer_norm():
    generator = GENERATOR(1)
    x, p = 3 * generator.normal(size=(2, 3, 8)) + 1, affine(generator, 8)
    gradient = generator.normal(size=x.shape)
    leaves = tensors(x, p)
    functional.layer_norm(leaves[0], (8,), *leaves[1:], eps=1e-5).backward(torch.tensor(gradient))
    same(training.layer_norm_backward(gradient, x, p), leaves)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (training.gelu_backward, functional.gelu),
        (training.relu_backward, functional.relu),
    ],
)
def test_activations(ours, theirs):
    x, gradient = GENERATOR(2).normal(size=(2, 50)) * 2
    leaves = tensors(x)
    theirs(leaves[0]).backward(torch.tensor(gradient))
    same([ours(gradient, x)], leaves)
    assert ours(gradient.astype(np.float32), x.astype(np.float32)).dtype == np.float32


def test_softmax_with_keys_that_are_hidden():
    generator = GENERATOR(3)
    scores, gradient = generator.normal(size=(2, 4, 6)) * 3, generator.normal(size=(2, 4, 6))
    scores[:, :, 4:] = -np.inf
    leaves = tensors(scores)
    leaves[0].softmax(-1).backward(torch.tensor(gradient))
    found = training.softmax_backward(gradient, reference.softmax(scores))
    same([found], leaves)
    assert not found[..., 4:].any()
    np.testing.assert_allclose(found.sum(-1), 0, atol=1e-14)  # one more for all changes nothing


@pytest.mark.parametrize("chosen", [None, np.array([[True, False, True], [False, True, True]])])
def test_cross_entropy(chosen):
    generator = GENERATOR(4)
    logits, targets = generator.normal(size=(2, 3, 7)) * 3, generator.integers(0, 7, (2, 3))
    leaves = tensors(logits)
    right = targets if chosen is None else np.where(chosen, targets, -100)
    theirs = functional.cross_entropy(leaves[0].flatten(0, 1), torch.tensor(right.ravel()))
    theirs.backward()
    loss, found = training.cross_entropy(logits, targets, chosen)
    assert loss == pytest.approx(theirs.item(), abs=1e-14)
    same([found], leaves)
    if chosen is not None:
        assert not found[~chosen].any()


def test_cross_entropy_of_logits_too_large_for_exp():
    loss, found = training.cross_entropy(np.array([[2000.0, 0.0]]), [1])
    assert loss == 2000
    np.testing.assert_array_equal(found, [[1, -1]])


def test_embedding():
    generator = GENERATOR(5)
    table, ids = generator.normal(size=(6, 4)), generator.integers(0, 5, (2, 7))
    gradient = generator.normal(size=(2, 7, 4))
    leaves = tensors(table)
    functional.embedding(torch.tensor(ids), leaves[0]).backward(torch.tensor(gradient))
    found = training.embedding_backward(gradient, ids, 6)
    same([found], leaves)
    assert not found[5].any()  # a token that does not stand anywhere


def rotation(cos: np.ndarray, sin: np.ndarray) -> torch.Tensor:
    """The rotation of each position as a matrix (T, K, K), for x (.., T, K)."""
    rotated = [reference.rotate(np.eye(cos.shape[1]), c, s) for c, s in zip(cos, sin, strict=True)]
    return torch.tensor(np.array(rotated))


@pytest.mark.parametrize("kind", ["self", "rotary", "causal", "cross", "padded memory"])
def test_attention(kind: str):
    generator, heads, width = GENERATOR(6), 3, 12
    x, p = generator.normal(size=(2, 5, width)), attention_of(generator, width)
    crossed = kind in ("cross", "padded memory")
    memory = generator.normal(size=(2, 4, width)) if crossed else x
    allowed, rotary = None, None
    if kind == "causal":
        allowed = causal_mask(5)
    if kind == "padded memory":
        allowed = np.array([[True] * 4, [True, True, False, False]])[:, None, None, :]
    if kind == "rotary":
        rotary = reference.rotary_tables(np.array([1.0, 0.3]), 5)
    steps = reference.multi_head_attention(x, memory, p, heads, allowed=allowed, rotary=rotary)
    gradient = generator.normal(size=x.shape)

    leaves = tensors(x, memory, p)
    q, k, v = (
        functional.linear(leaves[source], *leaves[place : place + 2]).unflatten(-1, (heads, -1))
        for source, place in ((0, 2), (1, 4), (1, 6))
    )
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    if rotary is not None:
        turn = rotation(*rotary)
        q, k = (torch.einsum("bhtk,tkj->bhtj", part, turn) for part in (q, k))
    mask = None if allowed is None else torch.tensor(allowed)
    out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = functional.linear(out.transpose(1, 2).flatten(2), *leaves[8:])
    np.testing.assert_allclose(steps["attention_output"], out.detach().numpy(), atol=1e-12)
    out.backward(torch.tensor(gradient))

    by_x, by_memory, by_p = training.multi_head_attention_backward(
        gradient, x, memory, steps, p, heads, rotary=rotary
    )
    assert np.abs(by_p.key.bias).max() < 1e-12 or rotary  # the same for all keys: no change
    arrays = training.tree_arrays([by_x, by_memory, by_p])
    assert len(arrays) == len(leaves)
    for array, leaf in zip(arrays.values(), leaves, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(array, leaf.grad.numpy(), rtol=0, atol=TOLERANCE)
    assert min(np.abs(a).max() for n, a in arrays.items() if n != "2.key.bias") > 0.1


@pytest.mark.parametrize(
    ("forward", "backward", "theirs"),
    [
        (reference.gelu, training.gelu_backward, functional.gelu),
        (relu, training.relu_backward, functional.relu),
    ],
)
def test_feed_forward(forward, backward, theirs):
    generator = GENERATOR(7)
    x = generator.normal(size=(2, 3, 4))
    expand, contract = affine(generator, 9, 4), affine(generator, 4, 9)
    gradient = generator.normal(size=x.shape)
    leaves = tensors(x, expand, contract)
    hidden = theirs(functional.linear(leaves[0], *leaves[1:3]))
    functional.linear(hidden, *leaves[3:]).backward(torch.tensor(gradient))
    steps = reference.feed_forward(x, expand, contract, forward)
    found = training.feed_forward_backward(gradient, x, steps, expand, contract, backward)
    same(found, leaves)


@pytest.mark.parametrize(
    ("logits", "targets", "chosen", "message"),
    [
        ((2, 3), [0, 1, 2], None, "logits (2, 3), targets (3,), chosen (3,): targets and chosen"),
        ((2, 3), [0, 1], [True], "logits (2, 3), targets (2,), chosen (1,): targets and chosen"),
        ((2, 3), [0, 1], [False, False], "no place is chosen: the mean over none is not a number"),
        ((2, 3), [0, 3], None, "target 3 is outside the vocabulary, 0 to 2"),
        ((2, 3), [-1, 3], [True, False], "target -1 is outside the vocabulary, 0 to 2"),
    ],
)
def test_cross_entropy_refuses(logits, targets, chosen, message):
    with pytest.raises(InputError) as error:
        training.cross_entropy(np.zeros(logits), targets, chosen)
    assert str(error.value).startswith(message)
