"""The parts of the distributed engine that need no cluster: ranges, layout, check, merge, errors."""

import contextlib
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

import esmkit
from esmkit.embeddings.cluster import Workers, check_dataset, merge_dataset
from esmkit.embeddings.cluster import cluster as cluster_module
from esmkit.embeddings.cluster.cluster import (
    WorkerPool,
    import_ray,
    plan_workers,
    worker_bytes,
)
from esmkit.embeddings.cluster.dataset import Input, Manifest, held_parts, part_name, read_manifest
from esmkit.embeddings.cluster.pipeline import _facts, _finish, _identity
from esmkit.embeddings.cluster.plan import Failures, begin, range_bytes_for
from esmkit.embeddings.cluster.ranges import count_ranges, ranges_of_stream, read_range
from esmkit.embeddings.cluster.storage import Folder
from esmkit.embeddings.cluster.worker import Embedder, Settings, attempt_name, identify, read_item
from esmkit.embeddings.options import EmbedOptions
from esmkit.errors import (
    InputError,
    MissingDependencyError,
    OptionError,
    OutputError,
    ResumeError,
)
from esmkit.esm2 import Esm2, load
from esmkit.files.run_options import Run
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta

PROTEINS = {
    f"P{i} protein {i}": random_sequence(length, i)
    for i, length in enumerate([30, 7, 55, 30, 110, 12, 81, 44, 9, 63])
}


class InProcess:
    """The pipeline without Ray: the same readers and workers, one after the other."""

    def __init__(self, folder: Path, output: str | Path) -> None:
        self.model, self.output = folder, output

    def __call__(
        self,
        sources: list[Path],
        options: EmbedOptions = EmbedOptions(),  # noqa: B008
        *,
        range_bytes: int = 200,
        stop_after: int | None = None,
        **rules: Any,
    ) -> list[dict[str, Any]]:
        from esmkit.encoder.checkpoints import read_config, resolve
        from esmkit.encoder.names import resolve_layers

        checkpoint, config = resolve(self.model), read_config(self.model)
        pool = WorkerPool(1, 1, 0.0, "cpu")
        layers = resolve_layers(options.layers, config["num_hidden_layers"], "tiny")
        inputs = []
        for number, path in enumerate(sources):
            found = identify({"file": number, "url": str(path)})
            assert not found["error"]
            inputs.append(
                Input(
                    path.name, str(path), path.stat().st_size, found["sha256"], found["gzip"], None
                )
            )
        folder = Folder(self.output)
        manifest = Manifest(
            _identity(checkpoint, layers, options, pool, "float32"), range_bytes, inputs
        )
        self.said: list[str] = []
        asked_range = rules.pop("asked_range", True)
        run = Run(say=self.said.append, **rules)
        plan = begin(folder, manifest, run, asked_range=asked_range)
        if plan is None:
            return []
        facts = _facts(checkpoint, config, layers, options, pool, "float32", None, "test")
        settings = Settings(
            folder.url,
            plan.manifest.run,
            str(self.model),
            "cpu",
            "float32",
            checkpoint.sha256,
            1,
            tuple(layers),
            config["hidden_size"],
            options,
            json.dumps(facts),
        )
        embedder, failures, answers = Embedder(settings), Failures(), []
        for item in plan.items():
            for row in read_item(item, plan.manifest.range_bytes):
                answers.append(embedder(row))
                plan.take(answers[-1], failures, self.said.append)
                if len(answers) == stop_after:
                    return answers
        _finish(folder, plan, failures, facts, self.said.append)
        return answers


@pytest.fixture
def engine(tiny_folder: Path, tmp_path: Path) -> InProcess:
    return InProcess(tiny_folder, tmp_path / "out")


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "seqs.fasta", PROTEINS)


def parts(answers: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(a["file"], a["range"]) for a in answers if a["part"]]


# Ranges ---------------------------------------------------------------------------------------


@given(
    st.binary(max_size=120) | st.text(">\n\rA ", max_size=120).map(str.encode), st.integers(1, 50)
)
def test_ranges_together_are_the_file_whoever_reads_them(content: bytes, size: int):
    count = count_ranges(len(content), size)
    alone = [read_range(io.BytesIO(content), k, size) for k in range(count)]
    assert b"".join(alone) == content
    streamed = list(ranges_of_stream(io.BytesIO(content), size))
    assert [k for k, _ in streamed] == list(range(len(streamed)))
    assert [data for _, data in streamed] == alone[: len(streamed)]
    assert not any(alone[len(streamed) :])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(1, 40))
def test_a_record_is_in_the_range_where_it_begins(lengths: list[int], size: int):
    records = [f">{i}\n{'A' * n}\n".encode() for i, n in enumerate(lengths)]
    content, starts = b"".join(records), np.cumsum([0, *map(len, records[:-1])])
    for k in range(count_ranges(len(content), size)):
        mine = [r for r, s in zip(records, starts, strict=True) if k * size <= s < (k + 1) * size]
        assert read_range(io.BytesIO(content), k, size) == b"".join(mine)


def test_what_a_killed_worker_was_about_is_gone_at_the_end(engine: InProcess, fasta: Path):
    """Its file that was not yet renamed, and its note of an attempt; what is somebody's stays."""
    engine([fasta], stop_after=1)
    out = Path(engine.output)
    left = (".part-00000-0000001.parquet.1f.tmp", "._attempt-00000-0000003-1.d4.tmp")
    real = Embedder.__call__

    def killed(self: Embedder, row: dict[str, Any]) -> dict[str, Any]:
        for name in (*left, "_attempt-00000-0000003-1", "notes.txt", ".hidden"):
            (out / name).write_bytes(b"begun")
        return real(self, row)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Embedder, "__call__", killed)
        engine([fasta])
    assert [p.name for p in out.iterdir() if p.name.startswith((".", "_attempt"))] == [".hidden"]
    assert (out / "notes.txt").exists()


def test_a_file_longer_than_a_block_streams_alike(tmp_path: Path):
    content = b"".join(b">%d\n%s\n" % (i, b"ACDEFGHIKL" * 40) for i in range(8_000))
    alone = [read_range(io.BytesIO(content), k, 700_000) for k in range(5)]
    assert dict(ranges_of_stream(io.BytesIO(content), 700_000)) == dict(enumerate(alone))
    assert b"".join(alone) == content


def test_range_size_follows_input_model_and_results(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"0" * 1000)
    cpu, gpu = WorkerPool(2, 1, 0.0, "cpu"), WorkerPool(2, 1, 1.0, "cuda")
    assert range_bytes_for(10**9, cpu, tmp_path, 320, "protein") == 2**20
    assert range_bytes_for(800_000, cpu, tmp_path, 320, "protein") == 100_000
    assert range_bytes_for(10, cpu, tmp_path, 320, "protein") == 32 * 1024
    assert range_bytes_for(10**9, cpu, tmp_path, 320, "residue") == 64 * 2**20 // (4 * 320)
    with (tmp_path / "model.safetensors").open("wb") as handle:
        handle.truncate(31 * 2**20 * 10)
    assert range_bytes_for(10**9, cpu, tmp_path, 320, "protein") == 2**20 // 10
    assert range_bytes_for(10**9, gpu, tmp_path, 320, "protein") == 2**20


def test_what_workers_say_of_their_model_is_passed_on_once(
    engine: InProcess, fasta: Path, monkeypatch
):
    monkeypatch.setattr("esmkit.encoder.trial.is_compiled_unasked", lambda: True)
    monkeypatch.setattr("esmkit.encoder.trial.why_not_compiled", lambda: "cannot run 'cc'")
    assert len(engine([fasta])) > 2
    passed_on = [text for text in engine.said if text.startswith("a worker says: ")]
    assert len(passed_on) == 1
    assert "cannot run 'cc'" in passed_on[0]


# The same rows as the local engine ------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        EmbedOptions(),
        EmbedOptions(layers=(0, 2), pool="bos"),
        EmbedOptions(per="residue", layers=(1, 2)),
        EmbedOptions(per="residue"),
    ],
    ids=["mean", "two layers", "residues of two layers", "residues"],
)
@pytest.mark.parametrize("kind", ["h5", "parquet", "npz", "csv"])
def test_rows_and_merged_file_are_those_of_the_local_engine(
    engine: InProcess, tiny: Esm2, tmp_path: Path, options: EmbedOptions, kind: str
):
    repeated = {**PROTEINS, "P2 again": PROTEINS["P2 protein 2"], "P4/a%": "MKXBUZO"}
    first = write_fasta(tmp_path / "a.fasta", repeated)
    second = tmp_path / "b.fasta.gz"
    second.write_bytes(gzip.compress(b">P1 of another file\nmktv*\n>new\nMKK\n"))
    engine([first, second], options)
    esmkit.embed_file(tiny, [first, second], tmp_path / f"local.{kind}", options)
    merge_dataset(engine.output, tmp_path / f"merged.{kind}")
    with (
        esmkit.read(tmp_path / f"local.{kind}") as local,
        esmkit.read(tmp_path / f"merged.{kind}") as merged,
        esmkit.read(engine.output) as dataset,
    ):
        assert list(local) == list(merged) == list(dataset)
        assert {"P1~2", "P2~2", "P4/a%"} <= set(local)
        for name in local:
            assert local[name].shape == merged[name].shape == dataset[name].shape
            np.testing.assert_allclose(merged[name], local[name], atol=1e-5, rtol=0)
            np.testing.assert_array_equal(dataset[name], merged[name])
            for key, value in local.attributes(name).items():
                assert merged.attributes(name)[key] == value
        assert merged.provenance["format"] == kind
        for key in ("checkpoint", "layers", "pool", "per", "long", "dtype_model", "model_shape"):
            assert (
                merged.provenance[key]
                == dataset.provenance[key]
                == local.provenance.get(key, dataset.provenance[key])
            )
        assert dataset.to_frame().shape == local.to_frame().shape


def test_other_programs_read_the_folder(engine: InProcess, fasta: Path):
    pytest.importorskip("pyarrow")
    engine([fasta])
    table = pandas.read_parquet(engine.output)
    assert list(table["id"]) == [f"P{i}" for i in range(10)]
    assert list(table["length"]) == [len(s) for s in PROTEINS.values()]
    wanted = [hashlib.blake2b(s.encode(), digest_size=16).hexdigest() for s in PROTEINS.values()]
    assert list(table["sequence_hash"]) == wanted
    assert len(table["embedding"][0]) == 32


@pytest.mark.parametrize("long", ["window", "whole", "truncate"])
def test_long_sequences(engine: InProcess, tiny: Esm2, tmp_path: Path, long: Any):
    path = write_fasta(tmp_path / "l.fasta", {"short": "MKV", "long": random_sequence(1500, 3)})
    for per in ("protein", "residue"):
        options = EmbedOptions(per=per, long=long)  # type: ignore[arg-type]
        engine([path], options, restart=True)
        check_dataset(engine.output)
        esmkit.embed_file(tiny, path, tmp_path / "l.h5", options, run=Run(force=True))
        with esmkit.read(tmp_path / "l.h5") as local, esmkit.read(engine.output) as dataset:
            for name in local:
                np.testing.assert_allclose(dataset[name], local[name], atol=1e-5, rtol=0)


# Resume ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_nothing_finished_is_computed_again(engine: InProcess, tmp_path: Path, packed: bool):
    path = write_fasta(tmp_path / "seqs.fasta", PROTEINS)
    if packed:
        path = tmp_path / "seqs.fasta.gz"
        path.write_bytes(gzip.compress((tmp_path / "seqs.fasta").read_bytes()))
    first = parts(engine([path], stop_after=2))
    times = {p.name: p.stat().st_mtime_ns for p in Path(engine.output).glob("part-*")}
    assert len(first) == len(times) == 2
    with pytest.raises(OutputError, match="not complete"):
        check_dataset(engine.output)
    with pytest.raises(OutputError, match="not complete"):
        esmkit.read(engine.output)
    second = parts(engine([path]))
    assert engine.said[0] == "going on after 2 finished range(s)"
    assert not set(first) & set(second)
    assert {p.name: p.stat().st_mtime_ns for p in Path(engine.output).glob("part-*")}.items() >= (
        times.items()
    )
    check_dataset(engine.output)
    assert engine([path]) == []


def test_a_truncated_part_is_made_anew(engine: InProcess, fasta: Path):
    engine([fasta])
    part = Path(engine.output) / part_name(0, 1)
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    (Path(engine.output) / "_provenance.json").unlink()
    assert parts(engine([fasta])) == [(0, 1)]
    assert part.read_bytes() == whole


def test_another_run_in_the_folder_is_refused(engine: InProcess, fasta: Path, tmp_path: Path):
    engine([fasta], stop_after=1)
    with pytest.raises(
        ResumeError, match=r"layers was \[2\], now \[0\].*another folder.*`run=Run\(restart=True\)`"
    ):
        engine([fasta], EmbedOptions(layers=(0,)))
    with pytest.raises(ResumeError, match=r"`range_bytes` was 200, now 300"):
        engine([fasta], range_bytes=300)
    engine([fasta], range_bytes=300, asked_range=False, stop_after=1)  # not asked for: as it was
    other = write_fasta(tmp_path / "other.fasta", PROTEINS)
    with pytest.raises(ResumeError, match=r'inputs was \["seqs.fasta"\], now \["other.fasta"\]'):
        engine([other])
    fasta.write_text(fasta.read_text().replace("P3", "Q3"))
    with pytest.raises(ResumeError, match=r"'seqs.fasta' is not what it was"):
        engine([fasta])
    engine([fasta], restart=True)
    check_dataset(engine.output)
    with pytest.raises(ResumeError, match="layers was"):
        engine([fasta], EmbedOptions(layers=(0,)))
    engine([fasta], EmbedOptions(layers=(0,)), force=True)
    check_dataset(engine.output)


def test_files_of_others_are_left_alone(engine: InProcess, fasta: Path):
    Path(engine.output).mkdir()
    (Path(engine.output) / "thesis.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(OutputError, match=r"not esmkit's, such as 'thesis.txt'"):
            engine([fasta], restart=restart)
    assert (Path(engine.output) / "thesis.txt").read_text() == "mine"


def test_a_part_of_another_dataset_is_refused(engine: InProcess, fasta: Path, tmp_path: Path):
    other = InProcess(engine.model, tmp_path / "other")
    other([fasta], EmbedOptions(layers=(0,)))
    engine([fasta], stop_after=1)
    stray = (tmp_path / "other" / part_name(0, 2)).read_bytes()
    (Path(engine.output) / part_name(0, 2)).write_bytes(stray)
    with pytest.raises(ResumeError, match="belongs to another run"):
        engine([fasta])


# Bad records ----------------------------------------------------------------------------------


def test_a_bad_record_is_named_and_the_rest_finishes(engine: InProcess, fasta: Path):
    good = fasta.read_text()
    bad = good.replace(PROTEINS["P4 protein 4"], "MKJV" + PROTEINS["P4 protein 4"][4:])
    fasta.write_text(bad)
    with pytest.raises(
        InputError,
        match=r"seqs.fasta, range 0: sequence 'P4', residue 3: 'J' is not an amino acid.*run "
        "the same again",
    ):
        engine([fasta])
    finished = len(list(Path(engine.output).glob("part-*")))
    assert finished >= 2
    # Mended: what did not change is kept, in a file of the same length and of another
    fasta.write_text(good)
    assert parts(engine([fasta])) == [(0, 0)]
    check_dataset(engine.output)


def test_skip_may_follow_error_and_computes_what_is_missing(engine: InProcess, fasta: Path):
    fasta.write_text(fasta.read_text().replace(PROTEINS["P4 protein 4"], "MKJ"))
    with pytest.raises(InputError, match="'P4'"):
        engine([fasta])
    held = {p.name for p in Path(engine.output).glob("part-*")}
    again = parts(engine([fasta], EmbedOptions(on_invalid="skip")))
    assert len(again) == 1
    assert part_name(*again[0]) not in held
    said: list[str] = []
    check_dataset(engine.output, run=Run(say=said.append))
    assert '10 record(s) in the input, 1 left out by `on_invalid="skip"`, 9 protein(s)' in said[0]
    assert list(esmkit.read(engine.output)) == [f"P{i}" for i in range(10) if i != 4]


def test_a_damaged_gzip_file_is_named_and_mended(engine: InProcess, fasta: Path, tmp_path: Path):
    packed = tmp_path / "packed.fasta.gz"
    whole = gzip.compress(fasta.read_bytes())
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"packed.fasta.gz: 'packed.fasta.gz' is a damaged gzip"):
        engine([packed, fasta])
    assert (0, "error") in [
        (f["file"], "error") for f in json.loads((Path(engine.output) / "_errors.json").read_text())
    ]
    assert not (Path(engine.output) / "_provenance.json").exists()
    packed.write_bytes(whole)
    again = engine([packed, fasta])
    assert {file for file, _ in parts(again)} == {0}
    check_dataset(engine.output)
    assert not (Path(engine.output) / "_errors.json").exists()


def test_too_long_is_an_error_of_its_range(engine: InProcess, tmp_path: Path):
    path = write_fasta(tmp_path / "l.fasta", {"a": "MKV", "titin": random_sequence(1100, 1)})
    with pytest.raises(InputError, match="sequence 'titin' has 1,100 residues"):
        engine([path], EmbedOptions(long="error"), range_bytes=8)


def test_empty_and_foreign_files(engine: InProcess, tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("no fasta\n")
    with pytest.raises(InputError, match=r"'notes\.txt' is not FASTA"):
        engine([path])
    empty = tmp_path / "empty.fasta"
    empty.write_text("")
    with pytest.raises(InputError, match=r"empty.fasta, range 0: 'empty.fasta' is empty"):
        InProcess(engine.model, tmp_path / "out2")([empty])


def test_a_range_that_kills_workers_is_given_up(engine: InProcess, fasta: Path):
    Path(engine.output).mkdir()
    engine([fasta], stop_after=1)
    for start in (1, 2, 3):  # what three workers that died have left
        Folder(engine.output).write(attempt_name(0, 1, start), b"")
    embedder = Embedder.__new__(Embedder)
    embedder._folder = Folder(engine.output)
    with pytest.raises(InputError, match="3 workers in turn died"):
        embedder._begin(0, 1)
    assert embedder._begin(0, 1) == 1  # the notes are gone: another run tries again


# Check ----------------------------------------------------------------------------------------


def rewrite(part: Path, change: Any) -> None:
    """Change the table of a part, keeping its footer."""
    import pyarrow.parquet as parquet

    table = parquet.read_table(part)
    changed = change(table).replace_schema_metadata(table.schema.metadata)
    parquet.write_table(changed, part, write_page_checksum=True)


def flip(table: Any) -> Any:
    import pyarrow as arrow

    hashes = table.column("sequence_hash").to_pylist()
    hashes[0] = hashes[0][::-1]
    place = table.schema.get_field_index("sequence_hash")
    return table.set_column(place, "sequence_hash", arrow.array(hashes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.slice(1), r"protein 1 of 'seqs.fasta' is 'P0'.*row there is 'P1'"),
        (lambda t: t.slice(0, len(t) - 1), r"and the row there is"),
        (lambda t: t.take([0, 0, *range(1, len(t))]), r"'P0'\) out of order, or twice"),
        (lambda t: t.take([1, 0, *range(2, len(t))]), r"is 'P0'"),
        (flip, r"protein 1 of 'seqs.fasta' is 'P0' \(30 residues\), and the row there is 'P0'"),
    ],
    ids=["first lost", "last lost", "twice", "swapped", "another sequence"],
)
def test_check_finds_what_is_wrong(engine: InProcess, fasta: Path, change: Any, words: str):
    engine([fasta])
    check_dataset(engine.output)
    rewrite(Path(engine.output) / part_name(0, 0), change)
    with pytest.raises(OutputError, match=words):
        check_dataset(engine.output)


def test_each_part_says_how_attention_was_computed(engine: InProcess, fasta: Path):
    """One machine of a cluster may have a compiler, and another not."""
    import pyarrow.parquet as parquet

    engine([fasta])
    facts = json.loads((Path(engine.output) / "_provenance.json").read_text())
    assert facts["compiled"] == "where possible"
    parts = list(Path(engine.output).glob("part-*"))
    assert len(parts) > 1
    for part in parts:
        metadata = parquet.read_schema(part).metadata
        (said,) = (json.loads(v) for v in metadata.values() if b'"compiled"' in v)
        assert said == {**said, "compiled": load(engine.model, "cpu").compiled}


def test_check_finds_parts_lost_foreign_and_damaged(engine: InProcess, fasta: Path, tmp_path: Path):
    engine([fasta])
    out = Path(engine.output)
    said: list[str] = []
    check_dataset(out, run=Run(say=said.append))
    count = len(list(out.glob("part-*")))
    assert said == [
        f"complete: 10 record(s) in the input, 10 protein(s) in {count} part(s), each exactly once "
        "and in order"
    ]
    part = out / part_name(0, 1)
    whole = part.read_bytes()
    (out / part_name(0, 77)).write_bytes(whole)
    with pytest.raises(OutputError, match=r"1 part\(s\) too many"):
        check_dataset(out)
    (out / part_name(0, 77)).unlink()
    rows = pandas.read_parquet(part)
    found = 0
    places = [*range(0, len(whole), len(whole) // 60)]
    places += [at.start() for at in re.finditer(rb"sequence_hash|embedding|residue|range", whole)]
    for place in places:  # a flipped bit is found, or does no harm
        part.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            check_dataset(out)
        except OutputError:
            found += 1
        else:
            pandas.testing.assert_frame_equal(pandas.read_parquet(part), rows)
    assert found > 20
    part.unlink()
    with pytest.raises(
        OutputError, match=r"1 of \d+ part\(s\) are missing, such as part-00000-0000001"
    ):
        check_dataset(out)
    part.write_bytes(whole)
    moved = fasta.rename(tmp_path / "moved.fasta")
    with pytest.raises(InputError, match="there is no file"):
        check_dataset(out)
    check_dataset(out, [moved])
    (out / "_provenance.json").unlink()
    with pytest.raises(OutputError, match=r"every row but no _provenance.json"):
        check_dataset(out, [moved])
    with pytest.raises(OutputError, match="no such folder is there"):
        check_dataset(tmp_path / "nowhere")


def test_check_notices_a_record_that_was_added(engine: InProcess, fasta: Path):
    engine([fasta])
    with fasta.open("a") as handle:
        handle.write(">late\nMKV\n")
    with pytest.raises(OutputError, match=r"protein 11 of 'seqs.fasta' \('late'\) .*no row"):
        check_dataset(engine.output)


def test_merge_refuses_what_is_not_whole(engine: InProcess, fasta: Path, tmp_path: Path):
    engine([fasta], stop_after=1)
    with pytest.raises(OutputError, match="not a complete dataset"):
        merge_dataset(engine.output, tmp_path / "m.h5")
    engine([fasta])
    merge_dataset(engine.output, tmp_path / "m.h5")
    with pytest.raises(OutputError, match="exists already"):
        merge_dataset(engine.output, tmp_path / "m.h5")
    (Path(engine.output) / part_name(0, 1)).unlink()
    with pytest.raises(OutputError, match=r"part\(s\) where there were"):
        merge_dataset(engine.output, tmp_path / "m.h5", run=Run(force=True))
    assert len(esmkit.read(tmp_path / "m.h5")) == 10
    assert not list(tmp_path.glob("*.tmp"))


# Errors before anything starts ----------------------------------------------------------------


def test_without_ray(monkeypatch: pytest.MonkeyPatch, run: Any, fasta: Path, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "esmkit\[ray\]"'):
        cluster_module.import_ray()
    message = fails(run("embed", fasta, "--engine", "ray", "-o", "out", cwd=tmp_path))
    assert 'pip install "esmkit[ray]"' in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--num-workers", "2"], "--num-workers is for --engine ray"),
        (["--engine", "ray", "--format", "h5"], "--merge makes another format"),
        (["--check", "a", "--merge", "b"], "two commands"),
        (["--check", "a", "-o", "b"], "--check writes nothing"),
        (["--merge", "a"], "takes the file to write with -o"),
    ],
)
def test_usage(run: Any, fasta: Path, tmp_path: Path, words: list[str], told: str):
    assert told in fails(run("embed", fasta, *words, cwd=tmp_path), 2)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("4Q", "a size is a number of bytes such as 500M or 10G, not '4Q'"),
        ("0", "--range-size is at least 1 byte, not '0'"),
    ],
)
def test_sizes_of_ranges(run: Any, fasta: Path, tmp_path: Path, size: str, told: str):
    assert told in fails(run("embed", fasta, "--engine", "ray", "--range-size", size, cwd=tmp_path))


def test_fasta_is_still_needed(run: Any, tmp_path: Path):
    assert "Missing argument 'FASTA...'" in fails(run("embed", cwd=tmp_path), 2)


def test_what_is_asked_of_workers():
    with pytest.raises(OptionError, match="at least 1 worker, not 0"):
        Workers(number=0)
    with pytest.raises(OptionError, match="at least 1 processor, not 0"):
        Workers(cpus=0)
    with pytest.raises(OptionError, match=r"0 GPUs or more, not -1\.0"):
        Workers(gpus=-1.0)


def fake_ray(**has: float) -> Any:
    return SimpleNamespace(cluster_resources=lambda: has)


def test_workers_fit_the_cluster(tmp_path: Path):
    (tmp_path / "model.safetensors").write_bytes(b"0" * 2**20)
    each = worker_bytes(2**20)
    ray = fake_ray(CPU=4.0, memory=2.5 * each)
    assert plan_workers(ray, Workers(), "auto", tmp_path) == WorkerPool(2, 1, 0.0, "cpu")
    with pytest.raises(
        OptionError, match=r"3 worker\(s\) need about 2.1 GiB .*use `workers=Workers\(number=2\)`"
    ):
        plan_workers(ray, Workers(number=3), "auto", tmp_path)
    with pytest.raises(
        OptionError, match=r"2 worker\(s\) need 6 of processors.* has 4; use `workers=Workers\(nu"
    ):
        plan_workers(ray, Workers(number=2, cpus=3), "auto", tmp_path)
    with pytest.raises(OptionError, match=r"need 1 of GPUs, and the cluster has 0"):
        plan_workers(ray, Workers(), "cuda", tmp_path)
    with pytest.raises(OptionError, match="auto, cpu or cuda, not 'mps'"):
        plan_workers(ray, Workers(), "mps", tmp_path)
    with pytest.raises(OptionError, match='`device="cpu"` for none'):
        plan_workers(ray, Workers(gpus=1.0), "cpu", tmp_path)
    with pytest.raises(OptionError, match=r"give `workers=Workers\(gpus=1\)`"):
        plan_workers(ray, Workers(gpus=0.0), "cuda", tmp_path)
    rich = fake_ray(CPU=8.0, GPU=2.0, memory=100.0 * each)
    assert plan_workers(rich, Workers(), "auto", tmp_path) == WorkerPool(2, 1, 1.0, "cuda")
    assert plan_workers(rich, Workers(gpus=0.5), "auto", tmp_path) == WorkerPool(4, 1, 0.5, "cuda")
    assert plan_workers(rich, Workers(), "cpu", tmp_path) == WorkerPool(8, 1, 0.0, "cpu")


@pytest.mark.parametrize(
    ("name", "folder", "said"),
    [
        ("TMPDIR", "/tmp/" + "long_" * 14, "TMPDIR, whose name must have at most 4"),
        ("RAY_TMPDIR", "/dev/null/here", r"cannot write to '/dev/null/here' \(Not a directory\)"),
        ("TMPDIR", "here", "TMPDIR is 'here', and Ray needs a whole path"),
    ],
)
def test_ray_is_not_started_where_it_has_no_folder(
    monkeypatch: pytest.MonkeyPatch, name: str, folder: str, said: str
):
    """The length is that of a socket's name, 107 bytes on Linux (unix(7))."""
    from esmkit.embeddings.cluster import cluster

    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(name, folder)
    monkeypatch.setattr(cluster, "_processors", lambda: 1)
    started = SimpleNamespace(init=lambda **_: pytest.fail("started"))
    with pytest.raises(OptionError, match=f"{said}.*set RAY_TMPDIR to a folder of your own"):
        cluster._start(started, Workers())


def test_the_longest_folder_of_ray_is_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from esmkit.embeddings.cluster import starting

    most = len(str(tmp_path)) + 40
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(starting, "MOST_BYTES", most + len(starting.SESSION.format(os.getpid())))
    for size, fits in ((39, True), (40, False)):
        monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * size)) + "/")
        with contextlib.nullcontext() if fits else pytest.raises(OptionError):
            starting.check_folders()


@pytest.mark.parametrize("times", [1, 2])
def test_ray_that_is_late_is_started_once_more(monkeypatch: pytest.MonkeyPatch, times: int):
    """Ray gives its parts 30 s, which a busy machine may need for loading them."""
    from esmkit.embeddings.cluster import cluster

    done: list[str] = []

    class Node:
        def __init__(self) -> None:
            if done.count("init") <= times:
                raise Exception("The current node timed out during startup. This could happen ...")

        def kill_all_processes(self, **_: object) -> None:
            done.append("ended")
            raise ProcessLookupError  # one that ended by itself

    def init(**_: object) -> None:
        done.append("init")
        Node()

    ray = SimpleNamespace(init=init, shutdown=lambda: done.append("shutdown"))
    monkeypatch.setattr(cluster, "check_folders", lambda: None)
    if times == 1:
        cluster._start(ray, Workers(number=1))
    else:
        with pytest.raises(OptionError, match=r"; twice .* busy machine; try again when"):
            cluster._start(ray, Workers(number=1))
    assert done == ["init", "ended", "shutdown", "init", *["ended"] * (times - 1)]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra ray is not installed")
@pytest.mark.filterwarnings("ignore:::ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_ray_that_was_late_leaves_no_program(monkeypatch: pytest.MonkeyPatch):
    """Its shutdown knows only of a Ray that did start: the first ran on beside the second."""
    from ray._private import node, services

    before = set(psutil.Process().children(recursive=True))
    clock = SimpleNamespace(**{**vars(time), "monotonic": itertools.count(0, 31).__next__})
    monkeypatch.setattr(node, "time", clock)

    def get_node(*_: object) -> None:
        raise RuntimeError("not there yet")

    monkeypatch.setattr(services, "get_node", get_node)
    started: list[int] = []
    start = services.start_ray_process

    def counted(*args: Any, **options: Any) -> Any:
        found = start(*args, **options)
        started.append(found.process.pid)
        return found

    monkeypatch.setattr(services, "start_ray_process", counted)
    with pytest.raises(OptionError, match=r"; twice .* busy machine; try again when"):
        cluster_module._start(import_ray(), Workers(number=1))
    assert len(started) >= 4
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [found for found in left if found.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError("AF_UNIX path length cannot exceed 107 bytes: /a"), "folder with a short name"),
        (OSError(28, "No space left on device"), "make room in /dev/shm"),
        (RuntimeError("Address already in use"), "end what uses the port"),
        (
            RuntimeError("\x1b[36mnode\x1b[39m\n did not  start."),
            "Ray does not .*: node did not start;",
        ),
        (KeyError(), "KeyError; environment variables that begin with RAY_"),
        (PermissionError(13, "Permission denied"), "that you can write to"),
    ],
)
def test_why_ray_does_not_start_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
):
    from esmkit.embeddings.cluster import cluster

    def init(**_: object) -> None:
        raise raised

    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OptionError, match=said) as caught:
        cluster._start(SimpleNamespace(init=init), Workers(number=1))
    assert str(caught.value).startswith("Ray does not start on this machine: ")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_an_address_in_the_environment_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    from esmkit.embeddings.cluster import cluster

    monkeypatch.setenv("RAY_ADDRESS", "garbage")
    joined = SimpleNamespace(init=lambda **_: pytest.fail("joined"))
    with pytest.raises(OptionError, match=r"variable RAY_ADDRESS: .* not 'garbage'"):
        cluster._join(joined, "auto")


def test_input_that_workers_cannot_read(tiny_folder: Path, tmp_path: Path, fasta: Path):
    from esmkit.embeddings.cluster import embed_dataset

    with pytest.raises(OptionError, match="not standard input"):
        embed_dataset("-", tmp_path / "out", model=tiny_folder)
    with pytest.raises(InputError, match="there is no file"):
        embed_dataset(tmp_path / "missing.fasta", tmp_path / "out", model=tiny_folder)
    with pytest.raises(InputError, match="is a folder"):
        embed_dataset(tmp_path, tmp_path / "out", model=tiny_folder)
    with pytest.raises(OutputError, match="is a file; give a folder"):
        embed_dataset(fasta, fasta, model=tiny_folder)
    with pytest.raises(OptionError, match="no file system that fsspec knows"):
        embed_dataset(fasta, "gopher://x/y", model=tiny_folder)


def test_other_weights_on_a_worker(tiny_folder: Path, tmp_path: Path):
    settings = Settings(
        str(tmp_path),
        "r",
        str(tiny_folder),
        "cpu",
        "float32",
        "0" * 64,
        1,
        (2,),
        32,
        EmbedOptions(),
        "{}",
    )
    answer = Embedder(settings)(
        {
            "kind": "range",
            "file": 0,
            "name": "a",
            "range": 0,
            "data": b">a\nMK\n",
            "progress": 1,
            "error": "",
        }
    )
    assert answer["kind"] == "fatal"
    assert "a worker found other weights" in answer["error"]


def test_manifest_survives_and_says_when_damaged(engine: InProcess, fasta: Path):
    engine([fasta])
    folder = Folder(engine.output)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert len(held_parts(folder, manifest.run)) == manifest.inputs[0].ranges
    folder.write("_manifest.json", b"{")
    with pytest.raises(OutputError, match="is damaged"):
        engine([fasta])


def test_memory_file_system_is_atomic_and_flat():
    folder = Folder("memory://somewhere/out")
    assert folder.names() == []
    folder.write("a", b"1")
    folder.write("a", b"2")
    assert folder.names() == ["a"]
    assert folder.read("a") == b"2"
    assert folder.exists("a")
    folder.remove("a")
    folder.remove("a")
    assert not folder.exists("a")


@pytest.mark.parametrize("text", ["[]", "6", '{"layers": 6}', "{bad"])
def test_a_dataset_whose_provenance_is_of_another_form_is_not_merged(tmp_path: Path, text: str):
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "_provenance.json").write_text(text)
    with pytest.raises(OutputError, match=r"_provenance.json of .* is damaged \(.*; make the data"):
        merge_dataset(tmp_path / "ds", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", [".", "/"])
def test_a_dataset_is_not_merged_into_the_folder_one_is_in(tmp_path: Path, monkeypatch, name: str):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    with pytest.raises(OutputError, match=r"is a folder|is the root of all folders"):
        merge_dataset(tmp_path / "ds", name, file_format="csv")
