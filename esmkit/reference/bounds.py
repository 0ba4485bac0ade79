"""What numbers and proteins the teaching networks take: one place that refuses the others in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from esmkit.arguments import items_of, what_is, whole_number
from esmkit.errors import InputError, OptionError
from esmkit.reference.encoder import Array
from esmkit.sequences.proteins import Protein

__all__ = ["above_zero", "at_least", "float_type", "given_proteins", "same_shape"]


def at_least(least: int, **numbers: Any) -> None:
    """Refuse what is no whole number, or a smaller one.

    Parameters
    ----------
    least : int
    numbers : the values, by the names under which they were given

    Raises
    ------
    OptionError
        With the name and what arrived.

    Examples
    --------
    >>> at_least(1, steps=-3)
    Traceback (most recent call last):
        ...
    esmkit.errors.OptionError: steps is -3; give a whole number of 1 or more
    """
    for name, value in numbers.items():
        number = whole_number(value)
        if number is None or number < least:
            raise OptionError(f"{name} is {what_is(value)}; give a whole number of {least} or more")


def above_zero(**numbers: Any) -> None:
    """Refuse what is no finite number above 0.

    Parameters
    ----------
    numbers : the values, by the names under which they were given

    Raises
    ------
    OptionError
        With the name and what arrived.
    """
    for name, value in numbers.items():
        real = isinstance(value, int | float | np.integer | np.floating)
        if not real or isinstance(value, bool) or not 0 < value < np.inf:
            raise OptionError(f"{name} is {what_is(value)}; give a number above 0")


def given_proteins(proteins: Sequence[Protein], purpose: str) -> None:
    """Refuse anything but one or more proteins.

    Parameters
    ----------
    proteins : sequence of Protein
    purpose : str
        What they are for, as the error says it.

    Raises
    ------
    InputError
        If there is none, or something that is no Protein.
    """
    items = items_of(proteins)
    if items is None:
        raise InputError(f"proteins to {purpose} are {what_is(proteins)}; give a list of Protein")
    if not items:
        raise InputError(f"there is no protein to {purpose}; give at least one")
    for place, item in enumerate(items):
        if not hasattr(item, "sequence"):
            raise InputError(
                f"protein {place} is {what_is(item)}; give a Protein, such as esmkit.Protein('P', "
                "'MKT') makes or esmkit.read_fasta returns"
            )


def float_type(dtype: Any) -> None:
    """Refuse every type of number but float32 and float64.

    Parameters
    ----------
    dtype : type or text

    Raises
    ------
    OptionError
        With what arrived.

    Examples
    --------
    >>> float_type("float64"), float_type(np.float32)
    (None, None)
    """
    try:
        known = np.dtype(dtype) in (np.dtype("float32"), np.dtype("float64"))
    except TypeError:
        known = False
    if not known or dtype is None:
        raise OptionError(f"dtype {dtype!r}: give 'float32' or 'float64'")


def same_shape(owner: str, **arrays: tuple[Array, tuple[int, ...]]) -> None:
    """Refuse arrays of another shape than they have to have.

    Parameters
    ----------
    owner : str
        The function that was called.
    arrays : pairs of an array and the shape that it needs, by the array's name

    Raises
    ------
    InputError
        With both shapes.
    """
    for name, (array, shape) in arrays.items():
        if array.shape != shape:
            raise InputError(f"{name} of {owner} is of shape {array.shape}; it needs {shape}")
