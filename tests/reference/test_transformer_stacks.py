"""Whole stacks against PyTorch's, in float64 and with the same random weights.

`torch.nn.TransformerEncoder` and `TransformerDecoder` run positions that are added. Rotary ones are
compared with a pass written out in PyTorch (`oracles.transformer_torch`), which itself is held
against PyTorch's stacks through the other two. Asked for is 1e-10; measured 1e-14.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from esmkit.errors import InputError, OptionError
from esmkit.reference import transformer as blueprint
from oracles.transformer_torch import TorchTransformer, layers_of, perturbed

TOLERANCE = 1e-10
BATCH, TOKENS, SOURCE = 3, 7, 9
REAL = np.arange(TOKENS) < np.array([7, 4, 1])[:, None]
REAL_SOURCE = np.arange(SOURCE) < np.array([5, 9, 2])[:, None]

every_kind = pytest.mark.parametrize("positions", blueprint.POSITIONS)
with_and_without_padding = pytest.mark.parametrize("padded", [False, True])


def both(positions: str, seed: int = 0) -> blueprint.Transformer:
    return perturbed(
        blueprint.random_transformer(
            np.random.default_rng(seed),
            source_tokens=21,
            tokens=5,
            width=24,
            heads=3,
            layers=3,
            hidden=40,
            positions=positions,
            longest=12,
        )
    )


def alone(positions: str) -> blueprint.DecoderOnly:
    sizes: dict[str, Any] = {"tokens": 26, "width": 24, "heads": 3, "layers": 3, "longest": 12}
    model = blueprint.random_decoder_only(np.random.default_rng(1), positions=positions, **sizes)
    return perturbed(model)


def tokens(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 5, (BATCH, TOKENS)), generator.integers(0, 21, (BATCH, SOURCE))


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
@with_and_without_padding
def test_both_stacks_equal_torchs(positions, padded):
    model, (ids, source) = both(positions), tokens()
    real, real_source = (REAL, REAL_SOURCE) if padded else (REAL | True, REAL_SOURCE | True)
    run = blueprint.forward(model, ids, source=source, present=real, source_present=real_source)
    assert run.encoder is not None
    hidden, hidden_source = torch.tensor(~real), torch.tensor(~real_source)
    causal = torch.triu(torch.ones(TOKENS, TOKENS, dtype=torch.bool), diagonal=1)
    with torch.no_grad():
        memory = layers_of(model.encoder)(
            torch.tensor(run.encoder.embedded), src_key_padding_mask=hidden_source
        )
        output = layers_of(model.decoder)(
            torch.tensor(run.decoder.embedded),
            memory,
            tgt_mask=causal,
            tgt_key_padding_mask=hidden,
            memory_key_padding_mask=hidden_source,
        )
    for ours, theirs in ((run.encoder, memory), (run.decoder, output)):
        np.testing.assert_allclose(ours.output, theirs.numpy(), rtol=0, atol=TOLERANCE)
    expected = output.numpy() @ model.output.weight.T + model.output.bias
    np.testing.assert_allclose(run.logits, expected, rtol=0, atol=TOLERANCE)


@every_kind
@with_and_without_padding
@pytest.mark.parametrize("kind", ["both", "alone"])
def test_logits_equal_a_pass_in_torch(kind, positions, padded):
    ids, source = tokens()
    padding = {"present": REAL} if padded else {}
    if kind == "both":
        model, given = both(positions), {"source": source}
        padding |= {"source_present": REAL_SOURCE} if padded else {}
    else:
        model, given = alone(positions), {"places": np.array([0, 1, 2, 0, 1, 2, 11])}
    with torch.no_grad():
        expected = TorchTransformer(model).logits(ids, **given, **padding)
    actual = blueprint.forward(model, ids, **given, **padding).logits
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=TOLERANCE)
    assert np.ptp(actual, axis=1).max() > 0.01  # the letters are not scored all alike


@every_kind
def test_what_comes_later_changes_nothing_before(positions):
    for model, given in ((both(positions), {"source": tokens()[1]}), (alone(positions), {})):
        ids = tokens()[0]
        before = blueprint.forward(model, ids, **given).logits
        changed = ids.copy()
        changed[:, 4] = (changed[:, 4] + 1) % 5
        after = blueprint.forward(model, changed, **given).logits
        np.testing.assert_allclose(before[:, :4], after[:, :4], rtol=0, atol=1e-13)
        assert np.abs(before - after)[:, 4:].max(axis=-1).min() > 1e-6


def test_rotary_positions_know_distances_only():
    """Both sequences moved on by 3 places: nothing changes. With waves, everything does."""
    ids, model = tokens()[0], alone("rotary")
    near, far = (
        blueprint.forward(model, ids, places=np.arange(TOKENS) + shift).logits for shift in (0, 3)
    )
    np.testing.assert_allclose(near, far, rtol=0, atol=1e-10)
    model = alone("sinusoidal")
    near, far = (
        blueprint.forward(model, ids, places=np.arange(TOKENS) + shift).logits for shift in (0, 3)
    )
    assert np.abs(near - far).max() > 0.01


def test_every_step_is_there_by_name():
    ids, source = tokens()
    run = blueprint.forward(both("rotary"), ids, source=source)
    assert run.encoder is not None
    assert len(run.encoder.layers) == len(run.decoder.layers) == 3
    for layer in run.decoder.layers:
        assert layer["weights"].shape == (BATCH, 3, TOKENS, TOKENS)
        assert layer["cross_weights"].shape == (BATCH, 3, TOKENS, SOURCE)
        np.testing.assert_allclose(layer["cross_weights"].sum(axis=-1), 1, rtol=1e-12)
    assert run.decoder.output is run.decoder.layers[-1]["output"]


def test_single_precision_stays():
    from esmkit.reference.training import tree_map

    for positions in blueprint.POSITIONS:
        model = tree_map(lambda array: array.astype(np.float32), both(positions))
        ids, source = tokens()
        run = blueprint.forward(model, ids, source=source)
        steps = [step for layer in run.decoder.layers for step in layer.values()]
        assert {step.dtype for step in [*steps, run.logits]} == {np.dtype(np.float32)}


def test_bad_input_is_named():
    ids, source = tokens()
    model = both("learned")
    with pytest.raises(InputError, match="a Transformer reads a source: give its token ids, or us"):
        blueprint.forward(model, ids)
    with pytest.raises(InputError, match="a DecoderOnly has no encoder: write the source before"):
        blueprint.forward(alone("rotary"), ids, source=source)
    with pytest.raises(InputError, match="13 tokens, but positions were learned for 12 only"):
        blueprint.forward(model, np.zeros((1, 13), int), source=source[:1])
    with pytest.raises(InputError, match=r"places \(2,\): these ids need \(7,\)"):
        blueprint.forward(alone("rotary"), ids, places=[0, 1])
    with pytest.raises(InputError, match=r"padding of shape \(3, 9\): the ids have \(3, 7\)"):
        blueprint.forward(model, ids, source=source, present=REAL_SOURCE)
    with pytest.raises(InputError, match="3 sequences cannot attend to 2: give one for each"):
        blueprint.forward(model, ids, source=source[:2])
    with pytest.raises(InputError, match=r"ids int64 \(7,\): give integers \(sequences, tokens\)"):
        blueprint.forward(model, ids[0], source=source)
    with pytest.raises(InputError, match="heads of width 5: rotary positions need an even width"):
        blueprint.rotary_angles([0, 1], 5, "float64")
    draw: dict[str, Any] = {"tokens": 5, "width": 24, "heads": 3}
    generator = np.random.default_rng(0)
    with pytest.raises(
        OptionError, match="positions 'absolute': choose one of sinusoidal, learned"
    ):
        blueprint.random_decoder_only(generator, positions="absolute", **draw)
    with pytest.raises(OptionError, match="learned positions need a longest length: nothing is"):
        blueprint.random_decoder_only(generator, positions="learned", **draw)
    draw["heads"] = 5
    with pytest.raises(InputError, match="width 24 does not split into 5 heads"):
        blueprint.random_decoder_only(generator, **draw)


MUTATIONS = {
    "no causal mask": ("stacks", "causal_mask", lambda tokens: np.ones((tokens, tokens), bool)),
    "padding is seen": ("stacks", "hide_padding", lambda present, x: None),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutation_is_caught(mutation, monkeypatch):
    module, name, wrong = MUTATIONS[mutation]
    monkeypatch.setattr(getattr(blueprint, module), name, wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        test_logits_equal_a_pass_in_torch("alone", "rotary", padded=True)


def test_memory_turned_by_the_angles_of_the_letters_is_caught():
    """Cross-attention turns keys by their own places, not by those of the letters."""
    model, (ids, source) = both("rotary"), tokens()
    run = blueprint.forward(model, ids, source=source[:, :TOKENS])
    assert run.encoder is not None
    moved = dataclasses.replace(
        run.encoder, rotary=blueprint.rotary_angles(np.arange(TOKENS) + 1, 8, "float64")
    )
    other = blueprint.run_decoder(model.decoder, ids, moved)
    assert np.abs(other.output - run.decoder.output).max() > 1e-3
