"""What is to be seen on a structure, and in which viewer."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from esmkit._version import __version__
from esmkit.structure.alignment import match
from esmkit.structure.record import CONTACT_CUTOFF, Structure
from esmkit.structure.views.atoms import Atom, FileAtoms, atoms_of

__all__ = ["APART", "TOUCHING", "Drawn", "Link", "View", "drawn", "lacking", "made_by", "strongest"]

TOUCHING, APART = "#0072B2", "#D55E00"
"""Okabe and Ito's blue and vermilion: the residues touch in the structure, or do not."""

THINNEST, THICKEST = 0.05, 0.3
"""Å, radius of a link without weight and of the strongest."""


class Link(NamedTuple):
    """Two residues, rows `one` and `other` of a structure from 0, and the `weight` of their link.

    Examples
    --------
    >>> Link(3, 64, 0.97).weight
    0.97
    """

    one: int
    other: int
    weight: float


@dataclass(frozen=True)
class View:
    """Links that are to be seen on a structure.

    Attributes
    ----------
    structure : Structure
    name : str
        A word for them, which names of objects begin with: ``contacts``, ``L5H4``.
    what : str
        What a weight is: ``probability``, ``attention``.
    about : tuple of str
        Sentences on what is shown and which weights made it.
    lacking : tuple of str
        Sentences on what could not be shown.
    links : tuple of Link
        Strongest first.

    Examples
    --------
    >>> from esmkit.data import demo_structure
    >>> links = (Link(3, 64, 0.97), Link(0, 40, 0.4))
    >>> view = View(demo_structure(), "contacts", "probability", ("An example.",), (), links)
    >>> view.touching
    [True, False]
    >>> view.sentences()[-1]
    'The thicker a link, the larger its probability.'
    """

    structure: Structure
    name: str
    what: str
    about: tuple[str, ...]
    lacking: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def touching(self) -> list[bool]:
        """For each link, whether its residues touch: Cβ closer than 8 Å, Cα for glycine."""
        contacts = self.structure.contacts()
        return [bool(contacts[link.one, link.other]) for link in self.links]

    def sentences(self) -> list[str]:
        """Return what the head of a file says."""
        right = sum(self.touching)
        many = "link" if len(self.links) == 1 else "links"
        return [
            *self.about,
            *self.lacking,
            f"{len(self.links):,} {many} on {self.structure.id}: {right:,} between residues that "
            f"touch in it (C-beta closer than {CONTACT_CUTOFF:g} Angstrom, C-alpha for glycine), in "
            f"blue, and {len(self.links) - right:,} between others, in vermilion.",
            f"The thicker a link, the larger its {self.what}.",
        ]


class Drawn(NamedTuple):
    """A link with the atoms it ends at; ``label`` is such as ``F4_S65``, the radius is in Å."""

    one: Atom
    other: Atom
    label: str
    weight: float
    radius: float
    touching: bool

    @property
    def colour(self) -> str:
        """``#rrggbb``."""
        return TOUCHING if self.touching else APART

    @property
    def distance(self) -> float:
        """Å between the atoms."""
        return float(np.linalg.norm(np.subtract(self.one.xyz, self.other.xyz)))


def drawn(view: View) -> tuple[FileAtoms, list[Drawn]]:
    """Return the file of a structure, and its links as they are drawn."""
    structure = view.structure
    rows = sorted({row for link in view.links for row in link[:2]})
    file = atoms_of(structure, rows)
    names = {row: f"{structure.sequence[row]}{file.atoms[row].residue}" for row in rows}
    strongest = max((link.weight for link in view.links), default=1.0)
    links = []
    for link, touching in zip(view.links, view.touching, strict=True):
        share = max(0.0, link.weight / strongest) if strongest > 0 else 0.0
        links.append(
            Drawn(
                file.atoms[link.one],
                file.atoms[link.other],
                f"{names[link.one]}_{names[link.other]}",
                link.weight,
                round(THINNEST + (THICKEST - THINNEST) * share, 3),
                touching,
            )
        )
    return file, links


def strongest(values: NDArray[np.floating], far: NDArray[np.bool_], count: int) -> list[Link]:
    """Return the strongest pairs i < j of a symmetric map.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (S, S)
        NaN for pairs that have none; those are left out.
    far : numpy.ndarray of bool, shape (S, S)
        Pairs that count.
    count : int
        Most links.

    Returns
    -------
    list of Link
        Strongest first, ties in the order of i, then j.

    Examples
    --------
    >>> values = np.array([[0, 0.5, 0.9], [0.5, 0, np.nan], [0.9, np.nan, 0]])
    >>> strongest(values, np.ones((3, 3), bool), 5)
    [Link(one=0, other=2, weight=0.9), Link(one=0, other=1, weight=0.5)]
    """
    i, j = np.triu_indices(len(values), 1)
    counted = far[i, j] & ~np.isnan(values[i, j])
    i, j = i[counted], j[counted]
    order = np.argsort(-values[i, j], kind="stable")[:count]
    return [
        Link(int(a), int(b), float(values[a, b])) for a, b in zip(i[order], j[order], strict=True)
    ]


def made_by(source: str, checkpoint: str) -> str:
    """Return a sentence on what made links: a source, the weights (`checkpoint`), the program.

    Examples
    --------
    >>> made_by("head L5H4", "facebook/esm2_t6_8M_UR50D").partition(" with ")[0]
    'Made by head L5H4, facebook/esm2_t6_8M_UR50D'
    """
    of = f"{source}, {checkpoint}" if checkpoint and checkpoint not in source else source
    return f"Made by {of or 'hand'} with esmkit {__version__}."


def lacking(name: str, sequence: str, structure: Structure) -> tuple[str, ...]:
    """Return a sentence on how many residues of a sequence cannot be shown, if there are any.

    The protein is called `name`; `structure` is what it is drawn on.

    Examples
    --------
    >>> from esmkit.data import demo_structure
    >>> lacking("mine", "MK" + demo_structure().sequence, demo_structure())
    ('2 of the 78 residues of mine are not in the structure or not resolved in it, ...)
    """
    matched = match(name, sequence, structure)
    left = len(sequence) - int(structure.resolved[matched.of_structure].sum())
    if not left:
        return ()
    return (
        f"{left:,} of the {len(sequence):,} residues of {name} are not in the structure or not "
        "resolved in it, and their pairs are left out.",
    )
