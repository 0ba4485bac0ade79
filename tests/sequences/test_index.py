"""The first pass over the input: repeats found, bytes fingerprinted, changes noticed."""

import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esmkit.data import demo_fasta
from esmkit.errors import InputError
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import Protein, read_fasta
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta


def write_list(path: Path, sequences: list[str]) -> Path:
    return write_fasta(path, {f"P{i}": sequence for i, sequence in enumerate(sequences)})


def expected_numbers(sequences: list[str]) -> tuple[list[int], list[int]]:
    """Number of each record's sequence and first record of each sequence, with a dictionary."""
    number: dict[str, int] = {}
    for sequence in sequences:
        number.setdefault(sequence, len(number))
    first = {}
    for record, sequence in enumerate(sequences):
        first.setdefault(sequence, record)
    return [number[sequence] for sequence in sequences], list(first.values())


@given(st.lists(st.text("AC", min_size=1, max_size=3), min_size=1, max_size=40))
def test_repeats_are_numbered_as_a_dictionary_does(tmp_path_factory, sequences: list[str]):
    folder = tmp_path_factory.getbasetemp()
    index = InputIndex.build([write_list(folder / "in.fasta", sequences)], scratch=folder)
    unique_of, first_of = expected_numbers(sequences)
    assert index.unique_of.tolist() == unique_of
    assert index.first_of.tolist() == first_of
    assert index.lengths.tolist() == [len(s) for s in sequences]
    assert index.sequences == len(set(sequences))
    assert index.residues_to_compute == sum(len(s) for s in set(sequences))
    assert index.report.duplicate_sequences == len(sequences) - len(set(sequences))
    assert [(n, p.sequence) for n, p in index.proteins()] == list(
        zip(unique_of, sequences, strict=True)
    )
    assert [(n, p.id) for n, p in index.distinct()] == [
        (n, f"P{record}") for n, record in enumerate(first_of)
    ]


def test_equal_after_cleaning_is_equal(tmp_path: Path):
    path = tmp_path / "in.fasta"
    path.write_text(">A\nMKT\n>B\nmkt*\n>C\nM\nK\nT\n>D\nMKX\n>E\nMKJ\n")
    index = InputIndex.build([path], on_invalid="replace", scratch=tmp_path)
    assert index.unique_of.tolist() == [0, 0, 0, 1, 1]
    assert [p.sequence for _, p in index.proteins()] == ["MKT", "MKT", "MKT", "MKX", "MKX"]


def test_skipped_records_have_no_number(tmp_path: Path):
    path = tmp_path / "in.fasta"
    path.write_text(">A\nMKT\n>B\nMKJ\n>C\nGG\n")
    index = InputIndex.build([path], on_invalid="skip", scratch=tmp_path)
    assert [(n, p.id) for n, p in index.proteins()] == [(0, "A"), (1, "C")]


def test_several_files_count_as_one_input(tmp_path: Path):
    one = write_list(tmp_path / "one.fasta", ["MK", "GG"])
    two = tmp_path / "two.fa.gz"
    two.write_bytes(gzip.compress(b">P0 again\nGG\n>Q\nW\n"))
    index = InputIndex.build([one, str(two)], scratch=tmp_path)
    assert index.unique_of.tolist() == [0, 1, 1, 2]
    assert [p.id for _, p in index.proteins()] == ["P0", "P1", "P0~2", "Q"]
    assert [p.id for _, p in index.distinct()] == ["P0", "P1", "Q"]
    assert index.paths == (one, two)
    assert [f["name"] for f in index.files] == ["one.fasta", "two.fa.gz"]


def test_hash_and_size_are_those_of_the_file(tmp_path: Path):
    index = InputIndex.build([demo_fasta()], scratch=tmp_path)
    line = subprocess.run(
        ["sha256sum", demo_fasta()], capture_output=True, text=True, check=True
    ).stdout
    assert index.files == [
        {
            "name": "demo.fasta",
            "bytes": demo_fasta().stat().st_size,
            "sha256": line.split()[0],
        }
    ]


# ---------------------------------------------------------------------------- read only once


def test_standard_input_is_kept_for_the_second_pass(tmp_path, monkeypatch: pytest.MonkeyPatch):
    data = gzip.compress(demo_fasta().read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    index = InputIndex.build(["-"], scratch=tmp_path)
    for _ in range(2):
        assert [p for _, p in index.proteins()] == list(read_fasta(demo_fasta()))
    assert index.files == [
        {
            "name": "standard input",
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
    ]
    assert index.paths[0].parent == tmp_path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.timeout(30)
def test_a_pipe_is_kept_for_the_second_pass(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    writer = threading.Thread(target=pipe.write_bytes, args=[demo_fasta().read_bytes()])
    writer.start()
    index = InputIndex.build([pipe], scratch=scratch)
    writer.join()
    assert [p for _, p in index.proteins()] == list(read_fasta(demo_fasta()))
    assert index.files[0]["name"] == "pipe"


def test_errors_name_standard_input_not_its_copy(tmp_path, monkeypatch: pytest.MonkeyPatch):
    for data, text in [
        (b"", "'standard input' is empty; a FASTA file has a '>' line for each protein"),
        (b">\nMK\n", "record 1 of 'standard input' has no ID after '>'"),
    ]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        with pytest.raises(InputError, match="^" + re.escape(text)):
            InputIndex.build(["-"], scratch=tmp_path)


# ---------------------------------------------------------------------------- changed input

THREE = ["MKTVRQ", "GGGG", "WWWWW"]

CHANGED = (
    r"^the input changed while it was being read; leave the file alone and run the same again$"
)


@pytest.mark.parametrize(
    "after",
    [
        ["MKTVRQ", "GGGGG", "WWWWW"],
        ["MKTVRQ", "GGGA", "WWWWW"],
        ["MKTVRQ", "GGGG", "WWWWA"],
        ["GGGG", "MKTVRQ", "WWWWW"],
        ["MKTVRQ", "GGGG"],
        ["MKTVRQ", "GGGG", "WWWWW", "WWWWW"],
        ["MKTVRQ", "GGGG", "WWWWW", "A"],
        ["GGGG", "WWWWW"],
    ],
    ids=["length", "letter", "last", "order", "removed", "repeat added", "added", "first removed"],
)
@pytest.mark.parametrize("way", [InputIndex.proteins, InputIndex.distinct])
def test_a_file_that_changes_is_refused(tmp_path: Path, after: list[str], way: Callable):
    path = write_list(tmp_path / "in.fasta", THREE)
    index = InputIndex.build([path], scratch=tmp_path)
    write_list(path, after)
    with pytest.raises(InputError, match=CHANGED):
        list(way(index))


def test_records_before_the_change_are_right(tmp_path: Path):
    path = write_list(tmp_path / "in.fasta", THREE)
    index = InputIndex.build([path], scratch=tmp_path)
    write_list(path, ["MKTVRQ", "GGGG", "AAAAA"])
    seen: list[tuple[int, Protein]] = []
    with pytest.raises(InputError, match=CHANGED):
        seen.extend(index.proteins())
    assert [protein.sequence for _, protein in seen] == THREE[:2]


def test_a_file_that_goes_away_is_named(tmp_path: Path):
    path = write_list(tmp_path / "in.fasta", THREE)
    index = InputIndex.build([path], scratch=tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=re.escape(f"there is no file '{path}'")):
        list(index.proteins())


def test_digests_that_end_in_zero_bytes(tmp_path: Path):
    """NumPy strips trailing zeros from fixed-width bytes: 1 digest in 256 looks shorter."""
    sequences = [random_sequence(12, seed) for seed in range(3_000)]
    index = InputIndex.build([write_list(tmp_path / "in.fasta", sequences)], scratch=tmp_path)
    stripped = sum(len(bytes(digest)) < 16 for digest in index.digests)
    assert stripped > 0  # else this test shows nothing
    assert [p.sequence for _, p in index.proteins()] == sequences
    assert index.unique_of.tolist() == expected_numbers(sequences)[0]


# ---------------------------------------------------------------------------- refused


def test_no_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"^no FASTA file given; name one, or - for standard"):
        InputIndex.build([], scratch=tmp_path)


def test_standard_input_twice(tmp_path: Path):
    with pytest.raises(InputError, match=r"^standard input \(-\) can be read once only; name it"):
        InputIndex.build(["-", "-"], scratch=tmp_path)


def test_nothing_left(tmp_path: Path):
    path = write_list(tmp_path / "in.fasta", ["J", "MJ"])
    with pytest.raises(
        InputError,
        match=r"^no protein is left of 2 record\(s\), all were skipped; the first: sequence 'P0', "
        r"residue 1: 'J' is not an amino acid esmkit knows; `on_invalid=\"replace\"` writes X for "
        r"unknown letters$",
    ):
        InputIndex.build([path], on_invalid="skip", scratch=tmp_path)


@pytest.mark.parametrize(
    ("sequences", "advice"),
    [
        (["MK:MK"], "mend the records, or name other ones"),
        (["MK12"], "mend the records, or name other ones"),
        (["M-K"], '`on_invalid="degap"` removes gaps'),
        (
            ["M-K", "MJ"],
            '`on_invalid="replace"` writes X for unknown letters, and `on_invalid="degap"` removes '
            "gaps",
        ),
    ],
)
def test_nothing_left_advises_what_helps(tmp_path: Path, sequences: list[str], advice: str):
    path = write_list(tmp_path / "in.fasta", sequences)
    with pytest.raises(InputError, match="no protein is left") as caught:
        InputIndex.build([path], on_invalid="skip", scratch=tmp_path)
    assert str(caught.value).rpartition("; ")[2] == advice


def test_the_first_bad_record_is_named(tmp_path: Path):
    path = write_list(tmp_path / "in.fasta", ["MK", "MJ"])
    with pytest.raises(InputError, match=r"^sequence 'P1', residue 2: 'J' is not an amino acid"):
        InputIndex.build([path], scratch=tmp_path)


def test_types_and_order(tmp_path: Path):
    index = InputIndex.build([write_list(tmp_path / "in.fasta", THREE)], scratch=tmp_path)
    for array in (index.unique_of, index.first_of, index.lengths):
        assert array.dtype == np.int64
    assert (np.diff(index.first_of) > 0).all()
    assert index.digests.dtype == "S16"
    assert index.digests.shape == (3,)
