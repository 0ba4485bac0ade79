"""The notebooks: as they are kept, and run again from start to end."""

import ast
import importlib
import json
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import esmkit

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 1_000_000  # bytes, to open quickly on a code host
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(home|tmp|work|root|var|opt|Users)/|[A-Za-z]:\\\\?Users\\")
LEFTOVER = re.compile(
    r"Traceback \(most|it/s\]|s/it\]|%\||(?<!OfflineCheckpoint)(?<!FittedHead)Warning: "
)
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
    for output in outputs(path):  # only what says which weights these are may stay
        if output.get("name") == "stderr":
            said = "".join(output["text"]).split("\n\n")
            assert all(re.match("(OfflineCheckpoint|FittedHead)Warning: ", part) for part in said)
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
    for text in (
        "OfflineCheckpointWarning: not the original; 5 % | a table |",
        "FittedHeadWarning: x",
    ):
        assert not LEFTOVER.search(text), text


MINUTES = re.compile(r"^About (\d+) minutes? on two cores\.$", re.MULTILINE)
LONGEST_RUN = 4  # minutes


@every_notebook
def test_says_how_long_it_takes_and_begins_with_an_idea(path: Path):
    first = source(json.loads(path.read_text())["cells"][0])
    found = MINUTES.findall(first)
    assert len(found) == 1
    assert 1 <= int(found[0]) <= LONGEST_RUN
    assert len(first) > 250, "a heading is no idea"
    for cell in cells(path, "code"):
        assert not only_prepares(source(cell)), source(cell)
    assert [o for o in cells(path, "code")[0]["outputs"] if o.get("name") != "stderr"]


PREPARING = re.compile(
    r"((esmkit\.)?plots\.)?notebook_style|warnings\.\w+|(plt|matplotlib)\.rc\w*(\.update)?"
    r"|esmkit\.load|np\.random\.(seed|default_rng)|torch\.(manual_seed|set_num_threads)"
)


def only_prepares(code: str) -> bool:
    """Whether a cell imports and sets, and does nothing else."""

    def prepares(node: ast.stmt) -> bool:
        if isinstance(node, ast.With):
            return all(map(prepares, node.body))
        if isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call):
            return bool(PREPARING.fullmatch(ast.unparse(node.value.func)))
        constant = isinstance(node, ast.Assign) and not any(
            isinstance(each, ast.Call | ast.Name) for each in ast.walk(node.value)
        )
        return constant or isinstance(node, ast.Import | ast.ImportFrom)

    return all(map(prepares, ast.parse(code).body))


def test_preparing_is_told_from_doing():
    for code in (
        "import numpy as np",
        "from esmkit.plots import notebook_style\nnotebook_style()\nmodel = esmkit.load()",
        "with warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    m = esmkit.load()",
        "BLUE, ORANGE = '#0072B2', '#D55E00'\nplt.rcParams.update({'font.size': 7})",
    ):
        assert only_prepares(code), code
    for code in (
        "model = esmkit.load()\nprint(model)",
        "x = np.arange(3)",
        "def f():\n    return 1",
    ):
        assert not only_prepares(code), code


UNFOLDS = re.compile(
    r"\*Try:\*(?:(?!\*Try:\*|<details>).)+<details><summary>Answer</summary>\n\n"
    r"(?:(?!\*Try:\*|<details>).)+\n\n</details>(?=\n|$)",
    re.DOTALL,
)


@every_notebook
def test_questions_have_answers_that_unfold(path: Path):
    """Each in its cell, after its question, with the empty lines that Markdown needs inside HTML."""
    asked = 0
    for cell in cells(path, "markdown"):
        text = source(cell)
        answered = len(UNFOLDS.findall(text))
        assert answered == len(re.findall(r"\bTry\b\W", text)) == text.count("<details>"), text
        asked += answered
    assert asked >= 2


def test_the_check_sees_a_question_without_its_answer():
    answer = "<details><summary>Answer</summary>\n\n3\n\n</details>"
    assert len(UNFOLDS.findall(f"*Try:* a\n\n{answer}\n\n*Try:* b\n\n{answer}")) == 2
    assert len(UNFOLDS.findall(f"*Try:* a\n\n*Try:* b\n\n{answer}")) == 1
    assert not UNFOLDS.findall("*Try:* a\n\n<details><summary>Answer</summary>3</details>")


# What is public: names in ``__all__`` of the package, of its rooms, and of these modules.

ROOMS = (
    "attention contacts data errors explorer heads inside plots reference score sequences structure"
)
PUBLIC = {*ROOMS.split(), "reference.encoder", "reference.transformer", "reference.training"}
PUBLIC = {f"esmkit.{name}" for name in PUBLIC | {"reference.recurrent"}} | {"esmkit"}


def not_public(code: str) -> list[str]:
    """Names of esmkit in some code that a user has no right to, as it writes them."""
    modules: dict[str, str] = {}  # name in the code: module that it stands for
    wrong: list[str] = []
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "esmkit":
                    modules[alias.asname or "esmkit"] = alias.name if alias.asname else "esmkit"
                    wrong += [alias.name] if alias.name not in PUBLIC else []
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "esmkit":
            for alias in node.names:
                found = reached(node.module or "", alias.name)
                if found is None:
                    wrong.append(f"{node.module}.{alias.name}")
                elif found:
                    modules[alias.asname or alias.name] = found
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            dots = ast.unparse(node)
            first, *rest = dots.split(".") if re.fullmatch(r"[\w.]+", dots) else [""]
            at: str | None = modules.get(first, "")
            for name in rest:
                at = reached(at, name) if at else at
            wrong += [dots] if at is None or re.match("_[^_]", node.attr) else []
    return wrong


def reached(module: str, name: str) -> str | None:
    """Return the public module that a name of a module is, "" for anything else; None: not public."""
    if module not in PUBLIC:
        return None
    whole = f"{module}.{name}"
    if whole in PUBLIC:
        return whole
    home = importlib.import_module(module)
    public = getattr(home, "__all__", [own for own in vars(home) if own[0] != "_"])
    found = getattr(home, name, None) if name in public else None
    return "" if found is not None and not isinstance(found, ModuleType) else None


@every_notebook
def test_uses_public_names_alone(path: Path):
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    assert not not_public(code)
    for cell in cells(path, "markdown"):
        for block in re.findall(r"```python\n(.*?)```", source(cell), re.DOTALL):
            assert not not_public(block)


def test_the_check_sees_names_of_the_inside():
    for code in (
        "import esmkit.plots.figure",
        "from esmkit.heads.untrained import with_random_weights",
        "from esmkit.plots import STYLE",
        "from esmkit.reference import comparison",
        "from esmkit.reference.encoder import re",
        "from esmkit import cli",
        "from esmkit.plots import *",
        "import esmkit\nesmkit.heads.untrained.CONTROL_HEADS",
        "import esmkit as kit\nkit.encoder",
        "from esmkit import reference as r\nr.encoder.nonsense",
        "import esmkit\nesmkit.load()._lm_head",
    ):
        assert not_public(code), code
    for code in (
        "import esmkit\nmodel = esmkit.load()\nmodel.lm_head.facts.get('note')",
        "import esmkit.plots\nesmkit.plots.logo",
        "from esmkit import reference\nreference.encoder.gelu",
        "from esmkit.reference import encoder\nencoder.encode",
        "from esmkit.heads import QUESTIONS, ablate\nablate.__doc__",
        "import numpy\nnumpy.random.rand",
        "encoder = 1\nheads.untrained",
    ):
        assert not not_public(code), code


def test_what_is_public_is_there():
    assert {name for name in PUBLIC if name.count(".") < 2} - {"esmkit"} == {
        f"esmkit.{name}" for name in ROOMS.split()
    }
    for room in ROOMS.split():
        module = importlib.import_module(f"esmkit.{room}")
        assert all(getattr(module, name) is not None for name in module.__all__), room
        assert room in esmkit.__all__ or room == "attention"


WHOLE = os.environ.get("ESMKIT_NOTEBOOKS") == "whole"
"""Run them as they stand: a quarter of an hour of one processor. Outputs are kept from such a run."""

BEST_AND_WORST = "key=lambda chain: (chain.id not in ('1or4_A', '4gcn_A'), len(chain))"

SHORTER: dict[str, dict[str, str]] = {
    "01_transformer_from_scratch": {"(192, 384, 768, 1536)": "(192, 384)"},
    "02_embeddings": {
        "min(300, len(suitable))": "min(80, len(suitable))",
        "structures = esmkit.data.ts50()": "structures = esmkit.data.ts50()[:12]",
        "[1e-3, 1e-2, 1e-1]": "[1e-3, 1e-2]",
    },
    "03_attention_and_contacts": {
        "chains = esmkit.data.ts50()": f"chains = sorted(esmkit.data.ts50(), {BEST_AND_WORST})[:12]",
        "range(1_000)": "range(50)",
    },
    "04_head_specialisation": {
        "chains = esmkit.data.ts50()": "chains = sorted(esmkit.data.ts50(), key=len)[:16]",
        "others = esmkit.data.replication()": "others = sorted(esmkit.data.replication(), key=len)[:20]",
        "repeat_scores(model, ": "repeat_scores(model, sequences=4, ",
        "untrained=1, repeats=copying": "untrained=1, resamples=200, repeats=copying",
        "resamples=500": "resamples=100",
        "chains[::3]": "chains[:10]",
        'late = ["L4", "L5"]': 'late = ["L5"]',
        "permutation(len(chains))[:20]": "permutation(len(chains))[:3]",
        "some[:5]": "some[:2]",
    },
    "06_what_does_a_head_do": {
        "repeated_sequences(20, ": "repeated_sequences(6, ",
        "sequences=20, ": "sequences=6, ",
        "sequences=5, ": "sequences=2, ",
        "proteins = esmkit.data.repeat_proteins()": (
            "proteins = sorted(esmkit.data.repeat_proteins(), key=lambda one: "
            "(one.id != 'G7LI77', len(one)))[:5]"
        ),
        "made[:5]:\n    old = twice_too[AT - 1]\n    new": (
            "made[:1]:\n    old = twice_too[AT - 1]\n    new"
        ),
        "made[:5]": "made[:2]",
        "range(1, 5)": "range(1, 3)",
    },
    "07_how_does_it_learn": {
        "STEPS = 600": "STEPS = 30",
        "look_at=[25, 50, 100, 200, 400]": "look_at=[10, 20]",
        "crops=400": "crops=40",
        "crops=40)": "crops=4)",
        ", 32)[:200]": ", 32)[:20]",
    },
    "08_how_does_a_transformer_write": {
        "steps = 500": "steps = 60",
        "short), 250, ": "short), 30, ",
        'tables["rotary", 2] < 0.1': 'tables["rotary", 2] < 10',  # so little was learned
        "(1.0, 16)": "(1.0, 3)",
        "lengths = [16, 32, 64, 128, 256]": "lengths = [16, 32, 64]",
    },
    "09_what_did_it_replace": {
        "STEPS = 120": "STEPS = 12",
        "held_out[:150]": "held_out[:20]",
        '("untrained", untrained, 4), ("trained", networks, 12)': (
            '("untrained", untrained, 2), ("trained", networks, 2)'
        ),
        "long[:24]": "long[:3]",
        '("first", 150), ("all", 400)': '("first", 10), ("all", 10)',
        "sequences=100": "sequences=10",
        "LENGTHS = [64, 256, 1024, 2048]": "LENGTHS = [64, 256, 1024]",
        "repeats=3": "repeats=1",
    },
}
"""By notebook: what is replaced in its code while it is tested. What is cut short is data and steps:
every cell still runs, and calls what it calls; what is learned and found is in the kept outputs."""


def shorten(code: str, name: str) -> str:
    for text, instead in SHORTER.get(name, {}).items():
        code = code.replace(text, instead)
    return code


def test_what_is_cut_short_in_notebooks_is_in_them():
    names = {path.stem for path in NOTEBOOKS}
    assert SHORTER.keys() <= names
    for name, replaced in SHORTER.items():
        code = "\n".join(source(cell) for cell in cells(FOLDER / f"{name}.ipynb", "code"))
        for text, instead in replaced.items():
            assert text in code, f"{name}: {text!r} is not there any more"
            code = code.replace(text, instead)


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
    for cell in notebook.cells:
        if cell.cell_type == "code" and not WHOLE:
            cell.source = shorten(cell.source, path.stem)
    kept = [[o.output_type for o in c.get("outputs", [])] for c in notebook.cells]
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=900, kernel_name="python3", resources=where).execute()
    again = [[o.output_type for o in c.get("outputs", [])] for c in notebook.cells]
    assert [set(kinds) for kinds in again] == [set(kinds) for kinds in kept]
