"""Mutations of proteins as people write them: ``A24G``, ``p.Ala24Gly``, ``K7_L9del``, and joined.

Read here before anything is known of the protein; :mod:`esmkit.score.variants.placing` holds them
against its sequence. The forms are those of the field's tables (``A24G:K7R``) and the part of HGVS
that is about proteins (https://hgvs-nomenclature.org): substitutions, deletions, insertions,
duplications and what replaces several residues.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from esmkit.errors import InputError
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.text import shorten, visible

__all__ = ["Edit", "Variant", "parse_variant"]

Kind = Literal["substitution", "deletion", "insertion", "duplication", "delins"]

_CODE = r"[A-Za-z]{3}|[A-Za-z]"
_SUBSTITUTION = re.compile(rf"(?P<old>{_CODE})(?P<number>[0-9]{{1,9}})(?P<new>{_CODE}|\*|=)")
_RANGE = re.compile(
    rf"(?P<first>{_CODE})(?P<start>[0-9]{{1,9}})(?:_(?P<last>{_CODE})(?P<stop>[0-9]{{1,9}}))?"
    r"(?P<what>delins|del|ins|dup)(?P<new>[A-Za-z*]*)",
    re.IGNORECASE,
)
_CHANGE = (
    rf"(?:{_CODE})[0-9]+(?:_(?:{_CODE})[0-9]+)?"
    rf"(?:{_CODE}|\*|=|del|dup|(?:del)?ins[^|]*|(?:{_CODE}|\*)?(?:fs|ext)[^|]*)"
)
_REFERENCE = re.compile(
    rf"(?<![^\s:;,/+|\[])(?:(?!p\.|\(|(?:{_CHANGE})\|)[^\s:;,/+|\[]{{1,1000}}+(?:\||(?=:))){{1,9}}:(?=p\.)",
    re.IGNORECASE,
)
# It begins where a word does, else a long one is tried from each of its letters; and holds no sign
# that joins, else the variants before a second reference would count as part of that. `|` joins the
# parts of a UniProt header too, so of these none may be a change
_JOINED = re.compile(r"\s*[:;,/+|]\s*|\s+")
_TRIPLETS = re.compile(r"(?:[A-Z][a-z]{2})+")
_NUCLEIC = re.compile(r"(?:[^\s:]+:)?[cgnmr]\.", re.IGNORECASE)
_BARE_NUMBER = re.compile(rf"[0-9]+(?:{_CODE}|del.*|ins.*|dup)", re.IGNORECASE)
_PART = re.compile(rf"{_CODE}|[0-9]+|(?:{_CODE})[0-9]+")
_FRAMESHIFT = re.compile(r".*[0-9][A-Za-z]*(?:fs|ext)", re.IGNORECASE)

_WILD_TYPES = {"wt", "_wt", "wildtype", "wild-type", "wild_type", "=", "(=)", "_sy", "reference"}

_EXAMPLES = "A24G, A24G:K7R, p.Ala24Gly, K7_L9del or K7_L8insGS"


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a protein, its residues counted as whoever wrote it counts them.

    Attributes
    ----------
    kind : {'substitution', 'deletion', 'insertion', 'duplication', 'delins'}
    start, stop : int
        First and last residue that is changed; of an insertion the two between which it is.
    first, last : str
        Their letters.
    new : str
        What stands there afterwards: letters of the 20 amino acids, empty for a deletion and a
        duplication.
    """

    kind: Kind
    start: int
    stop: int
    first: str
    last: str
    new: str

    def __str__(self) -> str:
        if self.kind == "substitution":
            return f"{self.first}{self.start}{self.new}"
        what = {"deletion": "del", "insertion": "ins", "duplication": "dup"}.get(
            self.kind, "delins"
        )
        end = f"_{self.last}{self.stop}" if self.stop > self.start else ""
        return f"{self.first}{self.start}{end}{what}{self.new}"

    @property
    def letters(self) -> Iterator[tuple[int, str]]:
        """Numbers of residues, and the letters that the wild type has there."""
        yield self.start, self.first
        if self.stop > self.start:
            yield self.stop, self.last

    @property
    def span(self) -> tuple[float, float]:
        """What is changed, for telling two edits of one place: an insertion is between residues."""
        if self.kind in ("insertion", "duplication"):
            place = self.start + 0.5 if self.kind == "insertion" else self.stop + 0.5
            return place, place
        return self.start, self.stop

    def moved(self, by: int) -> "Edit":
        """Return the same edit with other numbers."""
        return Edit(self.kind, self.start + by, self.stop + by, self.first, self.last, self.new)

    def applied(self, sequence: str) -> str:
        """Return a sequence with this edit, whose numbers count from 1 in it."""
        if self.kind == "insertion":
            return sequence[: self.start] + self.new + sequence[self.start :]
        if self.kind == "duplication":
            return sequence[: self.stop] + sequence[self.start - 1 :]
        return sequence[: self.start - 1] + self.new + sequence[self.stop :]


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of a protein: one edit or several, in the order of the sequence.

    Attributes
    ----------
    edits : tuple of Edit

    Examples
    --------
    >>> variant = parse_variant("p.Leu9Pro:A4G")
    >>> str(variant), variant.applied("MKTAYIAKL")
    ('A4G:L9P', 'MKTGYIAKP')
    >>> variant.substitutions_only, str(variant.moved(23))
    (True, 'A27G:L32P')
    """

    edits: tuple[Edit, ...]

    def __str__(self) -> str:
        return ":".join(map(str, self.edits))

    @property
    def substitutions_only(self) -> bool:
        """Whether it has the length of the wild type, with other letters."""
        return all(edit.kind == "substitution" for edit in self.edits)

    def moved(self, by: int) -> "Variant":
        """Return the same variant with other numbers.

        Parameters
        ----------
        by : int
            What is added to each.

        Returns
        -------
        Variant
        """
        return Variant(tuple(edit.moved(by) for edit in self.edits)) if by else self

    def applied(self, sequence: str) -> str:
        """Return the variant's own sequence, given the wild type with residues counted from 1."""
        for edit in reversed(self.edits):
            sequence = edit.applied(sequence)
        return sequence


def parse_variant(text: str) -> Variant:
    """Read one variant.

    Parameters
    ----------
    text : str
        One change or several of the same protein, joined by ``:``; also by ``;``, ``,``, ``/``,
        ``+``, ``|``, blanks, and substitutions by ``_``. Letters of any case. In HGVS ``p.`` and
        brackets may be there, and a reference before them, which is not looked at.

    Returns
    -------
    Variant

    Raises
    ------
    InputError
        If it is none, changes nothing, makes a stop codon, has a letter that is none of the 20
        amino acids, or changes a residue twice.

    Examples
    --------
    >>> str(parse_variant("A24G")), str(parse_variant("NP_000468.1:p.(Ala24Gly)"))
    ('A24G', 'A24G')
    >>> str(parse_variant("p.[Lys7_Leu9del;Ala24Gly]")), str(parse_variant("l3p_k7r"))
    ('K7_L9del:A24G', 'L3P:K7R')
    """
    given = text.strip()
    if not given:
        raise InputError(f"there is no mutation; write one, such as {_EXAMPLES}")
    bare = given.casefold().removeprefix("p.")
    if bare in _WILD_TYPES:
        raise InputError(
            f"{_shown(given)} is the wild type, whose score is 0 by definition; leave it out"
        )
    if _NUCLEIC.match(given):
        raise InputError(
            f"{_shown(given)} is a change of a gene; give that of the protein, such as p.Ala24Gly"
        )
    edits = [edit for piece in _pieces(given) for edit in _edits(piece, given)]
    edits.sort(key=lambda edit: edit.span)
    for one, other in pairwise(edits):
        if other.span[0] <= one.span[1]:
            place = f"residue {other.start}"
            if one == other:
                raise InputError(f"{_shown(given)} has {one} twice; write it once")
            raise InputError(
                f"{_shown(given)} changes {place} twice, {one} and {other}; write one of them, or "
                "two variants"
            )
    return Variant(tuple(edits))


def _pieces(given: str) -> list[str]:
    """Return what is joined, each without the signs of HGVS around it."""
    text = _REFERENCE.sub("", given)
    if re.search(r"\]\s*(?:[;,]\s*)?\[", text):
        raise InputError(
            f"{_shown(given)} is about two chromosomes, and a protein has the changes of one; give "
            "those as two variants"
        )
    text = re.sub(r"(^|[\s:;,/+|\[(])p\.", r"\1", text)
    text = re.sub(r"[\[\]()]", "", text)
    pieces = [piece for piece in _JOINED.split(text) if piece]
    if not pieces:
        raise _not_one(given)
    return pieces


def _edits(piece: str, given: str) -> list[Edit]:
    """Return the edit that a piece is, or the substitutions that ``_`` joins."""
    if _SUBSTITUTION.fullmatch(piece) is None and _RANGE.fullmatch(piece) is None:
        parts = piece.split("_")
        if len(parts) > 1 and all(_SUBSTITUTION.fullmatch(part) for part in parts):
            return [_edit(part, given) for part in parts]
    return [_edit(piece, given)]


def _edit(piece: str, given: str) -> Edit:
    found = _RANGE.fullmatch(piece)
    if found is not None:
        return _of_range(found, given)
    found = _SUBSTITUTION.fullmatch(piece)
    if found is None:
        raise _not_one(given, piece)
    number = _number(found["number"], given)
    old = _letter(found["old"], given)
    if found["new"] == "=" or _letter(found["new"], given) == old:
        raise InputError(
            f"{_shown(piece, given)} is synonymous: the protein stays what it is; leave it out"
        )
    return Edit("substitution", number, number, old, old, _letter(found["new"], given))


def _of_range(found: re.Match[str], given: str) -> Edit:
    what, piece = found["what"].lower(), found[0]
    start = _number(found["start"], given)
    stop = start if found["stop"] is None else _number(found["stop"], given)
    first = _letter(found["first"], given)
    last = first if found["last"] is None else _letter(found["last"], given)
    new = found["new"]
    if what == "ins" and found["stop"] is None:
        raise InputError(
            f"{_shown(piece, given)} does not say where it is inserted; name the residues on both "
            f"sides, such as {first}{start}_L{start + 1}insGS"
        )
    if stop < start or (found["stop"] is not None and stop == start):
        raise InputError(
            f"the residues of {_shown(piece, given)} do not ascend; write the smaller number first"
        )
    if what == "ins" and stop != start + 1:
        raise InputError(
            f"{_shown(piece, given)} is inserted between residues that are no neighbours; write "
            f"delins to replace what is between, or name {start} and {start + 1}"
        )
    if (what in ("del", "dup")) == bool(new):
        remedy = f"write {piece[: -len(new)]}" if new else "write the new residues after it"
        raise InputError(
            f"{_shown(piece, given)} is not complete, or has more than it may; {remedy}"
        )
    kinds: dict[str, Kind] = {"del": "deletion", "dup": "duplication", "ins": "insertion"}
    return Edit(kinds.get(what, "delins"), start, stop, first, last, _inserted(new, given))


def _inserted(text: str, given: str) -> str:
    """Return inserted residues in one-letter code: ``GS`` or ``GlySer``."""
    if _TRIPLETS.fullmatch(text):
        return "".join(_letter(text[i : i + 3], given) for i in range(0, len(text), 3))
    return "".join(_letter(letter, given) for letter in text)


def _number(digits: str, given: str) -> int:
    number = int(digits)
    if number == 0:
        raise InputError(f"{_shown(given)} is about residue 0; residues are counted from 1")
    return number


def _letter(code: str, given: str) -> str:
    """Return one of the 20 letters, or say why a code is none of them."""
    from Bio.Data.IUPACData import protein_letters_3to1

    letter = code.upper() if len(code) == 1 else protein_letters_3to1.get(code.capitalize(), "")
    if letter in AMINO_ACIDS and letter:
        return letter
    if code == "*" or code.casefold() == "ter":
        raise InputError(
            f"{_shown(given)} makes a stop codon: the protein ends there, and the model has no "
            "probability for that; leave it out"
        )
    if len(code) == 3 and code.casefold() in ("del", "dup", "ins"):
        raise _not_one(given)
    raise InputError(
        f"{_shown(given)} has {code!r}, which is none of the 20 amino acids; scores are over those, "
        "so leave it out"
    )


def _not_one(given: str, piece: str = "") -> InputError:
    piece = piece or given
    if _FRAMESHIFT.match(piece):
        return InputError(
            f"{_shown(given)} is a shift of the frame or an extension; give the residues that "
            "change, with del, ins or delins"
        )
    if _BARE_NUMBER.fullmatch(piece):
        return InputError(
            f"{_shown(piece, given)} has no wild-type letter before the number, to be held against "
            "the sequence; write it, such as A24G"
        )
    if _PART.fullmatch(piece):
        return InputError(
            f"{_shown(piece, given)} is no mutation but a part of one; write the old residue, its number "
            "and the new one together, in one column, such as A24G"
        )
    return InputError(f"{_shown(piece, given)} is no mutation; write it as {_EXAMPLES}")


def _shown(piece: str, given: str | None = None) -> str:
    text = repr(shorten(visible(piece), 40))
    inside = given is not None and given.strip() != piece
    return f"{text} of {shorten(visible(given or ''), 40)!r}" if inside else text
