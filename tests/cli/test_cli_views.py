"""``--on-structure`` of ``esmkit contacts`` and ``esmkit attention``, as a person types it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pandas
import pytest

from esmkit.data import demo_structure
from esmkit.structure import read_structure
from oracles.checkpoints import random_sequence
from oracles.commands import Done, fails, write_fasta


@pytest.fixture
def ubiquitin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A FASTA file of two proteins, one of them tagged ubiquitin, and its structure beside it."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(demo_structure().path, tmp_path)
    proteins = {"other": random_sequence(40, 4), "ubi x": "GS" + demo_structure().sequence}
    return write_fasta(tmp_path / "ubi.fasta", proteins)


@pytest.fixture
def here(run: Any, tmp_path: Path) -> Callable[..., Done]:
    """Run a command in the folder of the test."""
    return lambda *words: run(*words, cwd=tmp_path)


def refused(done: Done, code: int, said: str) -> None:
    assert said in fails(done, code)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"ubi.fasta", "1ubi.pdb.gz"}


def test_contacts(here, tiny_folder: Path, ubiquitin: Path, tmp_path: Path) -> None:
    command = ["contacts", str(ubiquitin), "--structure", "1ubi.pdb.gz:A", "-m", str(tiny_folder)]
    done = here(*command, "--on-structure", "pymol,chimerax", "--links", "9")
    assert done.returncode == 0, done.stderr
    assert "ubi.contacts.pml, ubi.contacts.cxc: 9 links on 1ubi_A, " in done.stderr
    assert "; 2 of the 78 residues of ubi are not in the structure or not resolved" in done.stderr
    assert {"ubi.contacts.pml", "ubi.contacts.cxc", "ubi.contacts.tsv"} < names(tmp_path)
    text = Path("ubi.contacts.pml").read_text()
    assert "Predicted contacts of ubi on 1ubi_A" in text
    assert str(tiny_folder.name) in text
    assert text.count("'CB', '')") + text.count("'CA', '')") == 18
    refused(here(*command, "--on-structure", "pymol"), 1, "--force overwrites it")
    Path("ubi.contacts.tsv").unlink()
    Path("ubi.contacts.scores.tsv").unlink()
    Path("ubi.contacts.tsv.provenance.json").unlink()
    refused(here(*command, "--on-structure", "pymol"), 1, "'ubi.contacts.pml' exists already")
    again = here(*command, "--on-structure", "--force")
    assert again.returncode == 0, again.stderr
    assert "76 links on 1ubi_A" in again.stderr
    assert Path("ubi.contacts.mvsx").exists()


def test_contacts_of_several_structures_have_their_ids_in_the_names(
    here, tiny_folder: Path, ubiquitin: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    shutil.copy("1ubi.pdb.gz", "there/1ubi.pdb.gz")
    shutil.copy("1ubi.pdb.gz", "two.pdb.gz")
    structures = ["1ubi.pdb.gz", "there/1ubi.pdb.gz", "two.pdb.gz:A"]
    options = [word for path in structures for word in ("--structure", path)]
    done = here(
        *("contacts", str(ubiquitin), *options, "--on-structure=pymol", "-m", str(tiny_folder)),
        *("-o", "-", "-q"),
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path) == {
        *("there", "two.pdb.gz", "ubi.contacts.1ubi_A.pml", "ubi.contacts.1ubi_A~2.pml"),
        "ubi.contacts.two_A.pml",
    }
    assert "there/1ubi.pdb.gz" in Path("ubi.contacts.1ubi_A~2.pml").read_text()


def test_heads(here, tiny_folder: Path, ubiquitin: Path, tmp_path: Path) -> None:
    model = ("-m", str(tiny_folder))
    structure = ("--structure", "1ubi.pdb.gz", "--on-structure=all")
    done = here("attention", str(ubiquitin), "--heads", "L0H1,l1h0", *structure, *model)
    assert done.returncode == 0, done.stderr
    views = {f"ubi.attention.{h}.{e}" for h in ("L0H1", "L1H0") for e in ("pml", "cxc", "mvsx")}
    assert names(tmp_path) == {*views, "ubi.attention.h5"}
    assert "attention head L1H0 in ubi on 1ubi_A" in Path("ubi.attention.L1H0.cxc").read_text()
    refused(
        here("attention", "ubi.attention.h5", "--heads", "L0H1", *structure),
        *(1, "'ubi.attention.L0H1.pml' exists already"),
    )
    refused(
        here("attention", "ubi.attention.h5", "--heads", "L1H1", *structure),
        *(1, "head L1H1 is not in 'ubi.attention.h5', which holds 2 head(s)"),
    )
    before = Path("ubi.attention.L0H1.pml").read_bytes()
    Path("ubi.attention.L0H1.pml").unlink()
    drawn = here(
        *("attention", "ubi.attention.h5", "--heads", "L0H1", *structure, "--on-structure=pymol"),
    )
    assert drawn.returncode == 0, drawn.stderr
    assert Path("ubi.attention.L0H1.pml").read_bytes() == before
    assert not Path("ubi.attention").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["contacts", "ubi.fasta", "--on-structure", "pymol"], 1, "name one with --structure"),
        (
            ["contacts", "ubi.fasta", "--structure", "1ubi.pdb.gz", "--on-structure", "vmd"],
            *(1, "there is no viewer 'vmd'; give pymol, chimerax, molstar, or all"),
        ),
        (
            ["contacts", "ubi.fasta", "--structure", "1ubi.pdb.gz", "--links", "5"],
            *(2, "--links says how many --on-structure draws"),
        ),
        (
            ["attention", "ubi.fasta", "--structure", "1ubi.pdb.gz", "--on-structure"],
            *(1, "name the heads to draw on the structure with --heads, such as L5H4"),
        ),
        (
            ["attention", "ubi.fasta", "--heads", "L0H0", "--on-structure", "pymol"],
            *(2, "--on-structure needs a structure; name one with --structure"),
        ),
        (
            ["attention", "ubi.fasta", "--reduce", "--structure", "1ubi.pdb.gz"],
            *(2, "--reduce keeps no maps to draw; leave --reduce out, or what is about figures"),
        ),
        (
            [
                "attention",
                "-",
                "--heads",
                "L0H0",
                "--structure",
                "1ubi.pdb.gz",
                "--on-structure=all",
                "-o",
                "x.h5",
            ],
            *(2, "give a FASTA file in place of -"),
        ),
        (
            ["attention", "other.fasta", "--heads", "L0H0", "--structure", "1ubi.pdb.gz"],
            *(1, "do not belong together"),
        ),
    ],
)
def test_mistakes_are_said_before_anything_is_computed(
    here, ubiquitin: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    write_fasta(tmp_path / "other.fasta", {"other": random_sequence(40, 4)})
    refused(here(*arguments, "-m", "no such model"), code, said)
    assert names(tmp_path) == {"other.fasta"}


# Predicted structures


@pytest.fixture
def predicted(ubiquitin: Path, tmp_path: Path) -> Path:
    """Ubiquitin as if AlphaFold had predicted it: pLDDT 60 for residues 1 to 20, else 90."""
    found = gemmi.read_structure(str(demo_structure().path))
    for residue in found[0]["A"]:
        for atom in residue:
            atom.b_iso = 60.0 if (residue.seqid.num or 0) <= 20 else 90.0
    lines = found.make_pdb_string().splitlines()
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "mine.pdb"
    head = "TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR UBIQUITIN"
    path.write_text("\n".join([head, *(x for x in lines if x[:4] in ("ATOM", "TER ", "END"))]))
    return path


def test_residues_of_low_plddt_take_no_part(
    here: Callable[..., Done], tiny_folder: Path, predicted: Path
) -> None:
    command = ["contacts", "ubi.fasta", "-m", str(tiny_folder), "--structure", str(predicted)]
    done = here(*command, "--min-plddt", "70", "--on-structure", "pymol")
    assert done.returncode == 0, done.stderr
    assert "20 of 76 residues have a pLDDT below 70 and count as not resolved" in done.stderr
    assert "ubi.contacts.pml: 56 links on mine_A" in done.stderr
    assert "22 of the 78 residues of ubi are not in the structure or not resolved" in done.stderr
    first = pandas.read_csv("ubi.contacts.scores.tsv", sep="\t").set_index("range")
    sure = read_structure(predicted).confident(70).contacts()
    assert first.loc["long", "contacts"] == int(np.triu(sure, 24).sum())
    here(*command, "--force")
    every = pandas.read_csv("ubi.contacts.scores.tsv", sep="\t").set_index("range")
    assert every.loc["long", "contacts"] == int(np.triu(demo_structure().contacts(), 24).sum())
    evaluated = here(
        *("contacts", "evaluate", "--structures", str(predicted.parent), "-m", str(tiny_folder)),
        *("--min-plddt", "70", "-o", "scores.csv"),
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "20 of 76 residues have a pLDDT below 70" in evaluated.stderr


def test_heads_say_in_their_provenance_what_they_left_out(
    here: Callable[..., Done], tiny_folder: Path, predicted: Path
) -> None:
    done = here(
        *("heads", "--structures", str(predicted.parent), "-m", str(tiny_folder), "-o", "sure"),
        *("--no-control", "--no-ablation", "--resamples", "100", "--min-plddt", "70"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("sure/provenance.json").read_text())["min_plddt"] == 70


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["contacts", "--structure", "1ubi.pdb.gz", "--min-plddt", "70"],
            *(1, "leave --min-plddt out, or if its B-factors are pLDDT give --predicted"),
        ),
        (["contacts", "ubi.fasta", "--min-plddt", "70"], 2, "name one with --structure"),
        (
            ["contacts", "--structure", "models/mine.pdb", "--min-plddt", "95"],
            *(1, "no residue of 'mine_A' has a pLDDT of 95 or more (the highest is 90.0); lower"),
        ),
        (["contacts", "ubi.fasta", "--min-plddt", "700"], 2, "700"),
        (["contacts", "evaluate", "--min-plddt", "70"], 1, "the chains of TS50 were determined by"),
        (["heads", "--min-plddt", "70"], 1, "or name a folder of predicted structures with --str"),
    ],
)
def test_plddt_that_is_not_there(
    here: Callable[..., Done], predicted: Path, arguments: list[str], code: int, said: str
) -> None:
    refused(here(*arguments, "-m", "no such model"), code, said)
