"""``esmkit heads`` as a person types it."""

import json
import shutil
from pathlib import Path

import pandas
import pytest

from esmkit.data import ts50
from oracles.commands import fails
from oracles.head_profiles import small_profile


@pytest.fixture
def chains(tmp_path: Path) -> Path:
    """Eleven chains of TS50, one of them twice, and a file that is no structure."""
    folder = tmp_path / "chains"
    folder.mkdir()
    for structure in ts50()[:11]:
        shutil.copy(structure.path, folder)
    (folder / "broken.pdb").write_text("no structure")
    return folder


def test_a_folder_of_tables_figures_and_a_summary(run, tiny_folder, chains, tmp_path, monkeypatch):
    small_profile(monkeypatch, figures=True)
    (tmp_path / "sites.tsv").write_text(
        "id\tstart\tend\tfeature\n" + "".join(f"{s.id}\t5\t9\tactive site\n" for s in ts50()[:11])
    )
    done = run(
        *("heads", "--structures", "chains", "--annotations", "sites.tsv", "--resamples", "100"),
        *("-o", "out", "--model", tiny_folder),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "broken.pdb" in done.stderr
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert {"effects.csv", "heads.csv", "summary.md", "summary.html", "provenance.json"} <= names
    effects, heads = pandas.read_csv(out / "effects.csv"), pandas.read_csv(out / "heads.csv")
    assert list(heads["name"]) == [f"L{n}H{h}" for n in range(2) for h in range(4)]
    assert "to active site" in set(effects["property"])
    assert set(effects["name"]) == set(heads["name"])
    assert effects["random"].notna().to_numpy().any()
    facts = json.loads((out / "provenance.json").read_text())
    assert len(facts["chains"]) == 11
    assert facts["task"] == "heads"
    assert facts["command"].startswith("esmkit heads --structures")
    assert {"torch", "numpy"} <= set(facts["versions"])
    message = fails(run("heads", "--structures", "chains", "-o", "out", cwd=tmp_path))
    assert "is not empty" in message
    _atlas_of(run, tiny_folder, out)


def _atlas_of(run, tiny_folder: Path, out: Path) -> None:
    """The page of all heads is among the files, and can be made anew beside another model."""
    page = (out / "atlas.html").read_text()
    assert "[All heads, to search and sort:](<atlas.html>)" in (out / "summary.md").read_text()
    assert '<a href="atlas.html">All heads' in (out / "summary.html").read_text()
    assert "to active site" in page
    assert page.count('id="data-0-links-') == 4
    assert "Effects of removal, set to its mean" in page
    again = ("heads", "atlas", "out", "--structures", "chains", "--model", tiny_folder)
    message = fails(run("heads", "atlas", "nowhere", cwd=out.parent))
    assert "there is no folder 'nowhere'" in message
    message = fails(run("heads", "--no-control", *again[1:], cwd=out.parent), code=2)
    assert "have no meaning before 'atlas'" in message
    done = run(*again, "--compare", "out", cwd=out.parent)
    assert done.returncode == 0, done.stderr
    assert "wrote out/atlas.html" in done.stderr
    both = (out / "atlas.html").read_text()
    assert both.count('id="data-1-links-') == 4
    (out / "atlas.html").write_text("notes")
    message = fails(run(*again, cwd=out.parent))
    assert "atlas.html" in message
    assert "--force" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--structures", "nowhere"], "nowhere"),
        (["--annotations", "nothing.tsv"], "nothing.tsv"),
        (["--replicate", "shiped"], "there is no folder 'shiped'; did you mean 'shipped'?"),
        (["--compare", "elsewhere"], "there is no folder 'elsewhere'; check the path"),
        (["--replicate", "elsewhere"], "there is no folder 'elsewhere'; check the path"),
    ],
)
def test_mistakes(run, tiny_folder, tmp_path, arguments, message):
    done = run("heads", *arguments, "-o", "out", "--model", tiny_folder, cwd=tmp_path)
    assert message in fails(done)
    assert "loading" not in done.stderr or "annotations" in arguments[0]
    assert not (tmp_path / "out").exists()
