"""Adam against PyTorch's, batches, training from nothing, and what is measured of it."""

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR
from transformers import EsmForMaskedLM

import esmkit
from esmkit.data import training_proteins
from esmkit.errors import InputError, OptionError, OutputError
from esmkit.reference import encode, masked_lm_logits, training
from esmkit.reference.training import MaskedLm
from esmkit.reference.training.batches import LETTER_TOKENS
from esmkit.sequences.proteins import AMINO_ACIDS, Protein
from esmkit.sequences.tokens import EOS, MASK, PAD
from esmkit.sequences.tokens import encode as tokens_of


@pytest.fixture(scope="module")
def proteins() -> list[Protein]:
    return training_proteins()[:60]


@pytest.fixture(scope="module")
def held_out() -> training.Batch:
    return training.held_out_batch(training_proteins("held_out")[:40], tokens=24, crops=60)


NO_BATCH: Any = None
"""Where what else was given is refused before any batch is looked at."""


def small(seed: int = 0, *, layers: int = 1, hidden: int = 32) -> MaskedLm:
    return training.random_masked_lm(seed, layers=layers, heads=2, width=16, hidden=hidden)


# ------------------------------------------------------------------------------- optimizer


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_equals_pytorchs(decay: float):
    generator = np.random.default_rng(0)
    start = {"w": generator.normal(size=(3, 2)), "b": [generator.normal(size=3)]}
    leaves = [torch.tensor(a, requires_grad=True) for a in training.tree_arrays(start).values()]
    groups = [{"params": leaves[:1], "weight_decay": decay}, {"params": leaves[1:]}]
    theirs = torch.optim.AdamW(groups, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.0)
    ours, tree = training.Adam(0.05, first=0.8, second=0.95, eps=1e-6, decay=decay), start
    for step in range(12):
        gradients = training.tree_map(lambda a: generator.normal(size=a.shape) * 3, start)
        for leaf, gradient in zip(leaves, training.tree_arrays(gradients).values(), strict=True):
            leaf.grad = torch.tensor(gradient)
        rate = 0.05 if step < 6 else 0.02
        for group in theirs.param_groups:
            group["lr"] = rate
        theirs.step()
        tree = ours.step(tree, gradients, rate)
    for array, leaf in zip(training.tree_arrays(tree).values(), leaves, strict=True):
        np.testing.assert_allclose(array, leaf.detach().numpy(), rtol=0, atol=1e-13)
    assert np.abs(tree["w"] - start["w"]).max() > 0.1


def test_clipping_equals_pytorchs():
    generator = np.random.default_rng(1)
    tree = {"a": generator.normal(size=(4, 3)), "b": (generator.normal(size=5), 7)}
    leaves = [torch.zeros(a.shape) for a in training.tree_arrays(tree).values()]
    for leaf, array in zip(leaves, training.tree_arrays(tree).values(), strict=True):
        leaf.grad = torch.tensor(array).float()
    length = torch.nn.utils.clip_grad_norm_(leaves, 0.7).item()
    clipped, found = training.clip_gradients(tree, 0.7)
    assert found == pytest.approx(length, rel=1e-6)
    for array, leaf in zip(training.tree_arrays(clipped).values(), leaves, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(array, leaf.grad.numpy(), rtol=1e-5)  # theirs adds 1e-6
    assert clipped["b"][1] == 7
    assert training.clip_gradients(tree, 100)[0] is tree


def test_the_rate_falls_as_pytorchs_cosine():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    schedule = CosineAnnealingLR(optimizer, 20)
    for step in range(21):
        rate = training.learning_rate(step + 5, 25, 0.3, warm_up=5)
        assert rate == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()
    assert [training.learning_rate(s, 25, 0.3, warm_up=5) for s in (0, 4)] == pytest.approx(
        [0.06, 0.3]
    )


@pytest.mark.parametrize(
    "wrong", [{"rate": 0.0}, {"first": 1.0}, {"second": -0.1}, {"eps": 0.0}, {"decay": -1.0}]
)
def test_adam_refuses(wrong: dict[str, float]):
    with pytest.raises(
        OptionError, match="rate and eps are above 0, first and second from 0 up to"
    ):
        training.Adam(**{"rate": 0.1, **wrong})


def test_trees_of_other_forms_are_refused():
    with pytest.raises(InputError, match=r"^the trees differ in form: dict with \['a'\]$"):
        training.tree_map(np.add, {"a": np.ones(1)}, {"b": np.ones(1)})
    with pytest.raises(InputError, match=r"^the trees differ in form: list with \[0\]$"):
        training.tree_map(np.add, [np.ones(1)], np.ones(1))


def test_one_array_is_replaced():
    model = small(layers=2)
    name = "encoder.layers.1.attention.key.weight"
    other = training.tree_replace(model, name, np.ones((16, 16)))
    assert (other.encoder.layers[1].attention.key.weight == 1).all()
    before, after = training.tree_arrays(model), training.tree_arrays(other)
    assert [n for n in before if (before[n] != after[n]).any()] == [name]
    with pytest.raises(
        InputError, match=r"^there is no array 'x'; there are encoder.embedding, enc"
    ):
        training.tree_replace(model, "x", np.ones(1))
    with pytest.raises(InputError, match=r"^bias is of shape \(33,\), not \(3,\)$"):
        training.tree_replace(model, "bias", np.ones(3))


# --------------------------------------------------------------------------------- batches


def test_crops_hold_every_residue_once(proteins):
    crops = training.crops_of(proteins, 24)
    again = "".join(_letters(row) for row in crops)
    whole = "".join(
        p.sequence
        if len(p.sequence) % 22 == 0 or 3 * (len(p.sequence) % 22) >= 22
        else p.sequence[: -(len(p.sequence) % 22)]
        for p in proteins
    )
    assert again == whole
    assert set(crops[:, 0]) == {0}
    assert all(EOS in row for row in crops)
    assert (crops == PAD).any()


def _letters(row: np.ndarray) -> str:
    table = dict(zip(LETTER_TOKENS.tolist(), AMINO_ACIDS, strict=True))
    return "".join(table[token] for token in row.tolist() if token in table)


def test_hidden_as_bert_does():
    targets = training.crops_of(training_proteins()[:800], 64)
    before = targets.copy()
    batch = training.hide(targets, np.random.default_rng(0))
    np.testing.assert_array_equal(targets, before)
    residue = np.isin(targets, LETTER_TOKENS)
    assert not batch.chosen[~residue].any()
    assert (batch.ids == targets)[~batch.chosen].all()
    # binomial: some 175,000 residues, 26,000 chosen, so the shares are known to 0.0009 and 0.0025
    assert batch.chosen[residue].mean() == pytest.approx(0.15, abs=0.003)
    chosen, right = batch.ids[batch.chosen], targets[batch.chosen]
    assert (chosen == MASK).mean() == pytest.approx(0.8, abs=0.009)
    assert (chosen == right).mean() == pytest.approx(0.1 + 0.1 / 20, abs=0.009)
    plain = training.hide(targets, np.random.default_rng(0), corrupt=False)
    assert set(plain.ids[plain.chosen]) == {MASK}
    np.testing.assert_array_equal(plain.chosen, batch.chosen)
    few = training.hide(targets, np.random.default_rng(0), share=1e-9)
    np.testing.assert_array_equal(few.chosen.sum(axis=1), 1)


def test_a_batch_is_drawn_by_seed(proteins):
    draws = [
        training.random_batch(proteins, np.random.default_rng(s), size=5, tokens=30)
        for s in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0].ids, draws[1].ids)
    assert (draws[0].targets != draws[2].targets).any()
    assert draws[0].ids.shape == (5, 30)
    sequences = " ".join(p.sequence for p in proteins)
    assert all(_letters(row) in sequences for row in draws[0].targets)


def test_rows_are_repeated():
    crops = training.crops_of(training_proteins()[:40], 64)
    rows = training.repeat_rows(crops, np.random.default_rng(0))
    periods = collections.Counter()
    for before, row in zip(crops, rows, strict=True):
        old, new = _letters(before), _letters(row)
        assert len(new) == len(old)
        np.testing.assert_array_equal(row == PAD, before == PAD)
        fits = [
            n for n in range(len(new) // 5, len(new) // 2 + 1) if new == (old[:n] * 6)[: len(new)]
        ]
        assert fits
        if len(new) == 62:
            periods[fits[0]] += 1
    assert len(periods) > 12
    assert min(periods) >= 12
    assert max(periods) <= 31


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: training.crops_of(p, 2), OptionError, "tokens 2: at least 3, for two of them"),
        (
            lambda p: training.crops_of([], 9),
            InputError,
            "there is no protein to cut; give at least",
        ),
        (
            lambda p: training.hide(training.crops_of(p, 9), np.random.default_rng(0), share=1.0),
            OptionError,
            "share 1.0: above 0 and below 1",
        ),
        (
            lambda p: training.train(small(), p, NO_BATCH, steps=0),
            OptionError,
            "steps is 0; give a whole number of 1 or more",
        ),
        (
            lambda p: training.train(small(), [], NO_BATCH, steps=1),
            InputError,
            "there is no protein to train on; give at least one",
        ),
        (
            lambda p: training.counting_losses([], NO_BATCH),
            InputError,
            "nothing to count in, or nothing to guess; give proteins and a batch",
        ),
        (
            lambda p: training.offset_shares(small(), np.full((1, 5), PAD)),
            InputError,
            "every crop has padding or masks; give at least one without",
        ),
        (
            lambda p: training.offset_shares(small(), training.crops_of(p, 6), [4]),
            OptionError,
            "offsets [4]: crops of 4 residues have no such pairs",
        ),
    ],
)
def test_what_is_refused(call, error, message, proteins):
    with pytest.raises(error) as raised:
        call(proteins)
    assert str(raised.value).startswith(message)


# -------------------------------------------------------------------------------- training


def test_training_learns_and_is_the_same_again(proteins, held_out):
    options = {"steps": 40, "batch": 16, "tokens": 24, "rate": 1e-2, "warm_up": 5, "look_at": [20]}
    said: list[dict[str, float]] = []
    first = training.train(small(), proteins, held_out, **options, say=said.append)
    again = training.train(small(), proteins, held_out, **options)
    assert first.history == again.history == said
    assert [row["step"] for row in said] == [0, 20, 40] == list(first.snapshots)
    assert [row["tokens"] for row in said] == [0, 20 * 16 * 24, 40 * 16 * 24]
    assert said[0]["held_out_loss"] == pytest.approx(math.log(33), abs=0.3)
    # letters alone reach 2.9; 40 steps are enough to come near
    assert 2.8 < said[2]["held_out_loss"] < 3.0
    assert 2.8 < said[2]["training_loss"] < 3.0
    assert said[2]["perplexity"] == pytest.approx(math.exp(said[2]["held_out_loss"]))
    assert first.model is first.snapshots[40]
    arrays = training.tree_arrays(first.model)
    for name, array in training.tree_arrays(again.model).items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == np.float32
    frequencies = first.model.encoder.inverse_frequencies
    np.testing.assert_array_equal(frequencies, small().encoder.inverse_frequencies)


def test_the_loss_does_not_depend_on_pieces(held_out):
    model = small()
    rows = np.random.default_rng(0).choice(len(held_out.ids), 150)
    many = training.Batch(held_out.ids[rows], held_out.targets[rows], held_out.chosen[rows])
    whole = training.masked_lm_loss(model, many.ids, many.targets, many.chosen)
    assert training.loss_of(model, many) == pytest.approx(whole, rel=1e-6)


# -------------------------------------------------------------------------------- measures


def test_counting_by_hand():
    """Letters one by one, in plain Python."""
    trained, asked = Protein("P", "ACACAD", "P"), Protein("Q", "ACDA", "Q")
    ids = tokens_of(asked.sequence)[None]
    chosen = np.array([[False, False, True, False, False, False]])  # the C
    batch = training.Batch(np.where(chosen, MASK, ids), ids, chosen)
    found = training.counting_losses([trained], batch)
    counts = collections.Counter(trained.sequence)
    letters = {a: (counts[a] + 1) / 26 for a in AMINO_ACIDS}
    shown = collections.Counter("ADA")
    own = {a: (shown[a] + 100 * letters[a]) / 103 for a in AMINO_ACIDS}
    after_a = {"C": 2, "D": 1}
    left = {a: (after_a.get(a, 0) + 100 * letters[a]) / 103 for a in AMINO_ACIDS}
    before_d = {"A": 1}
    right = {a: (before_d.get(a, 0) + 100 * letters[a]) / 101 for a in AMINO_ACIDS}
    both = {a: left[a] * right[a] / letters[a] for a in AMINO_ACIDS}
    expected = {
        "letters": letters["C"],
        "own letters": own["C"],
        "two neighbours": both["C"] / sum(both.values()),
    }
    assert found == pytest.approx({name: -math.log(p) for name, p in expected.items()}, rel=1e-12)


def test_offset_shares_by_hand():
    model = small(3, layers=2)
    ids = training.crops_of(training_proteins("held_out")[:3], 12)
    ids = ids[(ids != PAD).all(axis=1)][:40]
    found = training.offset_shares(model, ids, [-3, 0, 1])
    maps = encode(model.encoder, ids, attentions=True).attentions
    assert maps is not None
    for place, offset in enumerate((-3, 0, 1)):
        pairs = [(i, i + offset) for i in range(1, 11) if 1 <= i + offset <= 10]
        expected = [[np.mean([w[:, h, i, j] for i, j in pairs]) for h in range(2)] for w in maps]
        np.testing.assert_allclose(found[:, :, place], expected, rtol=1e-5)


def test_copy_shares_by_hand():
    model = small(4, layers=2)
    batch = training.held_out_batch(training_proteins("held_out")[:6], tokens=30, repeated=True)
    found, chance = training.copy_shares(model, batch)
    maps = encode(model.encoder, batch.ids, attentions=True).attentions
    assert maps is not None
    weights, alike = [], []
    for row, place in np.argwhere(batch.chosen):
        shown = batch.ids[row].tolist()
        there = [n for n, token in enumerate(shown) if token == batch.targets[row, place]]
        weights.append([[float(w[row, h, place, there].sum()) for h in range(2)] for w in maps])
        alike.append(len(there) / sum(token != PAD for token in shown))
    np.testing.assert_allclose(found, np.mean(weights, axis=0), rtol=1e-5)
    assert chance == pytest.approx(np.mean(alike))
    assert (batch.ids == PAD).any()


def test_letter_similarity_by_hand():
    model = small()
    found = training.letter_similarity(model)
    vectors = model.encoder.embedding[tokens_of(AMINO_ACIDS)[1:-1]].astype(float)
    a, c = (vectors[n] - vectors.mean(axis=0) for n in (0, 1))
    expected = a @ c / np.sqrt((a @ a) * (c @ c))
    assert found[0, 1] == found[1, 0] == pytest.approx(expected)
    np.testing.assert_allclose(np.diagonal(found), 1)


# ---------------------------------------------------------------------------------- saving


def test_a_saved_network_is_the_same_in_transformers_and_esmkit(tmp_path: Path):
    model = small(5, layers=2, hidden=64)
    bias = np.random.default_rng(0).normal(size=33).astype(np.float32)
    model = MaskedLm(model.encoder, model.dense, model.norm, bias)
    folder = training.save_checkpoint(model, tmp_path / "small")
    ids = tokens_of("MKTAYIAKQR")[None]
    ours = masked_lm_logits(encode(model.encoder, ids), model.head)
    with torch.no_grad():
        theirs = EsmForMaskedLM.from_pretrained(folder).eval()(torch.tensor(ids)).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-5)  # float32, logits up to 3
    loaded = esmkit.load(folder, "cpu")
    np.testing.assert_allclose(loaded.logits("MKTAYIAKQR"), ours[0, 1:-1], atol=2e-5)
    with pytest.raises(OutputError, match=r"small exists already; give a new or empty folder$"):
        training.save_checkpoint(model, folder)
    with pytest.raises(OptionError, match=r"^hidden 32 with width 16: a checkpoint needs 64$"):
        training.save_checkpoint(small(), tmp_path / "other")
