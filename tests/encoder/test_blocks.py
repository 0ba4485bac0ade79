"""PyTorch's products in blocks, beside transformers' layers in float64."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from esmkit.encoder import blocks
from esmkit.encoder.blocks import CACHED_ROWS, BlockOperations
from esmkit.encoder.forward import enter
from esmkit.encoder.onednn import FastOperations, onednn_is_faster
from esmkit.encoder.operations import Operations
from esmkit.encoder.packing import pack
from esmkit.esm2 import Esm2, load
from esmkit.sequences.tokens import encode


@pytest.fixture
def plain(tiny: Esm2) -> Any:
    """The first layer as transformers has it, in float64."""
    return copy.deepcopy(tiny.network.encoder.layer[0]).double()  # type: ignore[operator,index]


@torch.inference_mode()
@pytest.mark.parametrize("tokens", [1, 3, 64, CACHED_ROWS, CACHED_ROWS + 1, 2 * CACHED_ROWS + 77])
def test_feed_forward_whole_and_in_halves(tiny: Esm2, plain: Any, tokens: int):
    torch.manual_seed(tokens)
    operations, layer = BlockOperations(), tiny.parts().layers[0]
    x = 5 * torch.randn(1, tokens, tiny.width)
    normed = layer.feed_forward_norm(x)
    before = x.clone(), normed.clone()
    hidden: list[torch.Tensor] = []
    found = operations.feed_forward(normed, layer, add=x, hidden=hidden)
    wanted = plain.feed_forward_chunk(x.double())
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=0, atol=4e-6)  # up to 20
    inside = plain.intermediate(plain.LayerNorm(x.double()))
    np.testing.assert_allclose(hidden[0].numpy(), inside.numpy(), rtol=0, atol=4e-6)
    expanded = operations.expand(normed, layer)
    assert torch.equal(expanded, hidden[0])
    assert torch.equal(operations.contract(expanded, layer, add=x), found)
    assert torch.equal(operations.feed_forward(normed, layer, add=x), found)
    assert torch.equal(expanded, hidden[0])  # nothing is done in place on what was given
    assert torch.equal(x, before[0])
    assert torch.equal(normed, before[1])


@torch.inference_mode()
@pytest.mark.parametrize("width", [1, 7, 32])
def test_products_and_the_sum_with_the_residual(width: int):
    torch.manual_seed(width)
    dense = nn.Linear(width, 9)
    x, residual = torch.randn(1, 130, width), torch.randn(1, 130, 9)
    before = x.clone(), residual.clone()
    wanted = nn.functional.linear(x.double(), dense.weight.double(), dense.bias.double())
    for add, right in ((None, wanted), (residual, wanted + residual)):
        found = BlockOperations().linear(x, dense, add=add)
        np.testing.assert_allclose(found.numpy(), right.numpy(), rtol=0, atol=2e-6)
        assert found.is_contiguous()
    assert torch.equal(x, before[0])
    assert torch.equal(residual, before[1])


@torch.inference_mode()
@pytest.mark.skipif(onednn_is_faster(), reason="products are oneDNN's here")
@pytest.mark.parametrize("threads", [1, 2, 3, 8, 16])
def test_a_row_does_not_depend_on_how_many_there_are(threads: int, set_threads):
    """A product of one to three rows a thread is another in MKL: scores hung on how they were asked for."""
    torch.manual_seed(threads)
    linear = BlockOperations().linear
    for width, outputs in ((320, 320), (320, 1_280), (1_280, 320)):
        dense, x = nn.Linear(width, outputs), torch.randn(1, 200, width)
        set_threads(1)
        many = linear(x, dense)
        set_threads(threads)
        for rows in range(1, 66):
            assert torch.equal(linear(x[:, :rows], dense), many[:, :rows]), rows


@torch.inference_mode()
def test_how_far_a_row_is_filled_up(tiny: Esm2):
    """With zeros, which are a sequence of their own: to what the products in use ask for."""
    packed = pack([encode("MKTVRQERLKSIV"), encode("MK")], tiny.device)  # 19 tokens
    for operations, rows in (
        (BlockOperations(), 32),
        (FastOperations(products=False, compiled=False), 32),
        (FastOperations(products=True, compiled=False), 64),
        (Operations(), 64),
    ):
        x, row = enter(packed, tiny.parts(), operations)
        assert x.shape[1] == row.rotary[0].shape[1] == rows
        assert not x[:, 19:].any()


@torch.inference_mode()
def test_autocast_changes_no_product(tiny: Esm2):
    """As with oneDNN's products: what hangs on a product's type, the head's logits, stays as it is."""
    operations, layer = BlockOperations(), tiny.parts().layers[0]
    x = torch.randn(1, 70, tiny.width)

    def made() -> list[torch.Tensor]:
        return [operations.linear(x, layer.query), operations.feed_forward(x, layer, add=x)]

    wanted = made()
    with torch.autocast("cpu", torch.bfloat16):
        found = made()
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32
        assert torch.equal(a, b)


@torch.inference_mode()
def test_no_tokens_at_all(tiny: Esm2):
    operations, layer = BlockOperations(), tiny.parts().layers[0]
    x = torch.zeros(1, 0, tiny.width)
    hidden: list[torch.Tensor] = []
    assert operations.linear(x, layer.query, add=x).shape == x.shape
    assert operations.feed_forward(x, layer, add=x, hidden=hidden).shape == x.shape
    assert operations.expand(x, layer).shape == hidden[0].shape == (1, 0, 128)
    assert operations.contract(hidden[0], layer, add=x).shape == x.shape


def test_what_is_not_plain_is_called(tiny_folder, monkeypatch: pytest.MonkeyPatch):
    """Adapters, hooks, gradients, other data types: the layer itself is asked."""
    layer = load(tiny_folder, "cpu", compiled=False).parts().layers[0]
    operations, made = BlockOperations(), []
    product = blocks._product
    monkeypatch.setattr(blocks, "_product", lambda x, dense: made.append(1) or product(x, dense))

    def in_blocks(x: torch.Tensor) -> list[bool]:
        found = []
        for run in (
            lambda: operations.linear(x, layer.expand),
            lambda: operations.feed_forward(x, layer, add=x),
            lambda: operations.expand(x, layer),
            lambda: operations.contract(operations.expand(x, layer), layer, add=x),
        ):
            made.clear()
            run()
            found.append(bool(made))
        return found

    x = torch.randn(1, 5, 32)
    assert in_blocks(x) == [False] * 4  # gradients
    with torch.no_grad():
        assert in_blocks(x) == [True] * 4
        for hang in (layer.expand.register_forward_hook, layer.expand.register_forward_pre_hook):
            hook = hang(lambda *_: None)
            assert in_blocks(x) == [False, True, False, True]  # its other half still is
            hook.remove()
        hook = layer.contract.register_forward_hook(lambda *given: given[2] * 0)
        layer.expand.register_forward_hook(lambda *_: None)
        assert in_blocks(x) == [False] * 4
        assert torch.equal(operations.feed_forward(x, layer, add=x), x)
        hook.remove()
        with monkeypatch.context() as patch:
            patch.setattr(layer.contract, "forward", lambda x: x.new_zeros(1, 5, 32))
            assert torch.equal(operations.feed_forward(x, layer, add=x), x)
        layer.expand.double()
        layer.contract.double()
        assert in_blocks(x.double()) == [False] * 4
