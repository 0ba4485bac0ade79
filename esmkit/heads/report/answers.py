"""Answers of a profile to questions such as "does a head attend to disulfides?", in plain words.

Every answer says how large an effect is before anything else, by the one decision that labels go by
too (:mod:`esmkit.heads.judgement`).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from esmkit.heads.judgement import (
    CONTROLS,
    SIZES,
    UNKNOWN,
    Judgement,
    judge,
    points,
    q_text,
    spread,
    times,
)
from esmkit.heads.statistics import FAMILIES, MIN_ARCS, MIN_PROTEINS
from esmkit.plots.protocols import Profile
from esmkit.text import percent

__all__ = ["QUESTIONS", "UNKNOWN", "Answer", "answer"]

QUESTIONS = {
    "long-range contact": "long-range contacts",
    "helix partner": "helix partners (3 or 4 apart)",
    "strand partner": "strand partners",
    "disulfide": "disulfides",
}
"""Properties that the summary asks about, and what it calls them."""

POSITIONAL, SINK = "Mostly positional", "In a sink"
"""Verdicts on heads whose label says that something else takes most of their weight."""

NAMED = 6
"""Heads that an answer names."""


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes
    ----------
    property : str
    verdict : str
        A few words, of :data:`esmkit.heads.judgement.SIZES`, or ``Mostly positional``, ``In a
        sink``, ``Not beyond cysteine pair``, ``Insufficient``, ``Not measured``.
    sentences : list of str
        What it rests on.
    head : str
        The head with the largest effect; empty if there is none.
    numbers : dict
        Text by name, each with its unit.
    """

    property: str
    verdict: str
    sentences: list[str] = field(default_factory=list)
    head: str = ""
    numbers: dict[str, str] = field(default_factory=dict)


def answer(profile: Profile, name: str) -> Answer:
    """Answer how much of its weight a head puts on a property, beyond what is expected.

    The head is that with the largest size among those whose effect is confirmed, those that have a
    label for distances or special tokens last; of one size, that with the largest difference in
    one half of the chains (``half_a``), so that the number from the other half (``half_b``) is not
    the best of many.

    Parameters
    ----------
    profile : HeadProfile
    name : str
        Name of the property. One that the profile does not have is answered "Not measured".

    Returns
    -------
    Answer

    Examples
    --------
    >>> import pandas
    >>> from esmkit.heads import HeadProfile
    >>> rows = pandas.DataFrame({"property": ["long-range contact"]})
    >>> answer(HeadProfile(rows, pandas.DataFrame(), {}), "disulfide").verdict
    'Not measured'
    """
    effects: Any = profile.effects
    rows = effects[effects["property"] == name]
    if rows.empty:
        return Answer(name, "Not measured", [f"The profile does not have {name!r}."])
    known = rows[rows["half_a"].notna() & rows["difference"].notna()]
    if known.empty:
        return Answer(
            name,
            "Insufficient",
            [
                f"{int(rows['proteins'].max()):,} of the chains have one; fewer than "
                f"{MIN_PROTEINS} allow no answer."
            ],
        )
    rules, labels = (
        profile.rules,
        dict(zip(profile.heads["name"], profile.heads["label"], strict=True)),
    )
    judged = [(row, judge(row, rules)) for row in known.to_dict("records")]

    def order(each: tuple[dict[Any, Any], Judgement]) -> tuple[bool, int, bool, float]:
        row, found = each
        labelled = found.holds and not _place(str(labels[row["name"]]))
        return labelled, found.rank, found.only_control, row["half_a"]

    best, found = max(judged, key=order)
    label = str(labels[best["name"]])
    sentences = [
        *_size(best, found, name, _tests(effects, best)),
        *_control(best, effects),
        *_limits(best),
        *_arcs(best),
        *_of_place(best["name"], label, found),
        *_others(judged),
        *_leaders(rows, best),
        _power(best),
    ]
    verdict = _verdict(found, label, name)
    return Answer(name, verdict, sentences, best["name"], _numbers(best, label))


def _place(label: str) -> str:
    """Return the verdict on heads whose label is about distances or special tokens, or nothing."""
    if label.endswith(" sink"):
        return SINK
    return POSITIONAL if label == "positional" or label.startswith("offset ") else ""


def _verdict(found: Judgement, label: str, name: str) -> str:
    if found.size not in ("none", "trace") and _place(label):
        return _place(label)
    if found.only_control:
        return f"Not beyond any {CONTROLS.get(name, 'pair')}"
    return SIZES[found.size]


def _tests(effects: Any, best: dict[Any, Any]) -> str:
    """Return the family of an effect, and how many tests it has."""
    family = FAMILIES[best["kind"]]
    of = effects[(effects["kind"] == best["kind"]) & effects["q"].notna()]
    return (
        f"within {family}: {of['name'].nunique():,} heads x {of['property'].nunique():,} properties"
    )


def _size(best: dict[Any, Any], found: Judgement, name: str, tests: str) -> list[str]:
    """Say how large the effect is, then whether it is confirmed."""
    head, them = best["name"], QUESTIONS.get(name, f"{name!r}")
    chosen = ""
    if not found.confirmed and not found.only_control:
        chosen = ", the head with the largest difference in one half of the chains,"
    text = (
        f"{head}{chosen} puts {percent(best['share'])} of its weight between residues on {them}, "
        f"{percent(best['background'])} expected from its distances and queries: "
        f"{points(best['difference'])} {spread(best['low'], best['high'])}, {times(best)}. "
        f"The other {percent(1 - best['share'], 3)} of it is elsewhere."
    )
    halves = (
        f"In one half of the chains the difference is {points(best['half_a'])}, in the other "
        f"{points(best['half_b'])} {spread(best['half_b_low'], best['half_b_high'])}; "
        f"{q_text(best['q'])} ({tests})."
    )
    if found.lacks:
        what = "That is not confirmed" if not found.confirmed else "It is not called a preference"
        halves += f" {what}: {', and '.join(found.lacks)}."
    return [text, halves]


def _control(best: dict[Any, Any], effects: Any) -> list[str]:
    """Hold bonded pairs against any two cysteines, so that one is not sold as the other."""
    if best["property"] not in CONTROLS:
        return []
    of = CONTROLS[best["property"]]
    rows = effects[(effects["property"] == of) & (effects["name"] == best["name"])]
    if rows.empty or rows["ratio"].isna().all():
        return [
            "Pairs of cysteines that are not bonded were not measured, so this may be no more than "
            "a liking for cysteines."
        ]
    control = rows.iloc[0].to_dict()
    text = f"Control: on any two cysteines, bonded or not, it puts {times(control, than='the expected weight')}"
    if np.isnan(best.get("beyond_control_low", np.nan)):
        return [f"{text}. Whether bonded ones have more of it was not measured."]
    what = times(best, "beyond_control", "that")
    if best["beyond_control_low"] > 1:
        return [f"{text}; on bonded ones {what}, in the same resampled chains."]
    return [f"{text}; on bonded ones {what}, which may be a liking for cysteines as such."]


def _limits(best: dict[Any, Any]) -> list[str]:
    """Say how large the effects of untrained heads are."""
    if np.isnan(best.get("permuted_limit", np.nan)):
        return []
    return [
        f"Of heads with permuted weights, 95% are within ±{100 * best['permuted_limit']:.2g} points, "
        f"of heads with random weights within ±{100 * best['random_limit']:.2g}."
    ]


def _arcs(best: dict[Any, Any]) -> list[str]:
    """Say what its strong links are, or that it has too few; the verdict does not depend on it."""
    links = f"{int(best['arcs']):,} strong links (weight of at least 0.3)"
    if np.isnan(best["arc_share"]):
        return [f"Its {links} are too few for a share of them; {MIN_ARCS} are needed."]
    return [
        f"Of its {links} {percent(best['arc_share'])} are such pairs, "
        f"{percent(best['arc_background'])} expected."
    ]


def _of_place(head: str, label: str, found: Judgement) -> list[str]:
    """Say that a head is labelled for something else than the property, if that is so."""
    if found.size == "none" or not _place(label):
        return []
    if _place(label) == SINK:
        return [
            f"{head} is labelled {label}: most of its weight goes there, and these shares are of "
            "the rest."
        ]
    return [
        f"{head} is labelled {label}: most of its weight is where its distances along the sequence "
        "put it anyway."
    ]


def _others(judged: list[tuple[dict[Any, Any], Judgement]]) -> list[str]:
    """Say how many heads have a confirmed effect, and which are at least a preference."""
    confirmed = [each for each in judged if each[1].confirmed]
    beside = [str(row["name"]) for row, found in judged if found.only_control]
    if not confirmed and beside:
        return [f"More than chance, but not more than on its control: {_listed(beside)}."]
    if not confirmed:
        return ["No other head is confirmed either."] if len(judged) > 1 else []
    held = [str(row["name"]) for row, found in confirmed if found.holds]
    text = f"Confirmed, of whatever size: {len(confirmed):,} of {len(judged):,} heads; "
    if not held:
        return [text + "at least a preference: none."]
    return [f"{text}at least a preference: {_listed(held)}."]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _leaders(rows: Any, best: dict[Any, Any]) -> list[str]:
    """Say in how many chains a head is the best one, if the profile counted that."""
    if "best_in" not in rows.columns or rows["best_in"].isna().all():
        return []
    first, count = rows.loc[rows["best_in"].idxmax()], int(rows["proteins"].max())
    own = rows.loc[rows["name"] == best["name"], "best_in"].iloc[0]
    if own == first["best_in"]:
        text = f"Chain by chain, {best['name']} is the best of all heads in {int(own):,} of "
        return [text + f"{count:,} chains; no head is in more."]
    text = f"Chain by chain, {first['name']} is the best of all heads most often: in "
    text += f"{int(first['best_in']):,} of {count:,} chains ({best['name']}: {int(own):,})"
    return [text + "."]


def _power(best: dict[Any, Any]) -> str:
    """Say how large an effect had to be to be seen."""
    half = (best["high"] - best["low"]) / 2
    support = (
        f"{int(best['proteins']):,} chains with {int(best['labelled']):,} such pairs in both orders"
    )
    if np.isnan(half):
        return f"Power: {support}."
    return (
        f"Power: {support}; its interval reaches {100 * half:.2g} points to either side, so that a "
        "smaller effect of this head would not stand out."
    )


def _numbers(best: dict[Any, Any], label: str) -> dict[str, str]:
    arcs = f"fewer than {MIN_ARCS} ({int(best['arcs']):,})"
    if not np.isnan(best["arc_share"]):
        arcs = (
            f"{percent(best['arc_share'])} of {int(best['arcs']):,}, expected "
            f"{percent(best['arc_background'])}"
        )
    untrained = {
        f"{kind} weights: difference": _of_untrained(best, kind) for kind in ("permuted", "random")
    }
    return {
        "head (label)": f"{best['name']} ({label})",
        "all chains: difference [95% interval]": f"{points(best['difference'])} "
        f"{spread(best['low'], best['high'])}",
        "share of its weight": percent(best["share"]),
        "background, from its offsets and queries in each chain": percent(best["background"]),
        "share / background [95% interval]": _ratio(best),
        "half A of the chains: difference": points(best["half_a"]),
        "half B of the chains: difference [95% interval]": f"{points(best['half_b'])} "
        f"{spread(best['half_b_low'], best['half_b_high'])}",
        "position only, from its mean offsets": percent(best["position_only"])
        if not np.isnan(best.get("position_only", np.nan))
        else UNKNOWN,
        **untrained,
        f"false discovery rate within {FAMILIES[best['kind']]} (Benjamini-Hochberg)": q_text(
            best["q"]
        ),
        "support": f"{int(best['proteins']):,} chains, {int(best['labelled']):,} ordered pairs",
        "strong links (weight ≥ 0.3) on such pairs": arcs,
    }


def _ratio(best: dict[Any, Any]) -> str:
    if not np.isfinite(best["ratio"]):
        return UNKNOWN
    return times(best, than="").replace(" times", "")


def _of_untrained(best: dict[Any, Any], kind: str) -> str:
    if np.isnan(best.get(kind, np.nan)):
        return UNKNOWN
    return f"{points(best[kind], 2)} (95% of heads within ±{100 * best[f'{kind}_limit']:.2g})"
