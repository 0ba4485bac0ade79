"""Which variants of which proteins are asked for, and the table that answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from esmkit.errors import EsmkitError, InputError, OptionError, UnknownIdError
from esmkit.score.variants.baselines import BASELINES, baselines_of
from esmkit.score.variants.mutations import Edit, Variant
from esmkit.score.variants.placing import Placed, Refused, distinct, place_all
from esmkit.score.variants.plan import Plan, Strategy, Values, check_fits
from esmkit.score.variants.rows import MutationTable, Row
from esmkit.sequences.ids import find
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.text import shorten, visible

if TYPE_CHECKING:
    import pandas

__all__ = ["COLUMNS", "Asked", "all_variants", "ask"]

COLUMNS = ("id", "mutant", "residue_number", "residue", "mutant_residue", "mutations", "score")
"""Columns of the table: the variant in one-letter code with the numbers that were given, and of single
substitutions the residue by its number from 1 in the sequence that was given."""


def all_variants(sequence: str) -> list[Variant]:
    """Return all single substitutions of a sequence, 19 of each residue that is one of the 20.

    >>> len(all_variants("MKX")), str(all_variants("MKX")[0])
    (38, 'M1A')
    """
    return [
        Variant((Edit("substitution", number, number, old, old, new),))
        for number, old in enumerate(sequence, 1)
        if old in AMINO_ACIDS
        for new in AMINO_ACIDS
        if new != old
    ]


MOST_VARIANTS = 2_000_000
"""Largest scan; each variant takes about half a kilobyte of memory until it is written."""


@dataclass
class Asked:
    """Variants of proteins, held against them.

    Attributes
    ----------
    proteins : list of Protein
    placed : list of list of Placed
        The variants of each, in the order of the table.
    strategy : str
    measured : str
        Name of the column of what was measured; empty without.
    refused : Refused
        Rows that were left out.
    others : int
        Rows about other proteins.
    """

    proteins: list[Protein]
    placed: list[list[Placed]]
    strategy: Strategy
    measured: str = ""
    refused: Refused = field(default_factory=Refused)
    others: int = 0

    @property
    def count(self) -> int:
        """How many variants there are."""
        return sum(map(len, self.placed))

    def plans(self) -> dict[str, Plan]:
        """Return a plan for each distinct sequence: the same one is computed once."""
        of_sequence: dict[str, list[Placed]] = {}
        for protein, some in zip(self.proteins, self.placed, strict=True):
            of_sequence.setdefault(protein.sequence, []).extend(some)
        return {
            sequence: Plan(
                sequence, distinct(some), self.strategy, with_entropy=bool(self.measured)
            )
            for sequence, some in of_sequence.items()
        }

    def frame(self, plans: Mapping[str, Plan], values: Mapping[str, Values]) -> "pandas.DataFrame":
        """Return the table of scores, in the order in which the variants were asked for."""
        import pandas

        rows: list[dict[str, Any]] = []
        for protein, some in zip(self.proteins, self.placed, strict=True):
            if not some:
                continue
            plan, found = plans[protein.sequence], values[protein.sequence]
            scores = plan.scores(found)
            entropies = plan.entropies(found) if self.measured else {}
            for one in some:
                row = _row(protein, one, scores[one.variant])
                if self.measured:
                    row |= {"measured": one.row.measured, **baselines_of(one.variant, entropies)}
                rows.append(row)
        columns = [*COLUMNS, *(["measured", *BASELINES] if self.measured else [])]
        table = pandas.DataFrame(rows, columns=columns)
        return table.astype({"residue_number": "Int64", "mutations": "int64"})

    def report(self) -> list[str]:
        """Return what was left out, and what stands there twice, in sentences."""
        lines = []
        twice = sum(len(some) - len(distinct(some)) for some in self.placed)
        if twice:
            lines.append(f"{twice:,} row(s) repeat a variant, which is computed once")
        if self.others:
            lines.append(f"{self.others:,} row(s) are about other proteins and are left out")
        if self.refused.count:
            more = self.refused.count - len(self.refused.reasons)
            lines.append(
                f"left out {self.refused.count:,} row(s): {'; '.join(self.refused.reasons)}"
                + f"; and {more:,} more" * bool(more)
            )
        return lines


def _row(protein: Protein, one: Placed, score: float) -> dict[str, Any]:
    edits = one.variant.edits
    single = len(edits) == 1 and one.variant.substitutions_only
    return {
        "id": protein.id,
        "mutant": one.name,
        "residue_number": edits[0].start if single else None,
        "residue": edits[0].first if single else "",
        "mutant_residue": edits[0].new if single else "",
        "mutations": len(edits),
        "score": score,
    }


def ask(
    table: MutationTable | Literal["all"],
    proteins: Sequence[Protein],
    *,
    strategy: Strategy,
    first_number: int = 1,
    on_invalid: str = "error",
    choose: str = "take some with `ids`",
) -> Asked:
    """Hold mutations against the proteins that they are of.

    Parameters
    ----------
    table : MutationTable or 'all'
    proteins : sequence of Protein
    strategy : str
    first_number : int
        What the table calls the first residue of each sequence.
    on_invalid : str
        ``skip`` leaves out what is wrong, and lists it; anything else refuses it.
    choose : str
        What to do where there are too many proteins.

    Raises
    ------
    InputError, UnknownIdError, OptionError
        With the row, what is wrong and what to do.
    """
    if not isinstance(table, MutationTable):
        _refuse_too_many(proteins, choose)
        blank = Row("")
        placed = [
            [Placed(variant, blank, first_number) for variant in all_variants(p.sequence)]
            for p in proteins
        ]
        asked = Asked(list(proteins), placed, strategy)
        if not asked.count and proteins:
            raise InputError(
                f"{shorten(visible(proteins[0].id), 40)!r} has none of the 20 amino acids, so there "
                "is nothing to change; give another sequence"
            )
        return asked
    asked = Asked(list(proteins), [], strategy, table.measured)
    refused = asked.refused
    of_each = _by_protein(table, proteins, asked, choose)
    for protein, rows in zip(proteins, of_each, strict=True):
        found = place_all(rows, protein, number=first_number, refused=refused)
        asked.placed.append([])
        for one in found:
            try:
                check_fits(one.variant, protein.sequence, strategy)
            except EsmkitError as error:
                text = f"{one.row.where}: {error}" if one.row.where else str(error)
                refused.add(InputError(text))
            else:
                asked.placed[-1].append(one)
    if refused.first is not None and (on_invalid != "skip" or not asked.count):
        raise _first(refused, asked.count)
    return asked


def _refuse_too_many(proteins: Sequence[Protein], choose: str) -> None:
    """Refuse a scan whose table would not fit into memory."""
    residues = sum(len(protein) for protein in proteins)
    if 19 * residues > MOST_VARIANTS:
        raise OptionError(
            f"every substitution of {residues:,} residues is {19 * residues:,} variants, and a scan "
            f"has up to {MOST_VARIANTS:,}; {choose}, or split the input"
        )


def _first(refused: Refused, good: int) -> EsmkitError:
    """Return the error to raise: the first, with how many more there are and what to do."""
    error = refused.first
    assert error is not None
    text = str(error)
    if refused.count > 1:
        text = f"{error.reason} (and {refused.count - 1:,} more){text[len(error.reason) :]}"
    if good and "`on_invalid" not in text:
        text += ', or give `on_invalid="skip"` to score the rest'
    return type(error)(text)


def _by_protein(
    table: MutationTable, proteins: Sequence[Protein], asked: Asked, choose: str
) -> list[list[Row]]:
    """Return the rows of each protein."""
    if not table.has_owners or (len(proteins) == 1 and not _meant(table.rows, proteins)):
        if len(proteins) != 1:
            raise OptionError(
                f"{table.name} does not say which protein a mutation is of, and there are "
                f"{len(proteins):,}; {choose}, or give a table with a column id"
            )
        return [list(table.rows)]
    names = [protein.id for protein in proteins]
    place = {name: number for number, name in enumerate(names)}
    found: list[list[Row]] = [[] for _ in proteins]
    meant = _meant(table.rows, proteins)
    if not meant:
        owners = list(dict.fromkeys(row.owner for row in table.rows))
        raise UnknownIdError(
            f"{table.name} is about {visible(shorten(', '.join(owners[:3]), 60))}, and the proteins "
            f"are {visible(shorten(', '.join(names[:3]), 60))}; give sequences of these IDs"
        )
    for row in table.rows:
        name = meant.get(row.owner)
        if name is None:
            asked.others += 1
        else:
            found[place[name]].append(row)
    return found


def _meant(rows: Iterable[Row], proteins: Sequence[Protein]) -> dict[str, str]:
    """Return the IDs of proteins that are given by what the table calls them."""
    names = [protein.id for protein in proteins]
    found: dict[str, str] = {}
    for owner in dict.fromkeys(row.owner for row in rows if row.owner):
        try:
            found[owner] = find(names, owner)
        except UnknownIdError:
            continue
    return found
