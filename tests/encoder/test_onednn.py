"""The faster kernels: the same numbers as the modules they take the place of, and where they do."""

import copy
import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import EsmModel
from transformers.models.esm import modeling_esm

from esmkit.encoder import onednn as kernels
from esmkit.encoder.onednn import speed_up
from esmkit.esm2 import Esm2

needs_onednn = pytest.mark.skipif(
    kernels._onednn() is None, reason="this PyTorch has no oneDNN linear product"
)


def parts(model: Esm2) -> tuple[Any, Any]:
    """A layer as transformers has it, in float64, and the same with the faster kernels."""
    fast: Any = model.network.encoder.layer[0]
    plain = modeling_esm.EsmLayer(model.network.config)
    plain.load_state_dict(fast.state_dict())
    return plain.double().eval(), fast


@needs_onednn
@pytest.mark.parametrize("tokens", [1, 7, 64, 300, 1024, 1100])
def test_feed_forward_is_that_of_transformers_in_float64(tiny: Esm2, tokens: int):
    plain, fast = parts(tiny)
    assert type(fast) is kernels._Layer
    torch.manual_seed(tokens)
    x = 5 * torch.randn(1, tokens, tiny.width)
    with torch.inference_mode():
        wanted = plain.feed_forward_chunk(x.double()).numpy()
        found = fast.feed_forward_chunk(x.clone()).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-6)  # values up to 20


@needs_onednn
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_parts_of_any_size_sum_to_the_whole(tiny: Esm2, count: int, monkeypatch):
    plain, fast = parts(tiny)
    monkeypatch.setattr(kernels, "FEED_FORWARD_PARTS", count)
    x = torch.randn(1, 130, tiny.width)
    with torch.inference_mode():
        wanted = plain.feed_forward_chunk(x.double()).numpy()
        np.testing.assert_allclose(fast.feed_forward_chunk(x).numpy(), wanted, rtol=0, atol=4e-6)


@needs_onednn
def test_products_and_the_sum_with_the_residual(tiny: Esm2):
    plain, fast = parts(tiny)
    x, residual = torch.randn(2, 1, 77, tiny.width)
    before = x.clone(), residual.clone()
    with torch.inference_mode():
        for name in ("query", "key", "value"):
            product = getattr(fast.attention.self, name)
            assert type(product) is kernels._Linear
            wanted = getattr(plain.attention.self, name)(x.double()).numpy()
            np.testing.assert_allclose(product(x).numpy(), wanted, rtol=0, atol=4e-6)
        wanted = plain.attention.output(x.double(), residual.double()).numpy()
        found = fast.attention.output(x, residual).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-6)
    assert torch.equal(x, before[0])
    assert torch.equal(residual, before[1])


def test_weights_stay_where_they_are(tiny: Esm2):
    """Names and values are those of transformers, and a change of a weight is seen."""
    plain = EsmModel(tiny.network.config, add_pooling_layer=False)
    assert set(plain.state_dict()) <= set(tiny.network.state_dict())
    network = copy.deepcopy(tiny.network)
    layer: Any = network.encoder.layer[0]
    x = torch.randn(1, 70, tiny.width)
    with torch.inference_mode():
        before = layer.feed_forward_chunk(x)
        layer.intermediate.dense.weight[0, 0] += 1
        after = layer.feed_forward_chunk(x)
    assert not torch.equal(before, after)


def test_other_precisions_keep_pytorchs_products(tiny: Esm2):
    network: Any = EsmModel(tiny.network.config, add_pooling_layer=False)
    network = network.to(torch.bfloat16).eval()
    speed_up(network)
    kinds = {type(module) for module in network.modules()}
    assert nn.Linear in kinds
    assert not kinds & {kernels._Linear, kernels._Layer, kernels._SelfOutput}
    assert kernels._Intermediate in kinds


def test_without_onednn_everything_works(tiny: Esm2, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    config = copy.deepcopy(tiny.network.config)
    config._attn_implementation = "eager"
    plain = EsmModel(config, add_pooling_layer=False).eval()
    speed_up(plain)
    kinds = {type(module) for module in plain.modules()}
    assert not kinds & {kernels._Linear, kernels._Layer, kernels._SelfOutput}
    with torch.inference_mode():
        plain(torch.tensor([[0, 5, 6, 2]]))


@needs_onednn
def test_onednn_sees_few_shapes(tiny: Esm2, monkeypatch):
    """Each keeps memory: over a proteome it grew from 0.5 to 1.1 GB with a shape for each pack."""
    seen = set()
    product = kernels._onednn()

    class Spy:
        def __call__(self, x, *rest):
            seen.add(x.shape[-2])
            return product(x, *rest)

        def binary(self, x, *rest):
            seen.add(x.shape[-2])
            return product.binary(x, *rest)

    monkeypatch.setattr(kernels, "_onednn", Spy)
    for tokens in range(1, 2_500, 37):
        with torch.inference_mode():
            x = torch.randn(1, tokens, tiny.width)
            layer: Any = tiny.network.encoder.layer[0]
            layer.attention.output(layer.attention.self.query(x), layer.feed_forward_chunk(x))
    assert seen == set(range(kernels.ROWS, kernels.MOST_ROWS + 1, kernels.ROWS))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize("own", [False, True])
def test_freed_memory_is_used_again(own: bool):
    """Not given back and fetched anew, page by page; unless the user has said otherwise."""
    code = """if True:
        import resource, torch
        from esmkit.kernels import keep_freed_memory
        keep_freed_memory()
        def pages():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        def once():
            return [torch.ones(1024, 640) for _ in range(8)]
        once()
        before = pages()
        for _ in range(10):
            once()
        print(pages() - before)
    """
    settings = {"MALLOC_TRIM_THRESHOLD_": "131072"} if own else {}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | settings
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    fetched = int(done.stdout) / (10 * 8 * 640)  # of the pages that hold the tensors
    assert fetched > 0.5 if own else fetched < 0.05
