"""Generated FASTA, plain and packed, and generated sequences: read, or refused with a reason."""

import random
import zlib
from pathlib import Path

import numpy as np
import pytest
from Bio.SeqIO.FastaIO import SimpleFastaParser
from fuzzing import TRIALS, Tally, many, peak
from grammars import a_fasta
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_fasta
from esmkit.errors import InputError
from esmkit.sequences.fasta import fasta_records
from esmkit.sequences.letters import ALLOWED_LETTERS, GAPS, OnInvalid, clean_sequence
from esmkit.sequences.proteins import read_fasta
from esmkit.sequences.report import InputReport
from esmkit.sequences.tokens import decode, encode
from esmkit.text import open_text

CORPUS = Path(__file__).parent / "corpus"
REAL = demo_fasta().read_bytes()[:3_000]

# Hypothesis chooses a number, and the file follows from it: so it is fifty times as fast as when
# each choice is drawn, and a failure still names the number that makes it again.
chances = st.integers(0, 2**64 - 1).map(random.Random)
rules = st.sampled_from(["error", "replace", "skip", "degap"])
texts = st.one_of(
    st.text("".join(sorted(ALLOWED_LETTERS)), min_size=1, max_size=60),
    st.text("ACDEFGHIKLMNPQRSTVWYacdefgxbuzoj*-. \t", max_size=40),
    st.text(max_size=12),
)


def test_as_biopython_cuts_them(tmp_path: Path):
    """Header and sequence of each record are those of Biopython, whatever the bytes."""
    path = tmp_path / "x"

    @many(300)
    @given(chance=chances)
    def run(chance: random.Random) -> None:
        path.write_bytes(b">start\n" + a_fasta(chance)[1])
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
