"""Names beside points, over no other name and over as few points as can be."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

__all__ = ["name_points"]

DISTANCES = (5, 9, 14, 20, 27, 35)
"""Points (1/72 inch) from a point to its name, the nearest first."""

ANGLES = np.radians([20, -20, 160, 200, 55, -55, 125, 235, 90, 270])
"""Directions in which a name may lie: right and left first."""

LINED = 9
"""Distance from which a thin line leads from a name to its point."""

POINT = 2.5
"""Half the width of a point, for which names make room."""


def name_points(
    axes: Axes,
    across: NDArray[np.float64],
    up: NDArray[np.float64],
    chosen: Iterable[int],
    names: Sequence[str],
    *,
    fontsize: float = 5.5,
) -> None:
    """Write the names of some points, each where it covers no other name.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        With its limits, scales and size as they will be.
    across, up : numpy.ndarray of float64, shape (n,)
        All points: names make room for those without one, too.
    chosen : iterable of int
        Points that are named, the most important first.
    names : sequence of str
        Of all points.
    fontsize : float
    """
    figure: Any = axes.figure.canvas.figure  # the root; get_figure(root=True) is new in 3.10
    renderer = FigureCanvasAgg(figure).get_renderer()
    axes.autoscale_view()
    scale = figure.dpi / 72
    pixels = axes.transData.transform(np.column_stack([across, up]))
    inside = Bbox.from_extents(
        axes.bbox.x0 + 2 * scale, axes.bbox.y0 + 2 * scale, axes.bbox.x1 + 12, axes.bbox.y1
    )
    taken: list[Bbox] = []
    for number in chosen:
        text = axes.annotate(
            names[number],
            (across[number], up[number]),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
            parse_math=False,
        )
        box = text.get_window_extent(renderer)
        half = np.array([box.width, box.height]) / 2
        best: tuple[float, Any, Any] | None = None
        for distance in DISTANCES:
            for angle in ANGLES:
                way = np.array([np.cos(angle), np.sin(angle)])
                shift = way * (half + distance * scale * np.array([0.8, 0.8]))
                place = Bbox.from_extents(
                    *(pixels[number] + shift - half), *(pixels[number] + shift + half)
                )
                cost = _cost(place, inside, taken, pixels, POINT * scale)
                if best is None or cost < best[0]:
                    best = cost, shift / scale, place
            if best is not None and best[0] == 0:
                break
        assert best is not None
        _, shift, place = best
        text.set_position(tuple(shift))
        if np.hypot(*(np.abs(shift) - half / scale).clip(0)) > LINED:
            edge = shift - np.sign(shift) * np.minimum(np.abs(shift), half / scale)
            axes.annotate(
                "",
                (across[number], up[number]),
                xytext=tuple(edge),
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "lw": 0.4,
                    "color": "0.5",
                    "shrinkA": 0,
                    "shrinkB": 1,
                },
            )
        taken.append(place)


def _cost(
    place: Bbox, inside: Bbox, taken: list[Bbox], pixels: NDArray[np.float64], room: float
) -> float:
    """Return how bad a place is: names under it count most, then the edge, then points."""
    over = sum(place.overlaps(other) for other in taken)
    out = not (
        inside.x0 <= place.x0
        and place.x1 <= inside.x1
        and inside.y0 <= place.y0
        and place.y1 <= inside.y1
    )
    low, high = np.array([place.x0, place.y0]), np.array([place.x1, place.y1])
    near = ((pixels > low - room) & (pixels < high + room)).all(axis=1)
    return 1_000 * over + 100 * out + int(near.sum())
