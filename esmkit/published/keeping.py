"""Measurements that are kept as they come, so that a run that is stopped need not begin anew."""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from esmkit.files.pending import Pending
from esmkit.files.shards import ShardReader
from esmkit.files.work_folder import WorkFolder

__all__ = ["Keep", "ShardKeep", "digest_of"]

Numbers = NDArray[np.float64]


class Keep:
    """Keeps measurements in memory: what two results rest on is measured once.

    Examples
    --------
    >>> keep = Keep()
    >>> keep.measured("chain ab12", lambda: np.ones(2))
    array([1., 1.])
    >>> keep.measured("chain ab12", lambda: np.zeros(2))
    array([1., 1.])
    """

    def __init__(self) -> None:
        self._held: dict[str, Numbers] = {}

    def measured(self, key: str, measure: Callable[[], Numbers]) -> Numbers:
        """Return what is kept under a key, or measure it."""
        if key not in self._held:
            self._held[key] = self._made(key, measure)
        return self._held[key]

    def _made(self, key: str, measure: Callable[[], Numbers]) -> Numbers:
        return measure()


class ShardKeep(Keep):
    """Keeps measurements in the shards of a work folder, to the last bit.

    A measurement is found by what it rests on and not by its place. Work for other rows is that of
    another run, though, which is refused (:class:`esmkit.errors.ResumeError`).

    Parameters
    ----------
    work : WorkFolder
    pending : Pending
        Writes them, every few seconds.
    shards : ShardReader
        Reads those of an earlier run.
    """

    def __init__(self, work: WorkFolder, pending: Pending, shards: ShardReader) -> None:
        super().__init__()
        self._pending, self._shards = pending, shards
        self._there = frozenset(work.shard_of)

    def _made(self, key: str, measure: Callable[[], Numbers]) -> Numbers:
        """Return what an earlier run kept under a key; or measure and keep it."""
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
        if number in self._there:
            return self._shards[number]
        found = measure()
        self._pending.add(number, found)
        self._pending.flush_if_due()
        return found


def digest_of(*parts: bytes) -> str:
    """Return what identifies some bytes.

    >>> digest_of(b"a", b"b") == digest_of(b"ab")
    False
    """
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()
