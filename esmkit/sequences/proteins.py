"""FASTA files to :class:`Protein` records, and a report of everything done to them on the way.

The rules are those of the ESM-2 vocabulary: the 20 amino acids and X, B, U, Z, O are letters the
model knows. Case is folded and one trailing ``*`` (a stop codon) is dropped; anything else is an
error that names record, position and letter, unless the caller chose to replace or to skip.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from esmkit.arguments import checked
from esmkit.errors import InputError
from esmkit.sequences.fasta import Record, check_there, fasta_records
from esmkit.sequences.headers import MAX_ID_BYTES, check_id, record_id
from esmkit.sequences.ids import UniqueIds
from esmkit.sequences.letters import (
    ALLOWED_LETTERS,
    AMINO_ACIDS,
    GAPS,
    Cleaned,
    OnInvalid,
    RecordError,
    check_letters,
    check_rule,
    clean_sequence,
)
from esmkit.sequences.picking import checked_ids, picked
from esmkit.sequences.remarks import FEWEST_SINGLE, remarks_on, warn_of
from esmkit.sequences.report import MAX_HEADER_BYTES, ODD_BYTE, InputReport, note
from esmkit.text import shorten, visible

__all__ = [
    "ALLOWED_LETTERS",
    "AMINO_ACIDS",
    "MAX_ID_BYTES",
    "OnInvalid",
    "Protein",
    "UniqueIds",
    "clean_proteins",
    "clean_sequence",
    "read_fasta",
    "read_named",
]


@dataclass(frozen=True, slots=True)
class Protein:
    """One protein as it enters the model.

    Attributes
    ----------
    id : str
        First word of the FASTA header, made unique (``ID``, ``ID~2``) within one input.
    sequence : str
        Upper-case one-letter residues; only the 20 amino acids and X, B, U, Z, O.
    header : str
        The whole header line without ``>``.

    Examples
    --------
    >>> protein = Protein("P0CG48", "MQIFVKTLTGK", "P0CG48 polyubiquitin-C, its beginning")
    >>> protein.id, len(protein)
    ('P0CG48', 11)
    """

    id: str
    sequence: str
    header: str = ""

    def __len__(self) -> int:
        return len(self.sequence)


@checked
def read_fasta(
    paths: str | Path | Iterable[str | Path],
    *,
    on_invalid: OnInvalid = "error",
    ids: Iterable[str] | None = None,
    report: InputReport | None = None,
) -> Iterator[Protein]:
    """Stream the proteins of one or more FASTA files.

    Parameters
    ----------
    paths : path or iterable of paths
        Plain or gzip FASTA; ``-`` is standard input.
    on_invalid : {'error', 'replace', 'skip', 'degap'}
        What to do with letters that ESM-2 has no token for: stop; write X; leave the record out
        and list it in the report; or remove gaps, ``-``, ``.`` and ``~``, and stop for the rest. A
        record without an ID that can be used is left out with 'skip', and stops the other three.
    ids : iterable of str, optional
        Take these records only: each by its whole ID, or by a part that no other record has, such
        as ``P69905`` of ``sp|P69905|HBA_HUMAN``. The input is read to its end before the first is
        given, and letters of the other records are not looked at.
    report : InputReport, optional
        Filled while the records go by.

    Yields
    ------
    Protein
        In input order, one at a time; nothing but hashes of the IDs is kept.

    Raises
    ------
    InputError
        If a file is missing, empty or not FASTA, a line end is missing before ``>``, or a record is
        not acceptable.
    OptionError
        If there is no such rule, or ``ids`` are no IDs.
    UnknownIdError
        If no record has one of ``ids``, or several have it.

    See Also
    --------
    clean_proteins : The same rules for sequences that are in no file.

    Examples
    --------
    >>> [p.id for p in read_fasta(esmkit.data.demo_fasta())][:2]
    ['1UBI_A', 'P60137']
    >>> [p.id for p in read_fasta(esmkit.data.demo_fasta(), ids=["P60137"])]
    ['P60137']
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    for path in paths:  # at the call, not at the first next()
        check_there(path)
    ids = None if ids is None else checked_ids(ids)
    named = [(path, "") for path in paths]
    return read_named(named, on_invalid, ids, report if report is not None else InputReport())


def read_named(
    paths: Iterable[tuple[str | Path, str]],
    on_invalid: OnInvalid,
    ids: Iterable[str] | None,
    report: InputReport | None,
) -> Iterator[Protein]:
    """Do what :func:`read_fasta` does, with files that go by other names than their own.

    Parameters
    ----------
    paths : iterable of (path, str)
        A file, and what to call it in messages: of a copy the name of its original.
    on_invalid, ids, report
        See :func:`read_fasta`. Without a report, what is odd about a sequence is a warning.
    """
    check_rule(on_invalid)
    records = itertools.chain.from_iterable(itertools.starmap(fasta_records, paths))
    if ids is not None:
        records = picked(records, checked_ids(ids), InputReport() if report is None else report)
    return _clean(records, on_invalid, report)


def clean_proteins(
    proteins: Iterable[Protein | str],
    *,
    on_invalid: OnInvalid = "error",
    report: InputReport | None = None,
) -> Iterator[Protein]:
    """Apply the input rules to proteins (or bare sequences) that do not come from a file.

    Bare sequences are named ``sequence_1``, ``sequence_2``, ... The rules of `on_invalid` are those
    of :func:`read_fasta`, and so are the errors. Without a `report`, what is odd about a sequence
    is a warning.

    See Also
    --------
    read_fasta : Proteins of files.

    Examples
    --------
    >>> [protein.sequence for protein in clean_proteins(["mktv", "MKTV*"])]
    ['MKTV', 'MKTV']
    >>> [protein.sequence for protein in clean_proteins(["MK-TV"], on_invalid="degap")]
    ['MKTV']
    """

    def records() -> Iterator[Record]:
        single = 0
        for number, item in enumerate(proteins, 1):
            if isinstance(item, Protein):
                yield Record(item.header or item.id, item.sequence, item.id)
            elif isinstance(item, str):
                name = f"sequence_{number}"
                single += len(item) == 1
                if report is None and single == number == FEWEST_SINGLE:
                    warn_of("single_letters", name)
                yield Record(name, "".join(item.split()), name, text=item)
            else:
                raise InputError(
                    f"item {number} is a {type(item).__name__}; give sequences or Protein records"
                )

    check_rule(on_invalid)
    return _clean(records(), on_invalid, report, True)


def _clean(
    records: Iterable[Record],
    on_invalid: OnInvalid,
    report: InputReport | None,
    third_is_id: bool = False,
) -> Iterator[Protein]:
    """Apply the input rules to records; those in memory have their ID as their source.

    Without a report, what is odd about a sequence is a warning, once for each kind.
    """
    warned: set[str] | None = None if report is not None else set()
    report = report if report is not None else InputReport()
    unique = UniqueIds()
    sizes: set[int] = set()
    gapped = False
    for record in records:
        report.records += 1
        if len(sizes) < 2:
            sizes.add(len(record.sequence))
        try:
            name = _name_of(record, report.records, third_is_id)
            cleaned = check_letters(record.sequence, name, on_invalid=on_invalid)
        except RecordError as error:
            gapped |= not GAPS.isdisjoint(record.sequence)
            if on_invalid != "skip":
                raise
            report.skipped += 1
            note(report.skipped_records, error.reason)
            for rule in ("replace", "degap"):
                if f'`on_invalid="{rule}"`' in str(error):
                    report.skipped_but_for.add(rule)
            continue
        gapped |= cleaned.gaps > 0 or any(record.sequence[i] in GAPS for i in cleaned.replaced)
        final = record.name or unique(name)
        protein = Protein(final, cleaned.sequence, _cut(record.header, report))
        _tell(report, record, name, cleaned, protein)
        _remark(report, record, name, cleaned.sequence, warned)
        yield protein
    if gapped and len(sizes) == 1 and report.records > 1:
        report.aligned = report.records


def _name_of(record: Record, number: int, third_is_id: bool) -> str:
    """Return the ID of a record, before it is made unique."""
    if third_is_id:
        return check_id(record.source, f"protein {number:,}")
    number = record.number or number
    return record_id(record.header, f"record {number:,} of {record.source!r}", number)


def _cut(header: str, report: InputReport) -> str:
    """Return a header that is not too long for a file."""
    encoded = header.encode(errors="replace")
    if len(encoded) <= MAX_HEADER_BYTES:
        return header
    report.headers_cut += 1
    return encoded[:MAX_HEADER_BYTES].decode(errors="ignore")


def _tell(
    report: InputReport, record: Record, name: str, cleaned: Cleaned, protein: Protein
) -> None:
    """Count in the report what was done to a record."""
    raw = record.sequence
    if cleaned.replaced:
        report.letters_replaced += len(cleaned.replaced)
        report.gaps_replaced += sum(raw[i] in GAPS for i in cleaned.replaced)
        report.records_with_replacements += 1
        letters = "".join(sorted({raw[i] for i in cleaned.replaced}))
        note(
            report.replaced_in,
            f"{shorten(name)} residue {cleaned.replaced[0] + 1} ({shorten(visible(letters))})",
        )
    if cleaned.gaps:
        report.gaps_removed += cleaned.gaps
        report.records_with_gaps += 1
        note(report.gaps_removed_in, f"{shorten(name)} ({cleaned.gaps:,})")
    report.stops_removed += cleaned.stop
    report.case_folded += not raw.isupper() and any("a" <= letter <= "z" for letter in raw)
    report.headers_not_utf8 += ODD_BYTE in record.header
    if protein.id != name:
        report.duplicate_ids += 1
        note(report.renamed, f"{shorten(name)} -> {shorten(protein.id)}")
    report.proteins += 1
    report.residues += len(protein)
    report.longest = max(report.longest, len(protein))


def _remark(
    report: InputReport, record: Record, name: str, sequence: str, warned: set[str] | None
) -> None:
    """Note in the report, or warn of, what is odd about a sequence."""
    if " " in record.text.strip():
        report.blanks_inside += 1
        note(report.blanks_inside_in, shorten(name))
    for kind in remarks_on(sequence, record.text):
        listed = "nucleic_acid_in" if kind == "like_nucleic_acid" else f"{kind}_in"
        setattr(report, kind, getattr(report, kind) + 1)
        note(getattr(report, listed), shorten(name))
        if warned is not None and kind not in warned:
            warned.add(kind)
            warn_of(kind, name)
