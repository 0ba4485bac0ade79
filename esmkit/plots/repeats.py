"""Heads that copy: on random segments written twice, and on real proteins with repeats."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from esmkit.errors import OptionError
from esmkit.plots.figure import PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel
from esmkit.plots.labels import name_points
from esmkit.plots.profiles import one_line
from esmkit.plots.protocols import Profile

__all__ = ["repeat_scores"]

COPYING, OTHER, CONTROL = "#009E73", "0.55", "#D55E00"
"""Colours (Okabe & Ito) of heads that copy, of others, and of unrelated halves."""

HEIGHT, LEFT, GAP, BELOW = 2.3, 0.6, 0.75, 0.5
"""Inches: of a panel, left of the first, between two, and below."""

RANKED = 12
"""Heads in the first panel."""


def repeat_scores(profile: Profile, *, path: str | Path | None = None) -> Figure:
    """Draw which heads look at the aligned residue of another copy.

    Left, the heads with the highest repeat scores: that on a segment of random residues written
    twice, with its interval, and that between unrelated halves. Right, if it was measured, a point
    for each head: its repeat score, and its weight on the other copies in real proteins beyond that
    on the residues around them.

    Parameters
    ----------
    profile : HeadProfile
        With ``repeats``, as ``esmkit heads`` makes it.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the profile has no repeat scores, or the extension is another.

    Examples
    --------
    >>> import pandas
    >>> names = ["L4H9", "L5H4"]
    >>> heads = pandas.DataFrame({"name": names, "label": ["repeat", "contact"]})
    >>> repeats = pandas.DataFrame({"name": names, "sequences": 20, "repeat_score": [0.4, 0.02]})
    >>> ends = {"repeat_low": [0.39, 0.01], "repeat_high": [0.41, 0.03], "repeat_control": 0.01}
    >>> repeats = repeats.assign(**ends)
    >>> where_from = {"checkpoint": {"name": "made up"}, "chains": ["chain"] * 20}
    >>> profile = esmkit.heads.HeadProfile(heads, heads, where_from, repeats=repeats)
    >>> esmkit.plots.repeat_scores(profile).get_suptitle()
    'Heads that copy: at a repeat they look at the aligned residue of the other copy'
    """
    table: Any = profile.repeats
    if table is None or not len(table):
        raise OptionError("the profile has no repeat scores; `esmkit heads` measures them")
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    table = table.assign(copies=[labels.get(name) == "repeat" for name in table["name"]])
    real = "real_difference" in table.columns
    count = int(table["sequences"].max())
    said = f"{one_line(profile.provenance['checkpoint']['name'])} · {count:,} repeated segments"
    if real:
        said += f" · {int(table['real_proteins'].max()):,} real proteins"
    with house_style():
        figure = new(
            PAGE_WIDTH,
            TITLE_HEIGHT + 0.2 + HEIGHT + BELOW,
            "Heads that copy: at a repeat they look at the aligned residue of the other copy",
            said,
        )
        wide = (PAGE_WIDTH - LEFT - 0.15 - GAP) / 2
        top = TITLE_HEIGHT + 0.2
        _ranked(panel(figure, LEFT, top, wide, HEIGHT), table)
        if real:
            _beside(panel(figure, LEFT + wide + GAP, top, wide, HEIGHT), table)
        return finish(figure, path)


def _ranked(axes: Axes, table: Any) -> None:
    """Draw the scores of the first heads beside those between unrelated halves."""
    first = table.sort_values(by="repeat_score", ascending=False, kind="stable").head(RANKED)
    rows = np.arange(len(first))
    colours = [COPYING if copies else OTHER for copies in first["copies"]]
    score = first["repeat_score"].to_numpy()
    axes.hlines(rows, first["repeat_low"], first["repeat_high"], colors=colours, lw=1)
    axes.scatter(score, rows, c=colours, s=16, zorder=3, label="the aligned residue of the copy")
    axes.scatter(
        first["repeat_control"],
        rows,
        s=14,
        facecolors="none",
        edgecolors=CONTROL,
        lw=0.8,
        zorder=4,
        label="the same between unrelated halves",
    )
    if "permuted_most" in table.columns:
        most = float(table[["random_most", "permuted_most"]].to_numpy().max())
        axes.axvline(most, color="0.3", lw=0.6, ls=":", label="most of any untrained head")
    axes.set_yticks(rows, first["name"])
    axes.set_ylim(len(first) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("mean attention weight")
    axes.legend(loc="lower right", frameon=False)


def _beside(axes: Axes, table: Any) -> None:
    """Draw scores on random segments beside what is found on real proteins."""
    for copies, colour, marker in ((False, OTHER, "+"), (True, COPYING, "o")):
        some = table[table["copies"] == copies]
        spread = [
            some["real_difference"] - some["real_low"],
            some["real_high"] - some["real_difference"],
        ]
        known = np.nan_to_num(np.clip(np.array(spread, float), 0, None))
        axes.errorbar(
            some["repeat_score"],
            some["real_difference"],
            yerr=known,
            fmt=marker,
            ms=4,
            color=colour,
            elinewidth=0.6,
            label="copies" if copies else "other heads",
        )
    axes.axhline(0, color="0.7", lw=0.5, zorder=0)
    axes.set_xlabel("repeat score on random segments")
    axes.set_ylabel("real proteins: weight on other copies,\nless that beside them")
    axes.legend(loc="upper left", frameon=False)
    score, apart = table["repeat_score"].to_numpy(), table["real_difference"].to_numpy()
    named = np.argsort(-score, kind="stable")[: max(int(table["copies"].sum()), 3)]
    name_points(axes, score, apart, named.tolist(), list(table["name"]))
