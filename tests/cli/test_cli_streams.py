"""Commands whose standard streams are closed, full or in another encoding, and odd environments."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from esmkit.cli import _show_all_warnings
from esmkit.cli.environment import not_loaded

SCRIPT = "import sys; from esmkit.cli import main; sys.argv = ['esmkit', *sys.argv[1:]]; main()"


@pytest.fixture
def shell(tmp_path: Path, tiny_folder: Path):
    """Run lines of a shell in which ``$E`` is esmkit and ``$M`` a model."""
    (tmp_path / "a.fasta").write_text(">P1\nMKTV\n>蛋白质\nMKTVR\n", encoding="utf-8")

    def run(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        known = {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "M": str(tiny_folder),
            "PYTHON": sys.executable,
            "SCRIPT": SCRIPT,
        }
        line = line.replace("$E", '"$PYTHON" -c "$SCRIPT"')
        return subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, **known, **environment},
            capture_output=True,
            check=False,
            timeout=120,
        )

    return run


CLOSED = "esmkit: error: standard output is closed"


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("$E embed a.fasta -m $M -o - -q --format csv >&-", 1, CLOSED),
        ("$E weights list >&-", 1, CLOSED),
        ("$E --help >/dev/full", 1, "esmkit: error: cannot write to standard output (No space"),
        ("$E attention -m $M <&-", 2, "name a FASTA file, or - for standard input"),
        ("$E explore -m $M - <&-", 1, "esmkit: error: standard input is closed"),
    ],
)
def test_streams_that_do_not_work_are_said_in_one_sentence(shell, line: str, code: int, said: str):
    done = shell(line)
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert said in text
    assert "Traceback" not in text
    assert text.lower().count("error") == 1


def test_with_all_streams_closed_a_file_is_written_whole(shell, tmp_path: Path):
    """Numbers 0 to 2 are not given to the files of the run, into which a library might then write."""
    line = "$E embed a.fasta -m $M -o {}.csv {}"
    assert shell(line.format("open", "")).returncode == 0
    assert shell(line.format("closed", "<&- >&- 2>&-")).returncode == 0
    assert (tmp_path / "closed.csv").read_bytes() == (tmp_path / "open.csv").read_bytes()


def test_a_full_standard_error_stops_no_computation(shell, tmp_path: Path):
    for unbuffered in ("", "1"):
        line = f"$E embed a.fasta -m $M -o full{unbuffered}.csv 2>/dev/full"
        assert shell(line, PYTHONUNBUFFERED=unbuffered).returncode == 0
        assert (tmp_path / f"full{unbuffered}.csv").read_text().count("\n") == 3


def test_a_library_that_an_environment_keeps_from_loading_is_named(shell):
    for name, library in ("TORCH_LOGS", "torch"), ("TQDM_MININTERVAL", "tqdm"):
        done = shell("$E embed a.fasta -m $M -o - --format csv", **{name: "wrong"})
        assert done.returncode == 1
        last = done.stderr.decode().splitlines()[-1]
        assert last.startswith(f"esmkit: error: {library} does not load")
        assert last.endswith(f"mend or unset {name}")
        assert "Traceback" not in done.stderr.decode()


def test_other_errors_are_not_taken_for_those_of_loading():
    with pytest.raises(ValueError, match="wrong") as caught:
        int("wrong")
    assert not_loaded(caught.value) is None


def test_warnings_are_not_errors_of_a_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error")
        _show_all_warnings()
        warnings.warn("shown", UserWarning, stacklevel=1)
        warnings.warn("not for users", DeprecationWarning, stacklevel=1)
    assert [str(one.message) for one in shown] == ["shown"]


def test_a_poor_environment_harms_nothing(shell, tmp_path: Path):
    """Tables are UTF-8 in a pipe as they are in a file, whatever the locale."""
    poor = {
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "HOME": "/nowhere",
        "TMPDIR": "/nowhere",
        "COLUMNS": "none",
        "OMP_NUM_THREADS": "none",
        "XDG_CACHE_HOME": "/dev/null/cache",
        "ESMKIT_CACHE": "",
        "MPLBACKEND": "none",
        "MPLCONFIGDIR": "/dev/null",
    }
    rich = shell("$E embed a.fasta -m $M -o - -q --no-compile")
    done = shell("$E embed a.fasta -m $M -o - -q --no-compile", **poor)
    assert done.returncode == 0, done.stderr
    assert done.stdout == rich.stdout
    assert "蛋白质," in done.stdout.decode()
    assert b"Traceback" not in done.stderr
