"""Sequences too long for the model: cut into windows, whole, cut off, or refused; means of windows.

A window is read as if it were a protein by itself, with BOS and EOS at its ends, and residues near an
end miss what lies beyond it. Each value is the mean over all windows that hold the residue, or both
residues of the pair, all with the same weight. So windows are not the whole protein read at once; by how
much they differ stands in ``docs/explain/numbers.md``.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import what_is, whole_number
from esmkit.errors import InputError, OptionError
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS

__all__ = [
    "MAX_RESIDUES",
    "Long",
    "WindowMean",
    "check_choices",
    "cut_into_pieces",
    "tokens_of",
    "window_around",
    "windows",
]


MAX_RESIDUES = 1_022
"""Longest crop ESM-2 was trained on: 1,024 tokens less BOS and EOS (Lin et al. 2023)."""

WINDOW_OVERLAP = MAX_RESIDUES // 2
"""Residues shared by neighbouring windows of a long sequence; the last two share these or more."""

Long = Literal["window", "whole", "truncate", "error"]


def check_choices(options: Any, choices: dict[str, Any]) -> None:
    """Refuse options whose value is none of a ``Literal``'s, and an empty token budget.

    Parameters
    ----------
    options : object
        Has ``batch_tokens`` and the attributes named in ``choices``.
    choices : dict from str to Literal

    Raises
    ------
    OptionError
        Naming the option, its values and the one given.
    """
    for name, kind in choices.items():
        given = getattr(options, name)
        if not isinstance(given, str) or given not in get_args(kind):
            raise OptionError(
                f"{name} is {' or '.join(map(repr, get_args(kind)))}, not {what_is(given)}"
            )
    tokens = whole_number(options.batch_tokens)
    if tokens is None:
        raise OptionError(f"batch_tokens is a whole number, not {what_is(options.batch_tokens)}")
    if tokens < 1:
        raise OptionError(f"batch_tokens is at least 1, not {tokens}")
    object.__setattr__(options, "batch_tokens", tokens)  # one of NumPy's is none in JSON


def windows(residues: int, size: int = MAX_RESIDUES) -> list[tuple[int, int]]:
    """Return the (start, stop) of the windows over a sequence; neighbours share half a window.

    The last window ends where the sequence ends, so that it is as long as the others. It shares more
    than half with the one before, all but one residue at most; what both hold is averaged over both
    all the same, and over a third window where that reaches.

    >>> windows(1500)
    [(0, 1022), (478, 1500)]
    >>> windows(1534)  # the last two are nearly one
    [(0, 1022), (511, 1533), (512, 1534)]
    """
    if residues <= size:
        return [(0, residues)]
    step = size - WINDOW_OVERLAP
    starts = [*range(0, residues - size, step), residues - size]
    return [(start, start + size) for start in starts]


def window_around(place: int, residues: int, size: int = MAX_RESIDUES) -> tuple[int, int]:
    """Return the (start, stop) of the window that has a residue as near its middle as it can.

    It is the window that ProteinGym scores variants of long proteins in: whole inside the protein,
    and moved towards its middle at the ends.

    Parameters
    ----------
    place : int
        Index of the residue, from 0.
    residues, size : int
        Residues of the protein, and of a window.

    Examples
    --------
    >>> window_around(700, 1500), window_around(3, 1500), window_around(1499, 1500)
    ((189, 1211), (0, 1022), (478, 1500))
    >>> window_around(3, 10)
    (0, 10)
    """
    start = max(0, min(place - size // 2, residues - size))
    return start, min(start + size, residues)


def cut_into_pieces(protein: Protein, long: Long) -> list[tuple[int, int]]:
    """Return the (start, stop) of the parts of a protein that go through the model.

    Raises
    ------
    InputError
        If the policy is ``error`` and the protein is longer than the model was trained for.
    """
    if long == "window":
        return windows(len(protein))
    if long == "error" and len(protein) > MAX_RESIDUES:
        raise InputError(
            f"sequence {protein.id!r} has {len(protein):,} residues and the model was trained on "
            f'{MAX_RESIDUES:,}; `long="window"` reads it in overlapping windows, '
            '`long="whole"` at once, `long="truncate"` only its beginning'
        )
    return [(0, min(len(protein), MAX_RESIDUES) if long == "truncate" else len(protein))]


def tokens_of(protein: Protein, long: Long) -> int:
    """Return how many tokens, BOS and EOS of every piece included, a protein costs."""
    return sum(stop - start + SPECIALS for start, stop in cut_into_pieces(protein, long))


class WindowMean:
    """Averages what the windows of one protein say of its residues, or of pairs of them.

    Values are summed in float32, in the order in which they are added, and divided by the number
    of windows that hold the residue, or both residues of the pair: every window counts alike, however
    near its end the residue is, and however much it shares with another.

    Parameters
    ----------
    shape : tuple of int
        Shape of the result.
    axes : tuple of int
        The axes of residues, counted from the last: ``(-1,)`` or ``(-2,)`` for values of residues,
        ``(-2, -1)`` for values of pairs.
    top : int
        The residue of index 0 on the first of these axes. The result is then a band of the whole,
        for maps that are too large to be held at once.

    Attributes
    ----------
    sums : numpy.ndarray of float32
        The sums, which :meth:`divide` turns into means.

    Examples
    --------
    >>> mean = WindowMean((4,), (-1,))
    >>> for start, stop in [(0, 3), (1, 4)]:
    ...     mean.add(start, stop, np.full(3, start + 1, np.float32))
    >>> mean.divide([(0, 3), (1, 4)])
    array([1. , 1.5, 1.5, 2. ], dtype=float32)
    """

    def __init__(self, shape: tuple[int, ...], axes: tuple[int, ...], *, top: int = 0) -> None:
        self.sums: NDArray[np.float32] = np.zeros(shape, np.float32)
        self._axes = axes
        self._top = top

    def rows(self, start: int, stop: int) -> slice:
        """Return which rows of a window, counted from its own first, lie in the band."""
        bottom = self._top + self.sums.shape[self._axes[0]]
        return slice(max(self._top, start) - start, max(min(bottom, stop), start) - start)

    def add(
        self,
        start: int,
        stop: int,
        values: NDArray[np.float32],
        *,
        at: tuple[int | slice, ...] = (),
    ) -> None:
        """Add what the window from start to stop says, of a band the rows that lie in it.

        Parameters
        ----------
        start, stop : int
            The residues of the window.
        values : numpy.ndarray of float
            As the result, or its part ``at``, but with the window's residues alone.
        at : tuple of int or slice
            Place on the leading axes, if the values are for one place, or some, on them only.
        """
        part = self.sums[at]
        part[self._where(part.ndim, start, stop)] += values

    def divide(self, pieces: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Turn the sums into means over these windows, all that there are.

        Returns
        -------
        numpy.ndarray of float32
            The means; NaN for pairs, or residues, that were never in one window.
        """
        if len(pieces) == 1:
            return self.sums
        shape = self.sums.shape
        residues = {axis % len(shape) for axis in self._axes}
        windows_with = np.zeros(
            [size if axis in residues else 1 for axis, size in enumerate(shape)], np.float32
        )
        for start, stop in pieces:
            windows_with[self._where(len(shape), start, stop)] += 1
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is meant
            self.sums /= windows_with
        return self.sums

    def _where(self, axes: int, start: int, stop: int) -> tuple[slice, ...]:
        """Return where the residues of a window are in an array of so many axes."""
        where = [slice(None)] * axes
        for axis in self._axes:
            where[axis] = slice(start, stop)
        first = self._axes[0]
        where[first] = slice(max(start - self._top, 0), max(stop - self._top, 0))
        return tuple(where)
