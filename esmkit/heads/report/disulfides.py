"""What a summary says of bonded cysteines against others of the same chain."""

from typing import Any

import numpy as np

from esmkit.heads.judgement import Rules
from esmkit.heads.report.answers import Answer

__all__ = ["NAME", "within_chains_answer"]

NAME = "disulfide, within chains"
"""Name of the answer, beside those on properties."""

LISTED = 6
"""Heads that it names."""

_WIDTH = 2 * 1.959964
"""Standard errors in the width of a 95 % interval."""

SLIGHT = 0.6
"""The AUC that the interval of a head lies above for its preference to be more than slight."""

_POWER = 0.841621
"""Standard errors beyond the threshold at which four effects of five are found."""


def within_chains_answer(table: Any, max_q: float = Rules.max_q) -> Answer:
    """Say whether a head tells bonded cysteines from others, and what would have been found.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`esmkit.heads.disulfides.within_chains`.
    max_q : float
        False discovery rate up to which a head counts.

    Returns
    -------
    Answer
        Its verdict is ``Insufficient``, ``None confirmed``, or ``Bonded ones get more`` (``slightly
        more`` if no confirmed AUC is surely over 0.6), ``as touching ones may`` or ``touching or
        not``.

    Examples
    --------
    >>> import pandas
    >>> row = {"name": ["L1H1"], "auc": [float("nan")], "chains": [3], "bonds": [4], "pairs": [9]}
    >>> within_chains_answer(pandas.DataFrame(row)).verdict
    'Insufficient'
    """
    first = table.iloc[0]
    support = (
        f"{int(first['bonds']):,} bonds of {int(first['chains']):,} chains are held against "
        f"{int(first['pairs']):,} pairs of cysteines of the same chain that are not bonded, of like "
        "separation and in the same direction"
    )
    if table["auc"].isna().all():
        return Answer(NAME, "Insufficient", [f"{support}: too few for an answer."])
    held = table[
        (table["q"] <= max_q) & (table["half_a"] > 0.5) & (table["half_b_low"] > 0.5)
    ].sort_values(by="auc", ascending=False)
    best = (table if held.empty else held).sort_values(by="half_a", ascending=False).iloc[0]
    sentences = [
        f"{support}. The AUC is the probability that a bonded pair has more of a head's "
        "weight than such another: 0.5 is chance, 1 a detector.",
        _chosen(best, table, confirmed=not held.empty),
        *_confirmed(held),
        *_touching(best, confirmed=not held.empty),
        _power(table, max_q),
    ]
    beyond = not held.empty and (held["over_touching_low"] > 0.5).any()
    verdict = "None confirmed"
    if not held.empty:
        size = "more" if (held["low"] > SLIGHT).any() else "slightly more"
        why = "touching or not" if beyond else "as touching ones may"
        verdict = f"Bonded ones get {size}, {why}"
    return Answer(NAME, verdict, sentences, str(best["name"]), _numbers(best))


def _chosen(best: Any, table: Any, *, confirmed: bool) -> str:
    what = "the best confirmed head" if confirmed else "the best head"
    text = (
        f"{best['name']}, {what} in one half of the chains ({best['half_a']:.2f}), has "
        f"{_range(best, 'half_b')} in the other, and {_range(best)} in all"
    )
    if confirmed:
        return text + f" (q = {best['q']:.1g})."
    return text + f"; no head of {len(table):,} is confirmed (least q = {table['q'].min():.2g})."


def _confirmed(held: Any) -> list[str]:
    if len(held) < 2:
        return []
    named = [f"{row['name']} ({row['auc']:.2f})" for row in held.head(LISTED).to_dict("records")]
    more = ", ..." if len(held) > LISTED else ""
    return [f"Confirmed are {len(held):,} heads: {', '.join(named)}{more}."]


def _touching(best: Any, *, confirmed: bool) -> list[str]:
    """Say what a head that looks for contacts would see, where there are enough such pairs."""
    if np.isnan(best["over_touching"]):
        return [
            "Bonded cysteines also touch. Too few chains have touching pairs without a bond to tell "
            "a liking for bonds from one for contacts."
        ]
    text = (
        f"Against pairs that touch without a bond {best['name']} has {_range(best, 'over_touching')}"
        f", and for those against pairs apart {_range(best, 'touching')}"
    )
    if not confirmed or best["over_touching_low"] > 0.5:
        return [text + "."]
    return [text + ": it need not be more than a liking for contacts."]


def _power(table: Any, max_q: float) -> str:
    """Say which AUC would have been found, and which none has."""
    from scipy.stats import t

    heads, chains = len(table), int(table["chains"].iloc[0])
    wider = np.sqrt(table["inflation"].iloc[0]) if "inflation" in table else 1.0
    error = float(np.median(table["high"] - table["low"])) / _WIDTH
    threshold = float(t.isf(max_q / 2 / heads, chains - 1)) * wider
    found = 0.5 + (threshold + _POWER) * error
    highest = np.ceil(100 * table["high"].max()) / 100  # up, or the sentence would not hold
    return (
        f"Power: with {chains:,} chains a head with an AUC of {min(found, 1.0):.2f} would be found "
        f"in four tries of five among {heads:,}; an AUC above {highest:.2f} lies "
        "outside the 95 % interval of every head."
    )


def _numbers(best: Any) -> dict[str, str]:
    numbers = {
        "head": str(best["name"]),
        "AUC [95% interval]": _range(best),
        "chosen in half A: AUC": f"{best['half_a']:.2f}",
        "confirmed in half B: AUC [95% interval]": _range(best, "half_b"),
        "position only, from the mean weight at each offset: AUC": f"{best['position']:.2f}",
        "false discovery rate (Benjamini-Hochberg over heads)": f"q = {best['q']:.2g}",
    }
    for kind in ("random", "permuted"):
        if kind in best:
            numbers[f"{kind} weights: 95% of heads within"] = f"0.5 ± {best[kind]:.2f}"
    return numbers


def _range(best: Any, name: str = "") -> str:
    middle, start = (name, f"{name}_") if name else ("auc", "")
    low, high = best[f"{start}low"], best[f"{start}high"]
    return f"{best[middle]:.2f} [{low:.2f}, {high:.2f}]"
