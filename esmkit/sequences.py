"""FASTA files to :class:`Protein` records, and a report of everything done to them on the way.

The rules are those of the ESM-2 vocabulary: the 20 amino acids and X, B, U, Z, O are letters the
model knows. Case is folded and one trailing ``*`` (a stop codon) is dropped; anything else is an
error that names record, position and letter, unless the caller chose to replace or to skip.
"""

import contextlib
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from Bio.SeqIO.FastaIO import SimpleFastaParser

from esmkit.errors import InputError, OptionError

__all__ = [
    "AMINO_ACIDS",
    "InputReport",
    "OnInvalid",
    "Protein",
    "clean_proteins",
    "clean_sequence",
    "read_fasta",
]

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty standard amino acids."""

ALLOWED_LETTERS = frozenset(AMINO_ACIDS + "XBUZO")
"""Letters with a token of their own in ESM-2 (fair-esm, ``esm/constants.py``)."""

MAX_HEADER_BYTES = 32_768
"""Longer headers are cut: 64 KiB is what other programs' HDF5 attributes can hold."""

LISTED_EXAMPLES = 200
"""How many records a report lists by name for each kind of change; the count is always exact."""

OnInvalid = Literal["error", "replace", "skip"]

_ODD = "\N{REPLACEMENT CHARACTER}"
"""What Python reads in place of bytes that are not UTF-8."""

_MAGIC_OF_OTHER_ARCHIVES = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "zip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x89HDF": "HDF5",
}


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


@dataclass
class InputReport:
    """Everything that was done to the input, for the person and for the output's provenance.

    Counts are exact. Of the records concerned at most :data:`LISTED_EXAMPLES` are listed by name,
    so that the report of a million records stays small.
    """

    records: int = 0
    proteins: int = 0
    residues: int = 0
    longest: int = 0
    case_folded: int = 0
    stops_removed: int = 0
    headers_cut: int = 0
    headers_not_utf8: int = 0
    letters_replaced: int = 0
    records_with_replacements: int = 0
    replaced_in: list[str] = field(default_factory=list)
    skipped: int = 0
    skipped_records: list[str] = field(default_factory=list)
    duplicate_ids: int = 0
    renamed: list[str] = field(default_factory=list)
    duplicate_sequences: int = 0
    truncated: int = 0
    windowed: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return the report as JSON-ready values, leaving out what did not happen."""
        always = {"records", "proteins", "residues", "longest"}
        return {k: v for k, v in self.__dict__.items() if v or k in always}

    def lines(self) -> list[str]:
        """Return one sentence for each kind of change, most important first."""
        kinds = [
            (self.skipped, "record(s) left out", self.skipped_records),
            (
                self.records_with_replacements,
                f"record(s) in which {self.letters_replaced:,} letter(s) were replaced by X",
                self.replaced_in,
            ),
            (self.truncated, "sequence(s) cut to the first 1,022 residues", []),
            (self.duplicate_ids, "repeated ID(s), renamed", self.renamed),
            (self.duplicate_sequences, "repeated sequence(s), computed once", []),
            (self.stops_removed, "trailing '*' removed", []),
            (self.case_folded, "sequence(s) with lower-case letters, folded to upper case", []),
            (self.headers_cut, f"header(s) cut to {MAX_HEADER_BYTES:,} bytes", []),
            (self.headers_not_utf8, f"header(s) not in UTF-8, odd bytes read as {_ODD!r}", []),
            (self.windowed, "sequence(s) over 1,022 residues, read in overlapping windows", []),
        ]
        text = [
            f"{self.records:,} record(s) read, {self.proteins:,} protein(s) kept, "
            f"{self.residues:,} residues, longest {self.longest:,}"
        ]
        for count, what, names in kinds:
            if count:
                shown = "; ".join(names[:3])
                more = f"; and {count - 3:,} more" if count > 3 else ""
                text.append(f"{count:,} {what}" + (f": {shown}{more}" if shown else ""))
        return text


def _note(names: list[str], text: str) -> None:
    if len(names) < LISTED_EXAMPLES:
        names.append(text)


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


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
        If the sequence is empty or holds a letter esmkit does not know. The message names the
        record, the 1-based position, the letter and the remedy.

    Examples
    --------
    >>> clean_sequence("mktj*", on_invalid="replace")
    ('MKTX', [3])
    """
    replaced: list[int] = []
    name = f"sequence {_short(record)!r}" if record else "the sequence"
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


@contextlib.contextmanager
def open_text(path: str | Path) -> Iterator[IO[str]]:
    """Open a FASTA file, plain or gzip, or standard input (``-``), as UTF-8 text.

    Raises
    ------
    InputError
        If the file is missing, is a folder, is compressed in another way or is not text.
    """
    name = "standard input" if str(path) == "-" else str(path)
    with contextlib.ExitStack() as stack:
        if str(path) == "-":
            raw = sys.stdin.buffer
        else:
            try:
                raw = stack.enter_context(Path(path).open("rb"))
            except FileNotFoundError:
                raise InputError(f"there is no file {name!r}; check the path") from None
            except IsADirectoryError:
                raise InputError(
                    f"{name!r} is a folder; name the FASTA files in it, such as {name}/*.fasta"
                ) from None
            except OSError as error:
                raise InputError(f"cannot read {name!r}: {error.strerror or error}") from None
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
        head = buffered.peek(8)
        for magic, kind in _MAGIC_OF_OTHER_ARCHIVES.items():
            if head.startswith(magic):
                raise InputError(
                    f"{name!r} is {kind} data; give plain FASTA text or FASTA packed with gzip"
                )
        plain = gzip.GzipFile(fileobj=buffered) if head.startswith(b"\x1f\x8b") else buffered
        text = io.TextIOWrapper(plain, encoding="utf-8-sig", errors="replace")  # type: ignore[type-var]
        try:
            yield text
        finally:
            with contextlib.suppress(ValueError, OSError):
                text.detach()


def _fasta_records(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (header, sequence) from one file after checking that it is FASTA at all."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        with open_text(path) as handle:
            first = _first_line(handle)
            if not first:
                raise InputError(f"{name!r} is empty; a FASTA file has a '>' line for each protein")
            if not first.startswith(">"):
                raise InputError(
                    f"{name!r} is not FASTA: it begins with {_short(first.strip(), 30)!r} where "
                    "a line that begins with '>' should stand"
                )
            yield from SimpleFastaParser(_chain(first, handle))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{name!r} is a damaged gzip file ({error}); copy or download it again"
        ) from None
    except OSError as error:  # a disk or a network share that fails half-way
        raise InputError(f"cannot read {name!r}: {error.strerror or error}") from None


def _first_line(handle: IO[str]) -> str:
    """Return the first line that is not blank; of a binary file no more than a part of it."""
    while line := handle.readline(MAX_HEADER_BYTES):
        if line.strip():
            return line + handle.readline() if line[0] == ">" and line[-1] != "\n" else line
    return ""


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    # not `yield from`, which would close the file when the generator goes
    for line in rest:  # noqa: UP028
        yield line


class _UniqueIds:
    """Makes IDs unique in input order: ``ID``, ``ID~2``, ``ID~3``.

    Only 64-bit hashes are kept (about 65 MB for a million IDs). Two different IDs with one hash,
    odds of 3 in 10^8 for a million, cost nothing worse than a needless ``~2``.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._next: dict[int, int] = {}

    def __call__(self, name: str) -> str:
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
    >>> [p.id for p in read_fasta(esmkit.data.demo_fasta())][:2]    # doctest: +SKIP
    ['1UBI', 'P69905']
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    records = (
        (header, sequence, str(path)) for path in paths for header, sequence in _fasta_records(path)
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
    unique = _UniqueIds()
    for header, raw, third in records:
        report.records += 1
        name = third if third_is_id else _record_id(header, report.records, third)
        try:
            sequence, replaced = clean_sequence(raw, name, on_invalid=on_invalid)
        except InputError as error:
            if on_invalid != "skip":
                raise
            report.skipped += 1
            _note(report.skipped_records, str(error).rsplit(";", 1)[0])  # without the remedy
            continue
        if replaced:
            report.letters_replaced += len(replaced)
            report.records_with_replacements += 1
            letters = "".join(sorted({raw[i] for i in replaced}))
            _note(
                report.replaced_in, f"{_short(name)} residue {replaced[0] + 1} ({_short(letters)})"
            )
        report.stops_removed += raw.endswith("*")
        report.case_folded += not raw.isupper() and any("a" <= letter <= "z" for letter in raw)
        report.headers_not_utf8 += _ODD in header
        if len(header.encode()) > MAX_HEADER_BYTES:
            header = header.encode()[:MAX_HEADER_BYTES].decode(errors="ignore")
            report.headers_cut += 1
        final = unique(name)
        if final != name:
            report.duplicate_ids += 1
            _note(report.renamed, f"{_short(name)} -> {_short(final)}")
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
    name = words[0]
    if len(name.encode()) > MAX_ID_BYTES:
        raise InputError(
            f"record {number:,} of {source!r} has an ID of {len(name.encode()):,} bytes "
            f"({_short(name, 30)!r}); put a space after the name, so that the rest is a description"
        )
    if "\0" in header:
        raise InputError(
            f"record {number:,} of {source!r} has a zero byte in its header ({_short(name)!r}); "
            "check that the file is text"
        )
    if not name.isprintable():
        raise InputError(
            f"record {number:,} of {source!r} has an ID with an invisible character "
            f"({_short(name)!r}); "
            "rename the record, or check that the file is text"
        )
    return name
