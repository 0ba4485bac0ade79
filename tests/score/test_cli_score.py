"""The command `esmkit score`: words, figures, streams, errors in its own words."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import esmkit
from esmkit.cli.options import ModelChoice
from esmkit.cli.score import command
from esmkit.esm2 import Esm2
from esmkit.files import work_folder
from esmkit.score import to_figures
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_fasta(tmp_path / "two.fasta", {"a one": random_sequence(30, 1), "b": "MKXTVRQ"})
    return tmp_path


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch, scored: Esm2) -> None:
    """A model that is there already; which is asked for is not what is tested here."""
    monkeypatch.setattr(ModelChoice, "load", lambda self: scored)


def test_the_first_word_may_be_left_out(run, folder: Path, scored: Esm2):
    done = run("score", "two.fasta", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "each of 37 residues is hidden in turn" in done.stderr
    assert "--one-pass reads each protein once" in done.stderr
    assert "wrote two.score.tsv" in done.stderr
    again = run("score", "proteins", "two.fasta", "-o", "again.tsv", "-q", cwd=folder)
    assert (again.returncode, again.stderr) == (0, "")
    found = (folder / "two.score.tsv").read_text()
    assert found == (folder / "again.tsv").read_text()
    row = esmkit.read(folder / "two.score.tsv")["b"]
    assert row["pseudo_perplexity"] == pytest.approx(scored.pseudo_perplexity("MKXTVRQ"), rel=1e-5)
    assert (row["counted"], row["left_out"]) == (6, 1)
    assert esmkit.read(folder / "again.tsv").provenance["command"].startswith("esmkit score")


def test_tables_on_standard_output(run, folder: Path):
    text = (folder / "two.fasta").read_text()
    done = run("score", "-", "-o", "-", "--per", "residue", "--one-pass", cwd=folder, text=text)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split("\t")[:4] == ["id", "residue_number", "residue", "log_probability"]
    assert len(lines) == 1 + 37
    assert "hidden" not in done.stderr
    done = run("score", "two.fasta", "--id", "b", "-o", "-", "--format", "csv", cwd=folder)
    assert done.stdout.startswith("id,length,pseudo_perplexity,")
    assert len(done.stdout.splitlines()) == 2


def test_arrays_and_all_letters_are_of_residues(run, folder: Path):
    assert run("score", "two.fasta", "--format", "h5", cwd=folder).returncode == 0
    assert esmkit.read(folder / "two.score.h5")["a"].log_probabilities.shape == (30, 20)
    done = run("score", "two.fasta", "--all-letters", "-o", "all.parquet", cwd=folder)
    assert done.returncode == 0, done.stderr
    table = esmkit.read(folder / "all.parquet")["a"]
    assert np.exp(table[list("ACDEFGHIKLMNPQRSTVWY")]).sum(axis=1).to_numpy() == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--per", "protein", "--format", "h5"], "ask for --per residue"),
        (["--per", "protein", "--all-letters"], "--all-letters is about residues"),
        (["--mark", "W3", "--id", "b"], "residue 3 of 'b' is X, not W as --mark has it"),
        (["--mark", "3"], "--mark names residues of one protein, and there are 2"),
        (["--id", "z"], "there is no ID 'z'"),
        (["--plot", "two.png"], "named like one picture"),
    ],
)
def test_mistakes_are_said_in_the_words_of_the_command(run, folder: Path, words, says: str):
    said = fails(run("score", "two.fasta", *words, cwd=folder))
    assert says in said
    assert [path.name for path in folder.iterdir()] == ["two.fasta"]


def test_a_model_without_a_head(run, folder: Path, tiny: Esm2, monkeypatch):
    monkeypatch.setattr(ModelChoice, "load", lambda self: tiny)
    said = fails(run("score", "two.fasta", cwd=folder))
    assert "has no masked-LM head; " in said
    assert [path.name for path in folder.iterdir()] == ["two.fasta"]


def test_figures_are_those_of_the_library_and_come_after_a_stop_too(
    run, folder: Path, scored: Esm2, monkeypatch
):
    words = ["score", "two.fasta", "--id", "a", "--plot", "--plot-format", "svg", "--mark", "5-7"]
    drawn: list[Path] = []
    own = to_figures.draw_scores

    def stopped(*arguments, **options):
        for path in own(*arguments, **options):
            drawn.append(path)
            raise OSError(28, "No space left on device")
        yield drawn[0]

    monkeypatch.setattr(to_figures, "draw_scores", stopped)
    with pytest.raises(OSError, match="No space"):
        run(*words, cwd=folder)
    assert [path.name for path in drawn] == ["a.surprise.svg"]
    assert (folder / "two.score.tsv").exists()
    assert work_folder.was_finishing(folder / "two.score.tsv")
    monkeypatch.setattr(to_figures, "draw_scores", own)
    done = run(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "was complete: the run before was stopped just after writing it" in done.stderr
    assert "drew 2 figure(s) in two.score" in done.stderr
    assert not list(folder.glob("*.work"))
    protein = next(esmkit.read_fasta(folder / "two.fasta"))
    score = scored.score(protein)
    score.plot(path=folder / "x.svg", mark="5-7")
    score.logo(path=folder / "y.svg", mark="5-7")
    assert (folder / "x.svg").read_bytes() == (folder / "two.score" / "a.surprise.svg").read_bytes()
    assert (folder / "y.svg").read_bytes() == (folder / "two.score" / "a.logo.svg").read_bytes()


def test_help():
    runner = CliRunner()
    text = runner.invoke(command, ["--help"]).output
    assert "proteins" in text
    assert "--one-pass" in runner.invoke(command, ["proteins", "--help"]).output
    wrong = runner.invoke(command, ["protein", "x.fasta"])
    assert "did you mean 'proteins'?" in wrong.output
