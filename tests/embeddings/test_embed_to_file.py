"""`esmkit embed` from FASTA files to one file: formats, repeats, resume."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import esmkit
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.to_file import embed_file
from esmkit.embeddings.writers import EMBEDDING_FORMATS
from esmkit.errors import InputError, NonFiniteError, OptionError, OutputError, ResumeError
from esmkit.esm2 import Esm2, load
from esmkit.files.run_options import Run
from esmkit.files.task import Task
from esmkit.files.work_folder import WorkFolder
from oracles.checkpoints import assert_close, has_compiler, random_sequence
from oracles.commands import write_fasta


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    records = {f"p{n} protein {n}": random_sequence(n, n) for n in (30, 5, 61, 12, 44, 9, 28)}
    records["a/b.c twice"] = records["p30 protein 30"]
    return write_fasta(tmp_path / "in.fasta", records)


def expected(model: Esm2, fasta: Path, **options: Any) -> dict[str, Any]:
    return {r.id: r for r in model.embed(fasta, **options)}


@pytest.mark.parametrize("kind", ["h5", "parquet", "npz", "csv"])
@pytest.mark.parametrize("per", ["protein", "residue"])
@pytest.mark.parametrize("layers", [(-1,), (0, 2)])
def test_every_format_holds_what_the_library_returns(
    tiny: Esm2, fasta: Path, tmp_path: Path, kind, per, layers
):
    output = tmp_path / f"out.{kind}"
    embed_file(tiny, [fasta], output, EmbedOptions(layers=layers, per=per), file_format=kind)
    found, wanted = esmkit.read(output), expected(tiny, fasta, layers=layers)
    assert list(found) == list(wanted)  # input order
    for name, array in found.items():
        result = wanted[name]
        assert array.dtype == np.float32
        assert_close(array, result.residues if per == "residue" else result.mean)
    assert found.provenance["layers"] == tiny.resolve_layers(layers)
    assert found.provenance["checkpoint"]["sha256"] == tiny.checkpoint.sha256
    found.close()
    assert not list(tmp_path.glob("*.work"))


def test_bos_pooling(tiny: Esm2, fasta: Path, tmp_path: Path):
    embed_file(tiny, [fasta], tmp_path / "bos.h5", EmbedOptions(pool="bos"))
    with esmkit.read(tmp_path / "bos.h5") as found:
        for name, result in expected(tiny, fasta).items():
            assert_close(found[name], result.bos)
            assert np.abs(found[name] - result.mean).max() > 1e-3


def test_layout_of_the_hdf5_file(tiny: Esm2, fasta: Path, tmp_path: Path):
    embed_file(
        tiny, [fasta], tmp_path / "o.h5", EmbedOptions(per="residue"), run=Run(command="esmkit x")
    )
    with h5py.File(tmp_path / "o.h5") as file:
        assert list(file)[:2] == ["p30", "p5"]
        assert list(file)[-1] == "a%2Fb.c"
        dataset: Any = file["a%2Fb.c"]
        assert dataset.shape == (30, 32)
        assert dataset.attrs["id"] == "a/b.c"
        assert dataset.attrs["header"] == "a/b.c twice"
        assert dataset.attrs["length"] == 30
        provenance = json.loads(str(file.attrs["provenance"]))
    assert provenance["inputs"][0]["name"] == "in.fasta"
    assert provenance["input_report"]["duplicate_sequences"] == 1
    assert provenance["command"] == "esmkit x"
    assert str(tmp_path) not in json.dumps(provenance)


def test_equal_runs_give_equal_bytes(tiny: Esm2, fasta: Path, tmp_path: Path):
    for kind in ("h5", "npz", "csv", "parquet"):
        paths = [tmp_path / f"{name}.{kind}" for name in ("one", "two")]
        for path in paths:
            embed_file(tiny, [fasta], path, file_format=kind)
        assert paths[0].read_bytes() == paths[1].read_bytes(), kind


def test_repeated_sequences_are_computed_once_and_written_each_time(
    tiny: Esm2, tmp_path: Path, monkeypatch
):
    sequence = random_sequence(20, 0)
    fasta = write_fasta(tmp_path / "x.fasta", {f"p{i} x": sequence for i in range(50)})
    tokens = []
    forward = Esm2.forward
    monkeypatch.setattr(
        Esm2,
        "forward",
        lambda self, pack, *a, **k: (
            tokens.append(pack.ids.shape[1]),
            forward(self, pack, *a, **k),
        )[1],
    )
    embed_file(tiny, [fasta], tmp_path / "o.h5")
    assert tokens == [22]
    with esmkit.read(tmp_path / "o.h5") as found:
        assert len(found) == 50
        assert len({array.tobytes() for array in found.values()}) == 1


def test_same_id_twice_keeps_both(tiny: Esm2, tmp_path: Path):
    fasta = tmp_path / "x.fasta"
    fasta.write_text(">a\nMKT\n>a\nMKV\n>b\nGG\n")
    said: list[str] = []
    embed_file(tiny, [fasta], tmp_path / "o.h5", run=Run(say=said.append))
    with esmkit.read(tmp_path / "o.h5") as found:
        assert list(found) == ["a", "a~2", "b"]
        assert_close(found["a~2"], tiny.embed("MKV").mean)
    assert any("1 repeated ID(s), renamed: a -> a~2" in line for line in said)


def test_long_policies_are_reported(tiny: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.fasta", {"long": random_sequence(1_100, 0), "s": "MKT"})
    said: list[str] = []
    cut = EmbedOptions(per="residue", long="truncate")
    embed_file(tiny, [fasta], tmp_path / "cut.h5", cut, run=Run(say=said.append))
    with esmkit.read(tmp_path / "cut.h5") as found:
        assert found["long"].shape == (1_022, 32)
        assert found.attributes("long")["length"] == 1_100
        assert found.provenance["input_report"]["truncated"] == 1
    assert any("1 sequence(s) cut to the first 1,022 residues" in line for line in said)
    embed_file(tiny, [fasta], tmp_path / "win.h5", EmbedOptions(per="residue"))
    with esmkit.read(tmp_path / "win.h5") as found:
        assert found["long"].shape == (1_100, 32)
        assert found.provenance["input_report"]["windowed"] == 1
    with pytest.raises(InputError, match=r"sequence 'long' has 1,100 residues"):
        embed_file(tiny, [fasta], tmp_path / "err.h5", EmbedOptions(long="error"))
    assert not (tmp_path / "err.h5.work").exists()


def test_bad_input_is_found_before_anything_is_loaded_or_written(tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.fasta", {"good": "MKT", "bad": "MKJ"})

    def never() -> Esm2:
        raise AssertionError("the model was loaded for a bad input")

    with pytest.raises(InputError, match="sequence 'bad', residue 3: 'J'"):
        embed_file(never, [fasta], tmp_path / "o.h5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.fasta"]


def test_existing_output_is_left_alone(tiny: Esm2, fasta: Path, tmp_path: Path):
    output = tmp_path / "o.h5"
    output.write_text("precious")
    with pytest.raises(OutputError, match=r"exists already; `run=Run\(force=True\)` overwrites it"):
        embed_file(tiny, [fasta], output)
    assert output.read_text() == "precious"
    embed_file(tiny, [fasta], output, run=Run(force=True))
    assert len(esmkit.read(output)) == 8


def test_options_that_do_not_fit(tiny: Esm2, fasta: Path, tmp_path: Path):
    with pytest.raises(OptionError, match="format is h5, parquet, npz, csv, not 'xml'"):
        embed_file(tiny, [fasta], tmp_path / "o", file_format="xml")
    with pytest.raises(OptionError, match=r"^standard output takes csv, not h5; name a file"):
        embed_file(tiny, [fasta], "-", file_format="h5")
    with pytest.raises(OptionError, match=r"'o.h5.gz' says no format: let it end in \.h5, "):
        embed_file(tiny, [fasta], "o.h5.gz")
    with pytest.raises(OptionError, match="layers is a tuple of numbers, or 'all', not 3"):
        EmbedOptions(layers=3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="there is no layer 7"):
        embed_file(tiny, [fasta], tmp_path / "o.h5", EmbedOptions(layers=(7,)))
    assert not list(tmp_path.glob("o*"))


def test_one_path_is_enough_and_the_suffix_is_the_format(tiny: Esm2, fasta: Path, tmp_path):
    embed_file(tiny, fasta, tmp_path / "o.CSV")
    assert (tmp_path / "o.CSV").read_text().startswith("id,accession,header,length,layer,e0,")
    assert len(esmkit.read(tmp_path / "o.CSV")) == 8


def test_force_does_not_turn_the_input_into_the_output(tiny: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.h5", {"a": "MKT"})
    with pytest.raises(
        OutputError, match=r"x.h5' is the input itself; name another file with `output`"
    ):
        embed_file(tiny, fasta, fasta, run=Run(force=True))
    assert fasta.read_text() == ">a\nMKT\n"


def test_an_output_that_appears_meanwhile_is_not_overwritten(tiny: Esm2, fasta, tmp_path):
    output = tmp_path / "o.h5"

    def somebody_else() -> Esm2:
        return tiny

    def say(text: str) -> None:
        output.write_text("precious")

    with pytest.raises(OutputError, match=r"exists already|has appeared meanwhile"):
        embed_file(somebody_else, fasta, output, run=Run(say=say))
    assert output.read_text() == "precious"


def test_a_sidecar_that_exists_is_left_alone(tiny: Esm2, fasta: Path, tmp_path: Path):
    sidecar = tmp_path / "o.csv.provenance.json"
    sidecar.write_text("precious")
    with pytest.raises(OutputError, match=r"provenance.json' exists already"):
        embed_file(tiny, fasta, tmp_path / "o.csv")
    assert sidecar.read_text() == "precious"


def test_a_kill_just_after_the_move_counts_for_the_same_run_only(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch
):
    output = tmp_path / "o.h5"
    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "remove", WorkFolder.close)
        embed_file(tiny, fasta, output)
    before = output.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        embed_file(tiny, fasta, output, EmbedOptions(per="residue"))
    said: list[str] = []
    embed_file(tiny, fasta, output, run=Run(say=said.append))
    assert "was complete: the run before was stopped just after writing it" in said[-1]
    assert output.read_bytes() == before
    assert not (tmp_path / "o.h5.work").exists()
    with pytest.raises(OutputError, match="exists already"):
        embed_file(tiny, fasta, output)


@pytest.mark.parametrize("kind", ["h5", "parquet", "npz", "csv"])
def test_a_disk_that_fills_up_while_the_output_is_written(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch, kind
):
    def full(*_: Any, **__: Any) -> None:
        raise {"h5": RuntimeError, "parquet": ValueError}.get(kind, OSError)("no space")

    output = tmp_path / f"o.{kind}"
    with monkeypatch.context() as patch:
        patch.setattr(EMBEDDING_FORMATS[kind], "add", full)
        with pytest.raises(OutputError, match=r"no space.*make room or mend the cause, then run"):
            embed_file(tiny, fasta, output)
    assert not output.exists()
    said: list[str] = []
    embed_file(tiny, fasta, output, run=Run(say=said.append))
    assert any("going on after 7 of 7 sequences" in line for line in said)
    with esmkit.read(output) as found:
        assert len(found) == 8


class _Stop(Exception):
    """Stands for a kill in tests that stay in one process."""


def stop_after(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    """Make the run die right after it has written so many shards, with pending work lost."""
    monkeypatch.setattr(Task, "shard_bytes", 1)  # a shard for every batch
    write = WorkFolder.write
    count = 0

    def counted(self: WorkFolder, arrays: Any) -> None:
        nonlocal count
        if count == shards:
            raise _Stop
        write(self, arrays)
        count += 1

    monkeypatch.setattr(WorkFolder, "write", counted)


def die_after(
    shards: int,
    monkeypatch: pytest.MonkeyPatch,
    model: Esm2,
    fasta: Path,
    output: Path,
    options: EmbedOptions,
) -> None:
    """Embed until so many shards are written."""
    with monkeypatch.context() as patch:
        stop_after(patch, shards)
        with pytest.raises(_Stop):
            embed_file(model, [fasta], output, options)


@pytest.mark.parametrize("shards", [0, 1, 3])
@pytest.mark.parametrize("per", ["protein", "residue"])
def test_resume_gives_the_same_bytes_and_computes_only_the_rest(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch, shards, per
):
    options = EmbedOptions(per=per, batch_tokens=64)
    embed_file(tiny, [fasta], tmp_path / "whole.h5", options)
    die_after(shards, monkeypatch, tiny, fasta, tmp_path / "cut.h5", options)
    assert not (tmp_path / "cut.h5").exists()
    assert len(list((tmp_path / "cut.h5.work").glob("*.safetensors"))) == shards
    for thread in threading.enumerate():  # those of the run that died count no more passes
        if thread.name.startswith("esmkit"):
            thread.join()
    passes = []
    forward = Esm2.forward
    with monkeypatch.context() as patch:
        patch.setattr(
            Esm2, "forward", lambda self, *a, **k: (passes.append(1), forward(self, *a, **k))[1]
        )
        said: list[str] = []
        embed_file(tiny, [fasta], tmp_path / "cut.h5", options, run=Run(say=said.append))
    assert (tmp_path / "cut.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert not (tmp_path / "cut.h5.work").exists()
    assert any("going on after" in line for line in said) == (shards > 0)
    # 7 distinct sequences in batches of at most 64 tokens, longest first
    assert len(passes) == {0: 4, 1: 3, 3: 1}[shards]


def test_work_goes_on_where_attention_is_another(
    tiny: Esm2, tiny_folder: Path, fasta: Path, tmp_path: Path, monkeypatch
):
    """On a machine without a compiler, say; both results are those of float32, and the file says it."""
    if not has_compiler():
        pytest.skip("there is no C compiler here")
    options = EmbedOptions(batch_tokens=64)
    embed_file(tiny, [fasta], tmp_path / "whole.h5", options)
    die_after(2, monkeypatch, tiny, fasta, tmp_path / "cut.h5", options)
    said: list[str] = []
    other = load(tiny_folder, "cpu", compiled=False)
    embed_file(other, [fasta], tmp_path / "cut.h5", options, run=Run(say=said.append))
    assert any("going on after" in line for line in said)
    with esmkit.read(tmp_path / "whole.h5") as whole, esmkit.read(tmp_path / "cut.h5") as cut:
        assert [whole.provenance["compiled"], cut.provenance["compiled"]] == [True, "in part"]
        assert list(whole) == list(cut)
        for name in whole:
            assert_close(cut[name], whole[name])


def test_damaged_shard_is_computed_anew(tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch):
    options = EmbedOptions(batch_tokens=64)
    embed_file(tiny, [fasta], tmp_path / "whole.h5", options)
    die_after(2, monkeypatch, tiny, fasta, tmp_path / "cut.h5", options)
    shard = min((tmp_path / "cut.h5.work").glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 0x80
    shard.write_bytes(data)
    said: list[str] = []
    embed_file(tiny, [fasta], tmp_path / "cut.h5", options, run=Run(say=said.append))
    assert any("1 damaged shard(s) found by checksum" in line for line in said)
    assert (tmp_path / "cut.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_work_of_other_options_is_refused(tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch):
    die_after(1, monkeypatch, tiny, fasta, tmp_path / "o.h5", EmbedOptions(batch_tokens=64))
    other = EmbedOptions(batch_tokens=64, layers=(0,))
    with pytest.raises(ResumeError, match=r"layers was \[2\], now \[0\]"):
        embed_file(tiny, [fasta], tmp_path / "o.h5", other)
    fasta.write_text(fasta.read_text() + ">new\nMKT\n")
    with pytest.raises(ResumeError, match=r"input was \["):
        embed_file(tiny, [fasta], tmp_path / "o.h5", EmbedOptions(batch_tokens=64))
    embed_file(tiny, [fasta], tmp_path / "o.h5", other, run=Run(restart=True))
    assert len(esmkit.read(tmp_path / "o.h5")) == 9


def test_an_error_midway_keeps_what_was_computed(tiny: Esm2, fasta: Path, tmp_path, monkeypatch):
    forward = Esm2.forward
    calls = []

    def fails_third(self: Esm2, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise NonFiniteError("the model returned NaN or infinity for sequence 'p5'")
        return forward(self, *args, **kwargs)

    options = EmbedOptions(batch_tokens=64)
    with monkeypatch.context() as patch:
        patch.setattr(Esm2, "forward", fails_third)
        with pytest.raises(NonFiniteError):
            embed_file(tiny, [fasta], tmp_path / "o.h5", options)
    said: list[str] = []
    embed_file(tiny, [fasta], tmp_path / "o.h5", options, run=Run(say=said.append))
    assert any("going on after" in line for line in said)


def test_input_may_not_change_while_it_is_read(tiny: Esm2, fasta: Path, tmp_path: Path):
    def sneaky() -> Esm2:
        fasta.write_text(fasta.read_text().replace("p30", "p31").replace("A", "G"))
        return tiny

    with pytest.raises(InputError, match="the input changed while it was being read"):
        embed_file(sneaky, [fasta], tmp_path / "o.h5")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_for_real_at_several_moments(tiny_folder: Path, tmp_path: Path):
    """SIGKILL the command again and again; the file is that of an uninterrupted run."""
    records = {f"p{i}": random_sequence(200 + i % 150, i) for i in range(1_500)}
    fasta = write_fasta(tmp_path / "in.fasta", records)
    base = [sys.executable, "-m", "esmkit", "embed", str(fasta), "-q", "--batch-tokens", "512"]
    base += ["--model", str(tiny_folder), "--per", "residue"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [*base, "-o", str(tmp_path / name)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)

    whole = start("whole.h5")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors.decode()
    work = tmp_path / "cut.h5.work"
    killed = 0
    for wanted in (1, 3):
        process = start("cut.h5")
        while process.poll() is None and len(list(work.glob("*.safetensors"))) < wanted:
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed >= 1, "every run had finished before it could be killed"
    assert not (tmp_path / "cut.h5").exists() or killed < 2
    if not (tmp_path / "cut.h5").exists():
        last = start("cut.h5")
        _, errors = last.communicate()
        assert last.returncode == 0, errors.decode()
    with h5py.File(tmp_path / "whole.h5") as a, h5py.File(tmp_path / "cut.h5") as b:
        assert list(a) == list(b) == list(records)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    assert not work.exists()
