"""The verdict of the text and the label of the table never contradict, whatever the effects are."""

from random import Random
from typing import Any

import numpy as np
import pandas
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esmkit.heads import HeadProfile
from esmkit.heads.judgement import SIZES, Rules, judge
from esmkit.heads.labels import describe
from esmkit.heads.report.answers import POSITIONAL, QUESTIONS, SINK, answer

HELD = {SIZES["preference"], SIZES["most"]}
OVER = {POSITIONAL, SINK}
"""Verdicts of heads whose label is for something else."""

EDGES = (-0.01, 0.0, 0.0049, 0.005, 0.0051, 0.019, 0.05, 0.2)


def effect(random: Random, name: str, property_name: str) -> dict[str, Any]:
    """An effect of which any condition may just hold or fail, or have no number."""
    share = random.choice([0.0, 0.0084, 0.038, 0.3, 0.7, random.random()])
    background = random.choice([0.0, 0.0034, 0.02, 0.25, random.random()])
    low = random.choice([*EDGES, random.uniform(-0.1, 0.5), np.nan])
    row = {
        "name": name,
        "property": property_name,
        "kind": "residue" if property_name.startswith("to ") else "pair",
        "share": share,
        "background": background,
        "difference": share - background,
        "low": low,
        "high": low + random.uniform(0, 0.2),
        "ratio": share / background if background else np.nan,
        "ratio_low": random.choice([1.0, 1.24, 1.25, 2.0, np.nan]),
        "ratio_high": 3.0,
        "q": random.choice([1e-9, 0.01, 0.04, 0.05, 0.051, 0.4, np.nan]),
        "half_a": random.choice(EDGES),
        "half_b": random.choice(EDGES),
        "half_b_low": random.choice([*EDGES, np.nan]),
        "half_b_high": 0.3,
        "arcs": random.choice([0, 62, 99, 100, 116, 5000]),
        "proteins": 19,
        "labelled": 500,
        "position_only": 0.01,
        "permuted": 0.0,
        "permuted_limit": 0.001,
        "random": 0.0,
        "random_limit": 0.0001,
    }
    if property_name == "disulfide":
        row |= {"beyond_control": 1.4, "beyond_control_high": 2.0}
        row["beyond_control_low"] = random.choice([0.9, 1.0, 1.1, np.nan])
    enough = row["arcs"] >= 100
    row |= {"arc_share": 0.4 if enough else np.nan, "arc_background": 0.02 if enough else np.nan}
    if random.random() < 0.1:  # too few chains have it
        row |= dict.fromkeys([n for n, v in row.items() if isinstance(v, float)], np.nan)
    return row


def profile_of(rows: list[dict[str, Any]], facts: dict[str, dict[str, float]]) -> HeadProfile:
    """A profile labelled as esmkit labels them."""
    heads = []
    for name, of in facts.items():
        own = [row for row in rows if row["name"] == name]
        label, evidence = describe(of, own)
        heads.append({"name": name, "label": label, "evidence": evidence})
    return HeadProfile(pandas.DataFrame(rows), pandas.DataFrame(heads), {"chains": ["a"] * 19})


def made(random: Random) -> HeadProfile:
    names = [f"L0H{n}" for n in range(random.randint(1, 3))]
    rows = [effect(random, name, of) for name in names for of in (*QUESTIONS, "to strand")]
    facts = {
        name: {
            "bos": random.choice([0.1, 0.1, 0.1, 0.6]),
            "eos": 0.1,
            "top_offset": 3,
            "top_offset_share": random.choice([0.1, 0.1, 0.5]),
            "positional": random.choice([0.1, 0.1, 0.7]),
        }
        for name in names
    }
    return profile_of(rows, facts)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_text_and_table_never_contradict(seed: int):
    profile: Any = made(Random(seed))
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    reasons = dict(zip(profile.heads["name"], profile.heads["evidence"], strict=True))
    for name in QUESTIONS:
        found = answer(profile, name)
        with_label = [head for head, label in labels.items() if label == name]
        if with_label:  # a head of this label is in the table: the text says at least a preference
            assert found.verdict in HELD, (found.verdict, reasons)
            assert all(head in " ".join(found.sentences) for head in with_label)
        if found.verdict in HELD:  # the text says so: the head has a label, for it or named beside
            label, reason = labels[found.head], reasons[found.head]
            assert label == name or f"holds too: {name}" in reason or f", {name}" in reason
            assert label not in ("mixed", "insufficient")
        if found.verdict in OVER:
            label = labels[found.head]
            assert label.endswith(" sink") or label == "positional" or label.startswith("offset ")
        if found.verdict == SIZES["none"]:
            assert "That is not confirmed" in " ".join(found.sentences)
            assert not with_label
        text = " ".join([*found.sentences, *found.numbers.values()])
        assert "nan" not in text.lower()
    for head, label in labels.items():
        if label == "mixed":  # what it lacks is said
            assert reasons[head].startswith("nearest: ")
            assert ", but " in reasons[head]
    assert not any("nan" in reason.lower() for reason in reasons.values())


CONTACT = {
    "name": "L5H4",
    "property": "long-range contact",
    "kind": "pair",
    "share": 0.038,
    "background": 0.02,
    "difference": 0.018,
    "low": 0.008,
    "high": 0.03,
    "ratio_low": 1.4,
    "q": 0.01,
    "half_a": 0.014,
    "half_b_low": 0.002,
}


@given(arcs=st.integers(0, 10_000), share=st.floats(0, 1), expected=st.floats(0, 1))
@example(arcs=62, share=np.nan, expected=np.nan)
def test_the_decision_does_not_know_strong_links(arcs: int, share: float, expected: float):
    """On 19 chains a head was "confirmed" in the text and "mixed" in the table: too few links."""
    row = {**CONTACT, "arcs": arcs, "arc_share": share, "arc_background": expected}
    assert judge(row) == judge(CONTACT)
    assert judge(row).holds


@given(
    low=st.floats(-0.1, 0.5),
    ratio_low=st.floats(0, 5),
    q=st.floats(0, 1),
    better=st.floats(0, 0.2),
)
def test_more_is_never_judged_less(low: float, ratio_low: float, q: float, better: float):
    row = {**CONTACT, "low": low, "difference": low + 0.01, "share": 0.45, "ratio_low": ratio_low}
    more = {**row, "low": low + better, "difference": low + better + 0.01, "q": q * (1 - better)}
    more |= {"ratio_low": ratio_low + better, "share": 0.45 + better}
    assert judge(more | {"q": q}).rank >= judge({**row, "q": q}).rank
    assert judge(more).rank >= judge({**row, "q": q}).rank


@given(low=st.floats(-0.1, 0.5), ratio_low=st.floats(0, 5), q=st.floats(0, 1))
def test_what_it_lacks_is_said_if_and_only_if_it_is_no_preference(
    low: float, ratio_low: float, q: float
):
    found = judge({**CONTACT, "low": low, "difference": low + 0.01, "ratio_low": ratio_low, "q": q})
    assert bool(found.lacks) != found.holds
    assert found.confirmed == (low > 0 and q <= Rules().max_q)
