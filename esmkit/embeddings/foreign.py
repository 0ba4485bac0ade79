"""Embedding files that others wrote: arrays by ID, without provenance.

UniProt's (uniprot.org/help/embeddings: a dataset for each accession, float16), those of
bio_embeddings and biotrainer (a dataset for each number or hash, whose attribute ``original_id``
is the ID) and of ProtTrans' scripts (a dataset for each ID); and npz files of arrays by ID.
"""

import re
import zipfile
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import h5py
import numpy as np

from esmkit.files.arrays import refuse_unfolding
from esmkit.sequences.ids import UniqueIds

__all__ = ["check_arrays", "hdf5_keys", "npz_keys", "npz_shapes", "text_of"]

_MOST_CHECKED = 1_000
"""Arrays that are looked at when a file is opened; of a file with half a million the first."""

_NO_ID = re.compile(r"\d+|[0-9a-f]{32}")
"""Names that bio_embeddings gives in place of IDs: a number, or the MD5 of the sequence."""

_ORIGINAL = "original_id"
"""Attribute of a dataset in which bio_embeddings keeps the ID."""


def text_of(value: Any) -> str:
    """Return an attribute of HDF5 as text, whichever of its kinds of text it is.

    >>> text_of(b"P69905"), text_of("P69905")
    ('P69905', 'P69905')
    """
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def hdf5_keys(file: h5py.File) -> dict[str, str]:
    """Return the name in the file of each protein, by ID.

    Parameters
    ----------
    file : h5py.File
        Without esmkit's provenance.

    Returns
    -------
    dict from str to str
        IDs as they are in the file, in its order; an ID with ``/`` is a path through groups.

    Raises
    ------
    ValueError
        If it holds anything but arrays of embeddings.
    """
    keys = list(file)
    if any(isinstance(file[key], h5py.Group) for key in keys[:_MOST_CHECKED]):
        keys = _paths(file)
    odd = next((key for key in keys if not isinstance(key, str)), None)
    if odd is not None:  # as h5py gives what is no UTF-8
        raise ValueError(f"the name of an array is not UTF-8: {text_of(odd)!r}")
    check_arrays(_facts(file[key]) for key in keys)
    if not all(map(_NO_ID.fullmatch, keys)) or _ORIGINAL not in file[keys[0]].attrs:
        return {key: key for key in keys}
    if all(map(str.isdigit, keys)):  # HDF5 lists 10 before 2
        keys.sort(key=int)
    unique = UniqueIds()
    return {unique(text_of(file[key].attrs.get(_ORIGINAL, key))): key for key in keys}


def _facts(dataset: Any) -> tuple[str, tuple[int, ...], np.dtype[Any]]:
    return dataset.name[1:], dataset.shape or (), dataset.dtype  # None of one without values


def _paths(file: h5py.File) -> list[str]:
    """Return the paths of all datasets, within groups too."""
    found: list[str] = []

    def look(path: Any, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            found.append(text_of(path))

    file.visititems(look)
    return found


def npz_shapes(archive: zipfile.ZipFile) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of each array of an npz, by name, without reading its values.

    Raises
    ------
    ValueError
        If it is no npz.
    """
    names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        raise ValueError("it is PyTorch's, which esmkit never reads, for it may run anything")
    if "[Content_Types].xml" in names:
        raise ValueError("it is a workbook or document of an office program")
    other = [name for name in names if not name.endswith(".npy")]
    if other:
        raise ValueError(f"it is a zip archive with {other[0]!r} in it")
    found = {}
    for name in names:
        held = archive.getinfo(name)
        refuse_unfolding(name.removesuffix(".npy"), held.file_size, held.compress_size)
        with archive.open(name) as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, _, kind = read(member)
        found[name.removesuffix(".npy")] = (shape, kind)
    return found


def check_arrays(arrays: Iterable[tuple[str, tuple[int, ...], np.dtype[Any]]]) -> None:
    """Make sure that arrays can be embeddings of proteins.

    Parameters
    ----------
    arrays : iterable of (name, shape, dtype)

    Raises
    ------
    ValueError
        If there is none, or one is not (D,), (R, D) or (layers, R, D) of floats, with one D and one
        number of axes for all.
    """
    first: tuple[str, tuple[int, ...]] | None = None
    for name, shape, kind in islice(arrays, _MOST_CHECKED):
        if kind.kind != "f" or not 1 <= len(shape) <= 3 or not shape[-1]:
            raise ValueError(
                f"{name!r} in it, {kind} of shape {tuple(shape)}, is no embedding: (D,) or (R, D) "
                "of floats"
            )
        first = first or (name, shape)
        if (len(shape), shape[-1]) != (len(first[1]), first[1][-1]):
            raise ValueError(
                f"{first[0]!r} and {name!r} in it are of shapes {tuple(first[1])} and "
                f"{tuple(shape)}, which no embeddings of one model are"
            )
    if first is None:
        raise ValueError("it holds no arrays")


def npz_keys(shapes: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> dict[str, str]:
    """Return the name in an npz of each protein, by ID.

    Raises
    ------
    ValueError
        If it holds anything but arrays of embeddings.
    """
    check_arrays((name, *shape) for name, shape in shapes.items())
    return {name: name for name in shapes}
