"""A contact regression without a head equals scikit-learn's on the features that are left."""

import dataclasses
import warnings
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from esmkit.contacts import fitting
from esmkit.data import ts50
from esmkit.encoder.names import head_name
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.heads import refit
from esmkit.heads.lasso import fit_lasso
from esmkit.heads.refit import refit_without
from esmkit.heads.resume import REFIT, Keeper
from esmkit.structure import Structure
from oracles.contact_oracles import plain_precision

Chains = list[Structure]


@pytest.fixture(autouse=True)
def weak_penalty(request, monkeypatch):
    """Random heads say so little of contacts that Rao's penalty gives none of them a weight."""
    if "weights" not in request.keywords:
        monkeypatch.setattr(refit, "INVERSE_PENALTY", 20.0)


@pytest.fixture(scope="module")
def chains() -> Chains:
    return sorted(ts50(), key=len)[:6]


def liblinear(features: np.ndarray, labels: np.ndarray, c: float) -> np.ndarray:
    """Weights, the constant last, of the same problem by another solver; columns are features."""
    solver = LogisticRegression(
        **fitting._lasso(), C=c, solver="liblinear", random_state=0, max_iter=5_000, tol=1e-9
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 5,000 iterations do not reach 1e-9
        solver.fit(features, labels)
    return np.append(solver.coef_[0], solver.intercept_)


def height(weights: np.ndarray, features: np.ndarray, labels: np.ndarray, c: float) -> float:
    odds = weights @ features
    return np.abs(weights).sum() + c * np.logaddexp(0, np.where(labels, -odds, odds)).sum()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 6), st.integers(8, 60), st.sampled_from([0.02, 0.5, 20])
)
def test_a_fit_is_as_low_as_liblinears_with_and_without(seed, count, pairs, c):
    random = np.random.default_rng(seed)
    features = np.ones((count + 1, pairs), np.float32)
    features[:-1] = random.normal(size=(count, pairs)) * random.choice([0.01, 1, 5], (count, 1))
    labels = random.random(pairs) < 1 / (1 + np.exp(-2 * features[0]))
    labels[:2] = True, False
    whole = fit_lasso(features, labels, inverse_penalty=c)
    place = int(random.integers(count))
    for without, start in ((None, None), (place, whole), (place, None)):
        mine = fit_lasso(features, labels, inverse_penalty=c, start=start, without=without)
        left = [n for n in range(count) if n != without]
        assert without is None or mine[without] == 0
        theirs = np.zeros(count + 1)
        theirs[[*left, count]] = (
            liblinear(features[left].T, labels, c) if left else liblinear_of_ones(labels, c)
        )
        ours = height(mine, features, labels, c)
        best = height(theirs, features, labels, c)
        assert ours <= best * (1 + 1e-6) + 1e-9
        # The conditions of optimality, which no other solver is needed for
        slopes = c * features @ (1 / (1 + np.exp(-(mine @ features))) - labels)
        slopes[[n for n in range(count) if n == without]] = 0
        assert np.abs(slopes).max() <= 1 + 2e-4
        np.testing.assert_allclose(slopes[mine != 0], -np.sign(mine[mine != 0]), rtol=0, atol=2e-4)


def liblinear_of_ones(labels: np.ndarray, c: float) -> np.ndarray:
    """The constant alone: a feature of zeros leaves it."""
    return liblinear(np.zeros((len(labels), 1)), labels, c)[1:]


def test_every_number_equals_scikit_learn_on_the_maps_that_are_left(tiny: Esm2, chains):
    table: Any = refit_without(tiny, chains)
    assert list(table["name"]) == [head_name(n, h) for n in range(2) for h in range(4)]
    by_length = sorted(chains, key=lambda chain: (len(chain), chain.id))
    halves = by_length[::2], by_length[1::2]

    def learn(of: Chains, left: list[int]) -> np.ndarray:
        columns, labels = [], []
        for chain in of:
            maps = whole_maps(tiny, chain)
            for i in range(len(chain)):
                for j in range(i + 6, len(chain)):
                    if chain.resolved[i] and chain.resolved[j]:
                        columns.append(maps[left, i, j])
                        labels.append(chain.contacts()[i, j])
        return liblinear(np.array(columns), np.array(labels), 20.0)

    def scores(left: list[int]) -> tuple[np.ndarray, np.ndarray]:
        weights = [learn(half, left) for half in halves]
        found = [
            plain_precision(np.tensordot(given[:-1], whole_maps(tiny, chain)[left], 1), chain, 1)
            for half, given in zip(halves, weights[::-1], strict=True)
            for chain in half
        ]
        return np.array(found), np.mean(weights, axis=0)

    everything, weights = scores(list(range(8)))
    np.testing.assert_allclose(table["refit_weight"], weights[:-1], rtol=0, atol=2e-3)
    assert (table["refit_weight"] != 0).sum() >= 3
    for place in np.flatnonzero(table["refit_weight"])[:2]:
        without, _ = scores([n for n in range(8) if n != place])
        row = table.iloc[place]
        # A pair more or less of two that have all but the same score
        pair = 1 / min(len(chain) for chain in chains)
        np.testing.assert_allclose(row["refit_precision"], without.mean(), rtol=0, atol=pair / 3)
        change = (without - everything).mean()
        np.testing.assert_allclose(row["refit_change"], change, rtol=0, atol=pair / 3)
        assert row["refit_low"] <= row["refit_change"] <= row["refit_high"]
        assert row["refit_scored"] == len(chains)
    assert table["refit_change"].abs().max() > 0


def whole_maps(model: Esm2, chain: Structure) -> np.ndarray:
    """Symmetrised, average product corrected maps of all heads, head by head."""
    found = model.attention(chain.protein)
    maps = []
    for name in found.heads:
        a = found[name].astype(float) + found[name].T
        maps.append(a - np.outer(a.sum(0), a.sum(0)) / a.sum())
    return np.stack(maps)


def test_a_head_without_weight_changes_nothing(tiny: Esm2, chains, monkeypatch):
    real = refit.fit_lasso

    def without_some(features, labels, **options):
        features = features.copy()
        features[[1, 6]] = 0  # maps that say nothing get no weight
        return real(features, labels, **options)

    monkeypatch.setattr(refit, "fit_lasso", without_some)
    table: Any = refit_without(tiny, chains).set_index("name")
    for name in ("L0H1", "L1H2"):
        row = table.loc[name]
        assert row["refit_weight"] == row["refit_change"] == row["refit_low"] == 0
        assert np.isnan(row["refit_q"])


def test_neither_order_nor_other_heads_matter(tiny: Esm2, chains):
    whole: Any = refit_without(tiny, chains)
    turned: Any = refit_without(tiny, chains[::-1], heads=["L1"])
    kept = [name for name in whole if name != "refit_q"]  # which is over the heads asked for
    pandas.testing.assert_frame_equal(whole[4:].reset_index(drop=True)[kept], turned[kept])


class Memory(Keeper):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], dict] = {}

    def get(self, stage, place, names):
        found = self.kept.get((stage, place))
        assert found is None or list(found) == list(names)
        return found

    def put(self, stage, place, arrays):
        self.kept[stage, place] = dict(arrays)


def test_what_was_kept_is_not_measured_again(tiny: Esm2, chains, monkeypatch):
    whole, keep = refit_without(tiny, chains), Memory()
    pandas.testing.assert_frame_equal(refit_without(tiny, chains, keep=keep), whole)
    last = max(place for _, place in keep.kept if place < 8)
    kept_precision = keep.kept.pop((REFIT, last))
    # Killed before the last: that one is fitted again, to the last bit
    pandas.testing.assert_frame_equal(refit_without(tiny, chains, keep=keep), whole)
    np.testing.assert_array_equal(keep.kept[REFIT, last]["precision"], kept_precision["precision"])
    monkeypatch.setattr(refit, "corrected_maps", None)
    pandas.testing.assert_frame_equal(refit_without(tiny, chains, keep=keep), whole)


@pytest.mark.parametrize("stretched", [None, 100.0, np.nan])
def test_where_nothing_can_be_fitted_there_is_nothing(tiny: Esm2, chains, stretched):
    """One chain, a half without contacts, a half without coordinates."""
    few = chains[:1]
    if stretched is not None:
        few = [*few, dataclasses.replace(chains[1], cb=chains[1].cb * stretched)]
    table: Any = refit_without(tiny, few, heads=["L0H0", "L1H1"])
    numbers = table[[name for name in table if name.startswith("refit_")]]
    assert numbers.drop(columns="refit_scored").isna().all().all()
    assert list(table["refit_scored"]) == [0, 0]


def test_no_more_maps_than_there_is_room_for(tiny: Esm2, chains, monkeypatch):
    seen: list[str] = []
    real = refit.corrected_maps
    monkeypatch.setattr(
        refit,
        "corrected_maps",
        lambda model, protein: seen.append(protein.id) or real(model, protein),
    )
    pairs = [int((c.resolved[:, None] & np.triu(c.resolved, 6)).sum()) for c in chains]
    for room, most in ((1, 2), (sum(pairs), 6), (sum(pairs) - 1, 5)):
        monkeypatch.setattr(refit, "FEATURE_BYTES", room * 4 * 9)
        seen.clear()
        table: Any = refit_without(tiny, chains, heads=["L0H0"])
        assert len(seen) == len(set(seen)) == table["refit_scored"][0] <= most
        assert len(seen) >= 2
        assert (room < sum(pairs)) or len(seen) == 6


def test_errors_say_what_to_do(tiny: Esm2, chains):
    with pytest.raises(InputError, match="there is no structure to ablate heads on"):
        refit_without(tiny, [])
    with pytest.raises(InputError, match="comes twice"):
        refit_without(tiny, [chains[0], chains[0]])
    with pytest.raises(OptionError, match="there is no L7H0"):
        refit_without(tiny, chains, heads=["L7H0"])


def test_heads_are_told_in_order(tiny: Esm2, chains):
    told: list[str] = []
    refit_without(tiny, chains, heads=["L1H3", "L0H2"], progress=told.append)
    assert told == ["L0H2", "L1H3"]


@pytest.mark.weights
def test_no_other_head_stands_in_for_l5h4(real: Esm2):
    """The best contact head (science.md) is missed by a regression that never knew it."""
    row: Any = refit_without(real, ts50()[:20], heads=["L5H4"]).iloc[0]
    assert row["refit_high"] < 0
    assert row["refit_change"] < -0.03
