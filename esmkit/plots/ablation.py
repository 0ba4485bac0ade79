"""Specialised against needed: what a head looks for beside what is lost without it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from esmkit.errors import OptionError
from esmkit.plots.figure import PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel
from esmkit.plots.profiles import FAMILIES, family, kinds_of, source, specialisation
from esmkit.plots.protocols import Profile

if TYPE_CHECKING:
    import pandas


__all__ = ["ablation_scatter"]

LOOKS = {
    "pair": ("#D55E00", "o"),
    "residue": ("#0072B2", "s"),
    "position": ("0.45", "x"),
    "sink": ("#CC79A7", "D"),
    "none": ("0.65", "+"),
}
"""Okabe and Ito's colours, and a marker of another shape, for each family of labels."""

MODE_TEXT = {"zero": "head set to zero", "mean": "head set to its mean"}

MEASURES = {
    "precision_change": ("change of long-range P@L\n(percentage points)", 100.0),
    "drift_cosine": ("drift of the mean embedding\n(1 - cosine)", 1.0),
}

NAMED = 4
"""Heads that are named for each axis of a panel."""

PANEL_HEIGHT = 2.3


def ablation_scatter(
    profile: Profile, ablation: "pandas.DataFrame", *, path: str | Path | None = None
) -> Figure:
    """Draw what heads look for against what changes when they are taken away.

    A point for each head. Across: its largest significant difference (share less background, in
    percentage points of its weight between residues; 0 if it has none). Up: the change of
    long-range contact precision, and the drift of the mean embedding. Colour and shape tell what
    its label is about; heads that stand out on either axis are named.

    Parameters
    ----------
    profile : HeadProfile
    ablation : pandas.DataFrame
        As from :func:`esmkit.heads.ablation.ablate`: columns ``name``, ``mode``,
        ``precision_change`` (NaN without a contact head: that column of panels is left out) and
        ``drift_cosine``. Heads that are not in the profile are left out.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the table lacks a column or has nothing to draw, or the extension is another.
    """
    missing = [name for name in ("name", "mode", *MEASURES) if name not in ablation.columns]
    if missing:
        raise OptionError(f"the table of ablations lacks the column {missing[0]!r}")
    table: Any = ablation[ablation["name"].isin(list(profile.heads["name"]))]
    measures = [name for name in MEASURES if table[name].notna().any()]
    modes: list[str] = list(table["mode"].unique())
    if not measures:
        raise OptionError("the table of ablations has no number for any head of this profile")
    table = table.assign(across=100 * table["name"].map(specialisation(profile)).fillna(0))
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    kinds = kinds_of(profile)
    families = table["name"].map(lambda name: family(labels[name], kinds))
    # The heads were taken away on fewer chains than they were profiled on
    on = f" on {int(table['chains'].max()):,} chains" if "chains" in table else ""
    step, wide = PANEL_HEIGHT + 0.55, (PAGE_WIDTH - 0.15) / len(measures) - 0.75
    with house_style():
        figure = new(
            PAGE_WIDTH,
            TITLE_HEIGHT + 0.2 + step * len(modes) + 0.25,
            "What heads look for, and what is lost without them",
            f"each point is a head, taken away alone{on} · {source(profile)}",
        )
        for row, mode in enumerate(modes):
            for column, measure in enumerate(measures):
                left = 0.65 + column * (wide + 0.75)
                axes = panel(figure, left, TITLE_HEIGHT + 0.2 + row * step, wide, PANEL_HEIGHT)
                of_mode = table["mode"] == mode
                points = table[of_mode & table[measure].notna()]
                _draw(axes, points, families[points.index], measure)
                axes.set_title(MODE_TEXT.get(mode, str(mode)), fontsize=7, pad=3, loc="left")
                axes.set_xlabel("largest significant difference (percentage points of weight)")
        there = [name for name in FAMILIES if (families == name).any()]
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


def _draw(axes: Axes, points: Any, families: Any, measure: str) -> None:
    text, unit = MEASURES[measure]
    across, up = points["across"].to_numpy(), unit * points[measure].to_numpy()
    for name, (colour, marker) in LOOKS.items():
        some = (families == name).to_numpy()
        axes.scatter(across[some], up[some], s=13, color=colour, marker=marker, lw=0.8, label=name)
    axes.axhline(0, color="0.6", lw=0.5, zorder=0)
    axes.set_ylabel(text)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(0.09)
    if len(points):
        outstanding = {*np.argsort(-np.abs(up))[:NAMED], *np.argsort(-across)[:NAMED]}
        _name(axes, [(across[i], up[i], points["name"].iloc[i]) for i in sorted(outstanding)])


def _name(axes: Axes, points: list[tuple[float, float, str]]) -> None:
    """Write names beside points, each where it covers no name before it."""
    figure: Any = axes.get_figure(root=True)
    renderer = FigureCanvasAgg(figure).get_renderer()
    taken: list[Any] = []
    for across, up, name in sorted(points):
        written = None
        for shift in ((4, 2), (4, -7), (-4, 2), (-4, -7), (4, 9), (4, -14), (-4, 9), (-4, -14)):
            if written is not None:
                written.remove()
            written = axes.annotate(
                name,
                (across, up),
                xytext=shift,
                textcoords="offset points",
                ha="left" if shift[0] > 0 else "right",
                fontsize=5.5,
                parse_math=False,
            )
            box = written.get_window_extent(renderer)
            outside = box.x0 < axes.bbox.x0 + 3 or box.y0 < axes.bbox.y0
            if not outside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
