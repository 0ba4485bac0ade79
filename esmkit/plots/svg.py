"""A drawing as SVG text: boxes, arrows and labels, readable on light and on dark pages."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from esmkit.errors import OptionError, OutputError
from esmkit.files.disk import disk_errors, write_durably

__all__ = ["TIMES", "Canvas", "Diagram"]

# Colours of Okabe and Ito, told apart by everyone; `page` and `ink` on their own give 15:1.
LIGHT: dict[str, str | tuple[str, str]] = {
    "page": "#ffffff",
    "edge": "#c9ced6",
    "ink": "#1f2430",
    "quiet": "#566070",
    "plain": ("#f1f3f6", "#6b7585"),
    "blue": ("#e3f0f9", "#0072b2"),
    "orange": ("#fdeee0", "#d55e00"),
    "green": ("#e0f4ee", "#009e73"),
    "purple": ("#f8eaf2", "#b5548c"),
}
DARK: dict[str, str | tuple[str, str]] = {
    "page": "#14181f",
    "edge": "#3a4352",
    "ink": "#eef1f5",
    "quiet": "#aab4c2",
    "plain": ("#262d38", "#94a0b2"),
    "blue": ("#14303f", "#56b4e9"),
    "orange": ("#3d2717", "#f0954a"),
    "green": ("#11352b", "#2fc79b"),
    "purple": ("#3a2231", "#e08dbb"),
}
TIMES = " \N{MULTIPLICATION SIGN} "
"""What stands between the axes of a shape."""

KINDS = ("plain", "blue", "orange", "green", "purple")

FONT = "system-ui,'Segoe UI',Roboto,'Helvetica Neue',Arial,'DejaVu Sans',sans-serif"
MONO = "ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace"


@dataclass(frozen=True)
class Diagram:
    """A drawing as SVG text; in a notebook it shows itself.

    Attributes
    ----------
    svg : str
        The whole file.
    shapes : mapping of str to tuple of str
        Shapes that are written in it: name of an array to its axes, as numbers where they are known.
    """

    svg: str = field(repr=False)
    shapes: Mapping[str, tuple[str, ...]] = field(
        repr=False, default_factory=lambda: MappingProxyType({})
    )

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the drawing to a file. A file of that name is replaced, at once and whole.

        Parameters
        ----------
        path : path
            Ending in ``.svg``.

        Raises
        ------
        OptionError
            If the name ends otherwise.
        OutputError
            If the folder does not exist, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".svg":
            raise OptionError(f"{str(path)!r}: a diagram is SVG; end the name in .svg")
        if not path.parent.is_dir():
            raise OutputError(f"there is no folder {str(path.parent)!r}; make it first")
        with disk_errors(path):
            write_durably(path, self.svg.encode())


class Canvas:
    """SVG text that grows, in units of about a pixel; y grows downwards."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.width: int = width
        self.height: int = height
        self.parts: list[str] = [
            f"<title>{html.escape(title)}</title>",
            f"<desc>{html.escape(description)}</desc>",
            _style(),
            f'<rect class="ed-page" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" '
            'rx="10"/>',
        ]
        self.shapes: dict[str, tuple[str, ...]] = {}

    def box(
        self,
        x: float,
        y: float,
        width: float,
        *lines: str,
        kind: str = "plain",
        height: float = 34,
    ) -> None:
        """Put a box with lines of text around the centre (x, y); `kind` is its colour."""
        self.frame(x - width / 2, y - height / 2, width, height, kind)
        for number, line in enumerate(lines):
            below = y + 5 + 18 * (number - (len(lines) - 1) / 2)
            self.text(x, below, line, "ed-text" if number == 0 else "ed-small")

    def frame(self, left: float, top: float, width: float, height: float, kind: str) -> None:
        """Put an empty box; `kind` is one of KINDS, with ``-panel`` behind it for a mere outline."""
        name = f"ed-panel ed-{kind}" if kind.endswith("-panel") else f"ed-{kind}"
        self.parts.append(
            f'<rect class="{name}" x="{left:g}" y="{top:g}" width="{width:g}" '
            f'height="{height:g}" rx="6"/>'
        )

    def text(
        self, x: float, y: float, words: str, name: str = "ed-text", anchor: str = "middle"
    ) -> None:
        """Put one line of text; ``W^Q`` has a raised Q, and is read as it is written."""
        self.parts.append(
            f'<text class="{name}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{_raised(words)}'
            "</text>"
        )

    def path(self, points: Iterable[tuple[float, float]], kind: str = "plain") -> None:
        """Draw a line through points, without a head."""
        line = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(f'<polyline class="ed-line ed-{kind}-line" points="{line}"/>')

    def arrow(self, *points: tuple[float, float], kind: str = "plain") -> None:
        """Draw an arrow through points; its last piece is upright or level."""
        (x0, y0), (x1, y1) = points[-2:]
        across, down = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
        foot = (x1 - 7 * across, y1 - 7 * down)
        self.path([*points[:-1], foot], kind)
        wings = [
            (x1, y1),
            (foot[0] - 4 * down - across, foot[1] - 4 * across - down),
            (foot[0] + 4 * down - across, foot[1] + 4 * across - down),
        ]
        head = " ".join(f"{x:g},{y:g}" for x, y in wings)
        self.parts.append(f'<polygon class="ed-{kind}-head" points="{head}"/>')

    def plus(self, x: float, y: float, kind: str) -> None:
        """Put a circled plus: two arrays are added."""
        self.parts.append(f'<circle class="ed-{kind}" cx="{x:g}" cy="{y:g}" r="11"/>')
        self.parts.append(
            f'<path class="ed-line ed-{kind}-line" d="M{x - 6:g} {y:g}h12M{x:g} {y - 6:g}v12"/>'
        )

    def shape(
        self,
        x: float,
        y: float,
        name: str,
        axes: str,
        sizes: Mapping[str, str],
        *,
        anchor: str = "start",
        beside: bool = False,
    ) -> None:
        """Write the shape of an array: its axes, and below or beside them its numbers.

        Parameters
        ----------
        x, y : float
            Where the axes stand.
        name : str
            Name of the array, kept in the file as ``data-array``.
        axes : str
            Letters parted by spaces, such as ``H T K``.
        sizes : mapping of str to str
            What stands for each letter.
        anchor : str
            As in SVG: ``start``, ``middle`` or ``end``.
        beside : bool
            Write the numbers behind the axes instead of below.
        """
        letters = axes.split()
        numbers = tuple(sizes[letter] for letter in letters)
        self.shapes[name] = numbers
        written = TIMES.join(numbers)
        symbols = TIMES.join(letters)
        place = 'dx="9"' if beside else f'x="{x:g}" dy="14"'
        below = f'<tspan class="ed-size" {place}>{written}</tspan>' if written != symbols else ""
        self.parts.append(
            f'<text class="ed-shape" data-array="{name}" x="{x:g}" y="{y:g}" '
            f'text-anchor="{anchor}">{symbols}{below}</text>'
        )

    def diagram(self) -> Diagram:
        """Return what was drawn."""
        body = "\n".join(self.parts)
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" '
            f'style="max-width:100%;height:auto">\n{body}\n</svg>\n'
        )
        return Diagram(svg, MappingProxyType(self.shapes))


def _raised(words: str) -> str:
    """Return text with what follows a ``^`` raised, to the end of its word."""
    shown = []
    for word in words.split(" "):
        base, caret, raised = word.partition("^")
        shown.append(html.escape(base, quote=False))
        if caret:
            shown[-1] += f'<tspan class="ed-raised" dy="-5">{html.escape(raised)}</tspan>'
            shown[-1] += '<tspan dy="5">&#8203;</tspan>'  # what follows stands on the line again
    return " ".join(shown)


def _style() -> str:
    """Return the style sheet: sizes, then colours for light pages and for dark ones."""
    sizes = (
        f"text{{font-family:{FONT}}}"
        ".ed-head{font-size:18px;font-weight:600}.ed-text{font-size:15px}"
        ".ed-small{font-size:13px}"
        f".ed-shape{{font-family:{MONO};font-size:13.5px;font-weight:600}}"
        f".ed-size{{font-family:{MONO};font-size:12px;font-weight:400}}"
        ".ed-raised{font-size:11px}.ed-line{fill:none!important;stroke-width:1.6}"
        ".ed-panel{fill:none;stroke-dasharray:5 4;stroke-width:1.4}.ed-green-line{stroke-width:3.2!important}"
    )
    dark = _colours(DARK)
    return f"<style>{sizes}{_colours(LIGHT)}@media (prefers-color-scheme:dark){{{dark}}}</style>"


def _colours(palette: Mapping[str, str | tuple[str, str]]) -> str:
    """Return the rules that give every class its colours."""
    rules = [
        f".ed-page{{fill:{palette['page']};stroke:{palette['edge']}}}",
        f".ed-head,.ed-text,.ed-shape,.ed-raised{{fill:{palette['ink']}}}",
        f".ed-small,.ed-size{{fill:{palette['quiet']}}}",
    ]
    for kind in KINDS:
        fill, stroke = palette[kind]
        rules.append(f".ed-{kind}{{fill:{fill};stroke:{stroke};stroke-width:1.4}}")
        rules.append(f".ed-{kind}-line,.ed-{kind}-panel{{stroke:{stroke}}}")
        rules.append(f".ed-{kind}-head{{fill:{stroke}}}")
    return "".join(rules)
