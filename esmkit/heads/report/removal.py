"""What is lost without a head, in words: contacts, by output and by map, and embeddings."""

from typing import Any

import numpy as np

from esmkit.heads.report.page import Block, Paragraph, Table
from esmkit.plots.ablation import lead_mode
from esmkit.plots.profiles import specialisation
from esmkit.plots.protocols import Profile
from esmkit.text import signed

__all__ = ["removal"]

LISTED = 3
"""Heads that a sentence names."""

ROWS = 6
"""Heads in the table of those that cost contacts most."""

SET_TO = {"mean": "set to its mean", "zero": "set to zero"}

WAYS = {
    "": "head gone",
    "output_": "its output gone",
    "map_": "its map gone",
    "refit_": "regression fitted anew without its map",
}
"""Ways to take a head from the contacts, by the prefix of their columns."""


def removal(profile: Profile, ablation: Any) -> list[Block]:
    """Say which heads cost most when taken away, how, and whether those are the specialised ones.

    Parameters
    ----------
    profile : HeadProfile
    ablation : pandas.DataFrame
        As :func:`esmkit.plots.ablation_scatter` takes it.

    Returns
    -------
    list of Block
        Begins with the heads set to their means, if that was measured.
    """
    mode = lead_mode(ablation["mode"])
    rows = ablation[ablation["mode"] == mode]
    blocks: list[Block] = []
    if "chains" in rows:
        blocks.append(
            Paragraph(
                f"Each head was taken away alone, on {int(rows['chains'].max()):,} chains: its "
                f"output {SET_TO.get(mode, mode)}, its map left out of the contact regression, or both."
            )
        )
    scored = rows[rows["precision_change"].notna()]
    if len(scored):
        blocks += _contacts(scored, mode, profile.rules.max_q, ablation[ablation["mode"] != mode])
    if "refit_change" in scored and scored["refit_change"].notna().any():
        blocks.append(_refit(scored, profile.rules.max_q))
    blocks.append(_embeddings(profile, ablation, mode))
    return blocks


def _contacts(rows: Any, mode: str, max_q: float, others: Any) -> list[Block]:
    """Return the heads that cost contacts most: how many beyond chance, and a table of them."""
    worst = rows.nsmallest(ROWS, "precision_change")
    first = worst.iloc[0]
    said = [
        f"Long-range P@L changes most without {first['name']}: "
        f"{_points(first, '')} percentage points."
    ]
    if {"high", "q", "scored"} <= set(rows.columns) and rows["high"].notna().any():
        below, chance = int((rows["high"] < 0).sum()), len(rows) * 0.025
        sure = list(rows.loc[(rows["q"] <= max_q) & (rows["precision_change"] < 0), "name"])
        said.append(
            f"Of {len(rows):,} heads {below:,} have an interval below 0, where {chance:.2g} would "
            f"by chance; with a false discovery rate of at most {max_q:g} "
            + (f"it is {_some(sure)}." if sure else f"it is none{_why_none(rows, max_q)}.")
        )
    ways = {
        p: text for p, text in WAYS.items() if _column(p) in rows and rows[_column(p)].notna().any()
    }
    if "output_" in ways:
        said.append(
            "Output and map are told apart: without the output the maps of later layers change, and "
            "of a head of the last layer there are none; without the map the contact regression, "
            "which was fitted with it, lacks a term."
        )
    for other, found in others[others["precision_change"].notna()].groupby("mode", sort=False):
        first = found.nsmallest(LISTED, "precision_change")
        listed = "; ".join(f"{row['name']} {_points(row, '')}" for _, row in first.iterrows())
        said.append(f"With the head {SET_TO.get(str(other), str(other))} it is {listed}.")
    blocks: list[Block] = [Paragraph(" ".join(said), f"Contacts (head {SET_TO.get(mode, mode)}):")]
    if len(ways) > 1:
        table = [[row["name"], *(_points(row, p) for p in ways)] for _, row in worst.iterrows()]
        header = ["change of long-range P@L, points", *ways.values()]
        blocks.append(Table(header, table))
    return blocks


def _why_none(rows: Any, max_q: float) -> str:
    """Return that chains are too few, if no single head could have had a rate that low."""
    chains, tests = int(rows["scored"].max()), int(rows["q"].notna().sum())
    lowest = min(1.0, tests * 2 / 2**chains)  # a flip of all signs is as large as none
    return f", which {chains} chains are too few to show of one head" if lowest > max_q else ""


def _refit(rows: Any, max_q: float) -> Paragraph:
    """Say what a regression that never knew the head is worth."""
    worst = rows.loc[rows["refit_change"].idxmin()]
    whole = worst["refit_precision"] - worst["refit_change"]
    weighted = int((rows["refit_weight"].abs() > 0).sum())
    text = (
        f"Fitted to half of {int(worst['refit_scored']):,} chains and scored on the others, and the "
        f"other way round, a regression on all heads has a long-range P@L of {whole:.3f}. "
    )
    if weighted and worst["refit_change"] < 0:
        sure = rows.loc[(rows["refit_q"] <= max_q) & (rows["refit_change"] < 0), "name"]
        text += (
            f"Without the map of {worst['name']} it has {worst['refit_precision']:.3f} "
            f"({_points(worst, 'refit_')} points): "
            + (
                "the other heads do not make up for it. "
                if worst["name"] in set(sure)
                else "no change that stands out among so many heads. "
            )
        )
        others = [name for name in sure if name != worst["name"]]
        text += f"A significant loss, too: {_some(others)}. " if others else ""
    text += (
        f"{weighted:,} of {len(rows):,} heads have a weight in it; without one of the others nothing "
        "changes."
    )
    return Paragraph(text, "A contact regression that never knew the head:")


def _embeddings(profile: Profile, ablation: Any, mode: str) -> Paragraph:
    """Say without which heads the mean embedding moves most, and whether the modes agree."""
    drift = ablation[ablation["drift_cosine"].notna()]
    rows = drift[drift["mode"] == mode]
    said = []
    if len(rows):
        said.append(f"The mean embedding moves most without {_moved(rows)} (1 - cosine).")
    for other in [m for m in drift["mode"].unique() if m != mode]:
        said += _other_mode(rows, drift[drift["mode"] == other], mode, other)
    size = specialisation(profile).fillna(0.0)
    both = rows[rows["name"].isin(size.index)]
    if len(both) > 2 and both["name"].map(size).nunique() > 1:
        rank = both["name"].map(size).corr(both["drift_cosine"], method="spearman")
        if not np.isnan(rank):
            said.append(
                "Rank correlation of drift with the head's largest significant difference: "
                f"{rank:+.2f}."
            )
    return Paragraph(" ".join(said), f"Embeddings (head {SET_TO.get(mode, mode)}):")


def _other_mode(rows: Any, others: Any, mode: str, other: str) -> list[str]:
    """Say which heads the other mode puts first, where this one puts those, and how they agree."""
    by_name = rows.set_index("name")["drift_cosine"]
    shared = others[others["name"].isin(by_name.index)]
    if not len(shared):
        return []
    said = [f"With the head {SET_TO.get(other, other)} it is {_moved(shared)}"]
    ranks = by_name.rank(ascending=False, method="min").astype(int)
    top = list(shared.nlargest(LISTED, "drift_cosine")["name"])
    fallen = [name for name in top if ranks[name] > 2 * LISTED]
    if fallen:
        places = ", ".join(f"{name} is number {ranks[name]:,}" for name in fallen)
        to = {"mean": "at its mean", "zero": "at zero"}.get(mode, mode)
        said[0] += f", but {to} {places} of {len(ranks):,}: most of what zero takes is a constant"
    said[0] += "."
    rank = by_name.corr(shared.set_index("name")["drift_cosine"], method="spearman")
    if len(shared) > 2 and not np.isnan(rank):
        said.append(f"Rank correlation of the two over {len(shared):,} heads: {rank:+.2f}.")
    return said


def _moved(rows: Any) -> str:
    found = rows.nlargest(LISTED, "drift_cosine")
    return "; ".join(f"{row['name']} {row['drift_cosine']:.2g}" for _, row in found.iterrows())


def _column(prefix: str) -> str:
    return f"{prefix}change" if prefix else "precision_change"


def _points(row: Any, prefix: str) -> str:
    """Return a change with its interval, in percentage points."""
    value = 100 * row[_column(prefix)]
    if np.isnan(value):
        return "unknown"
    low, high = (100 * row.get(f"{prefix}{end}", np.nan) for end in ("low", "high"))
    if value == low == high == 0:
        return "0"
    ends = "" if np.isnan(low) else f" [{signed(low, 1)}, {signed(high, 1)}]"
    return f"{signed(value, 1)}{ends}"


def _some(names: list[str]) -> str:
    """Return names, the first few and how many more."""
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more:,} more" if more > 0 else "")
