"""Many maps in one figure: every head of a protein, or every layer with attention rollout."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt
from pathlib import Path
from typing import Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from esmkit.encoder.names import HeadChoice
from esmkit.plots import matrix, tracks
from esmkit.plots.annotations import Annotations, GivenAnnotations, annotations_of
from esmkit.plots.colours import MARK
from esmkit.plots.figure import (
    MARGIN,
    PAGE_WIDTH,
    SAVED_DPI,
    TITLE_HEIGHT,
    HouseFigure,
    finish,
    fit,
    house_style,
    new,
    panel,
)
from esmkit.plots.protocols import Maps

__all__ = ["attention_flow", "attention_grid"]

SMALLEST, LARGEST = 0.27, 2.3
"""Inches of a thumbnail. Models with more than 22 heads a layer get a figure wider than a page."""

GAP = 0.04
"""Inches between thumbnails."""

BAR_HEIGHT = 0.6
"""Inches at the bottom, for the colour bar."""

PERCENTILE = 98.5
"""Percentile at which the common scale ends. Heads that look at one place have weights near 1; on a scale up to
there most others, contacts among them, would be white."""


@dataclass(frozen=True)
class Layout:
    """Places of thumbnails.

    Attributes
    ----------
    cells : sequence of (row, column)
        One for each thumbnail.
    rows, columns : int
    side : float
        Side of a thumbnail, inches.
    """

    cells: Sequence[tuple[int, int]]
    rows: int
    columns: int
    side: float

    @property
    def points(self) -> float:
        """Size of the names, points."""
        return min(8.0, max(4.5, 72 * self.side * 0.24))

    @property
    def strip(self) -> float:
        """Inches above a thumbnail for its name."""
        return 1.35 * self.points / 72

    @property
    def width(self) -> float:
        """Inches that all thumbnails take across."""
        return self.columns * (self.side + GAP) - GAP

    @property
    def height(self) -> float:
        """Inches that all thumbnails take down."""
        return self.rows * (self.side + self.strip + GAP) - GAP

    @property
    def dots(self) -> int:
        """Dots along a thumbnail's side in print: more rows of a map could not be shown."""
        return int(self.side * SAVED_DPI)


def arrange(cells: Sequence[tuple[int, int]], width: float) -> Layout:
    """Return the layout that fills a width in inches with thumbnails in these cells."""
    rows = 1 + max(row for row, _ in cells)
    columns = 1 + max(column for _, column in cells)
    side = min(LARGEST, max(SMALLEST, (width + GAP) / columns - GAP))
    return Layout(cells, rows, columns, side)


def in_reading_order(count: int, columns: int) -> list[tuple[int, int]]:
    """Return cells from left to right and top to bottom.

    >>> in_reading_order(3, 2)
    [(0, 0), (0, 1), (1, 0)]
    """
    return [divmod(number, columns) for number in range(count)]


def cells_of(choice: HeadChoice) -> list[tuple[int, int]]:
    """Return a cell for each head: layers by heads if all of several layers are here."""
    layers = list(choice.by_layer)
    if choice.whole_layers and len(layers) > 1:
        return [(layers.index(layer), head) for layer, head in choice.heads]
    count = len(choice.heads)
    return in_reading_order(count, count if count <= 3 else ceil(sqrt(1.5 * count)))


def draw_thumbnails(
    axes: Axes,
    layout: Layout,
    names: Sequence[str],
    shown: Sequence[NDArray[np.float32]],
    norm: Normalize,
) -> AxesImage:
    """Draw thumbnails with their names into one axes, whose unit is the inch.

    An axes for each would take seconds for hundreds of heads.
    """
    axes.set(xlim=(0, layout.width), ylim=(layout.height, 0))
    axes.set_axis_off()
    side, pitch = layout.side, layout.side + GAP
    frames, image = [], None
    cmap = matrix.colours()
    for (row, column), name, of_one in zip(layout.cells, names, shown, strict=True):
        left = column * pitch
        top = row * (pitch + layout.strip) + layout.strip
        image = AxesImage(
            axes,
            cmap=cmap,
            norm=norm,
            extent=(left, left + side, top + side, top),
            interpolation_stage=matrix.BLENDED,
        )
        image.set_data(of_one)
        image.set_label(name)
        axes.add_image(image)
        frames.append(Rectangle((left, top), side, side))
        above = top - 0.22 * layout.strip
        axes.text(left + side / 2, above, name, fontsize=layout.points, ha="center", va="baseline")
    outline = PatchCollection(frames, facecolor="none", edgecolor="0.5", linewidth=0.3)
    outline.set_clip_on(False)  # half of the outermost lines lies over the edge
    axes.add_collection(outline, autolim=False)
    assert image is not None
    return image


def annotate_thumbnails(figure: HouseFigure, axes: Axes, layout: Layout, of: Annotations) -> None:
    """Cover what was not asked for in each thumbnail, and put ticks at the marks."""
    side, pitch = layout.side, layout.side + GAP
    veil = tracks.veil(of)
    if veil is not None:
        white = np.ones((*(pooled := -matrix.pool(-veil, layout.dots)[0]).shape, 4), np.float32)
        white[..., 3] = pooled
    ticks = []
    for row, column in layout.cells:
        left, top = column * pitch, row * (pitch + layout.strip) + layout.strip
        if veil is not None:
            image = AxesImage(axes, extent=(left, left + side, top + side, top))
            image.set_data(white)
            image.set_label("_cover")
            axes.add_image(image)
        for span in of.visible_marks:
            middle = (span.start + span.stop) / 2 - of.first + 0.5
            at = side * middle / (of.last - of.first + 1)
            ticks.append([(left - GAP, top + at), (left, top + at)])
            ticks.append([(left + at, top + side), (left + at, top + side + GAP)])
    if ticks:
        lines = LineCollection(ticks, colors=MARK, linewidths=0.6)
        lines.set_clip_on(False)
        axes.add_collection(lines, autolim=False)
        _name_marks(figure, of)


def _name_marks(figure: Figure, of: Annotations) -> None:
    """Say at the bottom which residues are marked."""
    if not of.visible_marks:
        return
    names = ", ".join(tracks.label_of(span) for span in of.visible_marks)
    across, down = figure.get_size_inches()
    figure.text(
        *(1 - MARGIN / across, 0.08 / down),
        fit(f"marked: {names}", 4, 6.5),
        fontsize=6.5,
        color=MARK,
        ha="right",
        va="bottom",
        parse_math=False,
    )


def describe(maps: Maps, of: Annotations | None = None, *, grey: bool = False) -> str:
    """Return what the subtitle says of a protein and its model.

    Parameters
    ----------
    maps : Maps
    of : Annotations, optional
        What is shown of it.
    grey : bool
        Whether there are pairs in the figure that are grey, because no window had both.
    """
    residues = len(maps.sequence)
    count = f"{residues:,} residue{'s' * (residues != 1)}"
    parts = [count if of is None or not of.zoomed else f"of {count}", maps.checkpoint]
    if of is not None:
        parts.insert(0, of.links_only)
    if maps.windows > 1:
        parts.append(f"read in {maps.windows} windows{', grey: pairs never in one window' * grey}")
    return " · ".join(part for part in parts if part)


def attention_grid(
    maps: Maps, *, path: str | Path | None = None, **annotated: Unpack[GivenAnnotations]
) -> Figure:
    """Draw every head as a thumbnail, all on one scale of colour.

    Rows are layers and columns heads, if all heads of several layers are here; otherwise the heads
    stand in reading order. In each thumbnail the query runs from top to bottom and the key from
    left to right. The colour is linear in the weight up to the 98.5th percentile of all that is
    shown; above, it stays black. Maps with more residues than a thumbnail has dots in
    print are shrunk by the maximum of blocks. Maps are read one at a time.

    Parameters
    ----------
    maps : AttentionMaps
        n heads, R residues.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.
    **annotated
        As in :func:`esmkit.plots.attention_head`. Marks are ticks on the left and at the bottom of
        each thumbnail; domains and a structure are checked, and have no room here.

    Returns
    -------
    matplotlib.figure.Figure
        As wide as a page, wider for models with more than 22 heads a layer.

    Examples
    --------
    >>> four = esmkit.encoder.names.choose_heads(None, "all", of_layers=2, of_heads=2)
    >>> none, itself = np.zeros((4, 4), np.float32), np.eye(4, dtype=np.float32)
    >>> maps = esmkit.AttentionMaps("made", "made", "MKTV", four, none, none, lambda place: itself)
    >>> esmkit.plots.attention_grid(maps).get_suptitle()
    'made · attention of 4 heads'
    >>> maps = esmkit.load().attention("MKTVRQERLKSIVRILERSKEPVSG")     # doctest: +SKIP
    >>> figure = esmkit.plots.attention_grid(maps, path="heads.png")      # doctest: +SKIP
    """
    layout = arrange(cells_of(maps.choice), PAGE_WIDTH - 2 * MARGIN)
    of = annotations_of(maps.id, maps.sequence, **annotated)
    shown = [matrix.pool(of.crop(maps.get(place)), layout.dots)[0] for place in range(len(maps))]
    norm = matrix.scale(shown, PERCENTILE)
    width = max(layout.width + 2 * MARGIN, PAGE_WIDTH)
    with house_style():
        figure = new(
            width,
            TITLE_HEIGHT + layout.height + BAR_HEIGHT,
            f"{maps.id} · attention of {len(maps)} head{'s' * (len(maps) != 1)}{of.stretch}",
            describe(maps, of, grey=any(np.isnan(one).any() for one in shown)),
        )
        axes = panel(figure, MARGIN, TITLE_HEIGHT, layout.width, layout.height)
        image = draw_thumbnails(axes, layout, maps.heads, shown, norm)
        annotate_thumbnails(figure, axes, layout, of)
        under = TITLE_HEIGHT + layout.height + 0.15
        bar = panel(figure, MARGIN, under, 2.6, 0.09)
        matrix.colour_bar(bar, image, "attention weight", PERCENTILE, across=True)
        figure.text(
            1 - MARGIN / width,
            1 - under / figure.get_size_inches()[1],
            f"down: query residue {of.first} to {of.last}\nacross: key residue, likewise",
            ha="right",
            va="top",
            fontsize=6.5,
        )
        return finish(figure, path)


def attention_flow(
    maps: Maps, *, path: str | Path | None = None, **annotated: Unpack[GivenAnnotations]
) -> Figure:
    """Draw the mean map of each layer, and attention rollout through all of them.

    Layer means share one scale and rollout has its own. Colours are linear up to
    the 98.5th percentile of what is shown.

    Parameters
    ----------
    maps : AttentionMaps
        All heads of all layers, R residues, read in one window.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.
    **annotated
        As in :func:`esmkit.plots.attention_head`. A stretch and marks are shown; all residues of
        the protein take part in the rollout.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If a head is missing, or the protein was read in windows.

    References
    ----------
    Abnar and Zuidema 2020, Quantifying Attention Flow in Transformers, arXiv:2005.00928.

    Examples
    --------
    >>> two = esmkit.encoder.names.choose_heads(None, "all", of_layers=2, of_heads=1)
    >>> none, itself = np.zeros((2, 4), np.float32), np.eye(4, dtype=np.float32)
    >>> maps = esmkit.AttentionMaps("made", "made", "MKTV", two, none, none, lambda place: itself)
    >>> esmkit.plots.attention_flow(maps).get_suptitle()
    'made · layer means and attention rollout'
    """
    of = annotations_of(maps.id, maps.sequence, **annotated)
    rollout = of.crop(maps.rollout())
    layers = maps.choice.of_layers
    size = 2.65
    left_half = PAGE_WIDTH - 2 * MARGIN - size - 1.25
    layout = arrange(in_reading_order(layers, ceil(sqrt(layers))), left_half)
    shown = [
        matrix.pool(of.crop(maps.layer_mean(layer)), layout.dots)[0] for layer in range(layers)
    ]
    top = TITLE_HEIGHT + 0.15
    height = max(layout.height + 0.2, size)
    with house_style():
        figure = new(
            PAGE_WIDTH,
            top + height + 0.65,
            f"{maps.id} · layer means and attention rollout{of.stretch}",
            describe(maps, replace(of, asked=())),
        )
        means = panel(figure, MARGIN, top, layout.width, layout.height)
        image = draw_thumbnails(
            means,
            layout,
            [f"layer {layer}" if layers <= 16 else f"L{layer}" for layer in range(layers)],
            shown,
            matrix.scale(shown, PERCENTILE),
        )
        under = top + layout.height + 0.15
        bar = panel(figure, MARGIN, under, layout.width, 0.09)
        matrix.colour_bar(bar, image, "mean weight", PERCENTILE, across=True)
        figure.text(
            MARGIN / PAGE_WIDTH,
            1 - (under + 0.5) / figure.get_size_inches()[1],
            "down: query residue, across: key residue",
            va="top",
            fontsize=6.5,
        )
        left = PAGE_WIDTH - MARGIN - size - 0.65
        square = panel(figure, left, top, size, size)
        dots = int(size * SAVED_DPI)
        norm = matrix.scale([rollout], PERCENTILE)
        image = matrix.draw(square, rollout, norm, dots, first=of.first)
        tracks.draw_marks(square, of)
        _name_marks(figure, of)
        square.set_title(
            "attention rollout: what arrives where through all layers", fontsize=7, pad=3
        )
        for which in ("x", "y"):
            matrix.residue_axis(square, which, maps.sequence, first=of.first, last=of.last)
        square.set(xlabel="input residue", ylabel="output residue")
        bar = panel(figure, left + size + 0.08, top, 0.09, size)
        matrix.colour_bar(bar, image, "share", PERCENTILE)
        return finish(figure, path)
