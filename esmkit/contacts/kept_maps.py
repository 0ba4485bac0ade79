"""Contact maps kept on disk from when they are written until they are scored and drawn.

Scoring and drawing come after the output stands, and a kill may come between; the maps wait in a
file, one after the other, so that nothing is computed twice and never more than one is in memory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from esmkit.contacts.map import ContactMap
from esmkit.contacts.saturated import Saturated
from esmkit.errors import OutputError
from esmkit.files.disk import disk_errors, sync

__all__ = ["KeptMaps", "pack", "square", "unpack", "upper_triangle"]

_FACTS = ("id", "header", "sequence", "method", "source", "windows", "checkpoint")
"""Attributes of a contact map besides its values."""

_CHECKSUM, _COUNT = "crc32", "maps"
"""Names of what is kept to recognise damage."""


def upper_triangle(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the upper triangle, diagonal included, of a symmetric map: float32, (R (R + 1) / 2,).

    >>> upper_triangle(np.float32([[1, 2], [2, 3]]))
    array([1., 2., 3.], dtype=float32)
    """
    return values[np.triu_indices(len(values))]


def square(triangle: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo :func:`upper_triangle`: float32, (R, R).

    >>> square(np.float32([1, 2, 3]))
    array([[1., 2.],
           [2., 3.]], dtype=float32)
    """
    residues = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    values = np.empty((residues, residues), np.float32)
    values[np.triu_indices(residues)] = triangle
    values.T[np.triu_indices(residues)] = triangle
    return values


def pack(values: NDArray[np.float32], saturated: Saturated | None) -> NDArray[np.float32]:
    """Return a map as one array: its upper triangle, or that with the logits that rank it.

    Returns
    -------
    numpy.ndarray of float32
        Of one axis without logits, of two with some. Then the triangle is followed by the k logits,
        the rows and columns of their pairs, and k, whole numbers in the bits of a float32.
    """
    triangle = upper_triangle(values)
    if saturated is None:
        return triangle
    places = np.concatenate([saturated.rows, saturated.columns, [len(saturated.rows)]])
    whole = places.astype(np.int32).view(np.float32)
    return np.concatenate([triangle, saturated.logits, whole])[None]


def unpack(packed: NDArray[np.float32]) -> tuple[NDArray[np.float32], Saturated | None]:
    """Undo :func:`pack`: the map (R, R), and the logits if there are any."""
    if packed.ndim == 1:
        return square(packed), None
    flat = np.ascontiguousarray(packed[0])
    count = int(flat[-1:].view(np.int32)[0])
    places = flat[-1 - 2 * count : -1].view(np.int32).astype(np.int64)
    logits = flat[-1 - 3 * count : -1 - 2 * count]
    return square(flat[: -1 - 3 * count]), Saturated(places[:count], places[count:], logits)


class KeptMaps:
    """A file of contact maps, in the order in which they were added.

    It holds NumPy arrays behind each other: first what was to be kept; then for each map its facts,
    both as JSON in bytes, and its values as :func:`pack` gives them,
    whose CRC-32 is one of the facts; last how many maps there are. So a file that was cut off, between two maps too, or written over is recognised.

    Parameters
    ----------
    path : Path
        The file; :meth:`begin` writes it anew.
    only : set of str, optional
        IDs of the proteins whose maps are wanted; by default all.
    """

    def __init__(self, path: Path, only: set[str] | None = None) -> None:
        self.path = path
        self.only = only
        self._file: IO[bytes] | None = None
        self._count = 0

    def wants(self, name: str) -> bool:
        """Tell whether the map of the protein with this ID is wanted."""
        return self.only is None or name in self.only

    def _wants_none(self) -> bool:
        return self.only is not None and not self.only

    def begin(self) -> None:
        """Open the file, empty; there is none if no map is wanted."""
        if self._wants_none():
            return
        with disk_errors(self.path):
            self._file = self.path.open("wb")
            self._count = 0
            _put(self._file, None if self.only is None else sorted(self.only))

    def add(self, found: ContactMap) -> None:
        """Keep a map, if it is wanted."""
        if self._file is not None and self.wants(found.id):
            packed = pack(found.probability, found.saturated)
            facts = {name: getattr(found, name) for name in _FACTS}
            with disk_errors(self.path):
                _put(self._file, {**facts, _CHECKSUM: crc32(packed.tobytes())})
                np.save(self._file, packed, allow_pickle=False)
            self._count += 1

    def end(self) -> None:
        """Close the file, safe on the disk."""
        if self._file is not None:
            with disk_errors(self.path):
                _put(self._file, {_COUNT: self._count})
                self._file.close()
                sync(self.path)
            self._file = None

    def are_there(self) -> bool:
        """Tell whether the file holds every map that is wanted.

        It does not if the run that wrote it wanted others, or had done with them.
        """
        if self._wants_none():
            return True
        try:
            with self.path.open("rb") as file:
                kept = _get(file)
        except (OSError, ValueError, EOFError):
            return False
        return kept is None or (self.only is not None and self.only <= set(kept))

    def __iter__(self) -> Iterator[ContactMap]:
        """Read the maps that are wanted, one at a time.

        Raises
        ------
        OutputError
            If the file was cut off or written over.
        """
        if self._wants_none():
            return
        with self.path.open("rb") as file:
            try:
                _get(file)
                count = 0
                while _COUNT not in (facts := _get(file)):
                    packed = np.load(file, allow_pickle=False)
                    if facts.pop(_CHECKSUM) != crc32(packed.tobytes()):
                        raise ValueError
                    count += 1
                    if self.wants(facts["id"]):
                        values, saturated = unpack(packed)
                        yield ContactMap(probability=values, saturated=saturated, **facts)
                if facts[_COUNT] != count:
                    raise ValueError
            except (ValueError, EOFError, KeyError, TypeError):
                raise OutputError(
                    f"{str(self.path)!r} is damaged; delete it, then run the same again"
                ) from None


def _put(file: IO[bytes], facts: Any) -> None:
    np.save(file, np.frombuffer(json.dumps(facts).encode(), np.uint8), allow_pickle=False)


def _get(file: IO[bytes]) -> Any:
    return json.loads(np.load(file, allow_pickle=False).tobytes())
