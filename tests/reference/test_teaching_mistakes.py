"""What a learner types by mistake: each is refused in one sentence that says what to give."""

# pyright: reportArgumentType=false, reportCallIssue=false
# what is typed here is wrong on purpose

import numpy as np
import pytest
import torch

import esmkit
from esmkit.errors import InputError, OptionError
from esmkit.reference import Affine, recurrent, training, transformer

PROTEINS = [esmkit.Protein(f"P{n}", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEV" * 2) for n in range(3)]
SIZES = {"width": 8, "heads": 2, "layers": 1}
ONE = np.zeros((1, 1), int)
SOURCE = np.zeros((1, 4), int)


def small() -> training.MaskedLm:
    return training.random_masked_lm(0, layers=1, heads=1, width=4, hidden=4)


def held_out(**options) -> training.Batch:
    return training.held_out_batch(PROTEINS, tokens=16, **options)


def nothing_asked() -> training.Batch:
    batch = held_out()
    return training.Batch(batch.ids, batch.targets, np.zeros_like(batch.chosen))


def learn(**options):
    return training.train(small(), PROTEINS, held_out(), **{"steps": 1, "tokens": 16} | options)


def both(**options) -> transformer.Transformer:
    return transformer.random_transformer(
        np.random.default_rng(0), source_tokens=21, tokens=5, **SIZES | options
    )


def alone() -> transformer.DecoderOnly:
    return transformer.random_decoder_only(np.random.default_rng(0), tokens=26, **SIZES)


def write(**options):
    return transformer.generate(both(), ONE, 2, source=SOURCE, **options)


def lstm(**options) -> recurrent.RecurrentNetwork:
    return recurrent.RecurrentNetwork(**{"width": 4, "layers": 1} | options)


def stretches() -> transformer.Stretches:
    return transformer.cut(esmkit.data.ts50()[:1], 8)


AFFINE = Affine(np.zeros((3, 4)), np.zeros(3))
CASES = [
    (lambda: esmkit.data.training_proteins("test"), "part 'test'; give 'train' or 'held_out'"),
    # ------------------------------------------------------------------ training: numbers
    (lambda: learn(steps=-3), "steps is -3; give a whole number of 1 or more"),
    (lambda: learn(steps=2.5), "steps is 2.5 (a float); give a whole number of 1 or more"),
    (lambda: learn(batch=0), "batch is 0; give a whole number"),
    (lambda: learn(warm_up=-1), "warm_up is -1; give a whole number of 0 or more"),
    (lambda: learn(clip=-1.0), "clip is -1.0 (a float); give a number above 0"),
    (lambda: learn(rate=float("nan")), "rate is nan (a float); give a number above 0"),
    (lambda: learn(look_at=[9]), "look_at has 9; there are steps 0 to 1"),
    (lambda: held_out(crops=0), "crops is 0; give a whole number of 1 or more"),
    (lambda: held_out(seed=-1), "seed is -1; give a whole number of 0 or more"),
    (lambda: training.random_masked_lm(-1), "seed is -1; give"),
    (lambda: training.random_masked_lm(0, dtype="float16"), "dtype 'float16': give 'float32' or"),
    (lambda: training.random_masked_lm(0, dtype="abc"), "dtype 'abc': give 'float32' or"),
    (
        lambda: training.random_batch(PROTEINS, np.random.default_rng(0), size=0, tokens=9),
        "size is 0; give",
    ),
    (lambda: training.clip_gradients({"a": np.ones(2)}, -1), "largest is -1; give a number above"),
    (lambda: training.learning_rate(-1, 5, 1.0), "step is -1; give"),
    (lambda: training.learning_rate(9, 5, 1.0), "step 9: there are 5"),
    # ----------------------------------------------------------- training: proteins, nothing
    (
        lambda: training.train(small(), "MKT", held_out(), steps=1),
        "proteins to train on are 'MKT'; give a list of Protein",
    ),
    (lambda: training.crops_of(["MKT"], 4), "protein 0 is 'MKT'; give a Protein, such as"),
    (
        lambda: training.random_batch([], np.random.default_rng(0), size=1, tokens=9),
        "there is no protein to draw from; give at least one",
    ),
    (
        lambda: training.random_batch(
            [esmkit.Protein("P", "")], np.random.default_rng(0), size=1, tokens=9
        ),
        "all proteins are empty; give at least one with residues",
    ),
    (
        lambda: training.held_out_batch([esmkit.Protein("P", "X" * 20)], tokens=8),
        "sequence 0 has none of the 20 amino acids: nothing can be asked for",
    ),
    (
        lambda: training.train(small(), PROTEINS, PROTEINS, steps=1),
        "the batch is a list; make one with held_out_batch",
    ),
    (lambda: training.loss_of(small(), nothing_asked()), "no residue of the batch is asked for"),
    (lambda: training.copy_shares(small(), nothing_asked()), "no residue of the batch is asked"),
    (
        lambda: training.offset_shares(small(), training.crops_of(PROTEINS, 8), []),
        "there is no offset to look at; give at least one",
    ),
    # -------------------------------------------------------------- gradients: shapes, kinds
    (
        lambda: training.linear_backward(np.zeros((2, 5)), np.zeros((2, 4)), AFFINE),
        "gradient of linear_backward is of shape (2, 5); it needs (2, 3)",
    ),
    (
        lambda: training.linear_backward(np.zeros((2, 3)), np.zeros((2, 5)), AFFINE),
        "x of linear_backward is of shape (2, 5); it needs (2, 4)",
    ),
    (
        lambda: training.layer_norm_backward(np.zeros((2, 5)), np.zeros((2, 4)), AFFINE),
        "gradient of layer_norm_backward is of shape (2, 5); it needs (2, 4)",
    ),
    (lambda: training.gelu_backward(np.ones(3), np.ones(4)), "gradient of gelu_backward is of"),
    (lambda: training.relu_backward(np.ones(3), np.ones(4)), "gradient of relu_backward is of"),
    (
        lambda: training.softmax_backward(np.ones(3), np.ones(2)),
        "gradient of softmax_backward is of shape (3,); it needs (2,)",
    ),
    (
        lambda: training.embedding_backward(np.zeros((2, 3, 4)), [[1, 2]], 5),
        "gradient of embedding_backward is of shape (2, 3, 4); it needs (1, 2, 4)",
    ),
    (
        lambda: training.embedding_backward(np.zeros((1, 2, 4)), [[-1, 2]], 5),
        "ids -1 to 2: the vocabulary is 0 to 4",
    ),
    (lambda: training.cross_entropy(np.zeros((1, 3)), [1.5]), "targets are float64; give token"),
    (
        lambda: training.Adam(0.1).step({"a": np.ones(2)}, {"a": np.ones(3)}),
        "a gradient (3,) for a parameter (2,)",
    ),
    (
        lambda: training.Adam(0.1).step({"a": np.ones(2, int)}, {"a": np.ones(2)}),
        "a is int64: Adam moves numbers with a fraction",
    ),
    (
        lambda: training.tree_map(np.add, {"a": np.ones(2)}, {"a": 3}),
        "the trees differ in form: one has an array where another has none",
    ),
    # ---------------------------------------------------------------------------- writing
    (lambda: write(temperature=-1), "temperature -1: give 0 for the likeliest letter, or more"),
    (lambda: write(temperature=float("nan")), "temperature nan: give 0"),
    (lambda: write(temperature=float("inf")), "temperature inf: give 0"),
    (lambda: write(temperature="1"), "temperature '1': give 0"),
    (lambda: write(seed=-1), "seed is -1; give"),
    (lambda: write(choices=[]), "choices []: give token ids from 0 to 4, at least one"),
    (lambda: write(choices=[9]), "choices [9]: give token ids from 0 to 4, at least one"),
    (
        lambda: transformer.generate(both(), [3], 2, source=SOURCE),
        "ids (1,): give (sequences, tokens), at least a begin token",
    ),
    (
        lambda: transformer.step(both(), ONE, transformer.Cache([], [])),
        "the cache is not of this model; make one with start_cache",
    ),
    (
        lambda: transformer.step(
            both(), np.zeros((2, 1), int), transformer.start_cache(both(), source=SOURCE)
        ),
        "2 sequences beside a cache of 1; give as many",
    ),
    (lambda: transformer.multiplications(both(), -2), "letters is -2; give"),
    (
        lambda: transformer.forward(both(), ONE, source=SOURCE, places=[-1]),
        "places [-1]: give whole numbers from 0",
    ),
    (
        lambda: transformer.forward(
            both(positions="learned", longest=3), np.zeros((1, 4), int), source=ONE
        ),
        "4 tokens, but positions were learned for 3 only",
    ),
    # -------------------------------------------------------------- sizes, positions, tasks
    (lambda: both(heads=0), "heads is 0; give a whole number of 1 or more"),
    (lambda: both(layers=0), "layers is 0; give"),
    (lambda: both(positions="learned", longest=0), "longest is 0; give"),
    (lambda: both(width=15, heads=3), "width 15: sinusoidal positions need an even width"),
    (
        lambda: both(width=15, heads=3, positions="rotary"),
        "heads of width 5: rotary positions need an even width",
    ),
    (lambda: transformer.sinusoidal_positions(-1, 4), "tokens is -1; give"),
    (lambda: transformer.learned_positions(np.zeros((3, 2)), -1), "tokens is -1; give"),
    (lambda: transformer.rotary_angles(3, 4, "float64"), "places of shape (): give a list"),
    (lambda: transformer.causal_mask(-1), "tokens is -1; give"),
    (lambda: transformer.cut(esmkit.data.ts50()[:1], 0), "length is 0; give"),
    (lambda: transformer.cut(["MKT"], 2), "a chain is 'MKT'; give structures, such as"),
    (lambda: transformer.state_batches(esmkit.data.ts50()[:1], -3), "length is -3; give"),
    (lambda: transformer.copy_batches(esmkit.data.ts50()[:1], 8, size=0), "size is 0; give"),
    (lambda: transformer.train(both(), lambda step: None, -3), "steps is -3; give"),
    (lambda: transformer.train(both(), None, 1), "batch_of is None; give the function that"),
    (
        lambda: transformer.train(both(), print, 1, dtype="float16"),
        "dtype 'float16': give 'float32' or 'float64'",
    ),
    (lambda: transformer.score_states(both(), "MKT"), "residues are text; give ids, such as"),
    (
        lambda: transformer.score_states(both(), [1, 2]),
        "residues (2,): give whole numbers (stretches, residues)",
    ),
    (lambda: transformer.write_states(both(), [[1, 40]]), "residue id 40: ids of RESIDUES are 0"),
    (
        lambda: transformer.score_states(both(), SOURCE, np.zeros((1, 2), int)),
        "history (1, 2): give a letter, or -1, for each of the residues",
    ),
    (
        lambda: transformer.accuracy(np.zeros((1, 3)), stretches()),
        "written of accuracy is of shape (1, 3); it needs",
    ),
    # -------------------------------------------------------------------------- recurrent
    (lambda: lstm(width=0), "width is 0; give a whole number of 1 or more"),
    (lambda: recurrent.TransformerNetwork(layers=0), "layers is 0; give"),
    (lambda: lstm()("MKT"), "numbers are 'MKT'; give a tensor (sequences, places), such as"),
    (lambda: lstm()(torch.tensor([[50]])), "numbers 50 to 50; give 0 to 21, as letter_numbers"),
    (lambda: recurrent.train(lstm(), PROTEINS, steps=1, rate=-1), "rate is -1; give a number"),
    (lambda: recurrent.train(small(), PROTEINS, steps=1), "the network is a MaskedLm; give a"),
    (
        lambda: recurrent.train(lstm(), ["MKT-J"], steps=1),
        "residue 4: '-' has no token in ESM-2; use one of the 20 amino acids or X",
    ),
    (lambda: recurrent.train(lstm(), "MKT", steps=1), "the sequences are 'MKT'; give a list of"),
    (lambda: recurrent.letter_numbers(None), "a sequence is None; give text or a Protein"),
    (lambda: recurrent.held_out_losses(lstm(), []), "there is no sequence; give one or more"),
    (lambda: recurrent.held_out_losses(lstm(), ["XX"]), "a protein without any of the 20 amino"),
    (lambda: recurrent.letter_losses([], ["MKT"]), "there is no sequence; give one or more"),
    (lambda: recurrent.bigram_losses(["MKT"], []), "there is no sequence; give one or more"),
    (lambda: recurrent.influence(lstm(), []), "there is no sequence; give one or more"),
    (lambda: recurrent.train(lstm(), ["XX"], steps=1), "no stretch has any of the 20 amino"),
    (lambda: recurrent.train_recall(lstm(), steps=-1, longest=5), "steps is -1; give"),
    (
        lambda: recurrent.time_by_length({}, [8]),
        "the networks are an empty dict; give a dict of one or more by name",
    ),
    (lambda: recurrent.time_by_length({"a": lstm()}, []), "there is no length; give one or more"),
    (lambda: recurrent.growth([0, 2], [1, 2]), "lengths and times are above 0, and of two"),
    (lambda: recurrent.growth([2, 2], [1, 2]), "lengths and times are above 0, and of two"),
    (
        lambda: recurrent.step_by_step_share(recurrent.TransformerNetwork(), 8),
        "a TransformerNetwork has no part that goes place by place",
    ),
]


@pytest.mark.parametrize(("call", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_a_mistake_is_refused_in_words(call, message):
    with pytest.raises((InputError, OptionError)) as raised:
        call()
    assert str(raised.value).startswith(message)


def test_lists_and_nearly_no_temperature_are_taken():
    assert training.cross_entropy([[0, 0]], [1])[0] == pytest.approx(np.log(2), abs=1e-12)
    assert training.relu_backward([1.0, 2.0], [-1.0, 1.0]).tolist() == [0.0, 2.0]
    assert training.gelu_backward([2.0], [0.0]).tolist() == [1.0]  # half of the slope of 2 z
    assert transformer.score_states(both(), [[1, 2]]).shape == (1, 2, 3)
    for dtype in ("float64", np.float64, np.dtype("float64")):
        drawn = training.random_masked_lm(0, layers=1, heads=1, width=4, hidden=4, dtype=dtype)
        assert drawn.bias.dtype == np.float64
    coldest = transformer.choose([[0.0, 2.0, 1.0]], np.random.default_rng(0), 1e-320)
    assert coldest.tolist() == [1]
