"""``esmkit reproduce``: its table, its files, its exit codes, and going on after a stop."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from esmkit.data import ts50
from esmkit.esm2 import Esm2
from esmkit.published import gym
from esmkit.published.to_file import reproduce_to_file
from oracles.commands import Done, fails
from oracles.proteingym import ASSAYS, correlations, plant, publish

GYM = ("--proteingym", "gym", "--only", "proteingym,proteingym-TEM-1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    plant(tmp_path / "gym")
    (tmp_path / "chains").mkdir()
    for chain in sorted(ts50(), key=len)[:2]:
        assert chain.path is not None
        shutil.copy(chain.path, tmp_path / "chains")
    return tmp_path


@pytest.fixture
def reproduce(
    run: Callable[..., Done], place: Path, eight_folder: Path, as_8m: None
) -> Callable[..., Done]:
    def one(*words: object) -> Done:
        return run("reproduce", *words, "--model", eight_folder, cwd=place)

    return one


def test_the_table_is_printed_and_nothing_else_done(reproduce: Any, place: Path):
    before = sorted(place.rglob("*"))
    done = reproduce("--structures", "chains", "--only", "head-L5H4,contacts-casp14,proteingym")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["not run", "not comparable", "not run"]
    assert "2 chains that are not Zhang eval-200 (200 chains)" in lines[2]
    assert lines[-1] == "0 reproduced, 0 differ, 1 not comparable, 2 not run"
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("ending", ["csv", "tsv", "md", "json"])
def test_files_by_their_ending_with_provenance(reproduce: Any, place: Path, ending: str):
    done = reproduce(*GYM, "-o", f"out.{ending}")
    assert done.returncode == 0, done.stderr
    assert f"wrote out.{ending}" in done.stderr
    text = (place / f"out.{ending}").read_text()
    if ending == "json":
        assert json.loads(text)["results"][0]["published"] == 0.226
    elif ending == "md":
        assert text.startswith("| verdict | result |")
    else:
        table = pandas.read_csv(place / f"out.{ending}", sep="," if ending == "csv" else "\t")
        assert table["result"].tolist() == ["proteingym", "proteingym-TEM-1"]
        assert table["verdict"].tolist() == ["not comparable"] * 2
    facts = json.loads((place / f"out.{ending}.provenance.json").read_text())
    assert facts["task"] == "reproduce"
    assert facts["only"] == ["proteingym", "proteingym-TEM-1"]
    assert len(facts["assays"]) == len(ASSAYS)
    assert not (place / f"out.{ending}.work").exists()
    again = fails(reproduce(*GYM, "-o", f"out.{ending}"))
    assert f"'out.{ending}' exists already; --force overwrites it" in again or "--force" in again
    assert reproduce(*GYM, "-o", f"out.{ending}", "--force").returncode == 0


def test_to_standard_output_as_csv(reproduce: Any, place: Path):
    done = reproduce(*GYM, "-o", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("verdict,result,what,published")
    assert "0 reproduced, 0 differ, 2 not comparable, 0 not run" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "out.txt"), "'out.txt' says no format: let it end in .csv, .tsv, .md, .json"),
        (("-o", "out"), "'out' says no format"),
        (("-o", "no/out.csv"), "there is no folder"),
        (("--only", "heads"), "there is no published result 'heads'"),
        (("--proteingym", "none"), "there is no folder 'none'"),
        (("--structures", "gym"), "'gym' has no structure files"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(reproduce: Any, words: Any, said: str):
    assert said in fails(reproduce(*words))


def test_a_file_beside_the_output_is_not_overwritten(reproduce: Any, place: Path):
    (place / "out.csv.provenance.json").write_text("mine")
    said = fails(reproduce(*GYM, "-o", "out.csv"))
    assert "out.csv.provenance.json" in said
    assert "exists already" in said
    assert (place / "out.csv.provenance.json").read_text() == "mine"


def test_it_ends_with_1_if_something_differs(
    reproduce: Any,
    place: Path,
    eight: Esm2,
    eight_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    theirs = correlations(eight_folder, place / "gym")
    monkeypatch.setattr("esmkit.published.reproducing._other_weights", lambda *of: [])
    publish(place / "gym", theirs)
    done = reproduce(*GYM)
    assert done.returncode == 0, done.stderr
    assert "2 reproduced, 0 differ" in done.stdout
    publish(place / "gym", theirs, off=0.1)
    done = reproduce(*GYM, "-o", "out.csv")
    assert done.returncode == 1
    assert "esmkit: error: proteingym: published is" in done.stderr
    assert "with the same weights and data" in done.stderr
    assert "Traceback" not in done.stderr
    assert pandas.read_csv(place / "out.csv")["verdict"].tolist() == ["differs", "differs"]


class Stopped(Exception):
    """Stands for a kill."""


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which assays are scored; with ``Stopped`` in the list it ends there."""
    scored: list[str] = []
    inner = gym.score_variants

    def one(model: Any, protein: Any, *given: Any, **options: Any) -> Any:
        if scored and scored[-1] == "stop":
            raise Stopped
        scored.append(protein.id)
        return inner(model, protein, *given, **options)

    monkeypatch.setattr(gym, "score_variants", one)
    return scored


def test_a_run_that_is_stopped_goes_on(
    eight: Esm2, place: Path, as_8m: None, counted: list[str], monkeypatch: pytest.MonkeyPatch
):
    from esmkit.files.run_options import Run

    monkeypatch.setattr("esmkit.files.pending.SHARD_SECONDS", (0.0, 0.0))
    said: list[str] = []
    run = Run(say=said.append)
    names = ["proteingym", "proteingym-TEM-1"]
    given: Any = {"proteingym": place / "gym", "only": names}
    whole = reproduce_to_file(lambda: eight, list, place / "whole.csv", run=run, **given)
    assert whole is not None
    assert counted == [assay[0] for assay in ASSAYS]  # TEM-1 is scored once for both rows
    inner = gym.spearman

    def stops(*of: Any) -> float:
        if counted[-1] == ASSAYS[2][0]:
            raise Stopped
        return inner(*of)

    counted.clear()
    with monkeypatch.context() as patch:
        patch.setattr(gym, "spearman", stops)
        with pytest.raises(Stopped):
            reproduce_to_file(lambda: eight, list, place / "out.csv", run=run, **given)
    assert not (place / "out.csv").exists()
    counted.clear()
    found = reproduce_to_file(lambda: eight, list, place / "out.csv", run=run, **given)
    assert counted == [assay[0] for assay in ASSAYS[2:]]
    assert any("going on with the 2 measurements in" in line for line in said)
    assert found == whole
    assert (place / "out.csv").read_bytes() == (place / "whole.csv").read_bytes()


def test_work_of_another_kind_is_not_gone_on_with(
    eight: Esm2, place: Path, as_8m: None, monkeypatch: pytest.MonkeyPatch
):
    from esmkit.errors import ResumeError
    from esmkit.files.run_options import Run

    def stops(*of: Any) -> float:
        raise Stopped

    given: Any = {"proteingym": place / "gym", "only": ["proteingym"]}
    with monkeypatch.context() as patch:
        patch.setattr(gym, "spearman", stops)
        with pytest.raises(Stopped):
            reproduce_to_file(lambda: eight, list, place / "out.csv", **given)
    with pytest.raises(ResumeError, match="seed was 0, now 1"):
        reproduce_to_file(lambda: eight, list, place / "out.csv", seed=1, **given)
    rows: Any = {**given, "only": ["proteingym", "proteingym-TEM-1"]}
    with pytest.raises(ResumeError, match="only was "):  # a table of other rows is another output
        reproduce_to_file(lambda: eight, list, place / "out.csv", **rows)
    anew = Run(restart=True)
    assert reproduce_to_file(lambda: eight, list, place / "out.csv", seed=1, run=anew, **given)


def test_a_run_killed_after_its_last_step_is_known(
    eight: Esm2, place: Path, as_8m: None, monkeypatch: pytest.MonkeyPatch
):
    from esmkit.files.run_options import Run

    def killed() -> None:
        raise Stopped

    given: Any = {"proteingym": place / "gym", "only": ["proteingym"]}
    with pytest.raises(Stopped):
        reproduce_to_file(lambda: eight, list, place / "out.csv", run=Run(then=killed), **given)
    text = (place / "out.csv").read_bytes()
    said: list[str] = []
    again = Run(say=said.append)
    assert reproduce_to_file(lambda: eight, list, place / "out.csv", run=again, **given) is None
    assert "out.csv was complete" in said[-1]
    assert (place / "out.csv").read_bytes() == text
    assert not (place / "out.csv.work").exists()
