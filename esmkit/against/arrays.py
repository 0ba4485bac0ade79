"""Embeddings in HDF5, npz, npy, PyTorch's files and safetensors, whoever wrote them."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from esmkit.against.annotated import is_annotated, read_annotated
from esmkit.against.given import Given, Lazy
from esmkit.against.named import (
    NAMES,
    VECTORS,
    beside,
    given_of_objects,
    matrix,
    part_of,
    unnamed,
)
from esmkit.against.pickled import read_object_array
from esmkit.embeddings.foreign import hdf5_keys, text_of
from esmkit.errors import InputError
from esmkit.files.arrays import refuse_unfolding, stored
from esmkit.files.hdf5 import open_hdf5
from esmkit.text import shorten

__all__ = ["read_hdf5", "read_npy", "read_npz"]

MOST_BYTES = 2**33
"""Of one array of an npz: 35,000 residues of the largest ESM-2 are a twelfth of that in float32."""

_FEW = 16
"""Datasets of a file up to which one may hold the IDs of another."""

_LAYER = re.compile(r"(?:.*(?<![a-z])layer[_ -]?)?(\d+)", re.IGNORECASE)


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
    return replace(found, checkpoint=checkpoint, close=handle.close)


def _read_hdf5(path: str, handle: Any) -> Given:
    if not len(handle):
        raise InputError(f"{path!r} is HDF5 without anything in it; make the file anew")
    if is_annotated(handle):
        return read_annotated(path, handle)
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
    few = len(handle) <= _FEW and all(isinstance(name, str) for name in handle)
    if few and all(isinstance(handle[n], h5py.Dataset) for n in handle):
        sets = {name: handle[name] for name in handle if handle[name].shape}
        if "embedding_ptr" in handle and "idptr" in handle and ids is not None:
            return _scikit_bio(path, handle, ids, vectors)
        found = beside(path, "HDF5", sets) if _are_whole(sets) else None
        if found is not None:
            return found
    keys = _across(handle) or hdf5_keys(handle)
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


def _are_whole(sets: dict[str, Any]) -> bool:
    """Tell whether the file holds as much of its datasets as it says; else each is told of later."""
    try:
        for one in sets.values():
            stored(one, slice(0))
    except (OSError, ValueError):
        return False
    return True


def _across(handle: Any) -> dict[str, str] | None:
    """Return the datasets by ID where all have as many rows and not as many columns."""
    shapes: list[Any] = [getattr(handle[key], "shape", None) for key in islice(handle, _FEW)]
    if not all(shape and len(shape) == 2 for shape in shapes):
        return None
    if len({shape[0] for shape in shapes}) > 1 or len({shape[1] for shape in shapes}) == 1:
        return None
    return {text_of(handle[key].attrs.get("original_id", key)): key for key in handle}


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
        found = matrix(path, "npy as PEPE writes it", headers, block, name)
    elif block.ndim == 1 and block.dtype != object:
        found = Given(path, "npy, one vector", [part_of({"row 0": block}, name)])
    else:
        found = unnamed(path, "npy, one array without IDs", block, name)
    (part,) = found.parts
    across = None if part.across is None else replace(part.across, name="")
    return replace(found, parts=[replace(part, name="", across=across)])


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
