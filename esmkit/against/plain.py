"""Dicts, lists and tuples of arrays, as pickles and JSON hold them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esmkit.against.given import Given, Part, by_unique_name
from esmkit.against.named import NAMES, VECTORS, given_of_objects, part_of
from esmkit.against.pickled import Refused, read_pickle
from esmkit.against.tables import of_frame
from esmkit.errors import InputError
from esmkit.text import open_text, shorten, visible

__all__ = ["given_of_plain", "read_json", "read_pickled"]

MOST_CHARACTERS = 2**30
"""Of a file of JSON, which is read at once."""

_SEQUENCES = ("sequence", "seq")

_VECTORS = (*VECTORS, "vector", "representation", "mean", "values")


def read_pickled(path: str) -> Given:
    """Read a pickle of arrays without running it.

    Parameters
    ----------
    path : str

    Raises
    ------
    InputError
        If it holds anything but dicts, lists, text, numbers and arrays of NumPy.
    """
    try:
        with Path(path).open("rb") as stream:
            found = read_pickle(stream)
    except Refused as error:
        table = error.what.startswith("a pandas")
        remedy = "df.to_parquet" if table else "np.savez"
        raise InputError(
            f"{path!r} is a Python pickle that holds {error.what}, which reading would run; write "
            f"the {'table' if table else 'arrays'} with {remedy}"
        ) from None
    except ValueError as error:
        raise InputError(
            f"{path!r} is a Python pickle that cannot be read ({shorten(str(error), 80)}); write the "
            "arrays with np.savez"
        ) from None
    return given_of_plain(path, "a Python pickle", found, "write the arrays with np.savez")


def read_json(path: str) -> Given:
    """Read JSON, or JSON lines: vectors by ID, or records of an ID and a vector.

    Parameters
    ----------
    path : str

    Raises
    ------
    InputError
        If it is cut off, too large or holds something else.
    """
    with open_text(path, "JSON", "*.json") as stream:
        text = stream.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise InputError(
            f"{path!r} is JSON of more than a gigabyte; write the arrays with np.savez"
        )
    kind = "JSON"
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise _broken(path, error.lineno, error.msg) from None
        kind, found = "JSON lines", []
        for number, line in enumerate(text.splitlines(), 1):
            try:
                found += [json.loads(line)] if line.strip() else []
            except json.JSONDecodeError as other:
                raise _broken(path, number, other.msg) from None
    return given_of_plain(path, kind, found, "write vectors by ID, {id: [numbers]}")


def _broken(path: str, line: int, why: str) -> InputError:
    return InputError(f"line {line:,} of {path!r} is no JSON ({why}); write the file anew")


def given_of_plain(path: str, kind: str, found: Any, remedy: str) -> Given:
    """Return what an object made of dicts, lists and arrays holds.

    Parameters
    ----------
    path, kind : str
    found : object
    remedy : str
        What to do if it holds no embeddings.

    Raises
    ------
    InputError
        If it holds no embeddings, or vectors of several lengths in one list.
    """
    if isinstance(found, np.ndarray) and found.ndim:
        return given_of_objects(path, kind, {"embeddings": found})
    given = None
    if isinstance(found, Mapping) and found:
        given = _of_dict(path, kind, found)
    elif isinstance(found, list | tuple) and found:
        given = _of_list(path, kind, found)
    if given is None:
        raise InputError(
            f"{path!r} is {kind} of {_described(found)} and no embeddings by ID; {remedy}"
        )
    return given


def _described(found: Any) -> str:
    if isinstance(found, Mapping | list | tuple):
        named = {dict: "a dict", list: "a list", tuple: "a tuple"}
        return f"{named.get(type(found), 'an object')} of {len(found):,} items"
    return f"one value ({shorten(visible(str(found)), 20)})"


def _numbers(value: Any) -> Any:
    """Return an array of numbers; None if it is none."""
    if isinstance(value, np.ndarray):
        return value if value.ndim and value.dtype.kind in "fiubO" else None
    if not isinstance(value, list | tuple) or not value or isinstance(value[0], str | Mapping):
        return None
    try:
        with np.errstate(over="ignore"):
            return np.array(value, np.float32)
    except (ValueError, TypeError):
        return None


def _is_text(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and len(value) > 0 and isinstance(value[0], str)
    return (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(v, str) for v in value)
    )


def _of_dict(path: str, kind: str, found: Mapping[Any, Any]) -> Given | None:
    if {"columns", "index", "data"} <= {*found}:  # a table of pandas, orient="split"
        found = {"ids": [*map(str, found["index"])], "embeddings": found["data"]}
    if all(isinstance(value, Mapping) for value in found.values()):
        return _of_dicts(path, kind, found)
    arrays = {}
    for key, value in found.items():
        kept = list(value) if _is_text(value) else _numbers(value)
        if kept is None and isinstance(value, list | tuple):  # arrays of several lengths
            each = [_numbers(one) for one in value]
            kept = each if each and all(one is not None for one in each) else None
        if kept is not None:
            arrays[str(key)] = kept
    if _record(found) is not None and len(found) > 1 and _id_of(found) is not None:
        return _of_list(path, kind, [found])
    if len(arrays) == len(found) or any(key.casefold() in VECTORS for key in arrays):
        return given_of_objects(path, kind, arrays) if arrays else None
    return None


def _of_dicts(path: str, kind: str, found: Mapping[Any, Any]) -> Given | None:
    """Read dicts in a dict: a record each, a table by its rows or columns, or several vectors."""
    first = next(iter(found.values()))
    records = [_record(value) for value in found.values()]
    if all(vector is not None for vector in records) and any(k in _VECTORS for k in first):
        rows = dict(zip(map(str, found), records, strict=True))
        return Given(path, f"{kind}, a vector for each protein", [part_of(rows, "")])
    if not first or any(value.keys() != first.keys() for value in found.values()):
        return None
    if all(isinstance(v, int | float | None) for value in found.values() for v in value.values()):
        table = np.array([list(value.values()) for value in found.values()], np.float32)
        across = Part(dict(zip(map(str, first), table.T, strict=True)))
        by_row = Part(dict(zip(map(str, found), table, strict=True)), across=across)
        if _count(found) and not _count(first):
            by_row = Part(across.arrays, across=Part(by_row.arrays))
        return Given(path, f"{kind}, a table", [by_row])
    cells = {(str(a), str(b)): _numbers(v) for a, value in found.items() for b, v in value.items()}
    if any(value is None for value in cells.values()):
        return None
    outer, parts = len(found) <= len(first), {}
    for (above, below), vector in cells.items():
        part, name = (above, below) if outer else (below, above)
        parts.setdefault(part, {})[name] = vector
    made = [part_of(rows, part if len(parts) > 1 else "") for part, rows in parts.items()]
    return Given(path, f"{kind}, dicts of vectors", made)


def _count(keys: Mapping[Any, Any]) -> bool:
    names = [str(key) for key in keys]
    return names in ([*map(str, range(len(names)))], [*map(str, range(1, len(names) + 1))])


def _id_of(record: Mapping[str, Any]) -> str | None:
    """Return the name in a record of one protein."""
    folded = {str(key).casefold(): value for key, value in record.items()}
    known = (*NAMES, "protein", "protein_id", "seq_id", "header", "label", "uniprot", "key")
    found = next((folded[name] for name in known if name in folded), None)
    return str(found) if isinstance(found, str | int) else None


def _record(record: Mapping[Any, Any]) -> Any:
    """Return the vector in a record of one protein; None if there is none, or several."""
    folded = {str(key).casefold(): value for key, value in record.items()}
    named = next((folded[name] for name in _VECTORS if name in folded), None)
    if named is not None:
        return _numbers(named)
    found = [vector for value in record.values() if (vector := _numbers(value)) is not None]
    return found[0] if len(found) == 1 else None


def _of_list(path: str, kind: str, found: Sequence[Any]) -> Given | None:
    if len(found) == 2 and sum(map(_is_text, found)) == 1:  # IDs and their vectors, in any order
        ids, vectors = found if _is_text(found[0]) else found[::-1]
        return _of_dict(path, kind, {"ids": ids, "embeddings": vectors})
    if all(isinstance(one, Mapping) and one for one in found):
        names, vectors = [_id_of(one) for one in found], [_record(one) for one in found]
        if None in names and all(len(one) == 1 for one in found):  # an ID and its vector a line
            names = [str(next(iter(one))) for one in found]
        if any(vector is None for vector in vectors):
            return _of_cells(path, kind, found)
        given = _rows(path, kind, names, vectors)
        texts: list[Any] = [
            next((o[k] for k in _SEQUENCES if isinstance(o.get(k), str)), None) for o in found
        ]
        if None not in texts:
            given.sequences.update(zip(given.parts[0].arrays, texts, strict=True))
        return given
    pairs = all(isinstance(one, list | tuple) and len(one) == 2 for one in found)
    if pairs and all(isinstance(one[0], str) for one in found):
        vectors = [_numbers(one[1]) for one in found]
        whole = all(vector is not None for vector in vectors)
        return _rows(path, kind, [one[0] for one in found], vectors) if whole else None
    block = _numbers(found)
    if block is not None and block.ndim > 1:
        return given_of_objects(path, kind, {"embeddings": block})
    vectors = [_numbers(one) for one in found]
    if any(vector is None for vector in vectors):
        return None
    return _rows(path, kind, [None] * len(found), vectors)


def _of_cells(path: str, kind: str, found: Sequence[Mapping[Any, Any]]) -> Given | None:
    """Read records with a number under each name, as of the rows of a table."""
    if any(isinstance(v, list | Mapping) for one in found for v in one.values()):
        return None
    import pandas

    return of_frame(path, pandas.DataFrame(list(found)), f"{kind}, a table", {})


def _rows(path: str, kind: str, names: Sequence[str | None], vectors: Sequence[Any]) -> Given:
    """Return vectors under their names, or under none."""
    if None in names:
        rows = {f"row {n}": vector for n, vector in enumerate(vectors)}
        return Given(path, f"{kind}, vectors without IDs", [part_of(rows, "")])
    places = by_unique_name(str(name) for name in names)
    rows = {name: vectors[place] for name, place in places.items()}
    return Given(path, f"{kind}, a vector for each protein", [part_of(rows, "")])
