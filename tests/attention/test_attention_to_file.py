"""`esmkit attention` from FASTA files to one file: layout, precision, size, windows, resume."""

import errno
import json
import os
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest

import esmkit
from esmkit.attention import extract as attention
from esmkit.attention import hdf5, to_file
from esmkit.attention.hdf5 import AttentionFile, CompressedMaps, compress, decode_block, decompress
from esmkit.attention.options import AttentionOptions
from esmkit.attention.summaries import summarize
from esmkit.attention.to_file import MapsTask, attention_file
from esmkit.encoder.names import choose_heads
from esmkit.errors import InputError, OptionError, OutputError, ResumeError
from esmkit.esm2 import Esm2
from esmkit.files import disk
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.work_folder import WorkFolder
from esmkit.sequences import windows as cutting
from esmkit.text import parse_bytes, readable_bytes
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    records = {f"p{n} protein {n}": random_sequence(n, n) for n in (30, 5, 61, 12, 44, 9, 28)}
    records["a/b.c twice"] = records["p30 protein 30"]
    return write_fasta(tmp_path / "in.fasta", records)


def expected(model: Esm2, fasta: Path, **options: Any) -> dict[str, Any]:
    return {m.id: m for m in model.attention(fasta, **options)}


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 2.5e-4), ("float32", 1e-6)])
def test_every_map_of_every_protein(tiny: Esm2, fasta: Path, tmp_path: Path, dtype, bound):
    output = tmp_path / "o.h5"
    attention_file(tiny, fasta, output, AttentionOptions(dtype=dtype))
    wanted = expected(tiny, fasta)
    with esmkit.read(output) as found:
        assert isinstance(found, AttentionFile)
        assert list(found) == ["p30", "p5", "p61", "p12", "p44", "p9", "p28", "a/b.c"]
        assert found.heads == tuple(f"L{n}H{h}" for n in range(2) for h in range(4))
        for name, maps in found.items():
            theirs = wanted[name]
            assert (maps.id, maps.header, maps.sequence) == (name, theirs.header, theirs.sequence)
            # half the last bit of a float16 below 1 is 2.4e-4
            np.testing.assert_allclose(maps.maps, theirs.maps, rtol=0, atol=bound)
            assert maps.maps.dtype == np.float32
            np.testing.assert_allclose(maps.bos, theirs.bos, rtol=0, atol=1e-6)
            np.testing.assert_allclose(maps.eos, theirs.eos, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(maps["L1H2"], maps.maps[6])
        assert "AttentionFile(o.h5: 8 proteins, 8 head(s) L0H0 to L1H3, tiny-esm2)" in repr(found)
        assert "p7" not in found


def test_layout_for_other_readers(tiny: Esm2, fasta: Path, tmp_path: Path):
    output = tmp_path / "o.h5"
    attention_file(tiny, fasta, output, run=Run(command="esmkit attention in.fasta"))
    with h5py.File(output) as handle:
        assert list(handle)[-1] == "a%2Fb.c"
        group: Any = handle["p61"]
        maps = group["attention"]
        assert maps.shape == (2, 4, 61, 61)
        assert maps.dtype == np.float16
        assert maps.chunks == (1, 1, 61, 61)
        assert (maps.compression, maps.shuffle) == ("gzip", True)
        assert group["bos"].shape == group["eos"].shape == (2, 4, 61)
        assert group["bos"].dtype == np.float32
        assert json.loads(group.attrs["heads"]) == [f"L{n}H{h}" for n in range(2) for h in range(4)]
        assert group.attrs["length"] == 61
        # written by hand as raw chunks, read by HDF5's own filters: rows and specials sum to 1
        total = maps[...].astype(np.float32).sum(-1) + group["bos"][...] + group["eos"][...]
        np.testing.assert_allclose(total, 1, rtol=0, atol=61 * 2.5e-4)
        record = json.loads(str(handle.attrs["provenance"]))
    assert record["task"] == "attention"
    assert record["model_shape"] == {"layers": 2, "heads": 4, "width": 32}
    assert record["checkpoint"]["name"] == "tiny-esm2"
    assert record["dtype_stored"] == "float16"
    assert record["long"] == "window"
    assert record["command"] == "esmkit attention in.fasta"
    assert record["input_report"]["duplicate_sequences"] == 1
    assert str(tmp_path) not in json.dumps(record)


def test_chosen_heads_only(tiny: Esm2, fasta: Path, tmp_path: Path):
    options = AttentionOptions(heads=("L1H3", "L0H1"))
    attention_file(tiny, fasta, tmp_path / "o.h5", options)
    with AttentionFile(tmp_path / "o.h5") as found, h5py.File(tmp_path / "o.h5") as handle:
        assert found.heads == ("L0H1", "L1H3")
        assert handle["p9/attention"].shape == (2, 9, 9)  # type: ignore[union-attr]
        wanted = expected(tiny, fasta)
        for name in found:
            theirs = wanted[name]
            np.testing.assert_allclose(found[name]["L1H3"], theirs["L1H3"], rtol=0, atol=2.5e-4)
            np.testing.assert_allclose(found[name].bos[1], theirs.bos[7], rtol=0, atol=1e-6)
    attention_file(tiny, fasta, tmp_path / "l.h5", AttentionOptions(layers=(-1,)))
    with h5py.File(tmp_path / "l.h5") as handle:
        assert handle["p9/attention"].shape == (1, 4, 9, 9)  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [None, 7])
def test_windows_on_disk(tiny: Esm2, tmp_path: Path, monkeypatch, rows: int | None):
    """A small window size, so that a chain of 61 has many; and chunks of a few rows each."""
    monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 10)
    cut = cutting.windows
    for home in (cutting, to_file):
        monkeypatch.setattr(home, "windows", lambda residues: cut(residues, 20))
    if rows is not None:
        monkeypatch.setattr(hdf5, "CHUNK_BYTES", rows * 61 * 4)
    records = {f"p{n}": random_sequence(n, n) for n in (61, 12, 33)}
    fasta = write_fasta(tmp_path / "in.fasta", records)
    attention_file(tiny, fasta, tmp_path / "o.h5", AttentionOptions(dtype="float32"))
    with AttentionFile(tmp_path / "o.h5") as found:
        for name, theirs in expected(tiny, fasta).items():
            ours = found[name]
            assert ours.windows == theirs.windows == len(cut(len(theirs.sequence), 20))
            np.testing.assert_allclose(ours.maps, theirs.maps, rtol=0, atol=1e-6)
            np.testing.assert_allclose(ours.bos, theirs.bos, rtol=0, atol=1e-6)
            np.testing.assert_allclose(ours.eos, theirs.eos, rtol=0, atol=1e-6)
        assert np.isnan(found["p61"]["L0H0"][0, 60])
    with h5py.File(tmp_path / "o.h5") as handle:
        assert handle["p61/attention"].chunks == (1, 1, rows or 61, 61)  # type: ignore[union-attr]


def test_truncated_and_refused_chains(tiny: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "in.fasta", {"long": random_sequence(1100, 1)})
    options = AttentionOptions(heads=("L0H0",), long="truncate")
    attention_file(tiny, fasta, tmp_path / "o.h5", options)
    with AttentionFile(tmp_path / "o.h5") as found:
        assert found["long"].maps.shape == (1, 1022, 1022)
        assert len(found["long"].sequence) == 1022
    with pytest.raises(InputError, match="'long' has 1,100 residues"):
        attention_file(tiny, fasta, tmp_path / "x.h5", AttentionOptions(long="error"))
    assert not (tmp_path / "x.h5").exists()


def test_size_is_said_and_refused_before_anything_runs(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch
):
    pairs = sum(n * n for n in (30, 5, 61, 12, 44, 9, 28, 30))
    residues = sum((30, 5, 61, 12, 44, 9, 28, 30))
    size = 8 * (pairs * 2 + residues * 8)
    said: list[str] = []
    monkeypatch.setattr(Esm2, "forward", None)
    with pytest.raises(
        OptionError,
        match=r"^149\.9 kB of attention maps \(longest protein 61 residues\) are over `max_bytes`, "
        r"149\.8 kB; choose fewer `heads` or `layers`, ask for numbers in their place with `reduce`, ",
    ):
        attention_file(
            tiny, fasta, tmp_path / "o.h5", max_bytes=size - 100, run=Run(say=said.append)
        )
    assert size == 149_872
    assert "attention maps of 8 head(s) for 8 protein(s): 149.9 kB in float16" in said[-1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.fasta"]
    monkeypatch.undo()
    attention_file(tiny, fasta, tmp_path / "o.h5", max_bytes=size)
    attention_file(tiny, fasta, tmp_path / "p.h5", max_bytes=1, run=Run(force=True))


def test_sizes_as_text():
    assert parse_bytes("10GB") == parse_bytes("10 g") == parse_bytes("1e10") == 10**10
    assert parse_bytes("1.5M") == 1_500_000
    assert parse_bytes("512") == 512
    assert [readable_bytes(n) for n in (0, 999, 1000, 2_500_000, 10**10, 3 * 10**12)] == [
        *["0 bytes", "999 bytes", "1.0 kB"],
        *["2.5 MB", "10.0 GB", "3.0 TB"],
    ]
    for text in ("", "many", "-1", "nan", "inf", "10 XB"):
        with pytest.raises(OptionError, match="a size is a number of bytes such as 500M or 10G"):
            parse_bytes(text)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("o.npz", {}, "attention maps are written to HDF5: let .*o.npz' end in .h5"),
        ("-", {}, "standard output takes tables, not h5; name a file with `output`"),
        ("o.h5", {"reduce": ("entropy",)}, "with reductions the output is a table: let .*o.h5'"),
        ("o.h5", {"heads": ("L2H0",)}, "there is no L2H0: the model has layers 0 to 1"),
        ("o.h5", {"heads": ("five",)}, "a head is named like L5H4"),
    ],
)
def test_options_that_do_not_fit(tiny: Esm2, fasta: Path, tmp_path, output, options, message):
    target = output if output == "-" else tmp_path / output
    with pytest.raises(OptionError, match=message):
        attention_file(tiny, fasta, target, AttentionOptions(**options))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.fasta"]


class _Stop(Exception):
    """Stands for a kill in tests that stay in one process."""


@pytest.mark.parametrize(("threads", "shards"), [(1, 1), (1, 5), (1, 13), (2, 1), (2, 5)])
@pytest.mark.parametrize("long_windows", [False, True])
def test_resume_gives_the_same_bytes(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch, set_threads, threads, shards, long_windows
):
    """Stopped in the middle of a protein too: a unit of work is a block of its heads.

    Threads that have one ready at the same time may share a shard: then there are fewer.
    """
    set_threads(threads)
    monkeypatch.setattr(MapsTask, "shard_bytes", 1)  # a shard for every block
    monkeypatch.setattr(Pending, "flush_if_full", Pending.flush)
    if long_windows:
        monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 10)
        cut = cutting.windows
        for home in (cutting, to_file):
            monkeypatch.setattr(home, "windows", lambda residues: cut(residues, 20))
    options = AttentionOptions(batch_tokens=64)
    attention_file(tiny, fasta, tmp_path / "whole.h5", options)
    write, count = WorkFolder.write, 0

    def counted(self: WorkFolder, arrays: Any) -> None:
        nonlocal count
        if count >= shards:
            raise _Stop
        write(self, arrays)
        count += 1

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "write", counted)
        with pytest.raises(_Stop):
            attention_file(tiny, fasta, tmp_path / "cut.h5", options)
    assert len(list((tmp_path / "cut.h5.work").glob("*.safetensors"))) == shards
    with pytest.raises(ResumeError, match=r"heads was .* now"):
        attention_file(tiny, fasta, tmp_path / "cut.h5", AttentionOptions(heads=("L0H0",)))
    said: list[str] = []
    attention_file(tiny, fasta, tmp_path / "cut.h5", options, run=Run(say=said.append))
    assert (tmp_path / "cut.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not (tmp_path / "cut.h5.work").exists()
    if shards == 13:
        assert any("going on after" in line for line in said)


def test_a_full_disk_loses_nothing(tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(MapsTask, "shard_bytes", 20_000)
    sync, count = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", full)
        with pytest.raises(OutputError, match=r"No space left on device.*is kept: make room or"):
            attention_file(tiny, fasta, tmp_path / "o.h5")
    assert not (tmp_path / "o.h5").exists()
    assert list((tmp_path / "o.h5.work").glob("*.safetensors"))
    said: list[str] = []
    attention_file(tiny, fasta, tmp_path / "o.h5", run=Run(say=said.append))
    assert any("going on after" in line for line in said)
    attention_file(tiny, fasta, tmp_path / "fresh.h5")
    assert (tmp_path / "o.h5").read_bytes() == (tmp_path / "fresh.h5").read_bytes()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_reductions_to_a_table(tiny: Esm2, fasta: Path, tmp_path: Path, kind: str):
    output = tmp_path / f"o.{kind}"
    options = AttentionOptions(reduce=("special", "entropy"), heads=("L0H1", "L1H0"))
    attention_file(tiny, fasta, output, options)
    if kind == "csv":
        table = pandas.read_csv(output)
        record = json.loads((tmp_path / "o.csv.provenance.json").read_text())
    else:
        import pyarrow.parquet

        table = pandas.read_parquet(output)
        metadata = pyarrow.parquet.read_schema(output).metadata
        record = json.loads(metadata[b"provenance"])
        assert table["entropy"].dtype == np.float32
    assert record["reduce"] == ["entropy", "bos", "eos"]
    proteins = list(esmkit.read_fasta(fasta))
    wanted = summarize(tiny, proteins, reduce=("entropy", "special"), heads=["L0H1", "L1H0"])
    assert list(table.columns) == list(wanted.columns)
    assert list(table["id"]) == list(wanted["id"])
    assert list(table["name"]) == ["L0H1", "L1H0"] * 8
    np.testing.assert_allclose(
        table[["entropy", "bos", "eos"]], wanted[["entropy", "bos", "eos"]], rtol=0, atol=1e-6
    )


def test_files_that_are_no_attention_files(tiny: Esm2, fasta: Path, tmp_path: Path):
    with pytest.raises(OutputError, match="there is no file"):
        AttentionFile(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(OutputError, match="cannot be read as HDF5"):
        AttentionFile(tmp_path / "text.h5")
    esmkit.embed_file(tiny, fasta, tmp_path / "e.h5")
    with pytest.raises(OutputError, match="holds no attention maps of esmkit's"):
        AttentionFile(tmp_path / "e.h5")
    with esmkit.read(tmp_path / "e.h5") as embeddings:
        assert embeddings["p5"].shape == (32,)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_chunks_round_trip(dtype: str):
    values = np.random.default_rng(0).random((11, 13)).astype(dtype)
    (chunk,) = compress(values[None])
    np.testing.assert_array_equal(decompress(chunk, (11, 13), values.dtype), values)
    maps = np.random.default_rng(1).random((3, 9, 9)).astype(dtype)
    bos, eos = np.random.default_rng(2).random((2, 3, 9)).astype(np.float32)
    block = decode_block(CompressedMaps.make(maps, bos, eos).encode(), 3, 9, maps.dtype)
    np.testing.assert_array_equal(block.bos, bos)
    np.testing.assert_array_equal(block.eos, eos)
    for chunks, of_head in zip(block.chunks, maps, strict=True):
        np.testing.assert_array_equal(decompress(chunks[0], (9, 9), maps.dtype), of_head)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("residues", [1, 2, 11, 255, 300])
def test_chunks_are_what_hdf5_reads(tmp_path: Path, dtype: str, residues: int):
    """Deflated whole or the lower bytes stored, in blocks of 65,535 of them: HDF5's own filters undo both."""
    random = np.random.default_rng(residues)
    maps = random.random((4, residues, residues)).astype(dtype)
    maps[1] *= 2e-5  # subnormal in float16
    maps[2, :, 1:] = 0
    maps[3] = np.exp(-12 * maps[3])
    shape = (1, residues, residues)
    with h5py.File(tmp_path / "o.h5", "w") as handle:
        stored = handle.create_dataset(
            *("maps", maps.shape, dtype), chunks=shape, compression="gzip", shuffle=True
        )
        for place, chunk in enumerate(compress(maps)):
            stored.id.write_direct_chunk((place, 0, 0), chunk)
        np.testing.assert_array_equal(np.asarray(stored), maps)
        sizes = [stored.id.get_chunk_info(place).size for place in range(4)]
    planes = np.ascontiguousarray(maps.reshape(4, -1, 1).view(np.uint8).transpose(0, 2, 1))
    deflated = [len(zlib.compress(plane, 1)) for plane in planes]
    if (
        residues > 100
    ):  # of the first the lower bytes are random, and the last has few small numbers
        assert sizes[0] < deflated[0]
        assert all(size < 1.1 * zlibs for size, zlibs in zip(sizes, deflated, strict=True))


def test_a_damaged_shard_is_found_and_computed_again(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(MapsTask, "shard_bytes", 20_000)
    with monkeypatch.context() as patch:
        patch.setattr(to_file, "AttentionWriter", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            attention_file(tiny, fasta, tmp_path / "o.h5")
    shard = sorted((tmp_path / "o.h5.work").glob("*.safetensors"))[1]
    data = bytearray(shard.read_bytes())
    data[-100] ^= 1
    shard.write_bytes(data)
    said: list[str] = []
    attention_file(tiny, fasta, tmp_path / "o.h5", run=Run(say=said.append))
    assert any("1 damaged shard(s) found by checksum" in line for line in said)
    attention_file(tiny, fasta, tmp_path / "fresh.h5")
    assert (tmp_path / "o.h5").read_bytes() == (tmp_path / "fresh.h5").read_bytes()


def test_compute_hands_out_only_what_is_missing(tiny: Esm2):
    proteins = [esmkit.Protein(id=f"p{n}", sequence=random_sequence(n, n)) for n in (5, 7, 9)]
    choice = choose_heads(None, "all", of_layers=2, of_heads=4)
    seen = []
    done = attention.compute(
        tiny,
        enumerate(proteins),
        choice,
        lambda piece, layer, heads, maps: seen.append((piece.number, layer, len(maps))),
        long="window",
        batch_tokens=100,
        missing=np.array([True, False, True]),
    )
    assert list(done) == [[0, 2]]
    assert set(seen) == {(n, layer, 4) for n in (0, 2) for layer in (0, 1)}


@pytest.mark.parametrize("after", [False, True])
def test_a_table_killed_while_it_is_moved_into_place(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch, after: bool
):
    """The provenance beside a CSV is written just before the CSV appears."""
    options, output = AttentionOptions(reduce=("special",)), tmp_path / "o.csv"
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if Path(target) == output:
            if after:
                replace(self, target)
            raise _Stop
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(_Stop):
            attention_file(tiny, fasta, output, options)
    attention_file(tiny, fasta, output, options)
    attention_file(tiny, fasta, tmp_path / "whole.csv", options)
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "o.csv.work").exists()


@pytest.mark.parametrize("damage", ["chunk", "mass", "shape", "heads", "json"])
def test_a_damaged_attention_file_is_one_sentence(tiny: Esm2, fasta, tmp_path, damage: str):
    path = tmp_path / "o.h5"
    attention_file(tiny, fasta, path)
    with h5py.File(path, "r+") as handle:
        group: Any = handle["p61"]
        if damage == "chunk":
            group["attention"].id.write_direct_chunk((0, 0, 0, 0), b"no deflate stream")
        if damage == "mass":
            del group["bos"]
        if damage == "shape":
            record = json.loads(str(handle.attrs["provenance"]))
            del record["model_shape"]
            handle.attrs["provenance"] = json.dumps(record)
        if damage == "heads":
            record = json.loads(str(handle.attrs["provenance"]))
            record["heads"] = ["L9H4"]
            handle.attrs["provenance"] = json.dumps(record)
        if damage == "json":
            handle.attrs["provenance"] = "{"
    with pytest.raises(OutputError, match="is damaged"), AttentionFile(path) as found:
        found["p61"]["L0H0"]
