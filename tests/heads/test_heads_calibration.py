"""Do the statistics of heads keep their promises? Heads whose truth is known, on real structures.

With ``ESMKIT_TRIALS`` in the environment, more untrained models: four minutes.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from esmkit.data import ts50
from esmkit.encoder.names import choose_heads
from esmkit.esm2 import Esm2
from esmkit.heads.labels import Rules
from esmkit.heads.measuring import Measured, add_chain
from esmkit.heads.profiling import profile
from esmkit.heads.properties import Property, standard_properties
from esmkit.heads.scores import ChainLabels, score_block
from esmkit.heads.statistics import Accumulator
from esmkit.heads.tables import beyond_controls, effects_table, heads_table
from esmkit.heads.untrained import with_permuted_weights, with_random_weights
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.structure import Structure
from oracles.checkpoints import SHAPES
from oracles.head_chains import offsets_of, softmax

PROPERTIES = [p for p in standard_properties() if p.kind != "offset"]
KINDS = np.array([p.kind for p in PROPERTIES])
NAMES = [p.name for p in PROPERTIES]

LONG = "ESMKIT_TRIALS" in os.environ
SEEDS = [100, 101] if LONG else [100]
"""Of untrained models. Without the correction for them 30 % of tests are significant, with any seed."""
SIZES = SHAPES if LONG else [max(SHAPES, key=lambda shape: shape[0] * shape[1])]
"""Their shapes: the rate is a mean over heads, of which the largest has 20 and the others 6 and 8."""


def assert_calibrated(significant: np.ndarray) -> None:
    """The mean of rates is 5 % or below within its 99 % interval, and not far below.

    Rates come one for each independent unit (a random head, a permutation): tests within one are
    correlated, so that the binomial interval of all of them would be too narrow.
    """
    rate, error = significant.mean(), significant.std(ddof=1) / np.sqrt(len(significant))
    print(f"rate {rate:.4f} +- {error:.4f} of {len(significant)} units")
    assert rate - 2.58 * error <= 0.05, f"{rate:.3f} +- {error:.3f}"
    assert rate + 2.58 * error >= 0.03, f"{rate:.3f} +- {error:.3f} has lost its power"


def random_heads(heads: int, height: float) -> Callable[[int], np.ndarray]:
    """Softmax of Gaussian noise, on top of a peak of some height at an offset of the head's own."""
    random = np.random.default_rng(21)
    centres = np.array([-12, -7, -5, -4, -3, -1, 1, 2, 3, 4, 6, 9, 12])
    profile_of = np.resize(centres, heads)

    def maps(residues: int) -> np.ndarray:
        apart = offsets_of(residues)
        peak = height * np.exp(-0.5 * ((apart - profile_of[:, None, None]) / 2) ** 2)
        return softmax(random.normal(size=(heads, residues, residues)) + peak)

    return maps


@pytest.mark.slow
@pytest.mark.parametrize("height", [0.0, 3.0, 6.0])
def test_random_attention_is_significant_as_often_as_it_should(height: float):
    """Heads without any preference but an offset: 5 % are significant, for each kind.

    With a background of offsets alone, 65 % of those with the highest peak were so for coil, of
    which the ends of chains have most, as a softmax there has fewer keys.
    """
    heads = 39
    maps = random_heads(heads, height)
    gathered = Accumulator(heads, len(PROPERTIES))
    for chain in ts50():
        labels = ChainLabels(chain, PROPERTIES)
        gathered.add(score_block(maps(len(chain)), labels), labels.counts)
    p = gathered.effects(resamples=100, seed=0).p
    assert np.isfinite(p).all()
    for kind in ("pair", "residue"):
        assert_calibrated((p[:, kind == KINDS] <= 0.05).mean(1))
    states = [NAMES.index(f"to {state}") for state in ("helix", "strand", "coil")]
    assert (p[:, states] <= 0.05).mean() < 0.12


def permuted(of: Property, seed: int) -> Property:
    """The labels of a property, shifted along each chain by a random number of residues."""

    def labels(structure: Structure) -> np.ndarray:
        random = np.random.default_rng([seed, *structure.id.encode()])
        by = int(random.integers(len(structure)))
        found = of.of(structure)
        return np.roll(found, (by, by), (0, 1)) if of.kind == "pair" else np.roll(found, by)

    return Property(f"{of.name}, permuted {seed}", of.kind, labels)


@pytest.mark.weights
@pytest.mark.slow
def test_permuted_labels_on_real_maps(real: Esm2):
    """Attention of the real model has structure enough; shifted labels have nothing to do with it."""
    chosen = ("short-range contact", "long-range contact", "helix partner", "same amino acid")
    base = [p for p in PROPERTIES if p.name in (*chosen, "to helix", "to leucine")]
    times = 20
    properties = [permuted(of, seed) for seed in range(times) for of in base]
    heads = ["L0H3", "L1H14", "L2H10", "L3H5", "L4H11", "L5H4", "L5H10", "L5H2"]
    gathered = Accumulator(len(heads), len(properties))
    for chain in [s for s in ts50() if s.resolved.all()][:14]:
        maps = real.attention(chain.sequence, heads=heads).maps
        labels = ChainLabels(chain, properties)
        gathered.add(score_block(maps, labels), labels.counts)
    p = gathered.effects(resamples=100, seed=0).p
    assert np.isfinite(p).all()
    of_times = (p <= 0.05).reshape(len(heads), times, len(base))
    assert_calibrated(of_times.mean((0, 2)))


def tables(
    chains: Sequence[Structure], maps_of: Callable[[Structure], np.ndarray]
) -> tuple[Any, Any]:
    """The tables of a profile (data frames), of heads that are given."""
    properties = standard_properties()
    heads = len(maps_of(chains[0]))
    choice = choose_heads(None, "all", of_layers=1, of_heads=heads)
    width = 2 * MAX_RESIDUES - 1
    measured = Measured(
        Accumulator(heads, len(properties)),
        np.zeros((heads, 4)),
        np.zeros((heads, width)),
        np.zeros(width),
        np.zeros((len(properties), width)),
        np.zeros((heads, 3)),
        [],
    )
    for chain in chains:
        labels = ChainLabels(chain, properties)
        add_chain(measured, chain.id, score_block(maps_of(chain), labels), labels)
    effects = measured.accumulator.effects(resamples=2_000, seed=0)
    beyond = beyond_controls(properties, measured, resamples=100, seed=0)
    table = effects_table(properties, choice, measured, effects, None, beyond)
    return table, heads_table(choice, measured, table, Rules())


PLANTED = {
    "long-range contact": 0.3,
    "helix partner": 0.3,
    "same amino acid": 0.2,
    "to leucine": 0.2,
}


def test_planted_heads_are_found_with_their_effect():
    """Each gives a known share of every query to a property, if it has any, and the rest to noise."""
    chains = ts50()[:30]
    of = {p.name: p for p in standard_properties()}
    random = np.random.default_rng(8)

    def planted(chain: Structure, noise: bool) -> np.ndarray:
        residues = len(chain)
        maps = []
        for name, share in PLANTED.items():
            found = np.broadcast_to(of[name].of(chain), (residues, residues)).astype(float)
            there = found.sum(1, keepdims=True)
            target = np.divide(found, there, out=np.full_like(found, 1 / residues), where=there > 0)
            scores = random.normal(0, float(noise), found.shape)
            maps.append((1 - share) * softmax(scores) + share * target)
        return np.stack(maps)

    table, heads = tables(chains, lambda chain: planted(chain, True))
    truth, _ = tables(chains, lambda chain: planted(chain, False))
    assert heads["label"].tolist() == [name.removeprefix("to ") for name in PLANTED]
    for head, name in enumerate(PLANTED):
        row = table.query("head == @head and property == @name").iloc[0]
        known = truth.query("head == @head and property == @name").iloc[0]
        assert row["low"] < known["difference"] < row["high"]
        np.testing.assert_allclose(row["difference"], known["difference"], rtol=0.02)
        assert row["p_bonferroni"] < 1e-6
        # the share itself, by plain sums over the chains that have the property
        hits, mass = 0.0, 0.0
        for chain in chains:
            kept = np.flatnonzero(chain.resolved)
            inner = planted(chain, False)[head][np.ix_(kept, kept)]
            labels = of[name].of(chain)
            labels = labels[kept] if labels.ndim == 1 else labels[np.ix_(kept, kept)]
            if labels.any():
                hits += (inner * labels).sum()
                mass += inner.sum()
        np.testing.assert_allclose(known["share"], hits / mass, rtol=1e-12)


def test_a_positional_head_is_never_helix():
    """Weight on the very offsets of helix partners, on mostly helical chains."""
    chains = sorted(ts50(), key=lambda s: -s.secondary_structure.count("H") / len(s))[:12]
    assert all(s.secondary_structure.count("H") > 0.4 * len(s) for s in chains)
    random = np.random.default_rng(5)

    def maps(chain: Structure) -> np.ndarray:
        apart = offsets_of(len(chain))
        both = np.isin(apart, [-4, -3, 3, 4]) + 0.01
        ahead = np.isin(apart, [3, 4]) + 0.01
        noise = random.normal(size=apart.shape)
        return np.stack(
            [
                both / 5,  # of offsets alone
                (apart == 4) + 0.001,
                softmax(4.0 * both),  # cut at the ends
                softmax(4.0 * ahead),
                softmax(3.0 * both + 1.5 * noise),
            ]
        )

    table, heads = tables(chains, maps)
    helix = table[table["property"].isin(["helix partner", "to helix"])]
    assert (helix["share"] > 0.1).all()
    exact = helix[helix["head"] < 4]
    np.testing.assert_allclose(exact["difference"], 0, rtol=0, atol=1e-10)
    np.testing.assert_allclose(exact["low"], 0, rtol=0, atol=1e-10)
    noisy = helix[helix["head"] == 4]
    np.testing.assert_allclose(noisy["difference"], 0, rtol=0, atol=0.01)
    assert heads["label"].tolist()[:4] == ["positional", "offset +4", "positional", "positional"]
    assert heads["label"][4] in ("positional", "mixed")


def assert_untrained(found: Any, most: float = 0.05) -> None:
    """5 % of a random model's heads are significant, and fewer have a label of a property."""
    effects = found.effects[found.effects["p"].notna()]
    for kind, rows in effects.groupby("kind"):
        print(kind, (rows["p_shift"] <= 0.05).mean())
        wide = rows.pivot(index="name", columns="property", values="p")
        assert_below(wide.to_numpy() <= 0.05, most)
    assert_below(effects.pivot(index="name", columns="property", values="q").to_numpy() <= 0.05)
    labels = found.heads["label"]
    none = labels.isin(["mixed", "positional", "insufficient", "BOS sink", "EOS sink"])
    none |= labels.str.startswith("offset ")
    assert (~none).mean() <= 0.05, labels.value_counts()


def assert_below(significant: np.ndarray, most: float = 0.05) -> None:
    """At most 5 %, within the 99 % interval; heads of one model are the units."""
    rates = significant.mean(1)
    error = rates.std(ddof=1) / np.sqrt(len(rates))
    print(f"rate {rates.mean():.4f} +- {error:.4f} of {len(rates)} heads")
    assert rates.mean() - 2.58 * error <= most


@pytest.mark.slow
@pytest.mark.parametrize("make", [with_random_weights, with_permuted_weights])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("any_tiny_folder", SIZES, indirect=True, ids=str)
def test_untrained_weights_are_significant_as_often_as_they_should(
    any_tiny_folder, make: Any, seed: int
):
    from esmkit.esm2 import load

    model = make(load(any_tiny_folder, "cpu"), seed=seed)
    # p is slightly liberal for permuted weights, see below
    most = 0.05 if make is with_random_weights else 0.08
    assert_untrained(profile(model, ts50()[:12], resamples=200), most)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_random_weights_of_the_real_shape_are_too(real: Esm2, seed: int):
    """Against shifted labels alone 30 to 40 % are: a random embedding has a taste for amino acids."""
    found = profile(with_random_weights(real, seed=seed), ts50()[:12], resamples=200)
    assert_untrained(found)
    rest: Any = found.effects[found.effects["kind"] != "offset"]
    assert (rest["p_shift"] <= 0.05).mean() > 0.15  # else this test could not fail
    assert rest["difference"].abs().max() < 0.01


@pytest.mark.weights
@pytest.mark.slow
def test_permuted_weights_of_the_real_model_are_too(real: Esm2):
    """Their attention is as sharp as that of trained heads: the control that could win.

    p is slightly liberal for them, for tastes have heavier shoulders than the null: on all 50 chains
    4 % of tests for pairs, 6 % for residues and 8 % for offsets are significant (five permuted
    models that no inflation came from; with the inflation of random weights alone 4, 7 and 12 %).
    Far out it is not, where q is decided: q is at most 0.05 for 0.02 % of pairs, for no residue, and
    for 0.4 % of offsets.
    """
    found = profile(with_permuted_weights(real, seed=100), ts50()[:12], resamples=200)
    effects = found.effects[found.effects["p"].notna()]
    rows: Any
    for kind, rows in effects.groupby("kind"):
        print(kind, (rows["p"] <= 0.05).mean(), (rows["q"] <= 0.05).mean())
        assert (rows["p"] <= 0.05).mean() <= (0.12 if kind == "offset" else 0.08)
        assert (rows["q"] <= 0.05).mean() <= 0.03
    of_property = {str(name).removeprefix("to ") for name in found.effects["property"]}
    labels: Any = found.heads["label"]
    assert labels.isin(list(of_property)).mean() <= 0.02
    rest: Any = found.effects[found.effects["kind"] != "offset"]
    assert (rest["p_shift"] <= 0.05).mean() > 0.15  # else this test could not fail
    contact: Any = rest[rest["property"] == "long-range contact"]
    assert contact["permuted_limit"].iloc[0] > 5 * contact["random_limit"].iloc[0]
    assert contact["permuted_limit"].iloc[0] < Rules().min_difference
