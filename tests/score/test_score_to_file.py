"""`esmkit score` from FASTA files to one file: formats, repeats, resume."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest

import esmkit
from esmkit.embeddings.reader import EmbeddingFile
from esmkit.errors import (
    CheckpointError,
    InputError,
    OptionError,
    OutputError,
    ResumeError,
    UnknownIdError,
)
from esmkit.esm2 import Esm2
from esmkit.files.run_options import Run
from esmkit.files.task import Task
from esmkit.files.work_folder import WorkFolder
from esmkit.score import passes, sites
from esmkit.score import to_file as module
from esmkit.score.options import ScoreOptions
from esmkit.score.reader import ScoreFile
from esmkit.score.to_file import score_file
from esmkit.sequences.proteins import AMINO_ACIDS
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-6}


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    records = {f"p{n} protein {n}": random_sequence(n, n) for n in (30, 5, 61, 12)}
    records["a/b.c twice"] = records["p30 protein 30"]
    records["=x odd"] = "MKXVRU" + random_sequence(20, 3)
    records["NA"] = "NQ"
    return write_fasta(tmp_path / "in.fasta", records)


@pytest.mark.parametrize("kind", ["tsv", "csv", "parquet"])
@pytest.mark.parametrize("masked", [True, False])
def test_a_table_of_proteins(scored: Esm2, fasta: Path, tmp_path: Path, kind: str, masked: bool):
    output, options = tmp_path / f"o.{kind}", ScoreOptions(masked=masked)
    score_file(scored, fasta, output, options)
    wanted = scored.score(fasta, masked=masked).to_frame()
    with esmkit.read(output) as found:
        assert isinstance(found, ScoreFile)
        assert found.per == "protein"
        table = found.to_frame()
        assert list(table.index) == list(found) == ["p30", "p5", "p61", "p12", "a/b.c", "=x", "NA"]
        assert list(table) == list(wanted)
        for name in table:
            np.testing.assert_allclose(table[name], wanted[name], **CLOSE)
        name = "pseudo_perplexity" if masked else "one_pass_perplexity"
        assert found["=x"][name] == pytest.approx(wanted[name]["=x"])
        assert found["=x"]["left_out"] == 2
        assert found.provenance["checkpoint"]["sha256"] == scored.checkpoint.sha256
        assert found.provenance["lm_head"] == {"source": "checkpoint"}
        assert found.provenance["masked"] is masked
        with pytest.raises(UnknownIdError):
            found["p3"]
    assert not list(tmp_path.glob("*.work"))


@pytest.mark.parametrize("kind", ["tsv", "parquet", "h5"])
@pytest.mark.parametrize("masked", [True, False])
def test_numbers_of_residues(scored: Esm2, fasta: Path, tmp_path: Path, kind: str, masked: bool):
    output = tmp_path / f"o.{kind}"
    options = ScoreOptions(per="residue", masked=masked, all_letters=True)
    score_file(scored, fasta, output, options)
    wanted = {one.id: one for one in scored.score(fasta, masked=masked)}
    with esmkit.read(output) as found:
        assert list(found) == list(wanted)
        for name, score in wanted.items():
            one, table = found[name], score.to_frame(all_letters=True)
            if kind == "h5":
                assert (one.id, one.header, one.sequence) == (name, score.header, score.sequence)
                assert (one.masked, one.windows) == (masked, 1)
                one = one.to_frame(all_letters=True)
            pandas.testing.assert_frame_equal(one, table, rtol=1e-4, atol=1e-5)
        whole = found.to_frame()
        assert whole.index.names == ["id", "residue_number"]
        assert len(whole) == sum(map(len, wanted.values()))
        assert whole.loc[("=x", 3), "residue"] == "X"
        assert np.isnan(whole.loc[("=x", 3), "log_probability"])
        assert whole.loc[("NA", 1), "residue"] == "N"


def test_the_layout_of_the_hdf5_file(scored: Esm2, fasta: Path, tmp_path: Path):
    options = ScoreOptions(per="residue")
    score_file(scored, fasta, tmp_path / "o.h5", options, run=Run(command="esmkit x"))
    with h5py.File(tmp_path / "o.h5") as file:
        dataset: Any = file["a%2Fb.c"]
        assert dataset.shape == (30, 20)
        assert dataset.dtype == np.float32
        assert dict(dataset.attrs)["header"] == "a/b.c twice"
        provenance = json.loads(str(file.attrs["provenance"]))
    assert provenance["letters"] == AMINO_ACIDS
    assert provenance["command"] == "esmkit x"
    assert str(tmp_path) not in json.dumps(provenance)


def test_windows_in_a_file(scored: Esm2, tmp_path: Path, monkeypatch):
    for room in (sites, passes):
        monkeypatch.setattr(room, "PORTION_TOKENS", 200_000)
    fasta = write_fasta(tmp_path / "x.fasta", {"long": random_sequence(1_025, 0)})
    score_file(scored, fasta, tmp_path / "o.h5", ScoreOptions(per="residue", masked=False))
    with esmkit.read(tmp_path / "o.h5") as found:
        assert found["long"].windows == 2
        assert found.provenance["input_report"]["windowed"] == 1
    cut = ScoreOptions(masked=False, long="truncate")
    score_file(scored, fasta, tmp_path / "o.tsv", cut)
    row = esmkit.read(tmp_path / "o.tsv")["long"]
    assert (row["length"], row["counted"]) == (1_025, 1_022)
    with pytest.raises(InputError, match="sequence 'long' has 1,025 residues"):
        score_file(scored, fasta, tmp_path / "e.tsv", ScoreOptions(long="error"))


def test_what_is_said(scored: Esm2, fasta: Path, tmp_path: Path):
    said: list[str] = []
    score_file(scored, fasta, tmp_path / "o.tsv", run=Run(say=said.append))
    assert "2 residues (X, B, U, Z or O) of 1 protein have no probability and no part" in "\n".join(
        said
    )
    lengths = [30, 5, 61, 12, 26, 2]
    work = sum(length**2 for length in lengths)
    assert f"each of {sum(lengths)} residues is hidden in turn" in "\n".join(said)
    assert f"{work:,} residues to read; `masked=False` reads each protein once" in "\n".join(said)


def test_repeated_sequences_are_computed_once(scored: Esm2, tmp_path: Path, monkeypatch):
    fasta = write_fasta(tmp_path / "x.fasta", {f"p{n}": "MKTVRQERL" for n in range(20)})
    seen: list[int] = []

    def counted(model, requests, **options):
        for _, positions in (every := list(requests)):
            seen.append(len(positions))
        return passes_own(model, iter(every), **options)

    passes_own = passes.masked_logits
    monkeypatch.setattr(passes, "masked_logits", counted)
    score_file(scored, fasta, tmp_path / "o.tsv")
    assert seen == [9]
    assert len(set((tmp_path / "o.tsv").read_text().splitlines()[1].split()[1:])) > 1
    assert len(esmkit.read(tmp_path / "o.tsv")) == 20


def test_bad_input_is_found_before_anything_is_loaded_or_written(tmp_path: Path, tiny: Esm2):
    fasta = write_fasta(tmp_path / "x.fasta", {"good": "MKT", "bad": "MKJ"})

    def never() -> Esm2:
        raise AssertionError("the model was loaded for a bad input")

    with pytest.raises(InputError, match="sequence 'bad', residue 3: 'J'"):
        score_file(never, [fasta], tmp_path / "o.tsv")
    for output, options, says in (
        ("o.h5", ScoreOptions(), "HDF5 holds the log-probabilities of every residue"),
        ("o.txt", ScoreOptions(), "says no format"),
        ("-", ScoreOptions(per="residue"), "standard output takes tsv or csv, not parquet"),
    ):
        kind = "parquet" if output == "-" else None
        with pytest.raises(OptionError, match=says):
            score_file(never, fasta, Path(output), options, file_format=kind)
    with pytest.raises(OptionError, match="`all_letters` is about residues"):
        ScoreOptions(all_letters=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.fasta"]
    good = write_fasta(tmp_path / "y.fasta", {"good": "MKT"})
    with pytest.raises(CheckpointError, match="has no masked-LM head"):
        score_file(tiny, good, tmp_path / "o.tsv")
    assert not list(tmp_path.glob("o.*"))


class _Stop(Exception):
    """Stands for a kill in tests that stay in one process."""


def die_after(shards: int, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> None:
    """Score until so many shards are written, with pending work lost."""
    write, count = WorkFolder.write, 0

    def counted(self: WorkFolder, arrays: Any) -> None:
        nonlocal count
        if count == shards:
            raise _Stop
        write(self, arrays)
        count += 1

    with monkeypatch.context() as patch:
        patch.setattr(Task, "shard_bytes", 1)  # a shard for every batch
        patch.setattr(WorkFolder, "write", counted)
        with pytest.raises(_Stop):
            score_file(*arguments)


@pytest.mark.parametrize("shards", [0, 1, 3])
@pytest.mark.parametrize(
    "options",
    [
        ScoreOptions(per="residue"),
        ScoreOptions(),
        ScoreOptions(masked=False, batch_tokens=40),
        ScoreOptions(masked=False, per="residue", batch_tokens=40),
    ],
    ids=["residues", "proteins", "one-pass", "one-pass-residues"],
)
def test_resume_gives_the_same_bytes_and_computes_only_the_rest(
    scored: Esm2, fasta: Path, tmp_path: Path, monkeypatch, shards: int, options: ScoreOptions
):
    for room in (sites, passes):
        monkeypatch.setattr(room, "PORTION_TOKENS", 400)
    kind = "h5" if options.per == "residue" else "parquet"
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    score_file(scored, fasta, whole, options)
    die_after(shards, monkeypatch, scored, fasta, cut, options)
    assert not cut.exists()
    assert len(list((tmp_path / f"{cut.name}.work").glob("*.safetensors"))) == shards
    asked: list[int] = []
    bars: list[tuple[int, int]] = []

    def counted(model, requests, **settings):
        every = list(requests)
        asked.extend(len(positions) for _, positions in every)
        return passes_own(model, iter(every), **settings)

    passes_own = passes.masked_logits
    with monkeypatch.context() as patch:
        patch.setattr(passes, "masked_logits", counted)
        patch.setattr(
            module.ScoreTask,
            "left",
            lambda self, *a, own=module.ScoreTask.left: (
                bars.append((len(a), found := own(self, *a))),
                found,
            )[1],
        )
        score_file(scored, fasta, cut, options)
    assert cut.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"{cut.name}.work").exists()
    if options.masked:  # portions: of 30 residues 12, 12, 6; of 5 all; of 61 six each; ...
        done = {0: 0, 1: 12, 3: 30}[shards]
        again = {0: 0, 1: 0, 3: 6}[shards]  # the last of p30 is computed together with p5
        assert sum(asked) == 30 + 5 + 61 + 12 + 26 + 2 - done + again
        (_, total), (_, left) = bars
        assert total - left == done * 30  # what the progress bar begins with


def test_work_of_other_options_is_refused(scored: Esm2, fasta: Path, tmp_path, monkeypatch):
    output = tmp_path / "o.tsv"
    die_after(1, monkeypatch, scored, fasta, output, ScoreOptions())
    with pytest.raises(ResumeError, match=r"masked was true, now false"):
        score_file(scored, fasta, output, ScoreOptions(masked=False))
    score_file(scored, fasta, output, ScoreOptions(masked=False), run=Run(restart=True))
    with pytest.raises(OutputError, match="exists already"):
        score_file(scored, fasta, output)


def test_scores_are_no_embeddings(scored: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "x.fasta", {"p": "MKTVRQ"})
    for name, per in (("o.h5", "residue"), ("r.tsv", "residue"), ("p.csv", "protein")):
        score_file(scored, fasta, tmp_path / name, ScoreOptions(per=per))  # type: ignore[arg-type]
        with pytest.raises(OutputError, match=r"open it with `esmkit.read`"):
            EmbeddingFile(tmp_path / name)
        assert isinstance(esmkit.read(tmp_path / name), ScoreFile)


def test_files_that_hold_no_scores(tmp_path: Path, fasta: Path):
    (tmp_path / "x.tsv").write_text("id\ti_number\ti\n")
    for path, says in (
        (fasta, "holds no scores: it is FASTA"),
        (tmp_path / "x.tsv", "holds no scores: it is a table of contacts"),
        (tmp_path / "none.tsv", "no file"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(OutputError, match=says):
            ScoreFile(path)
    broken = tmp_path / "broken.tsv"
    for row in ("P1\tx\ty", "P1\t1\t2\t3"):
        broken.write_text(f"id\tlength\tpseudo_perplexity\n{row}\n")
        with pytest.raises(OutputError, match="or is damaged"):
            ScoreFile(broken)
