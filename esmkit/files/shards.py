"""Shards: small files of numbered arrays, each array with a checksum.

They are safetensors files. That library copies every array to write it, and maps whole files into
memory to read them; here arrays are written from where they are, and single ones read from any of
many shards, so that memory does not grow with the output.
"""

import json
import math
import os
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from esmkit.errors import OutputError

__all__ = ["ShardPaths", "ShardReader", "numbers_in", "pack_shard", "read_shard"]

OPEN_SHARDS = 16
"""Shards that a reader holds open. Results that lie side by side are spread over fewer."""

CHECKSUMS = "crc32"
"""Metadata entry of a shard: for each array the checksum of its name, type, shape and bytes."""

SAFETENSORS = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL"},
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
}
"""Names of types: NumPy's, and those of safetensors."""

NUMPY = {theirs: ours for ours, theirs in SAFETENSORS.items()}
"""Names of types: those of safetensors, and NumPy's."""


def pack_shard(arrays: Mapping[int, NDArray[Any]]) -> list[memoryview | bytes]:
    """Return a shard, arrays under their numbers with their checksums, as the parts of its file.

    All but the header are the arrays' own memory.
    """
    header: dict[str, Any] = {}
    checksums: dict[str, str] = {}
    data: list[memoryview | bytes] = []
    stop = 0
    for number, given in arrays.items():
        name, array = str(number), np.asarray(given, order="C")
        start, stop = stop, stop + array.nbytes
        header[name] = {
            "dtype": SAFETENSORS[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [start, stop],
        }
        checksums[name] = _checksum(name, array)
        data.append(array.reshape(-1).view(np.uint8).data)
    header["__metadata__"] = {CHECKSUMS: json.dumps(checksums)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of eight bytes
    return [len(text).to_bytes(8, "little"), text, *data]


WRONG = (ValueError, TypeError, LookupError, AttributeError)
"""Errors that a damaged header leads to."""


class ShardPaths(Mapping[int, Path]):
    """Map of the number of a result to its shard, in twelve bytes a number: there may be millions.

    A dictionary takes some 65.
    """

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._numbers = np.empty(0, np.int64)  # sorted
        self._path_of = np.empty(0, np.int32)  # index into paths
        self._new: list[NDArray[np.int64]] = []  # of the last paths, not sorted in yet

    def add(self, numbers: Collection[int], path: Path) -> None:
        """Take the numbers of one shard; what another shard held under them is forgotten."""
        self._paths.append(path)
        self._new.append(np.fromiter(numbers, np.int64, len(numbers)))

    def _sort_in(self) -> None:
        if not self._new:
            return
        first = len(self._paths) - len(self._new)
        numbers = np.concatenate([self._numbers, *self._new])
        sizes = [len(new) for new in self._new]
        path_of = np.repeat(np.arange(first, len(self._paths), dtype=np.int32), sizes)
        path_of = np.concatenate([self._path_of, path_of])
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        last = np.append(numbers[1:] != numbers[:-1], [True] * bool(len(numbers)))
        self._numbers, self._path_of = numbers[last], path_of[order][last]
        self._new = []

    def __getitem__(self, number: int) -> Path:
        self._sort_in()
        place = int(np.searchsorted(self._numbers, number))
        if place == len(self._numbers) or self._numbers[place] != number:
            raise KeyError(number)
        return self._paths[self._path_of[place]]

    def __iter__(self) -> Iterator[int]:
        self._sort_in()
        return map(int, self._numbers)

    def __len__(self) -> int:
        self._sort_in()
        return len(self._numbers)

    def paths(self) -> list[Path]:
        """Return every shard, whether or not another has taken its numbers."""
        return list(self._paths)


class ShardReader(AbstractContextManager["ShardReader"]):
    """Looks up results by their number; only what is asked for is read.

    Parameters
    ----------
    paths : mapping from int to Path
        Which shard holds the result of a number.
    """

    def __init__(self, paths: Mapping[int, Path]) -> None:
        self._paths = paths
        self._open: OrderedDict[Path, _Shard] = OrderedDict()

    def __getitem__(self, number: int) -> NDArray[Any]:
        path = self._paths[number]
        if path not in self._open:
            self._open[path] = _Shard(path)
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(path)
        return self._open[path][number]

    def close(self) -> None:
        """Close the shards that are open."""
        while self._open:
            self._open.popitem()[1].close()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Shard(AbstractContextManager["_Shard"]):
    """One open shard.

    Its form (https://huggingface.co/docs/safetensors): eight bytes with the length of the header,
    the header in JSON, which has type, shape and place of each array, and the arrays' bytes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb", buffering=0)
        try:
            size = os.fstat(self._file.fileno()).st_size
            length = int.from_bytes(self._file.read(8), "little")
            if length > size:
                raise ValueError("the header is longer than the file")
            header = json.loads(self._file.read(length))
            checksums = json.loads(header.pop("__metadata__")[CHECKSUMS])
            if set(header) != set(checksums):
                raise ValueError("arrays are missing")
            # Shards of small results hold thousands: a few bytes for each, not objects of JSON
            self._kinds: list[tuple[np.dtype[Any], tuple[int, ...]]] = []
            self._facts = np.array(sorted(self._listed(header, checksums)), np.int64).reshape(-1, 4)
            self._data = 8 + length
        except (OSError, ArithmeticError, *WRONG) as error:
            self.close()
            raise self._damaged() from error

    def _listed(
        self, header: dict[str, Any], checksums: dict[str, str]
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield number, kind, first byte and checksum of each array; its length must fit its kind."""
        places: dict[tuple[str, tuple[int, ...]], int] = {}
        for name, facts in header.items():
            kind = (facts["dtype"], tuple(facts["shape"]))
            if kind not in places:
                places[kind] = len(self._kinds)
                self._kinds.append((np.dtype(NUMPY[kind[0]]), kind[1]))
            dtype, shape = self._kinds[places[kind]]
            start, stop = facts["data_offsets"]
            if stop - start != math.prod(shape) * dtype.itemsize:
                raise ValueError("an array has another size than its header says")
            yield int(name), places[kind], start, int(checksums[name], 16)

    def __iter__(self) -> Iterator[int]:
        return map(int, self._facts[:, 0])

    def __getitem__(self, number: int) -> NDArray[Any]:
        place = int(np.searchsorted(self._facts[:, 0], number))
        try:
            found, kind, start, expected = map(int, self._facts[place])
            dtype, shape = self._kinds[kind]
            array = np.empty(shape, dtype)
            self._file.seek(self._data + start)
            self._read_into(array.reshape(-1).view(np.uint8).data)
            if found == number and int(_checksum(str(number), array), 16) == expected:
                return array
        except (OSError, MemoryError, *WRONG):
            pass
        raise self._damaged()

    def _read_into(self, bytes_left: memoryview) -> None:
        while bytes_left:
            count = self._file.readinto(bytes_left)
            if not count:
                raise ValueError("the file is too short")
            bytes_left = bytes_left[count:]

    def _damaged(self) -> OutputError:
        return OutputError(
            f"{str(self._path)!r} is damaged; run the same again, and that part is computed anew"
        )

    def close(self) -> None:
        self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def read_shard(path: Path) -> dict[int, NDArray[Any]]:
    """Read a shard and compare all of it with its checksums.

    Raises
    ------
    OutputError
        If it is truncated or a bit has flipped.
    """
    with _Shard(path) as shard:
        return {number: shard[number] for number in shard}


def numbers_in(path: Path) -> list[int]:
    """Return the numbers of the arrays in a shard once all are compared with their checksums.

    Raises
    ------
    OutputError
        If it is truncated or a bit has flipped.
    """
    with _Shard(path) as shard:
        for number in shard:
            shard[number]
        return list(shard)


def _checksum(name: str, array: NDArray[Any]) -> str:
    """CRC-32 of name, shape, type and bytes: finds any flipped bit.

    ISA-L's runs at memory speed, where SHA-256 would take as long as computing the maps.
    """
    crc = isal_zlib.crc32(f"{name}{array.shape}{array.dtype}".encode())
    crc = isal_zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"
