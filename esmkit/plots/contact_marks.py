"""The strongest pairs of a contact map and the true contacts: found, marked, counted in legends."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from esmkit.plots import matrix
from esmkit.plots.annotations import Annotations
from esmkit.plots.colours import HELIX, STRAND
from esmkit.plots.figure import HouseFigure
from esmkit.plots.protocols import Contacts
from esmkit.structure.numbering import Numbering

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["BAND", "MIN_SEPARATION", "Compared", "add_legends", "compare", "draw_marks"]

MIN_SEPARATION = 6
"""Closer residues touch because they are neighbours; contacts begin here (CASP)."""

LEGEND_LINE = 0.13
"""Inches of a line of a legend."""

TRUE_POSITIVE, FALSE_POSITIVE = "#0072B2", "#D55E00"
"""Okabe and Ito's blue and vermilion, as a disc and a cross."""

FOUND, MISSED = "0.15", "0.62"
"""Greys of the true contacts."""

BAND = "0.93"
"""Grey of pairs that are too close to count."""

SMALLEST_MARK, LARGEST_MARK = 3.4, 5.0
"""Points across a mark; in between, it is as large as its cell."""


@dataclass(frozen=True)
class Compared:
    """A map beside the contacts of a structure; R residues of the sequence, pairs i < j from 0.

    Attributes
    ----------
    numbering : Numbering
        Where the residues are in the structure, and how its authors number them.
    resolved : numpy.ndarray of bool, shape (R,)
        Residues that the structure has coordinates of.
    true_positives, false_positives : numpy.ndarray of int64, shape (n, 2)
        The strongest pairs that touch, and those that do not.
    missed : numpy.ndarray of int64, shape (n, 2)
        Pairs that touch and are not among the strongest.
    """

    numbering: Numbering
    resolved: NDArray[np.bool_]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    missed: NDArray[np.int64]


def compare(contacts: Contacts, structure: "Structure", numbering: Numbering) -> Compared:
    """Take the L strongest of the pairs that count, L being the number of resolved residues.

    Those are the top pairs of P@L, over all ranges together: at least 6 apart along the structure,
    resolved, and with a value; ties in the order of i, then j. Of the pairs that touch, those are
    left out that the sequence lacks a residue of: there is no place for them.
    """
    values, touch, resolved = contacts.onto(structure, ranking=True)
    pairs = np.stack(np.triu_indices(len(values), MIN_SEPARATION), axis=1)
    pairs = pairs[resolved[pairs].all(axis=1)]
    value, true = values[tuple(pairs.T)], touch[tuple(pairs.T)]
    order = np.argsort(-value, kind="stable")  # NaN goes last
    strongest = order[: min(int(resolved.sum()), int((~np.isnan(value)).sum()))]
    top = np.zeros(len(pairs), bool)
    top[strongest] = True

    there = numbering.places >= 0
    residues = np.full(len(structure), -1)  # of the sequence, for each of the structure
    residues[numbering.places[there]] = np.flatnonzero(there)
    pairs = residues[pairs]
    has_place = (pairs >= 0).all(axis=1)
    return Compared(
        numbering,
        there & np.asarray(resolved)[numbering.places],
        pairs[top & true],
        pairs[top & ~true],
        pairs[~top & true & has_place],
    )


def inside(pairs: NDArray[np.int64], of: Annotations) -> NDArray[np.int64]:
    """Return the pairs of which both residues are shown."""
    return pairs[((pairs >= of.first - 1) & (pairs < of.last)).all(axis=1)]


def draw_marks(axes: Axes, compared: Compared, of: Annotations, side: float) -> None:
    """Mark the strongest pairs above the diagonal, and the true contacts below it.

    The map is so many inches wide.
    """
    cell = 72 * side / max(1, of.last - of.first + 1)
    for pairs, colour, label in (
        (compared.missed, MISSED, "missed"),
        (compared.true_positives, FOUND, "found"),
    ):
        axes.scatter(
            *(inside(pairs, of).T + 1),  # column i < row j: below
            s=max(1.2, 0.9 * cell) ** 2,
            marker="s",
            color=colour,
            linewidths=0,
            label=label,
        )
    size = min(LARGEST_MARK, max(SMALLEST_MARK, 0.85 * cell))
    outline = [Stroke(linewidth=size / 2.6, foreground="white"), Normal()]
    for pairs, marker, colour, label in (
        (compared.false_positives, "x", FALSE_POSITIVE, "false positive"),
        (compared.true_positives, "o", TRUE_POSITIVE, "true positive"),
    ):
        axes.scatter(
            *(inside(pairs, of)[:, ::-1].T + 1),
            s=(0.8 * size) ** 2,
            marker=marker,
            color=colour,
            linewidths=size / 5 if marker == "x" else 0,
            path_effects=outline,
            label=label,
        )


def add_legends(
    figure: HouseFigure,
    left: float,
    top: float,
    compared: Compared | None,
    of: Annotations,
    *,
    unknown: bool,
) -> None:
    """Explain the marks and count them, beside the lower part of the map."""
    groups: list[tuple[str, list[Artist]]] = []
    if compared is not None:
        every = compared.true_positives, compared.false_positives, compared.missed
        right, wrong, missed = (len(inside(pairs, of)) for pairs in every)
        strongest = touching = ""
        if of.zoomed:  # what is counted is what is drawn
            strongest = f"of {len(every[0]) + len(every[1])} "
            touching = f"of {len(every[0]) + len(every[2])} "
        groups = [
            (
                f"{right + wrong} {strongest}strongest pairs",
                [
                    sign("o", TRUE_POSITIVE, f"true positive {right}"),
                    sign("x", FALSE_POSITIVE, f"false positive {wrong}"),
                ],
            ),
            (
                f"{right + missed} {touching}true contacts",
                [
                    sign("s", FOUND, f"found {right}"),
                    sign("s", MISSED, f"missed {missed}"),
                ],
            ),
            (
                "secondary structure",
                [Line2D([], [], color=HELIX, label="helix"), sign(">", STRAND, "strand")],
            ),
        ]
    greys: list[Artist] = [Patch(color=BAND, label=f"under {MIN_SEPARATION} apart")]
    greys += [Patch(color=matrix.NEVER_SEEN, label="not known")] * unknown
    groups.append(("not counted", greys))
    width, height = figure.get_size_inches()
    for heading, handles in groups:
        legend = figure.legend(
            handles=handles,
            title=heading,
            loc="upper left",
            bbox_to_anchor=(left / width, 1 - top / height),
            alignment="left",
            borderpad=0,
            borderaxespad=0,
            handlelength=1.2,
            labelspacing=0.3,
            title_fontsize=6.5,
        )
        legend.get_title().set_fontweight("bold")
        top += LEGEND_LINE * (1 + len(handles)) + 0.12


def sign(marker: str, colour: str, label: str) -> Line2D:
    """Return a mark for a legend."""
    return Line2D([], [], marker=marker, color=colour, ls="none", ms=4.2, mew=1, label=label)
