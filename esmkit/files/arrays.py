"""Arrays of proteins on disk, one at a time: HDF5 in the layout of UniProt's files, and npz."""

import json
import zipfile
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import h5py
import numpy as np
from numpy.typing import NDArray

from esmkit.files.disk import SteadyFile
from esmkit.files.provenance import PROVENANCE
from esmkit.sequences.proteins import Protein
from esmkit.text import readable_bytes, shorten

__all__ = [
    "NPZ_PROVENANCE",
    "H5Writer",
    "NpzWriter",
    "Writer",
    "dataset_key",
    "protein_id",
    "refuse_unfolding",
    "stored",
]


NPZ_PROVENANCE = "__provenance__"
"""Name of the array of an npz that holds the provenance, as JSON."""

_H5_CACHE_BYTES = 128 * 1024
"""HDF5's cache of B-trees and object headers. It would grow to 32 MiB, and to twice that in memory,
for a file of 100,000 datasets, without being any faster; below 128 KiB it is slower."""


MOST_UNFOLDED = 2**26
"""Bytes that an array may have whatever the file holds of it."""

MOST_TIMES = 200
"""How many times as large as in its file an array may be. Packed embeddings gain a tenth; what gains
more is one number again and again, or has never been written."""


def refuse_unfolding(name: str, size: int, held: int) -> None:
    """Refuse an array of which a file says that it is far larger than what the file holds.

    Parameters
    ----------
    name : str
    size, held : int
        Bytes of the array, and of what the file has of it.

    Raises
    ------
    ValueError
        If reading it would take any amount of memory for a small file.

    Examples
    --------
    >>> refuse_unfolding("P69905", 1_280, 1_280)
    >>> refuse_unfolding("P69905", 10**12, 2_048)
    Traceback (most recent call last):
        ...
    ValueError: 'P69905' says that it has 1.0 TB, and the file holds 2.0 kB of it
    """
    if size > max(MOST_UNFOLDED, MOST_TIMES * held):
        raise ValueError(
            f"{shorten(name)!r} says that it has {readable_bytes(size)}, and the file holds "
            f"{readable_bytes(held)} of it"
        )


def stored(dataset: Any, part: Any = ()) -> Any:
    """Return what an HDF5 dataset holds, or a part of it, if the file has it.

    Raises
    ------
    ValueError
        If it is no dataset, or far larger than what the file holds of it.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{dataset.name!r} is a group and no array")
    refuse_unfolding(str(dataset.name).lstrip("/"), dataset.nbytes, dataset.id.get_storage_size())
    return dataset[part]


def dataset_key(name: str) -> str:
    """Return the HDF5 or npz name of an ID: ``/`` becomes ``%2F``, and ``%`` itself ``%25``.

    Names that mean something else there are changed too: ``.`` to HDF5, ``x.npy`` to NumPy, and
    that of the provenance.

    >>> dataset_key("a/b")
    'a%2Fb'
    """
    key = name.replace("%", "%25").replace("/", "%2F")
    if not key.strip(".") or key.endswith(".npy"):
        return key.replace(".", "%2E")
    return key.replace("_", "%5F") if key == NPZ_PROVENANCE else key


def protein_id(key: str) -> str:
    """Return the ID that :func:`dataset_key` made a name from.

    >>> protein_id("a%2Fb")
    'a/b'
    """
    return unquote(key)


class Writer(Protocol):
    """Takes results one protein at a time."""

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        """Write one protein: (D,), (R, D), or either with a leading layer axis."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class H5Writer:
    """One dataset per protein, keyed by ID in input order: the layout of UniProt's files."""

    def __init__(self, path: Path, provenance: dict[str, Any], **_: Any) -> None:
        # The 1.8 format (2008) is the oldest in which attributes may exceed 64 KiB.
        self._disk = SteadyFile(path)
        self._file = h5py.File(self._disk, "w", libver=("v108", "v108"), track_order=True)
        cache = self._file.id.get_mdc_config()
        cache.set_initial_size = True
        cache.min_size = cache.initial_size = cache.max_size = _H5_CACHE_BYTES
        self._file.id.set_mdc_config(cache)
        self._file.attrs[PROVENANCE] = json.dumps(provenance)

    def add(self, protein: Protein, values: NDArray[np.float32], **attributes: str) -> None:
        """Write the dataset of one protein, with more attributes if there are some."""
        dataset = self._file.create_dataset(dataset_key(protein.id), data=values)
        dataset.attrs["id"] = protein.id
        dataset.attrs["header"] = protein.header
        dataset.attrs["length"] = len(protein)
        for name, value in attributes.items():
            dataset.attrs[name] = value
        self._disk.check()

    def close(self) -> None:
        """Finish the file."""
        with self._disk:
            self._file.close()
            self._disk.finish()


class NpzWriter:
    """One array per protein in an uncompressed npz, written without holding them all."""

    def __init__(self, path: Path, provenance: dict[str, Any], **_: Any) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._write(NPZ_PROVENANCE, np.array(json.dumps(provenance)))

    def _write(self, key: str, array: NDArray[Any]) -> None:
        info = zipfile.ZipInfo(f"{key}.npy")  # a fixed date: the same input gives the same bytes
        with self._zip.open(info, "w", force_zip64=True) as member:
            np.lib.format.write_array(member, array, allow_pickle=False)

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        """Write the array of one protein."""
        self._write(dataset_key(protein.id), values)

    def close(self) -> None:
        """Finish the file."""
        self._zip.close()
