"""Specialisation of heads: a property over all heads, and where they look along chains."""

from collections.abc import Sequence
from math import ceil, nan
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter

from esmkit.plots import matrix
from esmkit.plots.figure import (
    PAGE_WIDTH,
    TITLE_HEIGHT,
    HouseFigure,
    finish,
    house_style,
    new,
    panel,
)
from esmkit.plots.profiles import (
    best_head,
    chosen,
    judged,
    of_property,
    offset_columns,
    one_line,
    source,
)
from esmkit.plots.protocols import Profile
from esmkit.text import percent, signed

__all__ = ["diverging", "offset_profiles", "property_grid"]

DIVERGING = "RdBu_r"
"""ColorBrewer's, safe for every kind of colour vision: red is more than expected, blue less."""

INSUFFICIENT = matrix.NEVER_SEEN
HATCH = "////"
HATCH_COLOUR = "0.8"

SMALLEST_CELL, LARGEST_CELL, CELL_HEIGHT = 0.17, 0.6, 0.25
"""Inches of the cells of a grid. With more heads a layer the figure is wider than a page."""

NUMBER_CELL = 0.25
"""Least inches across a cell that has a number."""

SMALL_EFFECT = 0.01
"""Largest difference up to which numbers have two digits instead of one."""

PANELS_ACROSS, HEAD_HEIGHT = 3, 0.088
"""Layers beside each other in the offset profiles, and inches of each head."""


def diverging() -> Colormap:
    """Return the colours of effects, grey for those that are not known."""
    return matplotlib.colormaps[DIVERGING].with_extremes(bad=INSUFFICIENT)


def property_grid(
    profile: Profile, property_name: str, *, path: str | Path | None = None
) -> Figure:
    """Draw how much more each head looks at a property than its offsets explain.

    Rows are layers, columns heads. Colour and number are the difference of share and background in
    percentage points of the head's weight between residues, red for more and blue for less. Hatched
    heads do not look there significantly more than expected (q over the ``max_q`` of the profile's
    rules), grey ones could not be judged; the significant head with the largest difference has a
    frame.

    Parameters
    ----------
    profile : HeadProfile
    property_name : str
        Such as ``long-range contact``.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the profile does not have the property, or the extension is another.

    See Also
    --------
    property_map : All properties at once.

    Examples
    --------
    >>> import pandas
    >>> effects = pandas.DataFrame(
    ...     {"name": ["L0H0", "L0H1"], "layer": 0, "head": [0, 1], "property": "disulfide"}
    ...     | {"share": [0.02, 0.001], "background": 0.001, "difference": [0.019, 0.0]}
    ...     | {"q": [1e-4, 0.9], "proteins": 20}
    ... )
    >>> where_from = {"checkpoint": {"name": "made up"}, "chains": ["chain"] * 20}
    >>> profile = esmkit.heads.HeadProfile(effects, effects[["name"]], where_from)
    >>> esmkit.plots.property_grid(profile, "disulfide").get_suptitle()
    'disulfide: weight beyond what offsets explain'
    """
    rows: Any = judged(profile, of_property(profile, property_name))
    layers, heads = sorted(rows["layer"].unique()), sorted(rows["head"].unique())
    side = min(LARGEST_CELL, max(SMALLEST_CELL, (PAGE_WIDTH - 0.95) / len(heads)))
    width, height = side * len(heads), CELL_HEIGHT * len(layers)
    with house_style():
        figure = new(
            max(PAGE_WIDTH, width + 0.95),
            TITLE_HEIGHT + height + 0.6,
            f"{one_line(property_name)}: weight beyond what offsets explain",
            _grid_subtitle(profile, rows),
        )
        axes = panel(figure, 0.5, TITLE_HEIGHT, width, height)
        limit = float(np.nan_to_num(rows["difference"].abs().max())) or SMALL_EFFECT
        norm = Normalize(-100 * limit, 100 * limit)
        places = (rows["layer"].map(layers.index), rows["head"].map(heads.index))
        square = np.full((len(layers), len(heads)), nan)
        square[places] = 100 * rows["difference"]
        image = axes.imshow(square, cmap=diverging(), norm=norm, aspect="auto")
        if rows["difference"].isna().all():
            axes.text(0.5, 0.5, "too few proteins have it", transform=axes.transAxes, ha="center")
        _mark_cells(axes, rows, places, side >= NUMBER_CELL, 1 if limit >= SMALL_EFFECT else 2)
        axes.set_xticks(range(len(heads)), labels=[f"{head}" for head in heads])
        axes.set_yticks(range(len(layers)), labels=[f"{layer}" for layer in layers])
        axes.tick_params(length=0)
        axes.set(xlabel="head", ylabel="layer")
        bar = panel(figure, 0.5 + width + 0.08, TITLE_HEIGHT, 0.08, height)
        _signed_bar(figure, bar, image, len(layers))
        _key(figure, rows, profile.rules.max_q)
        return finish(figure, path)


def _grid_subtitle(profile: Profile, rows: Any) -> str:
    best: Any = best_head(rows)
    facts = f"{source(profile)}, {int(rows['proteins'].max()):,} with the property"
    if rows["difference"].isna().all():
        return f"insufficient: {facts}"
    if best is None:
        return f"no head looks there significantly more than its offsets explain · {facts}"
    return (
        f"percentage points of the weight between residues · {facts} · best head {best['name']}: "
        f"{percent(best['share'])} against {percent(best['background'])}"
    )


def _mark_cells(axes: Axes, rows: Any, places: Any, numbers: bool, digits: int) -> None:
    """Hatch what is not significant, frame the best head, write numbers."""
    best = best_head(rows)
    for (_, row), down, across in zip(rows.iterrows(), *places, strict=True):
        known = not np.isnan(row["difference"])
        box: dict[str, Any] = {"xy": (across - 0.5, down - 0.5), "width": 1, "height": 1}
        if known and not row["significant"]:
            axes.add_patch(
                Rectangle(**box, fill=False, hatch=HATCH, ec=HATCH_COLOUR, lw=0, label=row["name"])
            )
        if best is not None and row["name"] == best["name"]:
            axes.add_patch(Rectangle(**box, fill=False, ec="black", lw=1.4, zorder=5))
        if numbers and known:
            mapped = axes.images[0]
            red, green, blue, _ = mapped.cmap(mapped.norm(100 * row["difference"]))
            dark = matrix.lightness(np.array([[red, green, blue]]))[0] < 55
            text = signed(100 * row["difference"], digits)
            written = axes.text(across, down, text, ha="center", va="center", fontsize=5.5)
            written.set(color="white" if dark else "black")
            if not row["significant"]:  # no line of the hatch through the number
                written.set(color="white" if dark else "0.35")
                written.set_bbox({"fc": (red, green, blue), "ec": "none", "pad": 0.8})


def _signed_bar(figure: HouseFigure, axes: Axes, image: Any, layers: int) -> None:
    bar = figure.colorbar(image, cax=axes)
    bar.ax.locator_params(nbins=5 if layers > 3 else 3)
    bar.formatter = FuncFormatter(lambda value, _: f"{value:+g}" if value else "0")
    bar.update_ticks()


def _key(figure: HouseFigure, rows: Any, max_q: float) -> None:
    """Say below what hatches, grey and the frame mean, where they occur."""
    known = rows["difference"].notna()
    handles = []
    if best_head(rows) is not None:
        handles.append(Patch(fc="white", ec="black", lw=1.2, label="largest significant"))
    if (known & ~rows["significant"]).any():
        text = f"not significantly more than expected (q > {max_q:g})"
        handles.append(Patch(fc="white", ec=HATCH_COLOUR, hatch=HATCH, lw=0, label=text))
    if not known.all():
        handles.append(Patch(fc=INSUFFICIENT, ec="none", label="insufficient support"))
    if handles:
        across, down = figure.get_size_inches()
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.42 / across, 0.05 / down),
            ncols=len(handles),
        )


def offset_profiles(
    profile: Profile,
    heads: Sequence[str] | None = None,
    *,
    path: str | Path | None = None,
) -> Figure:
    """Draw how far from itself each head looks, and to which side.

    A panel for each layer, in it a row for each head and a column for each offset from -32 to +32
    (key - query: to the left of 0 the head looks back towards the N terminus). Colour is the share
    of the head's weight between residues at that offset, on a square-root scale common to all.

    Parameters
    ----------
    profile : HeadProfile
    heads : sequence of str, optional
        Names such as ``L5H4``; by default all.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If there is no such head, or the extension is another.

    Examples
    --------
    >>> import pandas
    >>> shares = {f"offset_{offset}": [0.5 * (offset == 1), 0.1] for offset in range(-32, 33)}
    >>> heads = pandas.DataFrame({"name": ["L0H0", "L0H1"], "layer": 0, "head": [0, 1]} | shares)
    >>> effects = heads[["name", "layer", "head"]].assign(property="offset +1")
    >>> where_from = {"checkpoint": {"name": "made up"}, "chains": ["chain"] * 20}
    >>> profile = esmkit.heads.HeadProfile(effects, heads, where_from)
    >>> esmkit.plots.offset_profiles(profile).get_suptitle()
    'Where all 2 heads look along the sequence'
    """
    table: Any = profile.heads if heads is None else chosen(profile, heads)
    offsets, columns = offset_columns(table)
    layers = [(layer, rows) for layer, rows in table.groupby("layer", sort=True)]
    across = min(PANELS_ACROSS, len(layers))
    down = ceil(len(layers) / across)
    width = (PAGE_WIDTH - 0.15 - 0.42 * across) / across
    tall = max(0.5, HEAD_HEIGHT * max(len(rows) for _, rows in layers))
    largest = float(np.nanmax(table[columns].to_numpy())) or 1.0
    norm = PowerNorm(0.5, vmin=0, vmax=largest)
    with house_style():
        figure = new(
            PAGE_WIDTH,
            TITLE_HEIGHT + down * (tall + 0.42) + 0.74,
            f"Where {'heads' if heads is not None else f'all {len(table)} heads'} look along "
            "the sequence",
            f"share of the weight between residues at each offset (key - query) · {source(profile)}",
        )
        image: Any = None
        for number, (layer, rows) in enumerate(layers):
            row, column = divmod(number, across)
            left = 0.42 + column * (width + 0.42)
            axes = panel(figure, left, TITLE_HEIGHT + 0.17 + row * (tall + 0.42), width, tall)
            image = axes.imshow(
                rows[columns].to_numpy(),
                cmap=matrix.colours(),
                norm=norm,
                aspect="auto",
                interpolation="nearest",
                extent=(offsets[0] - 0.5, offsets[-1] + 0.5, len(rows) - 0.5, -0.5),
            )
            points = min(6.0, max(3.0, 72 * tall / len(rows) * 0.9))
            axes.set_yticks(range(len(rows)), labels=[f"H{head}" for head in rows["head"]])
            axes.tick_params(axis="y", length=0, labelsize=points, pad=1)
            axes.set_xticks([-32, -16, -8, 0, 8, 16, 32])
            axes.xaxis.set_major_formatter(lambda offset, _: f"{offset:+d}" if offset else "0")
            axes.set_title(f"layer {layer}", fontsize=7, pad=2, loc="left")
            if number + across >= len(layers):  # the lowest of its column
                axes.set_xlabel("offset (key - query, residues)", labelpad=1)
        top = TITLE_HEIGHT + down * (tall + 0.42) + 0.32
        bar = figure.colorbar(
            image, cax=panel(figure, 0.42, top, 2.6, 0.08), orientation="horizontal"
        )
        bar.formatter = FuncFormatter(lambda value, _: f"{value:.0%}")
        bar.set_ticks([v for v in (0, 0.02, 0.1, 0.25, 0.5, 0.75, 1) if v <= largest])
        bar.set_label("share of weight between residues (colour: square root)", loc="left")
        return finish(figure, path)
