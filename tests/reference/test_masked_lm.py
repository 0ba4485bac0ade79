"""The masked-LM head from scratch against transformers and fair-esm, and what it refuses."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from esm.model.esm2 import ESM2
from transformers import EsmForMaskedLM

from esmkit.errors import CheckpointError, InputError
from esmkit.reference import encoder as reference
from esmkit.reference import masked_lm
from oracles.checkpoints import random_head
from oracles.encoders import (
    BATCHES,
    FAIR_ESM_SHAPES,
    PAD,
    SHAPES,
    batch,
    fair_esm_model,
    random_model,
    tensors_of,
    without_casts,
)

LOGITS_64 = 1e-10  # logits are up to some 20; measured here 1e-13


@pytest.fixture(scope="module", params=SHAPES)
def checkpoint(request: pytest.FixtureRequest) -> tuple[str, EsmForMaskedLM]:
    encoder = random_model(SHAPES[request.param])
    model = EsmForMaskedLM(encoder.config).eval()
    model.esm = encoder
    model.lm_head.load_state_dict(
        {
            **random_head(encoder.config.hidden_size, 1),
            "decoder.weight": encoder.embeddings.word_embeddings.weight,
        },
        assign=True,
    )
    return request.param, model


def whole(model: EsmForMaskedLM) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def from_scratch(model: EsmForMaskedLM, ids: np.ndarray) -> np.ndarray:
    tensors = whole(model)
    parameters = reference.read_parameters(tensors, model.config.num_attention_heads)
    head = masked_lm.read_masked_lm_head(tensors)
    return masked_lm.masked_lm_logits(reference.encode(parameters, ids), head)


@pytest.mark.parametrize("kind", BATCHES)
def test_logits_equal_transformers_in_float64(checkpoint, kind, monkeypatch):
    name, model = checkpoint
    ids = batch(kind)
    ours = from_scratch(model, ids)
    fair_esm = None
    if name in FAIR_ESM_SHAPES:
        fair_esm = fair_esm_of(name, whole(model))
    without_casts(monkeypatch)
    tokens, real = torch.tensor(ids), ids != PAD
    try:
        with torch.no_grad():
            theirs = model.double()(tokens, attention_mask=torch.tensor(real).long()).logits
    finally:
        model.to(torch.float32)  # exact: the weights came from float32
    assert theirs.dtype == torch.float64
    assert ours.dtype == np.float64
    assert ours.shape == (*ids.shape, 33)
    assert np.abs(ours[real]).max() > 5
    np.testing.assert_allclose(ours[real], theirs.numpy()[real], rtol=0, atol=LOGITS_64)
    if fair_esm is not None:
        with torch.no_grad():
            other = fair_esm.double()(tokens)["logits"].numpy()
        np.testing.assert_allclose(ours[real], other[real], rtol=0, atol=LOGITS_64)


def fair_esm_of(name: str, tensors: dict[str, np.ndarray]) -> ESM2:
    encoder = {n.removeprefix("esm."): t for n, t in tensors.items() if n.startswith("esm.")}
    model = fair_esm_model(SHAPES[name], encoder)
    names = ("dense.weight", "dense.bias", "layer_norm.weight", "layer_norm.bias", "bias")
    head = {n: torch.tensor(tensors[f"lm_head.{n}"]) for n in names}
    missing, extra = model.lm_head.load_state_dict(head, strict=False)
    assert (missing, extra) == (["weight"], [])  # that of the embedding
    return model


def test_every_step_is_named(checkpoint):
    _, model = checkpoint
    head = masked_lm.read_masked_lm_head(whole(model))
    final = np.random.default_rng(0).normal(size=(2, 3, model.config.hidden_size))
    steps = masked_lm.masked_lm_steps(final, head)
    assert list(steps) == ["final", "lm_hidden", "lm_normed", "logits"]
    assert steps["final"] is final
    with torch.no_grad():
        theirs = model.lm_head.double()(torch.tensor(final)).numpy()
    model.lm_head.float()
    np.testing.assert_allclose(steps["logits"], theirs, rtol=0, atol=LOGITS_64)
    with pytest.raises(InputError, match="the last axis must be"):
        masked_lm.masked_lm_steps(final[..., :-1], head)


@pytest.mark.parametrize(
    ("part", "broken"),
    [
        ("gelu", lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
        ("layer_norm", lambda x, _: x),
        ("linear", lambda x, p: x @ p.weight.T),
    ],
)
def test_mutations_are_caught(checkpoint, part, broken, monkeypatch):
    _, model = checkpoint
    right = from_scratch(model, batch("masked"))
    monkeypatch.setattr(masked_lm, part, broken)
    assert np.abs(from_scratch(model, batch("masked")) - right).max() > 1e-4


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    encoder = {f"esm.{n}": t for n, t in tensors_of(random_model(SHAPES["shallow"])).items()}
    return encoder | {f"lm_head.{n}": t.numpy() for n, t in random_head(32, 3).items()}


def test_a_fitted_head_stands_on_the_embedding(tensors: dict[str, np.ndarray]):
    fitted = {name: tensor.numpy() for name, tensor in random_head(32, 4).items()}
    head = masked_lm.read_masked_lm_head(tensors, fitted)
    assert np.array_equal(head.decoder.weight, tensors["esm.embeddings.word_embeddings.weight"])
    assert np.array_equal(head.dense.weight, fitted["dense.weight"])
    assert head.dense.weight.dtype == np.float64
    bare = {name.removeprefix("esm."): tensor for name, tensor in tensors.items()}
    again = masked_lm.read_masked_lm_head(bare, dtype=np.float32)
    assert again.decoder.weight.dtype == np.float32
    own = replace(head).decoder.weight + 1
    untied = masked_lm.read_masked_lm_head({**tensors, "lm_head.decoder.weight": own})
    assert np.array_equal(untied.decoder.weight, own)


def test_tensors_that_are_amiss_are_named(tensors: dict[str, np.ndarray]):
    def said(**changes: np.ndarray | None) -> str:
        changed = {
            **tensors,
            **{f"lm_head.{n.replace('_of_', '.')}": t for n, t in changes.items()},
        }
        with pytest.raises(CheckpointError) as caught:
            masked_lm.read_masked_lm_head({n: t for n, t in changed.items() if t is not None})
        return str(caught.value)

    assert said(bias=None, dense_of_bias=None) == (
        "missing tensors of the masked-LM head: lm_head.dense.bias, lm_head.bias"
    )
    assert said(bias=np.zeros(20)) == "tensor lm_head.bias is float64 (20,), not float (33,)"
    assert "lm_head.bias is int64" in said(bias=np.zeros(33, np.int64))
    with pytest.raises(CheckpointError, match="there is no token embedding"):
        masked_lm.read_masked_lm_head({n: t for n, t in tensors.items() if "word_" not in n})


def test_it_imports_numpy_errors_and_the_encoder_only():
    source = Path(masked_lm.__file__).read_text(encoding="utf-8")
    found = {n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)}
    standard = {"collections.abc", "dataclasses", "numpy.typing"}
    assert found - standard == {"esmkit.errors", "esmkit.reference.encoder"}
