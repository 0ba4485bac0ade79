"""Statistics of scores against measurements, beside scipy, scikit-learn and ProteinGym's formulas."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from esmkit.errors import InputError, OptionError
from esmkit.score.variants.baselines import baselines_of, blosum62
from esmkit.score.variants.measured import (
    compare,
    ndcg,
    spearman,
    spearman_resampled,
    top_recall,
)
from esmkit.score.variants.mutations import parse_variant


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """The rank correlation as scipy has it."""
    found: Any = stats.spearmanr(one, other)
    return float(found.statistic)


numbers = st.lists(st.integers(-4, 4), min_size=3, max_size=40)


@given(numbers, st.integers(0, 99))
def test_spearman_is_that_of_scipy_with_ties(values: list[int], seed: int):
    one = np.array(values, float)
    other = np.random.default_rng(seed).integers(-3, 4, len(one)).astype(float)
    if np.ptp(one) and np.ptp(other):
        expected = correlation(one, other)
        np.testing.assert_allclose(spearman(one, other), expected, atol=1e-12)
    else:
        assert np.isnan(spearman(one, other))


def test_resamples_are_those_of_scipy_on_the_same_samples():
    random = np.random.default_rng(5)
    measured = random.integers(0, 12, 30).astype(float)
    predicted = [random.normal(size=30), random.integers(0, 3, 30).astype(float)]
    found = spearman_resampled(predicted, measured, resamples=50, seed=9)
    again = np.random.default_rng(9).integers(30, size=(50, 30))
    for values, row in zip(predicted, found, strict=True):
        expected = [correlation(values[s], measured[s]) for s in again]
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_resamples_do_not_depend_on_how_they_are_cut(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(5)
    measured, predicted = random.normal(size=40), random.normal(size=40)
    whole = spearman_resampled([predicted], measured, resamples=60)
    monkeypatch.setattr("esmkit.score.variants.measured._CHUNK", 7 * 40)
    np.testing.assert_array_equal(spearman_resampled([predicted], measured, resamples=60), whole)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    truth, hits = 6 / np.pi * np.arcsin(0.6 / 2), 0  # Spearman of a normal with correlation 0.6
    for seed in range(40):
        a = random.normal(size=150)
        b = 0.6 * a + 0.8 * random.normal(size=150)
        row = compare({"x": a}, b, seed=seed).iloc[0]
        hits += row["low"] <= truth <= row["high"]
    assert 34 <= hits <= 40  # 38 expected


def proteingym_ndcg(measured: np.ndarray, predicted: np.ndarray) -> float:
    """The sums written out: gains of the predicted best tenth over those of the true one."""
    gains = (measured - measured.min()) / (measured.max() - measured.min())
    top = int(np.floor(len(measured) * 0.1))

    def dcg(order: np.ndarray) -> float:
        return sum(gains[i] / np.log2(rank + 1) for rank, i in enumerate(order[:top], 1))

    return dcg(np.argsort(-predicted)) / dcg(np.argsort(-measured))


@pytest.mark.parametrize("n", [10, 19, 100, 101, 257])
def test_ndcg_and_recall_are_those_of_proteingym_where_nothing_ties(n: int):
    random = np.random.default_rng(n)
    measured, predicted = random.normal(size=n), random.normal(size=n)
    np.testing.assert_allclose(ndcg(predicted, measured), proteingym_ndcg(measured, predicted))
    best = measured >= np.percentile(measured, 90)
    chosen = predicted >= np.percentile(predicted, 90)
    np.testing.assert_allclose(top_recall(predicted, measured), (best & chosen).sum() / best.sum())


@pytest.mark.parametrize("statistic", [ndcg, top_recall])
def test_what_ties_counts_as_the_mean_over_its_orders(statistic):
    random = np.random.default_rng(3)
    measured, predicted = random.normal(size=60), random.integers(0, 4, 60).astype(float)
    orders = [
        statistic(predicted + 1e-6 * random.permutation(60) / 60, measured) for _ in range(1_500)
    ]
    np.testing.assert_allclose(statistic(predicted, measured), np.mean(orders), atol=0.02)
    shuffled = random.permutation(60)
    np.testing.assert_allclose(
        statistic(predicted[shuffled], measured[shuffled]), statistic(predicted, measured)
    )


def test_missing_and_constant_values():
    random = np.random.default_rng(1)
    measured, score = random.normal(size=50), random.normal(size=50)
    full = compare({"score": score}, measured).iloc[0]
    more = np.r_[measured, np.nan, 5.0]
    table = compare(
        {"score": np.r_[score, 1.0, np.nan], "constant": np.ones(52), "none": np.full(52, np.nan)},
        more,
    ).set_index("prediction")
    assert table.loc["score", "variants"] == 50
    np.testing.assert_allclose(table.loc["score", "spearman"], full["spearman"])
    assert table.loc["constant", "variants"] == 51
    assert np.isnan(table.loc["constant", "spearman"])
    assert table.loc["none", "variants"] == 0
    turned = compare({"score": score}, measured, higher_is_better=False).iloc[0]
    np.testing.assert_allclose(turned["spearman"], -full["spearman"])
    with pytest.raises(
        InputError, match="all 3 measured values are 2, so there is nothing to rank"
    ):
        compare({"score": np.arange(3.0)}, np.full(3, 2.0))
    with pytest.raises(InputError, match="1 of 3 variants have a measured value"):
        compare({"score": np.arange(3.0)}, np.array([1.0, np.nan, np.nan]))
    with pytest.raises(
        InputError, match=r"'score' has the shape \(2,\) and what was measured \(3,\)"
    ):
        compare({"score": np.arange(2.0)}, np.arange(3.0))
    assert compare({"score": [1, 2, 3]}, [1, 2, 4]).spearman[0] == 1  # type: ignore[arg-type, list-item]
    with pytest.raises(OptionError, match="`resamples` is at least 2,000, not 10"):
        compare({"score": np.arange(3.0)}, np.arange(3.0), resamples=10)


def test_baselines():
    assert (blosum62("A", "A"), blosum62("W", "C"), blosum62("I", "V")) == (4, -2, 3)
    found = baselines_of(parse_variant("A24G:I30R"), {24: 2.5, 30: 1.0})
    assert found["blosum62"] == 0 - 3
    np.testing.assert_allclose(found["hydropathy"], -(2.2 + 9.0))
    np.testing.assert_allclose(found["site_entropy"], 3.5 - 2 * np.log(20))
    assert all(np.isnan(v) for v in baselines_of(parse_variant("A24del"), {}).values())


def test_changes_of_hydropathy_that_are_equal_tie():
    """In binary 3.9 - 3.5 and 4.2 - 3.8 are not equal, and ranks would tell them apart."""
    found = {
        text: baselines_of(parse_variant(text), {})["hydropathy"]
        for text in ("K1E", "V1L", "D1E", "K1E:D2E", "Y1P", "H1E", "N1D")
    }
    assert found["K1E"] == found["V1L"] == found["K1E:D2E"] == -0.4
    assert found["Y1P"] == found["H1E"] == -0.3
    assert str(found["D1E"]) == str(found["N1D"]) == "0.0"
