"""Figures of variants: a heat map of a scan along the sequence, and scores beside measurements."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter
from numpy.typing import NDArray

from esmkit.errors import InputError
from esmkit.plots import matrix, tracks
from esmkit.plots.annotations import Annotations, GivenAnnotations, annotations_of
from esmkit.plots.author_numbers import author_ticks
from esmkit.plots.figure import (
    PAGE_WIDTH,
    TITLE_HEIGHT,
    HouseFigure,
    finish,
    house_style,
    new,
    panel,
)
from esmkit.plots.residue_rows import FEWEST
from esmkit.plots.tracks import Tracks

if TYPE_CHECKING:
    import pandas

__all__ = ["variant_map", "variant_scatter"]

LETTERS = "AVILMCFYWGPSTNQHKRDE"
"""Amino acids from top to bottom: hydrophobic, aromatic, special, polar, positive, negative."""

GROUPS = (6, 9, 11, 15, 18)
"""Rows before which another kind begins."""

ROW = 0.075
"""Inches of a row of the map, a letter."""

IN_BLOCK, MOST_BLOCKS = 80, 8
"""Residues side by side, and blocks below each other; of longer proteins blocks are wider."""

LEFT, RIGHT = 0.55, 0.12
"""Inches beside a block."""

MEAN, MEAN_GAP = 0.26, 0.05
"""Inches of the strip of means, and before it."""

AXIS = 0.33
"""Inches below a block: residue numbers, and what the next one keeps from it."""

OWN_NUMBERS = 0.14
"""Inches that the numbers of a structure's authors take above a block."""

BAR = 0.09
"""Inches across the bar of colours."""

SCALE_ROOM = 0.42
"""Inches that the bar takes with its numbers and words."""

CUT = 98.0
"""Percentile of what is away from 0 at which colours are cut."""

NOT_SCORED = "0.88"
"""Grey of variants without a score."""

WILD = "0.25"
"""Colour of the dots at wild-type letters."""

SCATTER = (3.6, 2.9)
"""Inches of a figure of scores beside measurements, without its titles."""

MANY = 1_500
"""Variants from which on their density is drawn and not each."""


def variant_map(
    name: str,
    sequence: str,
    table: "pandas.DataFrame",
    *,
    label: str = "score",
    path: str | Path | None = None,
    **annotated: Unpack[GivenAnnotations],
) -> Figure:
    """Draw the scores of single substitutions: letters by residues, and the mean of each residue.

    Blue variants are likelier than the wild type, red ones less likely; dots are the wild type, grey
    has no score. Long proteins go over several rows.

    Parameters
    ----------
    name : str
        ID of the protein, for the title.
    sequence : str
        R residues.
    table : pandas.DataFrame
        Columns ``residue_number`` (from 1), ``mutant_residue`` and ``score``, as
        :meth:`esmkit.Esm2.score_variants` returns them. Variants of several changes are left out.
    label : str
        What the score is.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.
    **annotated
        ``mark``, ``zoom``, ``domains`` and ``structure``, as in :func:`esmkit.plots.contact_map`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If no row is of a single substitution.
    OptionError, UnknownIdError
        If an annotation does not fit the protein, or the extension is another.

    Examples
    --------
    >>> import pandas
    >>> scan = pandas.DataFrame(
    ...     {"residue_number": [1, 2], "mutant_residue": ["A", "R"], "score": [-3.0, 0.5]}
    ... )
    >>> esmkit.plots.variant_map("made", "MKT", scan).get_suptitle()
    'made · 2 single substitutions'
    """
    of = annotations_of(name, sequence, **annotated)
    scores = _grid(table, len(sequence))
    shown = scores[:, of.shown]
    count = int(np.isfinite(shown).sum())
    if not count:
        raise InputError(
            f"{name!r} has no score of a single substitution among the residues shown; score some, "
            "or show others"
        )
    norm = _norm(shown)
    blocks = _blocks(of)
    widest = max(FEWEST, *(block.last - block.first + 1 for block in blocks))
    own = OWN_NUMBERS * of.numbers_differ
    depths = [Tracks(block, "x").depth + own for block in blocks]
    foot = tracks.legend_height(of)
    height = TITLE_HEIGHT + 0.1 + sum(depths) + foot + SCALE_ROOM + 0.12
    height += len(blocks) * (len(LETTERS) * ROW + MEAN_GAP + MEAN + AXIS)
    with house_style():
        figure = new(
            PAGE_WIDTH,
            height,
            f"{name} · {count:,} single substitution{'s' * (count != 1)}{of.stretch}",
            f"{label} · below each block the mean of its residue · dots: wild type",
        )
        top, low = TITLE_HEIGHT + 0.1, float(np.nanmin(_means(shown)))
        for block, depth in zip(blocks, depths, strict=True):
            across = (PAGE_WIDTH - LEFT - RIGHT) * (block.last - block.first + 1) / widest
            _draw_block(
                figure, block, scores, norm, top=top, across=across, depth=depth, own=own, low=low
            )
            top += depth + len(LETTERS) * ROW + MEAN_GAP + MEAN + AXIS
        _draw_scale(figure, norm, top, label)
        tracks.draw_legend(figure, of, LEFT)
        return finish(figure, path)


def _grid(table: "pandas.DataFrame", residues: int) -> NDArray[np.float64]:
    """Return scores (20, R), letters from top to bottom; NaN where there is none."""
    single: Any = table[table["residue_number"].notna()]
    places = single["residue_number"].to_numpy(int) - 1
    letters = [LETTERS.index(letter) for letter in single["mutant_residue"]]
    grid = np.full((len(LETTERS), residues), np.nan)
    grid[letters, places] = single["score"].to_numpy(float)
    return grid


def _means(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each residue (R,), NaN where nothing is scored."""
    there = np.isfinite(scores)
    with np.errstate(invalid="ignore"):
        return np.where(there, scores, 0).sum(axis=0) / np.where(there.any(0), there.sum(0), np.nan)


def _norm(scores: NDArray[np.float64]) -> Normalize:
    """Return a scale with 0 in its middle."""
    away = np.abs(scores[np.isfinite(scores)])
    largest = float(np.percentile(away, CUT)) or 1.0
    return TwoSlopeNorm(0.0, -largest, largest)


def _colours() -> Colormap:
    return matplotlib.colormaps["RdBu"].with_extremes(bad=NOT_SCORED)


def _blocks(of: Annotations) -> list[Annotations]:
    """Return the stretches that are drawn below each other, of nearly the same length."""
    count = of.last - of.first + 1
    rows = min(MOST_BLOCKS, -(-count // IN_BLOCK))
    step = -(-count // rows)
    return [
        dataclasses.replace(of, first=first, last=min(first + step - 1, of.last))
        for first in range(of.first, of.last + 1, step)
    ]


def _draw_block(
    figure: HouseFigure,
    of: Annotations,
    scores: NDArray[np.float64],
    norm: Normalize,
    *,
    top: float,
    across: float,
    depth: float,
    own: float,
    low: float,
) -> None:
    """Draw strips, map and means of one stretch, ``top`` inches below the edge."""
    part = np.ma.masked_invalid(scores[:, of.shown])
    wild = [(n, LETTERS.find(of.sequence[n - 1])) for n in range(of.first, of.last + 1)]
    known = [(n, row) for n, row in wild if row >= 0]
    down = len(LETTERS) * ROW
    axes = panel(figure, LEFT, top + depth, across, down)
    extent = (of.first - 0.5, of.last + 0.5, len(LETTERS) - 0.5, -0.5)
    axes.imshow(
        part, cmap=_colours(), norm=norm, aspect="auto", extent=extent, interpolation="nearest"
    )
    cell = 72 * min(ROW, across / (of.last - of.first + 1))
    if known:
        axes.scatter(*zip(*known, strict=True), s=(0.42 * cell) ** 2, c=WILD, lw=0)
    for row in GROUPS:
        axes.axhline(row - 0.5, color="white", lw=0.8)
    axes.set_yticks(range(len(LETTERS)), labels=list(LETTERS))
    axes.tick_params(axis="y", length=0, pad=1.5, labelsize=4.6)
    axes.tick_params(axis="x", which="both", labelbottom=False, bottom=False)
    tracks.draw_marks(axes, of, "x")
    means = panel(figure, LEFT, top + depth + down + MEAN_GAP, across, MEAN, sharex=axes)
    values = _means(scores[:, of.shown])
    numbers = np.arange(of.first, of.last + 1)
    colours = _colours()(norm(np.nan_to_num(values)))
    means.bar(numbers, np.nan_to_num(values), width=0.9, color=colours, ec="0.6", lw=0.15)
    means.axhline(0, color="0.4", lw=0.4)
    means.set(
        xlim=extent[:2],
        ylim=(min(low, 0) * 1.05 or -1, max(float(np.nanmax([*values, 0])), 0) * 1.05),
    )
    means.tick_params(axis="y", labelsize=4.6, length=1.5, pad=1)
    means.locator_params(axis="y", nbins=2)
    means.spines[["top", "right"]].set_visible(False)
    means.set_ylabel("mean", fontsize=5, labelpad=1)
    matrix.residue_axis(means, "x", of.sequence, first=of.first, last=of.last)
    Tracks(of, "x").draw(
        lambda away, wide: panel(
            figure, LEFT, top + depth - own - away - wide, across, wide, sharex=axes
        ),
        across,
    )
    _draw_own_numbers(axes, of)


def _draw_own_numbers(axes: Axes, of: Annotations) -> None:
    """Put the structure's own numbers between the map and the strips, if they are others."""
    if of.numbering is None or not of.numbers_differ:
        return
    for number, label in author_ticks(of.numbering.authors[of.shown], 14):
        axes.text(
            number + of.first - 1, -0.9, label, fontsize=4.6, color="0.35", ha="center", va="bottom"
        )  # fmt: skip
    axes.text(
        *(-0.006, 1.01),
        of.numbering.structure,
        transform=axes.transAxes,
        fontsize=4.6,
        color="0.35",
        ha="right",
        va="bottom",
        parse_math=False,
    )


def _draw_scale(figure: HouseFigure, norm: Normalize, top: float, label: str) -> None:
    """Draw the bar of colours with its words."""
    bar_axes = panel(figure, LEFT, top, 2.6, BAR)
    mappable = ScalarMappable(norm, _colours())
    bar = figure.colorbar(mappable, cax=bar_axes, orientation="horizontal", extend="both")
    bar.ax.locator_params(nbins=6)
    bar.formatter = FormatStrFormatter("%g")
    bar.set_label(
        "log p (variant) - log p (wild type), nats: red less likely, blue likelier", loc="left"
    )


def variant_scatter(
    name: str,
    table: "pandas.DataFrame",
    *,
    label: str = "score",
    measured: str = "measured",
    higher_is_better: bool = True,
    path: str | Path | None = None,
) -> Figure:
    """Draw scores beside what was measured, each variant or their density, and the rank correlation.

    Parameters
    ----------
    name : str
        ID of the protein, for the title.
    table : pandas.DataFrame
        Columns ``score`` and ``measured``; rows without one of both are left out.
    label, measured : str
        What they are.
    higher_is_better : bool
        Whether fitter variants have higher measured values. If not, that is said, and the rank
        correlation has the sign that :func:`esmkit.score.variants.compare` gives it.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If no variant has both.

    Examples
    --------
    >>> import pandas
    >>> both = pandas.DataFrame({"score": [-3.0, 0.5, -1], "measured": [0.1, 1.0, 0.4]})
    >>> esmkit.plots.variant_scatter("made", both, label="pllr").get_suptitle()
    'made · pllr beside measured'
    """
    there = np.isfinite(table["score"].to_numpy(float)) & np.isfinite(
        table["measured"].to_numpy(float)
    )
    x = table["measured"].to_numpy(float)[there]
    y = table["score"].to_numpy(float)[there]
    if not len(x):
        raise InputError(f"no variant of {name!r} has both a score and a measured value; give some")
    across, down = SCATTER
    with house_style():
        figure = new(
            across,
            TITLE_HEIGHT + down,
            f"{name} · {label} beside {measured}",
            f"{len(x):,} variants · {_rank_correlation(x, y, higher_is_better)}",
        )
        axes = panel(figure, 0.55, TITLE_HEIGHT + 0.1, across - 0.75, down - 0.55)
        if len(x) >= MANY:
            options: dict[str, Any] = {"cmap": "viridis", "bins": "log", "mincnt": 1, "lw": 0.1}
            drawn = axes.hexbin(x, y, gridsize=45, rasterized=True, **options)
            bar_axes = axes.inset_axes((1.02, 0, 0.03, 1))
            figure.colorbar(drawn, cax=bar_axes).set_label("variants", labelpad=1)
            axes.set_position(_narrower(axes))
        else:
            size = 9 if len(x) < 200 else 4
            axes.scatter(x, y, s=size, c="#0072B2", alpha=0.45, lw=0, rasterized=len(x) > 400)
        axes.axhline(0, color="0.5", lw=0.5, ls=(0, (4, 3)))
        axes.set_xlabel(measured, parse_math=False)
        axes.set_ylabel(f"{label} (nats)", parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
        return finish(figure, path)


def _rank_correlation(
    x: NDArray[np.float64], y: NDArray[np.float64], higher_is_better: bool
) -> str:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return "no rank correlation: too few, or all alike"
    from scipy.stats import spearmanr

    found: Any = spearmanr(x if higher_is_better else -x, y)
    turned = "" if higher_is_better else " with fitness, lower is fitter"
    return f"Spearman {found.statistic:.3f}{turned}"


def _narrower(axes: Axes) -> tuple[float, float, float, float]:
    """Return the place of axes with room at the right for a bar."""
    box = axes.get_position()
    return box.x0, box.y0, box.width * 0.86, box.height
