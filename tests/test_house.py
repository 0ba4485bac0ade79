"""The house rules: which module may import which, and that importing esmkit is cheap."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import esmkit

PACKAGE = Path(esmkit.__file__).parent

# From the ground up. A room may import rooms that stand before it, never one beside or after it.
ORDER = [
    {"_version", "errors"},
    {"_lazy", "locks", "text"},
    {"paths"},
    {"arguments"},
    {"sequences"},
    {"encoder", "structure"},
    {"reference", "files", "data"},
    {"plots"},
    {"attention", "embeddings"},
    {"against", "score"},
    {"contacts"},
    {"inside"},
    {"heads"},
    {"published"},
    {"explorer", "esm2", "results", "sklearn"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(ORDER) for room in rooms}


def modules() -> list[Path]:
    """Every module but the face of the package, which hands out names of all rooms."""
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def dotted(path: Path) -> str:
    """Name of a module below ``esmkit``; a package goes by its own name."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): path for path in modules()}


def top_name(path: Path) -> str:
    return room_of(dotted(path))


def room_of(name: str) -> str:
    return name.split(".")[0]


def arrows(path: Path) -> set[str]:
    """Modules that one imports: anywhere in the file, inside functions and for types alone too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            package, _, name = target.partition(".")
            while package == "esmkit" and name:
                if name in MODULES:
                    found.add(name)
                    break
                name = name.rpartition(".")[0]
            # "import esmkit" hides which module is meant; "from esmkit import load" is lazy
            hidden = package == "esmkit" and not name and PACKAGE in path.parents
            assert not hidden, f"{path}: {target} names no module"
    return found - ({dotted(path)} if PACKAGE in path.parents else set())


@cache
def arrows_of(name: str) -> set[str]:
    return arrows(MODULES[name])


def circles() -> list[set[str]]:
    """Groups of modules that import each other in a circle (strongly connected components)."""

    def reached(start: str) -> set[str]:
        seen, waiting = set(), [start]
        while waiting:
            for other in arrows_of(waiting.pop()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    below = {name: reached(name) for name in MODULES}
    groups = {frozenset(b for b in below[a] if a in below[b]) for a in MODULES if a in below[a]}
    return [set(group) for group in groups]


# Circles that are let be, as sets of modules: none.
EXCEPTIONS: list[set[str]] = []


def test_every_room_has_a_floor():
    assert {room_of(name) for name in MODULES} == set(FLOOR)


def test_no_module_imports_itself_by_way_of_others():
    assert [sorted(group) for group in circles() if group not in EXCEPTIONS] == []


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_one_way(name: str):
    room = room_of(name)
    for other in arrows_of(name):
        if room_of(other) != room:
            assert FLOOR[room_of(other)] < FLOOR[room], f"{name} imports {other}"


def test_the_check_sees_imports_of_every_kind(tmp_path: Path):
    code = """if True:
        import esmkit.text
        from esmkit import plots
        from esmkit.errors import InputError
        def f():
            from esmkit.heads import labels
        if TYPE_CHECKING:
            from esmkit.structure.record import Structure
    """
    (tmp_path / "module.py").write_text(code)
    seen = arrows(tmp_path / "module.py")
    assert {"text", "plots", "errors", "heads.labels", "structure.record"} <= seen


UPSTREAM_NAMES = (
    "word_embeddings",
    "attention.self",
    "emb_layer_norm_after",
    "q_proj",
    "inv_freq",
    "contact_head.",
    "encoder.layer.",
    "lm_head.dense",
    "lm_head.layer_norm",
    "lm_head.decoder",
)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_upstream_tensor_names_live_in_two_places(path: Path):
    if not dotted(path).startswith(("encoder.checkpoints.", "reference.")):
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
        "import esmkit.embeddings.to_file",
        "import esmkit.attention.to_file",
        "import esmkit.contacts.to_file",
        "import esmkit.inside.to_file, esmkit.inside.options; dir(esmkit.inside)",
        "import esmkit.score.variants.to_file; esmkit.score.variants.parse_variant('A24G')",
        "import esmkit.score.to_file, esmkit.score.to_figures",
        "import esmkit.embeddings.cluster.check, esmkit.embeddings.cluster.worker, esmkit.embeddings.cluster.pipeline",
        "import esmkit.published.to_file; dir(esmkit.published)",
        "import esmkit.explorer; dir(esmkit.explorer)",
    ],
)
def test_no_torch_before_it_is_needed(code: str):
    heavy = "('torch', 'transformers', 'pandas', 'matplotlib', 'sklearn', 'mdtraj', 'ray')"
    last = run(f"{code}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])").splitlines()
    assert last[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("embed {bad}", "bad.fasta"),
        ("attention {bad} -o out.h5", "bad.fasta"),
        ("contacts {bad}", "bad.fasta"),
        ("contacts {bad} --plot figures", "bad.fasta"),
        ("contacts {good} -o out.txt", "out.txt"),
        ("score {bad}", "bad.fasta"),
        ("score {good} --plot figures --mark K9", "--mark"),
        ("contacts {good} --structure {bad}", "bad.fasta"),
        ("contacts evaluate --structures {bad}", "bad.fasta"),
        ("contacts fit --structures {bad} -o head.json", "bad.fasta"),
        ("score variants {bad} --all", "bad.fasta"),
        ("score variants {good} --mutations M1M", "synonymous"),
        ("score variants {good} --mutations A1G", "residue 1"),
        ("heads --structures {bad} -o out", "bad.fasta"),
        ("reproduce --structures {bad}", "bad.fasta"),
        ("reproduce --proteingym {bad}", "bad.fasta"),
        ("reproduce --only heads", "there is no published result"),
        ("reproduce -o out.txt", "out.txt"),
        ("explore {bad} -o out.html", "bad.fasta"),
        ("trace {bad} --keep L0.residual", "bad.fasta"),
        ("trace {good} --keep L0.residul", "did you mean L0.residual"),
        ("trace {good} --keep L0.residual -o out.txt", "out.txt"),
    ],
)
def test_what_is_wrong_with_input_is_said_before_torch_is_loaded(
    words: str, said: str, tmp_path: Path
):
    (tmp_path / "good.fasta").write_text(">a\nMKTVRQERLKSIV\n")
    arguments = words.format(bad="bad.fasta", good="good.fasta").split()
    code = f"""import sys
from esmkit.cli import main
sys.argv = ["esmkit", *{arguments!r}]
try:
    main()
finally:
    print(*(name for name in ("torch", "transformers") if name in sys.modules), "end")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stdout == "end\n"


def test_public_names_are_there():
    assert set(esmkit.__all__) <= set(dir(esmkit))
    for name in esmkit.__all__:
        assert getattr(esmkit, name) is not None
    with pytest.raises(AttributeError, match="module 'esmkit' has no attribute 'nonsense'"):
        esmkit.nonsense  # type: ignore[attr-defined]  # noqa: B018


# The reference is one file on purpose: it is read from top to bottom, and ends with the reading of
# a checkpoint, because upstream tensor names may stand there and in `checkpoints` only.
# The encoder is read as one paper, and a third of it is examples and shapes
LONGER = {"reference.encoder": 810}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_readable(path: Path):
    assert len(path.read_text().splitlines()) <= LONGER.get(dotted(path), 400)
