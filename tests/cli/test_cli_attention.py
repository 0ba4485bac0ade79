"""``esmkit attention`` as a person types it."""

import io
from pathlib import Path

import pandas
import pytest

import esmkit
from esmkit.attention.choosing import heads_that_reach_far
from esmkit.esm2 import Esm2
from esmkit.files.names import file_name
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(
        tmp_path / "seqs.fasta", {f"p{n} x": random_sequence(n, n) for n in (30, 9, 21)}
    )


def test_maps_then_figures(run, tiny_folder: Path, tiny: Esm2, fasta: Path, tmp_path: Path):
    done = run("attention", "seqs.fasta", "--plot", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "attention maps of 8 head(s) for 3 protein(s): 26.6 kB in float16" in done.stderr
    assert "wrote seqs.attention.h5" in done.stderr
    with esmkit.read(tmp_path / "seqs.attention.h5") as found:
        assert list(found) == ["p30", "p9", "p21"]
        strong = heads_that_reach_far(found["p9"])
        assert found.provenance["command"].startswith("esmkit attention seqs.fasta --plot")
    assert len(strong) == 6
    drawn = {path.name for path in (tmp_path / "seqs.attention").iterdir()}
    assert {"p9.heads.png", "p9.flow.png"} <= drawn
    assert {f"p9.{head}{kind}.png" for head in strong for kind in ("", ".arcs")} <= drawn
    assert len(drawn) == 3 * (2 + 2 * 6)
    # A second time: refused, nothing touched; the file alone can be drawn again
    message = fails(run("attention", "seqs.fasta", "--model", tiny_folder, cwd=tmp_path))
    assert "'seqs.attention.h5' exists already; --force overwrites it" in message
    message = fails(run("attention", "seqs.attention.h5", cwd=tmp_path))
    assert (
        "the folder 'seqs.attention' is not empty; --force writes into it all the same" in message
    )
    done = run(
        *("attention", "seqs.attention.h5", "--plot", "pictures", "--plot-heads", "l1h2"),
        *("--plot-format", "svg"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    drawn = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {"p21.heads.svg", "p21.flow.svg", "p21.L1H2.svg", "p21.L1H2.arcs.svg"} <= drawn
    assert len(drawn) == 12


def test_the_demo_protein_on_a_terminal(run, real: Esm2, tmp_path: Path):
    done = run("attention", "--plot", "--heads", "L5H4", cwd=tmp_path, terminal=True)
    assert done.returncode == 0, done.stderr
    assert "no FASTA given: using the demo protein, ubiquitin (1UBI_A)" in done.stderr
    with esmkit.read(tmp_path / "ubiquitin.attention.h5") as found:
        assert list(found) == ["1UBI_A"]
        # strands 1 and 2 of ubiquitin lie side by side: residues 2 to 7 and 12 to 16
        top = found["1UBI_A"].top(5, min_separation=6)
        assert set(top["query_number"]) | set(top["key_number"]) <= set(range(1, 19))
    assert {p.name for p in (tmp_path / "ubiquitin.attention").iterdir()} == {
        *("1UBI_A.L5H4.png", "1UBI_A.L5H4.arcs.png")
    }


def test_without_a_terminal_nothing_is_assumed(run, tmp_path: Path):
    done = run("attention", "--plot", cwd=tmp_path)
    message = fails(done, 2)
    assert "name a FASTA file, or - for standard input; `esmkit attention --demo --plot`" in message
    assert not list(tmp_path.iterdir())


def test_plot_before_the_file_is_read_as_it_is_meant(
    run,
    tiny_folder: Path,
    fasta: Path,
    tmp_path: Path,
):
    done = run(
        *("attention", "--plot", "seqs.fasta", "--heads", "L0H1", "--model", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seqs.attention" / "p9.L0H1.png").exists()


def test_reductions(run, tiny_folder: Path, fasta: Path, tmp_path: Path):
    done = run("attention", "seqs.fasta", "--reduce", "all", "--model", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(pandas.read_csv(tmp_path / "seqs.attention.csv")) == 3 * 8
    done = run(
        *("attention", "-", "--reduce", "entropy", "-o", "-", "--model", tiny_folder, "--quiet"),
        cwd=tmp_path,
        text=f">a\n{random_sequence(12, 5)}\n",
    )
    assert done.returncode == 0, done.stderr
    table = pandas.read_csv(io.StringIO(done.stdout))
    assert list(table.columns) == ["id", "length", "layer", "head", "name", "entropy"]
    assert table["entropy"].between(0, 1).all()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--heads", "L2H0"], 1, "there is no L2H0: the model has layers 0 to 1 with heads 0 to 3"),
        (["--layers", "7"], 1, "there is no attention layer 7"),
        (["--heads", "best"], 1, "a head is named like L5H4"),
        (["--max-bytes", "1k"], 1, "26.6 kB of attention maps (longest protein 30 residues) are"),
        (["--max-bytes", "much"], 1, "a size is a number of bytes such as 500M or 10G, not 'much'"),
        (["--reduce", "mean"], 1, "reduce takes entropy, distance, special, offsets, not 'mean'"),
        (["--reduce", "all", "--plot"], 2, "--reduce keeps no maps to draw"),
        (["-o", "maps.npz"], 1, "attention maps are written to HDF5"),
        (["--plot", "none/there/deep", "-o", "none/x.h5"], 1, "there is no folder"),
        (
            ["--plot", "x.PNG"],
            1,
            "'x.PNG' is named like one picture, and what is written is a folder",
        ),
        (["--plot-heads", "L1H9"], 1, "head L1H9 is not among what is extracted: 8 head(s), L0H0"),
        (["--mark", "59"], 1, "--mark names residues of one protein, and there are 3; say whose"),
        (["--zoom", "p30:20-31"], 1, "there is no residue 31 of 'p30', as --zoom has it"),
        (["--domains", "d.csv"], 1, "--domains is neither domains such as kinase:10-120"),
    ],
)
def test_mistakes(run, tiny_folder: Path, fasta: Path, tmp_path: Path, arguments, code, message):
    done = run("attention", "seqs.fasta", *arguments, "--model", tiny_folder, cwd=tmp_path)
    assert message in fails(done, code)
    assert not list(tmp_path.glob("*.h5"))


def test_a_chain_of_35000_residues_is_refused_with_its_size(
    run,
    tiny_folder: Path,
    tmp_path: Path,
):
    write_fasta(tmp_path / "titin.fasta", {"titin": random_sequence(35_000, 1)})
    message = fails(run("attention", "titin.fasta", "--model", tiny_folder, cwd=tmp_path))
    assert "19.6 GB of attention maps (longest protein 35,000 residues) are over" in message
    done = run(
        *("attention", "titin.fasta", "--reduce", "special", "--heads", "L1H3"),
        *("--model", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    ["../up", "a/b", "a b", "CON", "con.x", ".hidden", "-rf", "é", "x" * 500, "", "..", "a\0b"],
)
def test_names_of_figures_stay_in_their_folder(name: str):
    safe = file_name(name)
    assert safe.isascii()
    assert len(safe) <= 100
    assert not set(safe) & set('/\\\0:*?"<>| ')
    assert safe[0] not in ".-"
    assert safe.split(".")[0].split("-")[0].upper() not in ("CON", "..")
    assert safe != file_name(name + "x")
    assert file_name("P69905") == "P69905"


def test_the_demo_is_a_word_away(run, tmp_path: Path, fasta: Path):
    done = run("attention", "--demo", "seqs.fasta", cwd=tmp_path)
    assert "--demo stands in place of FASTA" in fails(done, 2)


def test_options_of_figures_are_checked_before_the_model_is_loaded(
    run, tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
):
    from esmkit.cli.options import ModelChoice

    def never(self: ModelChoice) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ModelChoice, "load", never)
    (tmp_path / "wrong.csv").write_text("id,name,start,end\np30,long,5,99\n")
    for options, message in (
        (["--residues", "p30:0"], "there is no residue 0, as --residues has it"),
        (["--mark", "p30:W1"], "residue 1 of 'p30' is"),
        (["--mark", "p31:1"], "there is no ID 'p31'; near ones are"),
        (["--zoom", "5-4"], "the range 5-4 of --zoom runs backwards"),
        (["--domains", "wrong.csv"], "domain 'long' of --domains ends at 99, and the residues of"),
        (["--structure", "none.pdb"], "none.pdb"),
        (["--plot-heads", "best"], "a head is named like L5H4"),
        (
            ["--residues", "p30:1", "--zoom", "p30:5-9"],
            "none of --residues is among residues 5 to 9",
        ),
    ):
        assert message in fails(run("attention", "seqs.fasta", *options, cwd=tmp_path))
    assert not list(tmp_path.glob("*.h5"))


def test_figures_of_sites(run, tiny_folder: Path, fasta: Path, tmp_path: Path, monkeypatch):
    from esmkit import plots

    drawn: dict[str, str] = {}
    original = plots.attention_arcs

    def attention_arcs(*args, path, **options):
        figure = original(*args, path=path, **options)
        drawn[Path(path).name] = figure.get_suptitle()
        return figure

    monkeypatch.setattr(plots, "attention_arcs", attention_arcs)
    done = run(
        *("attention", "seqs.fasta", "--model", tiny_folder, "--heads", "L0H1", "--quiet"),
        *("--zoom", "p30:11-25", "--mark", "p30:12,p21:3-5", "--residues", "p30:12"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "seqs.attention"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.L0H1{kind}.png" for name in ("p30", "p9", "p21") for kind in ("", ".arcs")
    }  # no grid of one head
    assert drawn["p30.L0H1.arcs.png"].endswith("of head L0H1 · residues 11 to 25")
    assert "residues" not in drawn["p9.L0H1.arcs.png"]
