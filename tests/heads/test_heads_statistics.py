"""Statistics of heads: tails, corrections, intervals, support; each against another computation."""

import inspect
from typing import Any

import numpy as np
import pytest
import scipy.stats

from esmkit.heads import statistics
from esmkit.heads.scores import BlockScores
from esmkit.heads.statistics import (
    MIN_ARCS,
    MIN_PROTEINS,
    Accumulator,
    benjamini_hochberg,
    bonferroni,
    inflation,
    tail,
)


def excess_of_shifts(rest: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The excess of one chain for every shift of its labels, by rolling them."""
    return np.array([(rest * np.roll(labels, (s, s), (0, 1))).sum() for s in range(len(labels))])


def simulated(kind: str, chains: int, random: np.random.Generator) -> list[np.ndarray]:
    """Excess for every shift, for chains with labels of a kind."""
    found = []
    for _ in range(chains):
        residues = int(random.integers(60, 110))
        weights = np.exp(random.normal(0, 1.5, (residues, residues)))
        weights /= weights.sum(1, keepdims=True)
        labels = np.zeros((residues, residues), bool)
        if kind == "dense":
            labels[:, random.random(residues) < 0.4] = True
        elif kind == "blocks":  # two helices
            for start in random.integers(0, residues - 16, 2):
                for i in range(start, start + 12):
                    labels[i, i + 4] = labels[i + 4, i] = True
        else:  # one disulfide
            i, j = random.choice(residues, 2, replace=False)
            labels[i, j] = labels[j, i] = True
        found.append(excess_of_shifts(weights - weights.mean(), labels))
    return found


# How many times a p value may be too small, at one in a thousand. The Pearson III distribution has
# three moments of the sum; with one labelled pair in each chain the tail is longer than that.
FACTOR = {"dense": 1.3, "blocks": 1.5, "one pair": 2.0}


@pytest.mark.parametrize("kind", FACTOR)
def test_tail_against_random_shifts(kind: str):
    random = np.random.default_rng(12)
    chains = simulated(kind, 15, random)
    draws = 200_000
    sums = sum(random.choice(excess, draws) for excess in chains)
    moments = [
        np.array([sum(((x - x.mean() * (k > 1)) ** k).mean() for x in chains)]) for k in (1, 2, 3)
    ]
    np.testing.assert_allclose(moments[1], np.var(sums), rtol=0.02)
    for p in (0.5, 0.2, 0.05, 0.01, 0.001):
        observed = np.quantile(sums, 1 - p)
        wanted = (sums >= observed).mean()
        found = tail(np.array([observed]), *moments)[0]
        error = 3 * np.sqrt(wanted * (1 - wanted) / draws)
        if p >= 0.05:
            assert abs(found - wanted) <= error + 0.1 * wanted
        assert found >= (wanted - error) / FACTOR[kind]


def test_tail_of_known_distributions():
    """No skew is the normal distribution; that of a gamma distribution is met exactly."""
    z = np.array([-2.0, 0.0, 1.0, 4.0])
    np.testing.assert_allclose(
        tail(3 + 2 * z, np.full(4, 3.0), np.full(4, 4.0), np.zeros(4)),
        scipy.stats.norm.sf(z),
        rtol=1e-10,
    )
    shape, x = 2.5, np.array([0.5, 2.0, 6.0, 15.0])
    ones = np.ones(4)
    np.testing.assert_allclose(
        tail(x, shape * ones, shape * ones, 2 * shape * ones),
        scipy.stats.gamma(shape).sf(x),
        rtol=1e-8,
    )
    np.testing.assert_allclose(
        tail(-x, -shape * ones, shape * ones, -2 * shape * ones),
        scipy.stats.gamma(shape).cdf(x),
        rtol=1e-8,
    )


def test_tail_where_nothing_varies():
    found = tail(np.array([1.0, 1.0]), np.array([0.0, 0.0]), np.array([0.0, 1e-30]), np.zeros(2))
    assert np.isnan(found).all()


def naive_benjamini_hochberg(p: list[float]) -> list[float]:
    """The least level at which the step-up procedure rejects each hypothesis."""
    known = sorted(x for x in p if not np.isnan(x))
    found = []
    for x in p:
        steps = [known[rank - 1] * len(known) / rank for rank in range(1, len(known) + 1)]
        later = [step for value, step in zip(known, steps, strict=True) if value >= x]
        found.append(min([*later, 1.0]) if not np.isnan(x) else np.nan)
    return found


@pytest.mark.parametrize("unknown", [False, True])
def test_corrections(unknown: bool):
    random = np.random.default_rng(3)
    p = np.concatenate([random.random(20), random.random(8) * 1e-3, [0.0, 1.0, 0.02, 0.02]])
    if unknown:
        p[[2, 25]] = np.nan
    tests = (~np.isnan(p)).sum()
    given_p = p.copy()
    q = benjamini_hochberg(p)
    np.testing.assert_allclose(q, naive_benjamini_hochberg(p.tolist()), rtol=1e-12)
    np.testing.assert_allclose(bonferroni(p), [min(x * tests, 1.0) if x == x else x for x in p])
    np.testing.assert_array_equal(p, given_p)
    square = p.reshape(4, -1)
    np.testing.assert_array_equal(benjamini_hochberg(square), q.reshape(4, -1))


def test_corrections_of_nothing():
    nothing = np.full(3, np.nan)
    assert np.isnan(benjamini_hochberg(nothing)).all()
    assert np.isnan(bonferroni(nothing)).all()


def scores(heads: int, properties: int, random: np.random.Generator) -> BlockScores:
    """Scores of one protein that are numbers and no more."""

    def some(*shape: int) -> np.ndarray:
        return random.random(shape)

    pairs = (heads, properties)
    return BlockScores(
        mass=50 + 50 * some(heads),
        hits=10 * some(*pairs),
        expected=5 * some(*pairs),
        mean=some(*pairs) - 0.5,
        variance=some(*pairs),
        third=some(*pairs) - 0.5,
        arcs=random.integers(0, 40, heads),
        arc_hits=10 * some(*pairs),
        arc_expected=5 * some(*pairs),
        profile=some(heads, 9),
        squares=some(heads, 3),
    )


def gathered(counts: np.ndarray, heads: int = 3, seed: int = 0):
    """An accumulator with a protein for each row of counts, and the scores of each."""
    random = np.random.default_rng(seed)
    accumulator = Accumulator(heads, counts.shape[1])
    every = [scores(heads, counts.shape[1], random) for _ in counts]
    for one, count in zip(every, counts, strict=True):
        accumulator.add(one, count)
    return accumulator, every


def test_effects_are_ratios_of_sums_over_proteins_with_the_property():
    random = np.random.default_rng(1)
    counts = random.integers(0, 3, (30, 4))
    accumulator, every = gathered(counts)
    effects = accumulator.effects(resamples=100, seed=0)
    for head in range(3):
        for place in range(4):
            have = [s for s, c in zip(every, counts[:, place], strict=True) if c]
            assert len(have) >= MIN_PROTEINS
            mass = sum(s.mass[head] for s in have)
            share = sum(s.hits[head, place] for s in have) / mass
            background = sum(s.expected[head, place] for s in have) / mass
            arcs = sum(s.arcs[head] for s in have)
            p = tail(
                np.array([(share - background) * mass]),
                *(
                    np.array([sum(getattr(s, name)[head, place] for s in have)])
                    for name in ("mean", "variance", "third")
                ),
            )
            apart = (share - background) * mass - sum(s.mean[head, place] for s in have)
            deviation = apart / np.sqrt(sum(s.variance[head, place] for s in have))
            np.testing.assert_allclose(accumulator.deviations()[head, place], deviation, rtol=1e-9)
            expected = {
                "share": share,
                "background": background,
                "difference": share - background,
                "p": p[0],
                "arc_share": sum(s.arc_hits[head, place] for s in have) / arcs,
                "arc_background": sum(s.arc_expected[head, place] for s in have) / arcs,
            }
            for name, value in expected.items():
                np.testing.assert_allclose(getattr(effects, name)[head, place], value, rtol=1e-12)
            for which in (0, 1):  # the first, third, ... protein, and the others
                half = [
                    s
                    for n, (s, c) in enumerate(zip(every, counts[:, place], strict=True))
                    if c and n % 2 == which
                ]
                value = sum(s.hits[head, place] - s.expected[head, place] for s in half) / sum(
                    s.mass[head] for s in half
                )
                np.testing.assert_allclose(effects.half[which, head, place], value, rtol=1e-12)
    np.testing.assert_array_equal(accumulator.proteins, (counts > 0).sum(0))
    np.testing.assert_array_equal(accumulator.labelled, counts.sum(0))


def test_inflation():
    """The mean square of heads that know nothing, never below 1."""
    deviations = np.array([[3.0, 0.1, np.nan, 2.0], [-1.0, 0.2, np.nan, np.nan]])
    np.testing.assert_allclose(inflation(deviations), [5.0, 1.0, 1.0, 4.0])


def test_an_inflated_null_is_wider_by_the_root_and_as_skewed():
    accumulator, _ = gathered(np.ones((30, 2), int))
    factor = np.array([1.0, 9.0])
    plain = accumulator.effects(resamples=100, seed=0)
    wide = accumulator.effects(resamples=100, seed=0, inflated=factor)
    np.testing.assert_array_equal(plain.p, plain.p_shift)
    np.testing.assert_array_equal(wide.p_shift, plain.p_shift)
    np.testing.assert_allclose(wide.p[:, 0], plain.p[:, 0], rtol=1e-12)
    _, variance, third = accumulator.moments
    wanted = scipy.stats.pearson3.sf(
        accumulator.deviations()[:, 1] / 3, (third / variance**1.5)[:, 1]
    )
    np.testing.assert_allclose(wide.p[:, 1], wanted, rtol=1e-9)


def test_best_in_counts_proteins_however_many():
    counts = np.random.default_rng(4).integers(0, 2, (300, 2))
    accumulator, every = gathered(counts)
    wanted = np.zeros((3, 2))
    for one, count in zip(every, counts, strict=True):
        for place in np.flatnonzero(count):
            difference = (one.hits[:, place] - one.expected[:, place]) / one.mass
            wanted[difference.argmax(), place] += 1
    assert len(accumulator._groups) < 2 * statistics.MAX_GROUPS < 300
    found = accumulator.effects(resamples=100, seed=0).best_in
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(found.sum(0), counts.sum(0))


def test_interval_against_scipy():
    """The percentile interval of a ratio of sums, proteins resampled whole."""
    accumulator, every = gathered(np.ones((40, 2), int), heads=2)
    effects = accumulator.effects(resamples=20_000, seed=1)
    parameters = inspect.signature(scipy.stats.bootstrap).parameters
    seed = "rng" if "rng" in parameters else "random_state"  # before SciPy 1.15

    def draws() -> Any:
        return {seed: np.random.default_rng(2)}

    for low, high, some in (
        (effects.low, effects.high, every),
        (effects.half_low, effects.half_high, every[1::2]),
    ):
        for head in range(2):
            for place in range(2):
                gap = np.array([s.hits[head, place] - s.expected[head, place] for s in some])
                mass = np.array([s.mass[head] for s in some])
                wanted = scipy.stats.bootstrap(
                    (gap, mass),
                    lambda g, m, axis: g.sum(axis) / m.sum(axis),
                    paired=True,
                    vectorized=True,
                    n_resamples=20_000,
                    method="percentile",
                    **draws(),
                ).confidence_interval
                # Monte Carlo error of a 2.5 % quantile from 20,000 draws: under 3 % of the width
                np.testing.assert_allclose(
                    [low[head, place], high[head, place]],
                    [wanted.low, wanted.high],
                    rtol=0,
                    atol=0.03 * (wanted.high - wanted.low),
                )


def test_the_same_seed_gives_the_same_interval():
    accumulator, _ = gathered(np.ones((12, 2), int))
    a, b, c = (accumulator.effects(resamples=100, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.low, b.low)
    np.testing.assert_array_equal(a.half_high, b.half_high)
    assert (a.low != c.low).any()


@pytest.mark.parametrize(("proteins", "known"), [(MIN_PROTEINS - 1, False), (MIN_PROTEINS, True)])
def test_too_few_proteins_are_insufficient(proteins: int, known: bool):
    counts = np.ones((30, 2), int)
    counts[proteins:, 1] = 0
    accumulator, _ = gathered(counts)
    effects = accumulator.effects(resamples=100, seed=0)
    for name in effects.__dataclass_fields__:
        values = getattr(effects, name)
        assert np.isfinite(values[..., 0]).all(), name
        assert np.isfinite(values[..., 1]).all() == known, name
        assert np.isnan(values[..., 1]).all() != known, name


@pytest.mark.parametrize(("arcs", "known"), [(MIN_ARCS - 1, False), (MIN_ARCS, True)])
def test_too_few_arcs_give_no_share_of_arcs(arcs: int, known: bool):
    random = np.random.default_rng(0)
    accumulator = Accumulator(1, 1)
    for number in range(12):
        one = scores(1, 1, random)
        one.arcs[:] = arcs if number == 5 else 0
        accumulator.add(one, np.array([1]))
    effects = accumulator.effects(resamples=100, seed=0)
    assert np.isfinite(effects.arc_share[0, 0]) == known
    assert np.isfinite(effects.arc_background[0, 0]) == known
    assert np.isfinite(effects.difference[0, 0])


def test_one_protein_is_no_interval():
    accumulator, _ = gathered(np.ones((1, 2), int))
    effects = accumulator.effects(resamples=100, seed=0)
    assert np.isnan(effects.difference).all()
    assert np.isnan(effects.low).all()


def test_of_many_proteins_neighbours_are_put_together(monkeypatch: pytest.MonkeyPatch):
    counts = np.random.default_rng(2).integers(0, 2, (71, 3))
    alone, _ = gathered(counts)
    whole = alone.effects(resamples=100, seed=0)
    monkeypatch.setattr(statistics, "MAX_GROUPS", 8)
    accumulator, _ = gathered(counts)
    assert len(accumulator._groups) == 8  # 64 proteins in eights, seven wait
    effects = accumulator.effects(resamples=4_000, seed=0)
    for name in ("share", "background", "difference", "p", "arc_share", "arc_background"):
        # p as small as 1e-228 magnifies the last bit of a sum
        np.testing.assert_allclose(getattr(effects, name), getattr(whole, name), rtol=1e-9)
    for name in ("proteins", "labelled", "arcs", "moments"):
        np.testing.assert_array_equal(getattr(accumulator, name), getattr(alone, name))
    assert ((effects.low < effects.difference) & (effects.difference < effects.high)).all()
    # and with as many as it takes
    monkeypatch.undo()
    many = Accumulator(1, 1)
    one = scores(1, 1, np.random.default_rng(0))
    for _ in range(2_500):
        many.add(one, np.array([1]))
        assert len(many._groups) < 2 * statistics.MAX_GROUPS
    found = many.effects(resamples=100, seed=0)
    np.testing.assert_allclose(found.share, one.hits / one.mass[:, None], rtol=1e-12)
