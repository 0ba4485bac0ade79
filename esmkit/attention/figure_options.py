"""What can be asked of the figures of an attention file, checked before anything is computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from esmkit.arguments import items_of, what_is
from esmkit.encoder.names import head_name, parse_head
from esmkit.errors import OptionError
from esmkit.files.names import FIGURE_FORMATS
from esmkit.sequences.domains import Domains, parse_domains
from esmkit.sequences.sites import Sites, parse_sites, parse_stretch
from esmkit.structure.alignment import protein_of
from esmkit.structure.given import structure_of
from esmkit.structure.record import Structure

if TYPE_CHECKING:
    from esmkit.plots.annotations import GivenAnnotations
    from esmkit.sequences.proteins import Protein

__all__ = ["FigureOptions"]


@dataclass(frozen=True)
class FigureOptions:
    """Figures of proteins, as they are asked for.

    Attributes
    ----------
    heads : str, pair of int, or sequence of these, optional
        Heads to draw large; they become names.
    kind : {'png', 'svg', 'pdf'}
    residues, mark, zoom : optional
        Residues that links lead from or to, residues to mark, and the stretch to show; see
        :mod:`esmkit.sequences.sites`. Of several proteins each is named: ``P69905:59``.
    domains : optional
        See :func:`esmkit.sequences.domains.parse_domains`.
    structure : Structure or path, or several, optional
        Each of one of the proteins.

    Raises
    ------
    OptionError, InputError
        If one of them is not what it can be.
    """

    heads: Any = None
    kind: str = "png"
    residues: Any = None
    mark: Any = None
    zoom: Any = None
    domains: Any = None
    structure: Any = None

    def __post_init__(self) -> None:
        heads = self.heads
        if heads is not None:
            given = [heads] if isinstance(heads, str) else items_of(heads)
            if given is not None and len(given) == 2 and not isinstance(given[0], str | tuple):
                given = [heads]  # one pair of numbers
            found = [head_name(*parse_head(one)) for one in (given or [heads])]
            object.__setattr__(self, "heads", tuple(dict.fromkeys(found)))
        if not isinstance(self.kind, str) or self.kind not in FIGURE_FORMATS:
            raise OptionError(f"`kind` is {', '.join(FIGURE_FORMATS)}, not {what_is(self.kind)}")
        for option, parse in (
            ("residues", parse_sites),
            ("mark", parse_sites),
            ("zoom", parse_stretch),
        ):
            given = getattr(self, option)
            if given is not None and not isinstance(given, Sites):
                object.__setattr__(self, option, parse(given, option))
        if self.domains is not None and not isinstance(self.domains, Domains):
            object.__setattr__(self, "domains", parse_domains(self.domains))
        several = self.structure if isinstance(self.structure, list | tuple) else [self.structure]
        read = [structure_of(one) for one in several if one is not None]
        object.__setattr__(self, "structure", tuple(read))

    @property
    def annotated(self) -> bool:
        """Whether the figures show more than the maps of whole proteins."""
        return bool(self.structure) or any(
            given is not None for given in (self.residues, self.mark, self.zoom, self.domains)
        )

    def given(self) -> dict[str, Any]:
        """Return the options by name, as :func:`esmkit.attention.attention_figures` takes them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def check_heads(self, names: Sequence[str], where: str) -> None:
        """Refuse heads that are to be drawn large and are not there.

        Parameters
        ----------
        names : sequence of str
            The heads that there are.
        where : str
            Where, for the message.
        """
        several = f"{len(names)} head(s), {names[0]} to {names[-1]}; draw one of these"
        for name in self.heads or ():
            if name not in names:
                there = several if len(names) > 1 else f"only {names[0]}; draw that one"
                raise OptionError(f"head {name} is not {where} {there}")

    def of_each(self, proteins: "Sequence[Protein]") -> "dict[str, GivenAnnotations]":
        """Return the annotations of each protein by its ID, once all have been checked.

        Raises
        ------
        OptionError, UnknownIdError, InputError
            If one of them does not fit the proteins.
        """
        from esmkit.plots.annotations import annotations_of

        names = [protein.id for protein in proteins]
        found: dict[str, Any] = {name: {} for name in names}
        for option, owner, value in self._by_owner(names, proteins):
            found[owner][option] = value
        for protein in proteins:
            annotations_of(protein.id, protein.sequence, **found[protein.id])
        return found

    def _by_owner(
        self, names: list[str], proteins: "Sequence[Protein]"
    ) -> Iterator[tuple[str, str, Any]]:
        for option in ("residues", "mark", "zoom"):
            sites: Sites | None = getattr(self, option)
            if sites is not None:
                for name, of_one in sites.of_each(names).items():
                    yield option, name, of_one
        if self.domains is not None:
            for name, domains in self.domains.of_each(names).items():
                yield "domains", name, Domains(tuple(("", domain) for domain in domains))
        taken: dict[str, Structure] = {}
        for structure in self.structure:
            name = protein_of(structure, proteins)
            if name in taken:
                raise OptionError(
                    f"structures {taken[name].id!r} and {structure.id!r} are both of {name!r}; "
                    "give one `structure` for each protein"
                )
            taken[name] = structure
            yield "structure", name, structure
