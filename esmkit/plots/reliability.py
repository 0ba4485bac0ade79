"""How often pairs touch against the score that they were given."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from esmkit.errors import OptionError
from esmkit.plots.figure import MARGIN, PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel
from esmkit.plots.protocols import Reliable

if TYPE_CHECKING:
    import pandas

__all__ = ["reliability_diagram"]

LEFT, GAP = 0.5, 0.16
"""Inches to the left of the panels, and between them."""

COUNTS_HEIGHT = 0.55
"""Inches of the panels that count pairs."""

COLOUR = "#0072B2"
"""Okabe and Ito's blue."""

NAMES = {
    "all": "all, 6 or more apart",
    "short": "short range, 6-11",
    "medium": "medium range, 12-23",
    "long": "long range, 24 or more",
}


def reliability_diagram(reliability: Reliable, *, path: str | Path | None = None) -> Figure:
    """Draw the share of pairs that touch against their score, over how many pairs there are.

    A panel for each range of separation. A point is a bin of the score, at the mean of its pairs,
    with the 95 % bootstrap interval over chains. On the dashed line scores would be the share of
    pairs that touch; below it they promise too much. Bins without a pair have no point.

    Parameters
    ----------
    reliability : Reliability
        As :func:`esmkit.contacts.reliability` returns it.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If no pair was counted, or the extension is another.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> says = np.where(ubiquitin.contacts(), 0.95, 0.05)
    >>> found = esmkit.contacts.reliability([(says, ubiquitin.contacts(), ubiquitin.resolved)])
    >>> esmkit.plots.reliability_diagram(found).get_suptitle()
    'How often residues touch, by the score of their pair'
    """
    table = reliability.table
    if not table["pairs"].to_numpy().any():
        raise OptionError("there is no pair to draw; give chains with residues 6 or more apart")
    ranges = [name for name in NAMES if name in set(table["range"])]
    chains = int(reliability.error["chains"].to_numpy().max())
    width = (PAGE_WIDTH - LEFT - MARGIN + GAP) / len(ranges) - GAP
    top = TITLE_HEIGHT + 0.2
    facts = [f"{chains} chain{'s' * (chains != 1)}"]
    if not np.isnan(table["low"].to_numpy(float)).all():
        facts.append("bars: 95 % bootstrap interval over chains")
    facts.append("dashed: where a score would be the share that touches")
    with house_style():
        figure = new(
            PAGE_WIDTH,
            top + width + 0.1 + COUNTS_HEIGHT + 0.42,
            "How often residues touch, by the score of their pair",
            " · ".join(facts),
        )
        shares: list[Axes] = []
        counts: list[Axes] = []
        for number, name in enumerate(ranges):
            left = LEFT + number * (width + GAP)
            rows = table.loc[table["range"] == name]
            shared = {"sharey": shares[0]} if shares else {}
            axes = panel(figure, left, top, width, width, **shared)
            draw_shares(axes, rows)
            axes.set_title(NAMES[name], fontsize=7, pad=3)
            axes.tick_params(axis="x", labelbottom=False)
            axes.tick_params(axis="y", labelleft=not number)
            shares.append(axes)
            shared = {"sharey": counts[0]} if counts else {}
            below = panel(figure, left, top + width + 0.1, width, COUNTS_HEIGHT, **shared)
            draw_counts(below, rows)
            below.tick_params(axis="y", labelleft=not number)
            counts.append(below)
        shares[0].set_ylabel("share of pairs that touch")
        counts[0].set_ylabel("pairs")
        figure.text(
            (LEFT + PAGE_WIDTH - MARGIN) / 2 / PAGE_WIDTH,
            0.08 / figure.get_size_inches()[1],
            "score",
            ha="center",
            va="bottom",
            fontsize=7,
        )
        return finish(figure, path)


def draw_shares(axes: Axes, rows: "pandas.DataFrame") -> None:
    """Draw the points of one range, with their intervals."""
    axes.plot([0, 1], [0, 1], color="0.5", lw=0.8, ls="--", zorder=1)
    there = rows.loc[rows["pairs"] > 0]
    score, touch = there["score"].to_numpy(float), there["touch"].to_numpy(float)
    low, high = there["low"].to_numpy(float), there["high"].to_numpy(float)
    axes.vlines(score, low, high, color=COLOUR, lw=0.9, zorder=2)
    axes.plot(score, touch, color=COLOUR, lw=0.8, marker="o", ms=3, zorder=3)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks)
    axes.spines[["top", "right"]].set_visible(False)


def draw_counts(axes: Axes, rows: "pandas.DataFrame") -> None:
    """Draw how many pairs each bin has: from some hundred thousand to some dozen, so by powers."""
    left, right = rows["from"].to_numpy(float), rows["to"].to_numpy(float)
    axes.bar(left, rows["pairs"].to_numpy(float), right - left, align="edge", color="0.75", lw=0)
    axes.set_yscale("log")
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_ylim(bottom=0.8)
    axes.set(xlim=(0, 1))
    axes.set_xticks(ticks, labels=["0", ".25", ".5", ".75", "1"])
    axes.spines[["top", "right"]].set_visible(False)
