"""A random checkpoint with the heads of the 8M model, and what passes for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from esmkit.esm2 import Esm2, load
from oracles.checkpoints import make_checkpoint


@pytest.fixture(scope="session")
def eight_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 layers of 20 heads, as the 8M model has, but of width 40."""
    folder = tmp_path_factory.mktemp("eight") / "eight"
    return make_checkpoint(folder, (6, 20, 40), lm_head=True)


@pytest.fixture(scope="session")
def eight(eight_folder: Path) -> Esm2:
    return load(eight_folder, "cpu")


@pytest.fixture
def as_8m(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any model passes for one of the size of the 8M model."""
    monkeypatch.setattr("esmkit.published.reproducing.size_of", lambda *shape: "8M")


@pytest.fixture
def official(eight: Esm2, as_8m: None, monkeypatch: pytest.MonkeyPatch) -> Esm2:
    """The random model as if its weights were the published ones."""
    monkeypatch.setattr(eight, "checkpoint", replace(eight.checkpoint, official=True))
    return eight
