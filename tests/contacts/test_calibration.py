"""Reliability tables against loops over pairs, and scores that are known to be right or wrong."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from esmkit.contacts import ContactHead, evaluate, reliability
from esmkit.data import ts50
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.plots import reliability_diagram

RANGES = {"all": (6, 10**9), "short": (6, 11), "medium": (12, 23), "long": (24, 10**9)}


def by_hand(chains: list[Any], name: str, bins: int) -> list[list[tuple[float, bool, int]]]:
    """Score, truth and chain of the pairs of every bin."""
    least, most = RANGES[name]
    found: list[list[tuple[float, bool, int]]] = [[] for _ in range(bins)]
    for number, (values, contacts, resolved) in enumerate(chains):
        for i, j in itertools.combinations(range(len(values)), 2):
            value = float(values[i, j])
            if least <= j - i <= most and resolved[i] and resolved[j] and value == value:
                place = max(b for b in range(bins) if b / bins <= value)
                found[place].append((value, bool(contacts[i, j]), number))
    return found


@st.composite
def chain(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 30))
    edges = [0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 0.95, 1.0, float("nan")]
    values = np.triu(draw(arrays(np.float64, (size, size), elements=st.sampled_from(edges))), 1)
    contacts = np.triu(draw(arrays(bool, (size, size))), 1)
    return (
        values + values.T,
        contacts | contacts.T,
        draw(arrays(bool, size, fill=st.just(True))),
    )


@given(st.lists(chain(), min_size=1, max_size=3), st.sampled_from([2, 4, 10]))
def test_tables_are_those_of_loops_over_pairs(chains: list[Any], bins: int):
    found = reliability(chains, bins=bins)
    assert len(found.table) == 4 * bins
    for name in RANGES:
        table: Any = found.table[found.table["range"] == name]
        rows = table.to_dict("records")
        expected = by_hand(chains, name, bins)
        total, apart, above, apart_above = 0, 0.0, 0, 0.0
        for place, (row, pairs) in enumerate(zip(rows, expected, strict=True)):
            assert (row["from"], row["to"]) == (place / bins, (place + 1) / bins)
            assert row["pairs"] == len(pairs)
            assert row["chains"] == len({number for _, _, number in pairs})
            score, touch = (
                [sum(p[k] for p in pairs) / len(pairs) for k in (0, 1)] if pairs else [np.nan] * 2
            )
            assert row["score"] == pytest.approx(score, nan_ok=True)
            assert row["touch"] == pytest.approx(touch, nan_ok=True)
            if pairs:
                total += len(pairs)
                apart += len(pairs) * abs(score - touch)
                if row["from"] >= 0.1:
                    above += len(pairs)
                    apart_above += len(pairs) * abs(score - touch)
        error: Any = found.error.loc[name]
        assert error["pairs"] == total
        assert error["error"] == pytest.approx(apart / total if total else np.nan, nan_ok=True)
        wanted = apart_above / above if above else np.nan
        assert error["error from 0.1"] == pytest.approx(wanted, nan_ok=True)
    assert found.to_text()
    assert "nan" not in found.to_text()


def made(chains: int, slope: float, seed: int = 0) -> list[Any]:
    """Chains of 60 residues in which a pair of score p touches with the chance slope * p."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(chains):
        values = np.triu(random.random((60, 60)) ** 2, 1)
        touch = np.triu(random.random((60, 60)) < slope * values, 1)
        found.append((values + values.T, touch | touch.T, np.ones(60, bool)))
    return found


def test_scores_that_are_right_lie_on_the_line():
    found = reliability(made(40, 1.0))
    rows: Any = found.table.query("range == 'all'")
    np.testing.assert_allclose(rows["touch"], rows["score"], rtol=0, atol=0.03)
    # of 95 % intervals over 40 chains nearly all hold it
    inside = (rows["low"] <= rows["score"]) & (rows["score"] <= rows["high"])
    assert inside.sum() >= 8
    error: Any = found.error.loc["all", "error"]
    assert error < 0.01


def test_scores_that_promise_too_much_lie_below_it():
    found = reliability(made(40, 0.7))
    rows: Any = found.table.query("range == 'all'")
    np.testing.assert_allclose(rows["touch"], 0.7 * rows["score"], rtol=0, atol=0.03)
    assert (rows["high"][5:] < rows["score"][5:]).all()
    mean = float(np.mean(np.random.default_rng(0).random(10**5) ** 2))  # 1 / 3
    assert found.error.loc["all", "error"] == pytest.approx(0.3 * mean, abs=0.01)


def test_intervals_are_over_chains_not_pairs():
    """Half of the chains touch everywhere and half nowhere: of 60,000 pairs the share is known to
    0.2 %, of 10 chains to 30 %."""
    values = np.full((60, 60), 0.5)
    chains = [(values, np.full((60, 60), n % 2 == 0), np.ones(60, bool)) for n in range(10)]
    row = reliability(chains).table.query("range == 'all' and pairs > 0").iloc[0]
    assert (row["touch"], row["chains"]) == (0.5, 10)
    # ends of a binomial of 10 chains, 95 %: 2 and 8 of 10
    assert (row["low"], row["high"]) == (0.2, 0.8)


def test_what_is_no_probability():
    one = made(1, 1.0)[0]
    for factor in (2.0, -1.0):
        with pytest.raises(OptionError, match="reliability is of scores from 0 to 1, and these go"):
            reliability([(one[0] * factor, *one[1:])])
    with pytest.raises(InputError, match="there is no chain to compare scores with"):
        reliability([])
    for bins in (0, 1, 1001, 2.5, True):
        with pytest.raises(OptionError, match="bins"):
            reliability([one], bins=bins)  # type: ignore[arg-type]


def test_an_evaluation_has_one(tiny: Esm2):
    chains = ts50()[:3]
    result = evaluate(tiny, chains, seed=4)
    maps = [tiny.contacts(c.protein).onto(c) for c in chains]
    expected = reliability(maps, seed=4)
    assert result.reliability is not None
    assert result.reliability.table.equals(expected.table)
    assert result.reliability.error.equals(expected.error)
    assert expected.to_text() in result.to_text()
    assert evaluate(tiny, chains, ContactHead.mean_of(tiny, ["L0H0"])).reliability is None


def test_the_figure(tmp_path: Path):
    found = reliability(made(5, 0.7))
    figure = found.plot(path=tmp_path / "x.svg")
    assert (tmp_path / "x.svg").stat().st_size > 1000
    assert len(figure.axes) == 8
    drawn: Any = figure.axes[0].lines[1].get_xydata()
    bars: Any = figure.axes[1].patches
    rows: Any = found.table.query("range == 'all'")
    np.testing.assert_allclose(drawn, rows[["score", "touch"]].to_numpy())
    assert [bar.get_height() for bar in bars] == list(rows["pairs"])
    assert any("bars: 95 % bootstrap interval" in t.get_text() for t in figure.texts)
    alone = reliability_diagram(reliability(made(1, 0.7)))
    assert not any("interval" in t.get_text() for t in alone.texts)
    nothing = reliability([(np.zeros((3, 3)), np.zeros((3, 3), bool), np.ones(3, bool))])
    with pytest.raises(OptionError, match="there is no pair to draw"):
        nothing.plot()
