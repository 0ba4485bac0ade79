"""FASTA in: every rule, every error, and the report of what was done."""

import bz2
import gzip
import io
import lzma
import re
import string
import sys
import tracemalloc
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from Bio import SeqIO
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_fasta
from esmkit.errors import EsmkitError, InputError, OptionError
from esmkit.sequences.given import one_or_many, only_result
from esmkit.sequences.ids import id_in
from esmkit.sequences.letters import GAPS
from esmkit.sequences.proteins import (
    ALLOWED_LETTERS,
    AMINO_ACIDS,
    MAX_ID_BYTES,
    OnInvalid,
    Protein,
    clean_proteins,
    clean_sequence,
    read_fasta,
)
from esmkit.sequences.report import LISTED_EXAMPLES, MAX_HEADER_BYTES, InputReport
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta

SKIP = 'or `on_invalid="skip"` to leave the record out'
REMEDY = f'; use X, or `on_invalid="replace"` to write X, {SKIP}'
DEGAP = f'; remove the gaps, or `on_invalid="degap"` removes them, {SKIP}'


def read_bytes(
    folder: Path, data: bytes, on_invalid: OnInvalid = "error"
) -> tuple[list[Protein], InputReport]:
    path = folder / "in.fasta"
    path.write_bytes(data)
    report = InputReport()
    return list(read_fasta(path, on_invalid=on_invalid, report=report)), report


def error_of(path: Path, data: bytes | None = None) -> str:
    """Text of the error that reading the file raises, with its path written as FILE."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        list(read_fasta(path))
    return str(caught.value).replace(str(path), "FILE")


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# ---------------------------------------------------------------------------- what is read


def biopython(path: Path) -> list[tuple[str, str, str]]:
    with path.open() as handle:
        records = list(SeqIO.parse(handle, "fasta"))
    return [(r.id, str(r.seq).upper().removesuffix("*"), r.description) for r in records]


def test_demo_proteins_are_those_biopython_reads():
    ours = [(p.id, p.sequence, p.header) for p in read_fasta(demo_fasta())]
    assert len(ours) == 18
    assert ours == biopython(demo_fasta())


def wrapped(sequence: str, width: int) -> str:
    return "\n".join(sequence[i : i + width] for i in range(0, len(sequence), width))


@pytest.mark.parametrize("width", [1, 7, 60, 10_000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_width_and_line_ends_change_nothing(tmp_path: Path, width: int, end: str):
    records = {f"P{i} some words": random_sequence(40 + 13 * i, i) for i in range(4)}
    text = "".join(f">{h}\n{wrapped(s, width)}\n" for h, s in records.items())
    found, _ = read_bytes(tmp_path, text.replace("\n", end).encode())
    assert {p.header: p.sequence for p in found} == records
    assert [p.id for p in found] == ["P0", "P1", "P2", "P3"]


@pytest.mark.parametrize(
    "data",
    [
        b">A one\nMKT\nVRQ\n>B\nGG\n",
        b">A one\nMKTVRQ\n>B\nGG",  # no newline at the end
        b"\n\n  \n>A one\n\nMKT\n\nVRQ\n\n>B\n\nGG\n\n\n",  # blank lines anywhere
        b"\xef\xbb\xbf>A one\nMKTVRQ\n>B\nGG\n",  # UTF-8 byte order mark
        b"\xef\xbb\xbf\r\n>A one\r\nMKTVRQ\r\n>B\r\nGG\r\n",
        b">A one   \nMK TV RQ  \n>B\nG G\n",  # blanks
        b"> A one\nmktvrq*\n>B\nGG*\n",
        b">A\tone\nMKTVRQ\n>B\nGG\n",
    ],
)
def test_harmless_variants_of_one_file(tmp_path: Path, data: bytes):
    found, report = read_bytes(tmp_path, data)
    assert [(p.id, p.sequence) for p in found] == [("A", "MKTVRQ"), ("B", "GG")]
    assert found[0].header.split() == ["A", "one"]
    assert (report.records, report.proteins, report.residues, report.longest) == (2, 2, 8, 6)


def test_gzip_reads_as_the_plain_file_whatever_its_name(tmp_path: Path):
    plain = demo_fasta().read_bytes()
    half = plain.index(b">P69905")
    packed = tmp_path / "demo.txt"
    packed.write_bytes(gzip.compress(plain[:half]) + gzip.compress(plain[half:]))  # two members
    assert list(read_fasta(packed)) == list(read_fasta(demo_fasta()))


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_standard_input_reads_as_the_file(monkeypatch: pytest.MonkeyPatch, pack):
    stdin_of(monkeypatch, pack(demo_fasta().read_bytes()))
    assert list(read_fasta("-")) == list(read_fasta(demo_fasta()))


def test_several_files_are_read_in_order_with_one_report(tmp_path: Path):
    one = write_fasta(tmp_path / "1.fa", {"A": "MK", "B": "MKT"})
    two = write_fasta(tmp_path / "2.fa", {"A": "GGGG"})
    report = InputReport()
    found = list(read_fasta([two, str(one)], report=report))
    assert [(p.id, p.sequence) for p in found] == [("A", "GGGG"), ("A~2", "MK"), ("B", "MKT")]
    assert (report.records, report.residues, report.duplicate_ids) == (3, 9, 1)


def test_a_broken_second_file_is_named(tmp_path: Path):
    good = write_fasta(tmp_path / "good.fa", {"A": "MK"})
    bad = tmp_path / "bad.fa"
    bad.write_text("hello\n")
    with pytest.raises(InputError, match=re.escape(f"'{bad}' is not FASTA")):
        list(read_fasta([good, bad]))


def test_all_25_letters_pass_unchanged():
    letters = "".join(sorted(ALLOWED_LETTERS))
    assert len(letters) == 25
    assert clean_sequence(letters) == (letters, [])
    assert set(string.ascii_uppercase) - ALLOWED_LETTERS == {"J"}
    assert len(AMINO_ACIDS) == 20


def test_bare_sequences_and_proteins_follow_the_same_rules():
    given_ = ["mk t\nv*", Protein("P1", "GG", "P1 words"), Protein("P1", "AA")]
    found = list(clean_proteins(given_))
    assert found == [
        Protein("sequence_1", "MKTV", "sequence_1"),
        Protein("P1", "GG", "P1 words"),
        Protein("P1~2", "AA", "P1"),
    ]
    assert [len(p) for p in found] == [4, 2, 2]


# ---------------------------------------------------------------------------- files refused


def test_missing_file(tmp_path: Path):
    assert error_of(tmp_path / "no.fasta") == "there is no file 'FILE'; check the path"


def test_folder(tmp_path: Path):
    assert error_of(tmp_path) == (
        "'FILE' is a folder; name the FASTA files in it, such as FILE/*.fasta"
    )


def test_a_path_that_is_none(tmp_path: Path):
    words = error_of(tmp_path / ("M" * 5_000))
    assert words.startswith("cannot read '")
    assert words.endswith("': File name too long")
    assert len(words) < 1_000  # the name is shortened


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"  \n\n\t\n", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)]
)
def test_empty_file(tmp_path: Path, data: bytes):
    assert error_of(tmp_path / "in", data) == (
        "'FILE' is empty; a FASTA file has a '>' line for each protein"
    )


def test_empty_standard_input(monkeypatch: pytest.MonkeyPatch):
    stdin_of(monkeypatch, b"")
    with pytest.raises(InputError, match=r"^'standard input' is empty; a FASTA file has"):
        list(read_fasta("-"))


@pytest.mark.parametrize(
    ("data", "shown", "remedy"),
    [
        (b"MKTVRQ\n>A\nMK\n", "'MKTVRQ'", "write a line such as '>protein_1' before it"),
        (b"; comment\n>A\nMK\n", "'; comment'", "remove the lines that begin with ';'"),
        (b"ID   P69905\n" * 100, "'ID   P69905'", "'embl', "),
        (
            b"@read/1 of a FASTQ file with a long name\nMK\n",
            "'@read/1 of a FASTQ file with …'",
            "FASTQ",
        ),
        (b"  >A\nMK\n", "'>A'", "remove the blanks before the '>'"),
        (b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 400, None, None),
        (bytes(100_000), None, None),
    ],
    ids=["bare", "comment", "uniprot", "fastq", "indented", "elf", "zeros"],
)
def test_not_fasta(tmp_path: Path, data: bytes, shown: str | None, remedy: str | None):
    text = error_of(tmp_path / "in", data)
    assert text.startswith("'FILE' is not FASTA: it begins with ")
    assert " where a line that begins with '>' should stand" in text
    assert text.endswith("should stand") == (remedy is None)
    assert len(text) < 500
    if shown:
        assert f"begins with {shown} where" in text
    assert remedy is None or remedy in text


def zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("in.fasta", ">A\nMK\n")
    return buffer.getvalue()


def h5_bytes() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["A"] = np.zeros(3)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bz2.compress(b">A\nMK\n"), "bzip2"),
        (lzma.compress(b">A\nMK\n"), "xz"),
        (zip_bytes(), "zip"),
        (bytes.fromhex("28b52ffd") + b"...", "zstd"),
        (h5_bytes(), "HDF5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_archives_are_named(tmp_path: Path, data: bytes, kind: str):
    assert error_of(tmp_path / "in", data) == (
        f"'FILE' is {kind} data; give plain FASTA text or FASTA packed with gzip"
    )


PACKED = gzip.compress(
    "".join(f">P{i}\n{random_sequence(200, i)}\n" for i in range(50)).encode(), mtime=0
)


@pytest.mark.parametrize(
    "data",
    [
        PACKED[:1_000],
        PACKED[:-5],
        PACKED[:-8] + bytes(4) + PACKED[-4:],
        PACKED + b"something else",
        b"\x1f\x8b",
        b"\x1f\x8b and text",
    ],
    ids=["cut", "no end", "checksum", "tail", "two bytes", "only the magic"],
)
def test_damaged_gzip(tmp_path: Path, data: bytes):
    text = error_of(tmp_path / "in", data)
    assert re.fullmatch(
        r"'FILE' is a damaged gzip file \(.+\); copy or download it again", text, re.DOTALL
    )


def test_a_disk_that_fails_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Failing(io.BytesIO):
        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    path = write_fasta(tmp_path / "in", {"A": "MK"})
    monkeypatch.setattr(Path, "open", lambda *_: Failing())
    with pytest.raises(InputError, match=rf"^cannot read '{re.escape(str(path))}': Input/output"):
        list(read_fasta(path))


# ---------------------------------------------------------------------------- records refused


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("MKJL", "residue 3: 'J' is not an amino acid esmkit knows"),
        ("mkjl", "residue 3: 'j' is not an amino acid esmkit knows"),
        ("MK*L*", "residue 3: '*' is a stop inside the sequence"),
        ("MK**", "residue 3: '*' is a stop inside the sequence"),
        ("**", "residue 1: '*' is a stop inside the sequence"),
        ("MKß", "residue 3: 'ß' is not an amino acid esmkit knows"),
        ("MKé", "residue 3: 'é' is not an amino acid esmkit knows"),
        ("ＭK", "residue 1: 'Ｍ' is not an amino acid esmkit knows"),  # noqa: RUF001
        ("МKT", "residue 1: 'М' is not an amino acid esmkit knows"),  # noqa: RUF001 - Cyrillic
        ("A" * 1_500 + "J", "residue 1,501: 'J' is not an amino acid esmkit knows"),
    ],
)
def test_letters_without_a_token(tmp_path: Path, sequence: str, message: str):
    text = error_of(tmp_path / "in", f">OK\nMK\n>P1 x\n{sequence}\n".encode())
    assert text == f"sequence 'P1', {message}{REMEDY}"


HINTS = [
    ("MK-L", f"residue 3: '-' is a gap, and ESM-2 reads unaligned sequences{DEGAP}"),
    (
        ".MK~",
        "residue 1: '.' is a gap, and ESM-2 reads unaligned sequences (and 1 more such letters)"
        + DEGAP,
    ),
    ("MK\u2013L", f"residue 3: '\u2013' is a gap, and ESM-2 reads unaligned sequences{DEGAP}"),
    (
        "M1KJ",
        "residue 2: '1' is not an amino acid esmkit knows (is it a numbered listing?) (and 1 more "
        f"such letters); remove the numbers, {SKIP}",
    ),
    (
        "MK\x00L",
        r"residue 3: '\x00' is not an amino acid esmkit knows (it is a zero byte); check that the "
        f"file is text, {SKIP}",
    ),
    (
        "MK\tL",
        rf"residue 3: '\t' is not an amino acid esmkit knows (it is a blank); remove it, {SKIP}",
    ),
    (
        "MK\u200bL",
        r"residue 3: '\u200b' is not an amino acid esmkit knows (it cannot be seen); remove it, and "
        f"check that the file is text, {SKIP}",
    ),
    *(
        (
            f"MK{sign}LV",
            f"residue 3: '{sign}' is not an amino acid esmkit knows (does it join chains, as in "
            "ColabFold's and ESMFold's input? ESM-2 reads one chain at a time); give each chain a "
            f"record of its own, {SKIP}",
        )
        for sign in ":/|"
    ),
    (
        "MK(SEP)L",
        "residue 3: '(' is not an amino acid esmkit knows (is it a modified residue, written out?) "
        f"(and 1 more such letters); write the letter of its parent, or X, {SKIP}",
    ),
]


@pytest.mark.parametrize(("sequence", "message"), HINTS)
def test_signs_are_named_with_what_to_do(tmp_path: Path, sequence: str, message: str):
    text = error_of(tmp_path / "in", f">P1 x\n{sequence}\n".encode())
    assert text == f"sequence 'P1', {message}"


@pytest.mark.parametrize(
    "sign", [*"0123456789:/|,;()[]<>{}=+@#&$%^!\\\"'_", "\t", "\0", "\u200b", "\u00a0"]
)
@pytest.mark.parametrize("rule", ["replace", "degap"])
def test_no_x_stands_for_a_sign(sign: str, rule: OnInvalid):
    """X for ':' would join two chains, and X for a digit make a residue of a number."""
    with pytest.raises(InputError, match=r"residue 4: .* is not an amino acid esmkit knows"):
        clean_sequence(f"MKT{sign}MKT", on_invalid=rule)


def test_x_stands_for_letters_stops_gaps_and_unknown_residues():
    assert clean_sequence("MJ*-.~?\u00dfK", on_invalid="replace") == ("MXXXXXXXK", [*range(1, 8)])


@pytest.mark.parametrize("record", [">P1\n", ">P1\n\n", ">P1\n*\n", ">P1\n  \n", ">P1\n-.~\n--*\n"])
def test_empty_record(tmp_path: Path, record: str):
    gaps = " (it has gaps alone)" * ("-" in record)
    for data in (record + ">B\nMK\n", ">B\nMK\n" + record):  # at the start and at the end
        assert error_of(tmp_path / "in", data.encode()) == (
            f"sequence 'P1' is empty{gaps}; remove the record, or `on_invalid=\"skip\"` leaves it out"
        )


def test_header_without_an_id(tmp_path: Path):
    for header in (b">", b">   ", b">\t"):
        assert error_of(tmp_path / "in", b">A\nMK\n" + header + b"\nMK\n") == (
            "record 2 of 'FILE' has no ID after '>'; give it a name, such as '>protein_2', or "
            '`on_invalid="skip"` leaves the record out'
        )


def test_ids_may_be_long_but_not_absurd(tmp_path: Path):
    for size in (300, MAX_ID_BYTES):
        found, report = read_bytes(tmp_path, f">{'x' * size} rest\nMK\n".encode())
        assert found[0].id == "x" * size
        assert len(report.lines()) == 1
    for name in ("x" * (MAX_ID_BYTES + 1), "é" * (MAX_ID_BYTES // 2) + "x"):
        assert error_of(tmp_path / "in", f">{name} rest\nMK\n".encode()) == (
            f"record 1 of 'FILE' has an ID of 4,097 bytes ('{name[:29]}…'); put a space after the "
            'name, so that the rest is a description, or `on_invalid="skip"` leaves the record out'
        )


@pytest.mark.parametrize("name", ["P\x02", "P\x1b[31m", "P\x7f", "P\u200b1", "P\u202e1"])
def test_invisible_characters_in_an_id(tmp_path: Path, name: str):
    assert error_of(tmp_path / "in", f">{name} rest\nMK\n".encode()) == (
        f"record 1 of 'FILE' has an ID with an invisible character ({name!r}); rename the record, "
        'or check that the file is text, or `on_invalid="skip"` leaves the record out'
    )


@pytest.mark.parametrize("header", [b"P1 some\0thing", b"P1\0", b"P1 \0"])
def test_zero_byte_in_a_header(tmp_path: Path, header: bytes):
    text = error_of(tmp_path / "in", b">" + header + b"\nMK\n")
    assert re.fullmatch(
        r"record 1 of 'FILE' has a zero byte in its header \('P1(\\x00)?'\); check that the file "
        r'is text, or `on_invalid="skip"` leaves the record out',
        text,
    )


def test_items_that_are_no_proteins():
    with pytest.raises(InputError, match=r"^item 2 is a int; give sequences or Protein records$"):
        list(clean_proteins(["MK", 3]))  # type: ignore[list-item]


def test_errors_of_bare_sequences():
    with pytest.raises(InputError, match=r"^the sequence is empty; remove the record"):
        clean_sequence("*")
    with pytest.raises(InputError, match=r"^the sequence, residue 1: 'J' is not"):
        clean_sequence("J")
    with pytest.raises(InputError, match=r"^sequence 'sequence_2', residue 2: '-' is a gap"):
        list(clean_proteins(["MK", "M-"]))


def test_long_names_are_shortened_in_messages():
    with pytest.raises(InputError, match=rf"^sequence '{'x' * 59}…', residue 1: 'J' is not"):
        clean_sequence("J", "x" * 300)


def test_unknown_rule(tmp_path: Path):
    path = write_fasta(tmp_path / "in", {"A": "MK"})
    with pytest.raises(
        OptionError, match=r"^on_invalid is 'error', 'replace', 'skip' or 'degap', not 'drop'$"
    ):
        list(read_fasta(path, on_invalid="drop"))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- replace and skip


def test_replace_writes_x_and_reports_it(tmp_path: Path):
    data = ">A\nMKJ-L*\n>B\nm*kß\n>C\nMK\n".encode()
    found, report = read_bytes(tmp_path, data, "replace")
    assert [(p.id, p.sequence) for p in found] == [("A", "MKXXL"), ("B", "MXKX"), ("C", "MK")]
    assert (report.letters_replaced, report.records_with_replacements) == (4, 2)
    assert report.replaced_in == ["A residue 3 (-J)", "B residue 2 (*ß)"]
    assert (report.stops_removed, report.case_folded) == (1, 1)
    assert report.lines()[1] == (
        "2 record(s) in which 4 letter(s) were replaced by X: A residue 3 (-J); B residue 2 (*ß)"
    )


def test_replace_does_not_invent_residues_for_an_empty_record(tmp_path: Path):
    with pytest.raises(InputError, match=r"^sequence 'A' is empty"):
        read_bytes(tmp_path, b">A\n*\n", "replace")


def test_positions_of_replaced_letters():
    assert clean_sequence("aJc-*", on_invalid="replace") == ("AXCX", [1, 3])


def test_skip_leaves_records_out_and_lists_them(tmp_path: Path):
    data = b">A\nMKJ\n>B\nMK\n>C\n\n>sp;D\nMK;L\n>B\nGG\n"
    found, report = read_bytes(tmp_path, data, "skip")
    assert [(p.id, p.sequence) for p in found] == [("B", "MK"), ("B~2", "GG")]
    assert (report.records, report.proteins, report.residues) == (5, 2, 4)
    assert report.skipped == 3
    assert report.skipped_records == [
        "sequence 'A', residue 3: 'J' is not an amino acid esmkit knows",
        "sequence 'C' is empty",
        "sequence 'sp;D', residue 3: ';' is not an amino acid esmkit knows (are these several "
        "sequences, or is it a comment?)",
    ]
    assert report.lines()[1].startswith("3 record(s) left out: sequence 'A', residue 3")


def test_a_skipped_record_does_not_use_up_its_id(tmp_path: Path):
    found, _ = read_bytes(tmp_path, b">A\nMJ\n>A\nMK\n", "skip")
    assert [p.id for p in found] == ["A"]


# ---------------------------------------------------------------------------- IDs and headers


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        ("A A A", "A A~2 A~3"),
        ("A~2 A A", "A~2 A A~3"),  # the name exists already
        ("A A A~2", "A A~2 A~2~2"),  # it comes later
        ("A A~2 A A A~3", "A A~2 A~3 A~4 A~3~2"),
        ("A~2 A~2 A A", "A~2 A~2~2 A A~3"),
    ],
)
def test_repeated_ids(tmp_path: Path, names: str, unique: str):
    data = "".join(f">{name}\nMK\n" for name in names.split())
    found, report = read_bytes(tmp_path, data.encode())
    assert [p.id for p in found] == unique.split()
    renamed = [f"{a} -> {b}" for a, b in zip(names.split(), unique.split(), strict=True) if a != b]
    assert report.renamed == renamed
    assert report.duplicate_ids == len(renamed)


@given(st.lists(st.sampled_from(["A", "A~2", "A~3", "A~2~2", "B"]), max_size=30))
def test_ids_are_unique_and_first_comers_keep_theirs(names: list[str]):
    ids = [p.id for p in clean_proteins(Protein(name, "MK") for name in names)]
    assert len(set(ids)) == len(names)
    for name, unique in zip(names, ids, strict=True):
        assert unique.startswith(name)
    for name in {"A", "B"} & set(names):  # made-up names never begin an input's own plain name
        assert ids[names.index(name)] == name


def test_huge_header_is_cut_and_reported(tmp_path: Path):
    header = "P1 " + "é" * 40_000
    found, report = read_bytes(tmp_path, f">{header}\nMK\n>P2\nGG\n".encode())
    kept = found[0].header
    assert header.startswith(kept)
    assert MAX_HEADER_BYTES - 2 < len(kept.encode()) <= MAX_HEADER_BYTES
    assert (found[0].id, found[0].sequence, found[1].id) == ("P1", "MK", "P2")
    assert report.headers_cut == 1
    assert report.lines()[1:] == ["1 header(s) cut to 32,768 bytes"]


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES - 1, MAX_HEADER_BYTES])
def test_longest_header_stays_whole(tmp_path: Path, size: int):
    header = "P1 " + "x" * (size - 3)
    found, report = read_bytes(tmp_path, f">{header}\nMK\n".encode())
    assert found[0].header == header
    assert report.headers_cut == 0


def test_unicode_headers_are_kept(tmp_path: Path):
    found, report = read_bytes(tmp_path, ">β-actin 中文 é\nMK\n".encode())
    assert (found[0].id, found[0].header) == ("β-actin", "β-actin 中文 é")
    assert report.headers_not_utf8 == 0


def test_headers_in_another_encoding_are_reported(tmp_path: Path):
    found, report = read_bytes(tmp_path, ">P1 protéine\nMK\n>P2 ok\nGG\n".encode("latin-1"))
    assert found[0].header == "P1 prot\N{REPLACEMENT CHARACTER}ine"
    assert report.lines()[1:] == [
        "1 header(s) not in UTF-8, odd bytes read as '\N{REPLACEMENT CHARACTER}'"
    ]


# ---------------------------------------------------------------------------- the report


def test_report_counts_and_lines(tmp_path: Path):
    data = b">A\nmkt*\n>A\nMKT\n>B\nGGGGG*\n>C\nMKl\n"
    _, report = read_bytes(tmp_path, data)
    assert report.to_dict() == {
        "records": 4,
        "proteins": 4,
        "residues": 14,
        "longest": 5,
        "case_folded": 2,
        "stops_removed": 2,
        "duplicate_ids": 1,
        "renamed": ["A -> A~2"],
    }
    assert report.lines() == [
        "4 record(s) read, 4 protein(s) kept, 14 residues, longest 5",
        "1 repeated ID(s), renamed: A -> A~2",
        "2 trailing '*' removed",
        "2 sequence(s) with lower-case letters, folded to upper case",
    ]


def test_clean_input_leaves_one_line(tmp_path: Path):
    _, report = read_bytes(tmp_path, b">A\nMKT\n")
    assert report.to_dict() == {"records": 1, "proteins": 1, "residues": 3, "longest": 3}
    assert report.lines() == ["1 record(s) read, 1 protein(s) kept, 3 residues, longest 3"]


def test_letters_without_case_are_not_reported_as_folded(tmp_path: Path):
    _, report = read_bytes(tmp_path, ">A\nMKß\n>B\nMK--\n".encode(), "replace")
    assert report.case_folded == 0


def test_examples_are_bounded_but_counts_exact():
    report = InputReport()
    many = 5 * LISTED_EXAMPLES
    assert not list(clean_proteins(["J"] * many, on_invalid="skip", report=report))
    assert report.skipped == many
    assert len(report.skipped_records) == LISTED_EXAMPLES
    assert report.lines()[1].endswith(f"; and {many - 3:,} more")


# ---------------------------------------------------------------------------- properties


def test_reading_streams(tmp_path: Path):
    """The peak is the 64-bit hashes of the IDs, 90 bytes each; held records would be 500."""
    path = tmp_path / "many.fasta"
    count = 50_000
    with path.open("w") as handle:
        handle.writelines(f">protein_{number}\n{'MKTVRQERLK' * 30}\n" for number in range(count))
    tracemalloc.start()
    try:
        seen = sum(1 for _ in read_fasta(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == count
    assert peak < 150 * count


def read_any(folder: Path, data: bytes, on_invalid: OnInvalid) -> None:
    """Read; the only exceptions are esmkit's own, and what is read is clean."""
    try:
        found, report = read_bytes(folder, data, on_invalid)
    except EsmkitError:
        return
    assert found or report.skipped
    assert len({p.id for p in found}) == len(found) == report.proteins
    for protein in found:
        assert protein.sequence
        assert set(protein.sequence) <= ALLOWED_LETTERS
        assert protein.id == id_in(protein.header) or "~" in protein.id
        assert "\0" not in protein.header


rules = st.sampled_from(["error", "replace", "skip", "degap"])


@given(text=st.text(), begin=st.sampled_from(["", ">", ">A\n", "\n>A b\nMK"]), rule=rules)
def test_any_text_reads_or_is_refused(tmp_path_factory, text: str, begin: str, rule: OnInvalid):
    read_any(tmp_path_factory.getbasetemp(), (begin + text).encode(), rule)


@given(data=st.binary(), begin=st.sampled_from([b"", b">", b">A\n", b"\x1f\x8b\x08"]), rule=rules)
def test_any_bytes_read_or_are_refused(
    tmp_path_factory, data: bytes, begin: bytes, rule: OnInvalid
):
    read_any(tmp_path_factory.getbasetemp(), begin + data, rule)


@given(data=st.data())
def test_any_damage_to_a_gzip_file_is_noticed_or_harmless(tmp_path_factory, data: st.DataObject):
    where = data.draw(st.integers(0, len(PACKED) - 1))
    damaged = bytearray(PACKED)
    damaged[where] ^= data.draw(st.integers(1, 255))
    whole, _ = read_bytes(tmp_path_factory.getbasetemp(), PACKED)
    try:
        found, _ = read_bytes(tmp_path_factory.getbasetemp(), bytes(damaged))
    except EsmkitError:
        return
    assert found == whole  # only the gzip header holds bytes that change nothing


@given(st.text(), rules)
def test_clean_sequence_of_any_text(sequence: str, rule: OnInvalid):
    try:
        cleaned, replaced = clean_sequence(sequence, on_invalid=rule)
    except InputError:
        return
    assert set(cleaned) <= ALLOWED_LETTERS
    if rule == "degap":
        sequence = "".join(letter for letter in sequence if letter not in GAPS)
    assert len(cleaned) == len(sequence.removesuffix("*"))
    assert all(cleaned[i] == "X" for i in replaced)
    assert all(a < b for a, b in pairwise(replaced))
    kept = [i for i in range(len(cleaned)) if i not in set(replaced)]
    assert all(cleaned[i] == sequence[i].upper() for i in kept)
    assert rule == "replace" or not replaced


words = st.text(st.characters(categories=["L", "N", "P"], max_codepoint=0x2FFF), min_size=1)
proteins = st.dictionaries(words, st.text(sorted(ALLOWED_LETTERS), min_size=1), min_size=1)


@given(proteins, st.integers(1, 80))
def test_written_proteins_read_back(tmp_path_factory, records: dict[str, str], width: int):
    text = "".join(f">{name}\n{wrapped(s, width)}\n" for name, s in records.items())
    found, report = read_bytes(tmp_path_factory.getbasetemp(), text.encode())
    assert {p.id: p.sequence for p in found} == records
    odd = report.rare_letters + report.missing_values + report.like_text
    assert bool(odd) == (len(report.lines()) > 1)


@pytest.mark.parametrize(
    ("given_proteins", "single"),
    [
        ("MKT", True),
        (Protein("a", "MKT"), True),
        (["MKT"], False),
        (iter([Protein("a", "MKT")]), False),
        ("{}/in.fasta", False),
        (Path("in.fasta"), False),
    ],
)
def test_one_is_told_from_many(tmp_path: Path, monkeypatch, given_proteins, single: bool):
    monkeypatch.chdir(tmp_path)
    Path("in.fasta").write_text(">a\nMKT\n")
    if isinstance(given_proteins, str):
        given_proteins = given_proteins.format(tmp_path)
    found, stream = one_or_many(given_proteins)
    assert found is single
    assert [protein.sequence for protein in stream] == ["MKT"]


def test_the_only_result_or_why_there_is_none():
    single, stream = one_or_many("MJT", on_invalid="skip")
    assert single
    with pytest.raises(
        InputError,
        match=r'^the sequence was left out by `on_invalid="skip"`; nothing is left to draw$',
    ):
        only_result(stream, "draw")
    assert only_result(iter([3]), "draw") == 3


@pytest.mark.parametrize("function", [read_fasta, clean_proteins, clean_sequence])
def test_a_rule_that_there_is_not_is_refused_at_the_call(function: Any, tmp_path: Path):
    path = tmp_path / "x.fasta"
    path.write_text(">P1\nMKT\n")
    asked = {read_fasta: path, clean_proteins: ["MKT"], clean_sequence: "MKT"}[function]
    with pytest.raises(OptionError, match="'skip' or 'degap', not 'remove'"):
        function(asked, on_invalid="remove")
