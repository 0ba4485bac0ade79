"""Files that appear together: whole, or not at all, whatever ends the run."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from esmkit.errors import InputError, ResumeError
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


def write(folder: Path, text: str, *, elsewhere: Path | None = None) -> None:
    files = [folder / "a.csv", folder / "b.txt"]
    files = [files[0], elsewhere / "c.txt", files[1]] if elsewhere else files
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


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another disk."""
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("there is no second disk here")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("moves", [2, 3])
def test_outputs_on_two_disks(tmp_path: Path, elsewhere: Path, monkeypatch, moves: int):
    """What goes to another disk is a copy, with an inode and a time of its own."""
    if tmp_path.stat().st_dev == elsewhere.stat().st_dev:
        pytest.skip("there is no second disk here")
    child = os.fork()
    if not child:
        move, moved = together.move_into_place, []

        def moving(source: Path, target: Path) -> None:
            if len(moved) == moves:
                os._exit(9)
            moved.append(target)
            move(source, target)

        monkeypatch.setattr(together, "move_into_place", moving)
        monkeypatch.setattr(together, "delete_folder", lambda *_, **__: os._exit(9))
        write(tmp_path, "of the killed", elsewhere=elsewhere)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert names(elsewhere) == ["c.txt"]
    Together.take_back(tmp_path / "a.csv")
    whole = moves == 3
    assert names(tmp_path) == ["a.csv", "b.txt"] * whole
    assert names(elsewhere) == ["c.txt"] * whole


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError("the last is bad")])
def test_what_is_of_use_alone_stays_and_may_be_replaced(tmp_path: Path, error):
    place = tmp_path / "pages"
    place.mkdir()
    files = [place / "a.html", place / "b.html"]

    def write_until(stop: object, text: str) -> None:
        with Together(place, files) as there:
            for path in files:
                there.staged(path).write_text(text)
                if path.name == stop:
                    raise error
                there.put(path)

    for text in ("first", "second"):  # stopped twice, the second time before anything is replaced
        with pytest.raises((KeyboardInterrupt, InputError)):
            write_until("b.html" if text == "first" else "a.html", text)
        assert files[0].read_text() == "first"
        assert Together.left(place) == [files[0]]
        assert names(tmp_path) == [
            "pages.files.work/lock",
            "pages.files.work/put.json",
            "pages/a.html",
        ]
    write_until(None, "third")
    assert {path.read_text() for path in files} == {"third"}
    assert names(tmp_path) == ["pages/a.html", "pages/b.html"]
    assert Together.left(place) == []


def test_what_somebody_changed_is_not_of_the_stopped_run(tmp_path: Path):
    files = [tmp_path / "a.html", tmp_path / "b.html"]

    def stopped() -> None:
        with Together(tmp_path / "pages", files) as there:
            there.staged(files[0]).write_text("a page")
            there.put(files[0])
            raise _Stop

    with pytest.raises(_Stop):
        stopped()
    assert Together.left(tmp_path / "pages") == files[:1]
    with pytest.raises(ResumeError), Together(tmp_path / "pages", files):
        Together.left(tmp_path / "pages")
    files[0].write_text("notes of somebody")
    assert Together.left(tmp_path / "pages") == []
    (tmp_path / "pages.files.work" / "put.json").write_text("[")
    assert Together.left(tmp_path / "pages") == []


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
    command: str, run, tiny_folder, tmp_path, monkeypatch, second_move
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
    if command.startswith("explore"):  # a page is of use without the others
        kept = ["pages.files.work/lock", "pages.files.work/put.json", "pages/one.html"]
        assert names(tmp_path) == sorted([*before, *kept])
        (tmp_path / "pages" / "notes.txt").write_text("of somebody")
        assert "force" in fails(run(*command.split(), "-m", tiny_folder, cwd=tmp_path))
        (tmp_path / "pages" / "notes.txt").unlink()
    else:
        assert names(tmp_path) == before
    monkeypatch.undo()
    done = run(*command.split(), "-m", tiny_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(names(tmp_path)) == len(before) + 2
    assert "force" in fails(run(*command.split(), "-m", tiny_folder, cwd=tmp_path))
