"""A figure from its first panel to its file: size in inches, house style, saving, showing."""

import base64
import html
import io
import os
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from esmkit.errors import OptionError, OutputError
from esmkit.files.disk import place_of
from esmkit.files.names import remove_unfinished
from esmkit.plots.letters import families_for, letters_shown, no_glyph_warnings

__all__ = ["PAGE_WIDTH", "SAVED_DPI", "HouseFigure", "house_style", "inline_html", "new", "save"]

PAGE_WIDTH = 7.2
"""Width of a figure, inches: that of the text of a journal page (183 mm), so nothing is scaled in
print."""

SAVED_DPI = 300
"""Dots per inch of a saved figure, where it consists of dots."""

SHOWN_DPI = 160
"""Dots per inch of the picture in a notebook: more than are shown, so that it is sharp on any
screen."""

SHOWN_WIDTH_DPI = 125
"""Pixels per inch at which the browser shows that picture."""

TITLE_POINTS, SUBTITLE_POINTS = 9, 6.5
"""Font sizes."""

TITLE_HEIGHT = 0.45
"""Inches at the top that title and subtitle take."""

MARGIN, LINE = 0.1, 0.19
"""Inches around everything, and from title to subtitle."""

STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.linewidth": 0.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text, to be found and edited
    "pdf.fonttype": 42,
    "svg.hashsalt": "esmkit",  # ids in the file are the same in every run
}

# What would differ from run to run (dates) or with the version of Matplotlib is left out.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style whatever the caller's rcParams are, and leave those as they were."""
    with matplotlib.style.context(["default", STYLE]), no_glyph_warnings():
        yield


class HouseFigure(Figure):
    """A figure that shows itself in a notebook without pyplot, at the size it has in print."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return render(self), {"width": shown_width(self)}

    def draw(self, renderer: Any) -> None:
        """Draw all that it has, with the letters of any font; SVG leaves these to who shows it."""
        tell = self.canvas.get_default_filetype() != "svg"
        with letters_shown(self, tell=tell):
            super().draw(renderer)


def new(width: float, height: float, title: str, subtitle: str) -> HouseFigure:
    """Return an empty figure with title and subtitle at its top.

    Parameters
    ----------
    width, height : float
        Inches, titles included.
    title, subtitle : str
        Taken literally: a ``$`` in an ID does not start a formula. Set smaller if too wide, and
        cut if that is not enough.
    """
    figure = HouseFigure(figsize=(width, height))
    for put, text, points, top, colour in (
        (figure.suptitle, title, TITLE_POINTS, MARGIN, "black"),
        (partial(figure.text, 0, 0), subtitle, SUBTITLE_POINTS, MARGIN + LINE, "0.35"),
    ):
        room = width - 2 * MARGIN
        smaller = (points - 0.5 * step for step in range(int(points / 2.5)))
        points = next((size for size in smaller if fit(text, room, size) == text), points)
        placed = put(fit(text, room, points))
        placed.set(
            position=(MARGIN / width, 1 - top / height),
            horizontalalignment="left",
            verticalalignment="top",
            fontsize=points,
            color=colour,
            parse_math=False,
        )
    return figure


def fit(text: str, width: float, points: float) -> str:
    """Return a text, cut with an ellipsis if it is wider than that many inches."""
    font, measure = FontProperties(size=points), TextToPath()
    if len(families := families_for(text)) > 1:
        font.set_family(families)

    def too_wide(shown: str) -> bool:
        with no_glyph_warnings():
            across, _, _ = measure.get_text_width_height_descent(shown, font, ismath=False)
        return across > 72 * width

    if not too_wide(text):
        return text
    kept = bisect_left(range(len(text)), True, key=lambda count: too_wide(text[:count] + "…"))
    return text[: max(0, kept - 1)] + "…"


def panel(
    figure: Figure, left: float, top: float, width: float, height: float, **options: Any
) -> Axes:
    """Add axes, placed in inches from the left and the top edge of a figure."""
    across, down = figure.get_size_inches()
    return figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down), **options
    )


def finish(figure: HouseFigure, path: str | Path | None) -> HouseFigure:
    """Save a figure if there is a path for it, and return it."""
    if path is not None:
        save(figure, path)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file, 300 dots per inch where it consists of dots.

    The same figure gives the same bytes. A file of that name is replaced, at once and whole; a
    link is written through.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path
        Ending in ``.png``, ``.svg`` or ``.pdf``. In the last two, text stays text.

    Raises
    ------
    OptionError
        If the name ends otherwise.
    OutputError
        If the folder does not exist, or the file cannot be written.

    Examples
    --------
    >>> figure = new(2.0, 1.0, "Ubiquitin", "an empty figure")
    >>> save(figure, "ubiquitin.pdf")
    >>> Path("ubiquitin.pdf").read_bytes()[:4]
    b'%PDF'
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in METADATA:
        raise OptionError(
            f"{str(path)!r} does not say which kind of figure it is; end the name in .png, .svg "
            "or .pdf"
        )
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {str(path.parent)!r}; make it first")
    path = place_of(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")  # see remove_unfinished
    try:
        remove_unfinished(path.parent, of=path.name)
        with house_style():
            figure.savefig(unfinished, format=kind, dpi=SAVED_DPI, metadata=METADATA[kind])
        unfinished.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {str(path)!r} ({error.strerror or error}); check the folder, or choose "
            "another"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)


def render(figure: Figure) -> bytes:
    """Return a figure as PNG for the screen."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format="png", dpi=SHOWN_DPI, metadata=METADATA["png"])
    return buffer.getvalue()


def shown_width(figure: Figure) -> int:
    """Return how many pixels of the screen a figure takes."""
    return round(figure.get_size_inches()[0] * SHOWN_WIDTH_DPI)


def inline_html(figure: Figure) -> str:
    """Return an ``<img>`` that holds a figure, for Jupyter and self-contained pages.

    Its alternative text is the figure's title.

    Examples
    --------
    >>> inline_html(new(2.0, 1.0, "Ubiquitin", "an empty figure"))[:20]
    '<img alt="Ubiquitin"'
    """
    alt = html.escape(figure.get_suptitle() or "figure", quote=True)
    data = base64.b64encode(render(figure)).decode()
    width = shown_width(figure)
    return (
        f'<img alt="{alt}" width="{width}" style="max-width:100%;height:auto" '
        f'src="data:image/png;base64,{data}">'
    )
