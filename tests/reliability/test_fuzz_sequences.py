"""Generated FASTA, plain and packed, and generated sequences: read, or refused with a reason."""

import gzip
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from Bio.SeqIO.FastaIO import SimpleFastaParser
from fuzzing import TRIALS, Tally, many, peak
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_fasta
from esmkit.errors import InputError
from esmkit.sequences.fasta import fasta_records
from esmkit.sequences.index import InputIndex
from esmkit.sequences.letters import ALLOWED_LETTERS, GAPS, OnInvalid, clean_sequence
from esmkit.sequences.proteins import read_fasta
from esmkit.sequences.report import InputReport
from esmkit.sequences.tokens import decode, encode
from esmkit.text import open_text, visible

CORPUS = Path(__file__).parent / "corpus"
REAL = demo_fasta().read_bytes()[:3_000]

LETTERS = "".join(sorted(ALLOWED_LETTERS))
ODD = [
    "\0",
    "\t",
    "\x0b",
    "\x1b[2J",
    "\u00a0",
    "\u00df",
    "\u0130",
    "\u202e",
    "\u2028",
    "\ufeff",
    "\uff2d",
    "\U0001f9ec",
]
ODD += [
    " ",
    "*",
    "**",
    "-",
    ".",
    "J",
    "j",
    "1",
    ">",
    ";",
    "\\",
    "'",
    '"',
    "%2F",
    "/",
    "..",
    "\r",
    "\n",
]
NAMES = ["A", "A", "A~2", "B", "sp|P69905|HBA_HUMAN Hemoglobin", ">A", "=1+1", "", " ", "x" * 5_000]
ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\n\n", " \n", "\u2028", "\x0b", ""]
ENCODINGS = ["utf-8"] * 9 + ["latin-1", "utf-16", "utf-16-le", "utf-8-sig", "cp037", "utf-32"]


def letters_of(chance: random.Random) -> str:
    """A sequence, mostly a good one."""
    text = "".join(chance.choices(LETTERS, k=chance.choice([0, 1, 3, 10, 60, 61, 300])))
    kind = chance.randrange(12)
    if kind == 0:
        text = text.lower()
    elif kind == 1:
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.choice(ODD) + text[place:]
    elif kind == 2:
        text += "*"
    elif kind == 3:
        text = "".join(chance.choices("ACGTUN", k=40))
    elif kind == 4:
        text = "".join(chr(chance.randrange(1, 0x3000)) for _ in range(chance.randrange(9)))
    return text


def written(chance: random.Random) -> bytes:
    """A FASTA file as somebody might have written it."""
    parts = []
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        kind = chance.randrange(14)
        name = chance.choice(NAMES) if kind else "".join(chance.choices(ODD + NAMES, k=3))
        if kind == 1:
            name += " " + "".join(chance.choices(ODD, k=4))
        start = chance.choice(["; comment\n", "\ufeff>", "", " >", "@"]) if kind == 2 else ">"
        parts += [start, name, chance.choice(ENDS)]
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            parts += [letters_of(chance), chance.choice(ENDS)]
    return "".join(parts).encode(chance.choice(ENCODINGS), errors="replace")


def damaged(chance: random.Random, base: bytes) -> bytes:
    """Bytes of a file with some of them replaced, cut out, repeated or moved."""
    data = bytearray(base)
    for _ in range(chance.randint(1, 6)):
        if not data:
            break
        a = chance.randrange(len(data))
        b = min(len(data), a + chance.choice([1, 1, 2, 5, 40, 400]))
        kind = chance.randrange(5)
        if kind == 0:
            data[a:b] = chance.randbytes(b - a)
        elif kind == 1:
            del data[a:b]
        elif kind == 2:
            data[a:a] = data[a:b] * chance.choice([1, 2, 50])
        elif kind == 3:
            data[a:a] = chance.choice(
                [b">", b"\n", b"\r", b"\0", b"*", b"-", b"\xff", b"J", b" ", b">\n"]
            )
        else:
            data[a] ^= 1 << chance.randrange(8)
    return bytes(data)


SEEDS = [
    REAL,
    *(path.read_bytes() for path in sorted(CORPUS.glob("*.fasta*")) if path.stat().st_size < 9_999),
]


def a_file(chance: random.Random) -> bytes:
    kind = chance.randrange(10)
    if kind < 6:
        return written(chance)
    return (
        damaged(chance, chance.choice(SEEDS))
        if kind < 9
        else chance.randbytes(chance.randrange(99))
    )


def packed(chance: random.Random) -> bytes:
    """A file, as it is or packed: whole, of several members, cut short, or damaged."""
    data = a_file(chance)
    how = chance.randrange(14)
    if how > 5:
        return data
    whole = gzip.compress(data, 1, mtime=0)
    if how == 0:
        half = len(data) // 2
        return gzip.compress(data[:half], 1) + gzip.compress(data[half:], 1)
    if how == 1:
        return whole[: chance.randrange(len(whole) + 1)]
    if how == 2:
        return whole + chance.randbytes(chance.randint(1, 20))
    if how == 3:
        return damaged(chance, whole)
    return gzip.compress(whole, 1) if how == 4 else whole


# Hypothesis chooses a number, and the file follows from it: so it is fifty times as fast as when
# each choice is drawn, and a failure still names the number that makes it again.
chances = st.integers(0, 2**64 - 1).map(random.Random)
rules = st.sampled_from(["error", "replace", "skip", "degap"])
texts = st.one_of(
    st.text(LETTERS, min_size=1, max_size=60),
    st.text("ACDEFGHIKLMNPQRSTVWYacdefgxbuzoj*-. \t", max_size=40),
    st.text(max_size=12),
)


def test_fasta_files(tmp_path: Path):
    """What is accepted is clean, and reads back as it is when it is written again."""
    tally = Tally("FASTA files")
    path, again = tmp_path / "x", tmp_path / "y"

    @many(1_500)
    @given(chance=chances, rule=rules)
    def run(chance: random.Random, rule: OnInvalid) -> None:
        path.write_bytes(packed(chance))
        report = InputReport()
        with tally.trial():
            found = list(read_fasta(path, on_invalid=rule, report=report))
            assert len(found) == report.proteins == report.records - report.skipped
            assert len({protein.id for protein in found}) == len(found)
            for protein in found:
                assert protein.sequence
                assert set(protein.sequence) <= ALLOWED_LETTERS
                assert protein.id.isprintable()
            assert all(visible(line) == line for line in report.lines())
            lines = "".join(f">{p.header}\n{p.sequence}\n" for p in found)
            again.write_text(lines, encoding="utf-8", newline="\n")
            assert not found or list(read_fasta(again)) == found

    run()
    tally.report()


def test_as_biopython_cuts_them(tmp_path: Path):
    """Header and sequence of each record are those of Biopython, whatever the bytes."""
    path = tmp_path / "x"

    @many(300)
    @given(chance=chances)
    def run(chance: random.Random) -> None:
        path.write_bytes(b">start\n" + a_file(chance))
        with open_text(path) as handle:
            expected = list(SimpleFastaParser(handle))
        found = []
        try:
            for record in fasta_records(path):
                found.append((record.header, record.sequence))
        except InputError as error:
            text = str(error)
            assert ": a line end is missing before '>'" in text or "a zero byte" in text
            # Biopython glues the records from there on
            assert found == expected[: len(found)]
            assert ">" in expected[len(found)][1]
            return
        assert found == expected
        assert not any(">" in sequence for _, sequence in expected)

    run()


def test_indexed_files(tmp_path: Path):
    """Every pass over an input sees the same proteins."""
    tally = Tally("FASTA index")
    path = tmp_path / "x"

    @many(150)
    @given(chance=chances, rule=rules)
    def run(chance: random.Random, rule: OnInvalid) -> None:
        path.write_bytes(packed(chance))
        with tally.trial():
            index = InputIndex.build([path], on_invalid=rule, scratch=tmp_path)
            found = list(index.proteins())
            assert [len(protein) for _, protein in found] == index.lengths.tolist()
            by_number = {number: protein.sequence for number, protein in found}
            assert len(set(by_number.values())) == len(by_number) == index.sequences
            distinct = [(number, protein.sequence) for number, protein in index.distinct()]
            assert distinct == sorted(by_number.items())

    run()
    tally.report()


def test_alphabet():
    """A sequence is refused, or every residue of it is one token that reads back."""
    tally = Tally("alphabet")

    @many(500)
    @given(text=texts, mask=st.lists(st.integers(-2, 60), max_size=3), rule=rules)
    def run(text: str, mask: list[int], rule: OnInvalid) -> None:
        with tally.trial():
            sequence, replaced = clean_sequence(text, "P1", on_invalid=rule)
            kept = text if rule != "degap" else "".join(c for c in text if c not in GAPS)
            assert len(sequence) == len(kept.removesuffix("*"))
            assert all(sequence[place] == "X" for place in replaced)
            ids = encode(sequence)
            assert ids.dtype == np.int64
            assert len(ids) == len(sequence) + 2
            assert decode(ids) == f"<cls>{sequence}<eos>"
            masked = encode(sequence, mask=mask)
            assert (masked != ids).sum() == len(set(mask))

    run()
    tally.report()


# ------------------------------------------------------------------------------- large, by hand


def bomb(path: Path, start: bytes, block: bytes, times: int) -> int:
    """Write a gzip file of ``start`` and so many blocks; return its unpacked size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.open("wb") as handle:
        handle.write(packer.compress(start))
        for _ in range(times):
            handle.write(packer.compress(block))
        handle.write(packer.flush())
    return len(start) + times * len(block)


@pytest.mark.parametrize(
    ("start", "block", "message"),
    [  # megabytes of each are read before the end is seen
        (
            b">A\n",
            b"M" * 2**20,
            "sequence 'A' has over 1,000,000 letters, and no protein has nearly",
        ),
        (b">A\n", b"MKTVRQERLKS\n" * 87_381, "sequence 'A' has over 1,000,000 letters"),
        (b">A\n", b"\n" * 2**20, "sequence 'A' is empty"),
        (b">A\n", b" \t \n" * 2**18, "sequence 'A' is empty"),
        (b">", b"A" * 2**20, "has an ID of over 32,768 bytes"),
        (b">A ", b"x" * 2**20, "sequence 'A' is empty"),
        (b"", b"\n" * 2**20, "is empty; a FASTA file has a '>' line"),
        (b"", b"\0" * 2**20, "is not FASTA: it begins with"),
    ],
    ids=["line", "lines", "empty lines", "blank lines", "ID", "header", "nothing", "zeros"],
)
def test_a_small_file_that_unfolds_to_a_large_one(tmp_path: Path, start, block, message):
    """Up to a gigabyte in the long form; the memory is that of one record."""
    path = tmp_path / "bomb.fasta.gz"
    times = 10 if b"\n" in block[:5] else 100  # empty lines are read one by one
    size = bomb(path, start, block, times * min(TRIALS, 10))
    assert path.stat().st_size < size / 100
    before = peak(reset=True)
    with pytest.raises(InputError) as caught:
        list(read_fasta(path))
    assert message in str(caught.value)
    assert peak() - before < 40


def test_the_rest_of_a_record_that_is_left_out_is_not_kept(tmp_path: Path):
    path = tmp_path / "x.fasta"
    with path.open("w") as handle:
        handle.write(">A\nMKT\n>chromosome\n")
        handle.writelines("ACGT" * 250_000 + "\n" for _ in range(60))
        handle.write(">B\nMKTV\n>C\n" + "M" * 1_000_000 + "\n")
    report = InputReport()
    tally = Tally("long record")
    with tally.trial():
        found = list(read_fasta(path, on_invalid="skip", report=report))
        assert [protein.id for protein in found] == ["A", "B", "C"]
        assert len(found[2]) == 1_000_000
    assert tally.outcomes["accepted"] == 1
    assert tally.largest < 40
    assert report.skipped == 1
    assert "'chromosome' has over 1,000,000 letters" in report.lines()[1]
