"""The strongest links of a head, as arcs along the sequence."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias, Unpack

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from esmkit.encoder.names import head_name, parse_head
from esmkit.plots import matrix, tracks
from esmkit.plots.annotations import Annotations, GivenAnnotations, annotations_of
from esmkit.plots.author_numbers import author_ticks
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
from esmkit.plots.protocols import Maps
from esmkit.plots.thumbnails import describe
from esmkit.plots.tracks import Tracks

__all__ = ["attention_arcs"]

Link: TypeAlias = tuple[int, int, float]
"""(query number, key number, weight)"""

MOST_LINKS = 100
"""Default limit of arcs; more hide one another."""

HEIGHT, REACH = 1.4, 0.85
"""Inches of the panels above and below the sequence, and the part that the tallest arc takes."""

FLATTENED = 0.7
"""Power of the distance that makes the height: short arcs stay visible beside long ones."""

LETTERS = 0.3
"""Inches between the arcs above and below, where the sequence stands."""

OWN_NUMBERS = 0.12
"""Inches that the numbers of a structure's authors take there."""

FAR = 6
"""Least separation of links that are drawn: closer ones are neighbours and turns."""

FORWARD, BACKWARD = "#D55E00", "#0072B2"
"""Okabe and Ito's vermilion and blue."""

WIDEST, THINNEST = 2.2, 0.3
"""Widths of the strongest arc and of one without weight, points."""


def attention_arcs(
    maps: Maps,
    head: str,
    *,
    count: int | None = None,
    min_separation: int | None = None,
    path: str | Path | None = None,
    **annotated: Unpack[GivenAnnotations],
) -> Figure:
    """Draw the strongest links of a head as arcs along the sequence.

    Arcs above the sequence lead from a query to a key after it, arcs below to one before it; a
    pair that looks at each other is an arc on both sides. Width and opacity follow the weight.

    Parameters
    ----------
    maps : AttentionMaps
        R residues.
    head : str
        Such as ``L5H4``.
    count : int, optional
        How many links; by default as many as there are residues, but no more than 100.
    min_separation : int, optional
        Leave out pairs closer than this along the sequence; 6 leaves out neighbours and turns. By
        default 6, or 1 for a head that gives most of its weight to closer residues.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.
    **annotated
        As in :func:`esmkit.plots.attention_head`. Links are the strongest of those from or to
        ``residues``, with both ends in ``zoom``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError, UnknownIdError, InputError
        If the head is not here, ``count`` is below 1, an annotation does not fit the protein, or
        the extension is another.

    Examples
    --------
    >>> one = esmkit.encoder.names.choose_heads(["L0H0"], "all", of_layers=1, of_heads=1)
    >>> none, next_one = np.zeros((1, 4), np.float32), np.eye(4, k=1, dtype=np.float32)
    >>> maps = esmkit.AttentionMaps("made", "made", "MKTV", one, none, none, lambda place: next_one)
    >>> esmkit.plots.attention_arcs(maps, "L0H0", count=3).get_suptitle()
    'made · 3 strongest links of head L0H0'
    """
    name = head_name(*parse_head(head))
    of = annotations_of(maps.id, maps.sequence, **annotated)
    square = of.crop(maps[name])
    count = min(len(square), MOST_LINKS) if count is None else count
    least = own_separation(square) if min_separation is None else max(1, min_separation)
    links = links_of(maps, name, of, count, least)
    strips = Tracks(of, "x")
    letters = LETTERS + strips.depth + OWN_NUMBERS * of.numbers_differ
    middle = TITLE_HEIGHT + 0.1 + HEIGHT
    left, across = MARGIN + 0.1, PAGE_WIDTH - 2 * MARGIN - 0.2
    foot = tracks.legend_height(of)
    with house_style():
        figure = new(
            PAGE_WIDTH,
            middle + letters + HEIGHT + 0.1 + foot,
            f"{maps.id} · {len(links)} strongest link{'s' * (len(links) != 1)} of head {name}"
            f"{of.stretch}",
            f"{apart(least, square)} · {describe(maps, of)}",
        )
        above = panel(figure, left, middle - HEIGHT, across, HEIGHT)
        below = panel(figure, left, middle + letters, across, HEIGHT)
        for axes, forward in ((above, True), (below, False)):
            axes.set(xlim=(of.first - 0.5, of.last + 0.5))
            axes.set(ylim=(0, 1 / REACH) if forward else (1 / REACH, 0))
            tracks.draw_marks(axes, of, "x")
            draw_arcs(axes, links, forward)
            axes.spines[:].set_visible(False)
            axes.spines["bottom" if forward else "top"].set_visible(True)
            axes.set_yticks([])
        matrix.residue_axis(above, "x", maps.sequence, first=of.first, last=of.last)
        below.xaxis.tick_top()
        below.set_xticks(above.get_xticks(), labels=[])
        draw_own_numbers(figure, below, of)
        top = middle + LETTERS
        strips.draw(
            lambda away, wide: panel(figure, left, top + away, across, wide, sharex=above), across
        )
        add_legends(above, below, links)
        tracks.draw_legend(figure, of, left)
        return finish(figure, path)


def links_of(maps: Maps, head: str, of: Annotations, count: int, least: int) -> list[Link]:
    """Return the strongest links of a head among those that are shown."""
    options: dict[str, Any] = {}
    if of.selected:
        options["residues"] = of.selected
    if of.zoomed:
        options["zoom"] = (of.first, of.last)
    table = maps.top(count, head=head, min_separation=least, **options)
    columns = (table[column].tolist() for column in ("query_number", "key_number", "weight"))
    return list(zip(*columns, strict=True))


def own_separation(square: NDArray[np.float32]) -> int:
    """Return from which separation on the links of a head are shown: 6, or 1 if most are closer.

    The far links of a head that watches its neighbours are what is left of its softmax: weights
    of thousandths, drawn as boldly as those of any other head.
    """
    place = np.arange(len(square))
    separation = np.abs(place[:, None] - place)
    weights = np.nan_to_num(square)
    far = float(weights[separation >= FAR].sum(dtype=np.float64))
    return FAR if 2 * far >= float(weights[separation > 0].sum(dtype=np.float64)) else 1


def apart(least: int, square: NDArray[np.float32]) -> str:
    """Return what the subtitle says of the links that are left out."""
    text = f"at least {least} residue{'s' * (least != 1)} apart"
    near = least == 1 and own_separation(square) == 1
    return f"{text}, most of its weight is within {FAR - 1}" if near else text


def draw_own_numbers(figure: HouseFigure, below: Axes, of: Annotations) -> None:
    """Put the structure's own numbers on the lower axis, if they are others."""
    if of.numbering is None or not of.numbers_differ:
        return
    ticks = author_ticks(of.numbering.authors[of.shown], 20)
    numbers = [number + of.first - 1 for number, _ in ticks]
    below.set_xticks(numbers, labels=[label for _, label in ticks])
    below.tick_params(axis="x", pad=1, labelcolor="0.35")
    below.text(
        *(1, -0.01),
        f"numbers in {of.numbering.structure}",
        transform=below.transAxes,
        color="0.35",
        fontsize=5.5,
        ha="right",
        va="bottom",
        parse_math=False,
    )


def arc(query: int, key: int, farthest: int) -> NDArray[np.float64]:
    """Return the points of half an ellipse (61, 2) between two residues, height up to 1."""
    turn = np.linspace(np.pi, 0, 61)
    across = (query + key) / 2 + (key - query) / 2 * np.cos(turn)
    return np.stack([across, (abs(key - query) / farthest) ** FLATTENED * np.sin(turn)], axis=1)


def draw_arcs(axes: Axes, links: Sequence[Link], forward: bool) -> None:
    """Draw the links of one direction, the strongest last, so that it lies on top."""
    colour = FORWARD if forward else BACKWARD
    farthest = max((abs(key - query) for query, key, _ in links), default=1)
    strongest = max((weight for *_, weight in links), default=1.0)
    drawn = [link for link in reversed(links) if (link[1] > link[0]) == forward]
    shares = [weight / strongest for *_, weight in drawn]
    arcs = LineCollection(
        [arc(query, key, farthest) for query, key, _ in drawn],
        linewidths=[width(share) for share in shares],
        colors=[to_rgba(colour, opacity(share)) for share in shares],
        capstyle="round",
    )
    axes.add_collection(arcs, autolim=False)


def width(share: float) -> float:
    """Return the width of an arc, points, from its weight as a share of the strongest."""
    return THINNEST + (WIDEST - THINNEST) * share


def opacity(share: float) -> float:
    """Return the opacity of an arc, likewise."""
    return 0.3 + 0.7 * share


def add_legends(above: Axes, below: Axes, links: Sequence[Link]) -> None:
    """Say which direction is which, and what width means."""
    for axes, height, text, colour in (
        (above, 0.97, "towards the C-terminus: query before key", FORWARD),
        (below, 0.03, "towards the N-terminus: query after key", BACKWARD),
    ):
        axes.text(
            0,
            height,
            text,
            color=colour,
            transform=axes.transAxes,
            va="center",
            bbox={"fc": "white", "ec": "none", "pad": 1.5},  # lines of marks end before it
        )
    if not links:
        above.text(
            0.5,
            0.5,
            "no links to show: no weight between such residues",
            transform=above.transAxes,
            ha="center",
        )
        return
    weights = [weight for *_, weight in links]
    shown = sorted({float(f"{w:.2g}") for w in (weights[0], median(weights), weights[-1])})
    lines = [
        Line2D([], [], color="black", lw=width(w / shown[-1]), alpha=opacity(w / shown[-1]))
        for w in shown
    ]
    above.legend(
        lines,
        [f"weight {w:.2g}" for w in shown],
        loc="upper right",
        ncols=3,
        borderpad=0,
        frameon=True,
        framealpha=1,
        facecolor="white",
        edgecolor="none",
    )
