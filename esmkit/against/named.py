"""Arrays under names: which hold vectors, which the IDs, masks or lengths of their rows."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from esmkit.against.given import Given, Lazy, Part, by_unique_name
from esmkit.embeddings.foreign import text_of
from esmkit.errors import InputError
from esmkit.files.arrays import stored

__all__ = [
    "NAMES",
    "VECTORS",
    "across_words",
    "beside",
    "given_of_objects",
    "matrix",
    "part_of",
    "unnamed",
]

NAMES = (
    *("headers", "ids", "id", "names", "keys", "identifiers", "accessions", "accession", "entry"),
    *("proteins", "protein_ids", "seq_ids", "sequence_ids", "labels", "name", "index"),
)
"""Arrays that hold the IDs of the rows of another."""

VECTORS = (
    *("embeddings", "embedding", "vectors", "representations", "x", "features", "data"),
    *("emb", "embs", "matrix", "last_hidden_state", "hidden_states"),
)

_MASKS = ("mask", "attention_mask", "masks", "residue_mask", "padding_mask", "key_padding_mask")
_PADS = ("padding_mask", "key_padding_mask")
"""Masks that are true where there is no residue."""

_LENGTHS = ("lengths", "length", "seq_lengths", "lens", "seq_lens", "sequence_lengths")

WIDEST = 16_384
"""Numbers of a vector up to which the columns of a matrix may be meant; ESM-2 15B has 5,120."""

MOST_COLUMNS = 1_000_000
"""Columns up to which they may be meant."""

_POOLS = {"bos": "bos", "cls": "bos", "mean": "mean"}

_NOT = ("no", "non", "not", "without", "minus", "excl", "excluding")


def _layer_in(name: str) -> int | None:
    found = re.search(r"(?<![a-z])layer[_ -]?(\d{1,9})(?!\d)", name, re.IGNORECASE)
    found = found or re.fullmatch(r"(\d{1,9})", name)
    return int(found[1]) if found else None


def _pool_in(name: str) -> str | None:
    """Return the pooling that a name tells; None where it tells none, several or one of residues.

    >>> _pool_in("mean_without_bos"), _pool_in("ribosome"), _pool_in("layer6-CLS")
    ('mean', None, 'bos')
    """
    words = re.split(r"[^a-z0-9]+", name.casefold())
    told = {
        _POOLS[word]
        for before, word in zip(["", *words], words, strict=False)
        if word in _POOLS and before not in _NOT
    }
    return told.pop() if len(told) == 1 else None


def part_of(arrays: Mapping[str, Any], name: str) -> Part:
    """Return a part with what its name tells of it."""
    return Part(arrays, name, _layer_in(name), _pool_in(name))


def matrix(
    path: str, kind: str, ids: Sequence[Any], block: Any, name: str = "", cut: Any = None
) -> Given:
    """Return rows of one array, or its columns, under names that stand in another.

    Parameters
    ----------
    path, kind : str
    ids : sequence
    block : array
        Of as many rows, or of as many columns.
    name : str
        Of the part.
    cut : callable, optional
        From a row's number and its array to the residues in it.
    """
    names = [text_of(one) for one in ids]
    places, notes = by_unique_name(names), []
    if len(names) == len(block):
        get: Callable[[int], Any] = lambda n: np.asarray(block[n])  # noqa: E731
    elif _axes(block) == 2 and len(names) == block.shape[1]:
        get = lambda n: np.asarray(block[:, n])  # noqa: E731
        notes = [across_words(len(block), f"{len(names):,} records")]
    else:
        raise InputError(
            f"{path!r} has {len(names):,} IDs and {len(block):,} rows of numbers; make it anew"
        )
    part = part_of(Lazy(places, (lambda n: cut(n, get(n))) if cut else get), name)
    return Given(path, kind, [part], notes=notes)


def across_words(width: int, what: str) -> str:
    """Return the note on arrays that were read with a record, or a residue, in each column.

    >>> across_words(320, "9 records")
    'the arrays are transposed, 320 numbers x 9 records: they were read so'
    """
    return f"the arrays are transposed, {width:,} numbers x {what}: they were read so"


def unnamed(path: str, kind: str, block: Any, name: str = "", cut: Any = None) -> Given:
    """Return rows without names, and of a matrix its columns as what else may be meant.

    Parameters
    ----------
    path, kind, block, name, cut
        See :func:`matrix`.
    """
    rows = {f"row {n}": n for n in range(len(block))}

    def get(n: int) -> Any:
        return cut(n, np.asarray(block[n])) if cut else np.asarray(block[n])

    part = part_of(Lazy(rows, get), name)
    if _axes(block) == 2 and len(block) <= WIDEST and block.shape[1] <= MOST_COLUMNS:
        columns = {f"row {n}": n for n in range(block.shape[1])}
        other = part_of(Lazy(columns, lambda n: np.asarray(block[:, n])), name)
        part = replace(part, across=other)
    return Given(path, kind, [part])


def given_of_objects(path: str, kind: str, arrays: Mapping[str, Any]) -> Given:
    """Return what named arrays hold: IDs beside a matrix, or an array for each protein.

    Parameters
    ----------
    path, kind : str
    arrays : mapping from str to array
        Or to a list of arrays, of text or of numbers.
    """
    found = beside(path, kind, arrays)
    if found is not None:
        return found
    return Given(path, f"{kind}, an array for each protein", [part_of(dict(arrays), "")])


def beside(path: str, kind: str, arrays: Mapping[str, Any]) -> Given | None:
    """Return arrays whose rows are proteins; None where each array is of one protein.

    Labels, masks, scalars and tokens beside them are passed over.

    Parameters
    ----------
    path, kind, arrays
        See :func:`given_of_objects`; datasets of HDF5 are arrays too.
    """
    blocks = {n: a for n, a in arrays.items() if _is_block(a) and not _known(n, _MASKS)}
    floats = {n: a for n, a in blocks.items() if _kind(a) != "iu"}
    blocks = {n: a for n, a in (floats or blocks).items() if not _known(n, NAMES)}
    named = _ids_in(arrays, {len(a) for a in blocks.values()})
    if named is not None:
        ids = _values(arrays[named])
        rest = {n: a for n, a in blocks.items() if n != named}
        if {*map(text_of, ids)} <= {*rest}:  # a list of the names of the others
            return Given(path, f"{kind}, an array for each protein", [part_of(rest, "")])
        return _beside_ids(path, kind, ids, rest, arrays) if rest else None
    if len(blocks) != 1:
        return None
    ((name, block),) = blocks.items()
    told = len(arrays) > 1 and any(_known(n, (*_MASKS, *_LENGTHS)) for n in arrays)
    plain = name.casefold() in VECTORS or re.fullmatch(r"arr_\d+", name)
    if _axes(block) > 1 and (plain or told):
        cut = _cut_of(arrays, block)
        return unnamed(path, f"{kind}, one array without IDs", _parted(arrays, block), cut=cut)
    return None


def _beside_ids(
    path: str, kind: str, ids: Sequence[Any], blocks: Mapping[str, Any], arrays: Mapping[str, Any]
) -> Given:
    count = len(ids)
    fit = {n: _parted(arrays, a) for n, a in blocks.items()}
    fit = {n: a for n, a in fit.items() if len(a) == count} or {
        n: a for n, a in fit.items() if _axes(a) == 2 and a.shape[1] == count
    }
    fit = fit or dict(blocks)
    if len(fit) == 1:
        (block,) = fit.values()
        words = f"{kind}, one array beside its IDs"
        return matrix(path, words, ids, block, cut=_cut_of(arrays, block))
    made = {n: matrix(path, kind, ids, a, n, _cut_of(arrays, a)) for n, a in fit.items()}
    main = next((n for n in fit if n.casefold() in VECTORS), None)
    widths = {n: np.shape(a[0])[-1:] for n, a in fit.items()}
    spare = [n for n in made if main is not None and widths[n] != widths[main]]
    return Given(
        path,
        f"{kind}, arrays beside their IDs",
        [found.parts[0] for n, found in made.items() if n not in spare],
        notes=next(iter(made.values())).notes,
        spares=[made[n].parts[0] for n in spare],
    )


def _known(name: str, names: Sequence[str]) -> bool:
    return name.casefold() in names


def _axes(array: Any) -> int:
    """Return the number of axes; of a list, whose items may be of several shapes, 1."""
    return 1 if isinstance(array, list | tuple) else int(np.ndim(array))


def _kind(array: Any) -> str:
    """Return what an array is of: ``text``, ``iu`` (whole numbers), ``b``, ``f`` or ``O``."""
    if isinstance(array, list | tuple):
        first: Any = array[0] if array else None
        if isinstance(first, str | bytes):
            return "text"
        return "O" if np.ndim(first) else _kind(np.asarray(array))
    kind = np.dtype(getattr(array, "dtype", object)).kind
    if kind == "O" and _axes(array) == 1 and len(array):
        return "text" if isinstance(array[0], str | bytes) else "O"
    return {"U": "text", "S": "text", "i": "iu", "u": "iu"}.get(kind, kind)


def _is_block(array: Any) -> bool:
    """Tell an array of numbers with a row for each of several things."""
    kind = _kind(array)
    if (kind == "O" and _axes(array) == 1) or isinstance(array, list | tuple):
        return kind == "O" and len(array) > 0 and np.ndim(array[0]) > 0
    return kind in ("f", "iu", "O") and _axes(array) > 1


def _values(array: Any) -> list[Any]:
    """Return what a list, an array or a dataset of one axis holds."""
    return list(stored(array) if hasattr(array, "chunks") else array)


def _ids_in(arrays: Mapping[str, Any], counts: set[int]) -> str | None:
    """Return the name of the array that names rows: by its name, else all different and text."""

    def different(name: str) -> bool:
        values = _values(arrays[name])
        return len({*map(text_of, values)}) == len(values)

    flat = [n for n, a in arrays.items() if not _is_block(a) and _axes(a) == 1]
    known = [n for key in NAMES for n in flat if n.casefold() == key]
    text = [n for n in known if _kind(arrays[n]) == "text"]
    numbers = [n for n in known if _kind(arrays[n]) == "iu" and n.casefold() != "labels"]
    others = [n for n in flat if _kind(arrays[n]) == "text" and len(arrays[n]) in counts]
    sure = [n for n in (*text, *others) if different(n)]
    return next(iter([*sure, *text, *filter(different, numbers)]), None)


def _told(arrays: Mapping[str, Any], names: Sequence[str], axes: int) -> tuple[str, Any] | None:
    """Return the mask or the lengths that stand beside vectors."""
    for name, array in arrays.items():
        if _known(name, names) and _axes(array) == axes and _kind(array) in ("iu", "b", "f"):
            return name, np.asarray(_values(array))
    return None


def _cut_of(arrays: Mapping[str, Any], block: Any) -> Any:
    """Return what takes the residues out of a padded row; None where nothing tells them."""
    if _axes(block) != 3:
        return None
    mask, lengths = _told(arrays, _MASKS, 2), _told(arrays, _LENGTHS, 1)
    if mask is not None and mask[1].shape == tuple(block.shape[:2]):
        kept = mask[1].astype(bool)
        rising = (np.diff(kept.astype(np.int8), axis=1) >= 0).all()
        if mask[0].casefold() in _PADS or (rising and not kept.any(axis=1).all()):
            kept = ~kept  # true where there is padding
        return lambda n, rows: rows[kept[n]]
    if lengths is None or len(lengths[1]) != len(block) or lengths[1].max() > block.shape[1]:
        return None
    return lambda n, rows: rows[: int(lengths[1][n])]


def _parted(arrays: Mapping[str, Any], block: Any) -> Any:
    """Return residues below each other, which lengths tell apart, as a list of arrays."""
    lengths = _told(arrays, _LENGTHS, 1)
    if lengths is None or _axes(block) != 2 or len(lengths[1]) == len(block):
        return block
    stops = np.cumsum(lengths[1].astype(np.int64))
    if stops[-1] != len(block) or _kind(lengths[1]) != "iu":
        return block
    return [block[a:b] for a, b in zip([0, *stops[:-1]], stops, strict=True)]
