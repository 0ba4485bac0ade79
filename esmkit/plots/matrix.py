"""Parts of every picture of an R x R map: colours, a scale, pooling, residues on the axes."""

from collections.abc import Iterable
from functools import cache
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import FormatStrFormatter
from numpy.typing import NDArray

__all__ = [
    "colour_bar",
    "colours",
    "cover",
    "draw",
    "pool",
    "residue_axis",
    "residue_ticks",
    "say_nothing",
    "scale",
]

NEVER_SEEN = "0.78"
"""Grey of pairs that were never in one window."""

FADED = 0.25
"""Part of the colours that is faded into white."""

BLENDED = "data"
"""Interpolation stage: where image and dots do not match, weights are averaged, not colours, which
would turn grey."""

SMALLEST_LETTER, LARGEST_LETTER = 4.5, 7.0
"""Points of a letter on an axis. With less room for each, only some letters stand there."""

STEPS = tuple(base * 10**power for power in range(6) for base in (1, 2, 5))

LABEL_ROOM, LONG_LABEL_ROOM = 20, 24
"""Points along an axis for each number on it, with its letter; the second from 1,000 on."""


@cache
def colours() -> Colormap:
    """Return the colours of attention: white for none, through orange and purple, to black.

    Magma reversed, with its pale yellow end faded into white, and its steps then spaced so that
    lightness (L* of CIELAB) falls evenly: the picture keeps its meaning in greys and for every
    kind of colour vision.

    Examples
    --------
    >>> [float(part) for part in colours()(0.0)]  # no attention is white
    [1.0, 1.0, 1.0, 1.0]
    """
    along = np.linspace(0, 1, 1024)[:, None]
    faded = 1 - np.minimum(along / FADED, 1) * (1 - matplotlib.colormaps["magma_r"](along[:, 0]))
    darkness = 100 - lightness(faded[:, :3])
    even = np.interp(np.linspace(0, 100, 256), darkness, along[:, 0])
    steps = [np.interp(even, along[:, 0], faded[:, channel]) for channel in range(3)]
    return ListedColormap(np.stack(steps, axis=1)).with_extremes(bad=NEVER_SEEN)


def magma() -> Colormap:
    """Return magma as it is, from black to pale yellow: for dark pages."""
    return matplotlib.colormaps["magma"]


def lightness(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return L* of CIELAB, 0 for black to 100 for white, of sRGB colours (..., 3)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    dark = luminance <= (6 / 29) ** 3
    return np.where(dark, luminance * (29 / 3) ** 3, 116 * np.cbrt(luminance) - 16)


def scale(values: Iterable[NDArray[np.float32]], percentile: float) -> Normalize:
    """Return the linear scale from 0 to a percentile of all values that are not NaN."""
    seen = np.concatenate([of_one[~np.isnan(of_one)] for of_one in values])
    largest = float(np.percentile(seen, percentile)) if len(seen) else 0.0
    return Normalize(vmin=0, vmax=largest or 1.0)


def pool(square: NDArray[np.float32], limit: int) -> tuple[NDArray[np.float32], int]:
    """Shrink a map to at most ``limit`` rows and columns by the maximum of each block.

    A mean would make thin diagonals and single contacts fade away.

    Returns
    -------
    numpy.ndarray of float32
        NaN where a whole block is NaN.
    int
        Residues along the side of a block; the last one may hold fewer.

    Examples
    --------
    >>> pool(np.eye(4, dtype=np.float32), 2)
    (array([[1., 0.],
           [0., 1.]], dtype=float32), 2)
    """
    block = max(1, -(-len(square) // limit))
    if block == 1:
        return square, 1
    starts = np.arange(0, len(square), block)
    return np.fmax.reduceat(np.fmax.reduceat(square, starts, axis=0), starts, axis=1), block


def draw(
    axes: Axes, square: NDArray[np.float32], norm: Normalize, limit: int, *, first: int = 1
) -> AxesImage:
    """Draw a map so that coordinates are residue numbers: first query on top, first key left.

    Parameters
    ----------
    axes : Axes
    square : numpy.ndarray of float32, shape (r, r)
        The map, or the part of it that is shown.
    norm : Normalize
    limit : int
        Rows and columns to which it is shrunk if it has more.
    first : int
        Number of its first residue.
    """
    residues = len(square)
    shown, block = pool(square, limit)
    start = first - 0.5
    edge = start + len(shown) * block
    image = axes.imshow(
        shown,
        cmap=colours(),
        norm=norm,
        extent=(start, edge, edge, start),
        aspect="auto",
        interpolation_stage=BLENDED,
    )
    axes.set(xlim=(start, start + residues), ylim=(start + residues, start))
    say_nothing(axes, square)
    return image


def cover(axes: Axes, veil: NDArray[np.float32], limit: int, *, first: int = 1) -> None:
    """Cover parts of a map with white.

    Parameters
    ----------
    axes : Axes
        With a map in it.
    veil : numpy.ndarray of float32, shape (r, r)
        Opacity over each pair; of a block of pairs the least counts, so that none is lost.
    limit, first : int
        As in :func:`draw`.
    """
    pooled, block = pool(-veil, limit)
    white = np.ones((*pooled.shape, 4), np.float32)
    white[..., 3] = -pooled
    start = first - 0.5
    edge = start + len(pooled) * block
    limits = axes.get_xlim(), axes.get_ylim()
    axes.imshow(
        white, extent=(start, edge, edge, start), aspect="auto", interpolation="nearest", zorder=1.2
    )
    axes.set(xlim=limits[0], ylim=limits[1])


def say_nothing(axes: Axes, square: NDArray[np.float32]) -> None:
    """Say in words that a map is empty, or that nothing is known of it: one colour says nothing."""
    known = ~np.isnan(square)
    if not known.any():
        text = "not known: none of these pairs was ever in one window"
    elif not square[known].any():
        text = "nothing above 0 between these residues"
    else:
        return
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", wrap=True)


def colour_bar(
    axes: Axes, image: AxesImage, what: str, percentile: float, *, across: bool = False
) -> None:
    """Fill axes with the bar that explains an image's colours, and say where they are cut."""
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(
        image, cax=axes, orientation="horizontal" if across else "vertical", extend="max"
    )
    bar.set_label(f"{what}, cut at the {percentile:g}th percentile", loc="left" if across else None)
    bar.ax.locator_params(nbins=5)
    bar.formatter = FormatStrFormatter("%g")


def residue_ticks(residues: int, most: int, first: int = 1) -> list[int]:
    """Return residue numbers for about that many ticks: the first, round ones, the last.

    >>> residue_ticks(76, 10), residue_ticks(120, 8, first=51)
    ([1, 10, 20, 30, 40, 50, 60, 70, 76], [51, 60, 70, 80, 90, 100, 110, 120])
    """
    step = tick_step(residues - first + 1, most)
    round_ones = range(first - first % step, residues, step)
    inner = [n for n in round_ones if n - first > step / 2 and residues - n > step / 2]
    return sorted({first, *inner, residues})


def tick_step(residues: int, most: int) -> int:
    """Return the round number of residues from one tick to the next."""
    return next((step for step in STEPS if residues / step <= most), STEPS[-1])


def residue_axis(
    axes: Axes,
    which: Literal["x", "y"],
    sequence: str,
    *,
    first: int = 1,
    last: int | None = None,
    most: int | None = None,
) -> None:
    """Put residues on an axis: every letter if there is room, else letters beside the numbers.

    Without room for letters, small ticks stand between the numbers, so that any residue is found.

    Parameters
    ----------
    axes : Axes
        Its coordinates are residue numbers.
    which : 'x' or 'y'
    sequence : str
        R residues.
    first, last : int
        The residues that are shown; by default all.
    most : int, optional
        About how many numbers stand on the axis; by default as many as have room.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure(figsize=(3, 1)).add_subplot(xlim=(0.5, 76.5))
    >>> residue_axis(axes, "x", esmkit.data.demo_proteins()[0].sequence)
    >>> [label.get_text() for label in axes.get_xticklabels()][:2]
    ['M1', 'G10']
    """
    last = len(sequence) if last is None else last
    axis = axes.xaxis if which == "x" else axes.yaxis
    points = room(axes, which, last - first + 1)
    if most is None:
        room_of_each = LABEL_ROOM if last < 1_000 else LONG_LABEL_ROOM
        most = max(2, int(points * (last - first + 1) / room_of_each))
    numbers = residue_ticks(last, most, first)
    if points < SMALLEST_LETTER:
        axis.set_ticks(numbers, labels=[f"{sequence[n - 1]}{n}" for n in numbers])
        step = tick_step(last - first + 1, most)
        small = step // 5 or 1 if str(step)[0] != "2" else max(1, step // 4)
        axis.set_ticks(range(first + -first % small, last + 1, small), minor=True)
        axis.set_tick_params(which="minor", length=1)
        return
    points = min(points, LARGEST_LETTER)
    axis.set_ticks(numbers, labels=[str(number) for number in numbers])
    axis.remove_overlapping_locs = False  # letters are minor ticks, and stand at numbers too
    letters = list(sequence[first - 1 : last])
    axis.set_ticks(range(first, last + 1), labels=letters, minor=True)
    axis.set_tick_params(which="minor", length=0, pad=2, labelsize=points)
    axis.set_tick_params(which="major", length=1.5, pad=points + 2.5)


def room(axes: Axes, which: Literal["x", "y"], residues: int) -> float:
    """Return the points that each residue has on an axis."""
    figure = axes.figure.canvas.figure  # the root; get_figure(root=True) is new in 3.10
    assert figure is not None
    size = axes.get_position().size * figure.get_size_inches() * 72
    return float(size["xy".index(which)] / residues)
