"""Measurements of a profile, kept so that a run that is killed need not begin anew."""

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from esmkit.files.shards import ShardReader
from esmkit.files.task import Pending
from esmkit.files.work_folder import WorkFolder

__all__ = ["ABLATION", "REFIT", "Keeper", "ShardKeeper"]

ABLATION = 1_000
"""The stage of heads that are switched off; 0 is the model, 1 to 10 are those with random weights."""

REFIT = 1_001
"""The stage of regressions fitted without a head."""

MAX_FIELDS = 16
"""Most arrays that are put in together; it spaces the numbers of results."""

MAX_PLACES = 2**32
"""Most chains or heads of a stage."""

Arrays = dict[str, NDArray[Any]]
"""Arrays that are measured at a time, by their name."""


class Keeper:
    """Keeps nothing: the profile of a library call lives in memory."""

    def get(self, stage: int, place: int, names: Sequence[str]) -> Arrays | None:
        """Return the arrays that were put in, or None if they have to be measured."""
        return None

    def put(self, stage: int, place: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what was measured: of one chain in one model, or without one head."""


class ShardKeeper(Keeper):
    """Keeps all in the shards of a work folder, to the last bit.

    Parameters
    ----------
    work : WorkFolder
    pending : Pending
        Writes them, every few seconds.
    shards : ShardReader
        Reads those of an earlier run.
    compiled : bool
        True if attention is compiled for what is measured now.

    Attributes
    ----------
    held : int
        Chains and heads that were there at the beginning.
    """

    def __init__(
        self, work: WorkFolder, pending: Pending, shards: ShardReader, *, compiled: bool
    ) -> None:
        self._work = work
        self._compiled = compiled
        self._noted = False
        self._pending = pending
        self._shards = shards
        self._there = frozenset(work.shard_of)
        self.held = len({number // MAX_FIELDS for number in self._there})

    def get(self, stage: int, place: int, names: Sequence[str]) -> Arrays | None:
        """Return the arrays that an earlier run put in, or None."""
        numbers = _numbers(stage, place, len(names))
        if not self._there.issuperset(numbers):
            return None
        return dict(zip(names, (self._shards[number] for number in numbers), strict=True))

    def put(self, stage: int, place: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what was measured, and write a shard if it is time."""
        if not self._noted:
            self._work.note_attention(compiled=self._compiled)
            self._noted = True
        for number, values in zip(
            _numbers(stage, place, len(arrays)), arrays.values(), strict=True
        ):
            self._pending.add(number, values)
        self._pending.flush_if_due()


def _numbers(stage: int, place: int, count: int) -> range:
    first = (stage * MAX_PLACES + place) * MAX_FIELDS
    return range(first, first + count)
