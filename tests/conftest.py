"""Fixtures: tiny seeded checkpoints for quick tests, and the real offline one."""

import io
import os
import signal
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

from esmkit.cli import main
from esmkit.data import demo_proteins
from esmkit.encoder.checkpoints import OfflineCheckpointWarning
from esmkit.errors import CheckpointError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.proteins import Protein
from oracles.checkpoints import OFFLINE_NAME, SHAPES, make_checkpoint
from oracles.commands import Done

settings.register_profile("esmkit", deadline=None)  # how fast the machine is, is no property
settings.load_profile("esmkit")


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
    return load(tiny_folder, "cpu", compiled=getattr(request, "param", None))


BOTH_WAYS = {"test_encoder", "test_packing", "test_embed", "test_extract", "test_ablation"}
"""Modules whose tests are run with PyTorch's attention too, which is not the default where there is
a compiler."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the tests of some modules the tiny model in both ways."""
    if "tiny" in metafunc.fixturenames and metafunc.definition.path.stem in BOTH_WAYS:
        ways = [False, None]
        metafunc.parametrize("tiny", ways, indirect=True, ids=["plain", "default"], scope="session")


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
                with pytest.raises(SystemExit) as stopped:
                    main()
        output = capsys.readouterr()
        return Done(int(stopped.value.code or 0), output.out, output.err)

    return run_one
