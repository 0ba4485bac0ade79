"""One label for each head, and the evidence for it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from esmkit.heads.judgement import Judgement, Rules, copies, judge, points, q_text, shares, spread
from esmkit.text import percent

__all__ = ["Rules", "describe"]


def describe(
    facts: dict[str, float],
    effects: Sequence[Mapping[Any, Any]],
    rules: Rules = Rules(),  # noqa: B008 - frozen
) -> tuple[str, str]:
    """Return the label of one head and the evidence for it.

    In this order: "repeat", if it copies (:func:`esmkit.heads.judgement.copies`), for what it does
    without a repeat is then something else, which the evidence adds; a sink, if most weight goes to BOS or EOS; an offset, if one distance takes most
    of the rest; positional, if its distances explain its maps; then a property, if one holds
    (:func:`esmkit.heads.judgement.judge`): that with the largest difference of share and
    background; else "mixed", with what the nearest property lacks. "insufficient" if no property
    had enough support. A property of pairs that does not hold where repeats are left out is
    withdrawn, and the evidence says so.

    Parameters
    ----------
    facts : dict
        ``bos``, ``eos``, ``top_offset``, ``top_offset_share``, ``positional``; and what
        :func:`esmkit.heads.repeat_scores` found, if it was asked.
    effects : list of dict
        Rows of ``HeadProfile.effects``, one for each property.
    rules : Rules

    Returns
    -------
    tuple of str
        Label and evidence.

    Examples
    --------
    >>> facts = {"bos": 0.7, "eos": 0.1, "top_offset": 1, "top_offset_share": 0.2, "positional": 0.1}
    >>> describe(facts, [])
    ('BOS sink', '70% of its weight goes to BOS')
    """
    if copies(facts, rules):
        label, evidence = describe({**facts, "repeat_low": np.nan}, effects, rules)
        without = f"without repeats {label}" + (f": {evidence}" if label != "mixed" else "")
        return "repeat", f"{_copying(facts)}; {without}"
    of_place = _of_places(facts, rules)
    if of_place is not None:
        return of_place
    known = [e for e in effects if e["kind"] != "offset" and not np.isnan(float(e["difference"]))]
    if not known:
        return "insufficient", "no property occurs in enough proteins"
    judged = [(effect, judge(effect, rules)) for effect in known]
    held = [effect for effect, found in judged if found.holds]
    gone = [_name(effect) for effect, found in judged if found.withdrawn]
    withdrawn = f"; withdrawn, as it needs repeats: {', '.join(gone)}" if gone else ""
    if not held:
        return "mixed", _nearest(judged) + withdrawn
    best = max(held, key=lambda effect: float(effect["difference"]))
    others = [_name(effect) for effect in held if effect is not best]
    also = f"; holds too: {', '.join(others)}" if others else ""
    return _name(best), _evidence(best) + also + withdrawn


def _copying(scores: Mapping[str, float]) -> str:
    return (
        f"{percent(scores['repeat_score'])} [{percent(scores['repeat_low'])}, "
        f"{percent(scores['repeat_high'])}] of its weight goes from a residue of a repeated segment to "
        f"the aligned one of the other copy, {percent(scores['repeat_control'])} between unrelated "
        "halves"
    )


def _of_places(facts: dict[str, float], rules: Rules) -> tuple[str, str] | None:
    """Return label and evidence of a head that goes by special tokens or distances, if it does."""
    for token in ("bos", "eos"):
        if facts[token] >= rules.sink:
            return (
                f"{token.upper()} sink",
                f"{facts[token]:.0%} of its weight goes to {token.upper()}",
            )
    share = facts["top_offset_share"]
    offset = int(facts["top_offset"])
    if share >= rules.offset_share:
        return (
            f"offset {offset:+d}",
            f"{share:.0%} of its weight between residues is at {offset:+d}",
        )
    if facts["positional"] >= rules.positional:
        return (
            "positional",
            f"offsets explain {facts['positional']:.0%} of the variance of its maps; the first is "
            f"{offset:+d} with {share:.0%} of the weight",
        )
    return None


def _evidence(effect: Mapping[Any, Any]) -> str:
    text = (
        f"{shares(effect)}, {q_text(float(effect['q']))}; in the other half of the proteins "
        f"{points(float(effect['half_b']))}"
    )
    arcs = float(effect.get("arc_share", np.nan))
    if not np.isnan(arcs):
        text += (
            f"; of its {int(effect['arcs']):,} strong links {arcs:.0%} against "
            f"{float(effect['arc_background']):.1%}"
        )
    return text


def _nearest(judged: Sequence[tuple[Mapping[Any, Any], Judgement]]) -> str:
    """Say which property comes nearest to a label, and what it lacks."""
    effect, found = min(
        judged, key=lambda each: (len(each[1].lacks), -float(each[0]["difference"]))
    )
    return (
        f"nearest: {effect['property']} {points(float(effect['difference']))} "
        f"{spread(float(effect['low']), float(effect['high']))}, but {', and '.join(found.lacks)}"
    )


def _name(effect: Mapping[Any, Any]) -> str:
    return str(effect["property"]).removeprefix("to ")
