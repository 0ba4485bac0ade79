"""What heads are specialised in: a property over all heads, offsets, heads beside properties."""

from collections.abc import Iterable, Sequence
from math import ceil, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.plots import matrix
from esmkit.plots.figure import (
    MARGIN,
    PAGE_WIDTH,
    TITLE_HEIGHT,
    HouseFigure,
    finish,
    house_style,
    new,
    panel,
)
from esmkit.plots.profiles import (
    CLIP,
    MAX_Q,
    best_head,
    chosen,
    kinds_of,
    literal,
    of_property,
    offset_columns,
    percent,
    signed,
    source,
    specialisation,
    visible_effects,
)

if TYPE_CHECKING:
    from esmkit.heads.result import HeadProfile

__all__ = ["offset_profiles", "property_grid", "property_map"]

DIVERGING = "RdBu_r"
"""ColorBrewer's, safe for every kind of colour vision: red is more than expected, blue less."""

INSUFFICIENT = matrix.NEVER_SEEN
HATCH = "////"
HATCH_COLOUR = "0.8"

SMALLEST_CELL, LARGEST_CELL, CELL_HEIGHT = 0.17, 0.6, 0.25
"""Inches. A model with more heads a layer gets a figure wider than a page."""

NUMBER_CELL = 0.25
"""Inches from which a number fits into a cell."""

SMALL_EFFECT = 0.01
"""Where no effect is larger, numbers have two digits instead of one."""

PANELS_ACROSS, HEAD_HEIGHT = 3, 0.088
"""Of the offset profiles: layers beside each other, and inches of each head."""

MAP_ROW, MAP_COLUMN = 0.098, 0.155
"""Of the map of properties: inches of a head and of a property."""

KIND_COLOUR = {"pair": "black", "residue": "#0072B2"}
KIND_TEXT = {"pair": "a kind of pair", "residue": "a kind of residue looked at"}


def property_grid(
    profile: "HeadProfile", property_name: str, *, path: str | Path | None = None
) -> Figure:
    """Draw how much more each head looks at a property than its offsets explain.

    Rows are layers, columns heads. Colour and number are the difference of share and background in
    percentage points of the head's weight between residues, red for more and blue for less. Hatched
    heads do not look there significantly more than expected (q over 0.05), grey ones could not be
    judged; the significant head with the largest difference has a frame.

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
    """
    rows: Any = of_property(profile, property_name)
    layers, heads = sorted(rows["layer"].unique()), sorted(rows["head"].unique())
    side = min(LARGEST_CELL, max(SMALLEST_CELL, (PAGE_WIDTH - 0.95) / len(heads)))
    width, height = side * len(heads), CELL_HEIGHT * len(layers)
    with house_style():
        figure = new(
            max(PAGE_WIDTH, width + 0.95),
            TITLE_HEIGHT + height + 0.6,
            f"{property_name}: weight beyond what offsets explain",
            _grid_subtitle(profile, rows),
        )
        axes = panel(figure, 0.5, TITLE_HEIGHT, width, height)
        limit = float(np.nan_to_num(rows["difference"].abs().max())) or SMALL_EFFECT
        norm = Normalize(-100 * limit, 100 * limit)
        places = (rows["layer"].map(layers.index), rows["head"].map(heads.index))
        square = np.full((len(layers), len(heads)), nan)
        square[places] = 100 * rows["difference"]
        image = axes.imshow(square, cmap=DIVERGING, norm=norm, aspect="auto")
        image.cmap.set_bad(INSUFFICIENT)
        _mark_cells(axes, rows, places, side >= NUMBER_CELL, 1 if limit >= SMALL_EFFECT else 2)
        axes.set_xticks(range(len(heads)), labels=[f"{head}" for head in heads])
        axes.set_yticks(range(len(layers)), labels=[f"{layer}" for layer in layers])
        axes.tick_params(length=0)
        axes.set(xlabel="head", ylabel="layer")
        bar = panel(figure, 0.5 + width + 0.08, TITLE_HEIGHT, 0.08, height)
        _signed_bar(figure, bar, image, len(layers))
        _key(figure, rows)
        return finish(figure, path)


def _grid_subtitle(profile: "HeadProfile", rows: Any) -> str:
    facts = f"{source(profile)}, {int(rows['proteins'].max()):,} with the property"
    best: Any = best_head(rows)
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
        if known and not row["q"] <= MAX_Q:
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
            if not row["q"] <= MAX_Q:
                written.set_color("0.45")


def _signed_bar(figure: HouseFigure, axes: Axes, image: Any, layers: int) -> None:
    bar = figure.colorbar(image, cax=axes)
    bar.ax.locator_params(nbins=5 if layers > 3 else 3)
    bar.formatter = FuncFormatter(lambda value, _: f"{value:+g}" if value else "0")
    bar.update_ticks()


def _key(figure: HouseFigure, rows: Any) -> None:
    """Say below what hatches, grey and the frame mean, where they occur."""
    known = rows["difference"].notna()
    handles = []
    if best_head(rows) is not None:
        handles.append(Patch(fc="white", ec="black", lw=1.2, label="largest significant"))
    if (known & ~(rows["q"] <= MAX_Q)).any():
        text = f"not significantly more than expected (q > {MAX_Q:g})"
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
    profile: "HeadProfile",
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
            TITLE_HEIGHT + down * (tall + 0.42) + 0.62,
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
            axes.set_xticks([-32, -16, -8, -4, 0, 4, 8, 16, 32])
            axes.set_xticklabels(["-32", "-16", "-8", "", "0", "", "+8", "+16", "+32"])
            axes.set_title(f"layer {layer}", fontsize=7, pad=2, loc="left")
        top = TITLE_HEIGHT + down * (tall + 0.42) + 0.2
        bar = figure.colorbar(
            image, cax=panel(figure, 0.42, top, 2.6, 0.08), orientation="horizontal"
        )
        bar.formatter = FuncFormatter(lambda value, _: f"{value:.0%}")
        bar.set_ticks([v for v in (0, 0.02, 0.1, 0.25, 0.5, 0.75, 1) if v <= largest])
        bar.set_label("share of weight between residues (colour: square root)", loc="left")
        return finish(figure, path)


def property_map(
    profile: "HeadProfile", *, most: int = 80, path: str | Path | None = None
) -> Figure:
    """Draw heads beside properties, similar heads and similar properties next to each other.

    Colour is the log2 of the odds of a labelled pair over those expected from the head's offsets:
    +1 is twice the odds. White is no significant effect (more: q over 0.05; less: 95 % interval
    not below 0), grey insufficient support. Rows and columns are ordered by hierarchical clustering
    of what is seen (average linkage, Euclidean). Fixed offsets are left out:
    :func:`offset_profiles` shows them.

    Parameters
    ----------
    profile : HeadProfile
    most : int
        Heads that are drawn: those with the largest significant difference.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the profile has nothing but offsets, ``most`` is below 1, or the extension is another.
    """
    from scipy.cluster import hierarchy

    if most < 1:
        raise OptionError(f"most is at least 1, not {most}")
    effects: Any = profile.effects
    effects = effects[effects["kind"] != "offset"]
    if effects.empty:
        raise OptionError("the profile holds fixed offsets only; offset_profiles draws those")
    values: Any = visible_effects(effects)
    kinds = kinds_of(profile)
    largest = specialisation(effects).reindex(values.index)
    kept = largest.dropna().nlargest(most).index
    values = values.loc[[name for name in values.index if name in set(kept)]]
    tree = _tree(values.to_numpy())
    if tree is not None:
        values = values.iloc[hierarchy.leaves_list(tree)]
    beside = _tree(values.to_numpy().T)
    if beside is not None:
        values = values.iloc[:, hierarchy.leaves_list(beside)]
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    rows, columns = max(1, len(values)), values.shape[1]
    left, top, right = 1.05, TITLE_HEIGHT + 1.05, 1.2
    total = len(profile.heads)
    width = min(MAP_COLUMN, 4.9 / columns) if columns > 10 else 0.25
    with house_style():
        figure = new(
            max(PAGE_WIDTH, left + width * columns + right),
            top + rows * MAP_ROW + 0.7,
            "Heads and the properties they look for, beyond what offsets explain",
            f"{_count_of(len(values), total)} · {source(profile)}",
        )
        axes = panel(figure, left, top, width * columns, rows * MAP_ROW)
        _draw_map(axes, values, labels, kinds)
        if tree is not None:
            _draw_tree(panel(figure, MARGIN, top, left - 0.5, rows * MAP_ROW), tree)
        height = top + rows * MAP_ROW
        bar = panel(figure, left, height + 0.12, min(2.0, max(1.0, width * columns)), 0.08)
        shown = figure.colorbar(axes.images[0], cax=bar, orientation="horizontal", extend="both")
        shown.set_ticks([-2, -1, 0, 1, 2], labels=["¼", "½", "1", "2", "4"])
        shown.set_label("times the odds expected from offsets", loc="left")
        _say_kinds(figure, values.columns, kinds)
        return finish(figure, path)


def _count_of(shown: int, total: int) -> str:
    if shown == total:
        return f"all {total} heads"
    if not shown:
        return f"none of {total} heads has a significant effect"
    return f"{shown} of {total} heads: those with the largest significant differences"


def _draw_map(axes: Axes, values: Any, labels: dict[str, str], kinds: dict[str, str]) -> None:
    image = axes.imshow(
        values.to_numpy() if len(values) else np.full((1, values.shape[1]), nan),
        cmap=DIVERGING,
        norm=Normalize(-CLIP, CLIP),
        aspect="auto",
        interpolation="nearest",
    )
    image.cmap.set_bad(INSUFFICIENT)
    axes.set_yticks(range(len(values)), labels=list(values.index), fontsize=5.2)
    axes.set_xticks(range(values.shape[1]), labels=list(values.columns), rotation=90)
    axes.tick_params(length=0, pad=2, labelbottom=False, labeltop=True)
    for text, name in zip(axes.get_xticklabels(), values.columns, strict=True):
        text.set(color=KIND_COLOUR[kinds[name]], fontsize=6)
    for row, name in enumerate(values.index):
        axes.text(values.shape[1] - 0.2, row, labels[name], va="center", fontsize=5.2)
    literal([*axes.get_xticklabels(), *axes.texts])
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.grid(which="minor", axis="x", color="0.85", lw=0.3)
    axes.tick_params(which="minor", length=0)


def _tree(rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the linkage of rows, unknown values taken as no effect; None for fewer than two."""
    from scipy.cluster import hierarchy

    if len(rows) < 2:
        return None
    clipped = np.clip(np.nan_to_num(rows, nan=0.0), -CLIP, CLIP)
    return hierarchy.linkage(clipped, method="average", optimal_ordering=True)


def _draw_tree(axes: Axes, tree: NDArray[np.float64]) -> None:
    from scipy.cluster import hierarchy

    found = hierarchy.dendrogram(tree, no_plot=True)
    for down, across in zip(found["icoord"], found["dcoord"], strict=True):
        axes.plot(across, (np.array(down) - 5) / 10, color="0.5", lw=0.5)
    axes.set(ylim=(len(tree) + 0.5, -0.5))
    axes.invert_xaxis()
    axes.set_axis_off()


def _say_kinds(figure: HouseFigure, names: Iterable[str], kinds: dict[str, str]) -> None:
    there = {kinds[name] for name in names}
    across, down = figure.get_size_inches()
    for number, kind in enumerate(kind for kind in KIND_TEXT if kind in there):
        place = ((3.5 + 1.45 * number) / across, 0.42 / down)
        figure.text(*place, f"name of {KIND_TEXT[kind]}", color=KIND_COLOUR[kind], fontsize=6)
