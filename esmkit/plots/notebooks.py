"""Drawing in a notebook with pyplot: esmkit's style, its colours, and one matrix on axes of yours."""

import textwrap
import warnings
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from esmkit.errors import FittedHeadWarning, InputError, OfflineCheckpointWarning
from esmkit.plots import matrix
from esmkit.plots.figure import STYLE

__all__ = ["COLOURS", "draw_matrix", "map_colours", "notebook_style", "residue_axis"]

COLOURS = {
    "blue": "#0072B2",
    "orange": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "grey": "0.6",
}
"""Colours that everyone tells apart, by name (Okabe and Ito 2008, jfly.uni-koeln.de/color), and grey."""

NOTEBOOK_STYLE: dict[Any, Any] = {
    **STYLE,
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
}

ABOUT_WEIGHTS = (OfflineCheckpointWarning, FittedHeadWarning)
LINE_LENGTH = 100
_said: set[str] = set()
_others = [warnings.formatwarning]  # how other warnings are shown

map_colours: Final = matrix.colours
residue_axis: Final = matrix.residue_axis


def notebook_style() -> None:
    """Give every later pyplot figure of this process esmkit's style: small letters, room for all.

    Also silences the remark of progress bars that they would look better with ``ipywidgets``, and
    shows what esmkit says about weights (``OfflineCheckpointWarning``, ``FittedHeadWarning``) once,
    without the line of code. Call it once, before a model is loaded.
    ``matplotlib.rcdefaults()`` takes the style back.

    Examples
    --------
    >>> notebook_style()                              # doctest: +SKIP
    >>> matplotlib.rcParams["axes.titlelocation"]     # doctest: +SKIP
    'left'
    """
    matplotlib.rcParams.update(NOTEBOOK_STYLE)
    warnings.filterwarnings("ignore", message="IProgress")
    if warnings.formatwarning is not _shown:
        _others.append(warnings.formatwarning)
        warnings.formatwarning = _shown


def _shown(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Return a warning about weights as lines of text, any other as before."""
    if not issubclass(category, ABOUT_WEIGHTS):
        return _others[-1](message, category, filename, lineno, line)
    text = f"{category.__name__}: {message}"
    if text in _said:  # the filter "once" forgets what it has shown whenever another is set
        return ""
    _said.add(text)
    return textwrap.fill(text, LINE_LENGTH, break_on_hyphens=False) + "\n"


def draw_matrix(
    axes: Axes,
    values: ArrayLike,
    *,
    sequence: str | None = None,
    title: str = "",
    colours: str | Colormap | None = None,
    colourbar: bool = True,
    most: int = 5,
    **scale: Any,
) -> AxesImage:
    """Draw one matrix, first row on top; with a sequence, residue n stands at n on both axes.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    values : array_like of float, shape (rows, columns)
        With a sequence of R residues, each axis has R residues or R + 2 tokens (start and end
        mark included). NaN is grey.
    sequence : str, optional
        Its letters and numbers stand on the axes.
    title : str
    colours : str or matplotlib.colors.Colormap, optional
        Any of Matplotlib's; by default those of attention, :func:`map_colours`.
    colourbar : bool
        Whether a bar explains the colours.
    most : int
        About how many numbers stand on each axis, if there is a sequence.
    **scale
        What ``Axes.imshow`` takes besides, as ``vmin``, ``vmax``, ``norm`` and ``aspect``.

    Returns
    -------
    matplotlib.image.AxesImage

    Raises
    ------
    InputError
        If the values are no matrix, or do not fit the sequence.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> image = draw_matrix(Figure().subplots(), [[0, 1], [1, 0]], sequence="MK", title="made")
    >>> image.get_extent()
    [0.5, 2.5, 2.5, 0.5]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2:
        raise InputError(f"values of shape {array.shape} are no matrix; give (rows, columns)")
    starts = [0, 0]
    if sequence is not None:
        starts = [_first(count, sequence) for count in array.shape]
    top, left = (start - 0.5 for start in starts)
    rows, columns = array.shape
    image = axes.imshow(
        array,
        cmap=matrix.colours() if colours is None else colours,
        **{
            "extent": (left, left + columns, top + rows, top),
            "interpolation": "nearest",
            **scale,
        },
    )
    axes.set_title(title)
    if sequence is not None:
        residue_axis(axes, "x", sequence, most=most)
        residue_axis(axes, "y", sequence, most=most)
    figure = axes.get_figure()
    if colourbar and figure is not None:
        figure.colorbar(image, ax=axes, shrink=0.6)
    return image


def _first(count: int, sequence: str) -> int:
    """Return the residue number of the first row or column: 1, or 0 where tokens stand."""
    if count not in (len(sequence), len(sequence) + 2):
        raise InputError(
            f"{count} rows or columns do not fit a sequence of {len(sequence)} residues; give one "
            f"for each residue, or {len(sequence) + 2} with the start and the end mark"
        )
    return 1 if count == len(sequence) else 0
