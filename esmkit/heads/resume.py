"""Measurements of a profile, kept so that a run that is stopped need not begin anew."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.files.pending import Pending
from esmkit.files.shards import ShardReader
from esmkit.files.work_folder import WorkFolder

if TYPE_CHECKING:
    from esmkit.heads.properties import Property
    from esmkit.structure import Structure

__all__ = [
    "ABLATION",
    "LOSS",
    "REFIT",
    "Keeper",
    "ShardKeeper",
    "ablation_keys",
    "chain_digest",
    "held",
    "loss_keys",
    "profile_keys",
]

ABLATION = 1_000
"""The stage of heads that are switched off; 0 is the model, the others are its controls."""

REFIT = 1_001
"""The stage of regressions fitted without a head."""

LOSS = 1_002
"""The stage of masked-LM losses without a head."""

MAX_FIELDS = 16
"""Most arrays that are put in together; it spaces the numbers of results."""

Arrays = dict[str, NDArray[Any]]
"""Arrays that are measured at a time, by their name."""

Key = Callable[[int, int], str]
"""From stage and place (of a chain, or a head) to a text that names all a measurement rests on."""


class Keeper:
    """Keeps nothing: the profile of a library call lives in memory."""

    def get(self, stage: int, place: int, names: Sequence[str]) -> Arrays | None:
        """Return the arrays that were put in, or None if they have to be measured."""
        return None

    def put(self, stage: int, place: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what was measured: of one chain in one model, or without one head."""


class ShardKeeper(Keeper):
    """Keeps all in the shards of a work folder, to the last bit.

    A measurement is found by what it rests on and not by its place in a run, so a run with other
    options takes all that they do not change.

    Parameters
    ----------
    work : WorkFolder
    pending : Pending
        Writes them, every few seconds.
    shards : ShardReader
        Reads those of an earlier run.
    key : callable
        From stage and place to a text that names all that a measurement rests on, beside what the
        fingerprint of the work folder holds; see :func:`profile_keys` and :func:`ablation_keys`.
    compiled : bool
        True if attention is compiled for what is measured now.
    watch : callable
        Called with the stage of each measurement that is asked for, before it is made.
    """

    def __init__(
        self,
        work: WorkFolder,
        pending: Pending,
        shards: ShardReader,
        key: Key,
        *,
        compiled: bool,
        watch: Callable[[int], None] = lambda stage: None,
    ) -> None:
        self._work = work
        self._compiled = compiled
        self._noted = False
        self._pending = pending
        self._shards = shards
        self._key = key
        self._watch = watch
        self._there = frozenset(work.shard_of)

    def get(self, stage: int, place: int, names: Sequence[str]) -> Arrays | None:
        """Return the arrays that an earlier run put in, or None."""
        self._watch(stage)
        numbers = _numbers(self._key(stage, place), len(names))
        if not self._there.issuperset(numbers):
            return None
        return dict(zip(names, (self._shards[number] for number in numbers), strict=True))

    def put(self, stage: int, place: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what was measured, and write a shard if it is time."""
        if not self._noted:
            self._work.note_attention(compiled=self._compiled)
            self._noted = True
        numbers = _numbers(self._key(stage, place), len(arrays))
        for number, values in zip(numbers, arrays.values(), strict=True):
            self._pending.add(number, values)
        self._pending.flush_if_due()


def held(work: WorkFolder) -> int:
    """Return how many measurements, of chains or heads, are in the shards of a work folder."""
    return len({number // MAX_FIELDS for number in work.shard_of})


def profile_keys(
    chains: "Sequence[Structure]", properties: "Sequence[Property]", *, seed: int
) -> Key:
    """Return what the scores of a chain rest on: its coordinates, the labels of all its pairs.

    In a control (a stage over 0) the seed of the random weights too. Other resamples, formats of
    figures or numbers of controls change nothing that was measured, and annotations only what is
    measured with them.

    Parameters
    ----------
    chains : sequence of Structure
        In their order, which places count.
    properties : sequence of Property
    seed : int
        Seed of the random weights.
    """
    digests: dict[int, str] = {}

    def key(stage: int, place: int) -> str:
        if place not in digests:
            digests[place] = _labelled(chains[place], properties)
        return f"chain {stage} {seed if stage else ''} {digests[place]}"

    return key


def ablation_keys(
    chains: "Sequence[Structure]", ablated: "Sequence[Structure]", *, seed: int
) -> Key:
    """Return what a measurement without a head rests on: the chains, and the seed.

    Parameters
    ----------
    chains, ablated : sequence of Structure
        Those that were profiled, and those on which heads are taken away.
    seed : int
    """
    digest = _digest(*(chain_digest(chain) for chain in (*ablated, *chains)))

    def key(stage: int, place: int) -> str:
        return f"head {stage} {place} {seed} {len(ablated)} {digest}"

    return key


def loss_keys(
    ablated: "Sequence[Structure]", head: Mapping[str, Any], *, draws: int, seed: int
) -> Key:
    """Return what a masked-LM loss without a head rests on: all chains, as means are over them.

    Parameters
    ----------
    ablated : sequence of Structure
        In their order, which places count.
    head : mapping
        What is known of the masked-LM head.
    draws : int
        Parts of each chain that are hidden.
    seed : int
    """
    known = json.dumps(dict(head), sort_keys=True, default=str)
    digest = _digest(known, *(f"{chain.id} {chain.sequence}" for chain in ablated))

    def key(stage: int, place: int) -> str:
        return f"loss {stage} {place} {seed} {draws} {digest}"

    return key


def chain_digest(chain: "Structure") -> str:
    """Return what identifies the sequence and the coordinates of a chain."""
    found = hashlib.sha256(chain.sequence.encode())
    for values in (chain.backbone, chain.cb, chain.sg, chain.around):
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _labelled(chain: "Structure", properties: "Sequence[Property]") -> str:
    """Return what identifies a chain and its labels, whatever function or file these come from."""
    said = [chain_digest(chain)]
    for of in properties:
        labels = of.labels if isinstance(of.labels, int) else _bits(of.of(chain))
        said.append(f"{of.kind} {of.name!r} {labels}")
    return _digest(*said)


def _bits(labels: NDArray[np.bool_]) -> str:
    return hashlib.sha256(np.packbits(labels).tobytes()).hexdigest()


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _numbers(key: str, count: int) -> range:
    """Return the numbers of arrays in shards: 59 bits of the key's digest, and four that count."""
    digest = hashlib.sha256(key.encode()).digest()
    first = (int.from_bytes(digest[:8], "big") >> 5) * MAX_FIELDS
    return range(first, first + count)
