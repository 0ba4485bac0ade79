"""Heads that copy: their scores against transformers' own maps, and what of a map counts."""

import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import EsmModel

import esmkit
from esmkit.errors import OptionError
from esmkit.esm2 import Esm2
from esmkit.heads.repeats import copy_weights, repeat_scores, repeated_sequences
from esmkit.sequences.tokens import encode
from tests.oracles.checkpoints import make_checkpoint

SEEDS = range(5 if "ESMKIT_TRIALS" in os.environ else 2)
"""Of untrained models, two kinds of each."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("repeats") / "tiny", (2, 4, 32))


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_weights_between_copies_are_those_of_a_loop(half, seed):
    maps = np.random.default_rng(seed).random((2, 2 * half, 2 * half))
    found = copy_weights(maps)
    for head, a in enumerate(maps):
        first = [a[half + i, i] for i in range(half)]
        second = [a[i, half + i] for i in range(half)]
        after = [a[half + i, i + 1] for i in range(half - 1)]
        after += [a[i, half + i + 1] for i in range(half - 1)]
        wanted = [sum(each) / len(each) for each in (first, second, after)]
        np.testing.assert_allclose(found[head], wanted, rtol=1e-12)


def test_a_head_that_copies_scores_1_and_one_that_takes_what_comes_next_none():
    half = 5
    copies, induction = np.zeros((2, 2 * half, 2 * half))
    for i in range(half):
        copies[i, half + i] = copies[half + i, i] = 1
        induction[i, half + (i + 1) % half] = induction[half + i, (i + 1) % half] = 1
    np.testing.assert_array_equal(
        copy_weights(np.stack([copies, induction])), [[1, 1, 0], [0, 0, 1]]
    )


def test_scores_are_those_of_the_maps_of_transformers(folder):
    found: Any = repeat_scores(
        esmkit.load(str(folder)), sequences=4, shortest=5, longest=9, control=False, seed=3
    )
    network = EsmModel.from_pretrained(folder, attn_implementation="eager").eval()
    scores = {"repeat_score": [], "repeat_control": [], "to_first": [], "next_control": []}
    for twice, control in repeated_sequences(4, shortest=5, longest=9, seed=3):
        assert twice[: len(twice) // 2] * 2 == twice
        for sequence, names in (
            (twice, ("repeat_score", "to_first")),
            (control, ("repeat_control", "next_control")),
        ):
            ids = torch.tensor(np.array(encode(sequence)))[None].long()
            with torch.no_grad():
                maps = torch.stack(network(ids, output_attentions=True).attentions)[:, 0].numpy()
            half = len(sequence) // 2
            back = [maps[..., 1 + half + i, 1 + i] for i in range(half)]
            forth = [maps[..., 1 + i, 1 + half + i] for i in range(half)]
            next_ones = [maps[..., 1 + half + i, 2 + i] for i in range(half - 1)]
            next_ones += [maps[..., 1 + i, 2 + half + i] for i in range(half - 1)]
            for name in names:
                of = {"to_first": back, "next_control": next_ones}.get(name, back + forth)
                scores[name].append(np.mean(of, axis=0).ravel())
    for name, values in scores.items():
        np.testing.assert_allclose(found[name], np.mean(values, axis=0), atol=2e-6)
    assert (found["repeat_low"] <= found["repeat_score"]).all()
    assert (found["repeat_score"] <= found["repeat_high"]).all()
    assert list(found["name"][:5]) == ["L0H0", "L0H1", "L0H2", "L0H3", "L1H0"]


def test_untrained_models_are_scored_on_the_same_sequences(folder):
    from esmkit.heads.untrained import control_models, with_permuted_weights

    model = esmkit.load(str(folder))
    asked: dict[str, Any] = {"sequences": 2, "shortest": 5, "longest": 6}
    found: Any = repeat_scores(model, seed=1, **asked)
    models = control_models(model)
    assert set(found["models"]) == {models}
    most = []
    for number in range(models):
        other = with_permuted_weights(model, seed=1 + number)
        most.append(repeat_scores(other, control=False, seed=1, **asked)["repeat_score"].max())
    assert set(found["permuted_most"]) == {max(most)}


def test_residues_are_drawn_as_often_as_they_are_in_proteins():
    text = "".join(a + b for a, b in repeated_sequences(400, longest=400))
    assert text.count("L") / len(text) == pytest.approx(0.0965, rel=0.05)
    assert text.count("W") / len(text) == pytest.approx(0.0110, rel=0.1)
    lengths = {len(a) // 2 for a, _ in repeated_sequences(400)}
    assert lengths == set(range(40, 81))


def test_the_same_seed_gives_the_same_sequences():
    assert repeated_sequences(3, seed=1) == repeated_sequences(3, seed=1)
    assert repeated_sequences(3, seed=1) != repeated_sequences(3, seed=2)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"sequences": 0}, "at least 1 repeated sequence is needed, not 0"),
        ({"shortest": 1}, "not of 1 to 80"),
        ({"shortest": 81}, "not of 81 to 80"),
        ({"longest": 512}, "2 to 511 residues"),
        ({"resamples": 10}, "`resamples` is at least 100, not 10"),
    ],
)
def test_numbers_out_of_range_are_refused(folder, asked, said):
    with pytest.raises(OptionError, match=said):
        repeat_scores(esmkit.load(str(folder)), **asked)


@pytest.mark.weights
def test_five_heads_of_the_8m_model_copy_and_no_untrained_one(real: Esm2):
    from esmkit.heads.untrained import with_permuted_weights, with_random_weights

    found: Any = repeat_scores(real, control=False)
    high: Any = found.loc[found["repeat_score"] > 0.4]
    assert len(high) >= 5
    assert (high["repeat_control"] < 0.02).all()
    assert found["repeat_score"].drop(high.index).max() < 0.1
    for seed in SEEDS:
        for untrained in (with_random_weights, with_permuted_weights):
            scores: Any = repeat_scores(untrained(real, seed=seed), sequences=4, control=False)
            assert scores["repeat_score"].max() < 0.1
