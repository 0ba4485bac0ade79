"""Tiny seeded checkpoints that bring a masked-LM head, as transformers reads them too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from esmkit.esm2 import Esm2, load
from oracles.checkpoints import SHAPES, make_checkpoint


def with_head(folder: Path, shape: tuple[int, int, int], seed: int = 0) -> Path:
    """Write a random checkpoint with a head whose probabilities are far from uniform."""
    make_checkpoint(folder, shape, seed)
    path, width = folder / "model.safetensors", shape[2]
    random = np.random.default_rng(seed + 100)

    def of(*size: int, center: float = 0.0, scale: float = 0.3) -> torch.Tensor:
        return torch.tensor(random.normal(center, scale, size), dtype=torch.float32)

    head = {
        "lm_head.dense.weight": of(width, width),
        "lm_head.dense.bias": of(width),
        "lm_head.layer_norm.weight": of(width, center=0.2, scale=0.04),
        "lm_head.layer_norm.bias": of(width, scale=0.1),
        "lm_head.bias": of(33),
    }
    save_file({**load_file(path), **head}, path, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session", params=SHAPES, ids=lambda s: "x".join(map(str, s)))
def any_scored_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    return with_head(tmp_path_factory.mktemp("scored") / "model", request.param)


@pytest.fixture(scope="session")
def scored_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_head(tmp_path_factory.mktemp("scored") / "scored-esm2", SHAPES[0])


@pytest.fixture(scope="session")
def scored(scored_folder: Path) -> Esm2:
    return load(scored_folder, "cpu")
