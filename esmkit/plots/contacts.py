"""A predicted contact map, with what a structure says about it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FormatStrFormatter

from esmkit.plots import matrix, tracks
from esmkit.plots.annotations import Annotations, annotations_of
from esmkit.plots.around_map import draw_annotations
from esmkit.plots.contact_marks import (
    BAND,
    MIN_SEPARATION,
    Compared,
    add_legends,
    compare,
    draw_marks,
)
from esmkit.plots.figure import (
    PAGE_WIDTH,
    SAVED_DPI,
    TITLE_HEIGHT,
    finish,
    house_style,
    new,
    panel,
)
from esmkit.plots.protocols import Contacts
from esmkit.plots.tracks import Tracks
from esmkit.structure.given import GivenStructure, structure_of

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["contact_map"]

SIDE = 5.0
"""Inches of the map."""

LEFT, BOTTOM = 0.62, 0.55
"""Inches that the labels on the left and at the bottom take."""

STRIP = 0.21
"""Inches beside the map that a strip of secondary structure has; more make the map smaller."""

NUMBERS = 0.32
"""Inches that a second axis takes, with the numbers of a structure's authors."""

NUMBERS_BESIDE_LETTERS = 10
"""About how many numbers stand on an axis that has every letter too."""

BAR_HEIGHT = 2.1
"""Inches of the colour bar, beside the upper part of the map."""

GAMMA = 0.7
"""The contact head's scores, 0 to 1, are coloured by this power of them: those of a small model, 0.05 or 0.1,
can be told apart, and a colour means the same in every figure."""

PERCENTILE = 99.8
"""Percentile at which the scale of scores ends; they have no natural end."""


def contact_map(
    contacts: Contacts,
    structure: GivenStructure | None = None,
    *,
    path: str | Path | None = None,
    residues: Any = None,
    mark: Any = None,
    zoom: Any = None,
    domains: Any = None,
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
    residues : str, int or list, optional
        Cover all pairs but those of these residues, such as ``"59,88-92"``.
    mark : str, int or list, optional
        Draw lines at residues, such as ``"H59,H88"``.
    zoom : str or (int, int), optional
        Show this stretch only, such as ``"50-120"``; the strongest pairs are those of the whole map.
    domains : str, path, dict or table, optional
        Strips along the axes, such as ``"kinase:10-120,SH2:130-200"``. All of these number residues
        from 1 in the sequence; see :func:`esmkit.plots.annotations.annotations_of`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If the structure is that of another protein.
    OptionError, UnknownIdError
        If the extension is another, or an annotation does not fit the protein.

    See Also
    --------
    precision_by_rank : How many of the first pairs are right.
    reliability_diagram : Whether probabilities mean what they say.

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
    of = annotations_of(
        contacts.id,
        contacts.sequence,
        residues=residues,
        mark=mark,
        zoom=zoom,
        domains=domains,
        structure=structure,
    )
    compared = None
    if structure is not None and of.numbering is not None:
        compared = compare(contacts, structure, of.numbering)
    over, beside = Tracks(of, "x"), Tracks(of, "y")
    own = NUMBERS * of.numbers_differ
    side = SIDE - own - max(0, beside.depth - STRIP)
    top = TITLE_HEIGHT + own + over.depth
    labels = replace(of, numbering=None)  # helix and strand are in the legends on the right
    with house_style():
        figure = new(
            *(PAGE_WIDTH, top + side + BOTTOM + tracks.legend_height(labels)),
            *(title(contacts, of), subtitle(contacts, structure, of)),
        )
        axes = panel(figure, LEFT, top, side, side)
        image = draw_map(axes, contacts, compared, of)
        draw_annotations(
            *(figure, axes, of),
            left=LEFT,
            top=top,
            side=side,
            away=0.04,
            beside_letters=NUMBERS_BESIDE_LETTERS,
        )
        axes.set(xlabel="residue", ylabel="residue")
        tracks.draw_legend(figure, labels, LEFT)
        right = LEFT + side + beside.depth + own + 0.12
        add_bar(panel(figure, right, top, 0.1, BAR_HEIGHT), image, contacts.method)
        unknown = bool(np.ma.is_masked(image.get_array()))
        add_legends(figure, right, top + BAR_HEIGHT + 0.25, compared, of, unknown=unknown)
        return finish(figure, path)


def title(contacts: Contacts, of: Annotations) -> str:
    """Return whose contacts they are, which residues are shown, and what predicted them."""
    count = len(contacts)
    residues = f"{count} residue{'s' * (count != 1)}"
    if of.zoomed:
        residues = f"residues {of.first} to {of.last} of {count}"
    parts = [contacts.id, "predicted contacts", residues, contacts.source]
    if contacts.checkpoint not in contacts.source:
        parts += [contacts.checkpoint]
    return " · ".join(part for part in parts if part)


def subtitle(contacts: Contacts, structure: "Structure | None", of: Annotations) -> str:
    """Return what the halves are, and how good the prediction is."""
    if structure is None or of.numbering is None:
        parts = ["both halves show the prediction"]
    else:
        scores = contacts.score(structure)["P@L"]
        of_ranges = ", ".join(
            f"{name} {'n/a' if np.isnan(value) else f'{value:.2f}'}"
            for name, value in scores.items()
        )
        parts = [f"below the diagonal: true contacts of {structure.id}"]
        if (shared := of.numbering.aligned) < len(contacts):
            parts[0] += f" ({shared} of {len(contacts)} residues)"
        parts.append(f"P@L {of_ranges}")
        if structure.min_plddt is not None:
            parts.append(f"residues of pLDDT below {structure.min_plddt:g} not counted")
    if of.asked:
        parts.append(of.links_only.replace("links from or to", "pairs of"))
    if contacts.windows > 1:
        windows = f"read in {contacts.windows} windows"
        if not of.zoomed or np.isnan(of.crop(contacts.probability)).any():
            windows += ", grey: pairs never in one window"
        parts.append(windows)
    return " · ".join(parts)


def draw_map(
    axes: Axes, contacts: Contacts, compared: Compared | None, of: Annotations
) -> AxesImage:
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
    image = matrix.draw(axes, of.crop(shown), norm, int(SIDE * SAVED_DPI), first=of.first)
    along = np.arange(len(values)) if compared is None else compared.numbering.along_structure
    start = np.searchsorted(along, along - MIN_SEPARATION, side="right") + 0.5
    stop = np.searchsorted(along, along + MIN_SEPARATION, side="left") + 0.5
    edges = np.arange(len(values) + 1) + 0.5
    limits = axes.get_xlim(), axes.get_ylim()
    axes.stairs(stop, edges, baseline=start, fill=True, color=BAND, zorder=1.5)
    axes.plot([0.5, edges[-1]], [0.5, edges[-1]], color="0.6", lw=0.5, zorder=1.6)
    axes.set(xlim=limits[0], ylim=limits[1])
    if compared is not None:
        draw_marks(axes, compared, of, SIDE)
    return image


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
