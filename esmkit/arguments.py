"""What a person gave as an argument, in words, and plain numbers of what passes for one."""

import operator
from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.text import shorten, visible

__all__ = ["as_array", "items_of", "what_is", "whole_number"]


def what_is(value: Any) -> str:
    """Return what a value is, for an error: short values as they are, others by their kind.

    >>> what_is(None), what_is(6.0), what_is("last"), what_is([1]), what_is({1})
    ('None', '6.0 (a float)', "'last'", 'a list', 'a set')
    """
    if value is None or isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return repr(shorten(visible(value), 40))
    kind = type(value).__name__
    article = "an" if kind[:1].lower() in "aeio" or kind.startswith("ndarray") else "a"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and (len(shape) != 1 or kind != "Series") and shape != ():
        return f"{article} {kind} of shape {tuple(shape)}"
    if isinstance(value, Number):
        return f"{value} ({article} {kind})"
    if shape == ():
        return f"{article} {kind} of shape ()"
    return f"{article} {kind}"


def whole_number(value: Any) -> int | None:
    """Return a whole number of Python or NumPy as an ``int``; of anything else, None.

    ``True`` is no number here: as a layer or a count it is a slip, which would pass for 1.

    >>> import numpy as np
    >>> whole_number(np.int64(6)), whole_number(6.0), whole_number(True)
    (6, None, None)
    """
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return None
    if getattr(value, "shape", ()) != ():
        return None  # an array of one number is a list of one
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_array(values: NDArray[Any], dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
    """Return the array that stands for an object, as NumPy 2's ``__array__`` demands it.

    >>> import numpy as np
    >>> as_array(np.ones(2, np.float32), np.float64).dtype
    dtype('float64')
    """
    if copy:
        return np.array(values, dtype=dtype)
    found = np.asarray(values, dtype=dtype)
    if copy is False and found is not values:
        raise ValueError(f"a copy is needed to turn {values.dtype} into {found.dtype}")
    return found


def items_of(values: Any) -> list[Any] | None:
    """Return what a list, an array of one axis or another plain collection holds; else None.

    Text is one thing here, and so is a dict.
    """
    if isinstance(values, str | bytes | Mapping) or getattr(values, "shape", (0,)) == ():
        return None
    try:
        return list(values)
    except TypeError:
        return None
