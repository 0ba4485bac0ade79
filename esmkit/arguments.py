"""Arguments of public functions: what arrived, in words, and whether it is of the kind that is taken.

What a function is annotated to take is what an editor shows; :func:`checked` makes it what is taken,
so that a wrong kind of value is refused in one sentence instead of an error from inside. It is
generous where Python is: NumPy's numbers are numbers, a list passes for a tuple, text for a path, and
an object of a class of somebody's own for one of esmkit's.
"""

import builtins
import functools
import inspect
import operator
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from numbers import Number, Real
from pathlib import PurePath
from typing import Any, Literal, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.text import shorten, visible

__all__ = ["as_array", "check_fields", "checked", "items_of", "what_is", "whole_number"]

Function = TypeVar("Function", bound=Callable[..., Any])

_SAY_MORE_THEMSELVES = frozenset(
    [
        *("proteins", "protein", "layers", "heads", "structure", "X", "y", "ids", "mask", "up_to"),
        *("residues", "residue", "mark", "zoom", "domains"),
    ]
)
"""Arguments that are checked where they are read, and refused with more to go by."""


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
    """Return a value that is a whole number, of Python or NumPy, as an ``int``; else None.

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

    The `values` are copied if `copy` says so, or if `dtype` needs it.

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
    """Return what values hold: a list, an array of one axis or another plain collection; else None.

    Text is one thing here, and so is a dict.

    >>> items_of((5, 4)), items_of("L5H4")
    ([5, 4], None)
    """
    if isinstance(values, str | bytes | Mapping) or getattr(values, "shape", (0,)) == ():
        return None
    try:
        return list(values)
    except TypeError:
        return None


def checked(function: Function) -> Function:
    """Decorate a public function so that values of a wrong kind are refused at the call.

    Parameters
    ----------
    function : callable
        Its annotations say what it takes; what is annotated for a type checker alone is not checked.

    Returns
    -------
    callable
        The function, with its name, its docstring and its signature.

    Raises
    ------
    OptionError
        When it is called with a value of another kind: the argument, what it takes, what arrived.

    Examples
    --------
    >>> @checked
    ... def half(count: int) -> float:
    ...     return count / 2
    >>> half("3")
    Traceback (most recent call last):
        ...
    esmkit.errors.OptionError: count of half is a whole number, not '3'
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            bound = signature.bind(*arguments, **options)
        except TypeError as error:  # too many, too few, or of another name
            raise TypeError(f"{function.__name__}() {error}") from None
        hints = _hints(function)
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                continue
            _refuse(name, function.__name__, hints.get(name, Any), value)
        return function(*arguments, **options)

    return call  # type: ignore[return-value]


def check_fields(options: Any) -> None:
    """Hold the fields of a dataclass, an `options` object, against their annotations.

    >>> from esmkit import EmbedOptions
    >>> check_fields(EmbedOptions())  # they are as they should be
    """
    for name, hint in _hints(type(options)).items():
        _refuse(name, type(options).__name__, hint, getattr(options, name))


def _refuse(name: str, owner: str, hint: Any, value: Any) -> None:
    # a flag of such a name, such as `residues=True` of embed, has no more to say
    more = name in _SAY_MORE_THEMSELVES and hint is not bool
    if not more and not _fits(value, hint):
        raise OptionError(f"{name} of {owner} is {_words(hint)}, not {what_is(value)}")


class _Elsewhere(type):
    """Class of what stands for names that are imported for type checkers alone."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return Any  # of a module, such as pandas.DataFrame


class _Names(dict[str, Any]):
    """Names of annotations: importing what is not there would load PyTorch for an error."""

    def __init__(self, there: Mapping[str, Any]) -> None:
        self._there = there

    def __missing__(self, name: str) -> Any:
        if name in self._there or hasattr(builtins, name):
            raise KeyError(name)  # it is looked for there next
        return _Elsewhere(name, (), {"__module__": "esmkit"})


@functools.cache
def _hints(owner: Any) -> dict[str, Any]:
    """Return annotations by name."""
    function = inspect.unwrap(owner)
    there = getattr(function, "__globals__", None) or vars(inspect.getmodule(owner))
    found = typing.get_type_hints(function, localns=_Names(there))
    return {name: hint for name, hint in found.items() if name != "return"}


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value is of the kind of an annotation."""
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str) or any(value is one for one in inner)  # which text, it says
    if origin is not None:
        return _fits_generic(value, origin, inner)
    if not isinstance(hint, type) or getattr(hint, "_is_protocol", False):
        return True
    return _fits_class(value, hint)


def _fits_class(value: Any, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if issubclass(kind, int | np.integer):
        return whole_number(value) is not None
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if issubclass(kind, PurePath):
        return isinstance(value, str | os.PathLike)
    if isinstance(value, kind):
        return True
    # Of another class with the same attributes, as in a test or a program of somebody's own
    own = kind.__module__.partition(".")[0] == "esmkit"
    return own and type(value).__module__.partition(".")[0] not in ("builtins", "numpy", "pandas")


def _fits_generic(value: Any, origin: Any, inner: tuple[Any, ...]) -> bool:
    if origin is np.ndarray:
        return hasattr(value, "__array__") or isinstance(value, list | tuple)
    if not isinstance(origin, type):
        return True
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if origin is Callable:
        return callable(value)
    if issubclass(origin, Iterable):
        if isinstance(value, str | bytes | Mapping) or getattr(value, "shape", None) == ():
            return False
        if hasattr(value, "read") or (origin is list and not isinstance(value, list)):
            return False  # a file iterates over its lines
        if isinstance(value, list | tuple | np.ndarray) and inner:
            mixed = origin is tuple and ... not in inner
            return mixed or all(_fits(item, inner[0]) for item in value)
        return isinstance(value, Iterable)
    return origin is not os.PathLike or isinstance(value, str | os.PathLike)


def _words(hint: Any) -> str:
    """Return what an annotation takes, in words."""
    if hint is None or hint is type(None):
        return "None"
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        words = dict.fromkeys(_words(one) for one in inner)
        if "a path" in words:
            words.pop("text", None)  # of a path, that is
        return " or ".join(words)
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin is np.ndarray:
        return "an array"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a dict"
    if isinstance(origin, type) and issubclass(origin, Iterable):
        known = inner and inner[0] not in (Any, ...)
        each = _words(inner[0]).removeprefix("a ") if known else ""
        return "a list" + f" of {each}{'s' * (each in ('path', 'whole number'))}" * bool(each)
    plain = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
    if hint in plain:
        return plain[hint]
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return "a path"
    if origin is not None:
        return "a function" if issubclass(origin, Callable) else "a path"
    name = hint.__name__ if isinstance(hint, type) else ""
    article = "an" if name[:1] in "AEIO" else "a"
    return f"{article} {name}" if isinstance(hint, type) else str(hint)
