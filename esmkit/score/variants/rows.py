"""Tables of mutations: CSV and TSV files of every dialect, data frames, lists, dicts.

ProteinGym's files are read as they are: ``mutant``, ``mutated_sequence``, ``DMS_score`` and
``DMS_score_bin`` of substitutions; of insertions and deletions the mutated sequence alone, in either
column.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esmkit.arguments import items_of, what_is
from esmkit.errors import EsmkitError, InputError, OptionError
from esmkit.score.variants.dialects import SPREADSHEETS, is_variant, read_table
from esmkit.score.variants.mutations import Variant, parse_variant
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.tables import is_a, is_missing, normalised
from esmkit.text import did_you_mean, shorten, visible

__all__ = ["MutationTable", "Row", "is_mutation_file", "read_mutations", "stem_of_table"]

MUTANT_COLUMNS = (
    *("mutant", "mutants", "mutation", "mutations", "variant", "variants", "mut", "aa_mutation"),
    *("aa_mutations", "aa_substitutions", "aa_change", "amino_acid_change", "protein_change"),
    *("protein_variant", "substitution", "substitutions", "hgvs_pro", "hgvsp", "hgvs_p", "hgvs"),
)
"""Names of a column of mutations: ProteinGym's, MaveDB's (``hgvs_pro``), and usual ones."""

MUTATED_COLUMNS = ("mutated_sequence", "mutant_sequence", "mutated_seq", "variant_sequence")
"""Names of a column with the whole sequence of each variant."""

OWNER_COLUMNS = (
    *("id", "protein_id", "sequence_id", "seq_id", "protein", "uniprot_id", "uniprot"),
    *("uniprot_accession", "uniprot_ac", "entry", "accession", "protein_name", "target"),
)
"""Names of a column that says which protein a row is about."""

ENDINGS = (".csv", ".tsv", ".txt", ".tab", ".csv.gz", ".tsv.gz", ".txt.gz", ".tab.gz")
"""What the name of a file of mutations ends in; text without it is a mutation."""

_COMMAS = re.compile(r",(?![^\[(]*[\])])")
_LISTED = 12
_FEWEST_OF_SEQUENCE = 5
_NAMES_MISSING = frozenset(
    ["", "na", "nan", "n/a", "#n/a", "#na", "<na>", "none", "null", "-", "."]
)


@dataclass(frozen=True, slots=True)
class Row:
    """One variant as it is asked for.

    Attributes
    ----------
    where : str
        Its place, for messages: ``line 7 of 'x.csv'``.
    mutant : str
        Its mutations; empty if its sequence says what they are.
    owner : str
        The protein it is of; empty for whichever there is.
    mutated : str
        Its whole sequence; empty if it is not given.
    measured : float
        What was measured; NaN if nothing was.
    problem : str
        What is wrong with the row, found where it was read.
    """

    where: str
    mutant: str = ""
    owner: str = ""
    mutated: str = ""
    measured: float = math.nan
    problem: str = ""


@dataclass(frozen=True, slots=True)
class MutationTable:
    """Rows of variants, and what the table was.

    Attributes
    ----------
    rows : tuple of Row
    name : str
        What to call it.
    has_owners : bool
        Whether it says of each row which protein it is of.
    measured : str
        Column of what was measured; empty if none was asked for.
    """

    rows: tuple[Row, ...]
    name: str
    has_owners: bool = False
    measured: str = ""

    def wild_type(self) -> str:
        """Return the sequence that all mutated sequences come from, their mutations taken back.

        Raises
        ------
        InputError
            If the table has not both, or its rows come from several sequences.
        """
        found: dict[str, Row] = {}
        for row in self.rows:
            if row.mutant and row.mutated:
                try:
                    found.setdefault(_taken_back(parse_variant(row.mutant), row.mutated), row)
                except EsmkitError:
                    continue  # it is refused with more to go by when it is placed
        if len(found) == 1:
            return next(iter(found))
        if not found:
            raise InputError(
                f"{self.name} does not say which protein its variants are of; give a FASTA file of it"
            )
        (one, other, *_) = found.values()
        raise InputError(
            f"the mutated sequences of {self.name} come from {len(found):,} wild types, such as "
            f"those of {one.where} and {other.where}; give a FASTA file of the one meant"
        )


def _taken_back(variant: Variant, mutated: str) -> str:
    """Return the wild type of a sequence with these substitutions."""
    letters = list(mutated)
    for edit in variant.edits:
        if edit.kind != "substitution" or not edit.start <= len(letters):
            raise InputError("not of substitutions alone; give the wild type")
        if letters[edit.start - 1] != edit.new:
            raise InputError("another letter is there; give the wild type")
        letters[edit.start - 1] = edit.first
    return "".join(letters)


def stem_of_table(path: str | Path) -> str:
    """Return the name of a file of mutations without folder and ending.

    >>> stem_of_table("runs/BLAT_ECOLX.csv.gz")
    'BLAT_ECOLX'
    """
    name = Path(path).name
    ending = max((e for e in ENDINGS if name.lower().endswith(e)), key=len, default="")
    return name[: len(name) - len(ending)]


def is_mutation_file(given: Any) -> bool:
    """Tell whether what is given for mutations is a file and no mutation.

    >>> is_mutation_file("dms.csv"), is_mutation_file("p.Ala24Gly"), is_mutation_file("A24G/K7R")
    (True, False, False)
    """
    if isinstance(given, Path) or not isinstance(given, str):
        return isinstance(given, Path)
    text = given.strip()
    if text.lower().endswith(ENDINGS + SPREADSHEETS) or _exists(text):
        return True
    return len(Path(text).parts) > 1 and not any(map(is_variant, _separated(text)))


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or with a sign that no name can have
        return False


def _separated(text: str) -> list[str]:
    """Return the variants that commas separate; those in brackets are one variant's."""
    return [piece.strip() for piece in _COMMAS.split(text) if piece.strip()]


def read_mutations(
    given: Any, *, column: str | None = None, measured: str | None = None
) -> MutationTable:
    """Read mutations as they are given, before anything is known of the proteins.

    Parameters
    ----------
    given : str, path, list of str, pandas.DataFrame, or dict
        Variants, separated by commas, or a list of them; the path of a table, plain or gzip, with
        or without a line of column names; a data frame; a dict from the ID of a protein to a list.
    column : str, optional
        Column of the mutations; by default the one with a usual name.
    measured : str, optional
        Column of what was measured.

    Returns
    -------
    MutationTable

    Raises
    ------
    InputError, OptionError
        If it holds no mutations, or a column is not there.

    Examples
    --------
    >>> [row.mutant for row in read_mutations(["A24G", "L3P:K7R"]).rows]
    ['A24G', 'L3P:K7R']
    """
    if is_mutation_file(given):
        table = read_table(Path(given), {*MUTANT_COLUMNS, *MUTATED_COLUMNS}, column)
        return _of_cells(table.name, table.columns, table.rows, column, measured, comma=table.comma)
    if is_a(given, "pandas.DataFrame", "polars.DataFrame"):
        return _from_frame(given, column, measured)
    for option, value in (("mutant_column", column), ("measured", measured)):
        if value is not None:
            raise OptionError(
                f"`{option}` names a column, and the mutations are no table; give a table, or leave "
                f"`{option}` out"
            )
    if isinstance(given, Mapping):
        rows = tuple(
            row for owner, some in given.items() for row in _listed(some, _owner_of(owner))
        )
        return _checked(MutationTable(rows, "the dict of mutations", has_owners=True))
    return _checked(MutationTable(tuple(_listed(given)), "the list of mutations"))


def _owner_of(key: Any) -> str:
    if isinstance(key, str) and key:
        return key
    raise OptionError(
        f"the keys of `mutations` are IDs of proteins, not {what_is(key)}; give a dict such as "
        '{"P69905": ["A24G"]}'
    )


def _listed(given: Any, owner: str = "") -> list[Row]:
    if isinstance(given, str):
        return _listed(_separated(given) or [given], owner)
    items = items_of(given)
    if items is None:
        raise OptionError(
            f"`mutations` are a list such as ['A24G', 'L3P:K7R'], a table, its file or 'all', not "
            f"{what_is(given)}; give one of these"
        )
    rows = []
    for number, item in enumerate(items, 1):
        where = f"mutation {number:,}"
        if not isinstance(item, str):
            what = "missing" if is_missing(item) else what_is(item)
            rows.append(Row(where, owner=owner, problem=f"it is {what}; write it as A24G"))
            continue
        rows.append(Row(where, item, owner))
    return rows


def _checked(table: MutationTable) -> MutationTable:
    if not table.rows:
        raise InputError(f"{table.name} is empty; give some, such as A24G, or 'all' for every one")
    return table


# ------------------------------------------------------------------------------- data frames


def _from_frame(table: Any, column: str | None, measured: str | None) -> MutationTable:
    columns = [str(name) for name in table.columns]
    values = [list(table[name]) for name in table.columns]
    index = list(getattr(table, "index", range(len(values[0]) if values else 0)))
    cells = zip(*values, strict=True)
    numbered = [(f"row {n:,}", list(row)) for n, row in enumerate(cells, 1)]
    plain = index == list(range(len(index)))
    if not plain:
        numbered = [
            (f"{where} (index {label!s})", row)
            for (where, row), label in zip(numbered, index, strict=True)
        ]
    return _of_cells("the table", columns, numbered, column, measured)


# ------------------------------------------------------------------------------- cells to rows


def _of_cells(
    name: str,
    columns: Sequence[str],
    numbered: Iterable[tuple[str, list[Any]]],
    column: str | None,
    measured: str | None,
    *,
    comma: bool = False,
) -> MutationTable:
    mutant, mutated = _columns_of_variants(name, columns, column)
    owner = _find(columns, OWNER_COLUMNS)
    score = None if measured is None else _named(name, columns, measured, "measured")
    rows = []
    for where, cells in numbered:

        def cell(place: int | None, cells: list[Any] = cells) -> str:
            return _text(cells[place]) if place is not None and place < len(cells) else ""

        asked, sequence = cell(mutant), cell(mutated).upper()
        if _is_sequence(asked):  # as ProteinGym has insertions and deletions
            asked, sequence = "", asked.upper()
        problem = "" if asked or sequence else "the mutation is missing; write it, such as A24G"
        value, wrong = _number(cell(score), comma) if score is not None else (math.nan, "")
        if wrong:
            problem = (
                problem or f"column {measured!r} has {wrong}; write a number, or leave it empty"
            )
        rows.append(Row(where, asked, cell(owner), sequence, value, problem))
    if not rows:
        raise InputError(f"{name} has column names and no row; give a line for each variant")
    return MutationTable(tuple(rows), name, owner is not None, measured or "")


def _columns_of_variants(
    name: str, columns: Sequence[str], column: str | None
) -> tuple[int | None, int | None]:
    mutated = _find(columns, MUTATED_COLUMNS)
    if column is not None:
        return _named(name, columns, column, "mutant_column"), mutated
    mutant = _find(columns, MUTANT_COLUMNS)
    if mutant is None and mutated is None:
        listed = ", ".join(repr(visible(shorten(c, 30))) for c in columns[:_LISTED])
        more = f" and {len(columns) - _LISTED:,} more" if len(columns) > _LISTED else ""
        raise InputError(
            f"{name} has no column that is known to hold mutations: its columns are {listed}{more}; "
            "rename one to mutant, or name it with `mutant_column`"
        )
    return mutant, mutated


def _find(columns: Sequence[str], known: Sequence[str]) -> int | None:
    names = [normalised(column) for column in columns]
    return next((names.index(one) for one in known if one in names), None)


def _named(name: str, columns: Sequence[str], wanted: str, option: str) -> int:
    """Return the place of a column by the name that was given for it."""
    if wanted in columns:
        return list(columns).index(wanted)
    folded = [normalised(column) for column in columns]
    if folded.count(normalised(wanted)) == 1:
        return folded.index(normalised(wanted))
    listed = ", ".join(repr(visible(shorten(c, 30))) for c in columns[:_LISTED])
    raise InputError(
        f"{name} has no column {shorten(visible(wanted), 40)!r}, as `{option}` has it: its columns "
        f"are {listed}{did_you_mean(wanted, columns) or '; name one of these'}"
    )


def _text(value: Any) -> str:
    if is_missing(value):
        return ""
    text = str(value).strip()
    return "" if text.casefold() in _NAMES_MISSING else text


def _is_sequence(text: str) -> bool:
    """Return whether what stands for a mutation is a whole sequence."""
    upper = text.upper()
    return len(upper) >= _FEWEST_OF_SEQUENCE and set(upper) <= set(AMINO_ACIDS)


def _number(text: str, comma: bool) -> tuple[float, str]:
    """Return a measured number, NaN where it is missing; or what is there that is no number."""
    if not text:
        return math.nan, ""
    if comma and text.count(",") == 1 and "." not in text:  # as spreadsheets write 0.5 there
        text = text.replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return math.nan, repr(visible(shorten(text, 20)))
    return (value, "") if math.isfinite(value) else (math.nan, "")
