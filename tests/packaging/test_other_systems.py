"""Windows and macOS, which these tests have not run on: what differs there is simulated.

``oracles/like_windows.py`` runs commands without what Windows lacks, and is refused what it refuses;
the rest is looked for in the source, or changed in this process.
"""

import ast
import errno
import io
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import esmkit
from esmkit.encoder import compiled, forks
from esmkit.encoder.devices import choose_device
from esmkit.errors import OptionError, OutputError, ResumeError
from esmkit.files.disk import delete_folder
from esmkit.files.locks import take_lock
from esmkit.inside import memory
from oracles.checkpoints import random_sequence
from oracles.commands import fails

PACKAGE = Path(esmkit.__file__).parent
TREES = {
    p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text("utf-8"))
    for p in PACKAGE.rglob("*.py")
}

# --------------------------------------------------------------------------- commands on Windows

NAMES = ["1abc_A", "1abc_a", "CON", "nul.txt", "a:b|c", "dot.", "x" * 300]
HARNESS = Path(__file__).parents[1] / "oracles" / "like_windows.py"
COMMANDS = [
    "embed x.fasta",
    "embed x.fasta",
    "embed x.fasta --force -o x.parquet",
    "attention x.fasta --plot figures --heads L0H0 --plot-format svg",
    "contacts x.fasta -o x.rr",
    "score x.fasta",
    "score variants one.fasta --all",
    "trace one.fasta --keep L0.residual",
    "explore one.fasta --live -o live.html",
]


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory, tiny_lm_folder: Path):
    """The folder in which the commands have been run, and what each returned."""
    place = tmp_path_factory.mktemp("windows")
    records = "".join(f">{n} as named\r\n{random_sequence(9 + len(n) % 5, 1)}\r\n" for n in NAMES)
    (place / "x.fasta").write_bytes(records.encode())
    (place / "one.fasta").write_bytes(f">p\r\n{random_sequence(20, 2)}\r\n".encode())
    words = [[*line.split(), "--model", str(tiny_lm_folder)] for line in COMMANDS]
    (place / "commands.json").write_text(json.dumps(words), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), *sys.path]),
        "PYTHONIOENCODING": "cp1252",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-X", "warn_default_encoding", str(HARNESS), "commands.json"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("cp1252")
    results = json.loads((place / "results.json").read_text(encoding="utf-8"))
    return place, results, done.stderr.decode("cp1252")


def test_commands_end_as_they_do_on_linux(windows):
    _, results, said = windows
    assert [result["code"] for result in results] == [0, 1, 0, 0, 0, 0, 0, 0, 0], said
    assert "Traceback" not in said
    # An output that exists is told as such, not taken for one that a killed run has left
    assert said.count("esmkit: error:") == 1
    assert "'x.h5' exists already; --force overwrites it" in said


def test_what_windows_refuses_is_asked_for_where_another_way_follows(windows):
    """A folder cannot be opened, to make a rename durable; the lock goes when it is let go of."""
    _, results, _ = windows
    refused = [line for result in results for line in result["refused"]]
    assert refused
    for line in refused:
        assert line.startswith("Access is denied: ") or line.endswith(".work/lock"), line


def test_nothing_is_left_behind(windows):
    place, _, _ = windows
    assert not [path.name for path in place.iterdir() if path.name.endswith((".work", ".tmp"))]
    assert list((place / "Temp").iterdir()) == []


def test_figures_have_names_that_windows_takes(windows):
    """In letters that differ in more than their case; the names of the proteins stay in the file."""
    place, _, _ = windows
    names = [path.name for path in (place / "figures").iterdir()]
    assert len({name.casefold() for name in names}) == len(names) == 2 * len(NAMES)
    with esmkit.read(place / "x.h5") as found:
        assert list(found) == NAMES


def test_line_ends_of_windows_change_no_number(windows, tiny_lm_folder: Path, run, tmp_path: Path):
    place, _, _ = windows
    text = (place / "x.fasta").read_bytes().replace(b"\r\n", b"\n")
    (tmp_path / "x.fasta").write_bytes(text)
    assert run("embed", "x.fasta", "--model", tiny_lm_folder, cwd=tmp_path).returncode == 0
    with esmkit.read(place / "x.h5") as theirs, esmkit.read(tmp_path / "x.h5") as ours:
        for name in NAMES:
            np.testing.assert_allclose(theirs[name], ours[name], atol=1e-5)


# --------------------------------------------------------------------------------------- the lock


class NoFcntl:
    """Stands for a system without ``fcntl``, whose ``msvcrt`` locks or refuses."""

    def __init__(self, error: OSError | None) -> None:
        self.LK_NBLCK, self.error, self.locked = 2, error, 0

    def locking(self, number: int, mode: int, count: int) -> None:
        assert (mode, count, os.lseek(number, 0, os.SEEK_CUR)) == (2, 1, 0)
        if self.error is not None:
            raise self.error
        self.locked += 1


def test_windows_locks_with_its_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    module = NoFcntl(None)
    monkeypatch.setitem(sys.modules, "msvcrt", module)  # type: ignore[arg-type]
    take_lock(tmp_path / "lock", tmp_path / "x.h5").close()
    assert module.locked == 1
    module.error = PermissionError(13, "Permission denied")
    with pytest.raises(ResumeError, match="another process is writing"):
        take_lock(tmp_path / "lock", tmp_path / "x.h5")


def test_a_file_system_without_locks_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Such as Lustre where it is mounted without ``flock``."""
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with take_lock(tmp_path / "lock", tmp_path / "x.h5") as handle:
        assert not handle.closed


def test_locks_that_fail_are_no_reason_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two runs would write one output, as where a server of locks is out of reach."""
    import fcntl

    def too_many(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", too_many)
    with pytest.raises(OutputError) as caught:
        take_lock(tmp_path / "lock", tmp_path / "x.h5")
    assert str(caught.value) == (
        f"cannot lock {str(tmp_path / 'lock')!r} (No locks available), so two runs might write "
        f"{str(tmp_path / 'x.h5')!r} at once; try again, or give an output on another disk"
    )


def test_a_file_that_stays_open_keeps_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of files in use the lock alone is let go of; work that another program reads is kept."""
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == "shard":
            raise PermissionError(13, "in use")
        real(path, missing_ok)

    folder = tmp_path / "x.work"
    folder.mkdir()
    lock = (folder / "lock").open("ab")
    for name in ("shard", "way"):
        (folder / name).touch()
    monkeypatch.setattr(Path, "unlink", unlink)
    delete_folder(folder, last=("way",), lock=lock)
    assert sorted(path.name for path in folder.iterdir()) == ["shard", "way"]
    lock.close()


# ------------------------------------------------------------------------------------- the source

POSIX_ONLY = {
    *(
        "fcntl",
        "resource",
        "pwd",
        "grp",
        "spwd",
        "termios",
        "tty",
        "pty",
        "posix",
        "syslog",
        "curses",
    ),
    *("readline", "crypt", "nis", "ossaudiodev"),
}
"""Modules that the docs of Python's library give for Unix alone."""


def of_posix(tree: ast.AST) -> set[str]:
    """Modules of Unix that are imported outside a ``try`` that knows that they may be missing."""
    guarded = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any("ImportError" in ast.unparse(h.type) for h in node.handlers if h.type)
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in guarded:
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node not in guarded:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names} & POSIX_ONLY


def test_modules_exist_on_every_system_or_are_guarded():
    assert {place: found for place, tree in TREES.items() if (found := of_posix(tree))} == {}
    assert of_posix(ast.parse("import fcntl\ndef f():\n    from pwd import x")) == {"fcntl", "pwd"}
    assert of_posix(ast.parse("try:\n    import pwd\nexcept ImportError:\n    pass")) == set()


def words_of(call: ast.Call) -> set[str | None]:
    return {keyword.arg for keyword in call.keywords}


def without_encoding(tree: ast.AST) -> list[str]:
    """Calls that open text without saying in which encoding, as the system's own would be used."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        values = [
            a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
        ]
        modes = [v for v in values if re.fullmatch(r"[rwax]\+?[bt]?\+?", v)]
        if name in ("read_text", "write_text"):
            needs = len(node.args) < (1 if name == "read_text" else 2)
        elif name in ("open", "fdopen"):
            needs = not any("b" in mode for mode in modes) and bool(modes or not node.args)
        else:
            needs = name == "TextIOWrapper"
        if needs and not words_of(node) & {"encoding", None}:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def test_text_has_an_encoding():
    found = {place: calls for place, tree in TREES.items() if (calls := without_encoding(tree))}
    found.pop("files/arrays.py")  # a member of a zip archive, which takes bytes
    assert found == {}


def test_the_search_for_encodings_finds_them():
    code = "p.read_text()\np.write_text(x)\np.open('w')\nopen(x, 'r')\nos.fdopen(1, 'w')\np.open()"
    assert len(without_encoding(ast.parse(code))) == 6
    code = "p.read_text('utf-8')\np.write_text(x, 'ascii')\np.open('rb')\nopen(x, 'w', encoding='utf-8')"
    assert without_encoding(ast.parse(code)) == []


# ---------------------------------------------------------------------------- parts that may lack


def test_without_forks_nothing_is_prepared(monkeypatch: pytest.MonkeyPatch):
    lacking = types.SimpleNamespace(**{n: getattr(os, n) for n in dir(os) if "fork" not in n})
    monkeypatch.setattr(forks, "os", lacking)
    monkeypatch.setattr(forks, "_state", forks._State())
    forks.expect_forks(torch.device("cpu"))
    forks.make_ready(torch.device("cpu"))
    assert not forks._state.expects


def test_memory_that_no_system_tells_is_not_asked_for(monkeypatch: pytest.MonkeyPatch):
    class Nowhere(type(Path())):
        def read_text(self, *_: Any, **__: Any) -> str:
            raise FileNotFoundError(2, "no such file")

    monkeypatch.setattr(memory, "Path", Nowhere)
    assert (memory.free_memory() or 0) > 2**28  # macOS says what there is
    monkeypatch.delattr(os, "sysconf")
    assert memory.free_memory() is None  # Windows: what does not fit is told by whoever needs it


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_no_compiler_is_looked_for_unasked_elsewhere(monkeypatch: pytest.MonkeyPatch, system: str):
    """On a Mac ``cc`` may open a window that offers to install one."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sys, "platform", system)
    assert not compiled.is_compiled_unasked()
    monkeypatch.setenv("CC", "clang")
    assert compiled.is_compiled_unasked()


def test_without_a_compiler_it_is_said_and_goes_on(
    run, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "x.fasta").write_text(">p\nMKTAYIAK\n", encoding="utf-8")
    monkeypatch.setenv("CC", "no-such-compiler")
    for cached in (compiled.compile_attention, compiled.why_not_compiled):
        cached.cache_clear()
    try:
        done = run("embed", "x.fasta", "--model", tiny_folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        done = run("embed", "x.fasta", "--compile", "--force", "--model", tiny_folder, cwd=tmp_path)
        assert "install a C compiler with OpenMP (gcc)" in fails(done)
    finally:
        for cached in (compiled.compile_attention, compiled.why_not_compiled):
            cached.cache_clear()


def test_a_mac_without_its_gpu_says_so(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(OptionError, match="PyTorch sees no 'mps' device here"):
        choose_device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("mps").type == "mps"


EXACT = {
    "inside/gradients.py": "asks whether the device has float64",
    "score/fitting_steps.py": "computes on the CPU",
}


def exact_on_a_device(text: str) -> list[str]:
    """Lines that may make a tensor float64 that is not on the CPU: a Mac's GPU has none."""
    lines = [line for line in text.splitlines() if "double()" in line or "float64" in line]
    wrong = re.compile(r"(?<!\.cpu\(\))\.double\(\)|torch\.float64.*device=")
    return [line.strip() for line in lines if wrong.search(line)]


def test_nothing_is_made_float64_on_a_device():
    found = {}
    for place in TREES:
        if not place.startswith("reference/"):  # NumPy, and networks that learn on the CPU
            found[place] = exact_on_a_device((PACKAGE / place).read_text("utf-8"))
    assert {place: lines for place, lines in found.items() if lines and place not in EXACT} == {}
    assert set(EXACT) <= {place for place, lines in found.items() if lines}
    assert exact_on_a_device("x.double()\nx.cpu().double()\ny(dtype=torch.float64, device=d)") == [
        "x.double()",
        "y(dtype=torch.float64, device=d)",
    ]


# --------------------------------------------------------------------------------- long, odd names


def test_a_name_that_leaves_no_room_for_its_work_folder(run, tiny_folder: Path, tmp_path: Path):
    """Linux takes 255 bytes; a path of Windows has 259 characters in all."""
    (tmp_path / "x.fasta").write_text(">p\nMKTAYIAK\n", encoding="utf-8")
    name = "y" * 249 + ".h5"
    done = run("embed", "x.fasta", "-o", name, "--model", tiny_folder, cwd=tmp_path)
    said = fails(done)
    assert "File name too long" in said
    assert "give a shorter one" in said or "cannot write to" in said
    assert [path.name for path in tmp_path.iterdir()] == ["x.fasta"]


def test_input_in_utf_16_is_told_as_such(run, tiny_folder: Path, tmp_path: Path):
    """As PowerShell 5 writes what ``>`` sends to a file."""
    (tmp_path / "x.fasta").write_bytes(">p\r\nMKTAYIAK\r\n".encode("utf-16"))
    done = run("embed", "x.fasta", "--model", tiny_folder, cwd=tmp_path)
    assert "is UTF-16 text; save it again as UTF-8" in fails(done)


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "utf-16"])
def test_a_console_shows_what_it_can(encoding: str, monkeypatch: pytest.MonkeyPatch):
    from esmkit.cli.streams import mend_streams

    raw = io.BytesIO()

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal(raw, encoding=encoding))
    mend_streams()
    print("caf\u00e9 \u03b1 \u2026 \U0001f9ec", flush=True)
    assert raw.getvalue().decode(encoding).startswith("caf")
