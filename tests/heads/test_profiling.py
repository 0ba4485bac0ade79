"""esmkit.heads.profile from chains to tables, on models of several shapes."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from scipy.stats import false_discovery_control

from esmkit.attention.options import columns_of
from esmkit.data import ts50
from esmkit.encoder.names import choose_heads
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.heads import Property, profile, standard_properties, untrained
from esmkit.heads.controls import passes
from esmkit.heads.judgement import TESTED_AGAIN
from esmkit.heads.measuring import measure
from esmkit.heads.resume import Keeper
from esmkit.heads.untrained import (
    control_models,
    with_permuted_weights,
    with_random_weights,
)
from esmkit.structure import Structure
from oracles.head_chains import made

FEW = [
    p
    for p in standard_properties()
    if p.name in ("long-range contact", "disulfide", "helix partner", "to helix", "offset +1")
]
COLUMNS = [
    *("name", "layer", "head", "property", "kind", "family", "share", "background", "difference"),
    *("low", "high", "ratio", "ratio_low", "ratio_high", "log_odds", "p", "p_shift", "q"),
    *("p_bonferroni", "arc_share", "arc_background", "arcs", "pooled_arc_share", "pooled_arcs"),
    *("proteins", "labelled", "half_a", "half_b", "half_b_low", "half_b_high", "position_only"),
    *("weight", "best_in", "beyond_control", "beyond_control_low", "beyond_control_high"),
    *("inflation", "random", "random_limit", "permuted", "permuted_limit"),
]
OF_CONTROLS = 5
"""Columns, at the end, that there are with controls only."""
AGAIN = [f"unrepeated_{name}" for name in TESTED_AGAIN]
"""Columns that there are where a chain has repeats; 1h4a_X has."""


CONTROLS = 3
"""Models of each control here; the small models of the tests would have ten, which takes long."""


@pytest.fixture(scope="module", autouse=True)
def few_controls() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(untrained, "MAX_CONTROLS", CONTROLS)
        yield


@pytest.fixture(scope="module")
def chains() -> list[Structure]:
    return ts50()[:12]


@pytest.fixture(scope="module")
def whole(tiny: Esm2, chains: list[Structure]) -> Any:
    return profile(tiny, chains, resamples=100)


def test_every_shape_of_model(any_tiny_folder, chains: list[Structure]):
    model = load(any_tiny_folder, "cpu")
    found: Any = profile(model, chains, properties=FEW, resamples=100)
    heads = model.layers * model.heads
    names = [f"L{layer}H{head}" for layer in range(model.layers) for head in range(model.heads)]
    assert list(found.effects.columns) == COLUMNS + AGAIN
    assert found.effects["name"].tolist() == [n for n in names for _ in FEW]
    assert found.effects["property"].tolist() == [p.name for p in FEW] * heads
    assert found.effects["kind"].tolist() == [p.kind for p in FEW] * heads
    assert found.heads["name"].tolist() == names
    assert (found.heads["name"] == found.effects["name"].unique()).all()
    assert found.heads["layer"].tolist() == [
        n for n in range(model.layers) for _ in range(model.heads)
    ]
    assert found.provenance["chains"] == [s.id for s in chains]
    json.dumps(found.provenance)


def test_the_columns_agree_with_each_other(whole: Any, chains: list[Structure]):
    effects = whole.effects
    assert len(effects) == 8 * 40
    known = effects.dropna(subset=["difference"])
    assert len(known) > 200
    assert (effects["difference"].isna() == (effects["proteins"] < 10)).all()
    np.testing.assert_allclose(
        known["difference"], known["share"] - known["background"], atol=1e-12
    )
    np.testing.assert_allclose(known["ratio"], known["share"] / known["background"])
    odds = np.log(known["share"] / (1 - known["share"]))
    odds -= np.log(known["background"] / (1 - known["background"]))
    np.testing.assert_allclose(known["log_odds"], odds, atol=1e-9)
    assert (known["low"] <= known["high"]).all()
    assert known["share"].between(0, 1).all()
    assert known["p"].between(0, 1).all()
    assert (known["q"] >= known["p"]).all()
    assert (known["p_bonferroni"] >= known["q"]).all()
    for (name,), rows in effects.groupby(["property"]):
        of = next(p for p in standard_properties() if p.name == name)
        counts = []
        for chain in chains:
            inside = np.ix_(*[chain.resolved] * (1 if of.kind == "residue" else 2))
            times = int(chain.resolved.sum()) if of.kind == "residue" else 1
            counts.append(int(of.of(chain)[inside].sum()) * times)
        assert (rows["proteins"] == np.count_nonzero(counts)).all()
        assert (rows["labelled"] == sum(counts)).all()
    # the three states are all there is, where DSSP knows the residue
    states = effects[effects["property"].isin(["to helix", "to strand", "to coil"])]
    np.testing.assert_allclose(states.groupby("name")["share"].sum(), 1, atol=0.02)


def test_controls_are_untrained_models(whole: Any, tiny: Esm2, chains: list[Structure]):
    """Their differences, the limit over all of them, and the inflation, by hand from tables."""
    models = control_models(tiny)
    assert models == whole.provenance["random_models"] == CONTROLS
    assert models == whole.provenance["permuted_models"]
    effects = whole.effects
    for kind, make in (("random", with_random_weights), ("permuted", with_permuted_weights)):
        controls: Any = [
            profile(make(tiny, seed=n), chains, resamples=100, control=False).effects
            for n in range(models)
        ]
        np.testing.assert_array_equal(effects[kind], controls[0]["difference"])
        for name, rows in effects.groupby("property"):
            of: Any = pandas.concat([c[c["property"] == name] for c in controls])
            if of["difference"].isna().all():
                assert rows[f"{kind}_limit"].isna().all()
                assert (rows["inflation"] == 1).all()
                continue
            limit = np.quantile(of["difference"].abs(), 0.95)
            np.testing.assert_allclose(rows[f"{kind}_limit"], limit)
    assert (effects["inflation"] > 2).mean() > 0.5
    # the null is wider by the inflation (tests of statistics have the numbers)
    known = effects[effects["p_shift"] < 0.4]
    assert (known["p"] >= known["p_shift"]).all()
    assert (known["p"] > known["p_shift"])[known["inflation"] > 1.5].all()


def test_the_inflation_is_that_of_the_wider_control(
    tiny: Esm2, chains: list[Structure], whole: Any
):
    """Of random or of permuted weights, whichever is larger for the property, by plain sums."""
    choice = choose_heads(None, "all", of_layers=tiny.layers, of_heads=tiny.heads)
    squares = []
    for make in (with_random_weights, with_permuted_weights):
        found = [
            measure(make(tiny, seed=n), chains, standard_properties(), choice)
            for n in range(CONTROLS)
        ]
        every = np.concatenate([one.accumulator.deviations() for one in found])
        squares.append(
            [np.mean(of[~np.isnan(of)] ** 2) if (of == of).any() else 1 for of in every.T]
        )
    random, permuted = np.array(squares)
    assert (random > permuted).any()
    assert (permuted > random).any()
    wanted = np.maximum(np.maximum(random, permuted), 1)
    np.testing.assert_allclose(whole.effects["inflation"][: len(wanted)], wanted)


def test_passes_are_named_as_they_run(tiny: Esm2, chains: list[Structure]):
    """One for each time that the chains are gone through, and each with a stage of its own."""
    stages: list[int] = []

    class Watched(Keeper):
        def get(self, stage: int, place: int, names: Any) -> None:
            stages.append(stage)

    told: list[str] = []
    profile(tiny, chains[:2], properties=FEW, resamples=100, progress=told.append, keep=Watched())
    named = passes(tiny)
    assert named == [
        "trained weights",
        *(f"random weights {n}/3" for n in (1, 2, 3)),
        *(f"permuted weights {n}/3" for n in (1, 2, 3)),
    ]
    assert len(told) == 2 * len(named) == len(stages)
    assert list(dict.fromkeys(stages)) == list(range(7))
    assert passes(tiny, control=False) == ["trained weights"]


def test_q_is_within_the_family(whole: Any):
    """scipy on the tests of each family alone; a user's residues belong to the residues."""
    effects = whole.effects
    assert dict(zip(effects["kind"], effects["family"], strict=True)) == {
        "pair": "pairs",
        "residue": "residues",
        "offset": "offsets",
    }
    for _, rows in effects.groupby("family"):
        known = rows[rows["p"].notna()]
        np.testing.assert_allclose(known["q"], false_discovery_control(known["p"]))
        np.testing.assert_allclose(
            known["p_bonferroni"], np.minimum(known["p"] * len(known), 1), rtol=1e-12
        )
        assert rows["q"].isna().equals(rows["p"].isna())


def test_offsets_do_not_lower_the_bar_for_pairs(tiny: Esm2, chains: list[Structure], whole: Any):
    """q of pairs is the same whether offsets and residues are tested or not."""
    pairs = [p for p in standard_properties() if p.kind == "pair"]
    alone: Any = profile(tiny, chains, properties=pairs, resamples=100).effects
    among = whole.effects[whole.effects["kind"] == "pair"].reset_index(drop=True)
    pandas.testing.assert_frame_equal(
        alone.drop(columns="best_in"), among.drop(columns="best_in"), rtol=1e-9, check_exact=False
    )


def test_how_many_controls(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(untrained, "MAX_CONTROLS", 10)
    shapes = {(6, 20): 3, (12, 20): 2, (33, 20): 1, (1, 1): 10}
    for (layers, heads), models in shapes.items():
        assert control_models(SimpleNamespace(layers=layers, heads=heads)) == models  # type: ignore


def test_position_only_is_a_head_of_its_mean_offsets(tiny: Esm2):
    """On chains of one length: the mean map at each offset, as a head."""
    chains = [made("ACDEFGHIKLMN"[k:] + "ACDEFGHIKLMN"[:k], name=f"chain{k}_A") for k in range(11)]
    of = [p for p in standard_properties() if p.name in ("short-range contact", "to leucine")]
    found: Any = profile(tiny, chains, properties=of, resamples=100, control=False).effects
    maps = np.stack([tiny.attention(c.sequence).maps for c in chains]).astype(float)
    for head in range(8):
        mean = np.zeros((12, 12))
        for offset in range(-11, 12):
            rows = np.arange(max(0, -offset), 12 - max(0, offset))
            mean[rows, rows + offset] = maps[:, head, rows, rows + offset].mean()
        for row in found[found["name"] == f"L{head // 4}H{head % 4}"].to_dict("records"):
            property_ = next(p for p in of if p.name == row["property"])
            labels = [np.broadcast_to(property_.of(c), (12, 12)) for c in chains]
            wanted = sum((mean * f).sum() for f in labels) / (mean.sum() * len(chains))
            np.testing.assert_allclose(row["position_only"], wanted, rtol=1e-6)


def test_heads_table(whole: Any, tiny: Esm2, chains: list[Structure]):
    """Facts are means over chains of what esmkit attention --reduce gives."""
    from esmkit.attention.summaries import summarize

    heads = whole.heads
    assert list(heads.columns) == [
        *("name", "layer", "head", "label", "evidence", "entropy", "distance", "bos", "eos"),
        *("top_offset", "top_offset_share", "positional"),
        *columns_of(("offsets",)),
    ]
    table: Any = summarize(
        tiny, [s.protein for s in chains], reduce=("entropy", "distance", "special")
    )
    wanted = table.groupby("name")[["entropy", "distance", "bos", "eos"]].mean()
    for name in wanted.columns:
        np.testing.assert_allclose(heads.set_index("name")[name], wanted[name], rtol=1e-5)
    offsets = heads[columns_of(("offsets",))].to_numpy()
    assert (offsets.sum(1) < 1).all()
    for row, share in zip(heads.to_dict("records"), offsets, strict=True):
        if abs(row["top_offset"]) <= 32:
            np.testing.assert_allclose(row["top_offset_share"], share.max())
            assert row["top_offset"] == share.argmax() - 32
    assert heads["positional"].between(0, 1).all()


def test_the_same_seed_gives_the_same_tables(tiny: Esm2, whole: Any, chains):
    again: Any = profile(tiny, iter(chains), resamples=100)
    pandas.testing.assert_frame_equal(again.effects, whole.effects)
    pandas.testing.assert_frame_equal(again.heads, whole.heads)
    other: Any = profile(tiny, chains, resamples=100, seed=1).effects
    for name, same in (("difference", True), ("p_shift", True), ("low", False), ("random", False)):
        assert np.array_equal(other[name], whole.effects[name], equal_nan=True) == same, name


def test_chains_that_are_left_out(tiny: Esm2, chains: list[Structure]):
    bad = [
        chains[0],
        made("A" * 1023, name="long_A"),
        made("ACDE", name="loose_A", unresolved=(0, 2)),
    ]
    found: Any = profile(tiny, [*chains, *bad], properties=FEW, resamples=100)
    assert found.left_out == [
        (chains[0].id, "its ID comes twice; only the first is taken"),
        ("long_A", "it has 1,023 residues, more than the 1,022 of one window"),
        ("loose_A", "fewer than three of its residues are resolved"),
    ]
    assert found.provenance["chains"] == [s.id for s in chains]
    alone: Any = profile(tiny, chains, properties=FEW, resamples=100)
    pandas.testing.assert_frame_equal(found.effects, alone.effects)
    assert alone.left_out == []


def test_one_chain_is_insufficient(tiny: Esm2, chains: list[Structure]):
    found: Any = profile(tiny, chains[:1], resamples=100)
    for name in ("share", "background", "difference", "low", "high", "ratio", "log_odds", "p", "q"):
        assert found.effects[name].isna().all(), name
    sinks = found.heads["label"].str.contains("sink|offset|positional")
    assert (found.heads["label"][~sinks] == "insufficient").all()
    assert (~sinks).any()


def test_without_control(tiny: Esm2, chains: list[Structure], whole: Any):
    found: Any = profile(tiny, iter(chains), resamples=100, control=False)
    assert list(found.effects.columns) == COLUMNS[:-OF_CONTROLS] + AGAIN
    np.testing.assert_array_equal(found.effects["p"], found.effects["p_shift"])
    assert found.provenance["random_models"] == 0
    tests = ["p", "q", "p_bonferroni"]
    pandas.testing.assert_frame_equal(
        found.effects[COLUMNS[:-OF_CONTROLS]].drop(columns=tests),
        whole.effects[COLUMNS[:-OF_CONTROLS]].drop(columns=tests),
    )
    assert found.provenance["control"] is False


def test_progress_is_told_each_chain_before_its_turn(tiny: Esm2, chains: list[Structure]):
    told: list[str] = []

    def stream():
        for place, chain in enumerate(chains[:3]):
            assert len(told) == place
            yield chain

    profile(tiny, stream(), properties=FEW, resamples=100, control=False, progress=told.append)
    assert told == [s.id for s in chains[:3]]
    told.clear()
    profile(tiny, chains[:3], properties=FEW, resamples=100, progress=told.append)
    assert told == [s.id for s in chains[:3]] * (1 + 2 * control_models(tiny))


def test_fewer_untrained_models_can_be_asked_for(tiny: Esm2, chains: list[Structure]):
    """One of each kind: its heads alone are the limits, and there are fewer passes."""
    told: list[str] = []
    some = chains[:11]
    asked: Any = {"properties": FEW, "resamples": 100}
    found = profile(tiny, some, untrained=1, progress=told.append, **asked)
    assert found.provenance["random_models"] == found.provenance["permuted_models"] == 1
    assert told == [s.id for s in some] * 3
    effects = found.effects
    for kind in ("random", "permuted"):
        for _, rows in effects.groupby("property"):
            if bool(rows[kind].notna().all()):
                limit = np.quantile(rows[kind].abs(), 0.95)
                np.testing.assert_allclose(rows[f"{kind}_limit"], limit, rtol=1e-12)
    assert bool(effects["random_limit"].notna().any())
    for number in (0, CONTROLS + 1):  # CONTROLS is the most there may be in this module
        with pytest.raises(
            OptionError, match=f"1 to {CONTROLS} untrained models of each kind, not {number}"
        ):
            profile(tiny, some, untrained=number, **asked)


def test_options_that_make_no_sense(tiny: Esm2, chains: list[Structure]):
    for properties in ([], [FEW[0], FEW[0]]):
        with pytest.raises(OptionError) as stopped:
            profile(tiny, chains, properties=properties)
        assert str(stopped.value) == "give at least one property, and each name once"
    with pytest.raises(OptionError) as stopped:
        profile(tiny, chains, resamples=99)
    assert str(stopped.value) == "resamples is at least 100, not 99"


def test_no_chain_that_can_be_used(tiny: Esm2):
    with pytest.raises(InputError) as stopped:
        profile(tiny, [])
    wanted = "give protein chains of 3 to 1,022 residues"
    assert str(stopped.value) == f"no chain can be used; {wanted}"
    with pytest.raises(InputError) as stopped:
        profile(tiny, [made("ACDE", unresolved=(0, 1))])
    assert str(stopped.value) == (
        f"no chain can be used (made_A: fewer than three of its residues are resolved); {wanted}"
    )


def test_a_property_of_the_users(tiny: Esm2, chains: list[Structure]):
    charged = Property("charged", "residue", lambda s: np.isin(list(s.sequence), list("DEKR")))
    found: Any = profile(tiny, chains, properties=[charged], resamples=100, control=False)
    assert found.best("charged")["difference"].is_monotonic_decreasing
    with pytest.raises(InputError, match="property 'bad' gives labels of shape"):
        profile(tiny, chains, properties=[Property("bad", "pair", lambda s: np.ones(3, bool))])


def test_of_and_best(whole: Any):
    assert repr(whole) == "HeadProfile(tiny-esm2: 8 heads, 40 properties, 12 chains)"
    rows = whole.of("L1H2")
    assert len(rows) == 40
    assert rows["difference"].dropna().is_monotonic_decreasing
    best = whole.best("to helix", 3, supported=False)  # of 12 chains, no effect is significant
    assert not best["supported"].any()
    assert whole.best("to helix").empty
    every = whole.effects[whole.effects["property"] == "to helix"]["difference"]
    assert best["difference"].tolist() == sorted(every, reverse=True)[:3]
    with pytest.raises(OptionError, match="there is no head 'L9H9' in this profile; heads are nam"):
        whole.of("L9H9")
    with pytest.raises(
        OptionError, match="no property 'x' in this profile; there are short-range cont"
    ):
        whole.best("x")


def test_random_weights_are_reproducible(tiny: Esm2):
    state = torch.get_rng_state()
    a, b, c = (with_random_weights(tiny, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    ours = dict(tiny.network.named_parameters())
    different = 0
    for (name, x), (_, y), (_, z) in zip(
        *(m.network.named_parameters() for m in (a, b, c)), strict=True
    ):
        assert torch.equal(x, y), name
        assert x.shape == ours[name].shape
        if x.ndim == 2:
            assert not torch.equal(x, z), name
            assert not torch.equal(x, ours[name]), name
            different += 1
    assert different >= 6 * tiny.layers
    assert set(dict(a.network.named_parameters())) == set(ours)
    for name, buffer in a.network.named_buffers():
        assert torch.equal(buffer, dict(tiny.network.named_buffers())[name]), name
    assert (a.layers, a.heads, a.width) == (tiny.layers, tiny.heads, tiny.width)
    assert not np.allclose(a.attention("ACDEFG").maps, tiny.attention("ACDEFG").maps)
    np.testing.assert_array_equal(a.attention("ACDEFG").maps, b.attention("ACDEFG").maps)


def test_permuted_weights_are_the_weights_in_another_order(any_tiny_folder):
    model = load(any_tiny_folder, "cpu")
    before = {name: p.clone() for name, p in model.network.named_parameters()}
    state = torch.get_rng_state()
    a, b, c = (with_permuted_weights(model, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    moved = 0
    for (name, x), (_, y), (_, z) in zip(
        *(m.network.named_parameters() for m in (a, b, c)), strict=True
    ):
        own = before[name]
        assert torch.equal(x, y), name
        assert x.shape == own.shape, name
        assert torch.equal(x.flatten().sort().values, own.flatten().sort().values), name
        if own.ndim == 2:
            assert not torch.equal(x, own), name
            assert not torch.equal(x, z), name
            moved += 1
        assert x.data_ptr() != model.network.get_parameter(name).data_ptr(), name
    assert moved >= 6 * model.layers
    for name, own in model.network.named_parameters():  # the model itself is left as it is
        assert torch.equal(own, before[name]), name
    for name, buffer in a.network.named_buffers():
        assert torch.equal(buffer, dict(model.network.named_buffers())[name]), name
    assert type(a) is type(model)
    assert not np.allclose(a.attention("ACDEFG").maps, model.attention("ACDEFG").maps)
    np.testing.assert_array_equal(a.attention("ACDEFG").maps, b.attention("ACDEFG").maps)


@pytest.mark.weights
@pytest.mark.slow
def test_the_contact_head_of_the_real_checkpoint(real: Esm2, chains: list[Structure]):
    """L5H4, the best single head for contacts in the literature (plm-contact-fusion 2026)."""
    of = [p for p in standard_properties() if p.name == "long-range contact"]
    found: Any = profile(real, chains, properties=of, resamples=200, control=False)
    best = found.best("long-range contact", 3)
    assert "L5H4" in best["name"].tolist()
    row = found.of("L5H4").iloc[0]
    assert row["low"] > 0
    assert row["q"] < 1e-3
    assert row["ratio"] > 1.5
