"""`esmkit contacts` from FASTA files to one file: formats, size, windows, resume."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas
import pytest

import esmkit
from esmkit.contacts import ContactHead, contacts_file
from esmkit.contacts import to_file as module
from esmkit.contacts.to_file import ContactsTask
from esmkit.embeddings.reader import EmbeddingFile
from esmkit.encoder.encoder import Encoder
from esmkit.errors import InputError, OptionError, OutputError, ResumeError
from esmkit.esm2 import Esm2
from esmkit.files import disk
from esmkit.files.run_options import Run
from esmkit.files.work_folder import WorkFolder
from esmkit.sequences import windows as cutting
from oracles.checkpoints import random_sequence
from oracles.commands import write_fasta

LENGTHS = (30, 5, 61, 12, 44, 9, 28)
NAMES = [*(f"p{n}" for n in LENGTHS), "a/b.c"]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    records = {f"p{n} protein {n}": random_sequence(n, n) for n in LENGTHS}
    records["a/b.c twice"] = records["p30 protein 30"]
    return write_fasta(tmp_path / "in.fasta", records)


def expected(model: Esm2, fasta: Path, **options: Any) -> dict[str, Any]:
    found = {m.id: m for m in model.contacts(fasta, **options)}
    assert list(found) == NAMES
    return found


def by_heads(model: Encoder) -> ContactHead:
    return ContactHead.mean_of(model, ["L0H1", "L1H3"])


# Runs cut sequences into passes of their own; sums of a few tiny layers differ by rounding.
ROUNDING = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize("head", [None, by_heads])
def test_whole_maps(tiny: Esm2, fasta: Path, tmp_path: Path, head):
    wanted = expected(tiny, fasta, heads=("L0H1", "L1H3") if head else None)
    contacts_file(tiny, fasta, tmp_path / "o.h5", head)
    contacts_file(tiny, fasta, tmp_path / "o.npz", head)
    with h5py.File(tmp_path / "o.h5") as handle, np.load(tmp_path / "o.npz") as arrays:
        assert list(handle) == [*NAMES[:-1], "a%2Fb.c"]
        assert arrays.files == ["__provenance__", *NAMES[:-1], "a%2Fb.c"]
        assert json.loads(str(arrays["__provenance__"]))["format"] == "npz"
        for name, theirs in wanted.items():
            key = name.replace("/", "%2F")
            of_h5: Any = handle[key]
            assert dict(of_h5.attrs) == {
                "id": name,
                "header": theirs.header,
                "length": len(theirs),
            }
            for values in (of_h5[...], arrays[key]):
                assert values.dtype == np.float32
                np.testing.assert_array_equal(values, values.T)
                np.testing.assert_allclose(values, theirs.probability, **ROUNDING)
        np.testing.assert_array_equal(arrays["p30"], arrays["a%2Fb.c"])
    for name in ("o.h5", "o.npz"):  # esmkit reads it back by ID
        with esmkit.read(tmp_path / name) as found:
            assert isinstance(found, EmbeddingFile)
            np.testing.assert_allclose(found["a/b.c"], wanted["a/b.c"].probability, **ROUNDING)


def test_what_is_recorded(tiny: Esm2, fasta: Path, tmp_path: Path):
    contacts_file(tiny, fasta, tmp_path / "o.h5", run=Run(command="esmkit contacts in.fasta"))
    contacts_file(tiny, fasta, tmp_path / "o.tsv", min_separation=8, min_probability=0.25)
    with h5py.File(tmp_path / "o.h5") as handle:
        record = json.loads(str(handle.attrs["provenance"]))
    assert record["task"] == "contacts"
    assert record["checkpoint"]["name"] == "tiny-esm2"
    assert record["command"] == "esmkit contacts in.fasta"
    assert record["head"] == ContactHead.of_checkpoint(tiny).to_dict()
    assert (record["format"], record["dtype_stored"], record["long"]) == ("h5", "float32", "window")
    assert record["min_separation"] is record["min_probability"] is None
    assert record["input_report"]["duplicate_sequences"] == 1
    assert str(tmp_path) not in json.dumps(record)
    beside = json.loads((tmp_path / "o.tsv.provenance.json").read_text())
    assert (beside["min_separation"], beside["min_probability"]) == (8, 0.25)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("in.fasta", "o.h5", "o.tsv", "o.tsv.provenance.json")
    ]


@pytest.mark.parametrize("head", [None, by_heads])
@pytest.mark.parametrize(("separation", "bound"), [(6, None), (1, None), (10, 0.4)])
def test_tables_of_pairs(tiny: Esm2, fasta: Path, tmp_path: Path, head, separation, bound):
    contacts_file(
        *(tiny, fasta, tmp_path / "o.tsv", head),
        min_separation=separation,
        min_probability=bound,
    )
    value = "score" if head else "probability"
    table: Any = pandas.read_csv(tmp_path / "o.tsv", sep="\t")
    assert list(table.columns) == ["id", "i_number", "i", "j_number", "j", "separation", value]
    assert list(table["id"].unique()) == [n for n in NAMES if n in set(table["id"])]
    wanted = expected(tiny, fasta, heads=("L0H1", "L1H3") if head else None)
    for name, theirs in wanted.items():
        rows = table[table["id"] == name]
        values = theirs.probability
        i, j = rows["i_number"].to_numpy() - 1, rows["j_number"].to_numpy() - 1
        np.testing.assert_allclose(rows[value], values[i, j], **ROUNDING)
        assert (np.diff(rows[value]) <= 0).all()
        assert (rows["separation"] == j - i).all()
        assert list(rows["i"]) == [theirs.sequence[n] for n in i]
        assert list(rows["j"]) == [theirs.sequence[n] for n in j]
        inside = np.triu(np.ones_like(values, bool), separation)
        if bound is not None:
            inside &= values >= bound
        assert set(zip(i, j, strict=True)) == set(zip(*np.nonzero(inside), strict=True))
    assert len(table) > 0 or head


RR_LINE = re.compile(r"(\d+) (\d+) 0 8 ([01]\.\d+)")


def read_rr(text: str) -> dict[str, tuple[str, list[tuple[int, int, float]]]]:
    """Read CASP's format by its description (predictioncenter.org/casprol/index.cgi?page=format).

    PFRMAT first, TARGET, AUTHOR, METHOD and REMARK, MODEL, the sequence in lines of at most 50
    letters, a line ``i j d1 d2 p`` for each pair with i < j, likeliest first, and END. CASP wants
    a file for each target; here blocks follow each other.
    """
    found = {}
    assert text.endswith("END\n")
    for block in text.removesuffix("END\n").split("END\n"):
        lines = block.splitlines()
        assert lines[0] == "PFRMAT RR"
        assert lines[1].startswith("TARGET ")
        model = lines.index("MODEL 1")
        assert [line.split()[0] for line in lines[2:model]] == ["AUTHOR", "METHOD"]
        rest = lines[model + 1 :]
        letters = [line for line in rest if re.fullmatch("[A-Z]+", line)]
        assert rest[: len(letters)] == letters
        assert all(len(line) == 50 for line in letters[:-1])
        pairs = []
        for line in rest[len(letters) :]:
            match = RR_LINE.fullmatch(line)
            assert match, line
            pairs.append((int(match[1]), int(match[2]), float(match[3])))
        assert all(i < j and 0 <= p <= 1 for i, j, p in pairs)
        assert [p for *_, p in pairs] == sorted((p for *_, p in pairs), reverse=True)
        found[lines[1].removeprefix("TARGET ")] = ("".join(letters), pairs)
    return found


def test_casp_rr(tiny: Esm2, fasta: Path, tmp_path: Path):
    contacts_file(tiny, fasta, tmp_path / "o.rr", min_separation=3)
    text = (tmp_path / "o.rr").read_text()
    assert text.startswith(
        "PFRMAT RR\nTARGET p30\nAUTHOR esmkit\nMETHOD tiny-esm2, contact head of tiny-esm2\n"
        f"MODEL 1\n{random_sequence(30, 30)}\n"
    )
    found = read_rr(text)
    wanted = expected(tiny, fasta)
    assert list(found) == NAMES
    for name, (sequence, pairs) in found.items():
        theirs = wanted[name]
        assert sequence == theirs.sequence
        size = max(len(sequence) - 3, 0)
        assert len(pairs) == len({(i, j) for i, j, _ in pairs}) == size * (size + 1) // 2
        for i, j, p in pairs:
            assert j - i >= 3
            assert p == pytest.approx(theirs.probability[i - 1, j - 1], abs=6e-6)  # 5 decimals
    assert (tmp_path / "o.rr.provenance.json").exists()


def test_single_heads_are_no_probabilities(tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Esm2, "forward", None)
    with pytest.raises(
        OptionError,
        match=r"^RR is for probabilities, and single heads give scores; use the format tsv, npz or h",
    ):
        contacts_file(tiny, fasta, tmp_path / "o.rr", by_heads)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.fasta"]


def test_standard_output(tiny: Esm2, fasta: Path, tmp_path: Path, capsys):
    contacts_file(tiny, fasta, "-", min_probability=0.5)
    text = capsys.readouterr().out
    contacts_file(tiny, fasta, tmp_path / "o.tsv", min_probability=0.5)
    assert text == (tmp_path / "o.tsv").read_text()
    assert text.count("probability") == 1


@pytest.mark.parametrize("kind", ["h5", "tsv"])
def test_windows_on_disk(tiny: Esm2, tmp_path: Path, monkeypatch, kind: str):
    monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 10)
    cut = cutting.windows
    monkeypatch.setattr(cutting, "windows", lambda residues: cut(residues, 20))
    records = {f"p{n}": random_sequence(n, n) for n in (61, 12, 33)}
    fasta = write_fasta(tmp_path / "in.fasta", records)
    contacts_file(tiny, fasta, tmp_path / f"o.{kind}")
    for found in tiny.contacts(fasta):
        values = found.probability
        assert found.windows == len(cut(len(found), 20))
        if kind == "h5":
            with h5py.File(tmp_path / "o.h5") as handle:
                of_file: Any = handle[found.id]
                np.testing.assert_allclose(of_file[...], values, **ROUNDING)
                assert np.isnan(of_file[0, -1]) == (len(found) > 20)
        else:
            table: Any = pandas.read_csv(tmp_path / "o.tsv", sep="\t")
            assert table["probability"].notna().all()
            known = np.isfinite(values[np.triu_indices(len(values), 6)])
            assert (table["id"] == found.id).sum() == known.sum()


def test_truncated_and_refused_chains(tiny: Esm2, tmp_path: Path):
    fasta = write_fasta(tmp_path / "in.fasta", {"long": random_sequence(1100, 1)})
    contacts_file(tiny, fasta, tmp_path / "o.npz", by_heads, long="truncate")
    with np.load(tmp_path / "o.npz") as arrays:
        assert arrays["long"].shape == (1022, 1022)
    contacts_file(tiny, fasta, tmp_path / "o.rr", long="truncate", min_separation=1000)
    sequence, pairs = read_rr((tmp_path / "o.rr").read_text())["long"]
    assert (len(sequence), len(pairs)) == (1022, 22 * 23 // 2)
    with pytest.raises(InputError, match="'long' has 1,100 residues"):
        contacts_file(tiny, fasta, tmp_path / "x.h5", long="error")
    assert not (tmp_path / "x.h5").exists()


def test_size_is_refused_before_anything_runs(tiny: Esm2, fasta: Path, tmp_path, monkeypatch):
    squares = sum(n * n for n in (*LENGTHS, 30)) * 4
    assert squares == 33_964
    monkeypatch.setattr(Esm2, "forward", None)
    message = (
        r"^about 34\.0 kB of contacts \(longest protein 61 residues\) are over `max_bytes`, "
        r"34\.0 kB; split the input, or give `run=Run\(force=True\)`"
    )
    with pytest.raises(OptionError, match=message + "$"):
        contacts_file(tiny, fasta, tmp_path / "o.h5", max_bytes=squares - 1)
    with pytest.raises(OptionError, match=r"give `run=Run\(force=True\)` with `min_probability`$"):
        contacts_file(tiny, fasta, tmp_path / "o.tsv", max_bytes=1000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.fasta"]
    monkeypatch.undo()
    contacts_file(tiny, fasta, tmp_path / "o.h5", max_bytes=squares)
    contacts_file(tiny, fasta, tmp_path / "o.tsv", max_bytes=1, run=Run(force=True))
    # what is said of a table is about what it takes
    pairs = sum((n - 6) * (n - 5) // 2 for n in (*LENGTHS, 30) if n > 6)
    size = (tmp_path / "o.tsv").stat().st_size
    assert 0.6 * pairs * module._BYTES_PER_LINE < size < 1.6 * pairs * module._BYTES_PER_LINE


@pytest.mark.parametrize("kind", ["tsv", "rr", "npz"])
@pytest.mark.parametrize("top", [None, 100, "3L"])
def test_the_size_that_is_said_is_the_size_that_comes(tiny: Esm2, tmp_path: Path, kind, top):
    if kind == "npz" and top:
        pytest.skip("whole maps have no rows")
    records = {f"sp|P{n:05}|PROTEIN_ECOLI x": random_sequence(n, n) for n in (150, 1_060)}
    fasta = write_fasta(tmp_path / "in.fasta", records)
    said: list[str] = []
    contacts_file(tiny, fasta, tmp_path / f"o.{kind}", top=top, run=Run(say=said.append))
    (line,) = (line for line in said if ": about" in line)
    number, unit = line.rsplit(" ", 2)[1:]
    size = float(number) * {"kB": 1e3, "MB": 1e6}[unit]
    assert size == pytest.approx((tmp_path / f"o.{kind}").stat().st_size, rel=0.1)
    if kind != "npz":
        text = (tmp_path / f"o.{kind}").read_text()
        rows = sum(len(one.split()) in (5, 7) and "number" not in one for one in text.splitlines())
        assert f": {rows:,} rows" in line
    advised = any("`top`" in line and "`min_probability`" in line for line in said)
    assert advised == (kind == "tsv" and top is None)


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("o.csv", {}, r"o.csv' says no format: let it end in .tsv, .rr, .npz, .h5, or name"),
        ("o", {}, r"o' says no format"),
        ("o.tsv", {"min_separation": 0}, "the least separation is at least 1, not 0"),
        ("o.tsv", {"long": "sometimes"}, "long is 'window' or"),
        ("o.tsv", {"batch_tokens": 0}, "batch_tokens is at least 1, not 0"),
    ],
)
def test_options_that_do_not_fit(tiny: Esm2, fasta: Path, tmp_path, output, options, message):
    with pytest.raises(OptionError, match=message):
        contacts_file(tiny, fasta, tmp_path / output, **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.fasta"]


class _Stop(Exception):
    """Stands for a kill in tests that stay in one process."""


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("kind", ["tsv", "rr", "npz", "h5"])
@pytest.mark.parametrize("long_windows", [False, True])
def test_resume_gives_the_same_bytes(
    tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch, shards, kind, long_windows
):
    monkeypatch.setattr(ContactsTask, "shard_bytes", 1)  # a shard for every pass
    if long_windows:
        monkeypatch.setattr(cutting, "WINDOW_OVERLAP", 10)
        cut = cutting.windows
        monkeypatch.setattr(cutting, "windows", lambda residues: cut(residues, 20))
    options: dict[str, Any] = {"batch_tokens": 40}
    contacts_file(tiny, fasta, tmp_path / f"whole.{kind}", **options)
    target, write, count = tmp_path / f"cut.{kind}", WorkFolder.write, 0

    def counted(self: WorkFolder, arrays: Any) -> None:
        nonlocal count
        if count >= shards:
            raise _Stop
        write(self, arrays)
        count += 1

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "write", counted)
        with pytest.raises(_Stop):
            contacts_file(tiny, fasta, target, **options)
    work = target.with_name(target.name + ".work")
    assert len(list(work.glob("*.safetensors"))) == shards
    assert not target.exists()
    head = ContactHead.regression(tiny, np.ones(8), 0.0, source="other")
    with pytest.raises(ResumeError, match=r"head was .* now"):
        contacts_file(tiny, fasta, target, lambda _: head, **options)
    with pytest.raises(ResumeError, match=r"long was .*window.* now .*whole"):
        contacts_file(tiny, fasta, target, long="whole", **options)
    if kind in ("tsv", "rr"):
        with pytest.raises(ResumeError, match=r"min_separation was 6, now 9"):
            contacts_file(tiny, fasta, target, min_separation=9, **options)
    said: list[str] = []
    contacts_file(tiny, fasta, target, run=Run(say=said.append), **options)
    assert any("going on after" in line for line in said)
    assert target.read_bytes() == (tmp_path / f"whole.{kind}").read_bytes()
    assert not work.exists()


def test_a_full_disk_loses_nothing(tiny: Esm2, fasta: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ContactsTask, "shard_bytes", 1)
    sync, count = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "fsync", full)
        with pytest.raises(OutputError, match=r"No space left on device.*is kept: make room or"):
            contacts_file(tiny, fasta, tmp_path / "o.tsv", batch_tokens=40)
    assert not (tmp_path / "o.tsv").exists()
    assert list((tmp_path / "o.tsv.work").glob("*.safetensors"))
    said: list[str] = []
    contacts_file(tiny, fasta, tmp_path / "o.tsv", batch_tokens=40, run=Run(say=said.append))
    assert any("going on after" in line for line in said)
    contacts_file(tiny, fasta, tmp_path / "fresh.tsv", batch_tokens=40)
    assert (tmp_path / "o.tsv").read_bytes() == (tmp_path / "fresh.tsv").read_bytes()


def test_the_model_is_asked_for_once_the_input_is_good(tiny: Esm2, tmp_path: Path):
    asked: list[int] = []

    def model() -> Esm2:
        asked.append(1)
        return tiny

    bad = write_fasta(tmp_path / "bad.fasta", {"a": "ACJ"})
    with pytest.raises(InputError, match="residue 3: 'J' is not an amino acid esmkit knows"):
        contacts_file(model, bad, tmp_path / "o.tsv")
    assert not asked
    contacts_file(model, bad, tmp_path / "o.npz", on_invalid="replace")
    assert asked == [1]
