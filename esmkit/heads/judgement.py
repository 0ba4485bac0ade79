"""One decision on each effect: is it confirmed, and how large is it. Labels and answers go by it.

An effect is confirmed if its false discovery rate is low, its interval lies above 0, and so it does
in the half of the chains in which no head was chosen. Its size is a word that depends on share and
background, by the lower ends of the intervals of their difference and their ratio, and on nothing
else: not on how many strong links a set of chains happens to have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from esmkit.heads.statistics import FAMILIES
from esmkit.text import percent, signed

__all__ = [
    "CONTROLS",
    "SIZES",
    "TESTED_AGAIN",
    "UNKNOWN",
    "UNREPEATED",
    "Judgement",
    "Rules",
    "Size",
    "copies",
    "judge",
    "lacks_q",
    "points",
    "q_text",
    "shares",
    "spread",
    "times",
]

Size = Literal["none", "trace", "slight", "preference", "most"]

SIZES: dict[Size, str] = {
    "none": "None confirmed",
    "trace": "A trace",
    "slight": "Slightly more than expected",
    "preference": "A preference, not a detector",
    "most": "Most of its weight",
}
"""Sizes of an effect, smallest first, as summaries put them.

``none``: not confirmed. ``trace``: confirmed, but the lower end of the difference is under
``min_difference``. ``slight``: more than that, but its ratio is under ``min_ratio`` (and its
difference under ``large_difference``). ``preference``: both, and the head has a label for it.
``most``: besides, at least half of the weight.
"""

CONTROLS = {"disulfide": "cysteine pair"}
"""Properties with a property that controls for them: of the same residues, without the bond."""

UNREPEATED = "unrepeated_"
"""Before the names of columns that say what an effect is where repeats are left out."""

TESTED_AGAIN = (
    *("proteins", "share", "background", "difference", "low", "high", "ratio", "ratio_low", "q"),
    *("half_a", "half_b", "half_b_low", "beyond_control", "beyond_control_low"),
)
"""Columns of effects of pairs that there are once more, where repeats are left out."""

UNKNOWN = "not known"
"""What stands for a number that there is none of."""


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
        False discovery rate, within pairs, residues or offsets, up to which an effect is
        significant.
    min_difference : float
        Least share minus background, by the lower end of its interval.
    min_ratio : float
        Least share over background, by the lower end of its interval.
    large_difference : float
        Share minus background, by its lower end, from which the ratio does not matter: a share
        cannot be much more than a background of a third.
    repeat : float
        Mean weight on the aligned residue of another copy, less that between unrelated halves, from
        which a head copies, by the lower end of the interval.

    Examples
    --------
    >>> strict = esmkit.heads.Rules(max_q=0.01, min_ratio=1.5)
    >>> strict.max_q, strict.min_difference
    (0.01, 0.005)
    """

    sink: float = 0.5
    offset_share: float = 0.4
    positional: float = 0.5
    max_q: float = 0.05
    min_ratio: float = 1.25
    min_difference: float = 0.005
    large_difference: float = 0.05
    repeat: float = 0.2


@dataclass(frozen=True)
class Judgement:
    """What may be said of one effect.

    Attributes
    ----------
    size : {'none', 'trace', 'slight', 'preference', 'most'}
        See :data:`SIZES`.
    lacks : tuple of str
        The conditions that it fails, those of confirmation first; empty if it is at least a
        preference.
    only_control : bool
        Whether it would be confirmed, were it not for the property that controls for it.
    withdrawn : bool
        Whether it would hold, were it not that it does not where repeats are left out.
    """

    size: Size
    lacks: tuple[str, ...] = ()
    only_control: bool = False
    withdrawn: bool = False

    @property
    def confirmed(self) -> bool:
        """Whether it is more than chance, of whatever size."""
        return self.size != "none"

    @property
    def holds(self) -> bool:
        """Whether it is confirmed and large enough for a label."""
        return self.size in ("preference", "most")

    @property
    def rank(self) -> int:
        """Place of its size among :data:`SIZES`, from 0."""
        return list(SIZES).index(self.size)


def judge(effect: Mapping[Any, Any], rules: Any = Rules()) -> Judgement:
    """Decide what may be said of one effect.

    An effect of pairs that was tested again without repeats is no larger than it is there.

    Parameters
    ----------
    effect : mapping
        A row of ``HeadProfile.effects``: ``kind``, ``share``, ``background``, ``difference``,
        ``low``, ``q``, ``half_b_low``, and, if it has them, ``ratio_low``, ``half_a`` and, for a
        property with a control, ``beyond_control_low``; and where it was tested again without
        repeats the same with ``unrepeated_`` before, of which ``unrepeated_proteins`` is a number.
    rules : Rules

    Returns
    -------
    Judgement

    Examples
    --------
    >>> effect = {"kind": "pair", "share": 0.038, "background": 0.02, "difference": 0.018}
    >>> effect |= {"low": 0.011, "ratio_low": 1.6, "q": 1e-3, "half_b_low": 0.01}
    >>> judge(effect).size
    'preference'
    >>> judge({**effect, "q": 0.08}).lacks
    ('q = 0.08 within pairs',)
    """
    found = _judge(effect, rules)
    if np.isnan(float(effect.get(f"{UNREPEATED}proteins", np.nan))):
        return found
    again = {name: effect[f"{UNREPEATED}{name}"] for name in TESTED_AGAIN}
    kept = _judge({**effect, **again}, rules)
    if kept.rank >= found.rank:
        return found
    lacks = tuple(f"where repeats are left out, {why}" for why in kept.lacks)
    return Judgement(kept.size, (*found.lacks, *lacks), withdrawn=found.holds and not kept.holds)


def copies(scores: Mapping[Any, Any], rules: Any = Rules()) -> bool:
    """Decide whether a head copies.

    Parameters
    ----------
    scores : mapping
        A row of :func:`esmkit.heads.repeat_scores`: ``repeat_difference_low``, ``repeat_low`` and,
        if untrained networks were measured, ``random_most`` and ``permuted_most``.
    rules : Rules

    Examples
    --------
    >>> scores = {"repeat_low": 0.38, "repeat_difference_low": 0.37, "permuted_most": 0.03}
    >>> copies(scores), copies({**scores, "repeat_difference_low": 0.1}), copies({})
    (True, False, False)
    """
    low = float(scores.get("repeat_low", np.nan))
    untrained = [float(scores.get(f"{kind}_most", -np.inf)) for kind in ("random", "permuted")]
    beyond = float(scores.get("repeat_difference_low", np.nan))
    return bool(beyond >= rules.repeat and low > max(untrained))


def _judge(effect: Mapping[Any, Any], rules: Any) -> Judgement:
    """Decide by the numbers of one test."""
    low, difference = float(effect["low"]), float(effect["difference"])
    share, background = float(effect["share"]), float(effect["background"])
    q, missing = float(effect["q"]), []
    if not q <= rules.max_q:
        missing.append(f"{q_text(q)} within {FAMILIES.get(str(effect['kind']), 'its family')}")
    if not low > 0:
        missing.append(f"the lower end of its interval is {points(low)}")
    if not (float(effect["half_b_low"]) > 0 and float(effect.get("half_a", 1.0)) > 0):
        missing.append("the two halves of the chains do not both show it")
    controlled = float(effect.get("beyond_control_low", np.nan)) <= 1
    if controlled:
        missing.append(
            f"its ratio is {times(effect, 'beyond_control', 'that of any')} "
            f"{CONTROLS.get(str(effect.get('property')), 'pair of its control')}"
        )
    ratio_low = float(effect.get("ratio_low", np.nan))
    if np.isnan(ratio_low):  # of a table without it: the background taken as exact
        ratio_low = (background + low) / background if background > 0 else np.inf
    small = []
    if low < rules.min_difference:
        small.append(f"its lower end is under {100 * rules.min_difference:g} points")
    if not (ratio_low >= rules.min_ratio or low >= rules.large_difference):
        small.append(
            f"it may be as little as {ratio_low:.2f} times the expected share, under "
            f"{rules.min_ratio:g}"
        )
    lacks = (*missing, *(small if low > 0 else ()))
    if missing:
        return Judgement("none", lacks, controlled and len(missing) == 1)
    if low < rules.min_difference:
        return Judgement("trace", lacks)
    if small:
        return Judgement("slight", lacks)
    return Judgement("most" if share - (difference - low) >= 0.5 else "preference")


def points(share: float, digits: int | None = None) -> str:
    """Return a difference of shares in percentage points.

    >>> points(0.0181), points(0.002), points(float("nan"))
    ('+1.8 points', '+0.20 points', 'not known')
    """
    if np.isnan(share):
        return UNKNOWN
    return f"{signed(100 * share, digits or _digits(share))} points"


def spread(low: float, high: float) -> str:
    """Return an interval of a difference of shares, in percentage points.

    >>> spread(0.0112, 0.027)
    '[+1.1, +2.7]'
    """
    if np.isnan(low) or np.isnan(high):
        return "[interval not known]"
    digits = max(_digits(low), _digits(high))
    return f"[{signed(100 * low, digits)}, {signed(100 * high, digits)}]"


def times(effect: Mapping[Any, Any], column: str = "ratio", than: str = "as much") -> str:
    """Return a ratio of shares and its interval.

    >>> times({"ratio": 1.919, "ratio_low": 1.61, "ratio_high": 2.31})
    '1.92 times [1.61, 2.31] as much'
    """
    value = float(effect[column])
    low, high = (float(effect.get(f"{column}_{end}", np.nan)) for end in ("low", "high"))
    if not np.isfinite(value):
        return f"a ratio that is {UNKNOWN}"
    known = f"[{low:.2f}, {high:.2f}]" if np.isfinite(low) and np.isfinite(high) else ""
    return f"{value:.2f} times {known or '[interval not known]'} {than}".rstrip()


def q_text(value: float) -> str:
    """Return a false discovery rate.

    >>> q_text(0.0743), q_text(1e-12), q_text(float("nan"))
    ('q = 0.07', 'q < 1e-9', 'q not known')
    """
    if np.isnan(value):
        return f"q {UNKNOWN}"
    return "q < 1e-9" if value < 1e-9 else f"q = {value:.1g}"


def lacks_q(effect: Mapping[Any, Any], rules: Any = Rules()) -> bool:
    """Tell whether an effect would hold, were its false discovery rate not too high."""
    without = {**effect, "q": 0.0, f"{UNREPEATED}q": 0.0}
    return not judge(effect, rules).confirmed and judge(without, rules).holds


def shares(effect: Mapping[Any, Any]) -> str:
    """Return share, expected share, difference and its interval, as every text puts them."""
    return (
        f"{percent(effect['share'])} against {percent(effect['background'])} expected: "
        f"{points(effect['difference'])} {spread(effect['low'], effect['high'])}"
    )


def _digits(value: float) -> int:
    return 1 if not np.isfinite(value) or abs(value) >= 0.01 else 2
