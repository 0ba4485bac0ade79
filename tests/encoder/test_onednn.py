"""The fast operations: the numbers of transformers' own modules, few shapes, weights left alone."""

import copy
import os
import pickle
import platform
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import EsmModel

from esmkit.encoder import onednn, trial
from esmkit.encoder.onednn import MOST_ROWS, FastOperations, onednn_product
from esmkit.encoder.operations import ROWS, Operations
from esmkit.encoder.process import tune_process
from esmkit.esm2 import Esm2, load


def has_onednn() -> bool:
    try:
        onednn_product()
    except RuntimeError:
        return False
    return True


needs_onednn = pytest.mark.skipif(
    not has_onednn(), reason="this PyTorch has no oneDNN linear product"
)


@pytest.fixture
def fast() -> FastOperations:
    return FastOperations(products=True, compiled=False)


@pytest.fixture
def plain(tiny: Esm2) -> Any:
    """The first layer as transformers has it, in float64."""
    return copy.deepcopy(tiny.network.encoder.layer[0]).double()  # type: ignore[operator,index]


@needs_onednn
@torch.inference_mode()
@pytest.mark.parametrize("tokens", [1, 7, 64, 300, 1024, 1100])
def test_feed_forward_is_that_of_transformers_in_float64(
    tiny: Esm2, fast: FastOperations, plain: Any, tokens: int
):
    torch.manual_seed(tokens)
    x = 5 * torch.randn(1, tokens, tiny.width)
    wanted = plain.feed_forward_chunk(x.double()).numpy()
    layer = tiny.parts().layers[0]
    for operations in (fast, Operations()):
        found = operations.feed_forward(layer.feed_forward_norm(x), layer, add=x).numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-6)  # values up to 20


@needs_onednn
@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_parts_of_any_size_sum_to_the_whole(
    tiny: Esm2, fast: FastOperations, plain: Any, count: int, monkeypatch
):
    monkeypatch.setattr(onednn, "FEED_FORWARD_PARTS", count)
    x = torch.randn(1, 130, tiny.width)
    layer = tiny.parts().layers[0]
    found = fast.feed_forward(layer.feed_forward_norm(x), layer, add=x).numpy()
    wanted = plain.feed_forward_chunk(x.double()).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-6)


@needs_onednn
@torch.inference_mode()
def test_products_and_the_sum_with_the_residual(tiny: Esm2, fast: FastOperations, plain: Any):
    x, residual = torch.randn(2, 1, 77, tiny.width)
    before = x.clone(), residual.clone()
    layer = tiny.parts().layers[0]
    for operations in (fast, Operations()):
        for name in ("query", "key", "value"):
            wanted = getattr(plain.attention.self, name)(x.double()).numpy()
            found = operations.linear(x, getattr(layer, name)).numpy()
            np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-6)
        wanted = plain.attention.output(x.double(), residual.double()).numpy()
        found = operations.linear(x, layer.output, add=residual).numpy()
        np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-6)
    assert torch.equal(x, before[0])
    assert torch.equal(residual, before[1])


@needs_onednn
@torch.inference_mode()
def test_a_change_of_a_weight_is_seen(tiny_folder, fast: FastOperations):
    model = load(tiny_folder, "cpu")
    layer = model.parts().layers[0]
    x = torch.randn(1, 70, model.width)
    for dense, run in (
        (layer.query, lambda: fast.linear(x, layer.query)),
        (layer.output, lambda: fast.linear(x, layer.output, add=x)),
        (layer.expand, lambda: fast.feed_forward(x, layer, add=x)),
        (layer.contract, lambda: fast.feed_forward(x, layer, add=x)),
    ):
        before = run()
        dense.weight[0, 0] += 1
        assert not torch.equal(before, run())


@needs_onednn
@torch.inference_mode()
def test_what_is_laid_out_gives_the_same_numbers(tiny: Esm2, monkeypatch: pytest.MonkeyPatch):
    """And is made once for each weight; without a layout, or for large weights, all works as before."""
    layer, x = tiny.parts().layers[0], torch.randn(1, 130, tiny.width)
    laid_out, made = onednn._laid_out, []

    def results() -> list[torch.Tensor]:
        fast = FastOperations(products=True, compiled=False)
        run = [
            [
                fast.linear(x, layer.query),
                fast.linear(x, layer.output, add=x),
                fast.feed_forward(x, layer, add=x),
            ]
            for _ in range(2)
        ]
        assert all(torch.equal(a, b) for a, b in zip(*run, strict=True))
        return run[0]

    monkeypatch.setattr(onednn, "_laid_out", lambda w: made.append(laid_out(w)) or made[-1])
    found = results()
    assert len(made) == 2 + 1 + 2 * onednn.FEED_FORWARD_PARTS
    if platform.machine() == "x86_64":  # elsewhere oneDNN may have no layout of its own
        assert all(weight.is_mkldnn for weight in made)
    monkeypatch.setattr(onednn, "_laid_out", lambda w: w)
    for change in (lambda: None, lambda: monkeypatch.setattr(onednn, "MOST_KEPT_BYTES", 0)):
        change()
        for one, other in zip(found, results(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=4e-6)
    monkeypatch.setattr(onednn, "_laid_out", laid_out)
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", fails)
    assert onednn._laid_out(x) is x


@needs_onednn
@torch.inference_mode()
def test_weights_put_in_place_are_seen(fast: FastOperations):
    """Twice between two passes: the second may not be laid where the first weights were."""
    dense = torch.nn.Linear(64, 64)
    with torch.inference_mode(False):
        dense.weight = nn.Parameter(torch.randn(64, 64), requires_grad=False)
        dense.bias = nn.Parameter(torch.zeros(64), requires_grad=False)
        where, x = dense.weight.data_ptr(), torch.randn(1, 64, 64)
        with torch.no_grad():
            fast.linear(x, dense)
            fast.linear(x, dense, add=x)
        for _ in range(20):
            dense.weight = nn.Parameter(torch.randn(64, 64), requires_grad=False)
            assert dense.weight.data_ptr() != where
        with torch.no_grad():
            wanted = x.double() @ dense.weight.double().T
            for found in (fast.linear(x, dense), fast.linear(x, dense, add=torch.zeros_like(x))):
                torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-4)


def fails(*_: object) -> torch.Tensor:
    raise NotImplementedError("not in this PyTorch")


@needs_onednn
def test_onednn_is_used_where_it_can_be(tiny: Esm2, fast: FastOperations, monkeypatch):
    """And what it is not written for goes to PyTorch: adapters, gradients, other data types."""
    used = []
    monkeypatch.setattr(onednn, "in_blocks", lambda run, *rows: used.append(run) or rows[0])

    def uses(dense: nn.Module, x: torch.Tensor) -> bool:
        before = len(used)
        fast.linear(x, dense)  # type: ignore[arg-type]
        return len(used) > before

    class Adapter(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    x, dense = torch.randn(1, 5, 32), tiny.parts().layers[0].query
    with torch.inference_mode():
        assert uses(dense, x)
        assert not uses(Adapter(), x)
        assert not uses(nn.Linear(32, 32, bias=False), x)
        assert not uses(nn.Linear(32, 32, dtype=torch.bfloat16), x.bfloat16())
    assert not uses(dense, x)
    with torch.no_grad():
        assert uses(dense, x)
        for hang in (dense.register_forward_hook, dense.register_forward_pre_hook):
            hook = hang(lambda *_: None)
            assert not uses(dense, x)
            hook.remove()
        assert uses(dense, x)


def test_a_hook_on_a_linear_layer_is_called(tiny_folder):
    """With the fast operations as with PyTorch's; in either half of a layer."""
    for name in ("query", "output", "expand", "contract"):
        model = load(tiny_folder, "cpu")
        before = model.embed("MKTVRQERLKSIV").residues
        getattr(model.parts().layers[0], name).register_forward_hook(lambda *given: given[2] * 0)
        assert np.abs(model.embed("MKTVRQERLKSIV").residues - before).max() > 1e-3


@needs_onednn
@torch.inference_mode()
def test_onednn_sees_few_shapes(tiny: Esm2, fast: FastOperations, monkeypatch):
    """Each keeps memory: over a proteome it grew from 0.5 to 1.1 GB with a shape for each pack."""
    seen = set()
    product = onednn_product()

    class Spy:
        def __call__(self, x, *rest):
            seen.add(x.shape[-2])
            return product(x, *rest)

        def binary(self, x, *rest):
            seen.add(x.shape[-2])
            return product.binary(x, *rest)

    monkeypatch.setattr(onednn, "onednn_product", Spy)
    layer = tiny.parts().layers[0]
    for tokens in range(1, 2_500, 37):
        x = torch.randn(1, tokens, tiny.width)
        query = fast.linear(x, layer.query)
        fast.linear(query, layer.output, add=fast.feed_forward(x, layer, add=x))
    assert seen == set(range(ROWS, MOST_ROWS + 1, ROWS))


@needs_onednn
def test_a_model_loaded_in_inference_mode(tiny_folder, tiny: Esm2):
    """Its weights have no version: a change of one is seen all the same."""
    said: list[str] = []
    with torch.inference_mode():
        model = load(tiny_folder, "cpu", compiled=False, say=said.append)
        assert said == []
        ids = [np.array([0, 5, 6, 7, 2])]
        before = model.hidden_states(ids)[0]
        np.testing.assert_allclose(before, tiny.hidden_states(ids)[0], rtol=0, atol=1e-5)
        for layer in model.parts().layers:
            layer.contract.weight[0, 0] += 1
        assert not np.array_equal(model.hidden_states(ids)[0], before)


def test_operations_travel_to_other_processes(tiny_folder):
    model = load(tiny_folder, "cpu")
    ids = [np.array([0, 5, 6, 7, 2])]
    wanted = model.hidden_states(ids, "all")[0]
    again = pickle.loads(pickle.dumps(model))
    assert again.compiled == model.compiled
    np.testing.assert_array_equal(again.hidden_states(ids, "all")[0], wanted)


def test_without_onednn_everything_works(tiny_folder, tiny: Esm2, monkeypatch):
    ids = [np.array([0, 5, 6, 7, 2])]
    wanted = tiny.hidden_states(ids)[0]
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(trial, "onednn_is_faster", lambda: True)
    said: list[str] = []
    model = load(tiny_folder, "cpu", compiled=False, say=said.append)
    assert isinstance(model.operations, FastOperations)
    assert not model.operations.products
    assert said == [
        "products are PyTorch's, not oneDNN's: RuntimeError: this PyTorch is built without oneDNN; "
        "all works, more slowly"
    ]
    np.testing.assert_allclose(model.hidden_states(ids)[0], wanted, rtol=0, atol=1e-5)


def test_other_precisions_keep_pytorchs_operations(tiny_folder):
    for dtype in ("bfloat16", "float16"):
        model = load(tiny_folder, "cpu", dtype, compiled=False)
        assert type(model.operations) is Operations
    assert type(load(tiny_folder, "cpu", "float16").operations) is Operations


def test_the_network_is_transformers_own(tiny: Esm2):
    plain = EsmModel(tiny.network.config, add_pooling_layer=False)
    ours = [type(module) for module in tiny.network.modules()]
    assert ours == [type(module) for module in plain.modules()]
    assert set(plain.state_dict()) == set(tiny.network.state_dict())
    assert all(
        set(vars(a)) == set(vars(b))
        for a, b in zip(tiny.network.modules(), plain.modules(), strict=True)
        if not isinstance(a, EsmModel)
    )  # nothing is kept in its modules


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
@pytest.mark.parametrize("own", [False, True])
def test_freed_memory_is_used_again(own: bool):
    """Not given back and fetched anew, page by page; unless the user has said otherwise."""
    code = """if True:
        import resource, torch
        from esmkit.encoder.process import tune_process
        tune_process()
        def pages():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        def once():
            return [torch.ones(1024, 640) for _ in range(8)]
        for _ in range(3):
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


@pytest.mark.parametrize("name", ["ESMKIT_TUNE_PROCESS", "MALLOC_MMAP_THRESHOLD_", "neither"])
def test_a_user_can_refuse(monkeypatch, name: str):
    called: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda *given: called.append(given))
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    for other in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "ESMKIT_TUNE_PROCESS"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    monkeypatch.setenv(name, "0")
    tune_process()
    assert len(called) == (2 if name == "neither" else 0)
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


def test_nothing_is_set_at_import_and_what_is_set_at_load_can_be_refused(tiny_folder):
    code = """if True:
        import os, sys
        import esmkit, esmkit.esm2, esmkit.encoder.onednn
        name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
        seen = [os.environ.get(name)]
        for tune in (False, True):
            esmkit.load(sys.argv[1], "cpu", compiled=False, tune=tune)
            seen.append(os.environ.get(name))
        print(seen)
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ONEDNN_", "MALLOC_"))}
    command = [sys.executable, "-c", code, str(tiny_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[None, None, '128']"
