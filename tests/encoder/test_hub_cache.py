"""The cache that esmkit shares with transformers: each finds what the other has fetched."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import EsmModel

import esmkit
from esmkit.encoder.checkpoints import cached, local_checkpoints, resolve
from esmkit.encoder.checkpoints.known import DEFAULT
from esmkit.errors import CheckpointError
from esmkit.sequences.tokens import encode
from oracles.checkpoints import assert_close
from oracles.hub import Hub, Repo, at_a_hub, set_constant, status
from oracles.hub_layouts import WEIGHTS, files_of, pickled, put_official

REPO = "someone/tiny-esm2"
TOKENS = encode("MKTVRQERLKSIVRILERSKEPVSGAQ")
HERE = "local Hugging Face cache"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_lm_folder: Path) -> Iterator[Hub]:
    with at_a_hub(monkeypatch, tmp_path) as server:
        server.put(REPO, files_of(tiny_lm_folder))
        yield server


def cache(repo: str = REPO) -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def of_transformers(repo: str, **options: Any) -> EsmModel:
    return EsmModel.from_pretrained(repo, add_pooling_layer=False, **options).eval()


def states_of(network: EsmModel) -> np.ndarray:
    with torch.no_grad():
        found = network(torch.as_tensor(TOKENS)[None], output_hidden_states=True)
    return np.stack([h[0].numpy() for h in found.hidden_states])


def test_what_transformers_has_fetched_is_found(there: Hub, monkeypatch):
    network = of_transformers(REPO)
    assert there.bytes_of(WEIGHTS) == len(there.repos[REPO].files[WEIGHTS])
    there.asked.clear()
    set_constant(monkeypatch, "HF_HUB_OFFLINE", True)
    model = esmkit.load(REPO, "cpu", compiled=False)
    assert (model.checkpoint.source, model.checkpoint.revision) == (HERE, "c" * 40)
    assert there.asked == []
    assert_close(model.hidden_states([TOKENS], "all")[0], states_of(network))


@pytest.mark.parametrize("repo", [REPO, DEFAULT.repo])
def test_transformers_finds_what_esmkit_has_fetched(there: Hub, monkeypatch, repo: str):
    """By its name alone, also where esmkit asks for one commit."""
    put_official(there, monkeypatch, there.repos[REPO].files, names=("main",))
    model = esmkit.load(repo, "cpu", compiled=False)
    there.asked.clear()
    network = of_transformers(repo, local_files_only=True)
    assert there.asked == []
    assert_close(model.hidden_states([TOKENS], "all")[0], states_of(network))


def test_a_commit_that_is_no_longer_main_is_not_called_so(there: Hub, monkeypatch):
    files = there.repos[REPO].files
    put_official(there, monkeypatch, files)
    old = there.repos[DEFAULT.repo]
    with_main = there.put(DEFAULT.repo, files, commit="d" * 40, names=("main",))
    there.when(f"/resolve/{old.commit}/", lambda handler: from_commit(handler, there, old))
    assert resolve(DEFAULT.repo).revision == old.commit != with_main.commit
    assert there.count("HEAD .*/resolve/main/config.json") == 1
    assert not (cache(DEFAULT.repo) / "refs" / "main").exists()


def from_commit(handler: Any, there: Hub, old: Repo) -> bool:
    now, there.repos[DEFAULT.repo] = there.repos[DEFAULT.repo], old
    try:
        handler.as_usual()
    finally:
        there.repos[DEFAULT.repo] = now
    return True


def test_a_name_of_its_own_is_left_as_it_is(there: Hub, monkeypatch):
    put_official(there, monkeypatch, there.repos[REPO].files, names=("main",))
    ref = cache(DEFAULT.repo) / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text("d" * 40)
    resolve(DEFAULT.repo)
    assert ref.read_text() == "d" * 40
    assert there.count("/resolve/main/") == 0


def test_weights_are_found_when_the_question_for_main_fails(there: Hub, monkeypatch):
    put_official(there, monkeypatch, there.repos[REPO].files)
    there.when("HEAD .*/resolve/main/", status(500))
    assert resolve(DEFAULT.repo).official


# --------------------------------------------------------------------- a cache without refs/main


def without_name(repo: str = REPO) -> None:
    shutil.rmtree(cache(repo) / "refs")


def second_snapshot(commit: str, repo: str = REPO) -> Path:
    (first,) = (cache(repo) / "snapshots").iterdir()
    return Path(shutil.copytree(first, first.with_name(commit), symlinks=True))


def test_without_refs_the_hub_is_asked_and_nothing_is_fetched(there: Hub):
    """As ``hf download --revision COMMIT`` leaves it."""
    of_transformers(REPO, revision="c" * 40)
    assert not (cache() / "refs" / "main").exists()
    there.asked.clear()
    assert resolve(REPO).source == "Hugging Face Hub"
    assert sum(a.sent for a in there.asked) == 0
    assert resolve(REPO).source == HERE


def test_without_refs_and_without_a_hub_the_one_snapshot_is_taken(there: Hub, monkeypatch):
    resolve(REPO)
    without_name()
    there.asked.clear()
    set_constant(monkeypatch, "HF_HUB_OFFLINE", True)
    found = resolve(REPO)
    assert (found.source, found.revision) == (HERE, "c" * 40)
    assert there.asked == []


def test_of_two_snapshots_none_is_guessed(there: Hub, monkeypatch):
    resolve(REPO)
    without_name()
    other = second_snapshot("d" * 40)
    set_constant(monkeypatch, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as caught:
        resolve(REPO)
    assert str(caught.value) == (
        f"the local Hugging Face cache does not say which of its revisions of {REPO!r} is meant, and "
        "HF_HUB_OFFLINE forbids to ask the Hub; unset it, or give what is there with `model`: "
        f"{str(other.with_name('c' * 40))!r} or {str(other)!r}"
    )
    assert resolve(other).sha256 == there.repos[REPO].etag(WEIGHTS)


def test_a_name_that_leads_nowhere_takes_no_other_snapshot(there: Hub, monkeypatch):
    """As when the download of a newer commit was cut."""
    resolve(REPO)
    (cache() / "refs" / "main").write_text("d" * 40)
    set_constant(monkeypatch, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="does not say which of its revisions"):
        resolve(REPO)


def test_official_weights_are_found_under_any_commit(there: Hub, monkeypatch):
    """Their hash says what they are."""
    put_official(there, monkeypatch, there.repos[REPO].files)
    resolve(DEFAULT.repo)
    (first,) = (cache(DEFAULT.repo) / "snapshots").iterdir()
    first.rename(first.with_name("e" * 40))
    shutil.rmtree(cache(DEFAULT.repo) / "refs", ignore_errors=True)
    there.asked.clear()
    found = resolve()
    assert (found.source, found.revision, found.official) == (HERE, "e" * 40, True)
    assert there.asked == []
    assert str(local_checkpoints()[0].folder).endswith("e" * 40)


# ----------------------------------------------------- official weights, but not the file that is known


@pytest.fixture
def old_cache(there: Hub, monkeypatch, tiny_lm_folder: Path) -> Path:
    """Of the years in which transformers fetched ``pytorch_model.bin``."""
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "1")  # which asks in a thread of its own
    there.put(DEFAULT.repo, pickled(tiny_lm_folder), commit="b" * 40)
    of_transformers(DEFAULT.repo)
    put_official(there, monkeypatch, there.repos[REPO].files, names=("main",))
    there.asked.clear()
    (folder,) = (cache(DEFAULT.repo) / "snapshots").iterdir()
    return folder


def test_pickled_official_weights_are_fetched_as_safetensors(there: Hub, old_cache: Path):
    """They have no hash that is known, and used to be called damaged."""
    found = resolve(DEFAULT.repo)
    assert (found.official, found.source) == (True, "Hugging Face Hub")
    assert found.folder != old_cache
    assert there.bytes_of(WEIGHTS) == len(there.repos[REPO].files[WEIGHTS])


def test_pickled_official_weights_without_a_hub_are_named(there: Hub, old_cache: Path, monkeypatch):
    set_constant(monkeypatch, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as caught:
        resolve(DEFAULT.repo)
    assert str(caught.value) == (
        f"the local Hugging Face cache holds other weights of {DEFAULT.repo!r} than the published "
        "model.safetensors, and HF_HUB_OFFLINE forbids to ask the Hub; unset it, or give what is "
        f"there with `model`: {str(old_cache)!r}"
    )
    assert not resolve(old_cache).official
    assert local_checkpoints()[0].folder is None
    assert there.asked == []


# --------------------------------------------------------------------- two processes at one link


@pytest.mark.parametrize("step", ["symlink_to", "replace"])
def test_two_processes_make_one_link(tmp_path: Path, monkeypatch, step: str):
    """Each has a blob to lose: the file itself is moved only where no link can be made."""
    blob, path = tmp_path / "blobs" / "ab12", tmp_path / "snapshots" / "c" / WEIGHTS
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    inner, other = getattr(Path, step), []

    def with_another(here: Path, target: Any) -> Any:
        if not other:
            other.append(here)
            inner(here, target)  # the other process is just ahead of this one
        return inner(here, target)

    monkeypatch.setattr(Path, step, with_another)
    cached.link(blob, path)
    assert other == [path.with_name(f".{WEIGHTS}.esmkit")]
    assert path.is_symlink()
    assert blob.read_bytes() == path.read_bytes() == b"weights"
    assert [p.name for p in path.parent.iterdir()] == [WEIGHTS]


def test_two_processes_without_symbolic_links(tmp_path: Path, monkeypatch):
    blob, path = tmp_path / "blobs" / "ab12", tmp_path / "snapshots" / "c" / WEIGHTS
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    inner = Path.replace

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("a required privilege is not held by the client")

    def with_another(here: Path, target: Path) -> Path:
        inner(here, target)
        return inner(here, target)

    monkeypatch.setattr(Path, "symlink_to", refuse)
    monkeypatch.setattr(Path, "replace", with_another)
    cached.link(blob, path)
    assert path.read_bytes() == b"weights"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        cached.link(blob, path)  # there is nothing to link to
