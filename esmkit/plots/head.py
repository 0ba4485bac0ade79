"""One head, large."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esmkit.encoder.names import head_name, parse_head
from esmkit.plots import matrix
from esmkit.plots.figure import (
    PAGE_WIDTH,
    SAVED_DPI,
    TITLE_HEIGHT,
    finish,
    house_style,
    new,
    panel,
)
from esmkit.plots.protocols import Maps
from esmkit.plots.thumbnails import describe

__all__ = ["attention_head"]

SIDE = 5.0
"""Inches of the map."""

LEFT, BOTTOM, GAP, PROFILE, MASS = 0.62, 0.55, 0.07, 0.65, 0.6
"""Inches that the labels on the left and at the bottom take, between panels, and across the panels
on top of the map and beside it."""

PERCENTILE = 99.8
"""Percentile at which the scale ends: one pair far above all others must not make them white."""

RECEIVED, BOS, EOS = "0.35", "#0072B2", "#E69F00"
"""Okabe and Ito's blue and orange, of different lightness too."""


def received(square: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean weight that each residue receives, from the queries that saw it: (R,)."""
    seen = ~np.isnan(square)
    return np.nansum(square, axis=0) / np.maximum(seen.sum(0), 1)


def attention_head(maps: Maps, head: str, *, path: str | Path | None = None) -> Figure:
    """Draw one head large, with residues, what each receives, and the mass to BOS and EOS.

    The colour is linear in the weight up to the 99.8th percentile of this map; above, it stays
    black. On top stands the mean weight that each residue receives (column mean), at the
    right the mass that each query gives to the special tokens, which completes its row to 1.

    Parameters
    ----------
    maps : AttentionMaps
        R residues. Every letter stands on the axes up to 80 residues, beyond that some.
    head : str
        Such as ``L5H4``.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the head is not here, or the extension is another.

    Examples
    --------
    >>> one = esmkit.encoder.names.choose_heads(["L0H0"], "all", of_layers=1, of_heads=1)
    >>> none, itself = np.zeros((1, 4), np.float32), np.eye(4, dtype=np.float32)
    >>> maps = esmkit.AttentionMaps("made", "made", "MKTV", one, none, none, lambda place: itself)
    >>> esmkit.plots.attention_head(maps, "L0H0").get_suptitle()
    'made · attention of head L0H0'
    """
    layer, number = parse_head(head)
    name = head_name(layer, number)
    square = maps[name]
    place = maps.choice.place(layer, number)
    top = TITLE_HEIGHT + PROFILE + GAP
    with house_style():
        figure = new(
            PAGE_WIDTH,
            top + SIDE + BOTTOM,
            f"{maps.id} · attention of head {name}",
            describe(maps),
        )
        axes = panel(figure, LEFT, top, SIDE, SIDE)
        norm = matrix.scale([square], PERCENTILE)
        image = matrix.draw(axes, square, norm, int(SIDE * SAVED_DPI))
        matrix.residue_axis(axes, "x", maps.sequence)
        matrix.residue_axis(axes, "y", maps.sequence)
        axes.set(xlabel="key residue (attended to)", ylabel="query residue (attending)")
        draw_received(panel(figure, LEFT, TITLE_HEIGHT, SIDE, PROFILE, sharex=axes), square)
        beside = LEFT + SIDE + GAP
        mass = panel(figure, beside, top, MASS, SIDE, sharey=axes)
        draw_mass(mass, maps.bos[place], maps.eos[place])
        bar = panel(figure, beside + MASS + 0.15, top, 0.1, SIDE)
        matrix.colour_bar(bar, image, "attention weight", PERCENTILE)
        return finish(figure, path)


def draw_received(axes: Axes, square: NDArray[np.float32]) -> None:
    """Draw the marginal profile over the map whose x axis it shares."""
    edges = np.arange(len(square) + 1) + 0.5
    axes.stairs(received(square), edges, fill=True, color=RECEIVED)
    axes.set_ylabel("mean\nreceived")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", which="both", length=0, labelbottom=False)
    axes.locator_params(axis="y", nbins=4, prune="lower")
    axes.spines[["top", "right"]].set_visible(False)


def draw_mass(axes: Axes, bos: NDArray[np.float32], eos: NDArray[np.float32]) -> None:
    """Draw the mass to the special tokens, stacked, beside the map whose y axis it shares."""
    edges = np.arange(len(bos) + 1) + 0.5
    options = {"orientation": "horizontal", "fill": True}
    axes.stairs(bos, edges, color=BOS, label="to BOS", **options)
    axes.stairs(bos + eos, edges, baseline=bos, color=EOS, label="to EOS", **options)
    axes.set_xlim(left=0)
    axes.set_xlabel("mass")
    axes.tick_params(axis="y", which="both", length=0, labelleft=False)
    axes.locator_params(axis="x", nbins=2, prune="lower")  # 0 would touch the residues
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        borderpad=0,
        handlelength=0.8,
        handletextpad=0.4,
    )
