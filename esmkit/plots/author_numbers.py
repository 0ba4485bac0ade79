"""A second axis with the numbers that the authors of a structure gave its residues."""

from collections.abc import Sequence
from typing import Literal

from matplotlib.axes import Axes

from esmkit.plots.matrix import STEPS

__all__ = ["author_axis", "author_ticks"]


def author_ticks(authors: Sequence[str], most: int) -> list[tuple[int, str]]:
    """Return residues to label, with their authors' numbers: the first, round ones, the last.

    Parameters
    ----------
    authors : sequence of str
        The numbers of R residues; empty where there is none.
    most : int
        About how many labels have room.

    Returns
    -------
    list of (int, str)
        Residue numbers in the sequence, from 1, ascending, and labels.

    >>> author_ticks(["", "", "-1", "0", *map(str, range(1, 40)), "39A"], 4)
    [(3, '-1'), (24, '20'), (44, '39A')]
    """
    known = [(number, name) for number, name in enumerate(authors, 1) if name]
    if not known:
        return []
    step = next((step for step in STEPS if len(known) / step <= most), STEPS[-1])
    room = len(authors) / most / 2
    last = known[-1]
    kept = [known[0]]
    for number, name in known:
        is_round = name.lstrip("-").isdecimal() and int(name) % step == 0
        if is_round and number - kept[-1][0] > room and last[0] - number > room:
            kept.append((number, name))
    return kept + [last] * (last[0] - kept[-1][0] > room / 2)


def author_axis(
    axes: Axes,
    which: Literal["x", "y"],
    authors: Sequence[str],
    name: str,
    *,
    away: float,
    first: int = 1,
) -> None:
    """Put a second axis opposite to the one with the residues of the sequence.

    Parameters
    ----------
    axes : Axes
        Its coordinates are residue numbers.
    which : 'x' or 'y'
    authors : sequence of str
        The numbers of R residues; empty where there is none.
    name : str
        What they are numbers of.
    away : float
        Distance from the axes, in parts of their size: what stands in between has room.
    first : int
        Number of the first of these residues in the sequence.
    """
    add = axes.secondary_xaxis if which == "x" else axes.secondary_yaxis
    second = add(1 + away)
    axis = second.xaxis if which == "x" else second.yaxis
    ticks = author_ticks(authors, 10)
    axis.set_ticks(
        [number + first - 1 for number, _ in ticks], labels=[label for _, label in ticks]
    )
    axis.set_tick_params(which="major", length=0, pad=1.5)  # a mark would pass for a minus
    axis.set_label_text(name, parse_math=False)
    axis.labelpad = 2.5
    if which == "y":
        axis.label.set(rotation=270, verticalalignment="bottom")
    second.spines[:].set_visible(False)
