"""How surprising each residue is to a model, along the sequence."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from esmkit.plots import tracks
from esmkit.plots.annotations import Annotations, annotations_of
from esmkit.plots.figure import HouseFigure, finish, house_style
from esmkit.plots.protocols import Scores
from esmkit.plots.residue_rows import LEFT, cut, draw_rows
from esmkit.plots.tracks import POINTS, apart
from esmkit.structure.given import GivenStructure

__all__ = ["surprise"]

ROW = 250
"""Most residues of a row."""

HEIGHT, LABELS = 1.15, 0.3
"""Inches of a row, and the part of its axis above the bars that names take."""

BARS, MOST_SURPRISING, ENTROPY = "0.72", "#D55E00", "#0072B2"
"""Greys, and Okabe and Ito's vermilion and blue."""

SHARE, FEWEST = 0.05, 3
"""Share of the residues that are named as the most surprising, and the least number of them."""

BLIND = float(np.log2(20))
"""Bits of surprise where all amino acids are alike."""

LEGEND = 0.18
"""Inches of the legend."""


def surprise(
    score: Scores,
    *,
    path: str | Path | None = None,
    mark: Any = None,
    zoom: Any = None,
    domains: Any = None,
    structure: GivenStructure | None = None,
) -> Figure:
    """Draw how surprised a model is by each residue, -log2 p, and how undecided it is there.

    Bars are the surprise by the residue that is there, in bits: 0 where the model was sure of it.
    The line is the entropy of what it expects, which is the surprise to be expected: a bar far above
    the line is a residue where the model had its mind made up for others, a bar below the line one
    that it had foreseen. The twentieth of the residues that surprise most, at least three, is named. The dashed
    line is log2(20), blind guessing.

    Parameters
    ----------
    score : ProteinScore
        R residues.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.
    mark, zoom, domains, structure : optional
        As in :func:`esmkit.plots.logo`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError, UnknownIdError, InputError
        If an annotation does not fit the protein, or the extension is another.

    See Also
    --------
    logo : The letters that are expected.

    Examples
    --------
    >>> flat = np.full((60, 20), -np.log(20), np.float32)
    >>> figure = esmkit.plots.surprise(esmkit.ProteinScore("made", "made", 60 * "A", flat))
    >>> figure.get_suptitle()
    'made · how surprising each residue is to the model'
    """
    of = annotations_of(
        score.id, score.sequence, mark=mark, zoom=zoom, domains=domains, structure=structure
    )
    bits = score.surprise
    named = most_surprising(bits)
    shown = np.nan_to_num(bits[of.shown])
    top = max(BLIND + 0.7, float(shown.max()) + 0.3)

    def draw(axes: Axes, row: Annotations) -> None:
        _draw_bars(axes, bits, named, row)
        numbers = np.arange(row.first, row.last + 1)
        edges = np.append(numbers - 0.5, row.last + 0.5)
        entropy = score.entropy[row.shown]  # lower than the bars where it says most: before them
        axes.stairs(entropy, edges, color=ENTROPY, lw=0.8, baseline=None, zorder=1.8)
        axes.axhline(BLIND, color="0.35", lw=0.5, ls=(0, (4, 3)), zorder=0.5)
        axes.set(ylim=(0, top / (1 - LABELS)), ylabel="bits")
        axes.set_yticks(np.arange(0, top, 2 if top <= 10 else 5))
        axes.yaxis.label.set_y((1 - LABELS) / 2)
        axes.spines["left"].set_bounds(0, top)
        _name(axes, bits, named, row, top)

    with house_style():
        figure = draw_rows(
            *(of, cut(of, ROW, even=True), draw),
            height=HEIGHT,
            title=f"{score.id} · how surprising each residue is to the model{of.stretch}",
            subtitle=describe(score),
            foot=LEGEND,
        )
        _draw_legend(figure, of)
        return finish(figure, path)


def describe(score: Scores) -> str:
    """Return what a subtitle says of a protein and of how it was read."""
    count = len(score.sequence)
    out = f", {score.left_out} of them not counted (X, B, U, Z, O)" if score.left_out else ""
    how = "pseudo-perplexity" if score.masked else "nothing hidden: one-pass perplexity"
    parts = [
        f"{count:,} residue{'s' * (count != 1)}{out}",
        f"{how} {score.perplexity:.1f}",
        f"mean surprise {score.mean_surprise:.2f}, entropy {score.mean_entropy:.2f} bits",
        _weights(score),
    ]
    if score.windows > 1:
        parts.append(
            "each in a window around it" if score.masked else f"read in {score.windows} windows"
        )
    return " · ".join(part for part in parts if part)


def _weights(score: Scores) -> str:
    """Return the name of the weights, and that the masked-LM head is not theirs."""
    if not score.head:
        return score.checkpoint
    name = "" if score.checkpoint in score.head else f" ({score.head})"
    return f"{score.checkpoint} with a fitted masked-LM head{name}"


def most_surprising(bits: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the numbers, from 1, of the residues that surprise most: a twentieth, at least three.

    >>> most_surprising(np.array([1.0, np.nan, 3.0, 0.5, 2.0]))
    array([1, 3, 5])
    """
    known = np.flatnonzero(~np.isnan(bits))
    count = max(FEWEST, round(SHARE * len(known)))
    first = known[np.argsort(-bits[known], kind="stable")[:count]]
    return np.sort(first) + 1


def _draw_bars(
    axes: Axes, bits: NDArray[np.float64], named: NDArray[np.int64], row: Annotations
) -> None:
    numbers = np.arange(row.first, row.last + 1)
    heights = np.nan_to_num(bits[row.shown])
    colours = np.where(np.isin(numbers, named), MOST_SURPRISING, BARS).tolist()
    axes.bar(numbers, heights, width=0.86, color=colours, linewidth=0, zorder=1.5)
    unknown = numbers[np.isnan(bits[row.shown])]
    axes.plot(unknown, np.full(len(unknown), 0.15), "x", color="0.5", ms=2, mew=0.5)


def _name(
    axes: Axes,
    bits: NDArray[np.float64],
    named: NDArray[np.int64],
    row: Annotations,
    top: float,
) -> None:
    """Write the names of the most surprising residues above their bars, apart from each other."""
    here = [int(number) for number in named if row.first <= number <= row.last]
    width = axes.get_position().width * axes.figure.canvas.figure.get_size_inches()[0]
    least = 1.2 * POINTS / 72 * (row.last - row.first + 1) / width
    where = apart([float(n) for n in here], least, row.first - 0.5, row.last + 0.5)
    for number, at in zip(here, where, strict=True):
        begin = bits[number - 1] + 0.1
        axes.plot([number, number, at], [begin, top, 1.04 * top], color="0.6", lw=0.4, zorder=1.4)
        axes.text(
            *(at, 1.06 * top, f"{row.sequence[number - 1]}{number}"),
            fontsize=POINTS,
            rotation=90,
            ha="center",
            va="bottom",
            color=MOST_SURPRISING,
        )


def _draw_legend(figure: HouseFigure, of: Annotations) -> None:
    across, down = figure.get_size_inches()
    handles = [
        Patch(fc=BARS, label="surprise, -log2 p of the residue"),
        Patch(fc=MOST_SURPRISING, label="the highest twentieth, at least 3"),
        Line2D([], [], color=ENTROPY, lw=0.8, label="entropy of what is expected"),
        Line2D([], [], color="0.35", lw=0.5, ls=(0, (4, 3)), label="blind guessing, log2 20"),
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(LEFT / across, (tracks.legend_height(of) + 0.05) / down),
        ncols=4,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.4,
        columnspacing=1.4,
    )
