"""What a model expects at each residue, as a sequence logo, with the residues that are there."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.plots import tracks
from esmkit.plots.annotations import Annotations, annotations_of
from esmkit.plots.figure import HouseFigure, finish, house_style
from esmkit.plots.letters import FONT
from esmkit.plots.protocols import Scores
from esmkit.plots.residue_rows import LEFT, cut, draw_rows
from esmkit.plots.surprise import describe
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.structure.given import GivenStructure

__all__ = ["logo"]

ROW = 50
"""Residues of a row: letters of a width that can be read, and rows that begin at 1, 51, 101, ..."""

HEIGHT = 0.85
"""Inches of a row."""

LARGEST = float(np.log2(20))
"""Bits of a site where one amino acid has all the probability."""

CLASSES = {
    "hydrophobic": ("AILMVFW", "0.25"),
    "polar": ("CNQSTY", "#009E73"),
    "basic": ("HKR", "#0072B2"),
    "acidic": ("DE", "#D55E00"),
    "G, P": ("GP", "#CC79A7"),
}
"""Residues by the chemistry of their side chains, and colours, of Okabe and Ito's."""

UNEXPECTED = 1 / 100
"""Probability below which the residue that is there is set in white on black."""

THINNEST = 0.004
"""Part of a row's height below which a letter is left white: no printer shows it."""

WIDTH, OF_I = 0.94, 0.4
"""Widths of letters, in residues; an I is no block."""

LEGEND = 0.34
"""Inches of the legend of classes and letters."""


def logo(
    score: Scores,
    *,
    scale: str = "information",
    path: str | Path | None = None,
    mark: Any = None,
    zoom: Any = None,
    domains: Any = None,
    structure: GivenStructure | None = None,
) -> Figure:
    """Draw what the model expects at each residue, and below it the residue that is there.

    The letters of a site stand upon each other, the likeliest on top, each as high as its share:
    with ``scale="information"`` of log2(20) minus the entropy of the site, in bits, so that a site
    of which the model is sure is high and one of which it knows nothing is flat; with
    ``"probability"`` of 1. Below stands the sequence: bold where the residue is the likeliest one,
    white on black where its probability is below 1 in 100.

    Parameters
    ----------
    score : ProteinScore
        R residues.
    scale : {'information', 'probability'}
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.
    mark, zoom, domains, structure : optional
        Residues to mark, the only stretch to show, strips of domains, and the structure whose
        secondary structure stands above each row; see
        :func:`esmkit.plots.annotations.annotations_of`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError, UnknownIdError, InputError
        If there is no such scale, an annotation does not fit the protein, or the extension is
        another.

    Examples
    --------
    >>> sure = np.log(np.full((4, 20), 0.01) + 0.8 * np.eye(20)[[10, 8, 16, 17]])
    >>> score = esmkit.ProteinScore("made", "made", "MKTA", sure.astype(np.float32))
    >>> esmkit.plots.logo(score).get_suptitle()
    'made · what the model expects at each residue'
    """
    if scale not in ("information", "probability"):
        raise OptionError(f"scale is 'information' or 'probability', not {scale!r}")
    of = annotations_of(
        score.id, score.sequence, mark=mark, zoom=zoom, domains=domains, structure=structure
    )
    heights = np.exp(score.log_probabilities.astype(np.float64))  # (R, 20)
    if scale == "information":
        heights = heights * np.maximum(0, LARGEST - score.entropy)[:, None]
    top = 1.0 if scale == "probability" else _top(heights[of.shown].sum(axis=1))

    def draw(axes: Axes, row: Annotations) -> None:
        _draw_letters(axes, heights[row.shown], row.first, top)
        axes.set_ylim(0, top)
        axes.set_yticks([0, top] if top <= 1 else [0, *range(1, int(top) + 1)])
        axes.set_ylabel("bits" if scale == "information" else "probability")

    with house_style():
        figure = draw_rows(
            *(of, cut(of, ROW), draw),
            height=HEIGHT,
            title=f"{score.id} · what the model expects at each residue{of.stretch}",
            subtitle=describe(score),
            foot=LEGEND,
        )
        _mark_sequence(figure, score)
        _draw_legend(figure, of)
        return finish(figure, path)


def _top(sums: NDArray[np.float64]) -> float:
    """Return where the axis ends: whole or half bits, or all there can be."""
    return float(min(LARGEST, max(1.0, np.ceil(2 * sums.max()) / 2)))


@cache
def _glyph(letter: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return the outline of a letter: points (n, 2) in a box of WIDTH x 1, and their codes."""
    text = TextPath((0, 0), letter, size=100, prop=FontProperties(family=FONT, weight="bold"))
    points = np.asarray(text.vertices, np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - low) / (high - low)
    width = OF_I if letter == "I" else WIDTH
    return np.stack([width * (points[:, 0] - 0.5), points[:, 1]], axis=1), np.asarray(text.codes)


def _draw_letters(axes: Axes, heights: NDArray[np.float64], first: int, top: float) -> None:
    """Draw the letters of a row; each class is one outline of many, which is quick."""
    outlines: dict[str, list[tuple[NDArray[np.float64], NDArray[np.uint8]]]] = {}
    class_of = {letter: name for name, (letters, _) in CLASSES.items() for letter in letters}
    for number, site in enumerate(heights, first):
        bottom = 0.0
        for place in np.argsort(site, kind="stable"):
            height = float(site[place])
            if height >= THINNEST * top:
                letter = AMINO_ACIDS[place]
                points, codes = _glyph(letter)
                moved = np.array([number, bottom]) + points * np.array([1, height])
                outlines.setdefault(class_of[letter], []).append((moved, codes))
            bottom += height
    for name, parts in outlines.items():
        outline = Outline(
            np.concatenate([points for points, _ in parts]),
            np.concatenate([codes for _, codes in parts]),
        )
        axes.add_patch(PathPatch(outline, fc=CLASSES[name][1], ec="none", lw=0, label=name))


def _mark_sequence(figure: HouseFigure, score: Scores) -> None:
    """Set the letters below the rows by how well they were expected."""
    expected, sequence = score.expected, score.sequence
    with np.errstate(invalid="ignore"):
        unexpected = np.exp2(-score.surprise) < UNEXPECTED
    for axes in figure.axes:
        if not axes.get_ylabel():  # a strip
            continue
        axes.tick_params(axis="x", which="minor", labelcolor="0.3")
        for label, place in zip(
            axes.xaxis.get_minorticklabels(), axes.xaxis.get_minorticklocs(), strict=True
        ):
            index = round(float(place)) - 1
            if sequence[index] == expected[index]:
                label.set(fontweight="bold", color="black")
            if unexpected[index]:
                box = {"fc": "black", "ec": "none", "boxstyle": "square,pad=0.12"}
                label.set(color="white", bbox=box)


def _draw_legend(figure: HouseFigure, of: Annotations) -> None:
    """Say at the bottom what colours and letters mean."""
    across, down = figure.get_size_inches()
    bottom = tracks.legend_height(of) + 0.05
    figure.legend(
        handles=[Patch(fc=colour, label=name) for name, (_, colour) in CLASSES.items()],
        loc="lower left",
        bbox_to_anchor=(LEFT / across, (bottom + 0.13) / down),
        ncols=len(CLASSES),
        borderpad=0,
        borderaxespad=0,
        handlelength=0.8,
        columnspacing=1.4,
    )
    figure.text(
        LEFT / across,
        bottom / down,
        "below: the sequence, bold where its residue is the likeliest, white on black where its "
        "probability is below 1 in 100",
        fontsize=6.5,
        va="bottom",
    )
