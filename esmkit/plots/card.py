"""One head: where it looks along the sequence, and what it looks for."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from esmkit.plots.figure import PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel
from esmkit.plots.profiles import literal, one_line
from esmkit.plots.protocols import Card

__all__ = ["head_card"]

HEIGHT = 1.5
"""Inches of the panels."""

PROFILE, EFFECT, CHANCE, EXPECTED = "0.35", "#D55E00", "0.75", "black"
"""Okabe and Ito's vermilion for significant effects, grey for the others."""


def head_card(card: Card, *, path: str | Path | None = None) -> Figure:
    """Draw one head: its offset profile, and its largest effects.

    On the left the share of its weight between residues at each offset (key - query). On the right
    the share on pairs with each property (bar; grey if q is over the ``max_q`` of the profile's
    rules), and what its offsets would give (black line).

    Parameters
    ----------
    card : HeadCard
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> model, ubiquitin = esmkit.load(), esmkit.data.demo_structure()            # doctest: +SKIP
    >>> asked = {"resamples": 100, "control": False}                               # doctest: +SKIP
    >>> profile = esmkit.heads.profile(model, [ubiquitin], **asked)               # doctest: +SKIP
    >>> len(esmkit.plots.head_card(profile.head("L5H4")).axes)                    # doctest: +SKIP
    2
    """
    with house_style():
        figure = new(
            PAGE_WIDTH,
            TITLE_HEIGHT + HEIGHT + 0.5,
            f"{card.name}: {one_line(card.label)}",
            card.source,
        )
        axes = panel(figure, 0.5, TITLE_HEIGHT, 2.7, HEIGHT)
        axes.bar(card.offsets, 100 * card.offset_shares, width=1.0, color=PROFILE)
        axes.set(xlabel="offset (key - query, residues)", ylabel="% of weight")
        axes.set_xticks([-32, -16, 0, 16, 32], labels=["-32", "-16", "0", "+16", "+32"])
        axes.spines[["top", "right"]].set_visible(False)
        axes = panel(figure, 4.75, TITLE_HEIGHT, PAGE_WIDTH - 4.9, HEIGHT)
        top: Any = card.top
        place = np.arange(len(top))
        colours = [EFFECT if q <= card.max_q else CHANCE for q in top["q"]]
        axes.barh(place, 100 * top["share"], height=0.7, color=colours)
        expected = 100 * top["background"]
        axes.vlines(expected, place - 0.42, place + 0.42, color=EXPECTED, lw=1.2)
        axes.set_yticks(place, labels=[*map(one_line, top["property"])])
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(max(len(top), 1) - 0.4, -0.6)
        axes.set_xlabel("% of weight (line: expected from its offsets)")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.spines[["top", "right"]].set_visible(False)
        literal(axes.get_yticklabels())
        return finish(figure, path)
