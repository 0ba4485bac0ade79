"""The reference encoder against transformers and fair-esm (see `oracles`), and against itself."""

import ast
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import EsmModel

from esmkit.reference import encoder as reference
from oracles.encoders import (
    BATCHES,
    CASTS,
    FAIR_ESM_SHAPES,
    FLOAT32,
    FLOAT64,
    MUTANT,
    PAD,
    SHAPES,
    Output,
    Shape,
    assert_agree,
    batch,
    fair_esm_model,
    random_model,
    run_fair_esm,
    run_hugging_face,
    run_reference,
    tensors_of,
    without_casts,
)


@pytest.fixture(scope="module", params=SHAPES)
def checkpoint(request: pytest.FixtureRequest) -> tuple[Shape, EsmModel]:
    shape = SHAPES[request.param]
    return shape, random_model(shape)


@pytest.fixture(scope="module")
def shallow() -> tuple[Shape, EsmModel, dict[str, np.ndarray]]:
    model = random_model(SHAPES["shallow"])
    return SHAPES["shallow"], model, tensors_of(model)


@pytest.fixture(scope="module")
def parameters(shallow) -> reference.Parameters:
    return reference.read_parameters(shallow[2], shallow[0].heads)


# -------------------------------------------------------------------------------- agreement


@pytest.mark.parametrize("kind", BATCHES)
def test_float64_equals_hugging_face_float64(checkpoint, kind, monkeypatch):
    shape, model = checkpoint
    ids = batch(kind)
    ours = run_reference(reference.read_parameters(tensors_of(model), shape.heads), ids)
    without_casts(monkeypatch)
    model.double()
    try:
        theirs = run_hugging_face(model, ids)
    finally:
        model.to(torch.float32)  # exact: the weights came from float32
    assert theirs.hidden_states[-1].dtype == np.float64
    assert_agree(ours, theirs, ids, FLOAT64)
    for actual, expected in zip(ours.attentions, theirs.attentions, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-10)  # small weights too
    sharpest = np.mean([maps.max(axis=-1).mean() for maps in ours.attentions])
    assert sharpest > 0.3  # the maps are far from uniform, or this test would see little
    assert np.nanmin(ours.contacts) < 0.3 < 0.7 < np.nanmax(ours.contacts)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("name", FAIR_ESM_SHAPES)
def test_float64_equals_fair_esm_float64(name, kind, monkeypatch):
    shape, ids = SHAPES[name], batch(kind)
    tensors = tensors_of(random_model(shape))
    ours = run_reference(reference.read_parameters(tensors, shape.heads), ids)
    without_casts(monkeypatch)
    theirs = run_fair_esm(fair_esm_model(shape, tensors).double(), ids)
    assert theirs.hidden_states[-1].dtype == np.float64
    assert_agree(ours, theirs, ids, FLOAT64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float32_implementations_stay_within_rounding(checkpoint, dtype):
    shape, model = checkpoint
    ids, tensors = batch("both"), tensors_of(model)
    ours = run_reference(reference.read_parameters(tensors, shape.heads, dtype=dtype), ids)
    assert {array.dtype for array in ours.hidden_states + ours.attentions} == {np.dtype(dtype)}
    assert ours.contacts.dtype == dtype
    assert_agree(ours, run_hugging_face(model, ids), ids, FLOAT32)
    if shape.hidden == 4 * shape.width:
        assert_agree(ours, run_fair_esm(fair_esm_model(shape, tensors), ids), ids, FLOAT32)


def test_double_models_with_their_casts_stay_within_float32(shallow):
    shape, _, tensors = shallow
    ids = batch("both")
    ours = run_reference(reference.read_parameters(tensors, shape.heads), ids)
    assert_agree(ours, run_hugging_face(random_model(shape).double(), ids), ids, CASTS)
    assert_agree(ours, run_fair_esm(fair_esm_model(shape, tensors).double(), ids), ids, CASTS)


def test_trace_equals_what_hugging_face_modules_return(shallow, parameters, monkeypatch):
    shape, _, _ = shallow
    ids = batch("both")
    model, seen = random_model(shape).double(), {}
    modules = {
        "attention_input": "attention.LayerNorm",
        "query": "attention.self.query",
        "key": "attention.self.key",
        "value": "attention.self.value",
        "attention_output": "attention.output.dense",
        "attention_residual": "attention.output",
        "feed_forward_input": "LayerNorm",
        "feed_forward_hidden": "intermediate",
        "feed_forward_output": "output.dense",
        "residual": "output",
    }

    def keep(key: tuple[int, str]):
        def hook(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            seen[key] = output.numpy()

        return hook

    for i in range(shape.layers):
        for step, name in modules.items():
            submodule = model.encoder.layer[i].get_submodule(name)
            submodule.register_forward_hook(keep((i, step)))
    without_casts(monkeypatch)
    run_hugging_face(model, ids)
    trace = reference.encode(parameters, ids, trace=True).trace
    assert trace is not None
    assert len(seen) == shape.layers * len(modules)
    for (i, step), theirs in seen.items():
        ours = trace[i][step]
        if step in ("query", "key", "value"):
            theirs = theirs.reshape(*theirs.shape[:2], shape.heads, -1).swapaxes(1, 2)
        bound = FLOAT64 * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound, err_msg=f"layer {i}, {step}")


# -------------------------------------------------------------------------------- mutations


def _wrong_sign(x, cos, sin):
    return x * cos - reference.rotate_half(x) * sin


def _interleaved(x, cos, sin):
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    turned = np.stack([-pairs[..., 1], pairs[..., 0]], axis=-1).reshape(x.shape)
    cos, sin = (np.repeat(table[:, : x.shape[-1] // 2], 2, axis=-1) for table in (cos, sin))
    return x * cos + turned * sin


def _tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _swapped(x, source, p, heads, original=reference.project_heads):
    query, key, value = original(x, source, p, heads)
    return key, query, value


def _corrected_over_specials(maps, ids, present):
    corrected = reference.average_product_correction(reference.symmetrise(maps))
    return reference.residue_maps(corrected, ids, present)


MUTATIONS = {
    "sign of the rotary rotation": ("rotate", _wrong_sign),
    "interleaved instead of half rotation": ("rotate", _interleaved),
    "missing query scaling": ("scale_query", lambda query: query),
    "tanh GELU": ("gelu", _tanh_gelu),
    "missing 0.88": ("TRAIN_MASK_RATE", 0.0),
    "swapped query and key": ("project_heads", _swapped),
    "mask not applied": ("apply_mask", lambda scores, allowed: scores),
    "APC over specials": ("contact_features", _corrected_over_specials),
}


@pytest.fixture(scope="module")
def unmutated(shallow) -> Output:
    return run_hugging_face(shallow[1], batch("both"))


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutation_is_caught(mutation, parameters, unmutated, monkeypatch):
    ids = batch("both")
    assert_agree(run_reference(parameters, ids), unmutated, ids, FLOAT32)
    monkeypatch.setattr(reference, *MUTATIONS[mutation])
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_agree(run_reference(parameters, ids), unmutated, ids, MUTANT)


# ------------------------------------------------------------------------------- properties


def test_order_batch_and_padding_change_nothing(parameters):
    ids = batch("both")
    together = run_reference(parameters, ids)
    for row, tokens in enumerate(ids):
        alone = run_reference(parameters, tokens[tokens != PAD][None])
        length = int((tokens != PAD).sum())
        for whole, single in zip(together.hidden_states, alone.hidden_states, strict=True):
            np.testing.assert_allclose(whole[row, :length], single[0], rtol=0, atol=1e-12)
        for whole, single in zip(together.attentions, alone.attentions, strict=True):
            np.testing.assert_allclose(whole[row, :, :length, :length], single[0], atol=1e-14)
            assert not whole[row, :, :, length:].any()
        inner = together.contacts[row, : length - 2, : length - 2]
        np.testing.assert_allclose(inner, alone.contacts[0], rtol=0, atol=1e-13)


def test_trace_is_consistent_and_complete(parameters, shallow):
    shape, ids = shallow[0], batch("both")
    encoding = reference.encode(parameters, ids, attentions=True, trace=True)
    assert encoding.trace is not None
    assert encoding.attentions is not None
    assert len(encoding.trace) == shape.layers
    head_width, tokens = shape.width // shape.heads, ids.shape[1]
    per_head = (len(ids), shape.heads, tokens, head_width)
    square, stream = (len(ids), shape.heads, tokens, tokens), (len(ids), tokens, shape.width)
    expected = dict.fromkeys(
        ["query", "key", "value", "rotated_query", "rotated_key", "head_output"], per_head
    )
    expected |= {"scores": square, "weights": square}
    expected |= dict.fromkeys(["attention_input", "attention_output", "attention_residual"], stream)
    expected |= dict.fromkeys(["feed_forward_input", "feed_forward_output"], stream)
    expected |= {"residual": stream}
    expected |= {"feed_forward_hidden": (len(ids), tokens, shape.hidden)}
    for i, steps in enumerate(encoding.trace):
        assert {name: step.shape for name, step in steps.items()} == expected
        assert steps["weights"] is encoding.attentions[i]
        np.testing.assert_allclose(steps["weights"].sum(axis=-1), 1.0, rtol=1e-14)
        assert np.isneginf(steps["scores"][1, :, :, 13:]).all()
        np.testing.assert_array_equal(
            steps["attention_residual"], encoding.hidden_states[i] + steps["attention_output"]
        )
    for i in range(1, shape.layers):  # the last hidden state is past the final norm
        np.testing.assert_array_equal(encoding.trace[i - 1]["residual"], encoding.hidden_states[i])


def test_maps_and_trace_are_kept_only_on_request(parameters):
    encoding = reference.encode(parameters, batch("plain"))
    assert encoding.attentions is None
    assert encoding.trace is None
    assert reference.encode(parameters, batch("plain"), trace=True).attentions is None


def test_only_one_layers_maps_are_in_memory(parameters):
    ids = np.full((1, 300), 5)
    one_map = 8 * parameters.heads * ids.size**2
    tracemalloc.start()
    reference.encode(parameters, ids)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert one_map < peak < 4 * one_map  # scores, their exponentials, and one temporary


def test_inputs_stay_as_they_were(parameters):
    ids = batch("both")
    before, embedding = ids.copy(), parameters.embedding.copy()
    encoding = reference.encode(parameters, ids, attentions=True)
    assert encoding.attentions is not None
    maps = [array.copy() for array in encoding.attentions]
    reference.contact_probabilities(parameters, encoding.attentions, ids)
    np.testing.assert_array_equal(ids, before)
    np.testing.assert_array_equal(parameters.embedding, embedding)
    np.testing.assert_array_equal(encoding.attentions, maps)


def test_contacts_are_symmetric_probabilities(parameters):
    contacts = run_reference(parameters, batch("plain")).contacts
    np.testing.assert_allclose(contacts, contacts.swapaxes(1, 2), rtol=1e-12)
    assert ((contacts >= 0) & (contacts <= 1)).all()


def test_contacts_survive_large_logits(parameters):
    ids = batch("plain")
    maps = reference.encode(parameters, ids, attentions=True).attentions
    assert maps is not None
    for bias, expected in ((-2000.0, 0.0), (2000.0, 1.0)):
        head = replace(parameters.contact, bias=np.array([bias]))
        contacts = reference.contact_probabilities(replace(parameters, contact=head), maps, ids)
        np.testing.assert_allclose(contacts, expected, rtol=0, atol=1e-300)


def test_explicit_mask_makes_pad_tokens_real(shallow, parameters):
    # transformers' own integration test feeds <pad> without a mask; then it is a token like others
    ids = np.array([[0, 1, 2, 3, 4, 5]])
    with torch.no_grad():
        expected = shallow[1](torch.tensor(ids)).last_hidden_state.numpy()
    actual = reference.encode(parameters, ids, attention_mask=np.ones_like(ids)).hidden_states[-1]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
    assert np.abs(reference.encode(parameters, ids).hidden_states[-1] - expected).max() > MUTANT


def test_softmax_survives_large_scores():
    np.testing.assert_allclose(reference.softmax(np.array([1e4, 0.0, -np.inf])), [1, 0, 0], atol=0)


def test_reference_imports_numpy_scipy_erf_and_errors_only():
    source = Path(reference.__file__).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    standard = {"collections.abc", "dataclasses", "math", "re"}
    assert imported - standard == {"numpy", "numpy.typing", "scipy.special", "esmkit.errors"}
