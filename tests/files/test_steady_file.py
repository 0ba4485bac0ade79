"""The file that HDF5 writes into, beside an ordinary one, and on a disk that is full."""

import errno
import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from esmkit.files import disk
from esmkit.files.disk import SteadyFile


@pytest.mark.parametrize("held", [1, 7, 64, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_it_does_what_an_ordinary_file_does(tmp_path: Path, monkeypatch, seed: int, held: int):
    """Whatever is written, read, cut and sought, in any order."""
    monkeypatch.setattr(disk, "HELD_BYTES", held)
    random = np.random.default_rng(seed)
    other = io.BytesIO()
    with SteadyFile(tmp_path / "steady") as steady:
        for _ in range(300):
            files: tuple[Any, Any] = (steady, other)
            what = random.choice(["write", "on", "back", "end", "read", "truncate", "flush"])
            if what in ("write", "on"):
                data = random.bytes(int(random.integers(1, 30)))
                if what == "on":  # as HDF5 does: where it is already
                    assert steady.seek(steady.tell()) == other.tell()
                assert [file.write(data) for file in files] == [len(data)] * 2
            elif what == "back":
                place = int(random.integers(0, 200))
                assert [file.seek(place) for file in files] == [place] * 2
            elif what == "end":
                assert len({file.seek(0, os.SEEK_END) for file in files}) == 1
            elif what == "read":
                size = int(random.choice([0, 3, -1]))
                assert steady.read(size) == other.read(size)
                buffers = [bytearray(20), bytearray(20)]
                counts = [file.readinto(b) for file, b in zip(files, buffers, strict=True)]
                assert counts[0] == counts[1]
                assert buffers[0] == buffers[1]
            elif what == "truncate":
                size = int(random.integers(steady.tell(), steady.tell() + 9))
                assert steady.truncate(size) == size
                place, cut = other.tell(), other.getvalue()[:size]
                other = io.BytesIO(cut.ljust(size, b"\0"))  # it does not grow by `truncate`
                other.seek(place)
            else:
                steady.flush()
            assert steady.tell() == other.tell()
        steady.finish()
    assert (tmp_path / "steady").read_bytes() == other.getvalue()


def test_pieces_end_to_end_go_to_the_disk_together(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(disk, "HELD_BYTES", 1_000)
    path, sizes = tmp_path / "x", set()
    with SteadyFile(path) as file:
        for piece in range(100):
            file.seek(37 * piece)
            file.write(bytes(37))
            sizes.add(path.stat().st_size)
    assert sizes == {0, 999, 1_998, 2_997}  # 27 pieces are the most within 1,000
    assert path.stat().st_size == 3_700


def test_large_arrays_are_not_copied(tmp_path: Path):
    values = np.ones(2**23, np.float32)  # 32 MiB
    with SteadyFile(tmp_path / "x.h5") as steady, h5py.File(steady, "w") as file:
        file["small"] = values[:10]
        tracemalloc.start()
        try:
            file["large"] = values
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2**21
    with h5py.File(tmp_path / "x.h5") as file:
        assert (file["large"][:] == 1).all()  # type: ignore[index]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_writes_nothing_of_its_parents(tmp_path: Path):
    with SteadyFile(tmp_path / "x") as steady:
        steady.write(b"0123456789")
        child = os.fork()
        if not child:
            steady.close()
            os._exit(0)
        os.waitpid(child, 0)
        steady.write(b"abc")
    assert (tmp_path / "x").read_bytes() == b"0123456789abc"
    with pytest.raises(ValueError, match="closed"):
        steady.write(b"more")


@pytest.mark.parametrize("held", [1, 2**20])
def test_a_full_disk_is_told_once_all_is_written(tmp_path: Path, monkeypatch, held: int):
    monkeypatch.setattr(disk, "HELD_BYTES", held)
    resource = pytest.importorskip("resource", reason="Windows has no file-size limits")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with SteadyFile(tmp_path / "x.h5") as steady:
            with h5py.File(steady, "w") as file:
                for name in "abc":
                    file[name] = np.random.default_rng(0).random(1_000)
            with pytest.raises(OSError, match="File too large") as caught:
                steady.finish()
            assert caught.value.errno == errno.EFBIG
            with pytest.raises(OSError, match="File too large"):
                steady.check()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
