"""Relatives are told from strangers by sequence, whatever their names."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esmkit.data import demo_proteins, ts50
from esmkit.sequences.likeness import are_alike, first_alike, least_identity
from oracles.checkpoints import random_sequence

UBIQUITIN = demo_proteins()[0].sequence
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@st.composite
def relatives(draw: st.DrawFn) -> tuple[str, str]:
    """A chain of TS50, and what a construct of it may look like: tags, cuts, mutations, X, a loop."""
    sequence = ts50()[draw(st.integers(0, 49))].sequence
    chance = random.Random(draw(st.integers(0, 10**6)))
    start = draw(st.integers(0, len(sequence) // 3))
    stop = len(sequence) - draw(st.integers(0, len(sequence) // 3))
    letters = list(sequence[start:stop])
    for place in chance.sample(range(len(letters)), draw(st.integers(0, len(letters) // 5))):
        letters[place] = chance.choice([*LETTERS, "X"])
    gap = draw(st.integers(0, 8))
    cut = draw(st.integers(0, len(letters)))
    changed = "".join(letters[:cut] + letters[cut + gap :])
    tags = [random_sequence(draw(st.integers(1, 40)), draw(st.integers(0, 99))) for _ in range(2)]
    return sequence, tags[0] + changed + tags[1]


@settings(max_examples=60)
@given(relatives())
def test_constructs_of_a_chain_are_its_relatives(pair: tuple[str, str]):
    assert are_alike(*pair)
    assert are_alike(*pair[::-1])


def test_the_chains_of_ts50_are_strangers():
    chains = [s.sequence for s in ts50()]
    assert not [(i, j) for i in range(50) for j in range(i) if are_alike(chains[i], chains[j])]


def test_random_sequences_are_strangers():
    made = [random_sequence(30 + 8 * n, n) for n in range(30)]
    assert not [(i, j) for i in range(30) for j in range(i) if are_alike(made[i], made[j])]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (UBIQUITIN, UBIQUITIN, True),
        (UBIQUITIN, UBIQUITIN.lower(), True),
        (UBIQUITIN[5:20], UBIQUITIN, True),  # a part, however short
        ("", UBIQUITIN, False),
        ("", "", False),
        (UBIQUITIN, UBIQUITIN[::-1], False),
        ("MKTAYIAKQRUO" * 8, "GG" + "MKTAYIAKQRUO" * 8 + "W", True),  # letters BLOSUM62 has not
        ("X" * 50, UBIQUITIN, False),
    ],
)
def test_by_hand(one: str, other: str, alike: bool):
    assert are_alike(one, other) is alike
    assert are_alike(other, one) is alike


def test_relatives_of_a_family():
    """Human haemoglobin, alpha against beta."""
    alpha = next(p.sequence for p in demo_proteins() if p.id == "P69905")
    beta = (
        "MVHLTPEEKSAVTALWGKVNVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPKVKAHGKKVLGAFSDGLAHLDN"
        "LKGTFATLSELHCDKLHVDPENFRLLGNVLVCVLAHHFGKEFTPPVQAAYQKVVAGVANALAHKYH"
    )
    assert are_alike(alpha, beta)  # 43 % identical


def test_equal_ones_come_first():
    assert first_alike(UBIQUITIN, ["AAA", UBIQUITIN[1:], UBIQUITIN]) == 2
    assert first_alike(UBIQUITIN, ["WWWW", UBIQUITIN[1:]]) == 1
    assert first_alike(UBIQUITIN, ["WWWW"]) is None
    assert first_alike(UBIQUITIN, []) is None


def test_the_curve_falls():
    values = [least_identity(n) for n in range(1, 700)]
    assert all(
        a >= b - 0.01 for a, b in itertools.pairwise(values)
    )  # flat where its two parts meet
    assert values[0] == 100
    assert values[-1] == 24.5  # 19.5 and the margin
