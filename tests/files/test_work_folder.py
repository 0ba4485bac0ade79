"""Shards, checksums, fingerprints and the atomic finish."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from esmkit.errors import OutputError, ResumeError
from esmkit.files import disk
from esmkit.files.disk import check_output
from esmkit.files.shards import ShardPaths, ShardReader, read_shard
from esmkit.files.work_folder import WorkFolder, finished_by_killed_run, tidy_up

PRINT = {"input": ["abc"], "layers": [6]}


def arrays(*numbers: int) -> dict[int, np.ndarray]:
    return {n: np.full((2, 3), n, dtype=np.float32) for n in numbers}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


@pytest.fixture
def open_work():
    """Open work folders and let go of their locks when the test is over."""
    opened: list[WorkFolder] = []

    def open_one(*args: Any, **kwargs: Any) -> WorkFolder:
        opened.append(WorkFolder(*args, **kwargs))
        return opened[-1]

    yield open_one
    for work in opened:
        work.close()


def test_shards_come_back_after_a_kill(output: Path, open_work):
    work = open_work(output, PRINT)
    work.write(arrays(0, 2))
    work.write(arrays(1))
    work.close()  # as a kill would
    again = open_work(output, PRINT)
    assert sorted(again.shard_of) == [0, 1, 2]
    with ShardReader(again.shard_of) as reader:
        for number in (2, 0, 1, 2):
            np.testing.assert_array_equal(reader[number], arrays(number)[number])
    again.write(arrays(3))
    assert sorted(again.shard_of) == [0, 1, 2, 3]


def test_paths_of_shards_are_those_of_a_dictionary():
    """Numbers far apart, some twice, looked up between the shards."""
    random = np.random.default_rng(0)
    known: dict[int, Path] = {}
    paths = ShardPaths()
    assert paths == {}
    for shard in range(40):
        numbers = random.integers(0, [200, 10**15][shard % 2], random.integers(0, 30)).tolist()
        numbers = list(dict.fromkeys(numbers))
        path = Path(f"{shard}")
        paths.add(numbers, path)
        known.update(dict.fromkeys(numbers, path))
        if shard % 3 == 0:
            assert paths == known
            assert list(paths) == sorted(known)
            assert len(paths) == len(known)
        for number in (*known, 17, 201, -1, 2**62):
            assert paths.get(number) == known.get(number)
    assert paths.paths() == [Path(f"{shard}") for shard in range(40)]


def test_no_temporary_file_is_taken_for_a_shard(output: Path, open_work):
    work = open_work(output, PRINT)
    work.write(arrays(0))
    (work.folder / "000001.safetensors.tmp").write_bytes(b"half a sh")
    work.temporary().write_bytes(b"half an output")
    work.close()
    again = open_work(output, PRINT)
    assert list(again.shard_of) == [0]
    assert not list(again.folder.glob("*.tmp"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_shard_is_found_and_dropped(output: Path, open_work, damage: str):
    work = open_work(output, PRINT)
    work.write(arrays(0, 1))
    work.write(arrays(2))
    work.close()
    path = work.folder / "000000.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
    path.write_bytes({"flip": bytes(data), "truncate": bytes(data[:-7]), "empty": b""}[damage])
    with pytest.raises(OutputError, match="is damaged; run the same again"):
        read_shard(path)
    again = open_work(output, PRINT)
    assert list(again.shard_of) == [2]
    assert again.damaged == 1
    again.write(arrays(0, 1))  # under a new name, so nothing is overwritten
    assert sorted(again.shard_of) == [0, 1, 2]


def test_other_work_is_not_mixed_in(output: Path, open_work):
    open_work(output, PRINT).close()
    with pytest.raises(
        ResumeError,
        match=r"unfinished work of another kind \(layers was \[6\], now \[3\]\); run it to the end "
        r"as it was begun, or throw it away with `run=Run\(restart=True\)`",
    ):
        open_work(output, {**PRINT, "layers": [3]})
    assert open_work(output, PRINT).shard_of == {}


def test_restart_throws_work_away(output: Path, open_work):
    work = open_work(output, PRINT)
    work.write(arrays(0))
    work.close()
    assert open_work(output, {**PRINT, "layers": [3]}, restart=True).shard_of == {}


def test_how_attention_was_computed(output: Path, open_work):
    work = open_work(output, PRINT)
    assert [work.compiled(True), work.compiled(False)] == [True, False]  # nothing is noted yet
    work.note_attention(compiled=False)
    work.note_attention(compiled=False)
    assert work.compiled(True) is False
    work.close()
    work = open_work(output, PRINT)  # another process goes on
    assert work.compiled(True) is False
    work.note_attention(compiled=True)
    assert [work.compiled(True), work.compiled(False)] == ["in part", "in part"]
    work.close()
    assert open_work(output, PRINT, restart=True).compiled(True) is True


def test_two_runs_on_one_output(output: Path, open_work):
    first = open_work(output, PRINT)
    with pytest.raises(ResumeError, match=r"another process is writing .* just now; wait for it"):
        open_work(output, PRINT)
    first.close()
    open_work(output, PRINT).close()


def test_finish_moves_the_output_and_tidies_up(output: Path, open_work):
    work = open_work(output, PRINT)
    work.write(arrays(0))
    work.temporary().write_bytes(b"whole")
    work.finish()
    assert output.read_bytes() == b"whole"
    assert not work.folder.exists()


def test_a_kill_between_move_and_tidying_is_recognised(output: Path, open_work, monkeypatch):
    work = open_work(output, PRINT)
    work.temporary().write_bytes(b"whole")
    monkeypatch.setattr(WorkFolder, "remove", WorkFolder.close)
    work.finish()
    assert work.folder.exists()
    assert finished_by_killed_run(output)
    assert not finished_by_killed_run(output, {**PRINT, "layers": [3]})
    assert work.folder.exists()
    assert finished_by_killed_run(output, PRINT)
    tidy_up(output)
    assert not work.folder.exists()
    assert output.read_bytes() == b"whole"


def test_a_kill_when_all_but_the_empty_folder_was_gone(output: Path):
    output.write_bytes(b"whole")
    folder = output.with_name(output.name + ".work")
    folder.mkdir()
    assert not finished_by_killed_run(output)
    assert not folder.exists()
    assert output.read_bytes() == b"whole"


def test_files_of_others_in_the_work_folder_stay(output: Path, open_work):
    folder = output.with_name(output.name + ".work")
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(ResumeError, match=r"holds files that are not esmkit's, such as 'thesis"):
        open_work(output, PRINT)
    assert (folder / "thesis.txt").read_text() == "precious"


def test_an_output_that_appeared_meanwhile_is_left_alone(output: Path, open_work):
    work = open_work(output, PRINT)
    work.temporary().write_bytes(b"whole")
    output.write_text("precious")
    with pytest.raises(
        OutputError, match=r"has appeared meanwhile; the same again with `run=Run\(force=True\)`"
    ):
        work.finish()
    assert output.read_text() == "precious"


def test_somebody_else_s_output_is_not_taken_for_ours(output: Path, open_work, monkeypatch):
    assert not finished_by_killed_run(output)
    work = open_work(output, PRINT)
    work.temporary().write_bytes(b"whole")
    monkeypatch.setattr(WorkFolder, "remove", WorkFolder.close)
    work.finish()
    os.utime(output, ns=(1, 1))
    assert not finished_by_killed_run(output)


def test_outputs_that_cannot_be(tmp_path: Path):
    with pytest.raises(OutputError, match="is a folder; give a file name with `output`"):
        check_output(tmp_path, force=True)
    with pytest.raises(OutputError, match=r"there is no folder .*missing"):
        check_output(tmp_path / "missing" / "x.h5", force=False)
    (tmp_path / "x.h5").touch()
    with pytest.raises(
        OutputError,
        match=r"exists already; `run=Run\(force=True\)` overwrites it, or `output` names",
    ):
        check_output(tmp_path / "x.h5", force=False)
    check_output(tmp_path / "x.h5", force=True)


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(disk.os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match="cannot be written; choose another with `output`"):
        check_output(tmp_path / "x.h5", force=False)


def test_full_disk_keeps_what_was_written(output: Path, open_work, monkeypatch):
    work = open_work(output, PRINT)
    work.write(arrays(0))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device\); what was computed before"):
        work.write(arrays(1))
    monkeypatch.undo()
    work.close()
    again = open_work(output, PRINT)
    assert list(again.shard_of) == [0]
    assert again.damaged == 0


def test_reader_holds_a_bounded_number_of_files(output: Path, open_work):
    work = open_work(output, PRINT)
    for number in range(40):
        work.write(arrays(number))
    with ShardReader(work.shard_of) as reader:
        for number in [*range(40), 0, 39, 20]:
            np.testing.assert_array_equal(reader[number], arrays(number)[number])
            assert len(reader._open) <= 16
    assert not reader._open


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "u1", "u2", "u4", "u8", "i1", "i4", "i8", "?"])
def test_single_arrays_are_read_as_the_library_reads_all(output: Path, open_work, dtype: str):
    random = np.random.default_rng(0)
    shapes = [(), (0,), (3,), (2, 5), (2, 0, 4), (3, 1, 7)]
    written = {n: (9 * random.random(shape)).astype(dtype) for n, shape in enumerate(shapes)}
    work = open_work(output, PRINT)
    work.write(written)
    expected = load_file(work.shard_of[0])
    with ShardReader(work.shard_of) as reader:
        for number in (5, 0, 4, 2, 1, 3, 5):
            found = reader[number]
            assert (found.dtype, found.shape) == (np.dtype(dtype), shapes[number])
            np.testing.assert_array_equal(found, expected[str(number)])


def test_reader_finds_a_flipped_bit_in_what_it_reads(output: Path, open_work):
    work = open_work(output, PRINT)
    work.write(arrays(0, 1))
    path = work.shard_of[0]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1  # of the second array
    path.write_bytes(data)
    with ShardReader(work.shard_of) as reader:
        np.testing.assert_array_equal(reader[0], arrays(0)[0])
        with pytest.raises(OutputError, match="is damaged; run the same again"):
            reader[1]


def test_an_array_that_goes_by_the_name_of_another_is_missed(output: Path, open_work):
    """A flipped bit can make 1 of 0 in the header; JSON takes the last of two equal names."""
    work = open_work(output, PRINT)
    work.write(arrays(0, 1))
    path = work.shard_of[0]
    data = path.read_bytes()
    assert b'{"0": {' in data
    path.write_bytes(data.replace(b'{"0": {', b'{"1": {'))
    with pytest.raises(OutputError, match="is damaged"):
        read_shard(path)
