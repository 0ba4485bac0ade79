"""What is said where a package is missing: the command that installs it, and no traceback."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import esmkit
from esmkit.embeddings.cluster import storage
from esmkit.embeddings.cluster.cluster import import_ray
from esmkit.errors import MissingDependencyError, needed, needed_package
from esmkit.explorer.figures import need_bokeh
from esmkit.files.tables import import_pyarrow
from oracles.checkpoints import random_sequence
from oracles.commands import fails

PACKAGE = Path(esmkit.__file__).parent
ROOT = PACKAGE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What may be imported without being needed: each has a word on what happens without it.
OPTIONAL = {
    "pyarrow": "files/tables.py says so",
    "ray": "embeddings/cluster/cluster.py says so",
    "bokeh": "explorer/figures.py says so",
    "botocore": "its errors are those of s3fs, which brings it",
    "pymol": "a line of the scripts that PyMOL runs",
    "esm": "fair-esm: `esmkit verify` notes that it was left out",
}


def imported(path: Path) -> set[str]:
    """Modules of others that a file imports, wherever in it."""
    line = r"(?m)^ *(?:from (?=[\w.]+ import )|import (?=[\w.]+(?: as \w+)?(?:  #.*)?$))(\w+)"
    return (
        set(re.findall(line, path.read_text(encoding="utf-8")))
        - set(sys.stdlib_module_names)
        - {"esmkit"}
    )


def called(module: str) -> str:
    """Return the name on the package index, as the message on a missing module gives it."""
    error = needed_package(ModuleNotFoundError("missing", name=module))
    return str(error).partition(" ")[0]


def test_what_is_imported_is_needed_or_known_as_optional():
    """A new optional package gets its word here, and its test below."""
    required = {re.split("[<>=]", line)[0] for line in PROJECT["dependencies"]}
    required |= {"huggingface_hub", "fsspec"}  # of transformers, and of PyTorch
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found |= imported(path)
    assert {"torch", "numpy", "pyarrow", "bokeh"} <= found
    assert {module for module in found if called(module) not in required} == set(OPTIONAL)
    for line in PROJECT["optional-dependencies"]["all"]:  # the extras that are named exist
        assert line.startswith("esmkit[")


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch):
    """Hide packages, with all that is loaded of them, as if they were not installed."""

    def hide(*names: str) -> None:
        for name in list(sys.modules):
            if name.partition(".")[0] in names:
                monkeypatch.delitem(sys.modules, name)
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


@pytest.mark.parametrize(
    ("module", "ask", "wanted"),
    [
        (
            "pyarrow",
            import_pyarrow,
            "Parquet files need pyarrow, which is not installed; install it with "
            '`pip install "esmkit[parquet]"`, or use another format',
        ),
        (
            "ray",
            import_ray,
            "a cluster needs ray, which is not installed; install it with "
            '`pip install "esmkit[ray]"`, or embed without a cluster',
        ),
        (
            "bokeh",
            need_bokeh,
            "the explorer needs bokeh, which is not installed; install it with "
            '`pip install "esmkit[explorer]"`',
        ),
        (
            "s3fs",
            lambda: storage.Folder("s3://bucket/embeddings"),
            's3:// needs s3fs, which is not installed; install it with `pip install "esmkit[s3]"`',
        ),
        (
            "gcsfs",
            lambda: storage.Folder("gs://bucket/embeddings"),
            "gs:// needs gcsfs, which is not installed; install it with `pip install gcsfs`",
        ),
        (
            "adlfs",
            lambda: storage.Folder("az://bucket/embeddings"),
            "az:// needs adlfs, which is not installed; install it with `pip install adlfs`",
        ),
    ],
)
def test_an_extra_is_named_with_its_command(hidden, module: str, ask: Any, wanted: str):
    hidden(module)
    forget_file_systems()
    with pytest.raises(MissingDependencyError) as caught:
        ask()
    assert str(caught.value) == wanted
    for extra in PROJECT["optional-dependencies"]:
        if f"esmkit[{extra}]" in wanted:
            wholes = " ".join(PROJECT["optional-dependencies"][extra])
            assert module in wholes
            break
    else:
        assert f"pip install {module}`" in wanted


def forget_file_systems() -> None:
    """fsspec keeps classes of file systems that it has imported once."""
    import fsspec
    from fsspec.registry import _registry

    for name in ("s3", "s3a", "gs", "gcs", "az", "abfs"):
        _registry.pop(name, None)
    fsspec.get_filesystem_class("file")


def test_a_package_that_is_there_and_does_not_load_says_why():
    with pytest.raises(MissingDependencyError) as caught, needed("a test", "pyarrow"):
        raise ImportError("DLL load failed", name="pyarrow.lib")
    assert "a test needs pyarrow, which does not load (DLL load failed)" in str(caught.value)
    with pytest.raises(MissingDependencyError) as caught, needed("a test", "bokeh"):
        raise ModuleNotFoundError("No module named 'jinja2'", name="jinja2")
    assert str(caught.value) == (
        "a test needs bokeh, which does not load (No module named 'jinja2'); install it with "
        "`pip install bokeh`"
    )


# ------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    ("module", "words", "remedy"),
    [
        ("pyarrow", "embed x.fasta -o x.parquet", 'pip install "esmkit[parquet]"'),
        (
            "pyarrow",
            "attention x.fasta --reduce entropy -o x.parquet",
            'pip install "esmkit[parquet]"',
        ),
        ("pyarrow", "score x.fasta -o x.parquet", 'pip install "esmkit[parquet]"'),
        ("pyarrow", "score variants x.fasta --all -o x.parquet", 'pip install "esmkit[parquet]"'),
        ("pyarrow", "embed x.fasta --engine ray -o out", 'pip install "esmkit[ray]"'),
        ("ray", "embed x.fasta --engine ray -o out", 'pip install "esmkit[ray]"'),
        ("s3fs", "embed s3://b/x.fasta --engine ray -o out", 'pip install "esmkit[s3]"'),
        ("bokeh", "explore x.fasta -o x.html", 'pip install "esmkit[explorer]"'),
        ("bokeh", "explore x.fasta --live -o x.html", 'pip install "esmkit[explorer]"'),
    ],
)
def test_commands_say_it_before_anything_is_computed(
    hidden, run, tiny_lm_folder: Path, tmp_path: Path, module: str, words: str, remedy: str
):
    (tmp_path / "x.fasta").write_text(f">p\n{random_sequence(20, 1)}\n", encoding="utf-8")
    hidden(module)
    forget_file_systems()
    done = run(*words.split(), "--model", tiny_lm_folder, cwd=tmp_path)
    assert f"`{remedy}`" in fails(done)
    assert [path.name for path in tmp_path.iterdir()] == ["x.fasta"]


# --------------------------------------------------------------- what esmkit cannot do without

WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = ["esmkit", *sys.argv[2:]]
from esmkit.cli import main
main()
"""


def without(modules: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WITHOUT, modules, *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_commands_without_pytorch(tmp_path: Path):
    (tmp_path / "x.fasta").write_text(">p\nMKTAYIAK\n", encoding="utf-8")
    said = (
        "esmkit: error: torch is not installed, and esmkit cannot do without it; `pip install "
        "torch` installs it\n"
    )
    done = without("torch", "embed", "x.fasta", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(said)
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.fasta"]
    done = without("torch", "--help", cwd=tmp_path)
    assert done.returncode == 0


def test_commands_without_a_library_that_is_called_otherwise(tmp_path: Path):
    (tmp_path / "x.pdb").write_text("HEADER\n", encoding="utf-8")
    done = without("Bio", "contacts", "evaluate", "--structures", ".", cwd=tmp_path)
    assert done.returncode == 1
    assert "biopython is not installed" in done.stderr
    assert "`pip install biopython` installs it" in done.stderr
    assert "Traceback" not in done.stderr


def test_python_without_pytorch():
    code = """
import sys
sys.modules["torch"] = None
import esmkit
print(len(esmkit.data.demo_proteins()))
try:
    esmkit.load
except esmkit.EsmkitError as error:
    print(type(error).__name__, isinstance(error, ImportError), error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "18",
        "MissingDependencyError True torch is not installed, and esmkit cannot do without it; "
        "`pip install torch` installs it",
    ]


def test_modules_of_esmkit_itself_are_no_missing_packages():
    """A mistake of ours is a bug, and keeps its traceback."""
    for name in ("esmkit.nothing", "esmkit", None):
        assert needed_package(ModuleNotFoundError("No module named ...", name=name)) is None
    assert needed_package(MissingDependencyError("x")) is None
    said = needed_package(ImportError("undefined symbol: x", name="sklearn.utils"))
    assert str(said) == (
        "scikit-learn does not load (undefined symbol: x), and esmkit cannot do without it; after "
        "`pip uninstall scikit-learn`, `pip install scikit-learn` installs it"
    )
