"""One label for each head, and the evidence for it."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Rules", "describe"]


@dataclass(frozen=True)
class Rules:
    """Thresholds of a profile: when a head gets which label, and which effects are significant.

    Each label needs an effect of some size, none a p value alone. Figures and texts of a profile
    go by the same thresholds.

    Attributes
    ----------
    sink : float
        Mean weight on BOS or EOS from which a head is a sink.
    offset_share : float
        Share of the weight between residues on one offset from which a head is that offset.
    positional : float
        Share of the variance of its maps that offsets explain from which a head is positional.
    max_q : float
        False discovery rate up to which an effect is significant.
    min_ratio : float
        Least share over background of a property.
    min_difference, min_arc_difference : float
        Least share minus background: of all weight, and of arcs.
    """

    sink: float = 0.5
    offset_share: float = 0.4
    positional: float = 0.5
    max_q: float = 0.05
    min_ratio: float = 1.5
    min_difference: float = 0.02
    min_arc_difference: float = 0.05


def describe(
    facts: dict[str, float], effects: list[dict[str, float | str]], rules: Rules = Rules()
) -> tuple[str, str]:
    """Return the label of one head and the evidence for it.

    In this order: a sink, if most weight goes to BOS or EOS; an offset, if one distance takes most
    of the rest; positional, if its distances explain its maps; then a property, if one is
    significant, large enough and holds up in the other half of the proteins: that with the largest
    share of the head's arcs (weights of at least 0.3) beyond their background, or, where a head has
    too few arcs, of all its weight; else "mixed". "insufficient" if no property had enough support.

    Parameters
    ----------
    facts : dict
        ``bos``, ``eos``, ``top_offset``, ``top_offset_share``, ``positional``.
    effects : list of dict
        For each property ``property``, ``kind``, ``share``, ``background``, ``difference``,
        ``low``, ``high``, ``q``, ``half_b``, ``half_b_low``, ``arc_share``, ``arc_background``,
        ``arcs``.
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
    for token in ("bos", "eos"):
        if facts[token] >= rules.sink:
            return (
                f"{token.upper()} sink",
                f"{facts[token]:.0%} of its weight goes to {token.upper()}",
            )
    offset, share = int(facts["top_offset"]), facts["top_offset_share"]
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
    known = [e for e in effects if e["kind"] != "offset" and not np.isnan(float(e["difference"]))]
    if not known:
        return "insufficient", "no property occurs in enough proteins"
    held = [effect for effect in known if _holds(effect, rules)]
    by_arcs = [effect for effect in held if _arc_difference(effect) >= rules.min_arc_difference]
    if by_arcs:
        best = max(by_arcs, key=_arc_difference)
        text = (
            f"{float(best['arc_share']):.0%} of its {int(best['arcs']):,} arcs against "
            f"{float(best['arc_background']):.1%} expected from its offsets; of all weight "
        )
    else:
        held = [e for e in held if float(e["difference"]) >= rules.min_difference]
        if not held:
            return "mixed", "no property holds a share that is large, significant and reproducible"
        best = max(held, key=lambda effect: float(effect["difference"]))
        text = ""
    return (
        str(best["property"]).removeprefix("to "),
        f"{text}{float(best['share']):.1%} against {float(best['background']):.1%}: "
        f"{_points(best['difference'])} [{_points(best['low'])}, {_points(best['high'])}] "
        f"points, "
        f"q = {float(best['q']):.0e}; in the other half of the proteins "
        f"{_points(best['half_b'])} points",
    )


def _points(share: float | str) -> str:
    """Return a difference of shares in percentage points."""
    return f"{100 * float(share):+.1f}"


def _arc_difference(effect: dict[str, float | str]) -> float:
    """Return how much more of the arcs a property holds than expected; -1 with too few arcs."""
    share, background = float(effect["arc_share"]), float(effect["arc_background"])
    return share - background if not np.isnan(share) else -1.0


def _holds(effect: dict[str, float | str], rules: Rules) -> bool:
    """Tell whether an effect is significant, larger than chance in ratio, and reproducible."""
    share, background = float(effect["share"]), float(effect["background"])
    large = share >= rules.min_ratio * background
    if _arc_difference(effect) >= rules.min_arc_difference:
        large = float(effect["arc_share"]) >= rules.min_ratio * float(effect["arc_background"])
    return (
        large
        and float(effect["q"]) <= rules.max_q
        and float(effect["low"]) > 0
        and float(effect["half_b_low"]) > 0
    )
