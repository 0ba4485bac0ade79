"""``esmkit contacts`` as a person types it."""

import dataclasses
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

import esmkit.data
from esmkit.contacts import (
    ContactHead,
    best_heads,
    evaluate,
    evaluate_best,
    fit,
    rank_heads,
)
from esmkit.contacts.comparison import differences_text
from esmkit.data import demo_proteins, demo_structure, ts50, ts50_folder
from esmkit.encoder.encoder import Encoder
from esmkit.errors import OutputError
from esmkit.esm2 import Esm2, load
from esmkit.sequences import proteins
from esmkit.structure import Structure
from oracles.checkpoints import make_checkpoint, random_sequence
from oracles.commands import fails, write_fasta


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(
        tmp_path / "seqs.fasta", {f"p{n} x": random_sequence(n, n) for n in (30, 9, 21)}
    )


@pytest.fixture
def ubiquitin(tmp_path: Path) -> Path:
    """A FASTA file and a structure of it: ``ubi.fasta`` and ``1ubi.pdb.gz``."""
    shutil.copy(demo_structure().path, tmp_path)
    return write_fasta(tmp_path / "ubi.fasta", {"ubi x": "GS" + demo_structure().sequence})


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    """A folder of three chains of TS50 and a file that is no structure."""
    folder = tmp_path / "chains"
    folder.mkdir()
    for structure in ts50()[:3]:
        shutil.copy(structure.path, folder)
    (folder / "notes.txt").write_text("about these chains")
    return folder


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[Structure]:
    """TS50 cut down to four chains."""
    found = ts50()[:4]
    monkeypatch.setattr(esmkit.data, "ts50", lambda: list(found))
    return found


def read_tsv(path: Path) -> pandas.DataFrame:
    return pandas.read_csv(path, sep="\t")


@pytest.mark.parametrize("word", [[], ["predict"]])
def test_predict_with_and_without_the_word(run, tiny_folder, tiny, fasta, tmp_path, word):
    done = run("contacts", *word, "seqs.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "esmkit: contacts by contact head of tiny-esm2" in done.stderr
    assert "esmkit: wrote seqs.contacts.tsv" in done.stderr
    table = read_tsv(tmp_path / "seqs.contacts.tsv")
    assert len(table) == sum((n - 6) * (n - 5) // 2 for n in (30, 9, 21))
    first = tiny.contacts(random_sequence(30, 30)).top(1).iloc[0]
    assert (table["i_number"][0], table["j_number"][0]) == (first["i_number"], first["j_number"])
    record = json.loads((tmp_path / "seqs.contacts.tsv.provenance.json").read_text())
    assert record["command"].startswith("esmkit contacts ")
    message = fails(run("contacts", *word, "seqs.fasta", "--model", tiny_folder, cwd=tmp_path))
    assert "'seqs.contacts.tsv' exists already; --force overwrites it" in message
    done = run("contacts", *word, "seqs.fasta", "--force", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_formats_and_standard_streams(run, tiny_folder, fasta, tmp_path):
    for kind in ("rr", "npz", "h5"):
        done = run("contacts", "seqs.fasta", "--format", kind, "-m", tiny_folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"seqs.contacts.{kind}").stat().st_size > 100
    done = run(
        *("contacts", "-", "-o", "-", "--min-separation", "3", "-q", "-m", tiny_folder),
        cwd=tmp_path,
        text=f">a\n{random_sequence(12, 5)}\n",
    )
    assert done.returncode == 0, done.stderr
    table = pandas.read_csv(io.StringIO(done.stdout), sep="\t")
    assert len(table) == 9 * 10 // 2
    assert table["probability"].between(0, 1).all()


@pytest.mark.parametrize("chain", ["", ":A"])
def test_scores_on_a_structure(run, tiny_folder, tiny, ubiquitin, tmp_path, chain):
    done = run(
        *("contacts", "ubi.fasta", "--structure", f"1ubi.pdb.gz{chain}", "-m", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "wrote ubi.contacts.scores.tsv" in done.stderr
    wanted = tiny.contacts("GS" + demo_structure().sequence).score(demo_structure())
    found = read_tsv(tmp_path / "ubi.contacts.scores.tsv")
    assert list(found["id"]) == ["ubi"] * 3
    assert list(found["structure"]) == ["1ubi_A"] * 3
    assert list(found["range"]) == ["short", "medium", "long"]
    for column in wanted.columns:
        np.testing.assert_allclose(found[column], wanted[column], rtol=0, atol=1e-12)
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["pairs", "contacts", "background"]
    assert len(lines) == 5  # two of headings, three of ranges
    assert f"{wanted.loc['long', 'AUC-PR']:.3f}" in lines[-1]


def test_scores_leave_standard_output_to_the_pairs(run, tiny_folder, ubiquitin, tmp_path):
    done = run(
        *("contacts", "ubi.fasta", "--structure", "1ubi.pdb.gz", "-o", "-", "-q"),
        *("-m", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert len(pandas.read_csv(io.StringIO(done.stdout), sep="\t")) == 72 * 73 // 2
    assert "background" in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"ubi.fasta", "1ubi.pdb.gz"}


def test_without_fasta_the_sequence_of_the_structure_is_read(run, tiny_folder, ubiquitin, tmp_path):
    done = run("contacts", "--structure", "1ubi.pdb.gz:A", "-m", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = read_tsv(tmp_path / "1ubi_A.contacts.tsv")
    assert set(table["id"]) == {"1ubi_A"}
    assert len(table) == 70 * 71 // 2
    assert list(read_tsv(tmp_path / "1ubi_A.contacts.scores.tsv")["id"]) == ["1ubi_A"] * 3


def test_structures_that_do_not_belong(run, tiny_folder, ubiquitin, fasta, tmp_path):
    other = write_fasta(tmp_path / "other.fasta", {"hba": demo_proteins()[3].sequence})
    done = run("contacts", other, "--structure", "1ubi.pdb.gz", "-m", tiny_folder, cwd=tmp_path)
    message = fails(done)
    assert "sequence 'hba' and structure '1ubi_A' do not belong together: " in message
    assert "% of the aligned letters are equal" in message
    done = run("contacts", fasta, "--structure", "1ubi.pdb.gz", "-m", tiny_folder, cwd=tmp_path)
    assert "structure '1ubi_A' is of none of the 3 proteins; give the struct" in fails(done)
    for text, said in (
        ("1ubi.pdb.gz:B", "A (protein, 76 residues)"),  # those that there are
        ("1ubi.pdb.gz:", "names no chain after the colon"),
        ("none.pdb", "none.pdb"),
        ("ubi.fasta", "ubi.fasta"),
    ):
        done = run("contacts", "ubi.fasta", "--structure", text, "-m", tiny_folder, cwd=tmp_path)
        assert said in fails(done)
    done = run("contacts", "-", "--structure", "1ubi.pdb.gz", "-m", tiny_folder, cwd=tmp_path)
    assert "to score on a structure, give a FASTA file in place of -" in fails(done)
    assert not list(tmp_path.glob("*.tsv*"))


@pytest.mark.parametrize("order", [1, -1])
def test_one_structure_among_several_proteins(run, tiny_folder, ubiquitin, tmp_path, order):
    """That of the protein that is most like it, wherever it stands."""
    sequence = demo_structure().sequence
    records = {
        "a": random_sequence(60, 1),
        "b": sequence[:40] + "W" + sequence[41:],
        "c": sequence[:70],
        "d": sequence[:20] + "WW" + sequence[22:],
    }
    write_fasta(tmp_path / "many.fasta", dict(list(records.items())[::order]))
    done = run(
        *("contacts", "many.fasta", "--structure", "1ubi.pdb.gz", "-m", tiny_folder), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert list(read_tsv(tmp_path / "many.contacts.scores.tsv")["id"]) == ["c"] * 3


def test_single_heads(run, tiny_folder, tiny, fasta, tmp_path):
    for arguments in (["--heads", "L0H1, L1H3"], ["--method", "heads", "--heads", "L1H3,L0H1"]):
        done = run(
            *("contacts", "seqs.fasta", *arguments, "-o", "o.npz", "--force", "-m", tiny_folder),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert "contacts by mean of L0H1, L1H3" in done.stderr
        with np.load(tmp_path / "o.npz") as found:
            wanted = tiny.contacts(random_sequence(21, 21), heads=["L0H1", "L1H3"])
            np.testing.assert_allclose(found["p21"], wanted.probability, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["--top-heads", "3"], 3),
        (["--method", "heads", "--top", "2"], 2),
        (["--method", "heads", "--top-heads", "2", "--top", "5"], 2),
        (["--method", "heads"], 1),
    ],
)
def test_the_best_heads_are_chosen(run, tiny_folder, tiny, few, fasta, tmp_path, arguments, count):
    done = run("contacts", "seqs.fasta", *arguments, "-m", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"choosing {count} head(s) by long-range P@L/2 on the 50 chains of TS50" in done.stderr
    source = ContactHead.mean_of(tiny, best_heads(rank_heads(tiny, few), count)).source
    assert f"contacts by {source}\n" in done.stderr
    table: Any = read_tsv(tmp_path / "seqs.contacts.tsv")
    assert "score" in table.columns
    rows = table.groupby("id").size()
    assert (rows.max() == 5) == ("5" in arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--method", "regression", "--heads", "L0H0"], 2, "--heads and --top-heads are for --met"),
        (["--method", "regression", "--top-heads", "2"], 2, "--heads and --top-heads are for --m"),
        (["--heads", "L0H0", "--head-weights", "x"], 2, "--head-weights is a regression; leave"),
        (["--method", "heads", "--head-weights", "x"], 2, "--head-weights is a regression; leave"),
        (["--heads", "L0H0", "--top-heads", "2"], 2, "give --heads, or --top-heads to have them"),
        (["--method", "mean"], 2, "'mean' is not one of 'regression', 'heads'"),
        (["--top", "0"], 2, "0 is not in the range x>=1"),
        (["--top", "L/0"], 2, "top is more than no part of L, not 'L/0'"),
        (["--top", "many"], 2, "top is a number of pairs, or L, L/2 or 2L for a protein of L res"),
        (["--top", "5", "-o", "x.h5"], 1, "h5 holds whole maps, and --top and --residues choose r"),
        (["--residues", "5"], 1, "--residues names residues of one protein, and there are 3; say"),
        (["--residues", "p9:5-12"], 1, "there is no residue 12 of 'p9', as --residues has it"),
        (["--residues", "H5A"], 1, "--residues takes residues, and 'H5A' is a mutation; name its"),
        (["--min-separation", "0"], 2, "0 is not in the range x>=1"),
        (["--heads", ","], 2, "',' names nothing; name something, or leave the option out"),
        (["--heads", "L2H0"], 1, "there is no L2H0: the model has layers 0 to 1 with heads 0 to 3"),
        (["--heads", "best"], 1, "a head is named like L5H4"),
        (["--head-weights", "none.json"], 1, "cannot read head weights 'none.json' (No such file"),
        (["--head-weights", "seqs.fasta"], 1, "'seqs.fasta' is not a contact head of esmkit's ("),
        (["--heads", "L0H0", "--format", "rr"], 1, "RR is for probabilities, and single heads giv"),
        (
            ["-o", "x.csv"],
            1,
            "'x.csv' says no format: let it end in .tsv, .rr, .npz, .h5, or name one, such as --format tsv",
        ),
        (["-o", "none/x.tsv"], 1, "there is no folder"),
        (["--max-bytes", "1k"], 1, "of contacts (longest protein 30 residues) are over --max-byt"),
        (["--max-bytes", "much"], 1, "a size is a number of bytes such as 500M or 10G, not 'much'"),
    ],
)
def test_mistakes(run, tiny_folder, fasta, tmp_path, arguments, code, message):
    done = run("contacts", "seqs.fasta", *arguments, "--model", tiny_folder, cwd=tmp_path)
    assert message in fails(done, code)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seqs.fasta"]


def test_the_strongest_pairs_and_those_of_chosen_residues(run, tiny_folder, tiny, fasta, tmp_path):
    """Rows are those of the whole table, and their number and size are said beforehand."""
    common = ("contacts", "seqs.fasta", "-m", tiny_folder)
    assert run(*common, "-o", "all.tsv", cwd=tmp_path).returncode == 0
    whole = read_tsv(tmp_path / "all.tsv")
    for top, counts in (("4", (4, 4, 4)), ("L/3", (10, 3, 7)), ("2L", (60, 6, 42))):
        done = run(*common, "--top", top, "-o", "o.tsv", "--force", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        parts = [
            whole[whole["id"] == f"p{n}"].head(k) for n, k in zip((30, 9, 21), counts, strict=True)
        ]
        found = read_tsv(tmp_path / "o.tsv")
        assert found.equals(pandas.concat(parts).reset_index(drop=True))
        assert f"contacts of 3 proteins: {len(found)} rows: about " in done.stderr
    huge = ("--top", "9" * 30, "--min-separation", "6", "-o", "huge.tsv")
    assert run(*common, *huge, cwd=tmp_path).returncode == 0
    assert read_tsv(tmp_path / "huge.tsv").equals(whole)
    done = run(*common, "--min-separation", "9" * 20, "-o", "none.tsv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ": 0 rows: about " in done.stderr
    chosen = ("--residues", "p21:7,19-20", "--top", "6")
    done = run(*common, *chosen, "-o", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sites = [7, 19, 20]
    near = whole["i_number"].isin(sites) | whole["j_number"].isin(sites)
    expected = whole[near & (whole["id"] == "p21")].head(6).reset_index(drop=True)
    assert pandas.read_csv(io.StringIO(done.stdout), sep="\t").equals(expected)
    assert len(expected) == 6


def test_nothing_to_read(run, tiny_folder, fasta, tmp_path):
    message = fails(run("contacts", "-q", cwd=tmp_path))
    assert "give a FASTA file, - for standard input, or a --structure" in message
    message = fails(run("contacts", "none.fasta", "-m", tiny_folder, cwd=tmp_path))
    assert "none.fasta" in message
    (tmp_path / "bad.fasta").write_text(">a\nACJ\n")
    message = fails(run("contacts", "bad.fasta", "-m", tiny_folder, cwd=tmp_path))
    assert "residue 3: 'J' is not an amino acid esmkit knows" in message
    done = run("contacts", "-", "-m", tiny_folder, cwd=tmp_path, text=">a\nACD\n")
    assert "several inputs, or standard input, leave the output without a name" in fails(done, 2)
    done = run("contacts", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("predict", "evaluate", "fit", "Examples:"))


def test_evaluate(run, tiny_folder, tiny, chains, tmp_path):
    done = run(
        *("contacts", "evaluate", "--structures", "chains", "-o", "s.csv", "-m", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    wanted = evaluate(tiny, ts50()[:3])
    assert done.stdout == wanted.to_text() + "\n"
    found = pandas.read_csv(tmp_path / "s.csv")
    assert list(found.columns) == ["id", "range", *wanted.chains.columns]
    np.testing.assert_allclose(found["P@L/2"], wanted.chains["P@L/2"], rtol=0, atol=1e-12)
    again = ["contacts", "evaluate", "--structures", "chains", "-m", tiny_folder]
    message = fails(run(*again, "-o", "s.csv", cwd=tmp_path))
    assert "'s.csv' exists already; --force overwrites it" in message
    done = run(*again, "--heads", "L0H2", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    by_head = evaluate(tiny, ts50()[:3], ContactHead.mean_of(tiny, ["L0H2"]))
    assert done.stdout == f"{by_head.to_text()}\n\n{differences_text(by_head, wanted)}\n"
    assert done.stdout.startswith("head L0H2, 3 chain(s), mean [95 % interval over chains]")


def test_evaluate_each_head(run, tiny_folder, tiny, few, tmp_path):
    done = run(
        *("contacts", "evaluate", "--each-head", "-o", "heads.csv", "-m", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table = rank_heads(tiny, few)
    found = pandas.read_csv(tmp_path / "heads.csv")
    assert list(found.columns) == list(table.columns)
    assert len(found) == 3 * 8
    lines = done.stdout.splitlines()
    assert lines[0] == "the ten best of 8 heads at long range, 4 chain(s), interval of P@L/2"
    assert [line.split()[0] for line in lines[3:-2]] == best_heads(table, 8)
    assert lines[-1] == (
        "L is the number of resolved residues; IN-SAMPLE, a little too high: these heads are the "
        "best on these very chains (--top chooses on others)"
    )
    for extra in (["--heads", "L0H0"], ["--method", "regression"], ["--head-weights", "x.json"]):
        done = run("contacts", "evaluate", "--each-head", *extra, "-m", tiny_folder, cwd=tmp_path)
        assert "--each-head scores every head; leave other choices of heads out" in fails(done, 2)


def test_folders_without_chains(run, tiny_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.pdb").write_text("no structure")
    for command in (["evaluate"], ["fit"]):
        common = ["contacts", *command, "-m", tiny_folder, "--structures"]
        for folder in ("none", "empty", "bad", "bad/x.pdb"):
            assert folder.split("/")[0] in fails(run(*common, folder, cwd=tmp_path))
        assert not list(tmp_path.glob("*.json"))


def test_fit_and_use_it(run, tiny_folder, tiny, chains, ubiquitin, tmp_path):
    done = run(
        *("contacts", "fit", "--structures", "chains", "--chains", "2", "--inverse-penalty", "50"),
        *("-o", "head.json", "-m", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "wrote head.json" in done.stderr
    head = ContactHead.load(tmp_path / "head.json", tiny)
    fitted = head.provenance["chains"]
    used = [c for c in ts50()[:3] if c.id in fitted]
    rest = [c for c in ts50()[:3] if c.id not in fitted]
    assert (len(used), len(rest)) == (2, 1)
    wanted = fit(tiny, used, inverse_penalty=50)
    assert head.to_dict() == wanted.to_dict()
    assert done.stdout == (
        f"regression fitted to 2 chain(s): {head.provenance['pairs']:,} pairs, "
        f"{head.provenance['contacts']:,} contacts; {len(head.weights)} of 8 heads have a weight\n"
        f"\n{evaluate(tiny, rest, head).to_text()}\n\n{evaluate(tiny, rest).to_text()}\n"
        f"\n{differences_text(evaluate(tiny, rest, head), evaluate(tiny, rest))}\n"
    )
    done = run(
        *("contacts", "ubi.fasta", "--head-weights", "head.json", "-o", "o.npz"),
        *("-m", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stderr
    sequence = "GS" + demo_structure().sequence
    with np.load(tmp_path / "o.npz") as found:
        expected = tiny.contacts(sequence, head=head).probability
        np.testing.assert_allclose(found["ubi"], expected, rtol=0, atol=1e-6)
    # other weights of the same shape: said; of another shape: refused
    other = make_checkpoint(tmp_path / "other", (2, 4, 32), seed=1)
    done = run(*("contacts", "ubi.fasta", "--head-weights", "head.json", "-m", other), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "note: head.json was fitted to tiny-esm2, not to these weights" in done.stderr
    other = make_checkpoint(tmp_path / "small", (3, 2, 24))
    done = run(
        *("contacts", "ubi.fasta", "--head-weights", "head.json", "-o", "x.tsv", "-m", other),
        cwd=tmp_path,
    )
    assert "was fitted to a model of 2 layers with 4 heads, and small has 3 with 2" in fails(done)


def test_fit_to_all_chains_and_mistakes(run, tiny_folder, chains, tmp_path):
    common = ["contacts", "fit", "--structures", "chains", "-m", tiny_folder]
    done = run(*common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        "; 0 of 8 heads have a weight\n"
        "no chain is left to score it on; --chains fits to some and scores on the rest\n"
    )
    before = (tmp_path / "contact-head.json").read_bytes()
    for arguments, code, message in (
        ([], 1, "'contact-head.json' exists already; --force overwrites it"),
        (["--chains", "4", "-o", "x.json"], 1, "4 chains were asked for and there are 3; ask for"),
        (["--chains", "0", "-o", "x.json"], 2, "0 is not in the range x>=1"),
        (["--inverse-penalty", "0", "-o", "x.json"], 1, "the inverse penalty is above 0 and the"),
        (["-o", "none/x.json"], 1, "there is no folder"),
    ):
        assert message in fails(run(*common, *arguments, cwd=tmp_path), code)
    assert (tmp_path / "contact-head.json").read_bytes() == before
    assert not (tmp_path / "x.json").exists()
    assert run(*common, "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "contact-head.json").read_bytes() == before  # the same again
    # a chain that is no protein is left out and said
    (tmp_path / "chains" / "bad.pdb").write_text("no structure")
    done = run(*common, "--force", "-q", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out: " in done.stderr
    assert "bad.pdb" in done.stderr


@pytest.mark.parametrize("arguments", [["evaluate", "-o", "x.csv"], ["fit", "-o", "x.json"]])
def test_a_full_disk(run, tiny_folder, chains, tmp_path, monkeypatch, arguments):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("esmkit.files.disk.os.fsync", full)
    done = run("contacts", *arguments, "--structures", "chains", "-m", tiny_folder, cwd=tmp_path)
    assert f"cannot write to '{arguments[-1]}' (No space left on device)" in fails(done)
    assert not list(tmp_path.glob("x.*"))


def test_a_checkpoint_without_a_contact_head(
    run, tiny_folder, chains, fasta, tmp_path, monkeypatch
):
    def headless(*arguments: Any, **options: Any) -> Esm2:
        model = load(*arguments, **options)
        model.has_contact_head = False
        return model

    monkeypatch.setattr("esmkit.esm2.load", headless)
    for arguments in (["seqs.fasta"], ["evaluate", "--structures", "chains"]):
        message = fails(run("contacts", *arguments, "-m", tiny_folder, cwd=tmp_path))
        assert message.endswith(
            "tiny-esm2 has no contact head; fit one with `esmkit contacts fit` and use it with "
            "--head-weights, or take single heads with --heads"
        )
    assert not list(tmp_path.glob("*.tsv*"))
    fit_some = ["contacts", "fit", "--structures", "chains", "--chains", "2"]
    done = run(*fit_some, "-m", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("interval over chains") == 1  # there is no other to compare with
    for arguments in (["--head-weights", "contact-head.json"], ["--heads", "L0H1", "--force"]):
        done = run("contacts", "seqs.fasta", *arguments, "-m", tiny_folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr


def test_ts50_is_the_default(run, tiny_folder, few, tmp_path):
    done = run("contacts", "evaluate", "-m", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "contact head of tiny-esm2, 4 chain(s)" in done.stdout
    assert len(list(ts50_folder().glob("*.gz"))) == 50


def test_figures(run, tiny_folder, ubiquitin, fasta, few, tmp_path):
    """One figure for each protein, over its structure where there is one, and a curve."""
    structure = demo_structure().path
    done = run(
        *("contacts", ubiquitin.name, fasta.name, "--structure", structure, "--plot", "drawn"),
        *("-o", "all.tsv", "--model", tiny_folder, "--plot-format", "svg"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    proteins = [p.id for p in esmkit.read_fasta([ubiquitin, fasta])]
    assert "precision.svg" in names
    assert len(names) == len(proteins) + 1
    assert sum("1ubi_A" in name for name in names) == 1
    done = run(
        *("contacts", "evaluate", "--heads", "L1H0", "--plot", "curve.pdf", "-q"),
        *("--model", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curve.pdf").read_bytes().startswith(b"%PDF")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts of forward passes, and of times a FASTA file was read."""
    counts = {"passes": 0, "reads": 0}
    forward, records = Encoder.forward, proteins.fasta_records

    def one_pass(*arguments: Any, **options: Any) -> Any:
        counts["passes"] += 1
        return forward(*arguments, **options)

    def one_read(*arguments: Any) -> Any:
        counts["reads"] += 1
        return records(*arguments)

    monkeypatch.setattr(Encoder, "forward", one_pass)
    monkeypatch.setattr(proteins, "fasta_records", one_read)
    return counts


READS = 3
"""To validate, to compute, and to write in input order: sequences are never all held."""


def command_of(tiny_folder: Path, output: str, *more: str) -> tuple[Any, ...]:
    structure = ("--structure", "1ubi.pdb.gz", "--plot", "drawn", "--plot-format", "svg")
    return ("contacts", "ubi.fasta", *structure, "-o", output, *more, "-m", tiny_folder)


@pytest.mark.parametrize("output", ["o.tsv", "o.npz", "-"])
def test_one_forward_pass_and_no_further_reading(
    run, tiny_folder, tiny, ubiquitin, tmp_path, counted, output
):
    with ubiquitin.open("a") as handle:
        handle.write(f">other\n{random_sequence(30, 30)}\n")
    done = run(*command_of(tiny_folder, output), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert counted == {"passes": 1, "reads": READS}
    maps = {m.id: m for m in tiny.contacts(ubiquitin)}
    for name, structure in (("ubi.1ubi_A", demo_structure()), ("other.contacts", None)):
        maps[name.split(".")[0]].plot(structure, path=tmp_path / "wanted.svg")
        drawn = (tmp_path / "drawn" / f"{name}.svg").read_bytes()
        assert drawn == (tmp_path / "wanted.svg").read_bytes()
    assert (tmp_path / "drawn" / "precision.svg").is_file()
    if output != "-":
        found = read_tsv(tmp_path / "o.scores.tsv")
        wanted = maps["ubi"].score(demo_structure())
        np.testing.assert_array_equal(found["AUC-PR"], wanted["AUC-PR"])


@pytest.mark.parametrize("where", ["esmkit.contacts.to_files.score_maps", "precision"])
def test_scoring_and_drawing_go_on_without_the_model(
    run, tiny_folder, ubiquitin, tmp_path, monkeypatch, counted, where
):
    """A run that is stopped while it scores, or draws the last figure, and the same run again."""
    whole = run(*command_of(tiny_folder, "o.tsv"), cwd=tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for name in ("o.tsv", "o.tsv.provenance.json", "o.scores.tsv"):
        (tmp_path / name).unlink()
    shutil.rmtree(tmp_path / "drawn")

    def killed(*_: Any, **__: Any) -> None:
        raise OutputError("stopped here")

    with monkeypatch.context() as patch:
        patch.setattr("esmkit.plots.precision_by_rank" if where == "precision" else where, killed)
        assert "stopped here" in fails(run(*command_of(tiny_folder, "o.tsv"), cwd=tmp_path))
    assert (tmp_path / "o.tsv").is_file()
    assert {p.name for p in (tmp_path / "o.tsv.work").iterdir()} >= {"maps.tmp", "finishing.json"}
    counted.update(passes=0, reads=0)
    again = run(*command_of(tiny_folder, "o.tsv"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert counted == {"passes": 0, "reads": 1}  # the input is validated
    assert again.stdout == whole.stdout
    assert {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_figures_asked_for_after_a_run_that_kept_no_maps(
    run, tiny_folder, ubiquitin, tmp_path, monkeypatch
):
    """The output is complete, its maps are gone: they are predicted for the figures."""
    with monkeypatch.context() as patch:
        patch.setattr("esmkit.files.work_folder.WorkFolder.remove", lambda self: self.close())
        done = run("contacts", "ubi.fasta", "-o", "o.tsv", "-m", tiny_folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = run(*command_of(tiny_folder, "o.tsv"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "o.tsv was complete" in done.stderr
    drawn = {p.name for p in (tmp_path / "drawn").iterdir()}
    assert drawn == {"ubi.1ubi_A.svg", "precision.svg"}
    assert len(read_tsv(tmp_path / "o.scores.tsv")) == 3
    assert not (tmp_path / "o.tsv.work").exists()


def test_a_structure_of_no_protein_is_refused_before_a_model_is_loaded(
    run, tiny_folder, ubiquitin, fasta, tmp_path, monkeypatch
):
    monkeypatch.setattr("esmkit.esm2.Esm2.load", None)
    done = run("contacts", fasta, "--structure", "1ubi.pdb.gz", "-m", tiny_folder, cwd=tmp_path)
    assert "structure '1ubi_A' is of none of the 3 proteins" in fails(done)
    assert not list(tmp_path.glob("*.work"))


def test_formats_on_standard_output(run, tiny_folder, fasta, tmp_path):
    common = ("contacts", "seqs.fasta", "-q", "-m", tiny_folder)
    done = run(*common, "-o", "-", "--format", "rr", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(*common, "--format", "rr", cwd=tmp_path).returncode == 0
    assert done.stdout == (tmp_path / "seqs.contacts.rr").read_text()
    for kind in ("npz", "h5"):
        message = fails(run(*common, "-o", "-", "--format", kind, cwd=tmp_path))
        assert f"standard output takes tsv or rr, not {kind}; name a file with -o, such" in message
    assert {p.name for p in tmp_path.iterdir()} == {
        *("seqs.fasta", "seqs.contacts.rr", "seqs.contacts.rr.provenance.json")
    }


def drawn_texts(path: Path) -> str:
    """The text of an SVG, which stays text."""
    return " ".join(re.findall(r">([^<>]+)</text>", path.read_text()))


def test_what_figures_show(run, tiny_folder, tiny, fasta, tmp_path):
    """Marks and a stretch mean figures; chosen residues are those of table and figure."""
    (tmp_path / "domains.csv").write_text("name,start,end,id\nhead,1,12,p30\n")
    options = ("--mark", "p30:5-7", "--zoom", "p30:4-20,p21:2-15", "--domains", "domains.csv")
    done = run(
        *("contacts", "seqs.fasta", *options, "--residues", "p30:9", "-m", tiny_folder),
        *("--plot-format", "svg"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    table: Any = read_tsv(tmp_path / "seqs.contacts.tsv")
    assert set(table["id"]) == {"p30"}
    assert ((table["i_number"] == 9) | (table["j_number"] == 9)).all()
    folder = tmp_path / "seqs.contacts"
    assert "residues 4 to 20 of 30" in drawn_texts(folder / "p30.contacts.svg")
    assert "only pairs of" in drawn_texts(folder / "p30.contacts.svg")
    assert "head 1-12" in drawn_texts(folder / "p30.contacts.svg")
    assert "5-7" in drawn_texts(folder / "p30.contacts.svg")
    assert "residues 2 to 15 of 21" in drawn_texts(folder / "p21.contacts.svg")
    assert "9 residues" in drawn_texts(folder / "p9.contacts.svg")
    whole = ("contacts", "seqs.fasta", "-o", "o.npz", "--plot", "figures", "-m", tiny_folder)
    done = run(*whole, "--residues", "p30:9", "--plot-format", "svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "only pairs of" in drawn_texts(tmp_path / "figures" / "p30.contacts.svg")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--plot", "x.png"), "'x.png' is named like one picture, and what is written is a folder"),
        (("--mark", "p30:31"), "there is no residue 31 of 'p30', as --mark has it"),
        (("--mark", "5"), "--mark names residues of one protein, and there are 3; say whose"),
        (("--zoom", "p30:5"), "--zoom is one stretch of at least 2 residues"),
        (("--zoom", "p8:5-9"), "p8"),
        (("--domains", "a:5-60"), "--domains are of one protein, and there are 3"),
        (("--plot", "d", "--residues", "p30:9", "--zoom", "p30:10-20"), "none of --residues is a"),
    ],
)
def test_options_of_figures_are_checked_first(
    run, tiny_folder, fasta, tmp_path, monkeypatch, options, message
):
    monkeypatch.setattr("esmkit.esm2.Esm2.load", None)
    done = run("contacts", "seqs.fasta", *options, "-m", tiny_folder, cwd=tmp_path)
    assert message in fails(done)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seqs.fasta"]


def test_scores_are_out_of_sample(run, tiny_folder, tiny, chains, few, tmp_path):
    """Chains of a fit are left out, and heads are chosen on the other half."""
    common = ("-m", tiny_folder, "-q")
    fit_some = ("contacts", "fit", "--structures", "chains", "--chains", "2")
    assert run(*fit_some, *common, cwd=tmp_path).returncode == 0
    head = ContactHead.load(tmp_path / "contact-head.json", tiny)
    other = ("contacts", "evaluate", "--structures", "chains", "--head-weights")
    done = run(*other, "contact-head.json", *common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = evaluate(tiny, ts50()[:3], head)
    assert done.stdout.startswith(
        wanted.to_text() + "\n\nless contact head of tiny-esm2, on the 1 "
    )
    assert done.stdout.splitlines()[1].startswith("left out: 2 chain(s) that the head was made on")
    done = run(*other, "contact-head.json", "--training-chains", "score", *common, cwd=tmp_path)
    assert "\nIN-SAMPLE, too high: the head was made on 2 of these chains" in done.stdout
    fit(tiny, ts50()[:3], inverse_penalty=50).save(tmp_path / "all.json")
    message = fails(run(*other, "all.json", *common, cwd=tmp_path))
    assert "; give other structures, or --training-chains score to score them in-sample" in message
    for named in (["--top", "2"], ["--method", "heads", "--top", "2"]):
        done = run(
            *("contacts", "evaluate", *named, "--length", "full", "-o", "t.csv", "--force"),
            *("--plot", "t.png", "-m", tiny_folder),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert (
            "choosing 2 head(s) by long-range P@L/2 on the 50 chains of TS50, by h" in done.stderr
        )
        best = evaluate_best(tiny, few, 2, length="full")
        assert done.stdout.startswith(best.to_text() + "\n\nless contact head of tiny-esm2")
        np.testing.assert_allclose(
            pandas.read_csv(tmp_path / "t.csv")["P@L"], best.chains["P@L"], rtol=0, atol=1e-12
        )
        assert (tmp_path / "t.png").stat().st_size > 1000


def test_calibration_files(run, tiny_folder, tiny, chains, tmp_path):
    common = ("contacts", "evaluate", "--structures", "chains", "-q", "-m", tiny_folder)
    done = run(*common, "--calibration", "c.tsv", "--calibration", "c.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = evaluate(tiny, ts50()[:3]).reliability
    assert table is not None
    found = read_tsv(tmp_path / "c.tsv")
    assert list(found.columns) == list(table.table.columns)
    np.testing.assert_allclose(found["touch"], table.table["touch"], rtol=0, atol=1e-12)
    assert (tmp_path / "c.svg").stat().st_size > 1000
    assert "'c.tsv' exists already; --force overwrites it" in fails(
        run(*common, "--calibration", "c.tsv", cwd=tmp_path)
    )
    for arguments, message in (
        (
            ["--calibration", "x.txt"],
            "'x.txt' says neither a table nor a figure; let the calibrati",
        ),
        (["--calibration", "x.csv", "--top", "1"], "a calibration is of probabilities, and single"),
        (["--calibration", "x.csv", "--heads", "L0H1"], "a calibration is of probabilities, and s"),
        (["--calibration", "x.csv", "--each-head"], "a calibration is of probabilities, and singl"),
        (["--calibration", "none/x.csv"], "there is no folder"),
    ):
        assert message in fails(run(*common, *arguments, cwd=tmp_path))
    assert not list(tmp_path.glob("x.*"))


def test_scores_of_a_chain_that_the_head_knows_say_so(run, tiny_folder, tiny, ubiquitin, tmp_path):
    """By sequence: the FASTA has another ID and a tag, the structure another name."""
    ubiquitin_itself = dataclasses.replace(demo_structure(), id="known")
    fit(tiny, [ubiquitin_itself], inverse_penalty=50).save(tmp_path / "head.json")
    fit(tiny, ts50()[:1], inverse_penalty=50).save(tmp_path / "other.json")
    said = (
        "IN-SAMPLE, too high: ubi on 1ubi_A, for the regression fitted to 1 chain(s) was made on "
    )
    for name, count in (("head.json", 1), ("other.json", 0)):
        done = run(
            *("contacts", "ubi.fasta", "--structure", "1ubi.pdb.gz", "--head-weights", name),
            *("--force", "-q", "-m", tiny_folder),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("IN-SAMPLE") == count
        assert done.stdout.count(said + "known, which") == count
