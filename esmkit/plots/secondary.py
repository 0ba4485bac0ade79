"""Secondary structure as a strip along an axis: helices as waves, strands as arrows."""

from itertools import groupby
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from numpy.typing import NDArray

from esmkit.plots.colours import COIL, HELIX, STRAND

__all__ = ["draw_secondary"]

TURN = 3.6
"""Residues in a turn of an alpha helix: the waves have its period."""

HEAD = 2.2
"""Residues that the head of an arrow takes, or the whole of a shorter strand."""


def runs(letters: str) -> list[tuple[str, float, float]]:
    """Return the runs of equal letters, with the edges of each in residue numbers.

    >>> runs("CCE.")
    [('C', 0.5, 2.5), ('E', 2.5, 3.5), ('.', 3.5, 4.5)]
    """
    found, start = [], 0.5
    for letter, run in groupby(letters):
        end = start + len(list(run))
        found.append((letter, start, end))
        start = end
    return found


def wave(start: float, end: float) -> NDArray[np.float64]:
    """Return the points (n, 2) of a wave between two edges, of about as many turns as the helix."""
    half_turns = max(1, round(2 * (end - start) / TURN))
    along = np.linspace(0, 1, 1 + 12 * half_turns)
    height = 0.36 * np.sin(np.pi * half_turns * along)
    return np.stack([start + (end - start) * along, height], axis=1)


def arrow(start: float, end: float) -> NDArray[np.float64]:
    """Return the corners (7, 2) of an arrow that points to the C-terminus."""
    neck, half, barb = max(start, end - HEAD), 0.18, 0.42
    across = [half, half, barb, 0, -barb, -half, -half]
    return np.stack([[start, neck, neck, end, neck, neck, start], across], axis=1)


def draw_secondary(axes: Axes, letters: str, which: Literal["x", "y"]) -> None:
    """Fill axes with a strip of secondary structure.

    Parameters
    ----------
    axes : Axes
        Coordinates along it are residue numbers, as in the map whose axis it shares.
    letters : str
        R letters of three states: H helix, E strand, C coil; ``.`` stays empty.
    which : 'x' or 'y'
        The direction in which residues run.
    """
    found = runs(letters)

    def turned(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return points if which == "x" else points[:, ::-1]

    coil = [turned(np.array([[a, 0], [b, 0]])) for letter, a, b in found if letter == "C"]
    helices = [turned(wave(a, b)) for letter, a, b in found if letter == "H"]
    strands = [turned(arrow(a, b)) for letter, a, b in found if letter == "E"]
    drawn = (
        LineCollection(coil, colors=COIL, linewidths=0.7, label="coil"),
        LineCollection(helices, colors=HELIX, linewidths=1.1, label="helix"),
        PolyCollection(strands, facecolors=STRAND, edgecolors="none", label="strand"),
    )
    for collection in drawn:
        axes.add_collection(collection, autolim=False)
    (axes.set_ylim if which == "x" else axes.set_xlim)(-0.5, 0.5)
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    (axes.yaxis if which == "x" else axes.xaxis).set_ticks([])
    axes.spines[:].set_visible(False)
