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

BAR_HEIGHT = 2.1
"""Inches of the colour bar, beside the upper part of the map."""

LEGEND_LINE = 0.13
"""Inches of a line of a legend."""

GAMMA = 0.7
"""Probabilities are coloured by this power of them, from 0 to 1: those of a small model, 0.05 or 0.1,
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
    """A map beside the contacts of a structure; S residues, pairs i < j from 0.

    Attributes
    ----------
    values : numpy.ndarray of float32, shape (S, S)
    resolved : numpy.ndarray of bool, shape (S,)
    true_positives, false_positives : numpy.ndarray of int64, shape (n, 2)
        The strongest pairs that touch, and those that do not.
    missed : numpy.ndarray of int64, shape (n, 2)
        Pairs that touch and are not among the strongest.
    """

    values: NDArray[np.float32]
    resolved: NDArray[np.bool_]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    missed: NDArray[np.int64]


def compare(
    values: NDArray[np.float32], contacts: NDArray[np.bool_], resolved: NDArray[np.bool_]
) -> Compared:
    """Take the L strongest of the pairs that count, L being the number of resolved residues.

    Those are the top pairs of P@L, over all ranges together: at least 6 apart, resolved, and with
    a value; ties in the order of i, then j.
    """
    pairs = np.stack(np.triu_indices(len(values), MIN_SEPARATION), axis=1)
    pairs = pairs[resolved[pairs].all(axis=1)]
    value, true = values[tuple(pairs.T)], contacts[tuple(pairs.T)]
    order = np.argsort(-value, kind="stable")  # NaN goes last
    strongest = order[: min(int(resolved.sum()), int((~np.isnan(value)).sum()))]
    top = np.zeros(len(pairs), bool)
    top[strongest] = True
    return Compared(values, resolved, pairs[top & true], pairs[top & ~true], pairs[~top & true])


def contact_map(
    contacts: Contacts,
    structure: GivenStructure | None = None,
    *,
    path: str | Path | None = None,
) -> Figure:
    """Draw a contact map, and with a structure what it got right.

    Without a structure the map is drawn whole. With one, predictions stand above the diagonal and
    the true contacts (Cβ closer than 8 Å) below it. The L strongest of the predicted pairs that
    count are marked above, L being the number of resolved residues: a disc where the residues
    touch, a cross where they do not. Below, true contacts that are among those pairs are dark and
    the others grey. Secondary structure (DSSP) runs along the map. Pairs closer than 6 residues do
    not count and are covered; what is not known, because a residue is not resolved, is not in the
    sequence, or was never in one window with the other, is grey.

    The colour of a probability follows its power 0.7, on a scale from 0 to 1 that is the same in
    every figure. That of a score (``method='heads'``) is linear from 0 to the 99.8th percentile of the
    pairs that count; negative scores are white.

    Parameters
    ----------
    contacts : ContactMap
    structure : Structure, or path FILE or FILE:CHAIN, optional
        Structure of the same protein; residues and their numbers are then those of its sequence.
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
    compared = None if structure is None else compare(*contacts.onto(structure))
    with house_style():
        strip = 0 if structure is None else STRIP + GAP
        top = TITLE_HEIGHT + strip
        figure = new(
            PAGE_WIDTH, top + SIDE + BOTTOM, title(contacts), subtitle(contacts, structure)
        )
        axes = panel(figure, LEFT, top, SIDE, SIDE)
        image = draw_map(axes, contacts, compared)
        sequence = contacts.sequence if structure is None else structure.sequence
        for which in ("x", "y"):
            matrix.residue_axis(axes, which, sequence)
        axes.set(xlabel="residue", ylabel="residue")
        if structure is not None:
            letters = structure.secondary_structure_3
            over = panel(figure, LEFT, TITLE_HEIGHT, SIDE, STRIP, sharex=axes)
            draw_secondary(over, letters, "x")
            beside = panel(figure, LEFT + SIDE + GAP, top, STRIP, SIDE, sharey=axes)
            draw_secondary(beside, letters, "y")
        right = LEFT + SIDE + strip + 0.12
        add_bar(panel(figure, right, top, 0.1, BAR_HEIGHT), image, contacts.method)
        unknown = bool(np.ma.is_masked(image.get_array()))
        add_legends(figure, right, top + BAR_HEIGHT + 0.25, compared, unknown)
        return finish(figure, path)


def title(contacts: Contacts) -> str:
    """Return whose contacts they are and what predicted them."""
    residues = len(contacts)
    parts = [contacts.id, "predicted contacts", f"{residues} residue{'s' * (residues != 1)}"]
    parts += [contacts.source]
    if contacts.checkpoint not in contacts.source:
        parts += [contacts.checkpoint]
    return " · ".join(part for part in parts if part)


def subtitle(contacts: Contacts, structure: "Structure | None") -> str:
    """Return what the halves are, and how good the prediction is."""
    if structure is None:
        parts = ["both halves show the prediction"]
    else:
        scores = contacts.score(structure)["P@L"]
        of_ranges = ", ".join(
            f"{name} {'n/a' if np.isnan(value) else f'{value:.2f}'}"
            for name, value in scores.items()
        )
        parts = [f"below the diagonal: true contacts of {structure.id}", f"P@L {of_ranges}"]
    if contacts.windows > 1:
        parts.append(f"read in {contacts.windows} windows, grey: pairs never in one window")
    return " · ".join(parts)


def draw_map(axes: Axes, contacts: Contacts, compared: Compared | None) -> AxesImage:
    """Draw the values, the band that does not count, and the marks."""
    values = contacts.probability if compared is None else compared.values
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
    number = np.arange(1, len(values) + 1)
    reach = MIN_SEPARATION - 0.5
    edges = np.arange(len(values) + 1) + 0.5
    axes.stairs(number + reach, edges, baseline=number - reach, fill=True, color=BAND, zorder=1.5)
    axes.plot([0.5, edges[-1]], [0.5, edges[-1]], color="0.6", lw=0.5, zorder=1.6)
    if compared is not None:
        draw_marks(axes, compared)
    return image


def draw_marks(axes: Axes, compared: Compared) -> None:
    """Mark the strongest pairs above the diagonal, and the true contacts below it."""
    cell = 72 * SIDE / max(1, len(compared.values))
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
    bar.set_label("predicted probability of contact")


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
