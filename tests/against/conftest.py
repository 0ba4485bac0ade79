"""What makes embeddings without esmkit."""

from pathlib import Path

import pytest

from oracles.planted import Maker


@pytest.fixture(scope="package")
def maker(tiny_folder: Path) -> Maker:
    return Maker(tiny_folder)
