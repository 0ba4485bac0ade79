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
    "q": 1e-4,
    "half_b": 0.07,
    "half_b_low": 0.05,
    "arc_share": np.nan,
    "arc_background": np.nan,
    "arcs": 20,
}
ARCS: dict[str, float | str] = {**EFFECT, "arc_share": 0.4, "arc_background": 0.05, "arcs": 1234}
BARELY = 1e-9
MIXED = ("mixed", "no property holds a share that is large, significant and reproducible")


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


def test_a_property_by_all_of_the_weight():
    assert describe(FACTS, [EFFECT]) == (
        "long-range contact",
        "12.0% against 4.0%: +8.0 [+6.0, +10.0] points, q = 1e-04; in the other half of the proteins "
        "+7.0 points",
    )


def test_a_property_by_its_arcs():
    assert describe(FACTS, [ARCS]) == (
        "long-range contact",
        "40% of its 1,234 arcs against 5.0% expected from its offsets; of all weight 12.0% against "
        "4.0%: +8.0 [+6.0, +10.0] points, q = 1e-04; in the other half of the proteins +7.0 points",
    )


@pytest.mark.parametrize(
    ("column", "holds", "fails"),
    [
        ("q", 0.05, 0.05 + BARELY),
        ("q", 0.0, np.nan),
        ("low", BARELY, 0.0),
        ("low", 0.01, np.nan),
        ("half_b_low", BARELY, 0.0),
        ("half_b_low", 0.01, np.nan),
        ("share", 0.06, 0.06 - BARELY),
        ("background", 0.08, 0.08 + BARELY),
        ("difference", 0.02, 0.02 - BARELY),
    ],
)
def test_limits_of_a_property(column: str, holds: float, fails: float):
    assert label({**EFFECT, column: holds}) == "long-range contact"
    assert describe(FACTS, [{**EFFECT, column: fails}]) == MIXED


@pytest.mark.parametrize("column", ["q", "low", "half_b_low"])
def test_arcs_do_not_replace_significance(column: str):
    assert label({**ARCS, column: np.nan}) == "mixed"
    assert label({**ARCS, column: 0.06 if column == "q" else -0.01}) == "mixed"


def test_arcs_may_be_large_where_all_weight_is_not():
    few: dict = {**ARCS, "share": 0.041, "difference": 0.001}
    assert label(few) == "long-range contact"
    assert label({**few, "arc_share": np.nan, "arc_background": np.nan}) == "mixed"
    # beyond the least difference, but no more than the background by ratio
    assert label({**few, "arc_share": 0.7, "arc_background": 0.6}) == "mixed"
    # a ratio large enough, but less than the least difference: then all weight counts
    assert label({**few, "arc_share": 0.05, "arc_background": 0.01}) == "mixed"
    assert label({**EFFECT, "arc_share": 0.05, "arc_background": 0.01}) == "long-range contact"


def test_the_largest_is_taken_and_arcs_come_first():
    small: dict = {**EFFECT, "property": "to leucine", "kind": "residue", "difference": 0.03}
    assert label(small, EFFECT) == label(EFFECT, small) == "long-range contact"
    assert label(small) == "leucine"
    arcs: dict = {**ARCS, "property": "disulfide", "difference": 0.001, "arc_share": 0.11}
    assert label(small, EFFECT, arcs) == "disulfide"
    assert label(arcs, {**ARCS, "arc_share": 0.12}) == "long-range contact"
    # one that does not hold does not stand in the way of another
    assert label({**ARCS, "property": "disulfide", "q": 0.2}, EFFECT) == "long-range contact"


def test_rules_are_those_that_are_given():
    rules = Rules(sink=0.05)
    assert describe(FACTS, [EFFECT], rules)[0] == "BOS sink"
    assert describe(FACTS, [EFFECT], Rules(offset_share=0.1))[0] == "offset -2"
    assert describe(FACTS, [EFFECT], Rules(positional=0.2))[0] == "positional"
    assert describe(FACTS, [EFFECT], Rules(max_q=1e-5))[0] == "mixed"
    assert describe(FACTS, [EFFECT], Rules(min_ratio=3.1))[0] == "mixed"
    assert describe(FACTS, [EFFECT], Rules(min_difference=0.09))[0] == "mixed"
    arcs = [{**ARCS, "difference": 0.001}]
    assert describe(FACTS, arcs, Rules(min_arc_difference=0.36))[0] == "mixed"


def test_nan_facts_are_no_label():
    """A head whose weight is all on BOS and EOS has no offsets, and no variance."""
    facts = {**FACTS, "top_offset": 0.0, "top_offset_share": np.nan, "positional": np.nan}
    assert describe(facts, [{**EFFECT, "difference": np.nan}])[0] == "insufficient"
    assert describe({**facts, "bos": 0.9}, [])[0] == "BOS sink"
