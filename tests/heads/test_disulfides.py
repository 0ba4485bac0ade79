"""Bonded cysteines against others of the same chain: made weights whose truth is known, plain loops,
and scikit-learn's AUC where nothing is matched."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from esmkit.data import replication, ts50
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import load
from esmkit.heads.disulfides import pairs_of, within_chains
from esmkit.heads.matched_pairs import APART, BONDED, TOUCHING, CysteinePairs, compare
from esmkit.heads.report.disulfides import within_chains_answer
from esmkit.heads.to_folder import profile_to_folder
from oracles.head_chains import made
from oracles.head_profiles import small_profile


def drawn(random: np.random.Generator, heads: int = 3, cysteines: int = 8) -> CysteinePairs:
    """A chain of some cysteines, two by two bonded, at random places; weights at random."""
    places = np.sort(random.choice(120, cysteines, replace=False))
    partner = random.permutation(cysteines).reshape(-1, 2)
    kinds = random.choice([APART, TOUCHING], (cysteines, cysteines))
    kinds = np.triu(kinds) + np.triu(kinds, 1).T
    for i, j in partner[: cysteines // 2 - 1]:
        kinds[i, j] = kinds[j, i] = BONDED
    a, b = np.nonzero(~np.eye(cysteines, dtype=bool))
    weights, expected = random.random((2, heads, len(a)))
    return CysteinePairs(places[a], places[b], kinds[a, b], weights, expected)


def with_weights(chain: CysteinePairs, weights: np.ndarray) -> CysteinePairs:
    return CysteinePairs(chain.query, chain.key, chain.kind, weights, chain.expected)


def naive(chains: list[CysteinePairs], head: int, upper: int, lower: list[int]) -> float:
    """The AUC, pair by pair."""
    rates = []
    for chain in chains:
        for one in range(len(chain.kind)):
            if chain.kind[one] != upper:
                continue
            apart = int(chain.key[one] - chain.query[one])
            won = []
            for other in range(len(chain.kind)):
                step = int(chain.key[other] - chain.query[other])
                like = abs(apart - step) <= max(2, 0.2 * abs(apart)) and apart * step > 0
                if like and chain.kind[other] in lower:
                    mine, its = chain.weights[head, one], chain.weights[head, other]
                    won.append(1.0 if mine > its else 0.5 if mine == its else 0.0)
            if won:
                rates.append(sum(won) / len(won))
    return sum(rates) / len(rates)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 14), st.booleans())
def test_aucs_are_what_their_definition_says(seed: int, count: int, ties: bool):
    random = np.random.default_rng(seed)
    chains = [drawn(random, heads=2) for _ in range(count)]
    if ties:
        chains = [with_weights(chain, chain.weights.round(1)) for chain in chains]
    found: Any = compare(chains, ["a", "b"])
    for head in range(2):
        row = found.iloc[head]
        if np.isnan(row["auc"]):
            assert row["chains"] < 10
            continue
        assert row["auc"] == pytest.approx(naive(chains, head, BONDED, [APART, TOUCHING]))
        assert row["low"] <= row["auc"] <= row["high"]
        for name, upper, lower in (
            ("touching", TOUCHING, [APART]),
            ("over_touching", BONDED, [TOUCHING]),
        ):
            if not np.isnan(row[name]):
                assert row[name] == pytest.approx(naive(chains, head, upper, lower))


def test_without_matching_a_chain_is_scikit_learns_auc():
    random = np.random.default_rng(5)
    one = drawn(random, heads=4, cysteines=10)
    one = with_weights(one, one.weights.round(2))  # with ties
    found: Any = compare([one] * 10, list("abcd"), matched=False)
    truth = one.kind == BONDED
    expected = [roc_auc_score(truth, weights) for weights in one.weights]
    np.testing.assert_allclose(found["auc"], expected, rtol=1e-12)


def test_heads_that_know_are_told_from_those_that_do_not():
    random = np.random.default_rng(1)
    chains = []
    for _ in range(40):
        chain = drawn(random, heads=3)
        apart = chain.key - chain.query
        bonds = np.where(chain.kind == BONDED, 1.0, 0.0)
        contacts = np.where(chain.kind == APART, 0.0, 1.0) + 1e-3 * random.random(len(bonds))
        distance = np.exp(-np.abs(apart) / 10)  # a head that knows nothing but distances
        chains.append(with_weights(chain, np.stack([bonds, contacts, distance])))
    found: Any = compare(chains, ["bonds", "contacts", "distance"])
    bonds, contacts, distance = found.to_dict("records")
    assert bonds["auc"] == bonds["low"] == bonds["high"] == bonds["over_touching"] == 1.0
    assert bonds["touching"] == 0.5
    assert bonds["q"] < 1e-4
    assert contacts["auc"] > 0.6
    assert contacts["touching"] == 1.0
    assert abs(contacts["over_touching"] - 0.5) < 0.1
    assert 0.4 < distance["auc"] < 0.6


def test_heads_that_know_nothing_are_found_as_often_as_p_says():
    random = np.random.default_rng(2)
    chains = [drawn(random, heads=400) for _ in range(25)]
    found: Any = compare(chains, [str(head) for head in range(400)])
    assert abs((found["p"] < 0.05).mean() - 0.05) < 0.035
    inside = (found["low"] <= 0.5) & (found["high"] >= 0.5)
    assert inside.mean() > 0.88  # percentile intervals of 25 chains are a little narrow
    assert (found["q"] > 0.05).all()
    wider: Any = compare(chains, [str(head) for head in range(400)], inflation=4.0)
    assert (wider["p"] >= found["p"]).all()
    assert within_chains_answer(found).verdict == "None confirmed"


def test_pairs_are_those_of_the_structure():
    for chain in (*ts50()[:10], *replication()):
        query, key, kind = pairs_of(chain)
        assert {chain.sequence[i] for i in {*query.tolist(), *key.tolist()}} <= {"C"}
        pairs = {(int(i), int(j)): int(k) for i, j, k in zip(query, key, kind, strict=True)}
        assert all(pairs[j, i] == k for (i, j), k in pairs.items())  # both ways
        bonded = {pair for pair, k in pairs.items() if k == BONDED and pair[0] < pair[1]}
        assert bonded == {(int(i), int(j)) for i, j in chain.disulfides}
        contacts = chain.contacts()
        assert all(contacts[pair] == (k == TOUCHING) for pair, k in pairs.items() if k != BONDED)


def test_cysteines_that_hold_a_metal_are_no_pairs_and_others_stay():
    places = np.array([[0, 0, 0], [3.7, 0, 0], [30, 0, 0], [32, 0, 0], [60, 0, 0]], float)
    chain = made("CCCCC", places=places)
    object.__setattr__(chain, "sg", places.copy())
    query, key, kind = pairs_of(chain)
    found = {(int(i), int(j)): int(k) for i, j, k in zip(query, key, kind, strict=True) if i < j}
    assert (0, 1) not in found
    assert found[2, 3] == BONDED
    assert found[0, 2] == found[0, 4] == found[2, 4] == APART
    assert len(found) == 9


def test_too_few_chains_give_no_auc_and_nothing_to_compare_is_refused():
    random = np.random.default_rng(3)
    found: Any = compare([drawn(random) for _ in range(5)], list("abc"))
    assert found["auc"].isna().all()
    assert found["q"].isna().all()
    answer = within_chains_answer(found)
    assert answer.verdict == "Insufficient"
    assert f"{found['bonds'][0]:,} bonds" in answer.sentences[0]
    with pytest.raises(InputError, match="no chains to compare"):
        compare([], [])
    with pytest.raises(OptionError, match="at least 2,000, not 100"):
        compare([drawn(random)], list("abc"), resamples=100)


def test_an_answer_says_what_was_found_and_what_would_have_been():
    random = np.random.default_rng(4)
    chains = []
    for _ in range(40):
        chain = drawn(random, heads=5)
        chain.weights[1] += 0.5 * (chain.kind == BONDED)
        chain.weights[2] += 0.5 * (chain.kind != APART)
        chains.append(chain)
    table: Any = compare(chains, [f"L1H{head}" for head in range(1, 6)])
    answer = within_chains_answer(table)
    assert answer.verdict == "Bonded ones get more, touching or not"
    assert answer.head == "L1H2"
    text = " ".join(answer.sentences)
    assert f"{table['chains'][0]} chains" in text
    assert "Confirmed are 2 heads: L1H2" in text
    assert f"above {table['high'].max():.2f} lies outside" in text
    seen = within_chains_answer(table.drop(index=1))
    assert seen.verdict == "Bonded ones get more, as touching ones may"
    assert "need not be more than a liking for contacts" in " ".join(seen.sentences)


def test_weights_are_those_of_the_maps(tiny_folder: Path):
    model = load(tiny_folder, "cpu")
    chains = [c for c in replication() if len(c.disulfides) and len(c) < 60][:10]
    told: list[str] = []
    found: Any = within_chains(model, iter(chains), control=False, progress=told.append)
    assert told == [chain.id for chain in chains]
    measured = []
    for chain in chains:
        query, key, kind = pairs_of(chain)
        array = model.attention(chain.protein).maps
        expected = np.zeros((len(array), len(query)))
        for place, offset in enumerate(key - query):
            expected[:, place] = [np.diagonal(one, offset).mean() for one in array]
        measured.append(
            CysteinePairs(query, key, kind, array[:, query, key].astype(float), expected)
        )
    again: Any = compare(measured, list(found["name"]))
    # weights that are equal in float32 may be told apart in float64
    np.testing.assert_allclose(found["auc"], again["auc"], atol=0.02)
    np.testing.assert_allclose(found["position"], again["position"], atol=0.02)


def test_untrained_models_are_a_control_that_widens(tiny_folder: Path):
    model = load(tiny_folder, "cpu")
    chains = [c for c in replication() if len(c.disulfides) and len(c) < 60][:10]
    bare: Any = within_chains(model, chains, control=False)
    found: Any = within_chains(model, chains, seed=3)
    assert (found["inflation"] >= 1).all()
    assert (found["p"] >= bare["p"] - 1e-12).all()
    assert (found[["random", "permuted"]] > 0).to_numpy().all()
    np.testing.assert_array_equal(found["auc"], bare["auc"])
    fewer: Any = within_chains(model, chains, seed=3, untrained=1)
    np.testing.assert_array_equal(fewer["auc"], bare["auc"])
    assert not np.allclose(fewer["permuted"], found["permuted"])  # of one model, not of all
    assert "permuted weights: 95% of heads within" in within_chains_answer(found).numbers


def test_bonds_without_a_like_pair_give_no_number(tiny_folder: Path):
    """Two cysteines in a bond, and a third so far away that no separation is like theirs."""
    places = np.zeros((60, 3))
    places[:, 0] = 4.0 * np.arange(60)
    places[5] = places[1] + [2, 0, 0]
    chain = made("ACAAAC" + 53 * "A" + "C", places=places)
    sulfurs = np.full((60, 3), np.nan)
    sulfurs[[1, 5, 59]] = places[[1, 5, 59]]
    object.__setattr__(chain, "sg", sulfurs)
    found = within_chains(load(tiny_folder, "cpu"), [chain])
    assert found[["auc", "q", "random", "permuted"]].isna().to_numpy().all()
    assert (found[["chains", "bonds", "pairs"]] == 0).to_numpy().all()
    assert within_chains_answer(found).verdict == "Insufficient"


def test_no_chain_with_a_bond_is_refused(tiny_folder: Path):
    model = load(tiny_folder, "cpu")
    with pytest.raises(InputError, match="no chain has a disulfide and another pair"):
        within_chains(model, [chain for chain in ts50() if not len(chain.disulfides)])
    with pytest.raises(OptionError, match="2,000"):
        within_chains(model, ts50(), resamples=10)
    with pytest.raises(OptionError, match="1 to 10 untrained models of each kind, not 11"):
        within_chains(model, ts50(), untrained=11)


def test_heads_writes_them(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small_profile(monkeypatch)
    chains = [c for c in replication() if len(c.disulfides) and len(c) < 60][:10]
    out = tmp_path / "heads"

    model = load(tiny_folder, "cpu")
    options: dict[str, Any] = {"control": False, "ablation": False, "resamples": 100}
    profile_to_folder(lambda: model, lambda: [*ts50()[:1], *chains], out, **options)
    table: Any = pandas.read_csv(out / "disulfides.csv")
    expected = within_chains(model, chains, control=False)
    pandas.testing.assert_frame_equal(table, expected, check_dtype=False)
    text = (out / "summary.md").read_text(encoding="utf-8")
    assert "## Disulfides, within chains" in text
    assert within_chains_answer(expected).sentences[1] in text


def test_chains_without_bonds_give_no_table(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    small_profile(monkeypatch)
    model = load(tiny_folder, "cpu")
    chains = [chain for chain in ts50() if not len(chain.disulfides)][:2]
    options: dict[str, Any] = {"control": False, "ablation": False, "resamples": 100}
    profile_to_folder(lambda: model, lambda: chains, tmp_path / "heads", **options)
    assert not (tmp_path / "heads" / "disulfides.csv").exists()
