"""``esmkit explore`` as a person types it."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from esmkit.data import demo_proteins, demo_structure
from esmkit.esm2 import Esm2
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta
from oracles.explorer_pages import Tags
from oracles.head_profiles import made_profile

pytest.importorskip("bokeh", reason="the explorer's extra is not installed")


def data_of(path: Path) -> dict:
    return json.loads(Tags(path.read_text(encoding="utf-8")).texts["data"])


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    return Path(shutil.copy(demo_structure().path, tmp_path / "1ubi.pdb.gz"))


def test_a_protein_with_its_structure_and_a_profile(run, tiny_folder, structure, tmp_path):
    made_profile().save(tmp_path / "heads")
    write_fasta(tmp_path / "ubi.fasta", {"UBI human <b>": demo_proteins()[0].sequence})
    done = run(
        *("explore", "ubi.fasta", "--structure", "1ubi.pdb.gz:A", "--profile", "heads"),
        *("--heads", "L1H2,L0", "--model", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "esmkit: wrote ubi.html (" in done.stderr
    data = data_of(tmp_path / "ubi.html")
    assert (data["id"], data["header"]) == ("UBI", "UBI human <b>")
    assert [h["name"] for h in data["heads"]] == ["L0H0", "L0H1", "L0H2", "L0H3", "L1H2"]
    assert data["heads"][4]["label"] == "long-range contact"
    assert data["structure"]["name"] == "1ubi_A"
    assert data["command"].startswith("esmkit explore ubi.fasta --structure")
    again = run("explore", "ubi.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert "'ubi.html' exists already; --force overwrites it" in fails(again)
    done = run("explore", "ubi.fasta", "--force", "-q", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0
    assert "wrote" not in done.stderr
    assert data_of(tmp_path / "ubi.html")["structure"] is None


def test_the_structure_alone(run, tiny_folder: Path, structure: Path, tmp_path: Path):
    done = run(
        *("explore", "--structure", "1ubi.pdb.gz", "--model", tiny_folder, "--layers", "-1"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    data = data_of(tmp_path / "1ubi_A.html")
    assert data["sequence"] == demo_structure().sequence
    assert {head["layer"] for head in data["heads"]} == {1}


def test_the_demo_protein_on_a_terminal(run, tiny_folder: Path, tmp_path: Path):
    done = run("explore", "--model", tiny_folder, cwd=tmp_path, terminal=True)
    assert done.returncode == 0, done.stderr
    assert "no FASTA given: using the demo protein, ubiquitin (1UBI_A)" in done.stderr
    assert data_of(tmp_path / "ubiquitin.html")["structure"]["resolved"] == 76


def test_several_proteins_are_a_folder(run, tiny_folder: Path, structure: Path, tmp_path: Path):
    sequences = {"a/b": random_sequence(12, 1), "ubi": demo_proteins()[0].sequence}
    write_fasta(tmp_path / "two.fasta", sequences)
    done = run(
        *("explore", "two.fasta", "--structure", "1ubi.pdb.gz", "--model", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    pages = {data_of(p)["id"]: data_of(p) for p in (tmp_path / "two.explorer").iterdir()}
    assert set(pages) == {"a/b", "ubi"}
    assert pages["a/b"]["structure"] is None
    assert pages["ubi"]["structure"]["aligned"] == 76
    again = run("explore", "two.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert "is not empty" in fails(again)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name a FASTA file, - for standard input, or a --structure"),
        (["none.fasta"], 1, "there is no file 'none.fasta'"),
        (["one.fasta", "-o", "page.txt"], 1, "end the name 'page.txt' in .html"),
        (["one.fasta", "--heads", "L9H9"], 1, "there is no L9H9"),
        (["one.fasta", "--layers", "7"], 1, "there is no attention layer 7"),
        (["one.fasta", "--profile", "none", "--layers", "7"], 1, "there is no folder 'none'"),
        (["one.fasta", "--structure", "1ubi.pdb.gz"], 1, "do not belong together"),
        (["one.fasta", "--max-bytes", "1MB"], 1, "or allow more with --max-bytes"),
        (["one.fasta", "--max-bytes", "much"], 1, "a size is a number of bytes"),
        (["many.fasta"], 1, "21 proteins make as many pages"),
        (["two.fasta", "-o", "two.html"], 1, "-o names a folder for them"),
        (["two.fasta", "--structure", "1ubi.pdb.gz"], 1, "is of none of the 2 proteins"),
    ],
)
def test_mistakes(run, tiny_folder, structure, tmp_path, arguments, code, message):
    for name, count in (("one", 1), ("two", 2), ("many", 21)):
        records = {f"p{n}": random_sequence(20, n) for n in range(count)}
        write_fasta(tmp_path / f"{name}.fasta", records)
    done = run("explore", *arguments, "--model", tiny_folder, cwd=tmp_path)
    assert message in fails(done, code)
    assert not list(tmp_path.rglob("*.html"))


def test_without_bokeh(run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_fasta(tmp_path / "one.fasta", {"p": "MKV"})
    monkeypatch.setitem(sys.modules, "bokeh", None)
    done = run("explore", "one.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert 'install it with `pip install "esmkit[explorer]"`' in fails(done)


@pytest.mark.weights
def test_ubiquitin_with_the_real_weights(real: Esm2):
    """L5H4 is the head that sees contacts, as published for the official weights."""
    import esmkit

    page = esmkit.explore(real, demo_proteins()[0], structure=demo_structure())
    best = max(page.data["heads"], key=lambda head: head["precision_half"])
    assert best["name"] == "L5H4"
    assert best["on_contacts"] > 1.5 * best["background"]
    assert page.check["largest"] < 1 / 255
    assert len(page.to_html()) < 8e6
