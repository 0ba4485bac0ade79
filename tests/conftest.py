"""Fixtures: tiny seeded checkpoints for quick tests, and the real offline one."""

import gc
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from esmkit.cli import main
from esmkit.data import demo_proteins
from esmkit.encoder.checkpoints import FittedHeadWarning, OfflineCheckpointWarning
from esmkit.encoder.onednn import FastOperations
from esmkit.errors import CheckpointError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import OFFLINE_NAME, SHAPES, make_checkpoint
from oracles.commands import Done

settings.register_profile("esmkit", deadline=None)  # how fast the machine is, is no property
settings.load_profile("esmkit")


# Tests in several processes (pytest-xdist, ``-n 2``): which process takes what, and when.

APART = {
    *("test_notebooks", "test_killed", "test_cli_examples", "test_readme", "test_disk"),
    *("test_doctests", "test_heads_calibration"),
}
"""Modules whose tests share nothing that is costly to make, so that any process takes any of them.
Those of another stay together: for its fixtures, and for what there is once, such as Ray."""

LONGEST = (
    "test_cluster_ray.py",
    "test_explorer_browser.py",
    "test_to_folder.py",
    "04_head",
    "06_what",
    "test_contacts_real.py",
    "test_live_browser.py",
    "atlas.make]",
    "at_random_moments",
    "esmkit heads",
    "02_emb",
    "03_att",
    "09_what",
    "07_how",
    "08_how",
)
"""What begins first, the longest first: at the end no process waits for one long test."""


def unit_of(test: str) -> str:
    """Return what a test, ``path::name``, is handed out with."""
    path = test.partition("::")[0]
    return test if Path(path).stem in APART else path


def pytest_configure(config: pytest.Config) -> None:
    """Share the processors out before there are processes, which take this over."""
    if getattr(config.option, "numprocesses", None):
        config.option.loadscopereorder = False  # begin with what comes first
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # Threads of tests that set their number themselves wait asleep, not at full speed
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    else:
        gc.disable()  # a fourth of the time of imports and collection, which leave no garbage


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand units out one after the other, to whoever is free."""
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid)

    return ByUnit(config, log)


def _rank(item: pytest.Item) -> tuple[int, bool]:
    places = [place for place, name in enumerate(LONGEST) if name in item.nodeid]
    return min(places, default=len(LONGEST)), item.get_closest_marker("slow") is None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put units with slow tests first where there are several processes."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(unit_of(item.nodeid), []).append(item)
    order = sorted(units.values(), key=lambda unit: min(map(_rank, unit)))
    items[:] = [item for unit in order for item in unit]


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take modules and tests, two million objects, out of what is searched for garbage."""
    gc.freeze()
    gc.enable()


FEW_DOTS = 30  # per inch


@pytest.fixture(autouse=True, scope="module")
def threads_of_a_room(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where work is spread over threads there are two, also in a process that has one processor."""
    before = torch.get_num_threads()
    if request.path.parent.name in {"encoder", "attention", "contacts"}:
        torch.set_num_threads(max(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Set how many threads PyTorch has, until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def dots_of_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Figures of few dots, in a third of the time, but where figures themselves are tested."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name not in {"plots", "inside"}:
            for name in ("SAVED_DPI", "SHOWN_DPI"):
                patch.setattr(f"esmkit.plots.figure.{name}", FEW_DOTS)
        yield


@pytest.fixture(scope="session", params=SHAPES, ids=lambda s: "x".join(map(str, s)))
def any_tiny_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A random checkpoint of each of three shapes in turn."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "model", request.param)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One random checkpoint of 2 layers, 4 heads, width 32."""
    return make_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny-esm2", SHAPES[0])


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path, request: pytest.FixtureRequest) -> Esm2:
    model = load(tiny_folder, "cpu")
    if getattr(request, "param", "default") != "default":
        other = not getattr(model.operations, "products", False)
        other = other and torch.backends.mkldnn.is_available()
        model.operations = FastOperations(products=other, compiled=False)
    return model


@pytest.fixture(scope="session")
def tiny_lm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same random checkpoint with a masked-LM head."""
    folder = tmp_path_factory.mktemp("tiny-lm") / "tiny-esm2-lm"
    return make_checkpoint(folder, SHAPES[0], lm_head=True)


@pytest.fixture(scope="session")
def tiny_lm(tiny_lm_folder: Path) -> Esm2:
    return load(tiny_lm_folder, "cpu")


BOTH_WAYS = {"test_encoder", "test_packing", "test_embed", "test_extract", "test_ablation"}
"""Modules whose tests are run with what is not the default here too: PyTorch's attention where there is a
compiler, and of oneDNN's products and PyTorch's the others."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the tests of some modules the tiny model in both ways."""
    if "tiny" in metafunc.fixturenames and metafunc.definition.path.stem in BOTH_WAYS:
        metafunc.parametrize("tiny", ["other", "default"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def real() -> Esm2:
    """The real offline checkpoint; fetched if need be. In CI it has to be there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OfflineCheckpointWarning)
            return load(OFFLINE_NAME, "cpu")
    except CheckpointError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the offline checkpoint is out of reach: {error}")


@pytest.fixture(scope="session")
def demo() -> list[Protein]:
    return demo_proteins()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the esmkit command in this process, in a folder of its own."""

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    def run_one(
        *arguments: object, cwd: Path, text: str = "", terminal: bool = False, **environment: str
    ) -> Done:
        stdin = Terminal if terminal else io.TextIOWrapper
        with monkeypatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", ["esmkit", *map(str, arguments)])
            patch.setattr(sys, "stdin", stdin(io.BytesIO(text.encode())))
            patch.setattr(warnings, "showwarning", warnings.showwarning)
            patch.setattr(signal, "signal", lambda *_: None)
            for name, value in environment.items():
                patch.setenv(name, value)
            with warnings.catch_warnings():
                warnings.simplefilter("always", OfflineCheckpointWarning)
                warnings.simplefilter("default", FittedHeadWarning)
                with pytest.raises(SystemExit) as stopped:
                    main()
        output = capsys.readouterr()
        return Done(int(stopped.value.code or 0), output.out, output.err)

    return run_one
