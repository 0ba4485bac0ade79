"""Answers of a profile to questions such as "does a head see disulfides?", in plain words."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from esmkit.heads.statistics import MIN_ARCS, MIN_PROTEINS
from esmkit.plots.protocols import Profile, Rules
from esmkit.text import percent, signed

__all__ = ["QUESTIONS", "UNKNOWN", "Answer", "answer"]

QUESTIONS = {
    "long-range contact": "long-range contacts",
    "helix partner": "helices (partners 3 or 4 apart)",
    "strand partner": "strand partners",
    "disulfide": "disulfides",
}
"""Properties that the summary asks about, and what it calls them."""

CYSTEINES = "cysteine pair"
"""The control of disulfides: any two cysteines."""

UNKNOWN = "not known"


@dataclass(frozen=True)
class Answer:
    """The answer to one question.

    Attributes
    ----------
    property : str
    verdict : str
        A few words, such as ``Yes``, ``Weakly``, ``Mostly positional`` or ``No``.
    sentences : list of str
        What it rests on.
    head : str
        The head that is best in one half of the chains; empty if there is none.
    numbers : dict
        Text by name, each with its unit.
    """

    property: str
    verdict: str
    sentences: list[str] = field(default_factory=list)
    head: str = ""
    numbers: dict[str, str] = field(default_factory=dict)


def answer(profile: Profile, name: str) -> Answer:
    """Answer whether a head looks for a property.

    The head is chosen in one half of the chains (``half_a``) and judged in the other (``half_b``),
    so that the best of many is not taken for good because it was lucky.

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
    best = known.loc[known["half_a"].idxmax()].to_dict()
    label = _label(profile, best["name"])
    rules = profile.rules
    verdict, why = _judge(best, label, rules, name)
    sentences = [*why, *_leaders(rows, best)]
    if name == "disulfide":
        verdict, sentences = _against_cysteines(effects, best, rules, verdict, sentences)
    return Answer(name, verdict, sentences, best["name"], _numbers(best, label))


def _label(profile: Profile, name: str) -> str:
    table: Any = profile.heads
    return str(table.loc[table["name"] == name, "label"].iloc[0])


def _judge(best: dict[str, Any], label: str, rules: Rules, name: str) -> tuple[str, list[str]]:
    """Return verdict and reasons, from significance to size."""
    head, ratio = best["name"], best["ratio"]
    chosen = f"{head} is the best head in one half of the chains"
    other = f"{_points(best['half_b'])} {_range(best['half_b_low'], best['half_b_high'])}"
    if not (best["half_a"] > 0 and best["q"] <= rules.max_q and best["half_b_low"] > 0):
        return "No", [
            f"{chosen}, but that is not confirmed: in the other half its weight on these pairs is "
            f"{other} beyond what its offsets explain ({_q(best['q'])} over all chains)."
        ]
    reasons = [
        f"{chosen}, and the other half confirms it: {other} of its weight more than its offsets "
        f"explain. Over all chains {percent(best['share'])} of its weight is on these pairs against "
        f"{percent(best['background'])} expected, {ratio:.1f} times as much ({_q(best['q'])})."
    ]
    positional = label == "positional" or label.startswith("offset ")
    arcs = best["arc_share"] - best["arc_background"]
    if name == "helix partner" and (positional or ratio < rules.min_ratio):
        reasons.append(
            f"{head} is labelled {label}, and most of that weight is where its distances along the "
            "sequence put it anyway: positional, with a small preference for helices."
        )
        return "Mostly positional", reasons
    if ratio < rules.min_ratio and not arcs >= rules.min_arc_difference:
        reasons.append(
            "Most of that weight is where its distances along the sequence put it anyway."
        )
        return "Barely", reasons
    if best["difference"] >= rules.min_difference or arcs >= rules.min_arc_difference:
        if arcs >= rules.min_arc_difference:
            reasons.append(
                f"Of its {int(best['arcs']):,} strong links (weight of at least 0.3) "
                f"{percent(best['arc_share'])} are such pairs, against "
                f"{percent(best['arc_background'])} expected."
            )
        return "Yes", reasons
    reasons.append(
        f"Real, but small: {percent(1 - best['share'], 3)} of its weight between residues is "
        "elsewhere."
    )
    return "Weakly", reasons


def _leaders(rows: Any, best: dict[str, Any]) -> list[str]:
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


def _against_cysteines(
    effects: Any, best: dict[str, Any], rules: Rules, verdict: str, sentences: list[str]
) -> tuple[str, list[str]]:
    """Hold bonded pairs against any two cysteines, so that one is not sold as the other."""
    head = best["name"]
    control = effects[(effects["property"] == CYSTEINES) & (effects["name"] == head)]
    if control.empty or control["ratio"].isna().all():
        return verdict, [
            *sentences,
            "Pairs of cysteines that are not bonded were not measured, so this may be no more than "
            "a liking for cysteines.",
        ]
    any_two = control.iloc[0]
    excess = best["ratio"] / any_two["ratio"]
    text = (
        f"Control: on any two cysteines, bonded or not, {head} has {any_two['ratio']:.1f} times the "
        f"expected weight, on bonded ones {best['ratio']:.1f} times"
    )
    bonded = _bonded_weight(best, any_two)
    if bonded is not None:
        text += (
            f"; {percent(bonded)} of its weight on cysteine pairs is on bonded ones, which are "
            f"{percent(best['labelled'] / any_two['labelled'])} of these pairs"
        )
    sentences = [*sentences, text + "."]
    others = _prefer_bonded(effects, rules)
    if excess < rules.min_ratio:
        sentences.append("It attends to cysteines, bonded or not.")
        if verdict != "No":
            verdict = "Mostly cysteines" if others else "Not beyond cysteines"
    elif verdict == "No":
        sentences.append(
            "That is more for bonded ones, but an effect that is not confirmed may be luck."
        )
    else:
        sentences.append("It prefers bonded cysteines to cysteines as such.")
    others = [each for each in others if each[0] != head]
    same = [n for n, a, b in _confirmed(effects, rules) if a < rules.min_ratio * b and n != head]
    if same:
        sentences.append(
            f"Confirmed too, but not beyond any two cysteines: {', '.join(same[:4])}"
            f"{', ...' if len(same) > 4 else ''}."
        )
    if others and not (verdict != "No" and excess >= rules.min_ratio):
        listed = ", ".join(f"{n} ({a:.1f} against {b:.1f})" for n, a, b in others[:4])
        sentences.append(
            f"{len(others)} other head{'s' * (len(others) != 1)} with a confirmed effect favour "
            f"bonded pairs at least {rules.min_ratio:g} times more than any two cysteines: "
            f"{listed}{', ...' if len(others) > 4 else ''}. That is a hint, not a test; bonded "
            "cysteines also touch, which a head that looks for contacts sees as well."
        )
    return verdict, sentences


def _prefer_bonded(effects: Any, rules: Rules) -> list[tuple[str, float, float]]:
    """Return heads whose disulfide effect is well over that on any two cysteines, largest first."""
    found = _confirmed(effects, rules)
    return [each for each in found if each[1] >= rules.min_ratio * each[2]]


def _confirmed(effects: Any, rules: Rules) -> list[tuple[str, float, float]]:
    """Return heads with a confirmed disulfide effect, its ratio and that of any two cysteines."""
    bonded = effects[effects["property"] == "disulfide"].set_index("name")
    any_two = effects[effects["property"] == CYSTEINES].set_index("name")["ratio"]
    held = bonded[
        (bonded["q"] <= rules.max_q) & (bonded["half_a"] > 0) & (bonded["half_b_low"] > 0)
    ]
    held = held.sort_values(by="difference", ascending=False)
    return [
        (str(name), float(ratio), float(any_two[name]))
        for name, ratio in held["ratio"].items()
        if name in any_two.index
    ]


def _bonded_weight(best: dict[str, Any], any_two: Any) -> float | None:
    """Return the part of the weight on cysteine pairs that is on bonded ones, if it is known.

    Shares of two properties refer to the weight in the chains that have each; they compare only if
    these are the same chains, or if the weight is given.
    """
    if best["proteins"] == any_two["proteins"]:
        weight = 1.0
    elif best.get("weight", 0) > 0 and any_two.get("weight", 0) > 0:
        weight = best["weight"] / any_two["weight"]
    else:
        return None
    return float(weight * best["share"] / any_two["share"]) if any_two["share"] > 0 else None


def _numbers(best: dict[str, Any], label: str) -> dict[str, str]:
    arcs = f"fewer than {MIN_ARCS}"
    if not np.isnan(best["arc_share"]):
        arcs = (
            f"{percent(best['arc_share'])} of {int(best['arcs']):,}, expected "
            f"{percent(best['arc_background'])}"
        )
    control = UNKNOWN
    if "random" in best and not np.isnan(best["random"]):
        control = (
            f"{_points(best['random'], 2)} (95% of heads within ±{100 * best['random_limit']:.2g})"
        )
    return {
        "head (label)": f"{best['name']} ({label})",
        "chosen in half A: difference": _points(best["half_a"]),
        "confirmed in half B: difference [95% interval]": f"{_points(best['half_b'])} "
        f"{_range(best['half_b_low'], best['half_b_high'])}",
        "all chains: difference [95% interval]": f"{_points(best['difference'])} "
        f"{_range(best['low'], best['high'])}",
        "share of its weight": percent(best["share"]),
        "background, from its offsets and queries in each chain": percent(best["background"]),
        "position only, from its mean offsets": percent(best["position_only"])
        if not np.isnan(best.get("position_only", np.nan))
        else UNKNOWN,
        "random weights: difference": control,
        "share / background": f"{best['ratio']:.2f}",
        "false discovery rate (Benjamini-Hochberg)": _q(best["q"]),
        "support": f"{int(best['proteins']):,} chains, {int(best['labelled']):,} ordered pairs",
        "strong links (weight ≥ 0.3) on such pairs": arcs,
    }


def _digits(value: float) -> int:
    return 1 if not np.isfinite(value) or abs(value) >= 0.01 else 2


def _points(share: float, digits: int | None = None) -> str:
    """Return a difference of shares in percentage points."""
    if np.isnan(share):
        return UNKNOWN
    return f"{signed(100 * share, digits or _digits(share))} points"


def _range(low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return "[interval not known]"
    digits = max(_digits(low), _digits(high))
    return f"[{signed(100 * low, digits)}, {signed(100 * high, digits)}]"


def _q(value: float) -> str:
    if np.isnan(value):
        return f"q {UNKNOWN}"
    return "q < 1e-9" if value < 1e-9 else f"q = {value:.1g}"
