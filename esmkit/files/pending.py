"""Results between their computation and the shards in which they survive a kill."""

import contextlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from esmkit.errors import OutputError
from esmkit.files.work_folder import WorkFolder

__all__ = ["Pending"]

SHARD_SECONDS = (2.0, 60.0)
"""Bounds of the time after which a shard is written, which is 2 % of the time so far. A kill loses
at most that."""


class Pending(contextlib.AbstractContextManager["Pending"]):
    """Results on their way to a shard; whatever ends the run, they are written first.

    Several threads may add results, and have them written in a thread of its own.
    """

    def __init__(self, work: WorkFolder, shard_bytes: int) -> None:
        self._work = work
        self._shard_bytes = shard_bytes
        self._arrays: dict[int, NDArray[Any]] = {}
        self._bytes = 0
        self._over = False
        self._adding, self._handing_over = threading.Lock(), threading.Lock()
        self._pool = ThreadPoolExecutor(1, "esmkit-shards")
        self._shard: Future[None] | None = None
        self._begun = self._written = time.monotonic()

    def add(self, number: int, values: NDArray[Any]) -> None:
        """Take one result under its number; after the end it is dropped."""
        with self._adding:
            if not self._over:
                self._arrays[number] = values
                self._bytes += values.nbytes

    def flush_if_full(self) -> None:
        """Have a shard written if it has grown to its size; the one before it must be whole first."""
        if self._bytes < self._shard_bytes:
            return
        with self._handing_over:
            if self._bytes >= self._shard_bytes and not self._over:
                self._settle()
                self._shard = self._pool.submit(self._write, self._take())

    def flush_if_due(self) -> None:
        """Write a shard if it has grown to its size, or much work would be lost without it."""
        now = time.monotonic()
        least, most = SHARD_SECONDS
        patience = min(most, max(least, 0.02 * (now - self._begun)))
        if self._bytes >= self._shard_bytes or now - self._written >= patience:
            self.flush()

    def flush(self) -> None:
        """Write what is there."""
        with self._handing_over:
            self._settle()
            self._write(self._take())

    def _settle(self) -> None:
        """Wait for the shard that is being written, and raise what went wrong."""
        shard, self._shard = self._shard, None
        if shard is not None:
            shard.result()

    def _take(self) -> dict[int, NDArray[Any]]:
        with self._adding:
            arrays, self._arrays, self._bytes = self._arrays, {}, 0
        return arrays

    def _write(self, arrays: dict[int, NDArray[Any]]) -> None:
        try:
            if arrays:
                self._work.write(arrays)
        except BaseException:  # to be tried once more at the end
            with self._adding:
                self._arrays = {**arrays, **self._arrays}
                self._bytes = sum(values.nbytes for values in self._arrays.values())
            raise
        self._written = time.monotonic()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._adding:
            self._over = True
        with self._pool:
            try:
                if error is None:
                    self.flush()
            finally:
                for step in (self._settle, self.flush):
                    with contextlib.suppress(OutputError):  # the first error is the one to report
                        step()
