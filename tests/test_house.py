"""The house rules: which module may import which, and that importing esmkit is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import esmkit

PACKAGE = Path(esmkit.__file__).parent

# From the ground up: a module may import modules of its own level or below, never above.
LEVELS = [
    {"errors", "_version"},
    {"fasta", "sequences", "report", "inputs"},
    {
        *(
            "packing",
            "packed_attention",
            "kernels",
            "compiled",
            "rotary",
            "workers",
            "policies",
            "alphabet",
        ),
        *("store", "shards", "disk", "differences", "exports", "reading", "checkpoints"),
        *("reference", "blueprint", "network", "maps", "maps_file", "runs", "tables"),
        *("structure", "data"),
    },
    {"model"},
    {"plots"},
    {
        *("embed", "embed_fasta", "attention", "attention_fasta", "reductions", "figures"),
        *("sklearn", "verify", "contacts", "heads", "explorer", "distributed"),
    },
    {"cli", "__main__"},
]
LEVEL_OF = {name: number for number, names in enumerate(LEVELS) for name in names}

# The methods of Esm2 are doors to the tasks, those of results to their figures; they import them
# when called.
DOORS = {("model", "embed"), ("model", "attention"), ("model", "contacts"), ("maps", "plots")}


def modules() -> list[Path]:
    return [p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py"]


def top_name(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Names of the esmkit modules that a file imports, wherever in the file; not for types only."""
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for inner in ast.walk(node):
                inner.skip = True  # type: ignore[attr-defined]
        if getattr(node, "skip", False):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("esmkit"):
            parts = (node.module or "").split(".")
            names = [alias.name for alias in node.names] if len(parts) == 1 else [parts[1]]
            found.update(names)
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found.update(parts[1] for parts in names if parts[0] == "esmkit" and len(parts) > 1)
    return found


def test_every_module_has_a_level():
    assert {top_name(path) for path in modules()} == set(LEVEL_OF)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path):
    name = top_name(path)
    for other in imported(path) - {name}:
        if (name, other) not in DOORS:
            assert LEVEL_OF[other] <= LEVEL_OF[name], f"{name} imports {other}, which is above it"


def test_the_check_sees_imports():
    assert {"packing", "checkpoints", "alphabet", "errors"} <= imported(PACKAGE / "model.py")
    assert "sequences" in imported(PACKAGE / "data.py")


UPSTREAM_NAMES = ("word_embeddings", "attention.self", "emb_layer_norm_after", "q_proj")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_upstream_tensor_names_live_in_two_places(path: Path):
    if top_name(path) not in ("checkpoints", "reference"):
        assert not [name for name in UPSTREAM_NAMES if name in path.read_text()]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import esmkit, esmkit.errors; dir(esmkit)",
        "from esmkit.cli import cli; cli(['--help'], standalone_mode=False)",
        "import esmkit; esmkit.data.demo_proteins()",
        "import esmkit; esmkit.data.demo_structure()",
        "import esmkit.embed_fasta",
        "import esmkit.attention_fasta",
        "import esmkit.contacts.files",
        "import esmkit.distributed.check, esmkit.distributed.worker, esmkit.distributed.pipeline",
        "import esmkit.explorer; dir(esmkit.explorer)",
    ],
)
def test_no_torch_before_it_is_needed(code: str):
    heavy = "('torch', 'transformers', 'pandas', 'matplotlib', 'sklearn', 'mdtraj', 'ray')"
    last = run(f"{code}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])").splitlines()
    assert last[-1] == "[]"


def test_public_names_are_there():
    assert set(esmkit.__all__) <= set(dir(esmkit))
    for name in esmkit.__all__:
        assert getattr(esmkit, name) is not None
    with pytest.raises(AttributeError, match="module 'esmkit' has no attribute 'nonsense'"):
        esmkit.nonsense  # noqa: B018


# The reference is one file on purpose: it is read from top to bottom, and ends with the reading of
# a checkpoint, because upstream tensor names may stand there and in `checkpoints` only.
LONGER = {"reference.py": 550}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_readable(path: Path):
    assert len(path.read_text().splitlines()) <= LONGER.get(path.name, 400)
