"""Heads that copy, on real proteins: what counts as a copy and what as its background."""

from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esmkit
from esmkit.errors import InputError, OptionError
from esmkit.esm2 import Esm2
from esmkit.heads.real_repeats import (
    across_proteins,
    copies_and_surroundings,
    on_copies,
    real_repeat_scores,
)
from esmkit.sequences.proteins import Protein
from esmkit.sequences.repeated import internal_repeats, residue_pairs
from tests.oracles.checkpoints import make_checkpoint, random_sequence

COPYING = {"L3H1", "L3H13", "L5H11", "L5H15", "L5H19"}


@given(st.integers(20, 40), st.data())
def test_copies_and_their_background_are_those_of_loops(size, data):
    apart = st.integers(0, size - 7).flatmap(
        lambda i: st.tuples(st.just(i), st.integers(i + 6, size - 1))
    )
    pairs = data.draw(st.lists(apart, min_size=1, max_size=6))
    aligned, around = copies_and_surroundings(np.array(pairs), size)
    both = [*pairs, *((j, i) for i, j in pairs)]
    maps = np.random.default_rng(size).random((2, size, size))
    of_queries = []
    for query in range(size):
        keys = [j for i, j in both if i == query]
        beside = [
            k
            for k in range(size)
            if any(abs(k - j) <= 10 for j in keys)
            and not any(abs(k - j) <= 2 for j in keys)
            and abs(k - query) > 5
        ]
        assert np.flatnonzero(aligned[query]).tolist() == sorted(set(keys))
        assert np.flatnonzero(around[query]).tolist() == beside
        if keys and beside:
            own = sorted(set(keys))
            weights = maps[:, query]
            of_queries.append([weights[:, own].sum(1), len(own) * weights[:, beside].mean(1)])
    if of_queries:
        wanted = np.mean(of_queries, axis=0).T
        np.testing.assert_allclose(on_copies(maps, aligned, around), wanted, rtol=1e-12)


def test_scores_are_those_of_the_maps_that_the_library_gives(tmp_path_factory):
    model = esmkit.load(str(make_checkpoint(tmp_path_factory.mktemp("real") / "tiny", (2, 4, 32))))
    unit = random_sequence(30, 1)
    proteins = [
        Protein("none", random_sequence(60, 2)),
        Protein("twice", unit + random_sequence(10, 3) + unit),
    ]
    found: Any = real_repeat_scores(model, proteins)
    assert set(found["id"]) == {"twice"}
    assert set(found["repeats"]) == {1}
    maps = model.attention(proteins[1])
    every = np.stack([maps[name] for name in found["name"]])
    pairs = residue_pairs(internal_repeats(proteins[1].sequence))
    wanted = on_copies(every, *copies_and_surroundings(pairs, 70))
    np.testing.assert_allclose(found[["weight", "background"]], wanted, atol=1e-6)
    across: Any = across_proteins(found)
    assert across["real_low"].isna().all()  # one protein has no interval
    np.testing.assert_allclose(across["real_weight"], wanted[:, 0], atol=1e-6)
    with pytest.raises(InputError, match="no protein has a repeat"):
        real_repeat_scores(model, proteins[:1])


def test_the_interval_is_over_proteins():
    random = np.random.default_rng(0)
    apart = random.normal(0.2, 0.1, 40)
    made = pandas.DataFrame(
        {"name": "L0H0", "layer": 0, "head": 0, "weight": 0.1 + apart, "background": 0.1}
    )
    row: Any = across_proteins(made, resamples=4_000).iloc[0]
    error = apart.std(ddof=0) / np.sqrt(40)
    assert row["real_low"] == pytest.approx(apart.mean() - 1.96 * error, abs=0.2 * error)
    assert row["real_high"] == pytest.approx(apart.mean() + 1.96 * error, abs=0.2 * error)
    assert row["real_above"] == int((apart > 0).sum())
    with pytest.raises(OptionError, match="at least 100, not 5"):
        across_proteins(made, resamples=5)


@pytest.mark.weights
def test_the_heads_that_copy_random_segments_copy_in_real_proteins(real: Esm2):
    found: Any = real_repeat_scores(real, esmkit.data.repeat_proteins())
    assert found["id"].nunique() == 14
    table: Any = across_proteins(found).sort_values("real_difference", ascending=False)
    assert set(table["name"].head(5)) == COPYING
    assert table["real_low"].head(5).min() > 0.05
    assert table["real_difference"].iloc[7:].max() < 0.03
    apart = found.assign(apart=found["weight"] - found["background"])
    first = apart.sort_values("apart", ascending=False).groupby("id").head(5)
    of_all = first.groupby("id")["name"].agg(lambda names: set(names) == COPYING)
    assert of_all.sum() >= 10
