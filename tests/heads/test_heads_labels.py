"""The label of a head: each branch, its limit, and its evidence, word for word."""

import numpy as np
import pytest

from esmkit.heads.labels import Rules, describe

FACTS = {
    "bos": 0.1,
    "eos": 0.1,
    "top_offset": -2.0,
    "top_offset_share": 0.1,
    "positional": 0.2,
}
EFFECT: dict[str, float | str] = {
    "property": "long-range contact",
    "kind": "pair",
    "share": 0.12,
    "background": 0.04,
    "difference": 0.08,
    "low": 0.06,
    "high": 0.10,
    "ratio_low": 2.4,
    "q": 1e-4,
    "half_b": 0.07,
    "half_b_low": 0.05,
    "arc_share": np.nan,
    "arc_background": np.nan,
    "arcs": 20,
}
ARCS: dict[str, float | str] = {**EFFECT, "arc_share": 0.4, "arc_background": 0.05, "arcs": 1234}
BARELY = 1e-9


def label(*effects: dict, **facts: float) -> str:
    return describe({**FACTS, **facts}, list(effects))[0]


@pytest.mark.parametrize("token", ["bos", "eos"])
def test_sinks(token: str):
    assert describe({**FACTS, token: 0.5}, [EFFECT]) == (
        f"{token.upper()} sink",
        f"50% of its weight goes to {token.upper()}",
    )
    assert label(EFFECT, **{token: 0.5 - BARELY}) == "long-range contact"


def test_bos_comes_before_eos_and_sinks_before_offsets():
    assert label(bos=0.5, eos=0.5, top_offset_share=1.0) == "BOS sink"
    assert label(eos=0.5, top_offset_share=1.0, positional=1.0) == "EOS sink"


@pytest.mark.parametrize(("offset", "text"), [(-2.0, "-2"), (0.0, "+0"), (31.0, "+31")])
def test_offsets(offset: float, text: str):
    facts = {**FACTS, "top_offset": offset, "top_offset_share": 0.4, "positional": 0.9}
    assert describe(facts, [ARCS]) == (
        f"offset {text}",
        f"40% of its weight between residues is at {text}",
    )
    assert label(EFFECT, top_offset_share=0.4 - BARELY) == "long-range contact"


def test_positional():
    assert describe({**FACTS, "positional": 0.5}, [ARCS]) == (
        "positional",
        "offsets explain 50% of the variance of its maps; the first is -2 with 10% of the weight",
    )
    assert label(EFFECT, positional=0.5 - BARELY) == "long-range contact"


def test_insufficient():
    expected = ("insufficient", "no property occurs in enough proteins")
    assert describe(FACTS, []) == expected
    assert describe(FACTS, [{**EFFECT, "difference": np.nan}]) == expected
    assert describe(FACTS, [{**EFFECT, "kind": "offset"}]) == expected
    assert label({**EFFECT, "difference": np.nan}, EFFECT) == "long-range contact"


TEXT = (
    "12% against 4.0% expected: +8.0 points [+6.0, +10.0], q = 0.0001; in the other half of the "
    "proteins +7.0 points"
)


def test_a_property_with_its_evidence():
    assert describe(FACTS, [EFFECT]) == ("long-range contact", TEXT)
    assert describe(FACTS, [ARCS]) == (
        "long-range contact",
        f"{TEXT}; of its 1,234 strong links 40% against 5.0%",
    )


@pytest.mark.parametrize(
    ("column", "holds", "fails", "lacks"),
    [
        ("q", 0.05, 0.05 + BARELY, "q = 0.05 within pairs"),
        ("q", 0.0, np.nan, "q not known within pairs"),
        ("half_b_low", BARELY, 0.0, "the two halves of the chains do not both show it"),
        ("half_b_low", 0.01, np.nan, "the two halves of the chains do not both show it"),
        ("half_a", BARELY, 0.0, "the two halves of the chains do not both show it"),
        ("low", 0.005, 0.005 - BARELY, "its lower end is under 0.5 points, and it may be"),
        ("low", 0.005, 0.0, "the lower end of its interval is 0.00 points"),
        ("low", 0.005, np.nan, "the lower end of its interval is not known"),
        ("ratio_low", 1.25, 1.25 - BARELY, "as little as 1.25 times the expected share, under 1"),
        ("beyond_control_low", 1 + BARELY, 1.0, "that of any pair of its control"),
    ],
)
def test_limits_of_a_property(column: str, holds: float, fails: float, lacks: str):
    effect: dict = {**EFFECT, "low": 0.04, "beyond_control": 2.0, "beyond_control_high": 3.0}
    assert label({**effect, column: holds}) == "long-range contact"
    found = describe(FACTS, [{**effect, "ratio_low": 1.2, column: fails}])
    assert found[0] == "mixed"
    assert found[1].startswith("nearest: long-range contact +8.0 points [")
    assert lacks in found[1]


def test_what_is_large_needs_no_ratio():
    """A share cannot be much more than a background of a third."""
    strand: dict = {**EFFECT, "property": "to strand", "kind": "residue", "ratio_low": 1.2}
    assert label({**strand, "low": 0.05}) == "strand"
    assert label({**strand, "low": 0.05 - BARELY}) == "mixed"


def test_a_table_without_intervals_of_ratios_takes_the_background_as_exact():
    effect = {name: value for name, value in EFFECT.items() if name != "ratio_low"}
    assert label({**effect, "low": 0.01 + BARELY}) == "long-range contact"  # 5 % over 4 %
    assert label({**effect, "low": 0.01 - BARELY}) == "mixed"


def test_strong_links_decide_nothing():
    """Their number grows with the set of chains; what a head does, does not."""
    small: dict = {**EFFECT, "low": 0.001, "ratio_low": 1.02}
    for arcs in (0, 62, 99, 100, 10_000):
        for share in (np.nan, 0.9):
            links = {"arcs": arcs, "arc_share": share, "arc_background": share / 9}
            assert label({**EFFECT, **links}) == "long-range contact"
            assert label({**small, **links}) == "mixed"


def test_the_nearest_is_that_which_lacks_least_and_then_the_largest():
    far: dict = {**EFFECT, "q": 0.2, "low": -0.01, "property": "to leucine", "difference": 0.2}
    near: dict = {**EFFECT, "q": 0.08}
    assert describe(FACTS, [far, near]) == (
        "mixed",
        "nearest: long-range contact +8.0 points [+6.0, +10.0], but q = 0.08 within pairs",
    )
    larger: dict = {**near, "property": "strand partner", "difference": 0.09}
    assert "nearest: strand partner +9.0" in describe(FACTS, [near, larger, far])[1]


def test_the_largest_is_taken_and_the_others_named():
    small: dict = {**EFFECT, "property": "to leucine", "kind": "residue", "difference": 0.03}
    assert label(small, EFFECT) == label(EFFECT, small) == "long-range contact"
    assert describe(FACTS, [small, EFFECT])[1] == f"{TEXT}; holds too: leucine"
    assert label(small) == "leucine"
    # one that does not hold does not stand in the way of another
    assert label({**ARCS, "property": "disulfide", "q": 0.2}, EFFECT) == "long-range contact"


def test_rules_are_those_that_are_given():
    rules = Rules(sink=0.05)
    assert describe(FACTS, [EFFECT], rules)[0] == "BOS sink"
    assert describe(FACTS, [EFFECT], Rules(offset_share=0.1))[0] == "offset -2"
    assert describe(FACTS, [EFFECT], Rules(positional=0.2))[0] == "positional"
    assert describe(FACTS, [EFFECT], Rules(max_q=1e-5))[0] == "mixed"
    assert describe(FACTS, [EFFECT], Rules(min_difference=0.061))[0] == "mixed"
    large = Rules(min_ratio=3.1, large_difference=0.061)
    assert describe(FACTS, [EFFECT], large)[0] == "mixed"
    assert describe(FACTS, [EFFECT], Rules(min_ratio=3.1))[0] == "long-range contact"


def test_nan_facts_are_no_label():
    """A head whose weight is all on BOS and EOS has no offsets, and no variance."""
    facts = {**FACTS, "top_offset": 0.0, "top_offset_share": np.nan, "positional": np.nan}
    assert describe(facts, [{**EFFECT, "difference": np.nan}])[0] == "insufficient"
    assert describe({**facts, "bos": 0.9}, [])[0] == "BOS sink"
