"""What stands on and around a square map of residues: numbers, marks and strips."""

from matplotlib.axes import Axes

from esmkit.plots import matrix, tracks
from esmkit.plots.annotations import Annotations
from esmkit.plots.author_numbers import author_axis
from esmkit.plots.figure import SAVED_DPI, HouseFigure, panel
from esmkit.plots.tracks import Tracks

__all__ = ["draw_annotations"]


def draw_annotations(
    figure: HouseFigure,
    axes: Axes,
    of: Annotations,
    *,
    left: float,
    top: float,
    side: float,
    away: float,
    beside_letters: int | None = None,
) -> None:
    """Put residues on the axes of a map, and around it what is known and asked of them.

    Parameters
    ----------
    figure, axes
        The map's.
    of : Annotations
    left, top, side : float
        Place and size of the map, inches.
    away : float
        Inches between the strips and the authors' numbers beyond them.
    beside_letters : int, optional
        About how many numbers stand on an axis that has every letter too; by default as many as
        have room.
    """
    veil = tracks.veil(of)
    if veil is not None:
        matrix.cover(axes, veil, int(side * SAVED_DPI), first=of.first)
    tracks.draw_marks(axes, of)
    over, beside = Tracks(of, "x"), Tracks(of, "y")
    over.draw(
        lambda away, across: panel(figure, left, top - away - across, side, across, sharex=axes),
        side,
    )
    beside.draw(
        lambda away, across: panel(figure, left + side + away, top, across, side, sharey=axes),
        side,
    )
    for strips in (over, beside):
        points = matrix.room(axes, strips.which, of.last - of.first + 1)
        most = beside_letters if points >= matrix.SMALLEST_LETTER else None
        matrix.residue_axis(
            axes, strips.which, of.sequence, first=of.first, last=of.last, most=most
        )
        if of.numbering is not None and of.numbers_differ:
            author_axis(
                axes,
                strips.which,
                of.numbering.authors[of.shown],
                f"number in {of.numbering.structure}",
                away=(strips.depth + away) / side,
                first=of.first,
            )
