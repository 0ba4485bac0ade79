"""What a figure of a protein shows besides its numbers: marks, a stretch, domains, a structure.

Given as people write them, held against the protein, and said in titles. Nothing here draws.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.sequences.domains import Domain, Domains, check_domains, parse_domains
from esmkit.sequences.sites import Sites, Span, parse_sites, parse_stretch
from esmkit.structure.given import GivenStructure, structure_of
from esmkit.structure.numbering import Numbering, numbering_of

__all__ = ["Annotations", "GivenAnnotations", "annotations_of"]

SHOWN_SITES = 6
"""Sites that a title lists; of more it gives the number."""


class GivenAnnotations(TypedDict, total=False):
    """Annotations as they are given: see :func:`annotations_of`."""

    residues: Any
    mark: Any
    zoom: Any
    domains: Any
    structure: GivenStructure | None


@dataclass(frozen=True)
class Annotations:
    """Annotations of one protein of R residues, all numbers counted from 1.

    Attributes
    ----------
    first, last : int
        The residues that are shown.
    sequence : str
        R residues.
    selected : tuple of int
        The residues that links lead from or to; empty for all.
    asked, marks : tuple of Span
        The same as they were given, and those that are marked.
    domains : tuple of Domain
    secondary : str
        R letters of three states, ``.`` where not known; empty without a structure.
    plddt : tuple of float
        R numbers of 0 to 100, NaN where not known; empty without a predicted structure.
    numbering : Numbering, optional
        The structure's own numbers.
    """

    first: int
    last: int
    sequence: str = field(repr=False)
    selected: tuple[int, ...] = ()
    asked: tuple[Span, ...] = ()
    marks: tuple[Span, ...] = ()
    domains: tuple[Domain, ...] = ()
    secondary: str = ""
    plddt: tuple[float, ...] = field(default=(), compare=False)
    numbering: Numbering | None = field(default=None, compare=False)

    @property
    def zoomed(self) -> bool:
        """Whether only a stretch is shown."""
        return self.last - self.first + 1 < len(self.sequence)

    @property
    def shown(self) -> slice:
        """The residues that are shown, as indices from 0."""
        return slice(self.first - 1, self.last)

    @property
    def stretch(self) -> str:
        """What a title says of a stretch, with the separator before it; empty for all residues."""
        return f" · residues {self.first} to {self.last}" if self.zoomed else ""

    @property
    def links_only(self) -> str:
        """What a subtitle says of residues that were asked for; empty without."""
        return f"only links from or to {_listed(self.asked)}" if self.asked else ""

    @property
    def numbers_differ(self) -> bool:
        """Whether the structure has other numbers for its residues."""
        return self.numbering is not None and self.numbering.differs

    @property
    def visible_marks(self) -> tuple[Span, ...]:
        """Marks in the stretch that is shown, cut at its ends."""
        return tuple(
            span._replace(start=max(span.start, self.first), stop=min(span.stop, self.last))
            for span in self.marks
            if span.start <= self.last and span.stop >= self.first
        )

    @property
    def visible_domains(self) -> tuple[Domain, ...]:
        """Domains that reach into the stretch that is shown, whole."""
        return tuple(d for d in self.domains if d.start <= self.last and d.end >= self.first)

    def lanes(self) -> list[list[Domain]]:
        """Return the visible domains in as few lanes as hold them without overlap."""
        lanes: list[list[Domain]] = []
        for domain in self.visible_domains:
            for lane in lanes:
                if lane[-1].end < domain.start:
                    lane.append(domain)
                    break
            else:
                lanes.append([domain])
        return lanes

    def crop(self, square: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the part of a map (R, R) that is shown."""
        return square[self.shown, self.shown] if self.zoomed else square

    def touched(self) -> NDArray[np.bool_]:
        """Return which of the pairs shown lead from or to a residue that was asked for."""
        count = self.last - self.first + 1
        there = np.zeros(count, bool)
        there[[n - self.first for n in self.selected if self.first <= n <= self.last]] = True
        return there[:, None] | there


def label_of(span: Span) -> str:
    """Return how a figure calls a mark: ``H59``, or ``88-92``."""
    return f"{span.first}{span.start}" if span.start == span.stop else f"{span.start}-{span.stop}"


def _listed(spans: Sequence[Span]) -> str:
    if len(spans) > SHOWN_SITES:
        return f"{len(spans)} sites"
    return ", ".join(label_of(span) for span in spans)


def annotations_of(
    name: str,
    sequence: str,
    *,
    residues: Any = None,
    mark: Any = None,
    zoom: Any = None,
    domains: Any = None,
    structure: GivenStructure | None = None,
) -> Annotations:
    """Read annotations and hold them against a protein.

    Parameters
    ----------
    name : str
        ID of the protein, or its header.
    sequence : str
        R residues.
    residues, mark : str, int, list or dict, optional
        Residues that links must lead from or to, and residues to mark; see
        :mod:`esmkit.sequences.sites`.
    zoom : str or (int, int), optional
        The only stretch to show: ``50-120``.
    domains : str, path, dict or table, optional
        See :func:`esmkit.sequences.domains.parse_domains`.
    structure : Structure, or path FILE or FILE:CHAIN, optional
        Structure of the protein: its secondary structure, and its own residue numbers.

    Raises
    ------
    OptionError, UnknownIdError, InputError
        If one of them does not fit the protein.

    Examples
    --------
    >>> found = annotations_of("p", "MHKAA", mark="H2", zoom="2-4")
    >>> found.stretch, [label_of(span) for span in found.marks]
    (' · residues 2 to 4', ['H2'])
    """

    def of_this(sites: Sites | None) -> tuple[Span, ...]:
        return () if sites is None else sites.of_each([name])[name].spans(sequence, name)

    stretch = of_this(_sites(zoom, "zoom"))
    asked = of_this(_sites(residues, "residues"))
    first, last = (stretch[0].start, stretch[0].stop) if stretch else (1, len(sequence))
    if asked and all(span.stop < first or span.start > last for span in asked):
        raise OptionError(
            f"none of `residues` is among residues {first} to {last} of `zoom`; widen the stretch, "
            "or leave one of the two out"
        )
    found: tuple[Domain, ...] = ()
    if domains is not None:
        given = domains if isinstance(domains, Domains) else parse_domains(domains)
        found = given.of_each([name]).get(name, ())
        check_domains(found, len(sequence), name)
    secondary, numbering, plddt = "", None, ()
    if structure is not None:
        structure = structure_of(structure)
        numbering = numbering_of(name, sequence, structure)
        letters = structure.secondary_structure_3
        places = numbering.places.tolist()
        secondary = "".join("." if j < 0 else letters[j] for j in places)
        if structure.plddt is not None:
            of_residues = structure.plddt.tolist()
            plddt = tuple(math.nan if j < 0 else of_residues[j] for j in places)
    return Annotations(
        *(first, last, sequence),
        selected=tuple(n for span in asked for n in range(span.start, span.stop + 1)),
        asked=asked,
        marks=of_this(_sites(mark, "mark")),
        domains=found,
        secondary=secondary,
        plddt=plddt,
        numbering=numbering,
    )


def _sites(given: Any, option: str) -> Sites | None:
    if given is None or isinstance(given, Sites):
        return given
    return parse_stretch(given, option) if option == "zoom" else parse_sites(given, option)
