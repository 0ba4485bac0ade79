"""Stretches, batches and accuracy of the tasks, on chains written by hand and on TS50."""

from dataclasses import dataclass

import numpy as np
import pytest

from esmkit.data import ts50
from esmkit.errors import InputError
from esmkit.reference import transformer as blueprint
from esmkit.reference.transformer import tasks


@dataclass(frozen=True)
class Chain:
    sequence: str = "MKTAYUHHG"
    secondary_structure_3: str = "CHHE.HCCE"


CHAIN = Chain()


def letters(ids: np.ndarray, alphabet: str) -> str:
    return "".join(alphabet[number] for number in ids)


def test_stretches_count_each_known_residue_once():
    stretches = blueprint.cut(ts50(), 32)
    known = sum(letter in "HEC" for c in ts50() for letter in c.secondary_structure_3)
    assert stretches.counted.sum() == known
    for number, chain in enumerate(ts50()[:5]):
        own = stretches.chain == number
        assert letters(stretches.residues[own][0], blueprint.RESIDUES) == chain.sequence[:32]
        assert letters(stretches.residues[own][-1], blueprint.RESIDUES) == chain.sequence[-32:]
        counted = stretches.states[own][stretches.counted[own]]
        right = chain.secondary_structure_3
        assert letters(counted, "HEC") == "".join(letter for letter in right if letter in "HEC")


def test_unknown_residues_and_states():
    stretches = blueprint.cut([CHAIN], 9)
    assert letters(stretches.residues[0], blueprint.RESIDUES) == "MKTAYXHHG"
    assert stretches.states[0, 4] == -1
    assert not stretches.counted[0, 4]


@pytest.mark.parametrize("alone", [False, True])
def test_batches_show_each_letter_to_the_next_place(alone):
    """What is shown at place t + 1 is the target at t, or hidden; residues stand at their place."""
    batch = blueprint.state_batches([CHAIN], 6, size=400, seed=2, alone=alone)(5)
    assert batch.chosen is not None
    if alone:
        assert batch.places is not None
        residues, ids = np.split(batch.ids, 2, axis=1)
        residues = residues - blueprint.LETTERS
        assert batch.places.tolist() == [*range(6), *range(6)]
        assert not batch.chosen[:, :6].any()
        targets, chosen = batch.targets[:, 6:], batch.chosen[:, 6:]
    else:
        assert batch.source is not None
        residues, ids, targets, chosen = batch.source, batch.ids, batch.targets, batch.chosen
    assert (ids[:, 0] == blueprint.BEGIN).all()
    shown, before = ids[:, 1:], targets[:, :-1]
    hidden = shown == blueprint.HIDDEN
    np.testing.assert_array_equal(shown[~hidden], before[~hidden])
    assert 0.4 < hidden.mean() < 0.7  # half of those known, and all unknown
    assert hidden[~chosen[:, :-1]].all()
    shares = hidden.sum(
        axis=1
    )  # of five letters; an unknown one, in each stretch, is always hidden
    assert (np.bincount(shares, minlength=6)[1:] > 400 / 12).all()
    starts = {"MKTAYX": "CHHE?H", "KTAYXH": "HHE?HC", "TAYXHH": "HE?HCC", "AYXHHG": "E?HCCE"}
    for row, right, known in zip(residues, targets, chosen, strict=True):
        fits = [
            states
            for read, states in starts.items()
            if all(r in (20, blueprint.RESIDUES.index(x)) for r, x in zip(row, read, strict=True))
        ]
        told = "".join("HEC"[s] if k else "?" for s, k in zip(right, known, strict=True))
        assert told in fits


def test_batches_repeat_by_seed_and_step():
    def targets(seed: int, step: int) -> np.ndarray:
        return blueprint.state_batches(ts50(), 32, seed=seed)(step).targets

    np.testing.assert_array_equal(targets(0, 3), targets(0, 3))
    assert (targets(0, 3) != targets(0, 4)).any()
    assert (targets(0, 3) != targets(1, 3)).any()


def test_a_copy_is_what_was_read():
    batch = blueprint.copy_batches(ts50(), 16)(0)
    np.testing.assert_array_equal(batch.targets, batch.source)
    np.testing.assert_array_equal(batch.ids[:, 1:], batch.targets[:, :-1])
    assert (batch.ids[:, 0] == 21).all()


def models():
    generator = np.random.default_rng(0)
    sizes = {"width": 16, "heads": 2, "positions": "rotary"}
    return (
        blueprint.random_transformer(generator, source_tokens=21, tokens=5, **sizes),
        blueprint.random_decoder_only(generator, tokens=26, **sizes),
    )


@pytest.mark.parametrize("model", models(), ids=["both", "alone"])
def test_writing_agrees_with_scoring(model):
    """The letters written, shown as history, are the likeliest again: one task in both functions."""
    residues = blueprint.cut(ts50()[:2], 20).residues
    written = blueprint.write_states(model, residues)
    scores = blueprint.score_states(model, residues, written)
    assert scores.shape == (*residues.shape, 3)
    np.testing.assert_array_equal(scores.argmax(axis=-1), written)
    np.testing.assert_array_equal(blueprint.write_states(model, residues, cached=False), written)
    hidden = blueprint.score_states(model, residues)
    assert np.abs(hidden[:, 1:] - scores[:, 1:]).max() > 1e-3
    np.testing.assert_allclose(hidden[:, 0], scores[:, 0], rtol=0, atol=1e-12)  # nothing before


def test_accuracy_is_of_each_chain():
    stretches = blueprint.cut([CHAIN, CHAIN], 5)
    assert blueprint.accuracy(stretches.states, stretches).tolist() == [1.0, 1.0]
    np.testing.assert_allclose(
        blueprint.accuracy(np.full_like(stretches.states, 2), stretches), 3 / 8
    )


def test_chains_that_are_too_short_are_named():
    for function in (blueprint.cut, blueprint.state_batches, blueprint.copy_batches):
        with pytest.raises(
            InputError, match="no chain has 10 residues: give longer chains, or cut"
        ):
            function([CHAIN], 10)


def test_hidden_residues_are_a_tenth():
    source = np.asarray(blueprint.state_batches(ts50(), 32, size=400)(0).source)
    share = (source == 20).mean()  # TS50 itself has 0.1 % of X
    assert abs(share - tasks.HIDDEN_RESIDUES) < 0.015  # 5 standard errors
