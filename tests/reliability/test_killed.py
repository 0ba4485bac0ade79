"""Killed anywhere, interrupted anywhere: the same command again gives the same bytes.

The long form, of all commands that write (its figures are in benchmarks/RELIABILITY.md):
``python tests/reliability/kills.py --trials 1000``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esmkit import plots
from esmkit.attention import to_figures as figures
from esmkit.attention.options import AttentionOptions
from esmkit.attention.to_figures import attention_figures
from esmkit.attention.to_file import attention_file
from esmkit.data import ts50
from esmkit.encoder.checkpoints import cached
from esmkit.esm2 import Esm2
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.work_folder import WorkFolder
from esmkit.heads.profiling import profile
from esmkit.heads.to_folder import profile_to_folder
from esmkit.plots.figure import HouseFigure, save
from oracles.checkpoints import random_sequence
from oracles.commands import fails, write_fasta
from oracles.head_profiles import REAL_REPEATS, REPEATED, small_profile

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")

TRIALS = int(os.environ.get("ESMKIT_TRIALS", "5"))
"""Of each of some commands; the fourth is killed twice, the fifth gets a signal."""

KILLS = Path(__file__).with_name("kills.py")


def trials(*options: object) -> dict[str, Any]:
    pytest.importorskip("pyhmmer", reason="the proteome is in its wheel")
    done = subprocess.run(
        [sys.executable, KILLS, *map(str, options)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_stopped_at_random_moments(tiny_lm_folder: Path):
    """Killed at a moment, at a step of the file system, while it writes, in a file; or by a signal."""
    only = ("embed h5", "attention h5", "weights fetch")
    options = ("--model", tiny_lm_folder, "--proteins", 8, "--chains", 1, "--patience", 20)
    found = trials("--each", TRIALS, *options, "--only", *only)
    assert found.keys() == set(only)
    for came_to in found.values():
        assert came_to["trials"] == TRIALS
        assert came_to["failures"] == []
        assert came_to["lost"] == 0
        assert came_to["kills"] > 0
    # The moment of a signal may be too late for one of them
    assert sum(came_to["signals"] for came_to in found.values()) > 0 or TRIALS < 5


class _Stop(BaseException):
    """Stands for a kill in tests that stay in one process."""


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "seqs.fasta", {f"p{n}": random_sequence(n, n) for n in (9, 12)})


def test_drawing_goes_on_after_a_stop(run, tiny_folder, fasta, tmp_path, monkeypatch):
    """The maps were whole; the same command used to say that they exist already."""
    command = ("attention", "seqs.fasta", "--heads", "L0H1", "--plot", "--model", tiny_folder)
    draw, drawn = plots.attention_arcs, []

    def stopped(maps: Any, head: str, **options: Any) -> Any:
        if len(drawn) == 1:
            raise SystemExit(130)
        drawn.append(head)
        return draw(maps, head, **options)

    with monkeypatch.context() as patch:
        patch.setattr(figures.plots, "attention_arcs", stopped)
        assert run(*command, cwd=tmp_path).returncode == 130
    folder = tmp_path / "seqs.attention"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(before) == 3
    (folder / ".p12.L0H1.arcs.png.4711.part").write_bytes(b"half a figure")
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "was complete: the run before was stopped just after writing it" in done.stderr
    assert "drew 4 figure(s)" in done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(after) == 4
    assert before.items() <= after.items()  # what was drawn is not drawn again
    assert not (tmp_path / "seqs.attention.h5.work").exists()
    assert "is not empty" in fails(run(*command, cwd=tmp_path))


def test_half_figures_of_a_killed_run_go(tiny: Esm2, fasta: Path, tmp_path: Path):
    attention_file(tiny, fasta, tmp_path / "o.h5", AttentionOptions(heads=("L0H0",)))
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / ".p9.heads.png.4711.part").write_bytes(b"half a figure")
    list(attention_figures(tmp_path / "o.h5", folder))  # the folder counts as empty
    assert not list(folder.glob(".*"))
    assert len(list(folder.iterdir())) == 4


@pytest.mark.skipif(os.name != "posix", reason="Windows does not say which processes there are")
def test_half_a_figure_of_a_dead_process_goes_with_the_next(tmp_path: Path):
    """Not one that a living process is drawing, and no other figure's."""
    dead, living, other = (
        tmp_path / f".{name}.{process}.part"
        for name, process in (("a.png", 99_999_999), ("a.png", os.getppid()), ("b.png", 99_999_999))
    )
    for path in (dead, living, other):
        path.write_bytes(b"half a figure")
    save(HouseFigure(figsize=(1, 1)), tmp_path / "a.png")
    assert sorted(tmp_path.iterdir()) == sorted([living, other, tmp_path / "a.png"])


def test_what_killed_downloads_left_goes_with_the_next(tmp_path: Path, monkeypatch):
    """Half-made links and names of commits had random names, and stayed."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    storage = tmp_path / "models--somebody--esm2"
    blob, path = storage / "blobs" / "1f", storage / "snapshots" / "c0" / "config.json"
    blob.parent.mkdir(parents=True)
    blob.write_text("{}")

    def stopped(*_: Any) -> None:
        raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)
        for _ in range(2):
            with pytest.raises(_Stop):
                cached.link(blob, path)
            with pytest.raises(_Stop):
                cached.keep_name("somebody/esm2", "main", "c0")
    cached.link(blob, path)
    cached.keep_name("somebody/esm2", "main", "c0")
    files = sorted(str(p.relative_to(storage)) for p in storage.rglob("*") if not p.is_dir())
    assert files == ["blobs/1f", "refs/main", "snapshots/c0/config.json"]
    assert path.read_text() == "{}"


def test_scores_and_figures_of_contacts_go_on(run, tiny_folder, tmp_path, monkeypatch):
    structure = ts50()[0].path
    command = ("contacts", "--structure", structure, "--plot", "-o", "c.tsv", "-m", tiny_folder)
    with monkeypatch.context() as patch:
        patch.setattr("esmkit.plots.contact_map", lambda *_, **__: sys.exit(143))
        assert run(*command, cwd=tmp_path).returncode == 143
    assert (tmp_path / "c.tsv").exists()
    done = run(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "drew 2 figure(s)" in done.stderr
    assert not (tmp_path / "c.tsv.work").exists()


@pytest.fixture
def chains():
    return sorted(ts50(), key=len)[:10]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esmkit.files.pending.SHARD_SECONDS", (0.0, 0.0))
    small_profile(monkeypatch)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_profile_goes_on_to_the_last_bit(tiny: Esm2, chains, quick, tmp_path, monkeypatch):
    """Stopped after 7 chains, in the control, in the report, and without a few heads."""
    moments = iter([7, 6, None, 9])
    write, written, moment = WorkFolder.write, 0, 0

    def counted(self: WorkFolder, arrays: Any) -> None:
        nonlocal written
        if moment is not None and written >= moment:
            raise _Stop
        written += 1
        write(self, arrays)

    def work(folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
        profile_to_folder(lambda: tiny, lambda: chains, folder, resamples=100, run=Run(say=say))

    work(tmp_path / "whole")
    for moment in moments:
        written = 0
        with monkeypatch.context() as patch:
            patch.setattr(WorkFolder, "write", counted)
            if moment is None:
                patch.setattr("esmkit.heads.report.files._drawn", _stop)
            with pytest.raises(_Stop):
                work(tmp_path / "cut")
        assert (tmp_path / "cut").exists() == (moment == 9)  # all but the ablation was finished
    said: list[str] = []
    work(tmp_path / "cut", said.append)
    # chains in the model and in two controls, four of them for their disulfides too; repeated
    # segments in all three, real repeats; without a head
    held = 3 * (10 + 4 + REPEATED) + REAL_REPEATS + 9
    assert f"the {held} measurements of chains and heads in {tmp_path / 'cut.work'}" in " ".join(
        said
    )
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert not (tmp_path / "cut.work").exists()


@pytest.mark.parametrize("then", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_profile_says_how_attention_was_computed(
    tiny: Esm2, chains, quick, tmp_path, monkeypatch, before: bool, then: bool
):
    """Not only by the process that finished it: that of the chains before may have had a compiler."""

    def work(compiled: bool) -> None:
        monkeypatch.setattr(Esm2, "compiled", property(lambda self: compiled))
        made = {"control": False, "ablation": False, "resamples": 100}
        profile_to_folder(lambda: tiny, lambda: chains, tmp_path / "out", **made)

    with monkeypatch.context() as patch:
        patch.setattr("esmkit.heads.report.files._drawn", _stop)
        add, added = Pending.add, []

        def some(self: Pending, *arguments: Any) -> None:
            if len(added) == 20:
                raise _Stop
            added.append(arguments)
            add(self, *arguments)

        patch.setattr(Pending, "add", some)
        with pytest.raises(_Stop):
            work(before)
    work(then)
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert facts["compiled"] == (before if before == then else "in part")


def test_a_profile_that_was_measured_keeps_how(tiny, chains, quick, tmp_path, monkeypatch):
    """All was measured before: what the last process would have used says nothing."""

    def work(compiled: bool) -> None:
        monkeypatch.setattr(Esm2, "compiled", property(lambda self: compiled))
        made = {"control": False, "ablation": False, "resamples": 100}
        profile_to_folder(lambda: tiny, lambda: chains, tmp_path / "out", **made)

    with monkeypatch.context() as patch:
        patch.setattr("esmkit.heads.report.files._drawn", _stop)
        with pytest.raises(_Stop):
            work(True)
    work(False)
    facts = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert facts["compiled"] is True


def test_what_is_to_be_done_with_a_profile_is_done(tiny, chains, quick, tmp_path):
    """Also by the next run, if it was cut short."""
    done: list[list[str]] = []

    def work(then: Callable[[], None]) -> None:
        made = {"control": False, "ablation": False, "resamples": 100}
        profile_to_folder(
            lambda: tiny, lambda: chains, tmp_path / "out", **made, run=Run(then=then)
        )

    with pytest.raises(_Stop):
        work(_stop)
    before = contents(tmp_path / "out")
    work(lambda: done.append(sorted(contents(tmp_path / "out"))))
    assert done == [sorted(before)]
    assert contents(tmp_path / "out") == before
    assert not (tmp_path / "out.work").exists()


def _stop(*_: Any, **__: Any) -> None:
    raise _Stop


def test_kept_scores_are_those_of_the_library(tiny: Esm2, chains, quick, tmp_path):
    """What goes through shards is what stays in memory."""
    import pandas

    profile_to_folder(
        *(lambda: tiny, lambda: chains, tmp_path / "out"), resamples=100, ablation=False
    )
    expected = profile(tiny, chains, resamples=100).effects
    found = pandas.read_parquet(tmp_path / "out" / "effects.parquet")
    pandas.testing.assert_frame_equal(found, expected, check_exact=True)


def test_files_that_were_being_moved_are_taken_back(tiny, chains, quick, tmp_path, monkeypatch):
    """Into a folder that cannot be replaced, such as a mounted one, files go one by one."""

    def work() -> None:
        profile_to_folder(
            *(lambda: tiny, lambda: chains, tmp_path / "out"),
            resamples=100,
            ablation=False,
            control=False,
        )

    replace, moved = Path.replace, []

    def slow(self: Path, target: Path) -> Path:
        if (tmp_path / "out") in Path(target).parents:
            if len(moved) == 5:
                raise _Stop
            moved.append(target)
        return replace(self, target)

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(16, "Device or resource busy")

    (tmp_path / "out").mkdir()
    for _ in range(2):
        moved.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", slow)
            patch.setattr(Path, "rename", refuse)
            with pytest.raises(_Stop):
                work()
        assert len(list((tmp_path / "out").rglob("*.*"))) == 5
    work()
    assert "summary.md" in contents(tmp_path / "out")
    assert not (tmp_path / "out.work").exists()


def test_what_differs_in_long_lists_is_shown(tmp_path: Path):
    names = [f"L{layer}H{head}" for layer in range(6) for head in range(20)]
    WorkFolder(tmp_path / "o.h5", {"heads": names, "note": "x" * 80 + "a"}).close()
    for now, message in (
        ({"heads": names[:-1]}, r'heads was 120 values, now 119: \["L5H19"\] only then\)'),
        (
            {"heads": [*names[1:], "L6H0"]},
            r'heads was 120 values, now 120: \["L0H0"\] only then, \["L6H0"\] only now\)',
        ),
        ({"heads": names[::-1]}, r"heads was 120 values, now 120: in another order\)"),
        ({"note": "x" * 80 + "b"}, r'note was …x+a", now …x+b"\)'),
    ):
        fingerprint = {"heads": names, "note": "x" * 80 + "a", **now}
        with pytest.raises(OSError, match=message):
            WorkFolder(tmp_path / "o.h5", fingerprint)


def test_numbers_of_results_in_shards_do_not_meet():
    from esmkit.heads.resume import ABLATION, REFIT, _numbers

    stages = (0, 1, 10, ABLATION, REFIT)
    keys = [f"chain {stage} {place}" for stage in stages for place in range(50)]
    seen = np.concatenate([_numbers(key, 12) for key in keys])
    assert seen.min() >= 0  # as eight bytes with a sign
    assert len(np.unique(seen)) == len(seen)
