"""Precision of predicted contacts: against rank, and of every head by itself."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FormatStrFormatter
from numpy.typing import NDArray

from esmkit.encoder.names import head_name
from esmkit.errors import OptionError
from esmkit.plots import matrix
from esmkit.plots.figure import MARGIN, PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel

if TYPE_CHECKING:
    import pandas

__all__ = ["head_precision_grid", "precision_by_rank"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's, those of highest contrast first."""

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))
"""Dashes of the lines, so that they can be told apart in grey too."""

FEW = 3
"""Most chains without an interval: with so few a bootstrap means nothing."""

PANEL_HEIGHT = 1.9
"""Inches of the panels of precision against rank."""

MARKS = {0.2: "L/5", 0.5: "L/2"}
"""The cuts that tables give, besides whole multiples of L."""

LENGTHS = {"resolved": "number of resolved residues", "full": "number of all residues"}
"""What the L of a table of curves is."""

CELL_HEIGHT = 0.22
"""Inches of a cell in the grid of heads."""

SMALLEST_CELL = 0.165
"""Least inches across a cell: with more than 40 heads a layer the figure is wider than a page."""

BEST = "#0072B2"
"""Frame of the best head; blue is not among the colours of maps."""


def precision_by_rank(
    curves: "pandas.DataFrame | Mapping[str, pandas.DataFrame]",
    *,
    path: str | Path | None = None,
) -> Figure:
    """Draw the precision of the strongest pairs against how many are asked for.

    A panel for each range of separation. A line is the mean over chains, its band the 95 %
    bootstrap interval over chains (with more than 3). The dashed grey line is the precision of
    guessing, the dotted one the highest possible: chains have fewer contacts than L in a range.

    Parameters
    ----------
    curves : pandas.DataFrame, or mapping from name to pandas.DataFrame
        Tables that :func:`esmkit.contacts.precision_curves` returns; several, of the same chains,
        are drawn together. Background and ceiling are those of the first.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If there is no curve, or the extension is another.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> values = np.random.default_rng(0).random((76, 76))
    >>> curves = esmkit.contacts.precision_curves(
    ...     [((values + values.T) / 2, ubiquitin.contacts(), ubiquitin.resolved)]
    ... )
    >>> figure = esmkit.plots.precision_by_rank({"guessing": curves})
    >>> len(figure.axes)  # a panel for each range
    3
    """
    named = dict(curves) if isinstance(curves, Mapping) else {"": curves}
    if not named or any(not len(table) for table in named.values()):
        raise OptionError("there is no curve to draw; make some with precision_curves")
    first = next(iter(named.values()))
    ranges = list(dict.fromkeys(first["range"]))
    chains = int(max(table["chains"].to_numpy().max() for table in named.values()))
    gap, left = 0.12, 0.5
    width = (PAGE_WIDTH - left - MARGIN - 0.1 + gap) / len(ranges) - gap
    top = TITLE_HEIGHT + 0.2
    facts = [
        f"{chains} chain{'s' * (chains != 1)}",
        f"L: {LENGTHS[first.attrs.get('length', 'resolved')]}",
    ]
    if chains > FEW:
        facts.insert(1, "mean and 95 % bootstrap interval over chains")
    with house_style():
        figure = new(
            PAGE_WIDTH,
            top + PANEL_HEIGHT + 0.65,
            "Precision of the strongest predicted contacts",
            " · ".join(facts),
        )
        panels: list[Axes] = []
        for number, name in enumerate(ranges):
            shared = {"sharey": panels[0]} if panels else {}
            axes = panel(figure, left + number * (width + gap), top, width, PANEL_HEIGHT, **shared)
            draw_curves(axes, {of: only(table, name) for of, table in named.items()}, chains > FEW)
            axes.set_title(separations(name), fontsize=7, pad=3)
            axes.tick_params(axis="y", labelleft=not panels)
            panels.append(axes)
        panels[0].set(ylabel="precision", ylim=(0, 1.02))
        panels[len(panels) // 2].set_xlabel("strongest pairs asked for, in L")
        handles, labels = panels[0].get_legend_handles_labels()
        if chains > FEW:
            handles.append(Patch(color="0.8"))
            labels.append("95 % interval")
        place = (left / PAGE_WIDTH, 0.08 / figure.get_size_inches()[1])
        figure.legend(
            handles[2:] + handles[:2],
            labels[2:] + labels[:2],
            loc="lower left",
            bbox_to_anchor=place,
            ncols=len(handles),
            borderaxespad=0,
            borderpad=0,
        )
        return finish(figure, path)


def only(table: "pandas.DataFrame", range_name: str) -> "pandas.DataFrame":
    """Return the rows of one range."""
    return table.loc[table["range"] == range_name]


def separations(name: str) -> str:
    """Return a range with its separations."""
    known = {"short": "6-11", "medium": "12-23", "long": "24 or more"}
    return f"{name} range, {known[name]} apart" if name in known else name


def draw_curves(axes: Axes, tables: "Mapping[str, pandas.DataFrame]", with_band: bool) -> None:
    """Draw the curves of one range, with background, ceiling and the marks of the cuts."""
    end = max(table["k/L"].to_numpy(float).max() for table in tables.values())
    wholes = {float(n): "L" if n == 1 else f"{n}L" for n in range(1, round(end) + 1)}
    marks = MARKS | wholes
    for at in marks:
        axes.axvline(at, color="0.88", lw=0.5, zorder=0.5)
    first = next(iter(tables.values()))
    axes.plot(first["k/L"], first["ceiling"], color="0.5", lw=0.8, ls=":", label="ceiling")
    axes.plot(first["k/L"], first["background"], color="0.5", lw=0.8, ls="--", label="background")
    styles = zip(cycle(COLOURS), cycle(DASHES), strict=False)
    for (name, table), (colour, dashes) in zip(tables.items(), styles, strict=False):
        if with_band:
            band = {"color": colour, "alpha": 0.18, "lw": 0}
            axes.fill_between(table["k/L"], table["low"], table["high"], **band)
        axes.plot(
            table["k/L"], table["precision"], color=colour, ls=dashes, lw=1.2, label=name or "mean"
        )
    axes.set_xticks(list(marks), labels=list(marks.values()))
    axes.set_xlim(0, end)
    axes.spines[["top", "right"]].set_visible(False)


def head_precision_grid(
    table: "pandas.DataFrame",
    *,
    measure: str = "P@L/2",
    range: str = "long",
    background: float | None = None,
    contact_head: float | None = None,
    path: str | Path | None = None,
) -> Figure:
    """Draw how well every head predicts contacts by itself: layers by heads, numbers in the cells.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each head and range: columns ``layer``, ``head``, ``range`` and the measure.
        Heads without a row, or with NaN, are grey.
    measure : str
        Its column: ``P@L``, ``P@L/2``, ``P@L/5``.
    range : str
        ``short``, ``medium`` or ``long``.
    background : float, optional
        Precision of guessing, marked on the colour bar.
    contact_head : float, optional
        The same measure for the contact head, which weighs all heads, likewise.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure
        The best head has a frame.

    Raises
    ------
    OptionError
        If the table has no such column or range, or a head twice; or the extension is another.

    Examples
    --------
    >>> import pandas
    >>> table = pandas.DataFrame(
    ...     {"layer": [0, 0], "head": [0, 1], "range": "long", "P@L/2": [0.1, 0.3]}
    ... )
    >>> esmkit.plots.head_precision_grid(table).get_suptitle()
    'Contact precision of single heads · P@L/2, long range, 24 or more apart'
    """
    grid = as_grid(table, measure, range)
    layers, heads = grid.shape
    marks = {"background": background, "contact head": contact_head}
    marks = {name: value for name, value in marks.items() if value is not None}
    left = 0.62
    across = max(PAGE_WIDTH - left - MARGIN, heads * SMALLEST_CELL)
    top, down = TITLE_HEIGHT + 0.28, layers * CELL_HEIGHT
    largest = np.nanmax([0, *grid.ravel(), *marks.values()])
    norm = Normalize(0, float(largest) or 1.0)
    with house_style():
        figure = new(
            left + across + MARGIN,
            top + down + 0.75,
            f"Contact precision of single heads · {measure}, {separations(range)}",
            grid_subtitle(grid, marks),
        )
        axes = panel(figure, left, top, across, down)
        draw_grid(axes, grid, norm, 72 * across / heads)
        bar = panel(figure, left, top + down + 0.3, 2.6, 0.09)
        add_marked_bar(bar, norm, measure, marks)
        return finish(figure, path)


def as_grid(table: "pandas.DataFrame", measure: str, range_name: str) -> NDArray[np.float64]:
    """Return a measure of every head: (layers, heads), NaN where there is none."""
    for column in ("layer", "head", "range", measure):
        if column not in table.columns:
            raise OptionError(
                f"the table has no column {column!r}; there are {', '.join(map(str, table))}"
            )
    rows = only(table, range_name)
    if not len(rows):
        there = ", ".join(map(str, table["range"].unique())) or "none"
        raise OptionError(f"the table has no range {range_name!r}; there are {there}")
    if rows.duplicated(subset=["layer", "head"]).any():
        raise OptionError(
            f"a head has several rows of range {range_name!r}; average them over chains first"
        )
    layer, head = rows["layer"].to_numpy(int), rows["head"].to_numpy(int)
    grid = np.full((layer.max() + 1, head.max() + 1), np.nan)
    grid[layer, head] = rows[measure].to_numpy(float)
    return grid


def best_cell(grid: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return layer and head of the highest value; of equal ones the first."""
    if np.isnan(grid).all():
        return None
    layer, head = np.unravel_index(np.nanargmax(grid), grid.shape)
    return int(layer), int(head)


def grid_subtitle(grid: NDArray[np.float64], marks: Mapping[str, float]) -> str:
    """Return the best head, and the numbers to hold it against."""
    best = best_cell(grid)
    parts = [] if best is None else [f"best (framed): {head_name(*best)} {grid[best]:.2f}"]
    return " · ".join(parts + [f"{name} {value:.2f}" for name, value in marks.items()])


def two_digits(value: float) -> str:
    """Return a share as ``.16``, or ``1`` if it rounds to that.

    >>> two_digits(0.159), two_digits(0.0), two_digits(0.999)
    ('.16', '.00', '1')
    """
    text = f"{value:.2f}"
    return "1" if text == "1.00" else text.removeprefix("0")


def draw_grid(axes: Axes, grid: NDArray[np.float64], norm: Normalize, points: float) -> None:
    """Draw the cells, each ``points`` wide, with their numbers, and frame the best."""
    layers, heads = grid.shape
    cmap = matrix.colours()
    axes.pcolormesh(
        np.arange(heads + 1) - 0.5,
        np.arange(layers + 1) - 0.5,
        np.ma.masked_invalid(grid),
        cmap=cmap,
        norm=norm,
        edgecolors="white",
        linewidth=0.4,
    )
    size = min(7.0, points / 2.2)
    for (layer, head), value in np.ndenumerate(grid):
        if np.isnan(value):
            continue
        dark = matrix.lightness(np.array(cmap(norm(value))[:3])) < 55
        colour = "white" if dark else "black"
        axes.text(
            head, layer, two_digits(value), ha="center", va="center", fontsize=size, color=colour
        )
    best = best_cell(grid)
    if best is not None:
        corner = (best[1] - 0.5, best[0] - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec=BEST, lw=1.6, clip_on=False))
    axes.set(xlim=(-0.5, heads - 0.5), ylim=(layers - 0.5, -0.5), xlabel="head", ylabel="layer")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_facecolor(matrix.NEVER_SEEN)
    axes.set_xticks(range(heads))
    axes.set_yticks(range(layers))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def add_marked_bar(axes: Axes, norm: Normalize, measure: str, marks: Mapping[str, float]) -> None:
    """Fill axes with the colour bar, with named values marked above it."""
    figure = axes.get_figure()
    assert figure is not None
    mapped = ScalarMappable(norm, matrix.colours())
    bar = figure.colorbar(mapped, cax=axes, orientation="horizontal")
    bar.set_label(f"precision, {measure}", loc="left")
    bar.ax.locator_params(nbins=5)
    bar.formatter = FormatStrFormatter("%g")
    sides = [("right", 3), ("left", -3)] if len(marks) == 2 else [("center", 0)] * len(marks)
    for (name, value), (side, shift) in zip(
        sorted(marks.items(), key=lambda mark: mark[1]), sides, strict=True
    ):
        axes.plot(value, 1.0, marker="v", color="black", ms=3.5, clip_on=False, zorder=5)
        axes.annotate(
            name, (value, 1.0), (shift, 4), textcoords="offset points", ha=side, fontsize=6
        )
