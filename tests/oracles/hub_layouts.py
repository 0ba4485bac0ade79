"""The layouts in which ESM-2 lies on the Hub, made of one folder as its authors publish theirs."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from esmkit.encoder import checkpoints
from esmkit.encoder.checkpoints.known import DEFAULT, OFFICIAL
from oracles.hub import Hub

WEIGHTS = "model.safetensors"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def bare(folder: Path) -> dict[str, bytes]:
    """Without the prefix ``esm.``, as EsmModel saves itself."""
    tensors = load_file(folder / WEIGHTS)
    plain = {n.removeprefix("esm."): t for n, t in tensors.items() if not n.startswith("lm_head.")}
    return {**files_of(folder), WEIGHTS: save(plain, metadata={"format": "pt"})}


def pickled(folder: Path) -> dict[str, bytes]:
    files, buffer = files_of(folder), io.BytesIO()
    torch.save(load_file(folder / WEIGHTS), buffer)
    del files[WEIGHTS]
    return {**files, "pytorch_model.bin": buffer.getvalue()}


def parts(folder: Path, kind: str) -> dict[str, bytes]:
    """In two files and a table, as large models are."""
    files, tensors = files_of(folder), load_file(folder / WEIGHTS)
    del files[WEIGHTS]
    names, table = sorted(tensors), {}
    base, ending = kind.split(".")
    for number in (1, 2):
        file = f"{base}-{number:05d}-of-00002.{ending}"
        some = {name: tensors[name] for name in names[number - 1 :: 2]}
        buffer = io.BytesIO()
        if ending == "bin":
            torch.save(some, buffer)
        files[file] = buffer.getvalue() or save(some, metadata={"format": "pt"})
        table |= dict.fromkeys(some, file)
    index = {"metadata": {"total_size": 1}, "weight_map": table}
    return {**files, f"{kind}.index.json": json.dumps(index).encode()}


LAYOUTS: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "official": files_of,
    "without prefix": bare,
    "pickled": pickled,
    "safetensors in parts": lambda folder: parts(folder, WEIGHTS),
    "pickled in parts": lambda folder: parts(folder, "pytorch_model.bin"),
}


def put_official(
    there: Hub, patch: pytest.MonkeyPatch, files: dict[str, bytes], names: tuple[str, ...] = ()
) -> str:
    """Serve weights as ESM-2 8M, and let them be those that are known as official."""
    commit = str(DEFAULT.revision)
    repo = there.put(DEFAULT.repo, files, commit=commit, names=names)
    known = dataclasses.replace(DEFAULT, sha256=repo.etag(WEIGHTS))
    patch.setattr(checkpoints, "DEFAULT", known)
    patch.setitem(OFFICIAL, DEFAULT.repo, known)
    return known.sha256
