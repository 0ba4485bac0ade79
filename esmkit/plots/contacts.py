"""A predicted contact map, with what a structure says about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FormatStrFormatter
from numpy.typing import NDArray

from esmkit.plots import matrix
from esmkit.plots.author_numbers import author_axis
from esmkit.plots.figure import (
    PAGE_WIDTH,
    SAVED_DPI,
    TITLE_HEIGHT,
    HouseFigure,
    finish,
    house_style,
    new,
    panel,
)
from esmkit.plots.protocols import Contacts
from esmkit.plots.secondary import HELIX, STRAND, draw_secondary
from esmkit.structure.given import GivenStructure, structure_of
from esmkit.structure.numbering import Numbering, numbering_of

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["contact_map"]

MIN_SEPARATION = 6
"""Closer residues touch because they are neighbours; contacts begin here (CASP)."""

SIDE = 5.0
"""Inches of the map."""

LEFT, BOTTOM, GAP, STRIP = 0.62, 0.55, 0.04, 0.17
"""Inches that the labels on the left and at the bottom take, between panels, and across a strip of
secondary structure."""

NUMBERS = 0.32
"""Inches that a second axis takes, with the numbers of a structure's authors."""

BAR_HEIGHT = 2.1
"""Inches of the colour bar, beside the upper part of the map."""

LEGEND_LINE = 0.13
"""Inches of a line of a legend."""

GAMMA = 0.7
"""The contact head's scores, 0 to 1, are coloured by this power of them: those of a small model, 0.05 or 0.1,
can be told apart, and a colour means the same in every figure."""

PERCENTILE = 99.8
"""Percentile at which the scale of scores ends; they have no natural end."""

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
    secondary : str
        R letters of three states; ``.`` where not known.
    true_positives, false_positives : numpy.ndarray of int64, shape (n, 2)
        The strongest pairs that touch, and those that do not.
    missed : numpy.ndarray of int64, shape (n, 2)
        Pairs that touch and are not among the strongest.
    """

    numbering: Numbering
    resolved: NDArray[np.bool_]
    secondary: str
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    missed: NDArray[np.int64]


def compare(contacts: Contacts, structure: "Structure") -> Compared:
    """Take the L strongest of the pairs that count, L being the number of resolved residues.

    Those are the top pairs of P@L, over all ranges together: at least 6 apart along the structure,
    resolved, and with a value; ties in the order of i, then j. Of the pairs that touch, those are
    left out that the sequence lacks a residue of: there is no place for them.
    """
    numbering = numbering_of(contacts.id, contacts.sequence, structure)
    values, touch, resolved = contacts.onto(structure)
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
    letters = structure.secondary_structure_3
    return Compared(
        numbering,
        there & np.asarray(resolved)[numbering.places],
        "".join("." if j < 0 else letters[j] for j in numbering.places.tolist()),
        pairs[top & true],
        pairs[top & ~true],
        pairs[~top & true & has_place],
    )


def contact_map(
    contacts: Contacts,
    structure: GivenStructure | None = None,
    *,
    path: str | Path | None = None,
) -> Figure:
    """Draw a contact map, and with a structure what it got right.

    Both axes are the residues of the sequence, numbered from 1, as in every table. Where the authors of
    the structure number them otherwise, their numbers stand on a second axis above and on the right.

    Without a structure the map is drawn whole. With one, predictions stand above the diagonal and
    the true contacts (Cβ closer than 8 Å) below it. The L strongest of the predicted pairs that
    count are marked above, L being the number of resolved residues: a disc where the residues
    touch, a cross where they do not. Below, true contacts that are among those pairs are dark and
    the others grey. Secondary structure (DSSP) runs along the map. Pairs closer than 6 residues do
    not count and are covered; what is not known, because a residue is not resolved, is not in the
    sequence, or was never in one window with the other, is grey.

    The contact head's score, 0 to 1, is coloured by its power 0.7, on a scale that is the same in
    every figure. A score of single heads (``method='heads'``) is coloured linearly from 0 to the 99.8th percentile of the
    pairs that count; negative scores are white.

    Parameters
    ----------
    contacts : ContactMap
    structure : Structure, or path FILE or FILE:CHAIN, optional
        Structure of the same protein; it may lack some of the residues.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If the structure is that of another protein.
    OptionError
        If the extension is another.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> values = np.float32(0.9) * ubiquitin.contacts()      # a prediction that is right everywhere
    >>> contacts = esmkit.ContactMap("ubiquitin", "", ubiquitin.sequence, values, source="made up")
    >>> figure = esmkit.plots.contact_map(contacts, ubiquitin)
    >>> figure.get_suptitle()
    'ubiquitin · predicted contacts · 76 residues · made up'
    >>> figure.savefig("contacts.png")                       # doctest: +SKIP
    """
    structure = None if structure is None else structure_of(structure)
    compared = None if structure is None else compare(contacts, structure)
    with house_style():
        numbers = NUMBERS if compared is not None and compared.numbering.differs else 0
        strip = 0 if compared is None else STRIP + GAP
        side = SIDE - numbers
        top = TITLE_HEIGHT + numbers + strip
        figure = new(
            *(PAGE_WIDTH, top + side + BOTTOM),
            *(title(contacts), subtitle(contacts, structure, compared)),
        )
        axes = panel(figure, LEFT, top, side, side)
        image = draw_map(axes, contacts, compared)
        for which in ("x", "y"):
            matrix.residue_axis(axes, which, contacts.sequence)
        axes.set(xlabel="residue", ylabel="residue")
        if compared is not None:
            draw_structure(figure, axes, compared, side=side, top=top)
        right = LEFT + side + strip + numbers + 0.12
        add_bar(panel(figure, right, top, 0.1, BAR_HEIGHT), image, contacts.method)
        unknown = bool(np.ma.is_masked(image.get_array()))
        add_legends(figure, right, top + BAR_HEIGHT + 0.25, compared, unknown)
        return finish(figure, path)


def draw_structure(
    figure: HouseFigure, axes: Axes, compared: Compared, *, side: float, top: float
) -> None:
    """Draw secondary structure along the map, and the authors' numbers if they are others."""
    over = panel(figure, LEFT, top - GAP - STRIP, side, STRIP, sharex=axes)
    draw_secondary(over, compared.secondary, "x")
    beside = panel(figure, LEFT + side + GAP, top, STRIP, side, sharey=axes)
    draw_secondary(beside, compared.secondary, "y")
    if compared.numbering.differs:
        for which in ("x", "y"):
            author_axis(
                axes,
                which,
                compared.numbering.authors,
                f"number in {compared.numbering.structure}",
                away=(STRIP + 2 * GAP) / side,
            )


def title(contacts: Contacts) -> str:
    """Return whose contacts they are and what predicted them."""
    residues = len(contacts)
    parts = [contacts.id, "predicted contacts", f"{residues} residue{'s' * (residues != 1)}"]
    parts += [contacts.source]
    if contacts.checkpoint not in contacts.source:
        parts += [contacts.checkpoint]
    return " · ".join(part for part in parts if part)


def subtitle(contacts: Contacts, structure: "Structure | None", compared: Compared | None) -> str:
    """Return what the halves are, and how good the prediction is."""
    if structure is None or compared is None:
        parts = ["both halves show the prediction"]
    else:
        scores = contacts.score(structure)["P@L"]
        of_ranges = ", ".join(
            f"{name} {'n/a' if np.isnan(value) else f'{value:.2f}'}"
            for name, value in scores.items()
        )
        parts = [f"below the diagonal: true contacts of {structure.id}"]
        if (shared := compared.numbering.aligned) < len(contacts):
            parts[0] += f" ({shared} of {len(contacts)} residues)"
        parts.append(f"P@L {of_ranges}")
    if contacts.windows > 1:
        parts.append(f"read in {contacts.windows} windows, grey: pairs never in one window")
    return " · ".join(parts)


def draw_map(axes: Axes, contacts: Contacts, compared: Compared | None) -> AxesImage:
    """Draw the values, the band that does not count, and the marks."""
    values = contacts.probability
    upper = np.triu(np.ones(values.shape, bool))
    shown = values
    if compared is not None:
        known = compared.resolved[:, None] & compared.resolved
        shown = np.where(upper, values, np.where(known, np.float32(0), np.float32(np.nan)))
    norm = PowerNorm(GAMMA, vmin=0, vmax=1)
    if contacts.method != "regression":
        counted = values[np.triu_indices(len(values), MIN_SEPARATION)]
        norm = matrix.scale([np.maximum(counted, 0)], PERCENTILE)
    image = matrix.draw(axes, shown, norm, int(SIDE * SAVED_DPI))
    along = np.arange(len(values)) if compared is None else compared.numbering.along_structure
    first = np.searchsorted(along, along - MIN_SEPARATION, side="right")
    last = np.searchsorted(along, along + MIN_SEPARATION, side="left")
    edges = np.arange(len(values) + 1) + 0.5
    axes.stairs(last + 0.5, edges, baseline=first + 0.5, fill=True, color=BAND, zorder=1.5)
    axes.plot([0.5, edges[-1]], [0.5, edges[-1]], color="0.6", lw=0.5, zorder=1.6)
    if compared is not None:
        draw_marks(axes, compared)
    return image


def draw_marks(axes: Axes, compared: Compared) -> None:
    """Mark the strongest pairs above the diagonal, and the true contacts below it."""
    cell = 72 * SIDE / max(1, len(compared.resolved))
    for pairs, colour, label in (
        (compared.missed, MISSED, "missed"),
        (compared.true_positives, FOUND, "found"),
    ):
        axes.scatter(
            *(pairs.T + 1),  # column i < row j: below
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
            *(pairs[:, ::-1].T + 1),
            s=(0.8 * size) ** 2,
            marker=marker,
            color=colour,
            linewidths=size / 5 if marker == "x" else 0,
            path_effects=outline,
            label=label,
        )


def add_bar(axes: Axes, image: AxesImage, method: str) -> None:
    """Fill axes with the bar that explains the colours."""
    if method != "regression":
        matrix.colour_bar(axes, image, "score", PERCENTILE)
        return
    figure = axes.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, cax=axes, ticks=[0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
    bar.formatter = FormatStrFormatter("%g")
    bar.minorticks_off()
    bar.set_label("contact head's score (0 to 1)")


def add_legends(
    figure: HouseFigure, left: float, top: float, compared: Compared | None, unknown: bool
) -> None:
    """Explain the marks and count them, beside the lower part of the map."""
    groups: list[tuple[str, list[Artist]]] = []
    if compared is not None:
        right, wrong = len(compared.true_positives), len(compared.false_positives)
        groups = [
            (
                f"{right + wrong} strongest pairs",
                [
                    sign("o", TRUE_POSITIVE, f"true positive {right}"),
                    sign("x", FALSE_POSITIVE, f"false positive {wrong}"),
                ],
            ),
            (
                f"{right + len(compared.missed)} true contacts",
                [
                    sign("s", FOUND, f"found {right}"),
                    sign("s", MISSED, f"missed {len(compared.missed)}"),
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
