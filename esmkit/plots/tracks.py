"""Strips along the residues of a figure: secondary structure, domains, marks; and their legend."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from esmkit.plots.annotations import Annotations, label_of
from esmkit.plots.colours import DOMAINS, HELIX, MARK, PLDDT, STRAND
from esmkit.plots.figure import HouseFigure, fit
from esmkit.plots.secondary import draw_secondary

__all__ = ["Tracks"]

SECONDARY, LANE, LABELS, GAP = 0.17, 0.15, 0.14, 0.04
"""Inches across the strip of secondary structure, a lane of domains and the labels of marks, and
between strips."""

CONFIDENCE = 0.07
"""Inches across the strip of pLDDT."""

BESIDE = 0.3
"""Least inches that the labels of marks take beside a map, where they are read across."""

BEFORE_LABEL = 0.35
"""Part of the strip of labels before they begin, for the tick."""

POINTS = 5.5
"""Font size of domains and marks."""

LEGEND_ROW = 0.15
"""Inches of a row of the legend."""

IN_ROW = 4
"""Entries of a row of the legend."""

COVERED = 0.82
"""Opacity of the white over pairs that were not asked for: their pattern stays visible."""

AddPanel = Callable[[float, float], Axes]
"""Given the distance from the map and the width across, inches, makes axes that share residues."""


class Tracks:
    """Strips beside each other, from the map outwards.

    Parameters
    ----------
    annotations : Annotations
    which : 'x' or 'y'
        The direction in which residues run.
    """

    def __init__(self, annotations: Annotations, which: Literal["x", "y"]) -> None:
        self._of = annotations
        self.which: Literal["x", "y"] = which
        self._lanes = annotations.lanes()
        self._marks = annotations.visible_marks
        self._across = LABELS if which == "x" else self._beside()

    def _beside(self) -> float:
        """Return the inches that names beside a map take: those of far residues are longer."""
        longest = max((len(label_of(span)) for span in self._marks), default=0)
        return max(BESIDE, (0.7 * POINTS * longest + 2) / 72 / (1 - BEFORE_LABEL))

    @property
    def depth(self) -> float:
        """Inches that all strips take, the gaps before them included."""
        depth = len(self._lanes) * (LANE + GAP / 2) + GAP * bool(self._lanes)
        depth += (SECONDARY + GAP) * bool(self._of.secondary)
        depth += (CONFIDENCE + GAP / 2) * bool(self._of.plddt)
        return depth + (self._across + GAP / 2) * bool(self._marks)

    def draw(self, add: AddPanel, length: float) -> None:
        """Draw all strips.

        Parameters
        ----------
        add : callable
        length : float
            Inches along the residues.
        """
        away = 0.0
        if self._marks:
            away += GAP / 2
            self._draw_labels(add(away, self._across), length)
            away += self._across
        if self._of.secondary:
            away += GAP
            draw_secondary(add(away, SECONDARY), self._of.secondary, self.which)
            away += SECONDARY
        if self._of.plddt:
            away += GAP / 2
            self._draw_confidence(add(away, CONFIDENCE))
            away += CONFIDENCE
        away += GAP * bool(self._lanes)
        for lane in self._lanes:
            away += GAP / 2
            axes = add(away, LANE)
            for domain in lane:
                self._draw_domain(axes, domain, length)
            _bare(axes, self.which)
            away += LANE

    def _draw_confidence(self, axes: Axes) -> None:
        """Colour residues by the class of their pLDDT; those without any stay empty."""
        first = 0.5
        for colour, run in groupby(map(confidence_colour, self._of.plddt)):
            count = len(list(run))
            if colour is not None:
                box = ((first, 0), count, 1) if self.which == "x" else ((0, first), 1, count)
                axes.add_patch(Rectangle(*box, fc=colour, ec="none", lw=0))
            first += count
        _bare(axes, self.which)

    def _draw_domain(self, axes: Axes, domain: Any, length: float) -> None:
        first = max(domain.start, self._of.first) - 0.5
        last = min(domain.end, self._of.last) + 0.5
        box = ((first, 0), last - first, 1) if self.which == "x" else ((0, first), 1, last - first)
        colour = domain_colours(self._of)[domain.name]
        axes.add_patch(Rectangle(*box, fc=colour, ec="0.35", lw=0.3, label=domain.name))
        inches = length * (last - first) / (self._of.last - self._of.first + 1)
        text = fit(domain.name, inches - 0.06, POINTS)
        if len(text) >= min(3, len(domain.name)):
            middle = (first + last) / 2
            axes.text(
                middle if self.which == "x" else 0.5,
                0.5 if self.which == "x" else middle,
                text,
                fontsize=POINTS,
                ha="center",
                va="center_baseline" if self.which == "x" else "center",
                rotation=0 if self.which == "x" else 270,
                parse_math=False,
            )

    def _draw_labels(self, axes: Axes, length: float) -> None:
        """Write the names of marks where they are, or as near as they fit without overlap."""
        names = [label_of(span) for span in self._marks]
        count = self._of.last - self._of.first + 1
        widest = max(len(name) for name in names)
        inches = (0.7 * POINTS * widest + 2 if self.which == "x" else 1.15 * POINTS) / 72
        least = count * inches / length
        places = [(span.start + span.stop) / 2 for span in self._marks]
        if least * len(names) <= count:
            where = apart(places, least, self._of.first - 0.5, self._of.last + 0.5)
            for name, place, at in zip(names, places, where, strict=True):
                along, away = [place, at], [0, 0.3]
                across = self.which == "x"
                axes.plot(
                    along if across else away,
                    away if across else along,
                    color=MARK,
                    lw=0.5,
                    clip_on=False,
                )
                axes.text(
                    at if across else BEFORE_LABEL,
                    BEFORE_LABEL if across else at,
                    name,
                    color=MARK,
                    fontsize=POINTS,
                    ha="center" if across else "left",
                    va="bottom" if across else "center",
                    parse_math=False,
                )
        _bare(axes, self.which)


def confidence_colour(plddt: float) -> str | None:
    """Return the colour of a residue's pLDDT as the AlphaFold database has it; None for NaN.

    >>> confidence_colour(95.0) == confidence_colour(90.0) != confidence_colour(70.0)
    True
    """
    return next((colour for least, colour in PLDDT.values() if plddt >= least), None)


def apart(places: Sequence[float], least: float, first: float, last: float) -> list[float]:
    """Return places, ascending, moved so that neighbours are that far apart and inside the ends.

    >>> apart([5, 5.5, 20], 2, 0, 30)
    [4.25, 6.25, 20.0]
    """
    groups: list[list[float]] = []  # sums of places, and their number
    for place in places:
        groups.append([float(place), 1])
        while len(groups) > 1 and _start(groups[-1], least) < _end(groups[-2], least):
            total, count = groups.pop()
            groups[-1][0] += total
            groups[-1][1] += count
    found: list[float] = []
    for total, count in groups:
        middle, half = total / count, least * (count - 1) / 2
        found += [middle - half + least * n for n in range(int(count))]
    low = first + least / 2
    for n, place in enumerate(found):
        found[n] = low = max(low, place)
        low += least
    high = last - least / 2
    for n in range(len(found) - 1, -1, -1):
        found[n] = high = min(high, found[n])
        high -= least
    return found


def _start(group: list[float], least: float) -> float:
    return group[0] / group[1] - least * group[1] / 2


def _end(group: list[float], least: float) -> float:
    return group[0] / group[1] + least * group[1] / 2


def domain_colours(annotations: Annotations) -> dict[str, str]:
    """Return a colour for each name of a domain, in the order of the sequence."""
    names = dict.fromkeys(domain.name for domain in annotations.domains)
    return {name: DOMAINS[n % len(DOMAINS)] for n, name in enumerate(names)}


def draw_marks(axes: Axes, annotations: Annotations, which: str = "xy") -> None:
    """Draw a line, or a band, through axes at each mark."""
    for span in annotations.visible_marks:
        for direction in which:
            line = axes.axvline if direction == "x" else axes.axhline
            band = axes.axvspan if direction == "x" else axes.axhspan
            if span.start == span.stop:
                line(span.start, color=MARK, lw=0.5, alpha=0.55, zorder=2)
            else:
                band(span.start - 0.5, span.stop + 0.5, fc=MARK, ec="none", alpha=0.15, zorder=2)


def legend_height(annotations: Annotations) -> float:
    """Return the inches that the legend of the strips takes at the bottom."""
    rows = -(-len(_handles(annotations)) // IN_ROW)
    return LEGEND_ROW * rows + 0.08 * bool(rows)


def draw_legend(figure: HouseFigure, annotations: Annotations, left: float) -> None:
    """Say at the bottom what the strips and lines are."""
    handles = _handles(annotations)
    if handles:
        across, down = figure.get_size_inches()
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(left / across, 0.05 / down),
            ncols=IN_ROW,
            borderpad=0,
            borderaxespad=0,
            handlelength=1.4,
            columnspacing=1.4,
            labelspacing=0.25,
        )


def _handles(annotations: Annotations) -> list[Any]:
    found: list[Any] = []
    if annotations.visible_marks:
        found.append(Line2D([], [], color=MARK, lw=0.8, label="marked"))
    if annotations.numbering is not None:
        name = annotations.numbering.structure
        found.append(Line2D([], [], color=HELIX, lw=1.2, label=f"helix ({name})"))
        arrow = {"marker": ">", "ls": "none", "ms": 4.2}
        found.append(Line2D([], [], color=STRAND, label=f"strand ({name})", **arrow))
    here = {confidence_colour(value) for value in annotations.plddt[annotations.shown]}
    for name, (_, colour) in PLDDT.items():
        if colour in here:
            found.append(Patch(fc=colour, ec="none", label=name))
    colours = domain_colours(annotations)
    for domain in annotations.visible_domains:
        text = fit(f"{domain.name} {domain.start}-{domain.end}", 1.5, 6.5)
        found.append(Patch(fc=colours[domain.name], ec="0.35", lw=0.3, label=_plain(text)))
    return found


def _plain(text: str) -> str:
    """Return text that a legend takes as it is: no formula, and never left out."""
    return text.replace("$", r"\$").lstrip("_") or "domain"


def _bare(axes: Axes, which: str) -> None:
    (axes.set_ylim if which == "x" else axes.set_xlim)(0, 1)
    (axes.yaxis if which == "x" else axes.xaxis).set_ticks([])
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)


def veil(annotations: Annotations) -> NDArray[np.float32] | None:
    """Return how much the pairs are covered that were not asked for: float32 (r, r), or None."""
    if not annotations.selected:
        return None
    return np.where(annotations.touched(), np.float32(0), np.float32(COVERED))
