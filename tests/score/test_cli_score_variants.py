"""``esmkit score variants``: tables, figures, comparisons, errors in its own words, going on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from esmkit.data import demo_structure
from esmkit.score.variants import to_file
from esmkit.score.variants.measured import compare
from oracles.commands import Done
from oracles.variant_scores import make_with_head

WILD = "MKTAYIAKQRQISFVKSHFS"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_with_head(tmp_path_factory.mktemp("with-head") / "model", (2, 4, 32))


@pytest.fixture
def score(run: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on one protein."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.fasta").write_text(f">P1 a protein\n{WILD}\n")

    def call(*words: str) -> Done:
        options = ["--model", str(checkpoint), "--no-compile"]
        return run("score", "variants", *words, *options, cwd=tmp_path)

    return call


def dms(path: Path, count: int = 40, seed: int = 0) -> pandas.DataFrame:
    """A table of substitutions as ProteinGym writes them."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        site = int(random.integers(len(WILD)))
        new = str(random.choice([a for a in "ACDEFGHIKLMNPQRSTVWY" if a != WILD[site]]))
        mutated = WILD[:site] + new + WILD[site + 1 :]
        rows.append((f"{WILD[site]}{site + 1}{new}", mutated, random.normal(), 0))
    names = ["mutant", "mutated_sequence", "DMS_score", "DMS_score_bin"]
    table = pandas.DataFrame(rows, columns=names)
    table.to_csv(path, index=False)
    return table


def test_a_scan_is_written_with_its_provenance(score: Any, tmp_path: Path):
    done = score("p.fasta", "--all")
    assert done.returncode == 0, done.stderr
    assert "380 variants by masked-marginals: 20 passes, 400 residues to read" in done.stderr
    table = pandas.read_csv("p.variants.tsv", sep="\t")
    assert len(table) == 380
    assert set(table.id) == {"P1"}
    facts = json.loads(Path("p.variants.tsv.provenance.json").read_text())
    assert facts["lm_head"]["source"] == "checkpoint"
    assert facts["strategy"] == "masked-marginals"
    assert facts["mutations"] == "all"
    again = score("p.fasta", "--all")
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert score("p.fasta", "--all", "--force").returncode == 0


def test_variants_on_the_command_line_to_standard_output(score: Any):
    done = score(
        "p.fasta", "--mutations", "M1A,K2R:T3S,p.Lys2_Ala4del", "--strategy", "pllr", "-o", "-"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("\t")[1] for line in lines] == ["mutant", "M1A", "K2R:T3S", "K2_A4del"]
    assert "3 variants by pllr" in done.stderr
    assert lines[2].split("\t")[2:6] == ["", "", "", "2"]


def test_a_file_of_proteingym_without_fasta(score: Any, tmp_path: Path):
    table = dms(tmp_path / "dms.csv")
    done = score("--mutations", "dms.csv", "--measured", "DMS_score", "--plot")
    assert done.returncode == 0, done.stderr
    twice = len(table) - table.mutant.nunique()
    assert f"{twice} row(s) repeat a variant, which is computed once" in done.stderr
    found = pandas.read_csv("dms.variants.tsv", sep="\t")
    assert found.mutant.tolist() == table.mutant.tolist()
    np.testing.assert_allclose(found.measured, table.DMS_score)
    written = pandas.read_csv("dms.variants.measured.tsv", sep="\t").set_index("prediction")
    assert written.index.tolist() == ["masked-marginals", "blosum62", "hydropathy", "site_entropy"]
    alone = compare({"score": found.score.to_numpy()}, found.measured.to_numpy()).iloc[0]
    np.testing.assert_allclose(written.loc["masked-marginals", "spearman"], alone["spearman"])
    assert "over 0, what is predicted better is fitter" in done.stdout
    figures = sorted(path.name for path in Path("dms.variants").iterdir())
    assert figures == ["dms.measured.png", "dms.variants.png"]
    turned = score(
        "--mutations", "dms.csv", "--measured", "DMS_score", "--lower-is-better", "--force"
    )
    assert "lower is fitter, so their sign was changed" in turned.stdout
    back = pandas.read_csv("dms.variants.measured.tsv", sep="\t").set_index("prediction")
    np.testing.assert_allclose(
        back.loc["masked-marginals", "spearman"], -written.loc["masked-marginals", "spearman"]
    )


def test_the_same_variants_from_a_fasta_and_of_several_proteins(score: Any, tmp_path: Path):
    table = dms(tmp_path / "dms.csv", 12)
    assert score("p.fasta", "--mutations", "dms.csv", "-o", "one.csv").returncode == 0
    Path("two.fasta").write_text(f">sp|Q1|OTHER\nMKT\n>P1\n{WILD}\n")
    table.assign(id="P1").to_csv("ids.csv", index=False)
    done = score("two.fasta", "--mutations", "ids.csv", "-o", "two.csv")
    assert done.returncode == 0, done.stderr
    one, two = pandas.read_csv("one.csv"), pandas.read_csv("two.csv")
    pandas.testing.assert_frame_equal(one, two, atol=1e-9)
    refused = score("two.fasta", "--mutations", "dms.csv", "-o", "x.csv")
    assert refused.returncode == 1
    assert "take some with --id, or give a table with a column id" in refused.stderr
    picked = score("two.fasta", "--id", "P1", "--mutations", "dms.csv", "-o", "x.csv")
    assert picked.returncode == 0, picked.stderr


def test_what_does_not_fit_is_said_with_its_line_and_left_out_if_asked(score: Any):
    Path("m.csv").write_text("mutant,score\nM1A,1\nW2R,2\nK2R,3\nT3S,4\nA4G,high\n")
    done = score("p.fasta", "--mutations", "m.csv")
    assert done.returncode == 1
    assert "line 3 of 'm.csv': W2R has W at residue 2, where 'P1' has K" in done.stderr
    assert "or give --on-invalid skip to score the rest" in done.stderr
    assert not Path("p.variants.tsv").exists()
    done = score("p.fasta", "--mutations", "m.csv", "--on-invalid", "skip", "--measured", "score")
    assert done.returncode == 0, done.stderr
    assert "left out 2 row(s): line 3 of 'm.csv': W2R has W" in done.stderr
    assert "line 6 of 'm.csv': column 'score' has 'high'" in done.stderr
    assert pandas.read_csv("p.variants.tsv", sep="\t").mutant.tolist() == ["M1A", "K2R", "T3S"]
    facts = json.loads(Path("p.variants.tsv.provenance.json").read_text())
    assert facts["left_out"]["rows"] == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["p.fasta"], 2, "give either --mutations, or --all"),
        (["p.fasta", "--all", "--mutations", "M1A"], 2, "give either --mutations, or --all"),
        (["p.fasta", "--all", "--lower-is-better"], 2, "name it with --measured"),
        (["--all"], 1, "give a FASTA file of the wild type"),
        (["p.fasta", "--mutations", "not.csv"], 1, "there is no file 'not.csv'"),
        (["p.fasta", "--mutations", "M1A", "--measured", "x"], 1, "--measured names a column"),
        (["p.fasta", "--mutations", "dms.xlsx"], 1, "'dms.xlsx' is a spreadsheet; save its table"),
        (["p.fasta", "--mutations", "runs/dms"], 1, "there is no file 'runs/dms'"),
        (["p.fasta", "--mutations", "M1A/W2R"], 1, "mutation 1: M1A:W2R has W at residue 2"),
        (["p.fasta", "--mutations", "M1M"], 1, "is synonymous"),
        (["p.fasta", "--mutations", "M1del"], 1, "give --strategy pllr, which takes insertions"),
        (["p.fasta", "--mutations", "M24A,K25R,T26S,Y28A"], 1, "fit with --first-number 24"),
        (["p.fasta", "--all", "--mark", "K99"], 1, "there is no residue 99"),
    ],
)
def test_errors_are_one_sentence_in_the_words_of_the_command(
    score: Any, words: list[str], code: int, said: str
):
    done = score(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_insertions_and_deletions_of_proteingym(score: Any):
    longer, shorter = WILD[:4] + "GS" + WILD[4:], WILD[:9] + WILD[11:]
    lines = ["mutated_sequence,DMS_score", f"{longer},0.5", f"{shorter},0.1", f"G{WILD[1:]},0.9"]
    Path("indels.csv").write_text("\n".join(lines))
    refused = score("p.fasta", "--mutations", "indels.csv")
    assert refused.returncode == 1
    assert "line 2 of 'indels.csv'" in refused.stderr
    assert "--strategy pllr" in refused.stderr
    words = ["--strategy", "pllr", "--measured", "DMS_score"]
    done = score("p.fasta", "--mutations", "indels.csv", *words)
    assert done.returncode == 0, done.stderr
    found = pandas.read_csv("p.variants.tsv", sep="\t")
    assert found.mutant.tolist() == ["A4_Y5insGS", "R10_Q11del", "M1G"]
    assert found.measured.tolist() == [0.5, 0.1, 0.9]
    assert found.blosum62.isna().tolist() == [True, True, False]
    alone = score("--mutations", "indels.csv", "--strategy", "pllr", "-o", "x.tsv")
    assert alone.returncode == 1
    assert "does not say which protein its variants are of; give a FASTA file of it" in alone.stderr


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("M1A,1\nK2R,1\nT3S,1\n", "all 3 measured values are 1, so there is nothing to rank"),
        ("M1A,1\nK2R,2\nT3S,\n", "2 of 3 variants have a measured value"),
        ("M1A,inf\nK2R,#N/A\nT3S,<NA>\n", "0 of 3 variants have a measured value"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_scored(
    score: Any, rows: str, said: str
):
    Path("m.csv").write_text(f"mutant,x\n{rows}")
    done = score("p.fasta", "--mutations", "m.csv", "--measured", "x", "--plot")
    assert done.returncode == 1
    assert said in done.stderr
    assert [path.name for path in Path().glob("p.*")] == ["p.fasta"]


def test_a_protein_that_cannot_be_compared_does_not_lose_the_others(score: Any):
    Path("two.fasta").write_text(f">P1\n{WILD}\n>P2\n{WILD[::-1]}\n")
    rows = "P1,M1A,1\nP1,K2R,3\nP1,T3S,2\nP1,A4G,\nP2,S1A,2\nP2,F2L,2\nP2,H3A,2\n"
    Path("m.csv").write_text(f"id,mutant,x\n{rows}")
    done = score("two.fasta", "--mutations", "m.csv", "--measured", "x")
    assert done.returncode == 0, done.stderr
    assert "P2 is not compared: all 3 measured values are 2" in done.stderr
    assert "1 of 7 variants have no number in column 'x'" in done.stderr
    found = pandas.read_csv("two.variants.measured.tsv", sep="\t")
    assert set(found.id) == {"P1"}
    assert len(pandas.read_csv("two.variants.tsv", sep="\t")) == 7


def test_figures_show_a_structure_and_sites(score: Any, tmp_path: Path):
    structure = demo_structure()
    fasta = tmp_path / "u.fasta"
    fasta.write_text(f">u\n{structure.protein.sequence}\n")
    source = Path(__file__).parents[2] / "data" / "1ubi.pdb.gz"
    words = [str(fasta), "--all", "--structure", str(source), "--mark", "K48", "--zoom", "40-76"]
    done = score(*words, "-o", str(tmp_path / "u.tsv"), "--plot-format", "svg")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "u" / "u.variants.svg").read_text()
    assert "residues 40 to 76" in text
    assert "K48" in text
    assert "helix" in text


def test_a_run_that_is_stopped_goes_on_and_ends_the_same(
    score: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dms(tmp_path / "dms.csv", 15)
    words = ["p.fasta", "--mutations", "dms.csv", "--strategy", "pllr", "--measured", "DMS_score"]
    assert score(*words, "-o", "whole.tsv").returncode == 0

    class Stop(Exception):
        pass

    compute = to_file.VariantsTask.compute

    def stops(self: Any, *given: Any) -> Any:
        for number, found in enumerate(compute(self, *given)):
            yield found
            if number == 6:
                raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(to_file.VariantsTask, "compute", stops)
        with pytest.raises(Stop):
            score(*words, "-o", "cut.tsv")
    assert not Path("cut.tsv").exists()
    units: list[int] = []

    def counted(self: Any, *given: Any) -> Any:
        for found in compute(self, *given):
            units.extend(found)
            yield found

    monkeypatch.setattr(to_file.VariantsTask, "compute", counted)
    done = score(*words, "-o", "cut.tsv")
    assert done.returncode == 0, done.stderr
    assert len(units) < 16
    assert Path("whole.tsv").read_text() == Path("cut.tsv").read_text()
    assert Path("whole.measured.tsv").read_text() == Path("cut.measured.tsv").read_text()
    other = score(*words[:3], "--strategy", "wt-marginals", "-o", "cut.tsv", "--force")
    assert other.returncode == 0, other.stderr
