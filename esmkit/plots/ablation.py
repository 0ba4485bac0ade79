"""Specialised against needed: what a head looks for beside what is lost without it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from esmkit.errors import OptionError
from esmkit.plots.figure import PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel
from esmkit.plots.labels import name_points
from esmkit.plots.profiles import FAMILIES, family, kinds_of, source, specialisation
from esmkit.plots.protocols import Profile

if TYPE_CHECKING:
    import pandas


__all__ = ["LOOKS", "MODE_TEXT", "ablation_scatter", "by_family", "lead_mode"]

LOOKS = {
    "pair": ("#D55E00", "o"),
    "residue": ("#0072B2", "s"),
    "position": ("0.45", "x"),
    "sink": ("#CC79A7", "D"),
    "repeat": ("#009E73", "^"),
    "none": ("0.65", "+"),
}
"""Okabe and Ito's colours, and a marker of another shape, for each family of labels."""

MODE_TEXT = {"mean": "head set to its mean", "zero": "head set to zero"}

MEASURES = {
    "precision_change": ("change of long-range P@L\n(percentage points)", 100.0),
    "drift_cosine": ("drift of the mean embedding\n(1 - cosine)", 1.0),
}

SERIES = {
    "precision_change": ("", "head gone: output and map", "black", "o"),
    "output_change": ("output_", "its output gone (later maps change)", "#0072B2", "s"),
    "map_change": ("map_", "its map gone from the contact regression", "#E69F00", "D"),
    "refit_change": ("refit_", "regression fitted anew without its map", "#009E73", "v"),
}
"""Ways to take a head from the contacts: prefix of the columns, text, colour, marker."""

NAMED = 4
"""Heads that are named for each axis of a panel."""

RANKED = 9
"""Heads in the panel of those that cost most."""

HEIGHTS = (2.3, 2.9)
"""Inches of the panels of the first row and of the second."""

LEGEND_LINE = 0.125
"""Inches of a line of the legend of the heads that cost most, which stands above them."""

LEFT, GAP, BELOW = 0.75, 0.75, 0.6
"""Inches: left of a panel, between two, and below a row."""

Draw = Callable[[Axes], None]


def ablation_scatter(
    profile: Profile, ablation: "pandas.DataFrame", *, path: str | Path | None = None
) -> Figure:
    """Draw what heads look for against what changes when they are taken away.

    Above, a point for each head, set to its mean if that was measured. Across: its largest
    significant difference (share less background, in percentage points of its weight between
    residues; 0 if it has none). Up: the change of long-range contact precision, and the drift of
    the mean embedding. Colour and shape tell what its label is about; heads that stand out on
    either axis are named. Below, the heads that cost contacts most, with what each way of taking
    them away costs; and, of two modes, the drift by one against that by the other.

    Parameters
    ----------
    profile : HeadProfile
    ablation : pandas.DataFrame
        As from :func:`esmkit.heads.ablation.ablate`: columns ``name``, ``mode``,
        ``precision_change`` (NaN without a contact head: no panel of contacts is drawn) and
        ``drift_cosine``. Of the changes by output, map and refit, with interval and rate, those
        that are there are drawn. Heads that are not in the profile are left out.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the table lacks a column or has nothing to draw, or the extension is another.

    See Also
    --------
    masked_loss : What the masked-LM loss says of the same heads.

    Examples
    --------
    >>> import pandas
    >>> names = {"name": ["L0H0", "L0H1"], "layer": 0, "head": [0, 1], "property": "disulfide"}
    >>> numbers = {"share": [0.02, 0.001], "background": 0.001, "difference": [0.019, 0.0]}
    >>> effects = pandas.DataFrame(names | numbers | {"q": [1e-4, 0.9], "proteins": 20})
    >>> effects = effects.assign(kind="pair", family="pairs")
    >>> heads = effects[["name"]].assign(label=["disulfide", "none"])
    >>> where_from = {"checkpoint": {"name": "made up"}, "chains": ["chain"] * 20}
    >>> profile = esmkit.heads.HeadProfile(effects, heads, where_from)
    >>> table = pandas.DataFrame({"name": ["L0H0", "L0H1"], "mode": "mean"})
    >>> table = table.assign(precision_change=[-0.05, 0.0], drift_cosine=[0.002, 0.001])
    >>> len(esmkit.plots.ablation_scatter(profile, table).axes)
    3
    """
    missing = [name for name in ("name", "mode", *MEASURES) if name not in ablation.columns]
    if missing:
        raise OptionError(f"the table of ablations lacks the column {missing[0]!r}")
    table: Any = ablation[ablation["name"].isin(list(profile.heads["name"]))]
    measures = [name for name in MEASURES if table[name].notna().any()]
    if not measures:
        raise OptionError("the table of ablations has no number for any head of this profile")
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    kinds = kinds_of(profile)
    table = table.assign(
        across=100 * table["name"].map(specialisation(profile)).fillna(0),
        family=table["name"].map(lambda name: family(labels[name], kinds)),
    )
    rows = [row for row in _panels(table, measures, profile.rules.max_q) if row]
    # The heads were taken away on fewer chains than they were profiled on
    on = f" on {int(table['chains'].max()):,} chains" if "chains" in table else ""
    heights = HEIGHTS[: len(rows)]
    with house_style():
        figure = new(
            PAGE_WIDTH,
            TITLE_HEIGHT + 0.2 + sum(heights) + BELOW * len(rows) + 0.25,
            "What heads look for, and what is lost without them",
            f"each point is a head, taken away alone{on} · {source(profile)}",
        )
        top = TITLE_HEIGHT + 0.2
        for row, height in zip(rows, heights, strict=True):
            wide = (PAGE_WIDTH - 0.15) / len(row) - GAP
            for column, draw in enumerate(row):
                draw(panel(figure, LEFT + column * (wide + GAP), top, wide, height))
            top += height + BELOW
        there = [name for name in FAMILIES if (table["family"] == name).any()]
        handles = [
            Line2D([], [], ls="", color=LOOKS[f][0], marker=LOOKS[f][1], ms=4, label=FAMILIES[f])
            for f in there
        ]
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.55 / PAGE_WIDTH, 0),
            ncols=len(handles),
        )
        return finish(figure, path)


def lead_mode(modes: Any) -> str:
    """Return the mode that figures and texts begin with: the mean if it was measured.

    >>> lead_mode(["zero", "mean"]), lead_mode(["zero"])
    ('mean', 'zero')
    """
    return "mean" if "mean" in set(modes) else str(next(iter(modes)))


def _panels(table: Any, measures: list[str], max_q: float) -> list[list[Draw]]:
    """Return what is drawn, row by row: nothing for which there are no numbers."""
    mode = lead_mode(table["mode"])
    leading = table[table["mode"] == mode]
    first = [
        partial(_scatter, points=leading[leading[name].notna()], measure=name, mode=mode)
        for name in measures
        if leading[name].notna().any()
    ]
    second: list[Draw] = []
    if leading["precision_change"].notna().any():
        second.append(partial(_ranking, rows=leading, max_q=max_q))
    others = [other for other in table["mode"].unique() if other != mode]
    if others and table["drift_cosine"].notna().any():
        second.append(partial(_compare, table=table, modes=(mode, others[0])))
    return [first, second]


def _scatter(axes: Axes, *, points: Any, measure: str, mode: str) -> None:
    text, unit = MEASURES[measure]
    across, up = points["across"].to_numpy(), unit * points[measure].to_numpy()
    by_family(axes, across, up, points["family"])
    axes.axhline(0, color="0.6", lw=0.5, zorder=0)
    axes.set_xlabel("largest significant difference (percentage points of weight)")
    axes.set_ylabel(text)
    axes.set_title(MODE_TEXT.get(mode, str(mode)), fontsize=7, pad=3, loc="left")
    axes.margins(0.09)
    outstanding = {*np.argsort(-np.abs(up))[:NAMED], *np.argsort(-across)[:NAMED]}
    name_points(axes, across, up, dict.fromkeys(sorted(outstanding)), list(points["name"]))


def by_family(axes: Axes, across: Any, up: Any, families: Any) -> None:
    """Draw a point for each head, in colour and shape of what its label is about."""
    for name, (colour, marker) in LOOKS.items():
        some = (families == name).to_numpy()
        axes.scatter(across[some], up[some], s=13, color=colour, marker=marker, lw=0.8, label=name)
    axes.spines[["top", "right"]].set_visible(False)


def _ranking(axes: Axes, *, rows: Any, max_q: float) -> None:
    """Draw the heads that cost contacts most, and what each way of taking them away costs."""
    drawn = {
        name: look for name, look in SERIES.items() if name in rows and rows[name].notna().any()
    }
    rows = rows[rows["precision_change"].notna()].nsmallest(RANKED, "precision_change")
    places = np.arange(len(rows), dtype=float)
    step = 0.8 / len(drawn)
    for number, (name, (prefix, text, colour, marker)) in enumerate(drawn.items()):
        at = places + (number - (len(drawn) - 1) / 2) * step
        values = 100 * rows[name].to_numpy(float)
        if {f"{prefix}low", f"{prefix}high"} <= set(rows.columns):
            ends = (100 * rows[f"{prefix}{end}"].to_numpy(float) for end in ("low", "high"))
            axes.hlines(at, *ends, color=colour, lw=0.7)
        column = f"{prefix}q"
        sure = rows[column].to_numpy() <= max_q if column in rows else np.ones(len(rows), bool)
        for kept, face in ((sure, colour), (~sure, "white")):
            axes.scatter(
                *(values[kept], at[kept]),
                s=9,
                lw=0.7,
                color=colour,
                marker=marker,
                fc=face,
                zorder=3,
            )
        axes.plot([], [], ls="", color=colour, marker=marker, ms=3, label=text)
    axes.axvline(0, color="0.6", lw=0.5, zorder=0)
    for between in places[:-1] + 0.5:
        axes.axhline(between, color="0.9", lw=0.5, zorder=0)
    axes.set_yticks(places, list(rows["name"]))
    legend = LEGEND_LINE * len(drawn) / HEIGHTS[1] if len(drawn) > 1 else 0  # part of the height
    axes.set_ylim(len(rows) - 0.5, -0.5 - len(rows) * legend / (1 - legend))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(f"{MEASURES['precision_change'][0]}".replace("\n", " "))
    note = f" (filled: q ≤ {max_q:g})" if "q" in rows else ""
    axes.set_title(f"contacts without the head: 95% intervals{note}", fontsize=7, pad=3, loc="left")
    if len(drawn) > 1:
        axes.legend(
            loc="upper left", fontsize=5.5, borderpad=0, labelspacing=0.2, handletextpad=0.2
        )


def _compare(axes: Axes, *, table: Any, modes: tuple[str, str]) -> None:
    """Draw the drift by one mode against that by another; both from 0, so on logarithmic axes."""
    by_mode = table.pivot(index="name", columns="mode", values="drift_cosine")[list(modes)].dropna()
    families: Mapping[str, str] = table.drop_duplicates("name").set_index("name")["family"]
    least = by_mode.to_numpy()[by_mode.to_numpy() > 0].min(initial=1.0)
    across, up = by_mode.clip(lower=least).to_numpy().T
    by_family(axes, across, up, by_mode.index.to_series().map(families))
    axes.axline((least, least), slope=1, color="0.6", lw=0.5, zorder=0)
    axes.set(xscale="log", yscale="log")
    axes.margins(0.09)
    rank = by_mode.corr(method="spearman").iloc[0, 1]
    said = "" if np.isnan(rank) else f", rank correlation {rank:.2f}"
    axes.set_title(f"drift of the mean embedding{said}", fontsize=7, pad=3, loc="left")
    axes.set_xlabel(MODE_TEXT.get(modes[0], modes[0]) + " (1 - cosine)")
    axes.set_ylabel(MODE_TEXT.get(modes[1], modes[1]) + " (1 - cosine)")
    outstanding = dict.fromkeys(n for v in (up, across) for n in np.argsort(-v)[:NAMED])
    name_points(axes, across, up, outstanding, list(by_mode.index))
