"""Shards: small files of numbered arrays, each with a checksum over everything in it."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from esmkit.errors import OutputError

if TYPE_CHECKING:
    from esmkit.store import WorkFolder

__all__ = ["ShardReader", "pack_shard", "read_shard"]


def pack_shard(arrays: Mapping[int, NDArray[Any]]) -> bytes:
    """Return a shard, arrays under their numbers with their checksum, as the bytes of its file."""
    named = {str(number): np.ascontiguousarray(a) for number, a in arrays.items()}
    return save(named, metadata={"crc32": _checksum(named)})


class ShardReader:
    """Looks up results by their number, holding a few shards in memory.

    Parameters
    ----------
    work : WorkFolder
    most_bytes : int
        Shards are let go of when those held exceed this; the last one read always stays.
    """

    def __init__(self, work: "WorkFolder", most_bytes: int = 256 * 2**20) -> None:
        self._work = work
        self._most_bytes = most_bytes
        self._held: OrderedDict[Path, dict[int, NDArray[Any]]] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, number: int) -> NDArray[Any]:
        path = self._work.shard_of[number]
        if path not in self._held:
            arrays = read_shard(path)
            self._held[path] = arrays
            self._bytes += _size(arrays)
            while self._bytes > self._most_bytes and len(self._held) > 1:
                _, old = self._held.popitem(last=False)
                self._bytes -= _size(old)
        self._held.move_to_end(path)
        return self._held[path][number]


def read_shard(path: Path) -> dict[int, NDArray[Any]]:
    """Read a shard and compare it with its checksum.

    Raises
    ------
    OutputError
        If it is truncated or a bit has flipped.
    """
    try:
        with safe_open(path, framework="numpy") as shard:
            expected = (shard.metadata() or {}).get("crc32")
            named = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
        if _checksum(named) == expected:
            return {int(name): array for name, array in named.items()}
    except (SafetensorError, OSError, ValueError):
        pass
    raise OutputError(
        f"{str(path)!r} is damaged; run the same command again, and that part is computed anew"
    )


def _checksum(named: Mapping[str, NDArray[Any]]) -> str:
    """CRC-32 of names, shapes, types and bytes: finds any flipped bit and any truncation.

    ISA-L's runs at memory speed, where SHA-256 would take as long as computing the maps.
    """
    crc = 0
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        crc = isal_zlib.crc32(f"{name}{array.shape}{array.dtype}".encode(), crc)
        crc = isal_zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _size(arrays: Mapping[int, NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())
