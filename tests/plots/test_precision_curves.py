"""Precision curves against scores at the usual cuts, and against a count pair by pair."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esmkit.contacts import precision_curves, score_map, summarize_scores
from esmkit.contacts.scores import CUTS, RANGES
from esmkit.errors import InputError, OptionError

Chain = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


def chain(residues: int, seed: int, *, lost: int = 0, unseen: int = 0) -> Chain:
    """Random values that know something of random contacts, with ties."""
    random = np.random.default_rng(seed)
    contacts = np.triu(random.random((residues, residues)) < 0.06, 1)
    contacts = contacts | contacts.T
    noise = random.random((residues, residues))
    values = np.round(np.maximum(noise, noise.T) + 0.3 * contacts, 2).astype(np.float32)
    if unseen:
        values[:unseen, -unseen:] = values[-unseen:, :unseen] = np.nan
    resolved = np.ones(residues, bool)
    resolved[random.choice(residues, lost, replace=False)] = False
    contacts &= resolved[:, None] & resolved
    return values, contacts, resolved


CHAINS = [chain(97, 0), chain(60, 1, lost=9), chain(130, 2, unseen=40), chain(41, 3), chain(20, 4)]


def by_hand(one: Chain, name: str, step: int) -> tuple[float, float, float]:
    """Precision, ceiling and background of the top step / 50 of L, in plain Python."""
    values, contacts, resolved = one
    least, most = RANGES[name]
    size = len(values)
    ranked = sorted(
        (-float(values[i, j]), i, j)
        for i in range(size)
        for j in range(i + least, size if most is None else min(size, i + most + 1))
        if resolved[i] and resolved[j] and not np.isnan(values[i, j])
    )
    true = [bool(contacts[i, j]) for _, i, j in ranked]
    k = int(resolved.sum()) * step // 50
    if not true:
        return np.nan, np.nan, np.nan
    if not k:
        return np.nan, np.nan, sum(true) / len(true)
    return sum(true[:k]) / k, min(1.0, sum(true) / k), sum(true) / len(true)


def test_one_chain_is_counted_pair_by_pair():
    for one in CHAINS:
        table = precision_curves([one], up_to=2)
        assert list(table["range"]) == [name for name in RANGES for _ in range(100)]
        for name in RANGES:
            rows = table[table["range"] == name].reset_index()
            for step in (1, 2, 3, 10, 25, 29, 50, 77, 100):
                row = rows.loc[step - 1]
                assert row["k/L"] == step / 50
                np.testing.assert_allclose(
                    [row["precision"], row["ceiling"], row["background"]],
                    by_hand(one, name, step),
                    rtol=1e-12,
                )
                assert row["chains"] == (not np.isnan(row["precision"]))
                assert np.isnan([row["low"], row["high"]]).all()  # one chain has no interval


def test_curves_pass_through_the_scores_of_the_cuts():
    table = precision_curves(CHAINS).set_index(["range", "k/L"])
    scores = summarize_scores({str(n): score_map(*one) for n, one in enumerate(CHAINS)})
    for name in RANGES:
        for cut, divisor in CUTS.items():
            expected = scores.loc[(name, cut)]
            row = table.loc[(name, 1 / divisor)]
            for column, theirs in {"precision": "mean", "ceiling": "ceiling"}.items():
                np.testing.assert_allclose(row[column], expected[theirs], rtol=1e-12)
            np.testing.assert_allclose(row["background"], expected["background"], rtol=1e-12)
            np.testing.assert_allclose(row[["low", "high"]], expected[["low", "high"]], rtol=1e-12)
            assert row["chains"] == expected["chains"]
    assert table.loc[("long", 1.0), "chains"] == 4  # the chain of 20 has no long range
    assert table.loc[("short", 1.0), "chains"] == 5


def test_pairs_that_a_chain_does_not_have_count_as_wrong():
    """26 residues have 3 pairs of long range: all right, they are still 3 of 26."""
    touching = np.ones((26, 26), bool)
    one = touching.astype(np.float32), touching, np.ones(26, bool)
    found: Any = precision_curves([one]).set_index(["range", "k/L"]).loc[("long", 1.0)]
    np.testing.assert_allclose([found["precision"], found["ceiling"]], 3 / 26, rtol=1e-12)
    assert score_map(*one).loc["long", "P@L"] == found["precision"]


def test_chains_are_taken_one_at_a_time_and_left_alone():
    held, before = [], [[array.copy() for array in one] for one in CHAINS]

    def stream() -> Iterator[Chain]:
        for number, one in enumerate(CHAINS):
            held.append(number)
            yield one

    assert precision_curves(stream()).equals(precision_curves(CHAINS))
    assert held == list(range(5))
    for one, copies in zip(CHAINS, before, strict=True):
        for array, copy in zip(one, copies, strict=True):
            np.testing.assert_array_equal(array, copy)


def test_a_perfect_map_reaches_the_ceiling_and_no_map_is_above_it():
    perfect = [
        (contacts.astype(np.float32), contacts, resolved) for _, contacts, resolved in CHAINS
    ]
    for column, chains in (("equal", perfect), ("below", CHAINS)):
        table: Any = precision_curves(chains, up_to=2).dropna(subset=["precision"])
        assert len(table) > 250
        gap = table["ceiling"] - table["precision"]
        assert gap.min() > -1e-12
        assert (gap.max() < 1e-12) == (column == "equal")


def test_what_cannot_be_followed():
    with pytest.raises(InputError, match="there is no chain to average over"):
        precision_curves([])
    values, contacts, resolved = CHAINS[0]
    with pytest.raises(OptionError, match=r"shape \(97, 97\) does not fit contacts of shape \(96"):
        precision_curves([(values, contacts[:96, :96], resolved)])
    bad: list[Any] = [0, -1, 0.5, True, "L"]
    for up_to in bad:
        with pytest.raises(OptionError, match="curves end at a whole number of L, 1 or more"):
            precision_curves(CHAINS, up_to=up_to)
    nothing: Any = precision_curves([(values, contacts, np.zeros(97, bool))])
    assert nothing[["precision", "ceiling", "background"]].isna().all(axis=None)
    assert (nothing["chains"] == 0).all()
