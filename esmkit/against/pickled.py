"""Pickles of NumPy's arrays without running them: a reader of the few opcodes that they need.

``np.save`` writes arrays of text of Python, and arrays of arrays, as a pickle, which may run
anything when it is loaded; so may a pickle of a dict of arrays. Such a file is taken apart here into
its opcodes; those that build dicts, lists, text and arrays of numbers are carried out, and all others
refused.
"""

import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import IO, Any

import numpy as np

__all__ = ["Refused", "read_object_array", "read_pickle"]

_ARRAY = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_SCALAR = {"numpy.core.multiarray scalar", "numpy._core.multiarray scalar"}
_BUFFER = {"numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"}
_KNOWN = _ARRAY | _SCALAR | _BUFFER | {"numpy ndarray", "numpy dtype", "_codecs encode"}

_DEEPEST = 4
"""Dicts and lists in each other."""

MOST_ITEMS = 20_000_000
"""Items of dicts and lists, arrays being one each: vectors of 60,000 proteins, number by number."""

_PLAIN = {
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "INT"),
    *("LONG1", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINFLOAT", "UNICODE", "LONG"),
    *("FLOAT", "LONG4", "BYTEARRAY8"),
}


class _Mark:
    pass


class _Blank:
    """An array of which the contents have not come yet."""

    value: Any = None


class _Type:
    """A type of numbers, whose byte order comes later."""

    def __init__(self, text: Any) -> None:
        if not isinstance(text, str) or np.dtype(text).kind not in "fiubUO":
            raise Refused("numbers of another kind")
        self.text = text


class Refused(ValueError):
    """A pickle holds something else than arrays, text and numbers.

    Attributes
    ----------
    what : str
        In words.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"its object array holds {what}, where text or arrays of numbers should be"
        )
        self.what = what


def _numbers(data: Any, kind: Any, shape: Any, order: str) -> Any:
    if not isinstance(kind, _Type) or not isinstance(data, bytes | bytearray):
        raise Refused("numbers of another kind")
    return np.frombuffer(data, np.dtype(kind.text)).reshape(
        shape, order="F" if order == "F" else "C"
    )


def _build(blank: Any, state: Any) -> Any:
    """Fill an array with what a pickle says of it."""
    if isinstance(blank, _Type):  # only its byte order may be told here
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise Refused("numbers of another kind")
        if order in "<>":
            blank.text = order + blank.text.lstrip("<>|=")
        return blank
    if not isinstance(blank, _Blank):
        raise Refused("an object")
    _, shape, kind, fortran, data = state
    order = "F" if fortran else "C"
    if isinstance(data, list):
        objects = isinstance(kind, _Type) and kind.text.lstrip("<>|=").startswith("O")
        if not objects or int(np.prod(shape)) != len(data):
            raise Refused("a list of another length than it says")
        items = np.empty(len(data), object)
        items[:] = [item.value if isinstance(item, _Blank) else item for item in data]
        blank.value = items.reshape(shape, order="F" if fortran else "C")
        return blank
    blank.value = _numbers(data, kind, shape, order)
    return blank


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    if function in _ARRAY:
        return _Blank()
    if function == "numpy dtype":
        return _Type(arguments[0])
    if function in _SCALAR and len(arguments) == 2:
        kind, data = arguments
        return _numbers(data, kind, (1,), "C")[0]
    if function in _BUFFER and len(arguments) == 4:
        found = _Blank()
        found.value = _numbers(*arguments)
        return found
    if function == "_codecs encode" and arguments[1:] == ("latin1",):
        return str(arguments[0]).encode("latin1")
    raise Refused(f"a call of {str(function).replace(' ', '.')}")


def read_pickle(stream: IO[bytes]) -> Any:
    """Return what a pickle holds: dicts, lists, tuples, text, numbers and arrays of NumPy.

    Parameters
    ----------
    stream : binary file
        At its beginning.

    Raises
    ------
    Refused
        If it holds anything else.
    ValueError
        If it is damaged.

    Examples
    --------
    >>> import pickle
    >>> read_pickle(BytesIO(pickle.dumps({"P1": np.ones(2)})))
    {'P1': array([1., 1.])}
    """
    try:
        return _unwrapped(_run(stream), _DEEPEST)[0]
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"it is damaged: {error}") from None


def _unwrapped(found: Any, deepest: int) -> tuple[Any, int]:
    """Return an object with its arrays in place of what they were built in, and how many items it has.

    One list may stand in another any number of times, by a byte or two each.
    """
    if isinstance(found, _Blank):
        if found.value is None:
            raise Refused("an array without numbers")
        return found.value, 1
    if isinstance(found, _Type | _Mark):
        raise Refused("a type")
    if not isinstance(found, dict | list | tuple):
        return found, 1
    if not deepest:
        raise Refused("dicts or lists deep in each other")
    made, count = [], 1
    for value in found.values() if isinstance(found, dict) else found:
        one, items = _unwrapped(value, deepest - 1)
        count += items
        if count > MOST_ITEMS:
            raise Refused("more items than can be read one by one")
        made.append(one)
    if isinstance(found, dict):
        return dict(zip(found, made, strict=True)), count
    return type(found)(made), count


def read_object_array(stream: IO[bytes]) -> np.ndarray[Any, Any]:
    """Return the object array of a ``.npy`` file, made of text or arrays of numbers.

    Parameters
    ----------
    stream : binary file
        At its beginning.

    Raises
    ------
    ValueError
        If it is none, is damaged, or holds anything else.

    Examples
    --------
    >>> file = BytesIO()
    >>> np.save(file, np.array(["P1", "P2"], dtype=object), allow_pickle=True)
    >>> _ = file.seek(0)
    >>> read_object_array(file).tolist()
    ['P1', 'P2']
    """
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        header = np.lib.format.read_array_header_2_0
    _, _, kind = header(stream)
    if kind != np.dtype(object):
        raise ValueError("it holds no objects")
    try:
        found = _run(BytesIO(stream.read()))
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"its object array is damaged ({error})") from None
    if not isinstance(found, _Blank) or found.value is None:
        raise Refused("something else")
    return found.value


def _run(stream: IO[bytes]) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def to_mark() -> list[Any]:
        place = max(i for i, item in enumerate(stack) if isinstance(item, _Mark))
        items = stack[place + 1 :]
        del stack[place:]
        return items

    def taken(count: int) -> tuple[Any, ...]:
        items = tuple(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        return items

    opcodes: Any = pickletools.genops(stream)
    for opcode, argument, _ in opcodes:
        name = opcode.name
        if name in _PLAIN:
            stack.append(argument)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            path = argument if name == "GLOBAL" else " ".join(map(str, taken(2)))
            if path not in _KNOWN:
                raise Refused(f"a {path.replace(' ', '.')}")
            stack.append(path)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE", "PUT"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[argument])
        elif name in ("PROTO", "FRAME"):
            continue
        elif name == "STOP":
            return stack[-1]
        else:
            _step(name, stack, to_mark, taken)
    raise ValueError("its object array is cut off")


def _step(
    name: str,
    stack: list[Any],
    to_mark: Callable[[], list[Any]],
    taken: Callable[[int], tuple[Any, ...]],
) -> None:
    """Carry out an opcode that builds something of what is on the stack."""
    constants = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
    if name in constants:
        stack.append(constants[name])
    elif name == "MARK":
        stack.append(_Mark())
    elif name in ("EMPTY_LIST", "EMPTY_DICT"):
        stack.append([] if name == "EMPTY_LIST" else {})
    elif name in ("DICT", "SETITEM", "SETITEMS"):
        items = list(taken(2)) if name == "SETITEM" else to_mark()
        if name == "DICT":
            stack.append({})
        if not isinstance(stack[-1], dict):
            raise Refused("an object")
        stack[-1].update(zip(items[::2], items[1::2], strict=True))
    elif name == "EMPTY_TUPLE":
        stack.append(())
    elif name in ("TUPLE", "LIST"):
        items = to_mark()
        stack.append(tuple(items) if name == "TUPLE" else items)
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.append(taken(int(name[-1])))
    elif name in ("APPEND", "APPENDS"):
        items = to_mark() if name == "APPENDS" else list(taken(1))
        if not isinstance(stack[-1], list):
            raise Refused("an object")
        stack[-1].extend(items)
    elif name == "REDUCE":
        function, arguments = taken(2)
        stack.append(_call(function, arguments))
    elif name == "BUILD":
        blank, state = taken(2)
        stack.append(_build(blank, state))
    else:
        raise Refused(f"an opcode {name}")
