"""Scores of contact maps against loops over pairs, and intervals against SciPy."""

import math
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap as scipy_bootstrap

from esmkit.contacts import bootstrap, score_map, summarize_scores
from esmkit.contacts.scores import ranked_pairs
from esmkit.data import ts50
from esmkit.errors import InputError, OptionError
from oracles.contact_oracles import plain_scores

COLUMNS = [
    *("pairs", "contacts", "background", "AUC-PR"),
    *("P@L", "ceiling P@L", "P@L/2", "ceiling P@L/2", "P@L/5", "ceiling P@L/5"),
]


def number(table: Any, row: str, column: str) -> float:
    return float(table.loc[row, column])


def check(table: pandas.DataFrame, expected: dict[str, dict[str, float]]) -> None:
    assert list(table.index) == ["short", "medium", "long"]
    assert set(table.columns) == set(COLUMNS)
    for name, row in expected.items():
        for column in COLUMNS:
            assert number(table, name, column) == pytest.approx(
                row[column], abs=1e-12, nan_ok=True
            ), (name, column)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int | None]:
    """Maps with few different values, so that there are ties; some values missing."""
    size = draw(st.integers(1, 33))
    values = draw(st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0, np.nan]).map(float) | st.just(0))
    eighths = arrays(
        np.float32,
        (size, size),
        elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0, float("nan")]),
        fill=st.just(values),
    )
    found = np.triu(draw(eighths), 1)
    contacts = np.triu(draw(arrays(bool, (size, size))), 1)
    resolved = draw(arrays(bool, size, fill=st.just(True)))
    return (
        found + found.T,
        contacts | contacts.T,
        resolved,
        draw(st.none() | st.integers(0, 40)),
    )


@given(cases())
@example((np.zeros((30, 30), np.float32), np.ones((30, 30), bool), np.ones(30, bool), None))
@example((np.full((30, 30), np.nan, np.float32), np.eye(30, dtype=bool), np.ones(30, bool), None))
def test_scores_are_those_of_loops_over_pairs(case):
    values, contacts, resolved, length = case
    before = values.copy()
    check(
        score_map(values, contacts, resolved, length=length),
        plain_scores(values, contacts, resolved, length),
    )
    np.testing.assert_array_equal(values, before)


def test_scores_of_a_real_chain():
    """Enough pairs for every range; 2xr6 has one residue that is not resolved, 1i8n too."""
    for structure in ts50():
        if structure.id in ("1i8n_A", "2xr6_A"):
            assert not structure.resolved.all()
            values = np.random.default_rng(3).integers(0, 50, (2, len(structure))).astype(float)
            map_ = np.add.outer(values[0], values[0]) / 7  # symmetric, with many ties
            expected = plain_scores(map_, structure.contacts(), structure.resolved)
            assert all(expected[name]["P@L"] > 0 for name in expected)
            check(score_map(map_, structure.contacts(), structure.resolved), expected)


def test_a_ranking_by_hand():
    """40 residues, L = 10 asked for: 5 of the 10 highest long pairs touch, 2 of 5, 1 of 2."""
    values, contacts = np.zeros((40, 40)), np.zeros((40, 40), bool)
    for place, touches in enumerate([1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1]):
        i, j = place, place + 24
        values[i, j] = values[j, i] = 1 - place / 100
        contacts[i, j] = contacts[j, i] = bool(touches)
    long = score_map(values, contacts, np.ones(40, bool), length=10).loc["long"]
    assert (long["pairs"], long["contacts"]) == (136, 6)
    assert (long["P@L"], long["P@L/2"], long["P@L/5"]) == (0.5, 0.4, 0.5)
    assert long["ceiling P@L"] == 0.6
    assert long["ceiling P@L/2"] == long["ceiling P@L/5"] == 1
    assert long["background"] == 6 / 136
    terms = [1 / 1, 2 / 4, 3 / 6, 4 / 8, 5 / 10, 6 / 11]
    assert long["AUC-PR"] == pytest.approx(np.mean(terms))


def test_maps_that_do_not_fit():
    with pytest.raises(
        OptionError, match=r"a map of shape \(3, 3\) does not fit contacts of shape \(4, 4\)"
    ):
        score_map(np.zeros((3, 3)), np.zeros((4, 4), bool), np.ones(4, bool))
    with pytest.raises(OptionError, match="does not fit"):
        score_map(np.zeros((3, 3)), np.zeros((3, 3), bool), np.ones(4, bool))


def test_ranked_pairs_by_hand():
    values = np.zeros((5, 5))
    values[0, 3], values[1, 4], values[0, 4] = 0.5, 0.5, np.nan
    pairs = [list(zip(*ranked_pairs(values, least=a, most=b), strict=True)) for a, b in RANGES]
    assert pairs == [
        [(0, 3), (1, 4), (0, 2), (1, 3), (2, 4)],  # NaN is left out, ties by i, then j
        [(0, 2), (1, 3), (2, 4)],
        [(0, 3), (1, 4)],
        [],
    ]


RANGES = [(2, None), (2, 2), (3, 3), (5, None)]


@pytest.mark.parametrize("count", [2, 7, 50])
def test_intervals_are_those_of_scipy(count: int):
    """Two streams of 20,000 resamples: an end has a standard error of about 0.02 of the spread
    of means (sqrt(p (1 - p) / n) over the normal density at the quantile)."""
    values = np.random.default_rng(count).random(count)
    low, high = bootstrap(values, resamples=20_000)
    theirs = scipy_bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1, vectorized=True
    ).confidence_interval
    spread = values.std() / math.sqrt(count)
    np.testing.assert_allclose([low, high], [theirs.low, theirs.high], rtol=0, atol=0.08 * spread)
    # not 0.5: for two values a quarter of the means is exactly the lower one
    narrow = bootstrap(values, resamples=20_000, level=0.6)
    theirs = scipy_bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1, confidence_level=0.6
    ).confidence_interval
    np.testing.assert_allclose(narrow, [theirs.low, theirs.high], rtol=0, atol=0.08 * spread)


def test_intervals_are_repeatable_and_skip_what_is_missing():
    values = np.random.default_rng(0).random(20)
    assert bootstrap(values) == bootstrap(values, seed=0) != bootstrap(values, seed=1)
    assert bootstrap([*values, np.nan]) == bootstrap(values)
    for few in ([], [0.5], [0.5, np.nan], [np.nan]):
        assert np.isnan(bootstrap(few)).all()
    assert bootstrap([0.25] * 4) == (0.25, 0.25)


def test_means_over_chains():
    chains = ts50()[:4]
    random = np.random.default_rng(0)
    tables = {}
    for chain in chains:
        values = random.random((len(chain), len(chain)))
        tables[chain.id] = score_map(values + values.T, chain.contacts(), chain.resolved)
    tables["tiny"] = score_map(np.zeros((8, 8)), np.zeros((8, 8), bool), np.ones(8, bool))
    summary = summarize_scores(tables)
    assert list(summary.index) == [
        (name, measure)
        for name in ("short", "medium", "long")
        for measure in ("P@L", "P@L/2", "P@L/5", "AUC-PR")
    ]
    for (name, measure), row in summary.to_dict("index").items():  # type: ignore[misc]
        values = [number(t, name, measure) for t in tables.values()]
        known = [value for value in values if value == value]
        # the chain of 8 residues has pairs of short range, but none in contact
        assert row["chains"] == len(known) == (5 if name == "short" and "@" in measure else 4)
        assert row["mean"] == pytest.approx(math.fsum(known) / len(known))
        assert (row["low"], row["high"]) == bootstrap(known)
        assert row["low"] <= row["mean"] <= row["high"]
        background = [number(t, name, "background") for t in tables.values()]
        assert row["background"] == pytest.approx(np.nanmean(background))
        if measure == "AUC-PR":
            assert np.isnan(row["ceiling"])
        else:
            ceiling = [number(t, name, f"ceiling {measure}") for t in tables.values()]
            assert row["ceiling"] == pytest.approx(np.nanmean(ceiling))
            assert row["mean"] <= row["ceiling"]
    assert not summary.equals(summarize_scores(tables, seed=1))
    with pytest.raises(InputError, match="there is no chain to average over"):
        summarize_scores({})
    alone = summarize_scores({"tiny": tables["tiny"]}).loc["long"]
    assert alone[["mean", "low", "high", "ceiling", "background"]].isna().all(axis=None)
    assert (alone["chains"] == 0).all()
