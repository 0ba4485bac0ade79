"""Embeddings as a file gives them: parts, each of one layer and one kind, with an array a record."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import EsmkitError, InputError
from esmkit.files.reading import UNREADABLE
from esmkit.sequences.ids import UniqueIds
from esmkit.text import shorten, visible

__all__ = ["Given", "Lazy", "Part", "by_unique_name", "check_arrays"]

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Part:
    """Arrays of one kind.

    Attributes
    ----------
    arrays : mapping from str to numpy.ndarray
        By the name of the record: (D,), or (R, D) with a row per residue or token.
    name : str
        What the file calls it; empty if there is one only.
    layer : int, optional
        Hidden state that the file says it is.
    pool : {'mean', 'bos'}, optional
        Pooling that the file says it is.
    long : str, optional
        The rule for long proteins that the file says it was made with.
    across : Part, optional
        The same numbers with a record in each column, where the file does not tell which is meant.
    """

    arrays: Mapping[str, Array]
    name: str = ""
    layer: int | None = None
    pool: str | None = None
    long: str | None = None
    across: "Part | None" = None


@dataclass(frozen=True)
class Given:
    """What a file holds.

    Attributes
    ----------
    path, kind : str
        The file, and in words what it is.
    parts : list of Part
    sequences : dict from str to str
        Sequences that the file itself has, by record.
    checkpoint : dict
        What the file says of the weights; empty if nothing.
    close : callable
    notes : list of str
        What had to be done to read it.
    spares : list of Part
        Arrays that may be meant where ``parts`` are not of a model's width.
    """

    path: str
    kind: str
    parts: list[Part]
    sequences: dict[str, str] = field(default_factory=dict)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    close: Any = None
    notes: list[str] = field(default_factory=list)
    spares: list[Part] = field(default_factory=list)


class Lazy(Mapping[str, Array]):
    """Arrays that are read when they are asked for."""

    def __init__(self, names: Mapping[str, Any], get: Any) -> None:
        self._names = names
        self._get = get

    def __getitem__(self, name: str) -> Array:
        where = self._names[name]
        try:
            return self._get(where)
        except EsmkitError:
            raise
        except UNREADABLE as error:  # a file may be whole but for one array
            raise InputError(
                f"{shorten(visible(name))!r} cannot be read ({error}); copy or make the file again"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def by_unique_name(names: Iterable[str]) -> dict[str, int]:
    """Return the place of each name; of one that is there twice the second is ``name~2``.

    >>> by_unique_name(["P1", "P2", "P1"])
    {'P1': 0, 'P2': 1, 'P1~2': 2}
    """
    unique = UniqueIds()
    return {unique(name): place for place, name in enumerate(names)}


def check_arrays(part: Part, names: list[str], path: str) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of records as float32, all of one number of axes and one width.

    Raises
    ------
    InputError
        If one is no array of numbers, or differs from the first in width or number of axes.
    """
    found: dict[str, NDArray[np.float32]] = {}
    first: tuple[str, tuple[int, ...]] | None = None
    for name in names:
        shown = repr(shorten(visible(name)))
        array = np.asarray(part.arrays[name])
        if array.dtype == object and all(isinstance(one, int | float) for one in array.ravel()):
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)  # numbers of Python, as PEPE may write them
        if array.dtype.kind not in "fiu" or array.size == 0:
            raise InputError(
                f"{shown} in {path!r} is {'empty' if array.size == 0 else f'of {array.dtype}'}, where "
                "numbers should be; make the file anew"
            )
        while array.ndim > 1 and array.shape[0] == 1 and array.ndim != 2:
            array = array[0]
        if array.ndim not in (1, 2):
            raise InputError(
                f"{shown} in {path!r} is of shape {array.shape}, where (width,) or (residues, width) "
                "is expected; write one layer a file, or one vector a protein"
            )
        first = first or (name, array.shape)
        if (array.ndim, array.shape[-1]) != (len(first[1]), first[1][-1]):
            raise InputError(
                f"{first[0]!r} and {shown} in {path!r} are of shapes {first[1]} and {array.shape}, "
                "which no embeddings of one model are; make the file anew"
            )
        with np.errstate(over="ignore"):
            found[name] = array.astype(np.float32)
    if all(a.ndim == 2 and a.shape[0] == 1 for a in found.values()):
        found = {name: array[0] for name, array in found.items()}  # as (1, D), for each protein
    return found
