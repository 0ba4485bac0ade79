"""Internal repeats: against a plain Smith-Waterman, on planted copies, and on none."""

from typing import Any

import numpy as np
import pytest
from Bio.Align import substitution_matrices
from hypothesis import given, settings
from hypothesis import strategies as st

import esmkit
from esmkit.errors import InputError, OptionError
from esmkit.sequences.repeated import internal_repeats, near, residue_pairs
from tests.oracles.checkpoints import random_sequence

BLOSUM: Any = substitution_matrices.load("BLOSUM62")


def best_score(sequence: str, apart: int = 6) -> float:
    """Smith and Waterman's recursion with Gotoh's gaps, over pairs that are far enough apart."""
    size = len(sequence)
    ends = np.zeros((size + 1, size + 1))  # best that ends in a pair
    one, other = (np.full((size + 1, size + 1), -np.inf) for _ in range(2))
    for i in range(1, size + 1):
        for j in range(1, size + 1):
            one[i, j] = max(ends[i - 1, j] - 11, one[i - 1, j] - 1)
            other[i, j] = max(ends[i, j - 1] - 11, other[i, j - 1] - 1)
            pair = -1000.0 if j - i < apart else BLOSUM[sequence[i - 1]][sequence[j - 1]]
            ends[i, j] = max(0, ends[i - 1, j - 1] + pair, one[i, j], other[i, j])
    return float(ends.max())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_the_best_score_is_that_of_the_recursion(seed):
    half = random_sequence(14, seed)
    sequence = half + random_sequence(5, seed + 1) + half[:6] + half[8:] + random_sequence(3, seed)
    found = internal_repeats(sequence, max_p=0.99)
    assert found[0].score == best_score(sequence)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


@pytest.mark.parametrize("copies", [2, 3, 4])
def test_every_copy_is_paired_with_every_other(copies):
    unit = random_sequence(40, 1)
    sequence = random_sequence(9, 2) + unit * copies + random_sequence(11, 3)
    pairs = {tuple(pair) for pair in residue_pairs(internal_repeats(sequence)).tolist()}
    planted = {
        (9 + 40 * a + i, 9 + 40 * b + i)
        for i in range(40)
        for a in range(copies)
        for b in range(a + 1, copies)
    }
    assert len(planted - pairs) <= 0.02 * len(planted)
    assert len(pairs - planted) <= 0.3 * len(planted)  # ends go on for some residues


def test_copies_that_have_diverged_and_lost_residues_are_found():
    random = np.random.default_rng(0)
    unit = list(random_sequence(70, 5))
    other = [
        a if random.random() < 0.55 else str(random.choice(list("ACDEFGHIKLMNPQRSTVWY")))
        for a in unit
    ]
    del other[30:33]
    (first, *_) = internal_repeats("".join(unit + other))
    right = [j - 70 == (i if i < 30 else i - 3) for i, j in first.pairs]
    assert np.mean(right) > 0.9
    assert 0.4 < first.identity < 0.8


def test_random_sequences_have_none():
    found = [internal_repeats(random_sequence(150, seed)) for seed in range(40)]
    assert sum(map(bool, found)) <= 1  # one false one in 1,000 is expected


def test_a_biased_composition_is_no_repeat():
    random = np.random.default_rng(1)
    made = ["".join(random.choice(list("EKAL"), 150, p=[0.4, 0.3, 0.2, 0.1])) for _ in range(12)]
    assert sum(bool(internal_repeats(sequence)) for sequence in made) <= 1


def test_real_repeats_are_where_they_are_known_to_be():
    """The two lobes of troponin C, each of two EF hands; the kringles of tPA (UniProt P02585, P00750)."""
    proteins = {protein.id: protein.sequence for protein in esmkit.data.demo_proteins()}
    lobes = internal_repeats(proteins["P02585"])[0]
    assert lobes.pairs[0].tolist() == [0, 79]
    assert lobes.pairs[-1].tolist() == [79, 155]
    (kringles,) = internal_repeats(proteins["P00750"])
    in_first = (kringles.pairs[:, 0] >= 126) & (kringles.pairs[:, 0] < 208)
    in_second = (kringles.pairs[:, 1] >= 214) & (kringles.pairs[:, 1] < 296)
    assert (in_first & in_second).mean() > 0.6
    assert not any(internal_repeats(proteins[name]) for name in ("P69905", "P00517"))


def test_pairs_come_once_and_lie_apart():
    pairs = residue_pairs(internal_repeats("MKTAYIAK" * 12))
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert (pairs[:, 1] - pairs[:, 0] >= 6).all()


@given(st.integers(1, 12), st.integers(0, 3), st.data())
def test_near_is_a_margin_in_the_second_residue(size, margin, data):
    place = st.integers(0, size - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(place, place), max_size=4)), int).reshape(-1, 2)
    wanted = [
        [any(i == a and abs(j - b) <= margin for a, b in pairs) for j in range(size)]
        for i in range(size)
    ]
    np.testing.assert_array_equal(near(pairs, size, margin), np.array(wanted))


def test_what_cannot_be_is_refused_and_odd_letters_are_x():
    with pytest.raises(OptionError, match="max_p is over 0 and below 1, not 1"):
        internal_repeats("MK", max_p=1.0)
    with pytest.raises(InputError, match="the sequence is empty"):
        internal_repeats("")
    assert internal_repeats("M") == [] == internal_repeats("OU" * 3)
    unit = random_sequence(30, 8)
    assert internal_repeats(f"{unit}U{unit}O")[0].pairs[0].tolist() == [0, 31]
