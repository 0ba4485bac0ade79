"""Files that appear together: whole, or not at all, whatever ends the run."""

import os
from pathlib import Path

import pytest

from esmkit.errors import ResumeError
from esmkit.files import together
from esmkit.files.together import Together
from oracles.commands import fails, write_fasta


class _Stop(BaseException):
    """Stands for a signal."""


@pytest.fixture
def second_move(monkeypatch: pytest.MonkeyPatch):
    """Let something happen in place of the second of two moves."""

    def then(action) -> None:
        move, moved = together.move_into_place, []

        def moving(source: Path, target: Path) -> None:
            moved.append(target)
            if len(moved) == 2:
                action()
            move(source, target)

        monkeypatch.setattr(together, "move_into_place", moving)

    return then


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def write(folder: Path, text: str) -> None:
    files = [folder / "a.csv", folder / "b.txt"]
    with Together(files[0], files) as there:
        for path in files:
            there.staged(path).write_text(text)
        there.finish()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_what_a_killed_run_moved_is_taken_back(tmp_path: Path, second_move):
    child = os.fork()
    if not child:
        second_move(lambda: os._exit(9))
        write(tmp_path, "of the killed")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (tmp_path / "a.csv").read_text() == "of the killed"
    Together.take_back(tmp_path / "a.csv")
    assert names(tmp_path) == []
    write(tmp_path, "anew")
    assert names(tmp_path) == ["a.csv", "b.txt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_what_somebody_changed_stays(tmp_path: Path, second_move):
    child = os.fork()
    if not child:
        second_move(lambda: os._exit(9))
        write(tmp_path, "of the killed")
    os.waitpid(child, 0)
    (tmp_path / "a.csv").write_text("notes of somebody")
    Together.take_back(tmp_path / "a.csv")
    assert names(tmp_path) == ["a.csv"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_an_output_that_was_whole_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    child = os.fork()
    if not child:
        monkeypatch.setattr(together, "delete_folder", lambda *_, **__: os._exit(9))
        write(tmp_path, "whole")
    os.waitpid(child, 0)
    assert (tmp_path / "a.csv.files.work" / "moving.json").exists()
    Together.take_back(tmp_path / "a.csv")
    assert names(tmp_path) == ["a.csv", "b.txt"]


def test_a_signal_between_two_moves_leaves_nothing(tmp_path: Path, second_move):
    def stop() -> None:
        raise _Stop

    second_move(stop)
    with pytest.raises(_Stop):
        write(tmp_path, "cut short")
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time(tmp_path: Path):
    files = [tmp_path / "a.csv", tmp_path / "b.txt"]
    with Together(files[0], files):
        with pytest.raises(ResumeError, match=r"another process is writing .*a\.csv"):
            Together(files[0], files)
        with pytest.raises(ResumeError, match="another process is writing"):
            Together.take_back(files[0])


def test_a_single_file_is_written_where_it_belongs(tmp_path: Path):
    with Together(tmp_path / "a.csv", [tmp_path / "a.csv"]) as there:
        assert there.staged(tmp_path / "a.csv") == tmp_path / "a.csv"
        there.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "contacts evaluate --structures chains -o out.csv --calibration share.csv",
        "explore two.fasta -o pages",
    ],
)
def test_commands_with_several_outputs_can_be_given_again(
    command, run, tiny_folder, tmp_path, monkeypatch, second_move
):
    """Stopped between two outputs: the same command used to say that the first exists."""
    import shutil

    from esmkit.data import ts50

    (tmp_path / "chains").mkdir()
    for chain in sorted(ts50(), key=len)[:2]:
        shutil.copy(chain.path, tmp_path / "chains")
    write_fasta(tmp_path / "two.fasta", {"one": "MKTAYIAKQR", "two": "MKVLAAGW"})
    before = names(tmp_path)

    def stop() -> None:
        raise SystemExit(143)

    with monkeypatch.context():
        second_move(stop)
        assert run(*command.split(), "-m", tiny_folder, cwd=tmp_path).returncode == 143
    assert names(tmp_path) == before
    monkeypatch.undo()
    done = run(*command.split(), "-m", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(names(tmp_path)) == len(before) + 2
    assert "force" in fails(run(*command.split(), "-m", tiny_folder, cwd=tmp_path))
