"""``esmkit heads`` into its folder: what is finished is there, what is added is added, nothing twice."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas
import pytest

import esmkit.heads.ablation
from esmkit.data import repeat_proteins, ts50
from esmkit.errors import OutputError, ResumeError
from esmkit.esm2 import Esm2
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.heads import made as made_module
from esmkit.heads import passes
from esmkit.heads.reading import read_profile, read_table
from esmkit.heads.report.summary import write_report
from esmkit.heads.resume import ablation_keys, profile_keys
from esmkit.heads.tables import OF_REPEATS
from esmkit.heads.to_folder import profile_to_folder
from esmkit.sequences.proteins import Protein
from oracles.head_profiles import dots

MEASURED = {"chains": 12, "ablation": 2 * 8}
"""Arrays of a chain; measurements without a head: two modes, eight heads."""

REPEATED, REAL = 4, 2
"""Pairs of sequences that are made, in each model; real proteins. A run takes more of both."""

PER_HEAD, REFIT, DISULFIDES = 10, 2, 8
"""Arrays of a measurement without a head; of regressions fitted anew, in which these random heads
have no weight; of the chains with disulfides, in one model."""


class Stop(BaseException):
    """Not an error that anything catches: as a signal ends a run."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esmkit.files.pending.SHARD_SECONDS", (0.0, 0.0))
    monkeypatch.setattr("esmkit.heads.untrained.CONTROL_HEADS", 1)
    monkeypatch.setattr("esmkit.heads.measure_all.ABLATION_CHAINS", 2)
    monkeypatch.setattr("esmkit.heads.repeats.SEQUENCES", REPEATED)
    monkeypatch.setattr("esmkit.data.repeat_proteins", _few_proteins)
    table = pandas.DataFrame({"name": ["L0H0"], "copying": [0.5]})
    monkeypatch.setattr(
        "esmkit.heads.circuits.circuits", lambda _, **__: SimpleNamespace(to_frame=lambda: table)
    )
    # Figures are slow, and have their own tests
    monkeypatch.setattr("esmkit.heads.report.files._drawn", dots)


@cache
def _few_proteins() -> list[Protein]:
    return sorted(repeat_proteins(), key=len)[:REAL]


@pytest.fixture(scope="module")
def chains() -> list[Any]:
    return sorted(ts50(), key=len)[:10]


@pytest.fixture
def work(tiny: Esm2, chains: list[Any]) -> Callable[..., list[str]]:
    """Return a run that tells what it said."""

    def run(folder: Path, *, force: bool = False, restart: bool = False, **options: Any):
        said: list[str] = []
        given = {"resamples": 100, "control": False, **options}
        of = given.pop("chains", chains)
        then = given.pop("then", lambda: None)
        profile_to_folder(
            *(lambda: tiny, lambda: of, folder),
            **given,
            run=Run(force=force, restart=restart, say=said.append, then=then),
        )
        return said

    return run


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Count what is measured: the numbers of arrays that are put into shards."""
    numbers: list[int] = []
    add = Pending.add

    def noted(self: Pending, number: int, values: Any) -> None:
        numbers.append(number)
        add(self, number, values)

    with monkeypatch.context() as patch:
        patch.setattr(Pending, "add", noted)
        yield numbers


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stop_in_ablation(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Stop when a few heads have been switched off."""
    without, done = esmkit.heads.ablation._Batch.without, []

    def few(self: Any, *arguments: Any) -> Any:
        if len(done) == after:
            raise Stop
        done.append(arguments)
        return without(self, *arguments)

    monkeypatch.setattr(esmkit.heads.ablation._Batch, "without", few)


_whole: dict[str, bytes] = {}


def state(folder: Path) -> str:
    return json.loads((folder / "provenance.json").read_text())["ablation"]


@pytest.fixture
def whole(work: Any, tmp_path: Path) -> dict[str, bytes]:
    """What a run writes that is left alone; once for all tests."""
    if not _whole:
        work(tmp_path / "whole")
        _whole.update(contents(tmp_path / "whole"))
    return _whole


@pytest.fixture
def begun(work: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ablation was stopped after five measurements."""
    with monkeypatch.context() as patch:
        stop_in_ablation(patch, 5)
        with pytest.raises(Stop):
            work(tmp_path / "out")
    return tmp_path / "out"


def test_what_is_finished_is_there_before_the_ablation(begun, work, whole, monkeypatch):
    names = set(contents(begun))
    assert names == {n for n in whole if "ablation" not in n}
    later = {f"table.{kind}" for kind in ("csv", "md", "tex")}  # say what is lost without a head
    for name in names - later - {"summary.md", "summary.html", "provenance.json"}:
        assert contents(begun)[name] == whole[name], name
    said = (begun / "summary.md").read_text()
    assert said.splitlines()[2].startswith("> **Not finished:** the ablation")
    assert "the same run again goes on with the ablation and adds it" in said
    assert "Not finished" in (begun / "summary.html").read_text()
    assert state(begun) == "not done yet"
    with counted(monkeypatch) as measured:
        told = work(begun)
    assert len(measured) == (MEASURED["ablation"] - 5) * PER_HEAD + REFIT  # no chain again
    assert contents(begun) == whole
    assert "Not finished" not in (begun / "summary.md").read_text()
    assert state(begun) == "done"
    assert not (begun.parent / "out.work").exists()
    # ten chains, four of them for their disulfides as well, what repeats, and five heads
    count = 10 + 4 + REPEATED + REAL + 5
    wanted = f"going on with the {count} measurements of chains and heads"
    assert any(wanted in t for t in told), told


def test_a_run_without_ablation_gets_one_later(work, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    work(out, ablation=False)
    before = contents(out)
    assert state(out) == "left out"
    assert "Not finished" not in (out / "summary.md").read_text()
    assert not (tmp_path / "out.work").exists()
    with pytest.raises(OutputError, match="is not empty"):
        work(out, ablation=False)
    assert contents(out) == before
    with counted(monkeypatch) as measured:
        work(out)
    assert len(measured) == MEASURED["ablation"] * PER_HEAD + REFIT
    assert contents(out) == whole
    with pytest.raises(OutputError, match="is not empty"):
        work(out)
    assert contents(out) == whole


def test_a_run_begun_with_ablation_is_finished_without(begun, work, tmp_path, monkeypatch):
    with counted(monkeypatch) as measured:
        said = work(begun, ablation=False)
    assert not measured
    work(tmp_path / "without", ablation=False)
    assert contents(begun) == contents(tmp_path / "without")
    assert any("what was measured of the ablation stays in" in text for text in said)
    with counted(monkeypatch) as measured:  # and it is not lost if it is wanted after all
        work(begun)
    assert len(measured) == (MEASURED["ablation"] - 5) * PER_HEAD + REFIT
    assert state(begun) == "done"
    assert not (tmp_path / "out.work").exists()


@pytest.mark.parametrize(
    ("before", "now", "again", "bonds", "repeats"),
    [
        ({}, {"ablation": False}, 0, 0, 0),
        ({}, {"resamples": 120}, 0, 0, 0),
        ({"control": True}, {"kind": "svg"}, 0, 0, 0),
        ({}, {"control": True}, 20, 2, 2),  # two controls; not the chains
        ({"control": True}, {"control": True, "seed": 1}, 20, 3, 3),  # its controls have
    ],
)
def test_options_that_only_add_go_on_with_what_was_measured(
    work, tmp_path, monkeypatch, before, now, again, bonds, repeats
):
    """Stopped in the report, when all chains are measured."""
    with monkeypatch.context() as patch:
        patch.setattr("esmkit.heads.report.files._drawn", _stop)
        with pytest.raises(Stop):
            work(tmp_path / "out", **{"ablation": False, **before})
    assert not (tmp_path / "out").exists()
    now = {"ablation": False, **now}
    with counted(monkeypatch) as measured:
        work(tmp_path / "out", **now)
    of_chains = again * MEASURED["chains"] + bonds * DISULFIDES
    assert len(measured) == of_chains + repeats * REPEATED
    work(tmp_path / "whole", **now)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def _stop(*_: Any, **__: Any) -> None:
    raise Stop


def test_annotations_are_measured_and_nothing_is_taken_for_them(
    work, chains, tmp_path, monkeypatch
):
    """By what they say of each chain, not by the name of the file."""

    def sites(end: int) -> str:
        path = tmp_path / "sites.tsv"
        rows = [f"{chain.id}\t2\t{end}\tactive site\n" for chain in chains]
        path.write_text("id\tstart\tend\tfeature\n" + "".join(rows))
        return str(path)

    def cut_short(**options: Any) -> int:
        with counted(monkeypatch) as measured, monkeypatch.context() as patch:
            patch.setattr("esmkit.heads.report.files._drawn", _stop)
            with pytest.raises(Stop):
                work(tmp_path / "out", ablation=False, **options)
        return len(measured) // MEASURED["chains"]

    made = (10 * MEASURED["chains"] + DISULFIDES + REPEATED + REAL) // MEASURED["chains"]
    assert cut_short(annotations=sites(9)) == made
    assert cut_short(annotations=sites(9)) == 0
    assert cut_short() == 10
    assert cut_short(annotations=sites(12)) == 10
    assert cut_short(annotations=sites(9)) == 0  # those of the first run are still there
    work(tmp_path / "out", ablation=False, annotations=sites(12))
    work(tmp_path / "whole", ablation=False, annotations=sites(12))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_unfinished_folder_is_replaced_by_other_options(begun, work, tmp_path, monkeypatch):
    """It is no finished output; the figures of the former format do not stay."""
    with counted(monkeypatch) as measured:
        work(begun, kind="svg", resamples=130)
    assert len(measured) == (MEASURED["ablation"] - 5) * PER_HEAD + REFIT
    work(tmp_path / "whole", kind="svg", resamples=130)
    assert contents(begun) == contents(tmp_path / "whole")
    assert not list(begun.rglob("*.png"))


def test_other_chains_are_other_work(begun, work, chains):
    with pytest.raises(ResumeError, match="chains was 10 values, now 9"):
        work(begun, chains=chains[:9])
    assert state(begun) == "not done yet"
    work(begun)
    with pytest.raises(OutputError, match="is not empty"):
        work(begun, chains=chains[:9])


def test_restart_begins_anew(begun, work, whole, monkeypatch):
    with counted(monkeypatch) as measured:
        work(begun, restart=True)
    profiled = 10 * MEASURED["chains"] + DISULFIDES + REPEATED + REAL
    assert len(measured) == profiled + MEASURED["ablation"] * PER_HEAD + REFIT
    assert contents(begun) == whole


def test_somebody_elses_changes_are_not_overwritten(begun, work, whole, tmp_path):
    table = (begun / "heads.csv").read_bytes()
    (begun / "heads.csv").write_bytes(table.replace(b"mixed", b"MIXED", 1) + b"\n")
    with pytest.raises(OutputError, match=r"heads.csv' is not as it was written.*force=True"):
        work(begun)
    (begun / "heads.csv").write_bytes(table)
    (begun / "summary.md").write_text("my notes")
    with pytest.raises(OutputError, match=r"summary.md' is not as it was written"):
        work(begun)
    assert (begun / "summary.md").read_text() == "my notes"
    work(begun, force=True)
    assert contents(begun) == whole
    work(tmp_path / "plain", ablation=False)
    (tmp_path / "plain" / "summary.md").write_text("my notes")
    with pytest.raises(OutputError, match=r"summary.md' is not as it was written"):
        work(tmp_path / "plain")
    assert not (tmp_path / "plain.work").exists()  # refused before anything is measured


@pytest.mark.parametrize("at", [1, 4, 8])
def test_stopped_while_the_ablation_is_added(begun, work, whole, tmp_path, monkeypatch, at):
    """After any of the files: table, figure, three of a paper's table, two pages, provenance."""
    move, moved = made_module.move_into_place, []

    def few(source: Path, target: Path) -> None:
        move(source, target)
        moved.append(target.name)
        if len(moved) == at:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(made_module, "move_into_place", few)
        with pytest.raises(Stop):
            work(begun)
    assert (moved[-1] == "provenance.json") == (at == 8)
    with counted(monkeypatch) as measured:
        said = work(begun)
    assert not measured
    assert contents(begun) == whole
    assert not (tmp_path / "out.work").exists()
    assert any("was complete" in text for text in said) == (at == 8)


def test_stopped_while_the_work_is_deleted(begun, work, whole, tmp_path, monkeypatch):
    """At any file: the run before is known as complete until the last of them is gone."""
    with monkeypatch.context() as patch:
        patch.setattr("esmkit.files.disk.delete", lambda path: _stop() if _last(path) else None)
        with pytest.raises(Stop):
            work(begun)
    for path in (tmp_path / "out.work").glob("*.safetensors"):
        path.unlink()
    assert contents(begun) == whole
    assert any("was complete" in text for text in work(begun))
    assert not (tmp_path / "out.work").exists()


def _last(path: Path) -> bool:
    return path.name == "added.way"


def test_what_is_to_be_done_with_it_is_done_once_it_is_complete(begun, work, whole, tmp_path):
    done: list[dict[str, bytes]] = []
    with pytest.raises(Stop):
        work(begun, then=_stop)
    assert contents(begun) == whole
    work(begun, then=lambda: done.append(contents(begun)))
    assert done == [whole]
    assert not (tmp_path / "out.work").exists()


def test_a_profile_reads_back_to_the_last_bit(work, tiny, chains, tmp_path):
    from dataclasses import fields, replace

    from esmkit.heads.disulfides import within_chains
    from esmkit.heads.profiling import profile
    from esmkit.heads.real_repeats import across_proteins, real_repeat_scores
    from esmkit.heads.repeats import repeat_scores
    from esmkit.heads.result import HeadProfile

    work(tmp_path / "out", ablation=False, control=True)
    made = repeat_scores(tiny, sequences=REPEATED, resamples=100)
    real = across_proteins(real_repeat_scores(tiny, _few_proteins()), resamples=100)
    repeats: Any = made.merge(real, on=["name", "layer", "head"])
    found = read_profile(tmp_path / "out")
    expected = profile(tiny, chains, resamples=100, repeats=repeats)
    expected = replace(expected, disulfides=within_chains(tiny, chains))
    for name in ("effects", "heads"):
        pandas.testing.assert_frame_equal(
            getattr(found, name), getattr(expected, name), check_exact=True
        )
    assert found.left_out == expected.left_out
    for name in ("chains", "properties", "rules", "checkpoint", "seed"):
        assert found.provenance[name] == expected.provenance[name]
    # what else a profile may come to hold has to be written and read as well
    known = ["effects", "heads", "provenance", "left_out", "replication", "disulfides", "repeats"]
    assert [f.name for f in fields(HeadProfile)] == known
    for name in known[-3:]:
        left, right = getattr(found, name), getattr(expected, name)
        if right is None:
            assert left is None
        else:
            pandas.testing.assert_frame_equal(left, right, check_exact=True)


def test_keys_name_what_a_measurement_rests_on(chains):
    from esmkit.heads.properties import standard_properties

    properties = standard_properties()
    key = profile_keys(chains, properties, seed=0)
    others = {
        "stage": key(1, 0),
        "place": key(0, 1),
        "properties": profile_keys(chains, properties[:-1], seed=0)(0, 0),
        "order": profile_keys(chains, properties[::-1], seed=0)(0, 0),
    }
    assert len({key(0, 0), *others.values()}) == 5
    assert profile_keys(chains[:1], properties, seed=7)(0, 0) == key(0, 0)
    assert profile_keys(chains, properties, seed=7)(1, 0) != key(1, 0)
    of_heads = {
        ablation_keys(chains, some, seed=seed)(1000, place)
        for some, seed, place in (
            (chains[:2], 0, 0),
            (chains[:3], 0, 0),
            (chains[:2], 1, 0),
            (chains[:2], 0, 1),
        )
    }
    assert len(of_heads) == 4


def test_the_bar_names_its_passes(work, tmp_path, monkeypatch):
    names: list[str] = []

    class Bar:
        def __init__(self, **options: Any) -> None:
            self.total, self.n = options["total"], 0
            names.append(options["desc"])

        def set_description(self, name: str) -> None:
            names.append(name)

        def update(self) -> None:
            self.n += 1

        def close(self) -> None:
            assert self.n == self.total or "circuits" in names[-1]  # those of this test are made up

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: self.close()  # noqa: E731

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr("esmkit.heads.untrained.CONTROL_HEADS", 16)
    work(tmp_path / "out", control=True)
    said = list(dict.fromkeys(names))
    assert said == [
        "heads: repeats",
        "heads: chains",
        "heads: control, random weights 1/2",
        "heads: control, random weights 2/2",
        "heads: control, permuted weights 1/2",
        "heads: control, permuted weights 2/2",
        "heads: disulfides",
        "heads: circuits, against random heads",
        "heads: figures",
        "heads: ablation",
        "heads: refit",
    ]
    assert passes.bar(3, "x", "y", Run(progress=False)).total == 3


def test_a_page_of_all_heads_is_made_with_the_folder(work, tmp_path, monkeypatch):
    """Twice: with the profile, and when the ablation is there; a stopped run leaves the same."""

    def page(profile: Any, model: Any, structures: Any, circuits: Any, ablation: Any) -> str:
        assert model.layers == 2
        assert len(structures) == 10
        rows = 0 if ablation is None else len(ablation)
        return f"{profile.heads['distance'].sum()!r} {circuits['copying'][0]} {rows}"

    work(tmp_path / "left alone", atlas=page)
    left_alone = contents(tmp_path / "left alone")
    assert left_alone["atlas.html"].endswith(b" 0.5 16")
    with monkeypatch.context() as patch:
        stop_in_ablation(patch, 5)
        with pytest.raises(Stop):
            work(tmp_path / "out", atlas=page)
    begun = contents(tmp_path / "out")
    assert begun["atlas.html"].endswith(b" 0.5 0")
    assert begun["atlas.html"].split()[0] == left_alone["atlas.html"].split()[0]
    for name in ("summary.md", "summary.html"):
        assert b"atlas.html" in begun[name]
        assert b"atlas.html" in left_alone[name]
    assert "atlas.html" in json.loads(begun["provenance.json"])["files"]
    work(tmp_path / "out", atlas=page)
    assert contents(tmp_path / "out") == left_alone
    # one that somebody has changed is not written over
    work(tmp_path / "other", ablation=False, atlas=page)
    (tmp_path / "other" / "atlas.html").write_text("notes")
    with pytest.raises(OutputError, match=r"atlas\.html.*is not as it was written"):
        work(tmp_path / "other", atlas=page)
    assert (tmp_path / "other" / "atlas.html").read_text() == "notes"


def test_a_record_leads_nowhere_else(tmp_path: Path):
    facts = {"identity": {}, "ablation": "not done yet", "files": {"../mine.txt": "00"}}
    (tmp_path / "provenance.json").write_text(json.dumps(facts))
    assert made_module.read_made(tmp_path) is None
    facts["files"] = {"summary.md": "00"}
    (tmp_path / "provenance.json").write_text(json.dumps(facts))
    assert made_module.read_made(tmp_path) is not None


def as_before(folder: Path) -> None:
    """Make a folder what a version that knew no repeats would have made of it."""
    facts = json.loads((folder / "provenance.json").read_text())
    found, tables = read_profile(folder), ("ablation", "circuits")
    paths = {name: folder / f"{name}.csv" for name in tables}
    kept: Any = {name: read_table(path) for name, path in paths.items() if path.exists()}
    effects = [c for c in found.effects.columns if not c.startswith("unrepeated_")]
    later = ("repeated", "lm_head")
    provenance = {name: value for name, value in found.provenance.items() if name not in later}
    rules = provenance["rules"]
    provenance["rules"] = {name: rule for name, rule in rules.items() if name != "repeat"}
    heads = found.heads.drop(columns=list(OF_REPEATS)).assign(label="mixed", evidence="of before")
    shutil.rmtree(folder)
    old = replace(
        found, effects=found.effects[effects], heads=heads, provenance=provenance, repeats=None
    )
    write_report(old, folder, **kept)
    made_module.record(folder, facts["identity"], facts["ablation"], {})


@pytest.mark.parametrize("ablation", [False, True])
def test_a_folder_of_before_gets_repeats_and_nothing_else_changes(
    work: Any, tmp_path: Path, ablation: bool, monkeypatch: pytest.MonkeyPatch
):
    def page(profile: Any, model: Any, structures: Any, circuits: Any, ablation: Any) -> str:
        """Of all that a page of all heads is made from."""
        assert (model.layers, len(structures)) == (2, 10)
        rows = 0 if ablation is None else len(ablation)
        copied = sum(profile.heads["repeat_score"])
        return f"{copied!r} {len(profile.repeats)} {circuits['copying'][0]} {rows}"

    asked: Any = {"ablation": ablation, "control": True, "atlas": page}
    work(tmp_path / "heads", **asked)
    wanted = contents(tmp_path / "heads")
    assert "figures/repeats.png" in wanted
    assert wanted["atlas.html"].endswith(f" 8 0.5 {16 * ablation}".encode())
    as_before(tmp_path / "heads")
    assert contents(tmp_path / "heads").keys() == wanted.keys() - {
        "repeats.csv",
        "figures/repeats.png",
        "atlas.html",
    }
    (tmp_path / "heads/mine.txt").write_text("of mine")
    if not ablation:  # stopped on the way, it goes on
        with monkeypatch.context() as patch:
            patch.setattr("esmkit.heads.report.summary.write_report", _halt)
            with pytest.raises(Stop):
                work(tmp_path / "heads", **asked)
        with counted(monkeypatch) as numbers:
            work(tmp_path / "heads", **asked)
        assert not numbers
    else:
        said = work(tmp_path / "heads", **asked)
        assert any("holds a profile without repeats" in line for line in said)
    there = contents(tmp_path / "heads")
    assert there.pop("mine.txt") == b"of mine"
    assert there == wanted
    assert not (tmp_path / "heads.work").exists()


def _halt(*_: Any, **__: Any) -> None:
    raise Stop
