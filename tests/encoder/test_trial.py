"""Faults of the fast operations are found when a model is loaded; PyTorch's then take their place."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

from esmkit.encoder import onednn, trial
from esmkit.encoder.compiled import compile_attention
from esmkit.encoder.onednn import FastOperations, onednn_product
from esmkit.errors import OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.tokens import encode
from oracles.checkpoints import assert_close, has_compiler, random_sequence

IDS = [encode(random_sequence(n, n)) for n in (30, 200, 30, 5)]

Product = Callable[..., torch.Tensor]


@pytest.fixture(scope="module")
def wanted(tiny: Esm2) -> list[np.ndarray]:
    """What is right, computed before anything is tampered with."""
    return tiny.hidden_states(IDS)


class Tampered:
    """oneDNN's product with a fault in either of its forms."""

    def __init__(self, unary: Any = None, binary: Any = None) -> None:
        self._unary, self._binary = unary, binary

    def __call__(self, x, weight, bias, kind, scalars, algorithm):
        product = onednn_product()
        if self._unary is not None:
            return self._unary(product, x, weight, bias, kind, scalars, algorithm)
        return product(x, weight, bias, kind, scalars, algorithm)

    def binary(self, x, other, weight, bias, kind):
        product = onednn_product()
        if self._binary is not None:
            return self._binary(product, x, other, weight, bias, kind)
        return product.binary(x, other, weight, bias, kind)


def missing(*_: object) -> Any:
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")


def other_signature(product: Any, *arguments: Any) -> torch.Tensor:
    return product(*arguments[:-1])


def tanh_gelu(product: Any, x: Any, weight: Any, bias: Any, kind: str, *rest: Any) -> torch.Tensor:
    if kind != "gelu":
        return product(x, weight, bias, kind, *rest)
    return gelu(torch.nn.functional.linear(x, weight, bias), approximate="tanh")


def small_residual(product: Any, x: Any, other: Any, *rest: Any) -> torch.Tensor:
    return product.binary(x, 0.999 * other, *rest)


def lost_residual(product: Any, x: Any, other: Any, *rest: Any) -> torch.Tensor:
    return product.binary(x, torch.zeros_like(other), *rest)


def lost_bias(product: Any, x: Any, weight: Any, bias: Any, *rest: Any) -> torch.Tensor:
    return product(x, weight, None if bias is None else 0 * bias, *rest)


def half_a_weight(product: Any, x: Any, other: Any, weight: Any, *rest: Any) -> torch.Tensor:
    return product.binary(x, other, weight.bfloat16().float(), *rest)


def not_a_number(product: Any, *arguments: Any) -> torch.Tensor:
    return product(*arguments) * torch.nan


def a_row_too_few(product: Any, *arguments: Any) -> torch.Tensor:
    return product(*arguments)[..., :-1, :]


FAULTS = {
    "operator missing": (
        missing,
        "AttributeError: '_OpNamespace' 'mkldnn' object has no attribute",
    ),
    "other signature": (Tampered(unary=other_signature), r"\w+Error: "),
    "other signature of the sum": (
        Tampered(binary=lambda product, *given: product.binary(*given, None, None)),
        r"\w+Error: ",
    ),
    "GELU by tanh": (Tampered(unary=tanh_gelu), "the numbers differ from PyTorch's by"),
    "residual times 0.999": (Tampered(binary=small_residual), "the numbers differ from PyTorch's"),
    "residual lost": (Tampered(binary=lost_residual), "the numbers differ from PyTorch's by"),
    "bias lost": (Tampered(unary=lost_bias), "the numbers differ from PyTorch's by"),
    "weights rounded": (Tampered(binary=half_a_weight), "the numbers differ from PyTorch's by"),
    "NaN": (Tampered(unary=not_a_number), "the numbers differ from PyTorch's by inf"),
    "other shape": (Tampered(unary=a_row_too_few), "RuntimeError: |the numbers differ"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_products_ends_in_pytorchs(
    tiny_folder, wanted: list[np.ndarray], monkeypatch, fault: tuple[Any, str]
):
    replaced, reason = fault
    give = missing if replaced is missing else lambda: replaced
    monkeypatch.setattr(onednn, "onednn_product", give)
    monkeypatch.setattr(trial, "onednn_is_faster", lambda: True)
    said: list[str] = []
    model = load(tiny_folder, "cpu", compiled=False, say=said.append)
    assert isinstance(model.operations, FastOperations)
    assert not model.operations.products
    assert len(said) == 1
    pattern = rf"products are PyTorch's, not oneDNN's: ({reason}).*; all works, more slowly"
    assert re.fullmatch(pattern, said[0]), said[0]
    for ours, right in zip(model.hidden_states(IDS), wanted, strict=True):
        assert_close(ours, right)


def attention_with(fault: Callable[..., torch.Tensor]) -> Callable[[], Any]:
    real = onednn.compile_attention

    def compile_attention() -> Any:
        attend = real()
        return lambda *given: fault(attend, *given)

    return compile_attention


def wrong_head_width(
    attend: Any, query: Any, key: Any, value: Any, starts: Any, scaling: Any, *r: Any
):
    """As for heads of another width: scores are scaled by its root."""
    return attend(query, key, value, starts, 16**-0.5, *r)


def no_positions(attend: Any, query: Any, key: Any, value: Any, starts: Any, scaling: Any, _: Any):
    return attend(query, key, value, starts, scaling, None)


def one_sequence(attend: Any, query: Any, key: Any, value: Any, starts: Any, *rest: Any):
    return attend(query, key, value, [starts[0], starts[-1]], *rest)


@pytest.mark.skipif(not has_compiler(), reason="there is no C compiler")
@pytest.mark.parametrize("fault", [wrong_head_width, no_positions, one_sequence])
def test_a_fault_of_the_compiled_attention_ends_in_pytorchs(
    tiny_folder, wanted: list[np.ndarray], monkeypatch, fault: Callable[..., torch.Tensor]
):
    monkeypatch.setattr(onednn, "compile_attention", attention_with(fault))
    said: list[str] = []
    model = load(tiny_folder, "cpu", say=said.append)
    assert not model.compiled
    assert len(said) == 1
    assert said[0].startswith(
        "attention is PyTorch's, not compiled for this CPU: the numbers differ from PyTorch's by "
    )
    for ours, right in zip(model.hidden_states(IDS), wanted, strict=True):
        assert_close(ours, right)
    with pytest.raises(
        OptionError, match=r"`compiled=True`: the numbers differ .* leave `compiled` out"
    ):
        load(tiny_folder, "cpu", compiled=True)


def test_sound_operations_pass(any_tiny_folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial, "onednn_is_faster", lambda: True)
    said: list[str] = []
    model = load(any_tiny_folder, "cpu", say=said.append)
    assert (
        trial.fault_of_products(model.parts()) is None or not torch.backends.mkldnn.is_available()
    )
    if has_compiler() and torch.backends.mkldnn.is_available():
        assert said == []
        assert isinstance(model.operations, FastOperations)
        assert model.operations.products
        assert model.compiled


@pytest.mark.parametrize("compiled", [False, None])
def test_products_stay_pytorchs_where_they_are_faster(
    tiny_folder, wanted: list[np.ndarray], monkeypatch, compiled: bool | None
):
    """Where there is MKL, and no AVX-512: without a word, for nothing is amiss."""
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    said: list[str] = []
    model = load(tiny_folder, "cpu", compiled=compiled, say=said.append)
    assert isinstance(model.operations, FastOperations)
    assert not model.operations.products
    assert model.compiled == (compiled is None and has_compiler())
    assert said == [] or (compiled is None and not has_compiler())
    for ours, right in zip(model.hidden_states(IDS), wanted, strict=True):
        assert_close(ours, right)
    for capability, mkl, faster in (
        *(("AVX512", True, True), ("AVX2", False, True)),
        *(("DEFAULT", True, True), ("AVX2", True, False)),
    ):
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda there=mkl: there)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda kind=capability: kind)
        assert onednn.onednn_is_faster() == faster


def test_the_trial_leaves_the_process_as_it_was(tiny: Esm2):
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    trial.fault_of_products(tiny.parts())
    trial.fault_of_attention(tiny.parts())
    assert torch.equal(torch.rand(4), wanted)
    assert torch.is_grad_enabled()


def test_under_other_defaults(tiny: Esm2):
    """What a program has set for itself changes nothing in the trial."""
    torch.set_default_dtype(torch.bfloat16)
    torch.set_default_device("meta")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert trial.fault_of_products(tiny.parts()) is None
            if has_compiler():
                assert trial.fault_of_attention(tiny.parts()) is None
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_who_asks_for_compiled_attention_is_told_what_to_do(tiny_folder, monkeypatch):
    """Not only what is wrong, as in the line that is said unasked."""
    monkeypatch.setenv("CC", "/nonexistent/cc")
    compile_attention.cache_clear()
    try:
        with pytest.raises(OptionError, match=r"'/nonexistent/cc' .*; install a C compiler with"):
            load(tiny_folder, "cpu", compiled=True)
    finally:
        compile_attention.cache_clear()
