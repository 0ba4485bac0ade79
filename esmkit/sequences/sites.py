"""Residues of a protein as people name them: ``59``, ``88-92``, ``H59``, ``P69905:59``.

One way for every command and function that takes residues, marks or a stretch. Numbers count from 1 in
the sequence as it was given, tags included, whatever a structure calls these residues.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from esmkit.arguments import items_of, what_is, whole_number
from esmkit.errors import OptionError
from esmkit.sequences.ids import find
from esmkit.text import shorten, visible

__all__ = ["GivenSites", "Sites", "Span", "parse_sites", "parse_stretch", "residue_numbers"]

GivenSites: TypeAlias = (
    str | int | Iterable[str | int] | Mapping[str, str | int | Iterable[str | int]]
)
"""What may be given for residues: ``"59,88-92"``, ``59``, a list of these, or a dict of them by ID."""

_SITE = re.compile(
    r"(?P<first>[A-Z]|[A-Z]{3})?(?P<start>[0-9]{1,9})"
    r"(?:\s*[-–]\s*(?P<last>[A-Z]|[A-Z]{3})?(?P<stop>[0-9]{1,9}))?",  # noqa: RUF001 - people paste it
    re.IGNORECASE,
)
_MUTATION = re.compile(r"([A-Z]|[A-Z]{3})([0-9]{1,9})([A-Z]|[A-Z]{3}|\*|=)", re.IGNORECASE)

_LEAST_STRETCH = 2
"""Residues of the shortest stretch that a figure can show: links need two."""


class Span(NamedTuple):
    """Residues from ``start`` to ``stop``, both counted from 1 and included; letters where given."""

    start: int
    stop: int
    first: str = ""
    last: str = ""

    def __str__(self) -> str:
        begin = f"{self.first}{self.start}"
        return begin if self.stop == self.start else f"{begin}-{self.last}{self.stop}"


@dataclass(frozen=True)
class Sites:
    """Residues that were asked for, and of which protein.

    Attributes
    ----------
    option : str
        Name of the argument they were given to, for errors.
    parts : tuple of (str, Span)
        ID as it was given, empty for whichever protein there is, and residues; in the order given.
    """

    option: str
    parts: tuple[tuple[str, Span], ...]

    def of_each(self, names: Sequence[str]) -> dict[str, "Sites"]:
        """Return the sites of each protein that has some.

        Parameters
        ----------
        names : sequence of str
            IDs of all proteins, or their headers.

        Returns
        -------
        dict of Sites
            By name, as it stands in ``names``; the parts have no IDs any more.

        Raises
        ------
        OptionError
            If there are several proteins, and it is not said which is meant.
        UnknownIdError
            If there is no protein of an ID, or several may be meant.

        Examples
        --------
        >>> parse_sites("P69905:59,88-92").of_each(["sp|P69905|HBA_HUMAN", "P68871"])
        {'sp|P69905|HBA_HUMAN': Sites(59,88-92)}
        """
        meant: dict[str, str] = {}
        for owner in dict.fromkeys(owner for owner, _ in self.parts):
            if owner:
                meant[owner] = find(names, owner)
            elif len(names) == 1:
                meant[owner] = names[0]
            else:
                some = visible(shorten(names[0].split(maxsplit=1)[0], 30)) if names else "ID"
                raise OptionError(
                    f"`{self.option}` names residues of one protein, and there are {len(names):,}; "
                    f"say whose they are, such as {some}:{self.parts[0][1]}, or take one protein "
                    "with `ids`"
                )
        found: dict[str, list[tuple[str, Span]]] = {}
        for owner, span in self.parts:
            found.setdefault(meant[owner], []).append(("", span))
        return {name: _no_repeats(Sites(self.option, tuple(p))) for name, p in found.items()}

    def spans(self, sequence: str, name: str = "") -> tuple[Span, ...]:
        """Return the residues, with the letters that they have in a sequence, in their order.

        Parameters
        ----------
        sequence : str
            R residues.
        name : str
            What to call the protein in errors.

        Raises
        ------
        OptionError
            If the sequence has no such residue, or another letter there.

        Examples
        --------
        >>> [str(span) for span in parse_sites("H2,4-5").spans("MHKAA")]
        ['H2', 'A4-A5']
        """
        return tuple(sorted(self._placed(span, sequence, name) for _, span in self.parts))

    def _placed(self, span: Span, sequence: str, name: str) -> Span:
        whose = f" of {visible(name)!r}" if name else ""
        if span.stop > len(sequence):
            raise OptionError(
                f"there is no residue {span.stop}{whose}, as `{self.option}` has it: its residues "
                f"are 1 to {len(sequence):,}; count from the first residue of the sequence given"
            )
        ends = []
        for number, letter in ((span.start, span.first), (span.stop, span.last)):
            there = sequence[number - 1]
            if letter and letter != there:
                raise OptionError(
                    f"residue {number}{whose} is {there}, not {letter} as `{self.option}` has it"
                    f"{_nearest(sequence, letter, number)}; write {there}{number}, or count from "
                    "the first residue of the sequence given"
                )
            ends.append(there)
        return Span(span.start, span.stop, *ends)

    def numbers(self, sequence: str, name: str = "") -> tuple[int, ...]:
        """Return the numbers of the residues, counted from 1, ascending.

        Parameters and errors are those of :meth:`spans`.

        >>> parse_sites([3, "4-5"]).numbers("MHKAA")
        (3, 4, 5)
        """
        spans = self.spans(sequence, name)
        return tuple(n for span in spans for n in range(span.start, span.stop + 1))

    def __repr__(self) -> str:
        return f"Sites({','.join(f'{o}:{s}' if o else str(s) for o, s in self.parts)})"


def _nearest(sequence: str, letter: str, number: int) -> str:
    """Return where a letter is that was expected elsewhere: tags and start codons shift numbers."""
    places = [place for place, there in enumerate(sequence, 1) if there == letter]
    if not places:
        return f" (there is no {letter})"
    nearest = min(places, key=lambda place: abs(place - number))
    return f" (the nearest {letter} is {letter}{nearest})"


def parse_sites(given: GivenSites, option: str = "residues") -> Sites:
    """Read residues as they are given, before anything is known of the proteins.

    Parameters
    ----------
    given : str, int, list of these, or dict from ID to these
        Numbers from 1 (``59``), ranges with both ends (``88-92``), letters with numbers (``H59``,
        ``His59``) to be held against the sequence, joined by commas. An ID in front, ``P69905:59``,
        holds for what follows it up to the next.
    option : str
        Name of the argument, for errors.

    Returns
    -------
    Sites

    Raises
    ------
    OptionError
        If it names no residue, something else, a range backwards, or a residue twice.

    Examples
    --------
    >>> parse_sites("59,H88-92"), parse_sites([59, range(88, 93)])
    (Sites(59,H88-92), Sites(59,88,89,90,91,92))
    >>> parse_sites({"P69905": "H59"})
    Sites(P69905:H59)
    """
    if isinstance(given, Mapping):
        parts = []
        for owner, of_one in given.items():
            if not isinstance(owner, str) or not owner:
                raise OptionError(
                    f"the keys of `{option}` are IDs of proteins, not {what_is(owner)}; give a dict "
                    'such as {"P69905": "59,88-92"}'
                )
            parts += [(owner, span) for span in _spans(of_one, option)]
    else:
        parts = _owned(_pieces(given, option), option)
    if not parts:
        raise OptionError(
            f"`{option}` names no residue; give some, such as 59,88-92, or leave it out"
        )
    return _no_repeats(Sites(option, tuple(parts)))


def parse_stretch(given: Any, option: str = "zoom") -> Sites:
    """Read one stretch of residues for each protein, such as ``50-120`` or ``(50, 120)``.

    Parameters and errors are those of :func:`parse_sites`; a stretch of fewer than two residues, or
    several of one protein, are errors too.

    Examples
    --------
    >>> parse_stretch("50-120"), parse_stretch((50, 120))
    (Sites(50-120), Sites(50-120))
    """
    if isinstance(given, Mapping):
        given = {owner: _as_range(of_one) for owner, of_one in given.items()}
    sites = parse_sites(_as_range(given), option)
    owners = [owner for owner, _ in sites.parts]
    if len(set(owners)) < len(owners) or any(
        span.stop - span.start + 1 < _LEAST_STRETCH for _, span in sites.parts
    ):
        raise OptionError(
            f"`{option}` is one stretch of at least {_LEAST_STRETCH} residues, its first and its "
            "last; write it as 50-120"
        )
    return sites


def residue_numbers(
    given: GivenSites, sequence: str, *, name: str = "", option: str = "residues"
) -> tuple[int, ...]:
    """Return the numbers of residues of one protein, counted from 1, ascending.

    Parameters
    ----------
    given : str, int, list or dict
        As :func:`parse_sites` takes them; an ID in them must be that of this protein.
    sequence : str
        R residues.
    name : str
        ID of the protein.
    option : str
        Name of the argument, for errors.

    Raises
    ------
    OptionError, UnknownIdError
        As those of :func:`parse_sites`, :meth:`Sites.of_each` and :meth:`Sites.spans`.

    Examples
    --------
    >>> residue_numbers("H2,4-5", "MHKAA")
    (2, 4, 5)
    """
    return parse_sites(given, option).of_each([name])[name].numbers(sequence, name)


def _as_range(given: Any) -> Any:
    """Return a pair of numbers as the range that it means; anything else as it is."""
    items = items_of(given) or []
    ends = [whole_number(item) for item in items]
    return f"{ends[0]}-{ends[1]}" if len(ends) == 2 and None not in ends else given


def _pieces(given: Any, option: str) -> list[str]:
    """Return what is given as texts, each of one site."""
    if isinstance(given, str):
        return [piece.strip() for piece in re.split(r"[,;]", given) if piece.strip()]
    number = whole_number(given)
    if number is not None:
        return [str(number)]
    items = items_of(given)
    if items is None:
        raise _not_a_site(given, option)
    return [piece for item in items for piece in _pieces(item, option)]


def _spans(given: Any, option: str) -> list[Span]:
    return [_span(piece, option) for piece in _pieces(given, option)]


def _owned(pieces: Sequence[str], option: str) -> list[tuple[str, Span]]:
    """Return sites with the IDs in front of them, each of which holds up to the next."""
    owner, found = "", []
    for piece in pieces:
        before, colon, site = piece.rpartition(":")
        if colon:
            owner = before.strip()
            if not owner:
                raise _not_a_site(piece, option)
            if owner.isdigit():  # 88:92, as other programs write a range
                raise OptionError(
                    f"`{option}` takes a range as 88-92, and an ID before a colon, so {piece!r} "
                    f"would be residue {site} of a protein {owner!r}; write {owner}-{site}, or give "
                    "that ID as the key of a dict in Python"
                )
        found.append((owner, _span(site.strip(), option)))
    return found


def _span(piece: str, option: str) -> Span:
    found = _SITE.fullmatch(piece)
    if found is None:
        raise _not_a_site(piece, option)
    start = int(found["start"])
    stop = start if found["stop"] is None else int(found["stop"])
    first = _letter(found["first"], piece, option)
    last = first if found["stop"] is None else _letter(found["last"], piece, option)
    if not start or not stop:
        raise OptionError(
            f"there is no residue 0, as `{option}` has it; count from 1, the first residue of the "
            "sequence given"
        )
    if stop < start:
        raise OptionError(
            f"the range {piece} of `{option}` runs backwards; write {Span(stop, start, last, first)}"
        )
    return Span(start, stop, first, last)


def _letter(code: str | None, piece: str, option: str) -> str:
    """Return the letter of an amino acid that is written with one or three."""
    if code is None or len(code) == 1:
        return (code or "").upper()
    from Bio.Data.IUPACData import protein_letters_3to1_extended

    letter = protein_letters_3to1_extended.get(code.capitalize())
    if letter is None:
        raise _not_a_site(piece, option)
    return letter


def _no_repeats(sites: Sites) -> Sites:
    for owner in {owner for owner, _ in sites.parts}:
        spans = sorted(span for of, span in sites.parts if of == owner)
        for one, other in pairwise(spans):
            if other.start <= one.stop:
                raise OptionError(
                    f"`{sites.option}` names residue {other.start} twice, as {one} and as {other}; "
                    "name it once"
                )
    return sites


def _not_a_site(given: Any, option: str) -> OptionError:
    mutation = _MUTATION.fullmatch(given) if isinstance(given, str) else None
    if mutation:
        return OptionError(
            f"`{option}` takes residues, and {given!r} is a mutation; name its residue, "
            f"{mutation[1]}{mutation[2]}"
        )
    number = whole_number(given)
    text = what_is(given)
    if number is not None or (isinstance(given, str) and re.fullmatch(r"[-–][0-9]+", given)):  # noqa: RUF001
        text = str(given)
    return OptionError(
        f"`{option}` takes residues such as 59, 88-92 or H59, not {text}; count from 1, the first "
        "residue of the sequence given"
    )
