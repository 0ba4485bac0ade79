"""Embeddings in HDF5, npz, npy, PyTorch's files and safetensors, whoever wrote them."""

import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from esmkit.against.given import Given, Lazy, Part, by_unique_name
from esmkit.against.pickled import read_object_array
from esmkit.embeddings.foreign import hdf5_keys, text_of
from esmkit.errors import InputError
from esmkit.files.arrays import refuse_unfolding, stored
from esmkit.files.hdf5 import open_hdf5
from esmkit.text import shorten

__all__ = ["given_of_objects", "read_hdf5", "read_npy", "read_npz"]

NAMES = ("headers", "ids", "id", "labels", "names", "keys", "identifiers", "proteins", "seq_ids")
"""Arrays that hold the IDs of the rows of another."""

VECTORS = ("embeddings", "embedding", "vectors", "representations", "x", "features", "data")

MOST_BYTES = 2**33
"""Of one array of an npz: 35,000 residues of the largest ESM-2 are a twelfth of that in float32."""

_LAYER = re.compile(r"(?:.*(?<![a-z])layer[_ -]?)?(\d+)", re.IGNORECASE)

_POOLS = {"bos": "bos", "cls": "bos", "mean": "mean"}

_NOT = ("no", "non", "not", "without", "minus", "excl", "excluding")


def _layer_in(name: str) -> int | None:
    found = re.search(r"(?<![a-z])layer[_ -]?(\d{1,9})(?!\d)", name, re.IGNORECASE)
    found = found or re.fullmatch(r"(\d{1,9})", name)
    return int(found[1]) if found else None


def _pool_in(name: str) -> str | None:
    """Return the pooling that a name tells; None where it tells none, several or one of residues.

    >>> _pool_in("mean_without_bos"), _pool_in("ribosome"), _pool_in("layer6-CLS")
    ('mean', None, 'bos')
    """
    words = re.split(r"[^a-z0-9]+", name.casefold())
    told = {
        _POOLS[word]
        for before, word in zip(["", *words], words, strict=False)
        if word in _POOLS and before not in _NOT
    }
    return told.pop() if len(told) == 1 else None


def part_of(arrays: Mapping[str, Any], name: str) -> Part:
    """Return a part with what its name tells of it."""
    return Part(arrays, name, _layer_in(name), _pool_in(name))


def _matrix(path: str, kind: str, ids: Sequence[Any], block: Any, name: str = "") -> Given:
    """Return rows of one array, under names that stand in another."""
    names = [text_of(one) for one in ids]
    if len(names) != len(block):
        raise InputError(
            f"{path!r} has {len(names):,} IDs and {len(block):,} rows of numbers; make it anew"
        )
    places = by_unique_name(names)
    return Given(path, kind, [part_of(Lazy(places, lambda n: np.asarray(block[n])), name)])


def _unnamed(path: str, kind: str, block: Any, name: str = "") -> Given:
    """Return rows without names."""
    rows = {f"row {n}": n for n in range(len(block))}
    return Given(path, kind, [part_of(Lazy(rows, lambda n: np.asarray(block[n])), name)])


def read_hdf5(path: str) -> Given:
    """Read HDF5: a dataset for each protein, groups of parts, or one matrix beside its IDs."""
    handle = open_hdf5(path)
    try:
        found = _read_hdf5(path, handle)
        told = ("model_name", "model", "embedder", "checkpoint")
        name = next((text_of(handle.attrs[key]) for key in told if key in handle.attrs), None)
    except BaseException:
        handle.close()
        raise
    checkpoint = {} if name is None else {"name": name}
    return Given(found.path, found.kind, found.parts, found.sequences, checkpoint, handle.close)


def _read_hdf5(path: str, handle: Any) -> Given:
    if not len(handle):
        raise InputError(f"{path!r} is HDF5 without anything in it; make the file anew")
    ids = next((handle[n] for n in NAMES if isinstance(handle.get(n), h5py.Dataset)), None)
    vectors = next((handle[n] for n in VECTORS if n in handle), None)
    if isinstance(vectors, h5py.Group) and ids is not None:  # protembedder's
        keys = {text_of(one): text_of(one).replace("/", "|") for one in stored(ids)}
        group: Any = vectors
        return Given(
            path,
            "HDF5, a group of datasets and their headers",
            [part_of(Lazy(keys, lambda key: stored(group[key])), "")],
        )
    if isinstance(vectors, h5py.Dataset) and len(handle) <= 6 and vectors.ndim > 1:
        stored(vectors, slice(0))
        if "embedding_ptr" in handle and "idptr" in handle and ids is not None:
            return _scikit_bio(path, handle, ids, vectors)
        if ids is not None:
            return _matrix(path, "HDF5, one array beside its IDs", stored(ids), vectors)
        return _unnamed(path, "HDF5, one array without IDs", vectors)
    keys = hdf5_keys(handle)
    parts = _grouped(list(keys.values())) if all("/" in key for key in keys.values()) else None
    if parts is None:
        kind = "HDF5, a dataset for each protein"
        return Given(path, kind, [part_of(Lazy(keys, lambda key: stored(handle[key])), "")])
    made = [
        part_of(Lazy(of_part, lambda key: stored(handle[key])), name)
        for name, of_part in parts.items()
    ]
    if len(parts) > 1 and sum(map(len, parts.values())) == len(set().union(*parts.values())):
        # every layer has a protein's vector; numbers of groups that share them out are no layers
        made = [replace(part, layer=None) if part.name.isdecimal() else part for part in made]
    return Given(path, "HDF5, groups of datasets", made)


def _grouped(paths: Sequence[str]) -> dict[str, dict[str, str]] | None:
    """Tell parts from proteins in paths ``a/b``: whichever there are fewer of are the parts."""
    pairs = [path.rsplit("/", 1) for path in paths]
    if any("/" in first for first, _ in pairs):
        return None
    firsts, lasts = {first for first, _ in pairs}, {last for _, last in pairs}
    fewer_first = len(firsts) < len(lasts) or (
        len(firsts) == len(lasts) and all(_LAYER.fullmatch(f) for f in firsts)
    )
    if min(len(firsts), len(lasts)) > max(1, len(pairs) // 2) and len(pairs) > 1:
        return None
    found: dict[str, dict[str, str]] = {}
    for path, (first, last) in zip(paths, pairs, strict=True):
        part, protein = (first, last) if fewer_first else (last, first)
        found.setdefault(part, {})[protein] = path
    return found


def _scikit_bio(path: str, handle: Any, ids: Any, vectors: Any) -> Given:
    """Read scikit-bio's: all residues below each other, the sequences as their IDs."""
    letters = bytes(np.asarray(stored(ids), np.uint8)).decode("ascii", "replace")
    stops = np.asarray(stored(handle["idptr"]), np.int64)
    rows = np.asarray(stored(handle["embedding_ptr"]), np.int64)
    texts = [letters[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)]
    where = dict(zip(texts, zip([0, *rows[:-1]], rows, strict=True), strict=True))
    arrays = Lazy(where, lambda span: vectors[slice(*span)])
    return Given(path, "HDF5 as scikit-bio writes it", [part_of(arrays, "")])


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    """Return an array of an npz; objects are read without running them."""
    held = archive.getinfo(name)
    if held.file_size > MOST_BYTES:
        raise InputError(
            f"{shorten(name)!r} in {archive.filename!r} is too large to be read at once; write an "
            "array for each protein"
        )
    refuse_unfolding(name, held.file_size, held.compress_size)
    with archive.open(name) as member:
        try:
            return np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            if "allow_pickle" not in str(error) and "Object" not in str(error):
                raise
    with archive.open(name) as member:
        return read_object_array(member)


def read_npz(path: str) -> Given:
    """Read an npz: an array for each protein, or one array beside its IDs."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        if not names:
            raise InputError(f"{path!r} is a zip archive without arrays of NumPy; give an npz")
        arrays = {name.removesuffix(".npy"): _member(archive, name) for name in names}
    return given_of_objects(path, "npz", arrays)


def given_of_objects(path: str, kind: str, arrays: Mapping[str, Any]) -> Given:
    """Return what named arrays hold: IDs beside a matrix, or an array for each protein."""
    ids = next((arrays[n] for n in arrays if n.casefold() in NAMES), None)
    rest = {n: a for n, a in arrays.items() if n.casefold() not in NAMES}
    if ids is not None and len(rest) == 1:
        (name, block), *_ = rest.items()
        return _matrix(path, f"{kind}, one array beside its IDs", list(ids), block, "")
    if (
        ids is not None
        and rest
        and all(np.ndim(a) > 1 and len(a) == len(ids) for a in rest.values())
    ):
        each = [
            _matrix(path, kind, list(ids), block, name).parts[0] for name, block in rest.items()
        ]
        return Given(path, f"{kind}, arrays beside their IDs", each)
    (name, block), *others = arrays.items()
    plain = name.casefold() in VECTORS or re.fullmatch(r"arr_\d+", name)
    if not others and plain and np.ndim(block) > 1:
        return _unnamed(path, f"{kind}, one array without IDs", block)
    return Given(path, f"{kind}, an array for each protein", [part_of(dict(arrays), "")])


def read_npy(path: str) -> Given:
    """Read one bare array; of PEPE the table of headers beside it too."""
    with Path(path).open("rb") as stream:
        try:
            block = np.lib.format.read_array(stream, allow_pickle=False)
        except ValueError as error:
            if "allow_pickle" not in str(error) and "Object" not in str(error):
                raise
            stream.seek(0)
            block = read_object_array(stream)
    if block.ndim == 0 or not block.size:
        raise InputError(f"{path!r} is an array without rows; make the file anew")
    name = Path(path).stem
    name = "" if name.isdecimal() else name  # of a protein or a run; a layer is named so in words
    headers = _pepe_headers(Path(path), len(block))
    if headers is not None:
        found = _matrix(path, "npy as PEPE writes it", headers, block, name)
    elif block.ndim == 1 and block.dtype != object:
        found = Given(path, "npy, one vector", [part_of({"row 0": block}, name)])
    else:
        found = _unnamed(path, "npy, one array without IDs", block, name)
    (part,) = found.parts
    return Given(path, found.kind, [Part(part.arrays, "", part.layer, part.pool)])


def _pepe_headers(path: Path, rows: int) -> list[str] | None:
    """Return the headers in ``*_idx.csv`` beside an array, or above its folder."""
    tables = [*path.parent.glob("*_idx.csv"), *path.parent.parent.glob("*_idx.csv")]
    for table in tables:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines and lines[0] == "index,sequence_id" and len(lines) == rows + 1:
            return [line.split(",", 1)[-1] for line in lines[1:]]
    if tables and rows:
        raise InputError(
            f"{str(path)!r} has {rows:,} rows, and {shorten(str(tables[0]))!r} beside it names "
            "another number of records; keep the two of one run together"
        )
    return None
