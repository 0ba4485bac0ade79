"""Which heads are drawn when none are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esmkit.attention.choosing import FAR_ENOUGH, heads_that_reach_far, reach
from esmkit.attention.extract import attention
from esmkit.esm2 import Esm2
from esmkit.explorer.facts import HeadMap, facts
from esmkit.sequences.proteins import Protein


@given(st.integers(1, 40), st.integers(0, 99))
def test_reach_is_what_it_says(residues: int, seed: int):
    weights = np.random.default_rng(seed).random((residues, residues)).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    weights[0, residues // 2 :] = np.nan
    known = np.nan_to_num(weights)
    pairs = [
        min(float(known[i, j]), float(known[j, i]))
        for i in range(residues)
        for j in range(i + 6, residues)
    ]
    apart = np.abs(np.subtract.outer(np.arange(residues), np.arange(residues)))
    distance = float((known * apart).sum() / known.sum()) if known.sum() else 0.0
    strongest = sum(sorted(pairs, reverse=True)[:residues]) / residues
    np.testing.assert_allclose(reach(weights), strongest * min(distance, FAR_ENOUGH), rtol=1e-4)


@pytest.mark.parametrize("offset", [0, 1, -1, 4, -7, 12])
def test_heads_that_watch_a_fixed_neighbour_reach_nowhere(offset: int):
    assert reach(np.eye(60, k=offset)) == 0


def test_a_residue_that_everybody_looks_at_is_no_far_link():
    column = np.full((60, 60), 1e-4)
    column[:, 50] = 0.99
    pairs = np.full((60, 60), 1e-4)
    pairs[np.arange(60), np.arange(60)[::-1]] = 0.3
    assert reach(pairs) > 10 * reach(column)


def test_peptides_and_nothing_at_all():
    for size in (0, 1, 6, 7):
        assert reach(np.full((size, size), np.nan)) == 0
        assert reach(np.zeros((size, size))) == 0


def test_the_page_goes_by_the_same_number():
    weights = np.random.default_rng(0).random((30, 30)).astype(np.float32)
    nothing = np.zeros(30, np.float32)
    assert facts(HeadMap(weights, nothing, nothing), None)["reach"] == reach(weights)


@pytest.mark.weights
def test_heads_of_the_demo_proteins(real: Esm2, demo: list[Protein]):
    """The head that is known to see contacts is among those drawn by default; offset heads are not."""
    by_id = {protein.id: protein for protein in demo}
    for name in ("1UBI_A", "P01834", "P62258"):
        maps = attention(real, by_id[name])
        chosen = heads_that_reach_far(maps)
        assert "L5H4" in chosen
        assert len(chosen) == 6
        for head in chosen:
            offsets = np.arange(-5, 6)
            near = sum(np.trace(maps[head], offset) for offset in offsets)
            assert near < 0.5 * maps[head].sum()
            strongest = maps.top(1, head=head, min_separation=6)["weight"].to_numpy()
            assert strongest[0] > 0.1
