"""Predicted contacts as links on a structure, for molecular viewers."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from esmkit.files.views import ViewFiles, write_view
from esmkit.sequences.proteins import Protein
from esmkit.structure import Structure
from esmkit.structure.views import View, lacking, made_by, strongest

if TYPE_CHECKING:
    from esmkit.plots.protocols import Contacts

__all__ = ["contacts_on_structures", "contacts_view"]

MIN_SEPARATION = 6
"""Closer residues touch because they are neighbours; contacts begin here (CASP)."""


def contacts_view(
    found: "Contacts", structure: Structure, count: int | None, min_separation: int
) -> View:
    """Return the likeliest contacts of a map as links on a structure.

    Parameters
    ----------
    found : ContactMap
    structure : Structure
        Of the same protein.
    count : int, optional
        How many pairs; by default L, the number of resolved residues: those that
        :func:`esmkit.plots.contact_map` marks.
    min_separation : int
        Least distance along the structure's sequence.

    Raises
    ------
    InputError
        If the structure is that of another protein.
    """
    values, _, resolved = found.onto(structure)
    places = np.arange(len(resolved))
    counted = np.abs(np.subtract.outer(places, places)) >= min_separation
    counted &= resolved[:, None] & resolved
    what = "probability" if found.method == "regression" else "score"
    return View(
        structure,
        "contacts",
        what,
        (
            f"Predicted contacts of {found.id} on {structure.id}: the pairs of largest {what} at "
            f"least {min_separation} residues apart.",
            made_by(found.source, found.checkpoint),
        ),
        lacking(found.id, found.sequence, structure),
        tuple(strongest(values, counted, int(resolved.sum()) if count is None else count)),
    )


def contacts_on_structures(
    maps: "Iterable[Contacts]",
    pairs: Sequence[tuple[Protein, Structure]],
    files: ViewFiles,
) -> list[str]:
    """Write the contacts of proteins on their structures, and say what was written.

    Parameters
    ----------
    maps : iterable of ContactMap
    pairs : sequence of (Protein, Structure)
        Structures, each with its protein.
    files : ViewFiles

    Raises
    ------
    InputError, OutputError
        See :func:`esmkit.files.views.write_view`.
    """
    said: dict[int, str] = {}
    paths = files.paths([structure for _, structure in pairs])
    for found in maps:
        for number, (protein, structure) in enumerate(pairs):
            if protein.id == found.id:
                view = contacts_view(found, structure, files.count, MIN_SEPARATION)
                said[number] = write_view(view, paths[number])
    return [said[number] for number in sorted(said)]
