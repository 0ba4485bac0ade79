"""Object arrays of NumPy without running them: a reader of the few opcodes that NumPy writes.

``np.save`` writes arrays of text of Python, and arrays of arrays, as a pickle, which may run
anything when it is loaded. Such a file is taken apart here into its opcodes; those that build
lists, text and arrays of numbers are carried out, and all others refused.
"""

import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import IO, Any

import numpy as np

__all__ = ["read_object_array"]

_ARRAY = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
_KNOWN = _ARRAY | {"numpy ndarray", "numpy dtype"}

_PLAIN = {
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "INT"),
    *("LONG1", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINFLOAT", "UNICODE", "LONG"),
}


class _Mark:
    pass


class _Blank:
    """An array of which the contents have not come yet."""

    value: Any = None


def _refuse(what: str) -> ValueError:
    return ValueError(f"its object array holds {what}, where text or arrays of numbers should be")


def _number_type(text: Any) -> str:
    if not isinstance(text, str) or np.dtype(text).kind not in "fiuUO":
        raise _refuse("numbers of another kind")
    return text


def _build(blank: Any, state: Any) -> Any:
    """Fill an array with what a pickle says of it."""
    if isinstance(blank, str):  # a dtype: only its byte order may be told here
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise _refuse("numbers of another kind")
        return blank if order in "|=" else order + blank.lstrip("<>|=")
    if not isinstance(blank, _Blank):
        raise _refuse("an object")
    _, shape, kind, fortran, data = state
    if isinstance(data, list):
        if not kind.lstrip("<>|=").startswith("O") or int(np.prod(shape)) != len(data):
            raise _refuse("a list of another length than it says")
        items = np.empty(len(data), object)
        items[:] = [item.value if isinstance(item, _Blank) else item for item in data]
        blank.value = items.reshape(shape, order="F" if fortran else "C")
        return blank
    found = np.frombuffer(data, np.dtype(_number_type(kind)))
    blank.value = found.reshape(shape, order="F" if fortran else "C")
    return blank


def _call(function: str, arguments: tuple[Any, ...]) -> Any:
    if function in _ARRAY:
        return _Blank()
    if function == "numpy dtype":
        return _number_type(arguments[0])
    raise _refuse(f"a call of {function.replace(' ', '.')}")


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
        raise _refuse("something else")
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
                raise _refuse(f"a {path.replace(' ', '.')}")
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
    elif name == "EMPTY_LIST":
        stack.append([])
    elif name == "EMPTY_TUPLE":
        stack.append(())
    elif name in ("TUPLE", "LIST"):
        items = to_mark()
        stack.append(tuple(items) if name == "TUPLE" else items)
    elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        stack.append(taken(int(name[-1])))
    elif name in ("APPEND", "APPENDS"):
        items = to_mark() if name == "APPENDS" else list(taken(1))
        stack[-1].extend(items)
    elif name == "REDUCE":
        function, arguments = taken(2)
        stack.append(_call(function, arguments))
    elif name == "BUILD":
        blank, state = taken(2)
        stack.append(_build(blank, state))
    else:
        raise _refuse(f"an opcode {name}")
