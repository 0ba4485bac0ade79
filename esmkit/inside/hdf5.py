"""Traces on disk: one HDF5 group per protein, with a dataset for each activation."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from esmkit.encoder.activations import Activation, Activations
from esmkit.errors import EsmkitError, OptionError, OutputError
from esmkit.files.arrays import dataset_key, protein_id
from esmkit.files.disk import SteadyFile
from esmkit.files.hdf5 import open_hdf5
from esmkit.files.provenance import PROVENANCE, parse_provenance
from esmkit.files.reading import UNREADABLE, ProteinFile, damage
from esmkit.sequences.proteins import Protein
from esmkit.text import missing

__all__ = ["StoredTrace", "TraceFile", "TraceWriter"]


class TraceWriter:
    """Writes the HDF5 file: a group per protein, a dataset per activation, ``bos`` and ``eos``.

    Parameters
    ----------
    path : Path
    provenance : dict
        Goes into the attribute of that name, as JSON.
    """

    def __init__(self, path: Path, provenance: dict[str, Any]) -> None:
        self._disk = SteadyFile(path)
        self._file = h5py.File(self._disk, "w", libver=("v108", "v108"), track_order=True)
        self._file.attrs[PROVENANCE] = json.dumps(provenance)

    def begin(self, protein: Protein, sequence: str) -> None:
        """Make the group of a protein, of which a sequence was read."""
        self._group = self._file.create_group(dataset_key(protein.id), track_order=True)
        self._group.attrs["id"] = protein.id
        self._group.attrs["header"] = protein.header
        self._group.attrs["length"] = len(protein)
        self._group.attrs["sequence"] = np.bytes_(sequence)

    def add(self, one: Activation, values: NDArray[Any]) -> None:
        """Write an activation: of a map the residues, of all else BOS, the residues and EOS."""
        if one.is_map:
            self._group.create_dataset(one.name, data=values)
            return
        axis = one.token_axis
        bos, inner, eos = np.split(values, [1, values.shape[axis] - 1], axis=axis)
        self._group.create_dataset(one.name, data=inner)
        for name, end in (("bos", bos), ("eos", eos)):
            specials = self._group.require_group(name)
            specials.create_dataset(one.name, data=end.squeeze(axis))

    def end(self) -> None:
        """Finish the group of a protein."""
        self._disk.check()

    def close(self) -> None:
        """Finish the file."""
        with self._disk:
            self._file.close()
            self._disk.finish()


class StoredTrace(Mapping[str, NDArray[np.float32]]):
    """Activations of one protein in a file, a mapping from their names to float32 arrays.

    Each is read when it is asked for; one head's also if that of all heads is there.

    Attributes
    ----------
    id, header, sequence : str
        Of the protein; the sequence as far as it was read.
    """

    id: str
    header: str
    sequence: str

    def __init__(
        self,
        facts: tuple[str, str, str],
        names: tuple[str, ...],
        known: Activations,
        get: Callable[[str, int | None], NDArray[np.float32]],
    ) -> None:
        self.id, self.header, self.sequence = facts
        self._names = names
        self._known = known
        self._get = get

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """Return an activation of the residues, (R, D), (H, R, K) or (H, R, R), of one head (R, ...).

        Raises
        ------
        OptionError
            If there is no such activation, or the file does not have it.
        """
        return self._find("", name)

    def bos(self, name: str) -> NDArray[np.float32]:
        """Return an activation at BOS, the mean over windows."""
        return self._find("bos/", name)

    def eos(self, name: str) -> NDArray[np.float32]:
        """Return an activation at EOS, the mean over windows."""
        return self._find("eos/", name)

    def _find(self, before: str, name: str) -> NDArray[np.float32]:
        one = self._known.find(name)
        if before and one.is_map:
            raise OptionError(f"a file has {one.name} of the residues alone; trace it in memory")
        if one.name in self._names:
            return self._get(before + one.name, None)
        if one.head is not None and one.of_all_heads.name in self._names:
            return self._get(before + one.of_all_heads.name, one.head)
        some = ", ".join(self._names[:5]) + ", ..." * (len(self._names) > 5)
        raise OptionError(f"{one.name} is not in this file, which has {some}; trace it anew")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        some = ", ".join(self._names[:3]) + ", ..." * (len(self._names) > 3)
        return f"StoredTrace({self.id!r}, {len(self.sequence):,} residues: {some})"


class TraceFile(ProteinFile[StoredTrace]):
    """A file of traces: a mapping from ID to :class:`StoredTrace`, in input order.

    ``file["P69905"]["L5.residual"]`` reads one array. A protein is found by its ID, or by another
    name that means no other.

    Attributes
    ----------
    path : Path
    provenance : dict
        What the file records of its making: checkpoint, activations, edits, input, versions.

    Raises
    ------
    OutputError
        If there is no such file, or it holds no traces.
    UnknownIdError
        By ``file[name]``, if no protein is meant, or several are.
    ClosedFileError
        By every access after :meth:`close`, or after the end of ``with``.
    """

    def _open(self) -> None:
        if not self._place.is_file():
            raise OutputError(missing(self.path))
        try:
            self._file = open_hdf5(self._place)
        except UNREADABLE as error:
            what = "cannot be read as HDF5"
            raise damage(self.path, error, "make it anew with `esmkit trace`", what) from error
        try:
            self.provenance: dict[str, Any] = parse_provenance(
                str(self._file.attrs.get(PROVENANCE, "{}"))
            )
            if self.provenance.get("task") != "trace":
                raise OutputError(
                    f"{str(self.path)!r} holds no traces of esmkit's; `esmkit trace` writes them, and "
                    "`esmkit.read` opens what else esmkit writes"
                )
            with self._reading():
                shape = self.provenance["model_shape"]
                self._checkpoint: str = self.provenance["checkpoint"]["name"]
                layers, heads, width = (int(shape[n]) for n in ("layers", "heads", "width"))
                self._known = Activations(layers, heads, width, 4 * width)  # F names nothing
                self._names_kept = tuple(map(str, self.provenance["keep"]))
                if not self._names_kept:
                    raise ValueError("its provenance names no activation")
                self._keys = {protein_id(str(key)): str(key) for key in self._file}
        except EsmkitError:
            self._release()
            raise
        except UNREADABLE as error:
            self._release()
            raise damage(self.path, error, "make it anew") from error

    def _release(self) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what HDF5 makes of a damaged file into one sentence."""
        try:
            yield
        except UNREADABLE as error:
            raise damage(self.path, error, "make it anew with `esmkit trace`") from error

    def _read(self, key: str) -> StoredTrace:
        with self._reading():
            attributes = self._file[key].attrs
            sequence: Any = attributes["sequence"]
            facts = str(attributes["id"]), str(attributes["header"]), bytes(sequence).decode()

        def get(name: str, head: int | None) -> NDArray[np.float32]:
            self._ready()
            with self._reading():
                stored: Any = self._file[f"{key}/{name}"]
                return np.asarray(stored[()] if head is None else stored[head], np.float32)

        return StoredTrace(facts, self._names_kept, self._known, get)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the activations that every protein has here."""
        return self._names_kept

    def _said(self) -> str:
        names = self._names_kept
        some = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return f"{len(names)} activation(s) {some}, {self._checkpoint}"
