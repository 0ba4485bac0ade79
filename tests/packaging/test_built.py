"""What is published: the wheel, the source archive, what they say of themselves, how to cite."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from difflib import SequenceMatcher
from email import message_from_bytes
from importlib import util
from pathlib import Path

import pytest

import esmkit

PACKAGE = Path(esmkit.__file__).parent
ROOT = PACKAGE.parent


def build(where: Path, to: Path, *words: str) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(to), *words]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both archives."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    """What is in the wheel, by name."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_the_wheel_of_the_source_archive_is_that_of_the_tree(built: Path, tmp_path: Path):
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert not list(unpacked.rglob("__pycache__"))  # building it runs its hook, which may leave one
    build(unpacked, tmp_path / "again", "-t", "wheel")
    (first,), (second,) = built.glob("*.whl"), (tmp_path / "again").glob("*.whl")
    assert first.read_bytes() == second.read_bytes()
    for name in (
        "tests/conftest.py",
        "benchmarks/__main__.py",
        "notebooks",
        "CITATION.cff",
        ".ci/run",
    ):
        assert (unpacked / name).exists(), name


def test_the_wheel_holds_the_package_and_nothing_else(wheel: dict[str, bytes]):
    info = {name for name in wheel if ".dist-info/" in name}
    assert all(name.startswith("esmkit/") for name in wheel.keys() - info)
    modules = {
        f"esmkit/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".md")
    }
    assert {n: x for n, x in wheel.items() if n not in info and "/_data/" not in n} == modules
    assert wheel["esmkit/py.typed"] == b""
    # The largest are the head that was fitted and the proteins to train on
    assert sum(map(len, wheel.values())) < 7_000_000
    assert not [n for n in wheel if n.endswith((".md", ".tsv")) and n not in info]
    assert not [n for n in wheel if "make_" in n.rpartition("/")[2] and "/_data/" in n]


OPENED = """
import sys
opened = set()
sys.addaudithook(lambda event, args: opened.add(str(args[0])) if event == "open" else None)
import esmkit
data = esmkit.data
assert len(data.demo_proteins()) == 18 and len(data.training_proteins()) == 2250
data.demo_structure()
open(data.ubiquitin_fasta()).close()  # its path is what the command asks for
data.ts50 = data.replication = list  # see below
data.repeat_proteins()
print(data.ts50_folder(), data.replication_folder())
print(*(name for name in opened if "/esmkit/_data/" in name), sep="\\n")
"""


def test_all_data_of_the_wheel_is_read_by_it(built: Path, tmp_path: Path):
    """And all that is read is in it: from a wheel that is unpacked, not from this checkout."""
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", OPENED]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folders, *opened = done.stdout.splitlines()
    there = {path for path in (tmp_path / "esmkit" / "_data").rglob("*") if path.is_file()}
    assert len(there) > 100
    # Folders are read whole, but for what is no structure; tests of either count its chains
    whole = [Path(folder) for folder in folders.split()]
    assert len(whole) == 2
    structures = {path for path in there if path.parent in whole and path.name.endswith(".pdb.gz")}
    assert there - structures == {Path(name) for name in opened}


def test_every_other_file_of_the_wheel_is_named_by_a_module(wheel: dict[str, bytes]):
    code = "\n".join(text.decode() for name, text in wheel.items() if name.endswith(".py"))
    others = [
        Path(name)
        for name in wheel
        if not name.endswith((".py", "py.typed")) and "/_data/" not in name and "-info/" not in name
    ]
    assert len(others) >= 50
    for path in others:
        stem = rf'"(?:{re.escape(path.name)}|{re.escape(path.stem)})"'
        assert re.search(stem, code) or path.name in code, f"{path} is read by nobody"


# ------------------------------------------------------------------------- what it says of itself


def test_metadata(wheel: dict[str, bytes]):
    (metadata,) = (text for name, text in wheel.items() if name.endswith("dist-info/METADATA"))
    found = message_from_bytes(metadata)
    assert found["Version"] == esmkit.__version__
    assert found["License-Expression"] == "MIT AND CC-BY-4.0 AND CC0-1.0"
    assert found.get_all("Project-URL") is None  # until there are any
    assert found["Description-Content-Type"] == "text/markdown"
    licences = found.get_all("License-File") or []
    kept = {name.partition("/licenses/")[2] for name in wheel if "/licenses/" in name}
    assert set(licences) == kept
    assert {"LICENSE", "data/README.md", "data/ts50/README.md"} <= kept
    for name in kept:
        assert (ROOT / name).read_bytes() == next(
            x for n, x in wheel.items() if n.endswith(f"/{name}")
        )


def test_what_an_index_shows_leads_somewhere(wheel: dict[str, bytes]):
    """Without links into the repository, which an index does not have."""
    (metadata,) = (text for name, text in wheel.items() if name.endswith("dist-info/METADATA"))
    shown = metadata.decode().partition("\n\n")[2]
    links = re.findall(r"\]\(([^)]*)\)", shown)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    # A table's cells of links alone are all that goes: four words of five stay, in their order
    words = re.sub(r"\([^)]*\)", "", (ROOT / "README.md").read_text(encoding="utf-8")).split()
    kept = SequenceMatcher(None, words, shown.split(), autojunk=False).get_matching_blocks()
    assert sum(block.size for block in kept) > 0.8 * len(words)


def test_links_are_taken_out_and_words_stay():
    pytest.importorskip("hatchling")
    spec = util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (
        "# esmkit\n\n![a picture](docs/a.png)\n[![linked](a.png)](b.md)\n\nSee [the docs](docs/x.md), "
        "[below](#limits) and [a site](https://example.org/x(1)); `f(x)[0](y)`.\n"
    )
    assert module.for_an_index(text) == (
        "# esmkit\n\n\nSee the docs, below and [a site](https://example.org/x(1)); `f(x)[0](y)`.\n"
    )


# ------------------------------------------------------------------------------------ how to cite


def test_the_citation_is_of_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    (version,) = re.findall(r"(?m)^version: (.+)$", text)
    assert version == esmkit.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (author,) = project["authors"]
    assert f"\nauthors:\n  - name: {author['name']}\n" in text
    for keyword in project["keywords"]:
        assert f"\n  - {keyword}\n" in text
    assert "10.1126/science.ade2574" in text
