"""FASTA files to :class:`Protein` records, and a report of everything done to them on the way.

The rules are those of the ESM-2 vocabulary: the 20 amino acids and X, B, U, Z, O are letters the
model knows. Case is folded and one trailing ``*`` (a stop codon) is dropped; anything else is an
error that names record, position and letter, unless the caller chose to replace or to skip.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from esmkit.errors import InputError, OptionError
from esmkit.sequences.fasta import LONGEST_PROTEIN, fasta_records
from esmkit.sequences.report import MAX_HEADER_BYTES, ODD_BYTE, InputReport, note
from esmkit.text import shorten, visible

__all__ = [
    "AMINO_ACIDS",
    "OnInvalid",
    "Protein",
    "UniqueIds",
    "clean_proteins",
    "clean_sequence",
    "read_fasta",
]

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty standard amino acids."""

ALLOWED_LETTERS = frozenset(AMINO_ACIDS + "XBUZO")
"""Letters with a token of their own in ESM-2 (fair-esm, ``esm/constants.py``)."""

NUCLEOTIDES = "ACGTUN"

SHORTEST_NUCLEIC_ACID = 30
"""Residues; shorter peptides may well be of nothing but Ala, Cys, Gly, Thr and Asn."""

OnInvalid = Literal["error", "replace", "skip"]


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
    """

    id: str
    sequence: str
    header: str = ""

    def __len__(self) -> int:
        return len(self.sequence)


def clean_sequence(
    sequence: str, record: str = "", *, on_invalid: OnInvalid = "error"
) -> tuple[str, list[int]]:
    """Fold case, drop one trailing ``*`` and check every letter.

    Parameters
    ----------
    sequence : str
        Residues as they stand in the file, without white space.
    record : str
        What to call the record in an error message.
    on_invalid : {'error', 'replace', 'skip'}
        ``replace`` writes X for every letter ESM-2 does not know; the other two raise.

    Returns
    -------
    sequence : str
        The cleaned sequence.
    replaced : list of int
        0-based positions at which X was written.

    Raises
    ------
    InputError
        If the sequence is empty, longer than any protein, or holds a letter esmkit does not know.
        The message names the record, the 1-based position, the letter and the remedy.

    Examples
    --------
    >>> clean_sequence("mktj*", on_invalid="replace")
    ('MKTX', [3])
    """
    replaced: list[int] = []
    name = f"sequence {shorten(record)!r}" if record else "the sequence"
    if len(sequence) > LONGEST_PROTEIN:
        raise InputError(
            f"{name} has over {LONGEST_PROTEIN:,} letters, and no protein has nearly as many (is it "
            "a genome?); remove the record, or --on-invalid skip leaves it out"
        )
    if sequence.endswith("*"):
        sequence = sequence[:-1]
    if not sequence:
        raise InputError(f"{name} is empty; remove the record, or --on-invalid skip leaves it out")
    # 'ß'.upper() is 'SS': case is folded letter by letter unless the text is plain ASCII.
    folded = sequence.upper() if sequence.isascii() else "".join(map(_upper_ascii, sequence))
    unknown = set(folded) - ALLOWED_LETTERS
    if not unknown:
        return folded, replaced
    replaced = [i for i, letter in enumerate(folded) if letter in unknown]
    if on_invalid == "replace":
        table = {ord(letter): "X" for letter in unknown}
        return folded.translate(table), replaced
    first = replaced[0]
    more = f" (and {len(replaced) - 1:,} more such letters)" if len(replaced) > 1 else ""
    raise InputError(
        f"{name}, residue {first + 1:,}: {sequence[first]!r} is {_kind(folded[first])}{more}; "
        "use X, or --on-invalid replace to write X, or --on-invalid skip to leave the record out"
    )


def _upper_ascii(letter: str) -> str:
    return letter.upper() if letter.isascii() else letter


def _kind(letter: str) -> str:
    if letter in "-.":
        return "a gap, and ESM-2 reads unaligned sequences"
    if letter == "*":
        return "a stop inside the sequence"
    return "not an amino acid esmkit knows"


class UniqueIds:
    """Makes IDs unique in input order: ``ID``, ``ID~2``, ``ID~3``.

    Only 64-bit hashes are kept (about 65 MB for a million IDs). Two different IDs with one hash,
    odds of 3 in 10^8 for a million, cost nothing worse than a needless ``~2``.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._next: dict[int, int] = {}

    def __call__(self, name: str) -> str:
        """Return the name, or the next that is free."""
        key = _hash64(name)
        if key not in self._seen:
            self._seen.add(key)
            return name
        number = self._next.get(key, 2)
        while _hash64(f"{name}~{number}") in self._seen:
            number += 1
        self._next[key] = number + 1
        unique = f"{name}~{number}"
        self._seen.add(_hash64(unique))
        return unique


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def read_fasta(
    paths: str | Path | Iterable[str | Path],
    *,
    on_invalid: OnInvalid = "error",
    report: InputReport | None = None,
) -> Iterator[Protein]:
    """Stream the proteins of one or more FASTA files.

    Parameters
    ----------
    paths : path or iterable of paths
        Plain or gzip FASTA; ``-`` is standard input.
    on_invalid : {'error', 'replace', 'skip'}
        What to do with letters that ESM-2 has no token for: stop, write X, or leave the record
        out and list it in the report.
    report : InputReport, optional
        Filled while the records go by.

    Yields
    ------
    Protein
        In input order, one at a time; nothing but hashes of the IDs is kept.

    Raises
    ------
    InputError
        If a file is missing, empty or not FASTA, or a record is not acceptable.

    Examples
    --------
    >>> [p.id for p in read_fasta(esmkit.data.demo_fasta())][:2]
    ['1UBI_A', 'P60137']
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    records = (
        (header, sequence, str(path)) for path in paths for header, sequence in fasta_records(path)
    )
    yield from _clean(records, on_invalid, report if report is not None else InputReport())


def clean_proteins(
    proteins: Iterable[Protein | str],
    *,
    on_invalid: OnInvalid = "error",
    report: InputReport | None = None,
) -> Iterator[Protein]:
    """Apply the input rules to proteins (or bare sequences) that do not come from a file.

    Bare sequences are named ``sequence_1``, ``sequence_2``, ... Otherwise like
    :func:`read_fasta`, with the same errors.
    """

    def records() -> Iterator[tuple[str, str, str]]:
        for number, item in enumerate(proteins, 1):
            if isinstance(item, Protein):
                yield item.header or item.id, item.sequence, item.id
            elif isinstance(item, str):
                yield f"sequence_{number}", "".join(item.split()), f"sequence_{number}"
            else:
                raise InputError(
                    f"item {number} is a {type(item).__name__}; give sequences or Protein records"
                )

    yield from _clean(records(), on_invalid, report if report is not None else InputReport(), True)


def _clean(
    records: Iterable[tuple[str, str, str]],
    on_invalid: OnInvalid,
    report: InputReport,
    third_is_id: bool = False,
) -> Iterator[Protein]:
    """Apply the input rules to (header, sequence, source or ID) triples."""
    if on_invalid not in ("error", "replace", "skip"):
        raise OptionError(f"on_invalid is 'error', 'replace' or 'skip', not {on_invalid!r}")
    unique = UniqueIds()
    for header, raw, third in records:
        report.records += 1
        if third_is_id:
            name = _check_id(third, f"protein {report.records:,}")
        else:
            name = _record_id(header, report.records, third)
        try:
            sequence, replaced = clean_sequence(raw, name, on_invalid=on_invalid)
        except InputError as error:
            if on_invalid != "skip":
                raise
            report.skipped += 1
            note(report.skipped_records, str(error).rsplit(";", 1)[0])  # without the remedy
            continue
        if replaced:
            report.letters_replaced += len(replaced)
            report.records_with_replacements += 1
            letters = "".join(sorted({raw[i] for i in replaced}))
            note(
                report.replaced_in,
                f"{shorten(name)} residue {replaced[0] + 1} ({shorten(visible(letters))})",
            )
        report.stops_removed += raw.endswith("*")
        report.case_folded += not raw.isupper() and any("a" <= letter <= "z" for letter in raw)
        report.headers_not_utf8 += ODD_BYTE in header
        if len(sequence) >= SHORTEST_NUCLEIC_ACID and not sequence.strip(NUCLEOTIDES):
            report.like_nucleic_acid += 1
            note(report.nucleic_acid_in, shorten(name))
        if len(header.encode(errors="replace")) > MAX_HEADER_BYTES:
            header = header.encode(errors="replace")[:MAX_HEADER_BYTES].decode(errors="ignore")
            report.headers_cut += 1
        final = unique(name)
        if final != name:
            report.duplicate_ids += 1
            note(report.renamed, f"{shorten(name)} -> {shorten(final)}")
        report.proteins += 1
        report.residues += len(sequence)
        report.longest = max(report.longest, len(sequence))
        yield Protein(final, sequence, header)


MAX_ID_BYTES = 4_096
"""IDs name datasets and table rows; longer ones are a broken file, not a name."""


def _record_id(header: str, number: int, source: str) -> str:
    words = header.split(maxsplit=1)
    if not words:
        raise InputError(
            f"record {number:,} of {source!r} has no ID after '>'; give it a name, "
            f"such as '>protein_{number}'"
        )
    if "\0" in header:
        raise InputError(
            f"record {number:,} of {source!r} has a zero byte in its header "
            f"({shorten(words[0])!r}); check that the file is text"
        )
    return _check_id(words[0], f"record {number:,} of {source!r}")


def _check_id(name: str, where: str) -> str:
    """Return an ID as it is, if it can be the name of a dataset, a table row and a figure."""
    size = len(name.encode(errors="replace"))
    if size > MAX_ID_BYTES:
        more = f"over {MAX_HEADER_BYTES:,}" if size > MAX_HEADER_BYTES else f"{size:,}"
        raise InputError(
            f"{where} has an ID of {more} bytes ({shorten(name, 30)!r}); put a space after the "
            "name, so that the rest is a description"
        )
    if not name.isprintable():
        raise InputError(
            f"{where} has an ID with an invisible character ({shorten(name)!r}); rename the "
            "record, or check that the file is text"
        )
    return name
