"""Writing with the cache against reading everything again, in float64.

Asked for is 1e-10; measured 1e-14. Multiplications are counted by PyTorch on its own pass.
"""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from esmkit.errors import InputError, OptionError
from esmkit.reference import transformer as blueprint
from oracles.transformer_torch import TorchTransformer, perturbed

TOLERANCE = 1e-10
SOURCE = np.random.default_rng(3).integers(0, 21, (2, 9))
PRESENT = np.arange(9) < np.array([9, 6])[:, None]
BEGIN = np.zeros((2, 1), int)

every_kind = pytest.mark.parametrize("positions", blueprint.POSITIONS)


def both(positions: str = "rotary") -> blueprint.Transformer:
    sizes = {"width": 24, "heads": 3, "layers": 2, "positions": positions, "longest": 20}
    generator = np.random.default_rng(4)
    return perturbed(blueprint.random_transformer(generator, source_tokens=21, tokens=5, **sizes))


def alone(positions: str = "rotary") -> blueprint.DecoderOnly:
    sizes = {"width": 24, "heads": 3, "layers": 2, "positions": positions, "longest": 20}
    generator = np.random.default_rng(5)
    return perturbed(blueprint.random_decoder_only(generator, tokens=21, **sizes))


@every_kind
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_cache_changes_nothing(positions, temperature):
    cases = (
        (both(positions), BEGIN, {"source": SOURCE, "source_present": PRESENT}),
        (alone(positions), SOURCE, {"places": np.r_[0:9, 0:7]}),
    )
    for model, ids, given in cases:
        given |= {"temperature": temperature, "seed": 11}
        kept = blueprint.generate(model, ids, 8, **given)
        again = blueprint.generate(model, ids, 8, cached=False, **given)
        np.testing.assert_array_equal(kept.ids, again.ids)
        np.testing.assert_allclose(kept.logits, again.logits, rtol=0, atol=TOLERANCE)
        assert again.cache is None
        assert np.ptp(kept.logits, axis=1).max() > 1e-3  # letters are not scored all alike


@every_kind
def test_what_is_written_is_what_a_pass_over_it_says(positions):
    """Teacher forcing on the written letters gives the scores they were chosen by."""
    model = both(positions)
    done = blueprint.generate(model, BEGIN, 8, source=SOURCE)
    ids = np.concatenate([BEGIN, done.ids[:, :-1]], axis=1)
    with torch.no_grad():
        expected = TorchTransformer(model).logits(ids, source=SOURCE).numpy()
    np.testing.assert_allclose(done.logits, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(done.ids, expected.argmax(axis=-1))


def test_tokens_may_be_read_in_pieces_of_any_size():
    model = alone()
    whole = blueprint.forward(model, SOURCE).logits
    for cuts in ([4], [1, 2, 8], [8]):
        cache = blueprint.start_cache(model)
        parts = [blueprint.step(model, part, cache) for part in np.split(SOURCE, cuts, axis=1)]
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=TOLERANCE)
        assert cache.tokens == 9


def test_the_cache_holds_keys_and_values():
    cache = blueprint.generate(both(), BEGIN, 8, source=SOURCE).cache
    assert cache is not None
    pairs = 2 * 2  # keys and values of two layers
    assert cache.tokens == 8
    assert [key.shape for key, _ in cache.written] == [(2, 3, 8, 8)] * 2
    assert [value.shape for _, value in cache.source] == [(2, 3, 9, 8)] * 2
    assert cache.nbytes == pairs * 2 * 24 * (8 + 9) * 8
    assert blueprint.start_cache(alone()).tokens == 0


def test_draws_follow_the_temperature():
    """Shares of 20,000 draws within 5 standard errors (0.0035 each) of softmax(logits / t)."""
    logits = np.tile([1.0, 0.0, -1.0, 5.0], (20_000, 1))
    for temperature in (0.5, 1.0, 3.0):
        drawn = blueprint.choose(logits, np.random.default_rng(0), temperature, choices=[0, 1, 2])
        shares = np.bincount(drawn, minlength=4) / len(drawn)
        expected = torch.softmax(torch.tensor(logits[0, :3]) / temperature, dim=0).numpy()
        np.testing.assert_allclose(shares, [*expected, 0], rtol=0, atol=5 * 0.0035)


def test_a_seed_writes_the_same_again_and_another_does_not():
    given = {"source": SOURCE, "temperature": 2.0}
    first, again, other = (
        blueprint.generate(both(), BEGIN, 8, seed=seed, **given).ids for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    chosen = blueprint.generate(both(), BEGIN, 8, choices=[1, 3], **given).ids
    assert set(np.unique(chosen)) == {1, 3}


def products(run) -> int:
    """Multiplications of all matrix products, as PyTorch counts: two operations for each."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def test_multiplications_without_a_cache_are_what_torch_does():
    model, letters = both(), 5
    reads = TorchTransformer(model)
    expected = sum(
        products(lambda t=t: reads.logits(np.zeros((1, t), int), source=SOURCE[:1]))
        for t in range(1, letters + 1)
    )
    actual = blueprint.multiplications(model, letters, source=9, cached=False)
    assert actual == expected
    model, reads = alone(), TorchTransformer(alone())
    expected = sum(products(lambda t=t: reads.logits(np.zeros((1, t), int))) for t in (4, 5, 6))
    assert blueprint.multiplications(model, 3, prompt=4, cached=False) == expected


def test_multiplications_with_a_cache_are_those_of_one_pass_where_all_is_new():
    """Prompt read at once: the same as PyTorch's one pass. Letter by letter: fewer, no future."""
    model, reads = alone(), TorchTransformer(alone())
    expected = products(lambda: reads.logits(np.zeros((1, 6), int)))
    assert blueprint.multiplications(model, 1, prompt=6) == expected
    hidden = 2 * 24 * 2 * (5 * 6 // 2)  # scores and values of the 15 pairs under the mask, 2 layers
    assert blueprint.multiplications(model, 6) == expected - hidden
    both_reads = TorchTransformer(both())
    expected = products(lambda: both_reads.logits(np.zeros((1, 6), int), source=SOURCE[:1]))
    assert blueprint.multiplications(both(), 6, source=9) == expected - hidden


def test_bad_input_is_named():
    with pytest.raises(
        OptionError, match="temperature -1: give 0 for the likeliest letter, or more"
    ):
        blueprint.generate(alone(), SOURCE, 3, temperature=-1)
    with pytest.raises(OptionError, match="letters is 0; give a whole number of 1 or more"):
        blueprint.generate(alone(), SOURCE, 0)
    with pytest.raises(InputError, match="3 places: these letters need 11"):
        blueprint.generate(alone(), SOURCE, 3, places=[0, 1, 2])
    with pytest.raises(InputError, match="a Transformer reads a source"):
        blueprint.generate(both(), BEGIN, 3)
    with pytest.raises(InputError, match="a DecoderOnly has no encoder"):
        blueprint.generate(alone(), BEGIN, 3, source=SOURCE)


@pytest.mark.parametrize("break_it", ["keys not turned", "old keys lost"])
def test_mutation_is_caught(break_it, monkeypatch):
    from esmkit.reference.transformer import generation

    right = generation._keys_and_values

    def wrong(x, p, heads, rotary):
        if break_it == "keys not turned":
            return right(x, p, heads, None)
        key, value = right(x, p, heads, rotary)
        return key * 0, value

    monkeypatch.setattr(generation, "_keys_and_values", wrong)
    with pytest.raises(AssertionError):
        test_the_cache_changes_nothing("rotary", 0.0)
