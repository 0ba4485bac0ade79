"""The notebooks: as they are kept, and run again from start to end."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_000_000  # bytes, to open quickly on a code host
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(home|tmp|work|root|var|opt|Users)/|[A-Za-z]:\\\\?Users\\")
LEFTOVER = re.compile(r"Traceback \(most|it/s\]|s/it\]|%\||(?<!OfflineCheckpoint)Warning: ")
PICTURE = re.compile(r"data:image/\w+;base64,[\w+/=]+")

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def texts(path: Path) -> list[str]:
    """Everything in a notebook that is read: sources, and what cells printed; not its pictures."""
    found = [source(cell) for cell in cells(path, "markdown") + cells(path, "code")]
    for output in outputs(path):
        parts = [output.get("text", ""), *output.get("traceback", [])]
        parts += [data for kind, data in output.get("data", {}).items() if "image" not in kind]
        found += [PICTURE.sub("picture", "".join(part)) for part in parts]
    return found


def outputs(path: Path) -> list[dict[str, Any]]:
    return [output for cell in cells(path, "code") for output in cell["outputs"]]


def test_there_are_notebooks():
    """A glob that finds nothing would make every other test here pass."""
    assert len(NOTEBOOKS) >= 2
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert all(re.fullmatch(r"\d\d_[a-z_]+\.ipynb", path.name) for path in NOTEBOOKS)
    assert len(set(numbers)) == len(numbers)


@every_notebook
def test_asks_one_question(path: Path):
    first = json.loads(path.read_text())["cells"][0]
    assert first["cell_type"] == "markdown"
    assert re.match(rf"# {path.name[:2]} · [A-Z].+\?\n", source(first))


@every_notebook
def test_outputs_are_kept(path: Path):
    """Every code cell was run, once, from top to bottom, and none failed."""
    runs = [cell["execution_count"] for cell in cells(path, "code")]
    assert runs == list(range(1, len(runs) + 1))
    assert len(runs) >= 3
    kept = json.dumps(outputs(path))
    kinds = [output["output_type"] for output in outputs(path)]
    assert "error" not in kinds
    assert "stream" in kinds or "execute_result" in kinds
    assert "image/png" in kept or PICTURE.search(kept), "no figure"


@every_notebook
def test_is_the_same_for_everyone(path: Path):
    """Small, of no particular machine, and without bars and warnings."""
    assert path.stat().st_size < LARGEST
    for text in texts(path):
        assert not MACHINE_PATH.search(text), text
        assert not LEFTOVER.search(text), text
    for output in outputs(path):  # only the warning that says which weights these are may stay
        if output.get("name") == "stderr":
            assert "OfflineCheckpointWarning" in "".join(output["text"])
    kernel = json.loads(path.read_text())["metadata"]["kernelspec"]
    assert kernel == {"display_name": "Python 3", "language": "python", "name": "python3"}


def test_the_checks_see_what_they_look_for():
    for text in (
        "/home/me/x",
        "in '/tmp/ipykernel_1/2.py'",
        "C:\\Users\\me",
        "\n/work/a",
        "(/root/b",
    ):
        assert MACHINE_PATH.search(text), text
    for text in (
        "https://example.org/home/x",
        "notebooks/work/x",
        "../tmp/y",
        "data/opt/z",
        "/ work",
    ):
        assert not MACHINE_PATH.search(text), text
    for text in ("x.py:3: UserWarning: no", "100%|###| 3/3 [00:01<00:00, 2.10it/s]"):
        assert LEFTOVER.search(text), text
    assert not LEFTOVER.search("OfflineCheckpointWarning: not the original; 5 % | a table |")


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.timeout(2400)  # how fast the machine is, is not tested here
@every_notebook
def test_runs_from_start_to_end(path: Path, real: object, tmp_path: Path, monkeypatch):
    """In a fresh kernel, in a folder that is not the repository; a cell that fails raises."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent), prepend=os.pathsep)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    kept = [[o.output_type for o in c.get("outputs", [])] for c in notebook.cells]
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    again = [[o.output_type for o in c.get("outputs", [])] for c in notebook.cells]
    assert [set(kinds) for kinds in again] == [set(kinds) for kinds in kept]
