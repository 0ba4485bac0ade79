"""Each command that takes ``--model``, with weights that have to come from the Hub first."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from esmkit.data import ts50
from esmkit.results import read
from oracles.commands import fails
from oracles.hub import Hub, at_a_hub, cut, html

REPO = "someone/tiny-esm2"

COMMANDS = {
    "embed": "embed x.fasta",
    "attention": "attention x.fasta",
    "contacts": "contacts x.fasta",
    "score": "score x.fasta",
    "score variants": "score variants x.fasta --mutations m.csv",
    "trace": "trace x.fasta --keep L1.residual",
    "explore": "explore x.fasta",
    "verify": "verify x.fasta",
    "heads": "heads --structures chains -o heads",
}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_lm_folder: Path) -> Iterator[Hub]:
    with at_a_hub(monkeypatch, tmp_path) as server:
        server.put(REPO, {p.name: p.read_bytes() for p in tiny_lm_folder.iterdir()})
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    (place / "chains").mkdir(parents=True)
    (place / "x.fasta").write_text(">a\nMKTVRQERLKSIVRILE\n")
    (place / "m.csv").write_text("mutant\nK2A\n")
    for structure in ts50()[:10]:
        shutil.copy(structure.path, place / "chains")
    return place


def test_a_command_gets_its_weights(run, there: Hub, place: Path, tiny_lm_folder: Path):
    """Over a connection that is cut on the way; the others do in ``reliability/hub_matrix.py``."""
    weights = there.repos[REPO].files["model.safetensors"]
    there.when("GET /storage/", cut(len(weights) // 2), times=1)
    done = run("embed", "x.fasta", "--no-compile", "--model", REPO, cwd=place)
    assert done.returncode == 0, done.stderr
    assert f"esmkit: downloading {REPO} from the Hugging Face Hub\n" in done.stderr
    assert there.bytes_of("model.safetensors") == len(weights)
    words = ("embed", "x.fasta", "--no-compile", "-o", "y.h5", "--model", tiny_lm_folder)
    assert run(*words, cwd=place).returncode == 0
    found, expected = (read(place / name)["a"] for name in ("x.h5", "y.h5"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_in_one_sentence_why_it_has_none(run, there: Hub, place: Path, name: str):
    there.when(".", html)
    before = sorted(place.rglob("*"))
    message = fails(run(*COMMANDS[name].split(), "--model", REPO, cwd=place))
    assert message.endswith(
        "is something else, such as the log-in page of a network or a proxy; log in there, check "
        "HF_ENDPOINT, or give the folder of a model with --model"
    )
    assert sorted(place.rglob("*")) == before


def test_weights_are_fetched_shown_and_checked(run, there: Hub, place: Path):
    done = run("weights", "fetch", REPO, cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{REPO} (not official; Hugging Face Hub; SHA-256 ")
    folder = Path(run("weights", "path", REPO, cwd=place).stdout.strip())
    assert (folder / "model.safetensors").read_bytes() == there.repos[REPO].files[
        "model.safetensors"
    ]
    there.put("facebook/esm2_t12_35M_UR50D", there.repos[REPO].files)
    text = fails(run("weights", "fetch", "esm2_t12_35M_UR50D", cwd=place))
    assert "is not what its authors published (SHA-256 " in text
    text = fails(run("weights", "check", "facebook/esm2_t12_35M_UR50D", cwd=place))
    assert "is not on this machine" in text
