"""Attention of a whole row in few calls, as it runs on a CUDA device; most of it can be tried on a CPU."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from esmkit.encoder import cuda, trial
from esmkit.encoder.cuda import CudaOperations, attend_padded
from esmkit.encoder.operations import Operations, attend_by_group
from esmkit.encoder.packing import Group, pack
from esmkit.encoder.rotary import rotary_tables
from esmkit.esm2 import Esm2, load
from esmkit.sequences import encode
from oracles.checkpoints import random_sequence

HEADS, WIDTH = 3, 8

ROWS = {
    "one": [1],
    "equal": [9, 9, 9],
    "like": [40, 40, 33, 21],
    "unlike": [300, 200, 149, 100, 100, 74, 20, 3, 1, 1],
}


def groups_of(lengths: list[int]) -> tuple[Group, ...]:
    found, start = [], 0
    for length, same in itertools.groupby(lengths):
        count = len(list(same))
        found.append(Group(start, count, length))
        start += count * length
    return tuple(found)


def drawn(
    tokens: int, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values (1, H, T, K), laid out as products give them."""
    random = torch.Generator().manual_seed(0)
    shape = (3, 1, tokens, HEADS, WIDTH)
    query, key, value = torch.randn(shape, generator=random).to(dtype).transpose(2, 3)
    return query, key, value


def end_to_end(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    starts: torch.Tensor,
    of_keys: torch.Tensor,
    longest: int,
    longest_key: int,
    **given: Any,
) -> torch.Tensor:
    """What ``torch.nn.attention.varlen.varlen_attn`` documents, sequence by sequence."""
    assert given.keys() == {"scale", "num_splits"}
    assert given["num_splits"] == 1
    assert starts.dtype == torch.int32
    assert torch.equal(starts, of_keys)
    cuts = starts.tolist()
    assert longest == longest_key == max(b - a for a, b in itertools.pairwise(cuts))
    assert cuts[0] == 0
    assert cuts[-1] == len(q)
    assert all(x.is_contiguous() and x.ndim == 3 for x in (q, k, v))
    mixed = []
    for a, b in itertools.pairwise(cuts):
        query, key, value = (x[a:b].transpose(0, 1)[None] for x in (q, k, v))
        found = scaled_dot_product_attention(query, key, value, scale=given["scale"])
        mixed.append(found[0].transpose(0, 1))
    return torch.cat(mixed)


@pytest.mark.parametrize("rest", [0, 5])
@pytest.mark.parametrize("lengths", ROWS.values(), ids=list(ROWS))
def test_padded_attention_is_that_of_each_length(lengths: list[int], rest: int):
    groups, tokens = groups_of(lengths), sum(lengths) + rest
    given = drawn(tokens, torch.float64)
    found = attend_padded(*given, groups, 0.3)
    wanted = attend_by_group(*given, groups, 0.3)
    assert found.shape == wanted.shape == (1, tokens, HEADS, WIDTH)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    assert not found[0, tokens - rest :].any()


@pytest.mark.parametrize(("name", "calls"), [("one", 1), ("equal", 1), ("like", 1), ("unlike", 6)])
def test_few_calls_however_many_lengths(name: str, calls: int, monkeypatch: pytest.MonkeyPatch):
    """A new one only where the shortest has less than half of the longest's length."""
    made = []

    def counted(q: torch.Tensor, *given: Any, **named: Any) -> torch.Tensor:
        made.append(named["attn_mask"])
        return scaled_dot_product_attention(q, *given, **named)

    monkeypatch.setattr(cuda, "scaled_dot_product_attention", counted)
    groups = groups_of(ROWS[name])
    attend_padded(*drawn(sum(ROWS[name])), groups, 0.3)
    assert len(made) == calls
    assert (made[0] is None) == (name in ("one", "equal"))  # nothing is padded, nothing masked


def test_gradients_after_a_pass_without():
    """What is laid out once for all layers serves both."""
    groups, given = groups_of([12, 9, 7]), drawn(28)
    with torch.inference_mode():
        attend_padded(*given, groups, 0.3)
    query = given[0].clone().requires_grad_()
    attend_padded(query, *given[1:], groups, 0.3).square().sum().backward()
    other = given[0].clone().requires_grad_()
    attend_by_group(other, *given[1:], groups, 0.3).square().sum().backward()
    assert query.grad is not None
    assert query.grad.abs().max() > 0
    torch.testing.assert_close(query.grad, other.grad)


def test_nan_stays_in_its_sequence():
    lengths = [40, 33, 21]
    groups = groups_of(lengths)
    for first in (0, 40, 73):
        given = drawn(sum(lengths))
        for x in given:
            x[0, 0, first] = torch.nan
        found = attend_padded(*given, groups, 0.3).isnan()
        inside = slice(first, first + lengths[(0, 40, 73).index(first)])
        assert found[0, inside, 0].all()
        found[0, inside, 0] = False
        assert not found.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lengths", ROWS.values(), ids=list(ROWS))
def test_end_to_end_in_half_precision(
    lengths: list[int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cuda, "varlen_attention", lambda: end_to_end)
    groups, tokens = groups_of(lengths), sum(lengths) + 2
    given = drawn(tokens, dtype)
    positions = torch.arange(tokens)[None]
    rotary = rotary_tables(positions, torch.tensor([1.0, 0.3, 0.1, 0.01]), dtype)
    found = CudaOperations(varlen=True).attend(*given, rotary, groups)
    wanted = Operations().attend(*given, rotary, groups)
    torch.testing.assert_close(found.float(), wanted.float(), rtol=0, atol=2e-2)
    assert not found[0, tokens - 2 :].any()


@pytest.fixture
def half(tiny_folder) -> Esm2:
    return load(tiny_folder, "cpu", "bfloat16")


def test_what_is_used_is_what_gives_the_same_numbers(
    tiny: Esm2, half: Esm2, monkeypatch: pytest.MonkeyPatch
):
    """As on a device: end to end in half precision, padded else, length by length if both fail."""

    def chosen(model: Esm2) -> tuple[str, list[str]]:
        said: list[str] = []
        found = trial.choose_operations(
            model.parts(), "cuda", "any", compiled=None, say=said.append
        )
        assert trial.retry(found, model.parts()).__dict__ == found.__dict__
        if isinstance(found, CudaOperations):
            return "end to end" if found.varlen else "padded", said
        return "by length", said

    monkeypatch.setattr(cuda, "varlen_attention", lambda: end_to_end)
    assert chosen(half) == ("end to end", [])
    assert chosen(tiny) == ("padded", [])
    monkeypatch.setattr(cuda, "varlen_attention", lambda: lambda *x, **_: 1.1 * x[2])
    assert chosen(half) == ("padded", [])

    def lacking() -> None:
        raise RuntimeError("this PyTorch has none")

    monkeypatch.setattr(cuda, "varlen_attention", lacking)
    assert chosen(half) == ("padded", [])
    monkeypatch.setattr(cuda, "attend_padded", lambda *x: 1.1 * attend_padded(*x))
    way, (words,) = chosen(half)
    assert way == "by length"
    assert "attention runs once for each length: the numbers differ" in words
    assert chosen(tiny)[0] == "by length"


def test_a_whole_model_with_it(tiny: Esm2, tiny_folder):
    model = load(tiny_folder, "cpu", compiled=False)
    model.operations = CudaOperations(varlen=True)  # float32, so padded
    tokens = [encode(random_sequence(n, n)) for n in (30, 200, 30, 5, 1, 77)]
    for a, b in zip(tiny.hidden_states(tokens), model.hidden_states(tokens), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1.5e-5)
    maps = model.attention(random_sequence(40, 1))
    np.testing.assert_allclose(maps.maps, tiny.attention(random_sequence(40, 1)).maps, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_on_a_gpu(tiny: Esm2, tiny_folder, dtype: str):
    model = load(tiny_folder, "cuda", dtype)
    assert isinstance(model.operations, CudaOperations)
    assert model.operations.varlen == (dtype != "float32")
    tokens = [encode(random_sequence(n, n)) for n in (30, 200, 30, 5, 1, 77)]
    packed = pack(tokens, model.device)
    found = model.forward(packed, [1, 2]).float()
    model.operations = Operations()
    wanted = model.forward(packed, [1, 2]).float()
    bound = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}[dtype]
    assert float((found - wanted).norm() / wanted.norm()) < bound
