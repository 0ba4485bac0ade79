"""Rows of residues below each other, each with its strips: for figures of what is said of residues."""

from collections.abc import Callable
from dataclasses import replace

from matplotlib.axes import Axes

from esmkit.plots import matrix, tracks
from esmkit.plots.annotations import Annotations
from esmkit.plots.author_numbers import author_axis
from esmkit.plots.figure import PAGE_WIDTH, TITLE_HEIGHT, HouseFigure, new, panel
from esmkit.plots.tracks import Tracks

__all__ = ["FEWEST", "cut", "draw_rows"]

LEFT = 0.42
"""Inches for the labels on the left."""

RIGHT = 0.22
"""Inches on the right, where the last number reaches out."""

NUMBERS = 0.3
"""Inches above a row for the numbers of a structure's authors."""

FOOT = 0.34
"""Inches below a row for letters and numbers."""

DrawRow = Callable[[Axes, Annotations], None]
"""Draws into the axes of a row; the annotations say which residues it has."""


FEWEST = 25
"""Residues that fill the width of a page: those of a peptide are no wider."""


def cut(of: Annotations, most: int, *, even: bool = False) -> list[Annotations]:
    """Return the annotations of each row.

    Parameters
    ----------
    of : Annotations
        Of the stretch that is shown.
    most : int
        Residues of a row.
    even : bool
        Make rows of about the same length, a multiple of ten; without, all but the last are full.

    Examples
    --------
    >>> whole = Annotations(1, 120, 120 * "A")
    >>> [(row.first, row.last) for row in cut(whole, 50)]
    [(1, 50), (51, 100), (101, 120)]
    >>> [(row.first, row.last) for row in cut(whole, 100, even=True)]
    [(1, 60), (61, 120)]
    """
    count = of.last - of.first + 1
    if even:
        rows = -(-count // most)
        most = count if rows == 1 else -(-count // (10 * rows)) * 10
    starts = range(of.first, of.last + 1, most)
    return [replace(of, first=start, last=min(start + most - 1, of.last)) for start in starts]


def draw_rows(
    of: Annotations,
    rows: list[Annotations],
    draw: DrawRow,
    *,
    height: float,
    title: str,
    subtitle: str,
    foot: float = 0.0,
) -> HouseFigure:
    """Return a figure with a row of axes for each stretch, strips above it and residues below.

    Parameters
    ----------
    of : Annotations
        Of all that is shown.
    rows : list of Annotations
        Of each row; the longest takes the whole width, if it has 25 residues.
    draw : callable
        Draws a row. Its coordinates along are residue numbers.
    height : float
        Inches of the axes of a row.
    title, subtitle : str
    foot : float
        Inches at the bottom that the caller's own legend takes, above that of the strips.
    """
    own = NUMBERS * of.numbers_differ
    depths = [own + Tracks(row, "x").depth for row in rows]
    legend = tracks.legend_height(of)
    down = TITLE_HEIGHT + sum(depths) + (height + FOOT) * len(rows) + 0.08 + foot + legend
    figure = new(PAGE_WIDTH, down, title, subtitle)
    across = PAGE_WIDTH - LEFT - RIGHT
    longest = max(FEWEST, *(row.last - row.first + 1 for row in rows))
    top = TITLE_HEIGHT
    for row, depth in zip(rows, depths, strict=True):
        top += depth
        width = across * (row.last - row.first + 1) / longest
        axes = panel(figure, LEFT, top, width, height)
        axes.set_xlim(row.first - 0.5, row.last + 0.5)
        tracks.draw_marks(axes, row, "x")
        draw(axes, row)
        axes.spines[["top", "right"]].set_visible(False)
        _add_strips(figure, axes, row, top, width)
        matrix.residue_axis(axes, "x", row.sequence, first=row.first, last=row.last)
        if row.numbering is not None and row.numbers_differ:
            author_axis(
                *(axes, "x", row.numbering.authors[row.shown]),
                f"number in {row.numbering.structure}",
                away=(depth - own + 0.02) / height,
                first=row.first,
            )
        top += height + FOOT
    tracks.draw_legend(figure, of, LEFT)
    return figure


def _add_strips(
    figure: HouseFigure, axes: Axes, row: Annotations, top: float, width: float
) -> None:
    def add(away: float, across: float) -> Axes:
        return panel(figure, LEFT, top - away - across, width, across, sharex=axes)

    Tracks(row, "x").draw(add, width)
