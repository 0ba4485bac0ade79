"""Single published numbers: who is asked for them, and when they are said to be reproduced."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EsmForMaskedLM, EsmModel

import esmkit
from esmkit.encoder.lm_head import FittedHeadWarning
from esmkit.esm2 import Esm2
from esmkit.published import golden
from oracles.published import own_of

NAMES = ("golden-states", "golden-logits")


def numbers_of_transformers(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The slices as transformers' own test takes them, with these weights."""
    encoder = EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()
    masked = EsmForMaskedLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = encoder(torch.tensor([golden.STATES[0]])).last_hidden_state[0, :3, :3]
        logits = masked(torch.tensor([golden.LOGITS[0]])).logits[0, :3, :3]
    return states.numpy(), logits.numpy()


@pytest.fixture
def planted(eight_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of these weights stand where those of the official ones are published."""
    states, logits = numbers_of_transformers(eight_folder)
    monkeypatch.setattr(golden, "STATES", (golden.STATES[0], states))
    monkeypatch.setattr(golden, "LOGITS", (golden.LOGITS[0], logits))


def test_the_published_numbers_are_reproduced_by_the_weights_they_are_of(
    official: Esm2, planted: None
):
    found = esmkit.reproduce(official, only=NAMES)
    assert [row.verdict for row in found.rows] == ["reproduced", "reproduced"]
    for row in found.rows:
        assert 0 <= own_of(row) < 5e-5  # rounding of float32
        assert row.on.endswith(" tokens")
    found.raise_if_differs()


@pytest.mark.parametrize(("share", "verdict"), [(0.85, "reproduced"), (1.15, "differs")])
def test_a_ten_thousandth_and_a_ten_thousandth_of_the_value_are_allowed(
    official: Esm2, planted: None, share: float, verdict: str, monkeypatch: pytest.MonkeyPatch
):
    """As ``torch.testing.assert_close`` has it with ``atol`` and ``rtol`` of 1e-4."""
    ids, states = golden.STATES
    moved = np.array(states, np.float64)
    place = np.unravel_index(np.abs(moved).argmax(), moved.shape)
    assert abs(moved[place]) > 0.8  # else the second part would not show
    off = share * 1e-4 * (1 + abs(moved[place]))
    moved[place] -= off
    monkeypatch.setattr(golden, "STATES", (ids, moved))
    (row,) = esmkit.reproduce(official, only=["golden-states"]).rows
    assert row.verdict == verdict
    # the rounding of float32 itself is what is left
    np.testing.assert_allclose(own_of(row), off, rtol=0, atol=2e-5)


def test_other_weights_sizes_and_heads_are_not_run(
    eight: Esm2, as_8m: None, monkeypatch: pytest.MonkeyPatch
):
    for row in esmkit.reproduce(eight, only=NAMES).rows:
        assert row.because == "missing: the official weights of the 8M model, in float32"
    monkeypatch.undo()
    for row in esmkit.reproduce(eight, only=NAMES).rows:
        assert row.verdict == "not run"
        assert row.because.endswith("of the 8M model, of which these numbers are")
        assert row.published is None


def test_without_a_masked_lm_head_there_are_no_logits(tiny: Esm2, as_8m: None, monkeypatch):
    monkeypatch.setattr(tiny, "checkpoint", replace(tiny.checkpoint, official=True))
    (row,) = esmkit.reproduce(tiny, only=["golden-logits"]).rows
    assert row.because == "missing: the masked-LM head of the official weights"


def test_logits_of_a_fitted_head_are_not_run(official: Esm2, monkeypatch: pytest.MonkeyPatch):
    head: Any = official._lm_head
    fitted = {"source": "fitted", "name": "mine", "note": "a fit"}
    monkeypatch.setattr(official, "_lm_head", replace(head, facts=fitted))
    with pytest.warns(FittedHeadWarning, match="a fit"):
        (row,) = esmkit.reproduce(official, only=["golden-logits"]).rows
    assert row.because == "missing: the masked-LM head of the official weights"


def test_half_precision_is_not_the_published_thing(eight_folder: Path, as_8m: None):
    model = esmkit.load(eight_folder, "cpu", "bfloat16")
    model.checkpoint = replace(model.checkpoint, official=True)
    (row,) = esmkit.reproduce(model, only=["golden-states"]).rows
    assert row.because == "missing: the official weights of the 8M model, in float32"
