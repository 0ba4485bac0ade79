"""The fast operations tried against PyTorch's when a model is loaded, so that no wrong number leaves.

oneDNN's products have no public name, and attention is compiled by whatever compiler is there. Each
is computed both ways on small random input: with parts of fixed size, and with the model's own
first layer and head width. What raises, or differs by more than rounding, is not used.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from esmkit.encoder.checkpoints.parts import LayerParts, Parts
from esmkit.encoder.compiled import (
    LEAVE_OUT,
    CompileError,
    cannot_compile,
    compile_attention,
    is_compiled_unasked,
    why_not_compiled,
)
from esmkit.encoder.cuda import HALVES, CudaOperations
from esmkit.encoder.devices import can_be_compiled
from esmkit.encoder.halves import HalfOperations, with_wide_stream
from esmkit.encoder.onednn import FastOperations, onednn_is_faster
from esmkit.encoder.operations import Operations
from esmkit.encoder.packing import Group
from esmkit.encoder.rotary import rotary_tables
from esmkit.text import Say, silent

__all__ = ["choose_operations", "fault_of_attention", "fault_of_products", "retry"]

LARGEST_DIFFERENCE = 1e-5
"""Largest accepted difference from PyTorch's result, over its largest value.

Rounding makes some 1e-6; a GELU by tanh 3e-5 or more."""

LARGEST_OF_HALVES = 2e-2
"""The same in half precision: bfloat16 keeps 8 bits."""

WIDTH = 64
"""Width of the layer of fixed size."""

GROUPS = (Group(0, 1, 70), Group(70, 2, 21))
"""Three sequences of 112 tokens in all: not a multiple of any block."""

TRIED_TOKENS = 112

Given = TypeVar("Given")


def choose_operations(
    parts: Parts, device: str, dtype: str, *, compiled: bool | None, say: Say
) -> Operations:
    """Return the fastest operations that can be used here and give PyTorch's numbers.

    Parameters
    ----------
    parts : Parts
        On their device, in their data type.
    device, dtype : str
        Such as ``cpu`` and ``float32``.
    compiled : bool, optional
        Whether attention is to be compiled; by default where it can be.
    say : callable
        Called with a sentence for each fast form that is not used, and why.

    Raises
    ------
    OptionError
        If attention is to be compiled, and cannot be or gives other numbers.
    """
    if device == "cuda":
        return _on_cuda(parts, say)
    if not can_be_compiled(device, dtype):
        return Operations()
    if dtype == "bfloat16":
        return _in_halves(parts, compiled, say)
    if compiled is None and is_compiled_unasked():
        reason = why_not_compiled() or fault_of_attention(parts)
        compiled = reason is None
        if reason is not None:
            say(
                f"attention is PyTorch's, not compiled for this CPU: {reason}; all works, more "
                "slowly (`compiled=True` says what to do about it, `compiled=False` silences this)"
            )
    elif compiled:
        compile_attention()  # with what to do where it cannot be
        reason = fault_of_attention(parts)
        if reason is not None:
            raise cannot_compile(reason, LEAVE_OUT)
    products = onednn_is_faster()
    if products and (reason := fault_of_products(parts)) is not None:
        say(f"products are PyTorch's, not oneDNN's: {reason}; all works, more slowly")
        products = False
    return FastOperations(products=products, compiled=bool(compiled))


def retry(operations: Operations, parts: Parts) -> Operations:
    """Return the operations that a model had in another process, as far as they work in this one.

    Parameters
    ----------
    operations : Operations
        As they were chosen there.
    parts : Parts
        On their device, in their data type.
    """
    if isinstance(operations, CudaOperations):
        return _on_cuda(parts, silent)
    if isinstance(operations, HalfOperations):
        return _in_halves(parts, None, silent)
    if not isinstance(operations, FastOperations):
        return operations
    compiled = operations.compiled and (why_not_compiled() or fault_of_attention(parts)) is None
    products = operations.products and fault_of_products(parts) is None
    return FastOperations(products=products, compiled=compiled)


def _in_halves(parts: Parts, compiled: bool | None, say: Say) -> Operations:
    """Return the operations for bfloat16 on a CPU."""
    if compiled is False or (compiled is None and not is_compiled_unasked()):
        return Operations()
    reason = fault_of_halves(parts)
    if reason is None:
        return HalfOperations()
    if compiled:
        raise cannot_compile(reason, f'{LEAVE_OUT}, or load the model with `dtype="float32"`')
    say(
        f"bfloat16 is PyTorch's, not compiled for this CPU: {reason}; all works, slower than float32"
    )
    return Operations()


def fault_of_halves(parts: Parts) -> str | None:
    """Say what is wrong with compiled products, norms and attention in bfloat16, if anything is."""
    fast, dtype = HalfOperations(), torch.bfloat16
    products = partial(_compare_products, dtype=dtype)
    for layer in (partial(_random_layer, dtype), lambda: parts.layers[0]):
        reason = _fault(fast, layer, products, largest=LARGEST_OF_HALVES)
        if reason is not None:
            return reason
    attention = partial(_compare_attention, dtype=dtype, wide=True)
    reason = _fault(fast, lambda: parts, attention, largest=LARGEST_OF_HALVES)
    return reason or _fault(fast, lambda: parts, _compare_norms, largest=LARGEST_OF_HALVES)


def _compare_norms(operations: Operations, parts: Parts) -> list[torch.Tensor]:
    random, norm = torch.Generator().manual_seed(0), parts.final_norm
    shape = (1, TRIED_TOKENS, parts.layers[0].query.in_features)
    x = torch.randn(shape, generator=random, dtype=torch.float32)
    if isinstance(operations, HalfOperations):
        return [with_wide_stream(parts).final_norm(x)]
    of_norm: Any = norm
    scale, shift = of_norm.weight.float(), of_norm.bias.float()
    return [nn.functional.layer_norm(x, shape[-1:], scale, shift, of_norm.eps).bfloat16()]


def _on_cuda(parts: Parts, say: Say) -> Operations:
    """Return the operations for a CUDA device: attention in few calls, if it gives the same numbers."""
    half = parts.layers[0].query.weight.dtype in HALVES
    if half and _fault_on_device(CudaOperations(varlen=True), parts) is None:
        return CudaOperations(varlen=True)
    reason = _fault_on_device(CudaOperations(varlen=False), parts)
    if reason is None:
        return CudaOperations(varlen=False)
    say(f"attention runs once for each length: {reason}; all works, more slowly")
    return Operations()


def _fault_on_device(fast: Operations, parts: Parts) -> str | None:
    """Say what is wrong with attention where the model is, if anything is."""
    query = parts.layers[0].query.weight
    largest = LARGEST_DIFFERENCE if query.dtype not in HALVES else LARGEST_OF_HALVES
    compare = partial(_compare_attention, dtype=query.dtype, device=query.device)
    return _fault(fast, lambda: parts, compare, largest=largest)


def fault_of_products(parts: Parts) -> str | None:
    """Say what is wrong with oneDNN's products, if anything is."""
    fast = FastOperations(products=True, compiled=False)
    for layer in (_random_layer, lambda: parts.layers[0]):
        reason = _fault(fast, layer, _compare_products)
        if reason is not None:
            return reason
    return None


def fault_of_attention(parts: Parts) -> str | None:
    """Say what is wrong with compiled attention at the width of the model's heads, if anything is."""
    fast = FastOperations(products=False, compiled=True)
    return _fault(fast, lambda: parts, _compare_attention)


def _fault(
    fast: Operations,
    give: Callable[[], Given],
    compare: Callable[[Operations, Given], list[torch.Tensor]],
    *,
    largest: float = LARGEST_DIFFERENCE,
) -> str | None:
    """Compute something both ways, and say how they differ or what was raised."""
    try:
        with (
            torch.inference_mode(),
            torch.device("cpu"),
            torch.autocast("cpu", enabled=False),
        ):
            given = give()
            pairs = zip(compare(fast, given), compare(Operations(), given), strict=True)
            differences = [_difference(found, wanted) for found, wanted in pairs]
    except CompileError as error:  # no compiler, for one
        return error.fault
    except Exception as error:  # whatever an operator of another version may raise
        text = str(error).strip().splitlines()
        return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    worst = max(differences)
    if worst <= largest:
        return None
    return f"the numbers differ from PyTorch's by {worst:.1e} of the largest"


def _difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference over the largest value; infinite if it is NaN or misshapen."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return float("inf")
    if torch.equal(found, wanted):
        return 0.0
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    return difference if difference == difference else float("inf")


def _compare_products(
    operations: Operations, layer: LayerParts, *, dtype: torch.dtype = torch.float32
) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    shape = (1, TRIED_TOKENS, layer.query.in_features)
    x, add = (torch.randn(shape, generator=random, dtype=torch.float32) for _ in range(2))
    x = x.to(dtype)
    return [
        *(operations.linear(x, dense) for dense in (layer.query, layer.key, layer.value)),
        operations.linear(x, layer.output, add=add),
        operations.feed_forward(x, layer, add=add),
    ]


def _compare_attention(
    operations: Operations,
    parts: Parts,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    wide: bool = False,
) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    width = 2 * len(parts.inverse_frequencies)
    shape = (3, 1, TRIED_TOKENS, parts.heads, width)
    drawn = torch.randn(shape, generator=random, dtype=torch.float32)
    given = drawn.to(device=device, dtype=dtype)
    query, key, value = given.transpose(2, 3)  # (1, H, T, K), laid out as products give them
    positions = torch.cat([torch.arange(g.length).repeat(g.count) for g in GROUPS])[None]
    exact = torch.float32 if wide else dtype
    rotary = rotary_tables(positions.to(device), parts.inverse_frequencies, exact)
    return [operations.attend(query, key, value, rotary, GROUPS)]


def _random_layer(dtype: torch.dtype = torch.float32) -> LayerParts:
    """Return a layer whose values are of the size of 1, so that each formula shows its shape."""
    random = torch.Generator().manual_seed(1)

    def linear(inputs: int, outputs: int) -> nn.Linear:
        dense = nn.Linear(inputs, outputs, device="meta")  # draws nothing from the user's generator
        weight = torch.randn((outputs, inputs), generator=random, dtype=torch.float32)
        bias = torch.randn((outputs,), generator=random, dtype=torch.float32)
        weight, bias = 1.5 * inputs**-0.5 * weight, 0.1 * bias
        dense.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
        dense.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        return dense

    query, key, value, output = (linear(WIDTH, WIDTH) for _ in range(4))
    norm = nn.Identity()
    expand, contract = linear(WIDTH, 4 * WIDTH), linear(4 * WIDTH, WIDTH)
    return LayerParts(norm, query, key, value, output, norm, expand, contract)
