"""AnnData (``.h5ad``): a matrix of observations, dense or sparse, under the names of ``obs``."""

from typing import Any

import h5py
import numpy as np

from esmkit.against.given import Given, Part
from esmkit.against.named import matrix
from esmkit.embeddings.foreign import text_of
from esmkit.errors import InputError
from esmkit.files.arrays import stored

__all__ = ["is_annotated", "read_annotated"]

MOST_BYTES = 2**33
"""Of a sparse matrix that is written out in full."""


def is_annotated(handle: Any) -> bool:
    """Tell AnnData by its ``obs`` beside ``X`` or ``obsm``."""
    return "obs" in handle and ("X" in handle or "obsm" in handle)


def read_annotated(path: str, handle: Any) -> Given:
    """Read ``X`` of AnnData, and what stands in ``obsm`` as vectors that may be meant instead.

    Parameters
    ----------
    path : str
    handle : h5py.File
    """
    ids = _names(path, handle["obs"])
    parts: list[Part] = []
    blocks = {"X": handle["X"]} if "X" in handle else {}
    blocks |= {f"obsm/{name}": one for name, one in handle.get("obsm", {}).items()}
    for name, one in blocks.items():
        block = _dense(path, name, one)
        if block is not None and len(block) == len(ids):
            parts += matrix(path, "AnnData", ids, block, name).parts
    if not parts:
        raise InputError(
            f"{path!r} is AnnData without a matrix in X or obsm; write the embeddings into X"
        )
    first = Part(parts[0].arrays, "" if parts[0].name == "X" else parts[0].name)
    return Given(path, "AnnData", [first], spares=parts[1:])


def _names(path: str, obs: Any) -> list[str]:
    """Return the names of the observations, in either form that AnnData has had."""
    if isinstance(obs, h5py.Dataset):  # before version 0.7 a table
        kinds = obs.dtype.names or ()
        found = next((obs[n] for n in ("index", "_index", "obs_names") if n in kinds), None)
    else:
        key = text_of(obs.attrs.get("_index", "_index"))
        column = obs.get(key, obs.get("index"))
        if isinstance(column, h5py.Group):  # text of few kinds, or that may be missing
            values = stored(column["categories" if "categories" in column else "values"])
            column = values[stored(column["codes"])] if "codes" in column else values
            return [text_of(one) for one in column]
        found = None if column is None else stored(column)
    if found is None:
        raise InputError(f"{path!r} is AnnData without names of its observations; make it anew")
    return [text_of(one) for one in found]


def _dense(path: str, name: str, one: Any) -> Any:
    """Return a matrix, one that is sparse written out; None where it is none."""
    if isinstance(one, h5py.Dataset):
        if one.ndim != 2:
            return None
        stored(one, slice(0))
        return one
    if not {"data", "indices", "indptr"} <= {*one}:
        return None
    shape = tuple(int(n) for n in one.attrs.get("shape", one.attrs.get("h5sparse_shape", ())))
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] * 4 > MOST_BYTES:
        raise InputError(f"{name} of {path!r} is sparse and too large; write it in full")
    form = text_of(one.attrs.get("encoding-type", one.attrs.get("h5sparse_format", "csr")))
    data, where, stops = (np.asarray(stored(one[n])) for n in ("data", "indices", "indptr"))
    lines = np.repeat(np.arange(len(stops) - 1), np.diff(stops))
    found = np.zeros(shape, np.float32)
    found[(where, lines) if form.startswith("csc") else (lines, where)] = data
    return found
