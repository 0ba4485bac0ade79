"""Mutations held against the sequence that they are of, and what is wrong with them in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from esmkit.errors import EsmkitError, InputError
from esmkit.score.variants.mutations import Edit, Variant, parse_variant
from esmkit.score.variants.rows import Row
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.report import note
from esmkit.text import shorten, visible

__all__ = ["Placed", "Refused", "between", "distinct", "place", "place_all"]

FEWEST_SITES = 3
"""Sites that must all fit with other numbers before those are offered: fewer fit by chance."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A variant of a protein, with the row that asked for it.

    Attributes
    ----------
    variant : Variant
        Its residues are counted from 1 in the sequence.
    row : Row
    number : int
        What the row calls the first residue of the sequence.
    """

    variant: Variant
    row: Row
    number: int = 1

    @property
    def name(self) -> str:
        """The variant as the table has it, its residues counted as the table counts them."""
        return str(self.variant.moved(self.number - 1))


@dataclass
class Refused:
    """Rows that were left out.

    Attributes
    ----------
    count : int
        How many.
    reasons : list of str
        The first of them, each with its row.
    first : EsmkitError or None
        What is wrong with the first.
    """

    count: int = 0
    reasons: list[str] = field(default_factory=list)
    first: EsmkitError | None = None

    def add(self, error: EsmkitError) -> None:
        """Take what is wrong with a row."""
        self.first = self.first or error
        self.count += 1
        note(self.reasons, error.reason)


def place(variant: Variant, protein: Protein, number: int = 1) -> Variant:
    """Hold a variant against a sequence.

    Parameters
    ----------
    variant : Variant
    protein : Protein
    number : int
        What the variant calls the first residue of the sequence.

    Returns
    -------
    Variant
        The same, its residues counted from 1.

    Raises
    ------
    InputError
        If the sequence has no such residue, or another letter there, or nothing would be left.

    Examples
    --------
    >>> str(place(parse_variant("H26R"), Protein("bla", "HPETL"), number=26))
    'H1R'
    """
    name, sequence = shorten(visible(protein.id), 40), protein.sequence
    for edit in variant.edits:
        for residue, letter in edit.letters:
            index = residue - number
            if not 0 <= index < len(sequence):
                raise InputError(
                    f"{_cut(variant)} is about residue {residue:,}, and {name!r} has {number:,} to "
                    f"{number + len(sequence) - 1:,}; check the numbers, or say with `first_number` "
                    "what they call the first residue of the sequence"
                )
            there = sequence[index]
            if there != letter:
                raise InputError(
                    f"{_cut(variant)} has {letter} at residue {residue:,}, where {name!r} has "
                    f"{there}{_letters_near(sequence, index, letter, number)}; check the numbers, "
                    "or the sequence"
                )
    moved = variant.moved(1 - number)
    if not moved.applied(sequence):
        raise InputError(f"{_cut(variant)} leaves nothing of {name!r}; leave it out")
    return moved


def _cut(variant: Variant) -> str:
    return shorten(str(variant), 40)


def _letters_near(sequence: str, index: int, letter: str, number: int) -> str:
    """Return where the letter is that was expected: tags and signal peptides shift numbers."""
    places = [place for place, there in enumerate(sequence) if there == letter]
    if not places:
        return f" (there is no {letter})"
    return f" (the nearest {letter} is {min(places, key=lambda p: abs(p - index)) + number})"


def between(wild: str, mutated: str) -> Variant:
    """Return the variant that turns one sequence into another.

    Substitutions if they are of one length; else what is left between the residues that both have
    at their beginning and at their end.

    Raises
    ------
    InputError
        If they are equal, or what is new is none of the 20 amino acids.

    Examples
    --------
    >>> str(between("MKTAY", "MKSAF")), str(between("MKTAY", "MKAY")), str(between("MKTAY", "MKTTAY"))
    ('T3S:Y5F', 'T3del', 'T3_A4insT')
    """
    if wild == mutated:
        raise InputError("the mutated sequence is the wild type, whose score is 0; leave it out")
    if not mutated:
        raise InputError("the mutated sequence is empty; leave it out")
    found = _difference(wild, mutated)
    new = {letter for edit in found.edits for letter in edit.new}
    if found.substitutions_only:
        new |= {edit.first for edit in found.edits}
    for letter in sorted(new - set(AMINO_ACIDS)):
        raise InputError(
            f"the mutated sequence changes {visible(letter)!r}, which is none of the 20 amino acids; "
            "leave it out"
        )
    return found


def _difference(wild: str, mutated: str) -> Variant:
    """Return what is different between two sequences that are."""
    if len(wild) == len(mutated):
        return Variant(
            tuple(
                Edit("substitution", n, n, old, old, new)
                for n, (old, new) in enumerate(zip(wild, mutated, strict=True), 1)
                if old != new
            )
        )
    shorter = min(len(wild), len(mutated))
    start = next((i for i in range(shorter) if wild[i] != mutated[i]), shorter)
    rest = shorter - start
    end = next((i for i in range(rest) if wild[-1 - i] != mutated[-1 - i]), rest)
    new = mutated[start : len(mutated) - end]
    first, last = start + 1, len(wild) - end  # residues that are replaced, from 1
    if last >= first:
        kind = "delins" if new else "deletion"
        return Variant((Edit(kind, first, last, wild[first - 1], wild[last - 1], new),))
    if 0 < start < len(wild):
        return Variant((Edit("insertion", start, start + 1, wild[start - 1], wild[start], new),))
    place, new = (1, new + wild[0]) if start == 0 else (len(wild), wild[-1] + new)
    return Variant((Edit("delins", place, place, wild[place - 1], wild[place - 1], new),))


def place_all(
    rows: Iterable[Row], protein: Protein, *, number: int = 1, refused: Refused
) -> list[Placed]:
    """Hold rows of a table against the protein that they are of.

    What is wrong is added to ``refused``; if all sites would fit with other numbers, that is said
    with the first.
    """
    placed: list[Placed] = []
    sites: dict[int, set[str]] = {}
    wrong: list[tuple[EsmkitError, Row]] = []
    for row in rows:
        try:
            placed.append(Placed(_of_row(row, protein, number, sites), row, number))
        except EsmkitError as error:
            wrong.append((error, row))
    shift = _shift(sites, protein.sequence, number) if wrong else None
    for error, row in wrong:
        text = f"{row.where}: {error.reason}" if row.where else error.reason
        remedy = str(error)[len(error.reason) :]
        if shift is not None and "residue" in text:
            text += f" (the letters of all {len(sites):,} sites fit with `first_number={shift}`)"
        refused.add(InputError(text + remedy))
    return placed


def _of_row(row: Row, protein: Protein, number: int, sites: dict[int, set[str]]) -> Variant:
    if row.problem:
        raise InputError(row.problem)
    if not row.mutant:
        return between(protein.sequence, row.mutated)
    variant = parse_variant(row.mutant)
    for edit in variant.edits:
        for residue, letter in edit.letters:
            sites.setdefault(residue, set()).add(letter)
    found = place(variant, protein, number)
    if row.mutated and found.applied(protein.sequence) != row.mutated:
        raise InputError(
            f"{shorten(row.mutant, 40)} makes another sequence of {protein.id!r} than the column of "
            "mutated sequences has; check which wild type they are of"
        )
    return found


def _shift(sites: dict[int, set[str]], sequence: str, number: int) -> int | None:
    """Return the number of the first residue with which all sites fit, if there is one only."""
    if len(sites) < FEWEST_SITES or any(len(letters) > 1 for letters in sites.values()):
        return None
    wanted = sorted((residue, next(iter(letters))) for residue, letters in sites.items())
    low, high = wanted[0][0], wanted[-1][0]
    fitting = [
        first
        for first in range(high - len(sequence) + 1, low + 1)
        if first != number and all(sequence[n - first] == letter for n, letter in wanted)
    ]
    return fitting[0] if len(fitting) == 1 else None


def distinct(placed: Sequence[Placed]) -> list[Variant]:
    """Return each variant once, in the order in which they come first."""
    return list(dict.fromkeys(one.variant for one in placed))
