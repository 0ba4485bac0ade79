"""One head, large."""

from pathlib import Path
from typing import Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esmkit.encoder.names import head_name, parse_head
from esmkit.plots import matrix, tracks
from esmkit.plots.annotations import GivenAnnotations, annotations_of
from esmkit.plots.around_map import draw_annotations
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
from esmkit.plots.tracks import Tracks

__all__ = ["attention_head"]

SIDE = 5.0
"""Inches of the map."""

LEFT, BOTTOM, GAP, PROFILE, MASS = 0.62, 0.55, 0.07, 0.65, 0.6
"""Inches that the labels on the left and at the bottom take, between panels, and across the panels
on top of the map and beside it."""

PERCENTILE = 99.8
"""Percentile at which the scale ends: one pair far above all others must not make them white."""

RECEIVED, BOS, EOS = "0.35", "#0072B2", "#56B4E9"
"""Okabe and Ito's blues, of different lightness: the special tokens are of one kind."""

NUMBERS = 0.32
"""Inches that a second axis takes, with the numbers of a structure's authors."""


def received(square: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean weight that each residue receives, from the queries that saw it: (R,)."""
    seen = ~np.isnan(square)
    return np.nansum(square, axis=0) / np.maximum(seen.sum(0), 1)


def attention_head(
    maps: Maps,
    head: str,
    *,
    path: str | Path | None = None,
    **annotated: Unpack[GivenAnnotations],
) -> Figure:
    """Draw one head large, with residues, what each receives, and its attention to BOS and EOS.

    The colour is linear in the weight up to the 99.8th percentile of what is shown; above, it stays
    black. On top stands the mean weight that each residue receives (column mean, over all queries),
    at the right what each query gives to the special tokens, which completes its row to 1.

    Parameters
    ----------
    maps : AttentionMaps
        R residues. Every letter stands on the axes up to 80 residues, beyond that some.
    head : str
        Such as ``L5H4``.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.
    **annotated
        ``residues``: cover all links but those from or to these, such as ``"59,88-92"``. ``mark``:
        draw lines at residues, such as ``"H59,H88"``. ``zoom``: show this stretch only, such as
        ``"50-120"``. ``domains``: strips such as ``"kinase:10-120,SH2:130-200"``, or a table.
        ``structure``: its secondary structure, and its own residue numbers beside those of the
        sequence. See :func:`esmkit.plots.annotations.annotations_of`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError, UnknownIdError, InputError
        If the head is not here, an annotation does not fit the protein, or the extension is another.

    See Also
    --------
    attention_grid : All heads, small.
    attention_arcs : Its strongest links along the sequence.

    Examples
    --------
    >>> one = esmkit.encoder.names.choose_heads(["L0H0"], "all", of_layers=1, of_heads=1)
    >>> none, itself = np.zeros((1, 4), np.float32), np.eye(4, dtype=np.float32)
    >>> maps = esmkit.AttentionMaps("made", "made", "MKTV", one, none, none, lambda place: itself)
    >>> esmkit.plots.attention_head(maps, "L0H0").get_suptitle()
    'made · attention of head L0H0'
    >>> esmkit.plots.attention_head(maps, "L0H0", zoom="2-4", mark="K2").get_suptitle()
    'made · attention of head L0H0 · residues 2 to 4'
    """
    layer, number = parse_head(head)
    name = head_name(layer, number)
    square = maps[name]
    place = maps.choice.place(layer, number)
    of = annotations_of(maps.id, maps.sequence, **annotated)
    shown = of.crop(square)
    over, beside = Tracks(of, "x"), Tracks(of, "y")
    own = NUMBERS * of.numbers_differ
    side = SIDE - beside.depth - own
    top = TITLE_HEIGHT + PROFILE + GAP + own + over.depth
    foot = tracks.legend_height(of)
    with house_style():
        figure = new(
            PAGE_WIDTH,
            top + side + BOTTOM + foot,
            f"{maps.id} · attention of head {name}{of.stretch}",
            describe(maps, of, grey=bool(np.isnan(shown).any())),
        )
        axes = panel(figure, LEFT, top, side, side)
        norm = matrix.scale([shown], PERCENTILE)
        image = matrix.draw(axes, shown, norm, int(side * SAVED_DPI), first=of.first)
        draw_annotations(figure, axes, of, left=LEFT, top=top, side=side, away=0.02)
        axes.set(xlabel="key residue (attended to)", ylabel="query residue (attending)")
        tracks.draw_legend(figure, of, LEFT)
        received_by = panel(figure, LEFT, TITLE_HEIGHT, side, PROFILE, sharex=axes)
        draw_received(received_by, received(square)[of.shown], of.first)
        right = LEFT + side + beside.depth + own + GAP
        mass = panel(figure, right, top, MASS, side, sharey=axes)
        draw_mass(mass, maps.bos[place][of.shown], maps.eos[place][of.shown], of.first)
        bar = panel(figure, right + MASS + 0.15, top, 0.1, side)
        matrix.colour_bar(bar, image, "attention weight", PERCENTILE)
        return finish(figure, path)


def draw_received(axes: Axes, profile: NDArray[np.float32], first: int) -> None:
    """Draw the marginal profile over the map whose x axis it shares."""
    edges = np.arange(len(profile) + 1) + first - 0.5
    axes.stairs(profile, edges, fill=True, color=RECEIVED)
    axes.set_ylabel("mean\nreceived", fontsize=6, labelpad=2.5, linespacing=0.9)
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", which="both", length=0, labelbottom=False)
    axes.locator_params(axis="y", nbins=4, prune="lower")
    axes.spines[["top", "right"]].set_visible(False)


def draw_mass(axes: Axes, bos: NDArray[np.float32], eos: NDArray[np.float32], first: int) -> None:
    """Draw the attention to the special tokens, stacked, beside the map whose y axis it shares."""
    edges = np.arange(len(bos) + 1) + first - 0.5
    options = {"orientation": "horizontal", "fill": True}
    axes.stairs(bos, edges, color=BOS, label="to BOS", **options)
    axes.stairs(bos + eos, edges, baseline=bos, color=EOS, label="to EOS", **options)
    axes.set_xlim(left=0)
    axes.set_xlabel("attention to\nBOS/EOS")
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
