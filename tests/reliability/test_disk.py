"""Full disks, quotas, read-only folders, damaged shards, two runs on one output."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disks import file_limit, read_only, resize, small_disk

from esmkit.attention.to_file import MapsTask, attention_file
from esmkit.data import ts50
from esmkit.embeddings.options import EmbedOptions
from esmkit.embeddings.to_file import embed_file
from esmkit.errors import OutputError
from esmkit.esm2 import Esm2
from esmkit.files import pending as runs
from esmkit.files.run_options import Run
from esmkit.files.shards import read_shard
from esmkit.files.work_folder import WorkFolder
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta
from oracles.head_profiles import small_profile

TRIALS = int(os.environ.get("ESMKIT_TRIALS", "20"))
"""Damaged shards that are tried; the long form has more."""

COMMANDS = {
    "embed.h5": "embed seqs.fasta --batch-tokens 128 --per residue -o out.h5",
    "embed.npz": "embed seqs.fasta --batch-tokens 128 --per residue -o out.npz",
    "embed.csv": "embed seqs.fasta --batch-tokens 128 --per residue -o out.csv",
    "embed.parquet": "embed seqs.fasta --batch-tokens 128 --per residue -o out.parquet",
    "attention": "attention seqs.fasta --batch-tokens 128 -o out.h5",
    "attention numbers": "attention seqs.fasta --batch-tokens 128 --reduce all -o out.csv",
    "contacts.tsv": "contacts seqs.fasta --batch-tokens 128 -o out.tsv",
    "contacts.h5": "contacts seqs.fasta --batch-tokens 128 -o out.h5",
    "heads": "heads --structures chains --no-control --no-ablation --resamples 100 -o out",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = {f"p{n}": random_sequence(n, n) for n in range(30, 60)}
    write_fasta(tmp_path / "seqs.fasta", records)
    (tmp_path / "chains").mkdir()
    for structure in sorted(ts50(), key=len)[:10]:
        (tmp_path / "chains" / structure.path.name).symlink_to(structure.path)
    return tmp_path


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SHARD_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(MapsTask, "shard_bytes", 1)
    small_profile(monkeypatch)


SLOW = pytest.param("heads", marks=pytest.mark.slow)
ALL = [name if name != "heads" else SLOW for name in COMMANDS]


def output_of(command: str, folder: Path) -> Path:
    return folder / command.split()[-1]


def contents(path: Path) -> dict[str, bytes]:
    files = path.rglob("*") if path.is_dir() else [path]
    return {str(f.relative_to(path.parent)): f.read_bytes() for f in files if f.is_file()}


def check_resumes(run: Callable, command: str, folder: Path, model: Path, tmp_path: Path) -> None:
    """The same command goes on, and writes what a run without trouble does."""
    done = run(*command.split(), "--model", model, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "going on " in done.stderr  # after sequences, or with measurements of heads
    output = output_of(command, folder)
    assert not output.with_name(output.name + ".work").exists()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for path in (tmp_path / "seqs.fasta", tmp_path / "chains"):
        (fresh / path.name).symlink_to(path)
    assert run(*command.split(), "--model", model, cwd=fresh).returncode == 0
    assert contents(output) == contents(output_of(command, fresh))


@pytest.mark.parametrize("name", ALL)
def test_a_quota_in_the_final_writing(name, run, small_shards, tiny_folder, folder, tmp_path):
    """Shards fit, the output does not: everything is kept, half an output is not."""
    command = COMMANDS[name]
    limit = {"heads": 80_000, "attention numbers": 50_000, "contacts.tsv": 50_000}.get(name, 70_000)
    with file_limit(limit):
        message = fails(run(*command.split(), "--model", tiny_folder, "-q", cwd=folder))
    output = output_of(command, folder)
    assert "cannot write " in message
    assert repr(output.name) in message
    assert f"kept in '{output.name}.work'" in message
    assert message.endswith("make room or mend the cause, then run the same again")
    assert not output.exists()
    assert not list(folder.glob("*.work/*.tmp"))
    assert list(folder.glob("*.work/*.safetensors"))
    check_resumes(run, command, folder, tiny_folder, tmp_path)


@pytest.mark.parametrize("name", ["embed.h5", "attention", SLOW])
def test_a_disk_that_is_full(name, run, small_shards, tiny_folder, folder, tmp_path):
    """A real one, too small for the shards; an earlier output stays as it was."""
    command = COMMANDS[name]
    with small_disk(tmp_path / "disk", "200k" if name == "embed.h5" else "600k") as disk:
        for path in (folder / "seqs.fasta", folder / "chains"):
            (disk / path.name).symlink_to(path)
        output = output_of(command, disk)
        earlier = output / "earlier.txt" if name == "heads" else output
        earlier.parent.mkdir(exist_ok=True)
        earlier.write_text("earlier")
        words = [*command.split(), "--model", tiny_folder, "--force"]
        message = fails(run(*words, "-q", cwd=disk))
        assert "No space left on device" in message
        assert "kept" in message
        assert message.endswith("make room or mend the cause, then run the same again")
        assert earlier.read_text() == "earlier"
        message = fails(run(*words, "-q", cwd=disk))  # still full: the same, nothing worse
        assert "No space left on device" in message
        resize(disk, "100m")
        done = run(*words, cwd=disk)
        assert done.returncode == 0, done.stderr
        assert "going on " in done.stderr  # after sequences, or with measurements of heads
        made = contents(output)
        if name == "heads":
            assert made.pop("out/earlier.txt") == b"earlier"
        assert not list(disk.glob("*.work"))
        assert run(*words, cwd=folder).returncode == 0
        assert made == contents(output_of(command, folder))


@pytest.mark.parametrize("name", [*COMMANDS, "plot"])
def test_a_read_only_folder(name, run, tiny_folder, folder, tmp_path, monkeypatch):
    """Refused before the model is loaded."""
    plot = "attention ../seqs.fasta --heads L0H0 -o ../maps.h5 --plot figures"
    command = COMMANDS.get(name, plot).replace("seqs", "../seqs").replace("chains", "../chains")
    command = command.replace("../../", "../")
    monkeypatch.setattr("esmkit.esm2.load", None)
    (tmp_path / "locked").mkdir()
    with read_only(tmp_path / "locked") as locked:
        message = fails(run(*command.split(), "--model", tiny_folder, cwd=locked))
    assert "cannot be written" in message
    assert "choose another" in message
    assert not list(folder.glob("maps*"))


def damage(data: bytes, chance: random.Random) -> bytes:
    """Flip a bit anywhere, or cut the end off."""
    if chance.random() < 0.3:
        return data[: chance.randrange(len(data))]
    place = chance.randrange(len(data))
    flipped = bytearray(data)
    flipped[place] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def test_damage_anywhere_in_a_shard_is_found(tmp_path: Path):
    """Every flipped bit and every cut: either found, or in bytes that mean nothing."""
    import numpy as np

    chance = random.Random(0)
    work = WorkFolder(tmp_path / "o.h5", {"a": 1})
    values = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    work.write({7: values, 1_000_000: values[:, :5], 8: np.arange(9, dtype=np.uint8)})
    work.close()
    [path] = work.folder.glob("*.safetensors")
    whole, expected, found = path.read_bytes(), read_shard(path), 0
    for _ in range(25 * TRIALS):
        path.write_bytes(damage(whole, chance))
        try:
            arrays = read_shard(path)
        except OutputError:
            found += 1
            continue
        assert list(arrays) == list(expected)  # padding of the header, nothing else
        for number, array in arrays.items():
            np.testing.assert_array_equal(array, expected[number])
            assert array.dtype == expected[number].dtype
    assert found > 24 * TRIALS


@pytest.mark.parametrize("kind", ["embed", "attention"])
def test_damaged_shards_are_computed_anew(kind, tiny: Esm2, folder, small_shards, monkeypatch):
    """Some shards damaged at random, again and again; the output is always that without damage."""
    chance = random.Random(kind)
    fasta, output = folder / "seqs.fasta", folder / "o.h5"

    def work(say: Callable[[str], None] = lambda text: None) -> None:
        if kind == "embed":
            embed_file(tiny, fasta, output, EmbedOptions(batch_tokens=128), run=Run(say=say))
        else:
            attention_file(tiny, fasta, output, run=Run(say=say))

    work()
    whole = output.read_bytes()
    output.unlink()
    for _ in range(max(2, TRIALS // 10)):
        with monkeypatch.context() as patch:
            patch.setattr(WorkFolder, "finish", _Stop.now)
            with pytest.raises(_Stop):
                work()
        shards = sorted((folder / "o.h5.work").glob("*.safetensors"))
        hit = chance.sample(shards, chance.randint(1, len(shards)))
        for path in hit:
            path.write_bytes(damage(path.read_bytes(), chance))
        said: list[str] = []
        work(said.append)
        told = [line for line in said if "damaged shard(s) found by checksum" in line]
        assert told, said  # at least one of them is found (others may be hit in their padding)
        assert output.read_bytes() == whole
        output.unlink()


class _Stop(Exception):
    """Stands for a kill before the output is moved."""

    @classmethod
    def now(cls, *_: Any, **__: Any) -> None:
        raise cls


@pytest.mark.parametrize("name", ["embed.h5", "attention", SLOW])
def test_a_second_run_on_the_same_output_refuses(
    name, run, small_shards, tiny_folder, folder, tmp_path, monkeypatch
):
    """And the first, in the middle of its work, is not disturbed by it."""
    command = [*COMMANDS[name].split(), "--model", tiny_folder]
    output, refused = output_of(COMMANDS[name], folder), []
    flush = runs.Pending.flush_if_due

    def meanwhile(self: runs.Pending) -> None:
        if not refused:
            for more in ([], ["--force"], ["--restart"]):
                refused.append(1)
                refused[-1] = fails(run(*command, "-q", *more, cwd=folder))
        flush(self)

    with monkeypatch.context() as patch:
        patch.setattr(runs.Pending, "flush_if_due", meanwhile)
        done = run(*command, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert len(refused) == 3
    for message in refused:
        assert f"another process is writing '{output.name}' just now; wait for it" in message
    other = tmp_path / "fresh"
    other.mkdir()
    for path in (folder / "seqs.fasta", folder / "chains"):
        (other / path.name).symlink_to(path)
    assert run(*command, cwd=other).returncode == 0
    assert contents(output) == contents(output_of(COMMANDS[name], other))
