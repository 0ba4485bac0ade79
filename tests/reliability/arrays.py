"""Files of embeddings in every format that is read, odd in what they hold, and then damaged.

The first byte of what is made says which ending the file's name has (:data:`ENDINGS`).
"""

import io
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from damage import ODD, hurt, hurt_text

__all__ = ["ENDINGS", "a_file_to_read", "an_embedding_file"]

ENDINGS = (".h5", ".npz", ".csv", ".parquet", "", ".tsv", ".pt", ".npy", ".safetensors", ".csv.gz")

NAMES = ("A", "B", "sp|P69905|HBA_HUMAN", "a/b", "0", "1", "row 2", "NA", "1e5", "é", "x" * 300)
WORDS = (
    "id",
    "embedding",
    "layer",
    "residue_number",
    "nan",
    "inf",
    "e0",
    "e1",
    "[0.5, 1]",
    "A",
    "",
)
KINDS = ("<f4", "<f4", "<f4", "<f2", "<f8", ">f4", "<i4", "<u1", "<c8", "?", "S4", "<M8[s]")

Array = Any


def _array(chance: random.Random, shape: tuple[int, ...]) -> Array:
    """Numbers of the usual type, or of another one in fifteen; NaN and infinity now and then."""
    kind = chance.choice(KINDS) if not chance.randrange(15) else "<f4"
    source = np.random.default_rng(chance.getrandbits(32))
    found = source.normal(0, 1, shape)
    if found.size and not chance.randrange(8):
        found.flat[chance.randrange(found.size)] = chance.choice((np.nan, np.inf, 1e300, 1e39, 0))
    if kind in ("<M8[s]", "S4"):
        return np.zeros(shape, kind)
    with np.errstate(all="ignore"):
        return found.astype(kind)


def _shapes(chance: random.Random, count: int) -> list[tuple[int, ...]]:
    """Shapes of arrays of one model, with an odd one among them one time in twelve."""
    width = chance.choice((1, 2, 8, 33))
    axes = chance.choice((1, 1, 2, 3))
    found: list[tuple[int, ...]] = []
    for _ in range(count):
        rows = chance.choice((1, 3, 7))
        found.append({1: (width,), 2: (rows, width), 3: (2, rows, width)}[axes])
    if not chance.randrange(12):
        odd = chance.choice(((), (0,), (0, width), (width, 0), (width + 1,), (1,) * 5, (2, 0, 3)))
        found[chance.randrange(count)] = odd
    return found


def _named(chance: random.Random) -> dict[str, Array]:
    count = chance.choice((1, 2, 3, 5))
    names = [f"P{n}" if chance.randrange(6) else chance.choice(NAMES) for n in range(count)]
    arrays = [_array(chance, shape) for shape in _shapes(chance, count)]
    return dict(zip(names, arrays, strict=True))


def _provenance(chance: random.Random) -> str:
    """What esmkit notes beside its arrays, or something like it."""
    facts: Any = {"task": "embed", "layers": [2], "per": "protein", "pool": "mean"}
    facts["checkpoint"] = {"name": "tiny"}
    kind = chance.randrange(16)
    if kind == 0:
        facts[chance.choice([*facts])] = chance.choice((None, 1, "x", [], {}, [1, 2], True))
    elif kind == 1:
        facts = chance.choice((None, 1, "x", [], {}, [facts]))
    elif kind == 2:
        facts["task"] = chance.choice(("attention", "score", "trace", "contacts", "?"))
    text = json.dumps(facts)
    return text[: chance.randrange(len(text))] if kind == 3 else text


def _hdf5(chance: random.Random) -> bytes:
    import h5py

    with h5py.File(target := io.BytesIO(), "w", track_order=bool(chance.randrange(2))) as file:
        kind = chance.randrange(7)
        if kind == 0:  # one array beside its IDs
            rows = chance.choice((1, 3))
            block = _array(chance, (rows, *_shapes(chance, 1)[0]))
            _put(chance, file, chance.choice(("embeddings", "vectors", "data", "x")), block)
            ids = [f"P{n}" for n in range(rows + (not chance.randrange(4)))]
            if chance.randrange(4):
                file[chance.choice(("ids", "headers", "labels"))] = ids
            if not chance.randrange(4):
                file["idptr"] = np.arange(chance.choice((1, rows))) * 3
                where = _array(chance, (rows,))
                file["embedding_ptr"] = where.view("<i8") if where.dtype.kind == "M" else where
        elif kind < 3:  # groups, one in another
            for name, array in _named(chance).items():
                deep = "/".join(chance.choices(("layer_1", "layer 2", "a", "mean"), k=kind))
                where = f"{deep}/{name}" if chance.randrange(2) else f"{name}/{deep}"
                if where not in file:
                    _put(chance, file, where, array)
            if not chance.randrange(3):
                file.create_group("empty/group")
        else:
            for name, array in _named(chance).items():
                made = _put(chance, file, name, array)
                if made is not None and not chance.randrange(4):
                    word = chance.choice((*NAMES, b"\xff", 5, np.arange(3)))
                    made.attrs[chance.choice(("original_id", "header", "length"))] = word
            if kind > 4:
                file.attrs["provenance"] = chance.choice((_provenance(chance), 5, b"{}"))
        if not chance.randrange(10):
            name = chance.choice(("soft", "outside", "type"))
            links = {"soft": h5py.SoftLink("/none"), "outside": h5py.ExternalLink("no.h5", "/a")}
            file[name] = links.get(name, np.dtype("<f4"))
    return target.getvalue()


def _put(chance: random.Random, file: Any, name: str, array: Array) -> Any:
    """Write a dataset: plain, packed, empty, or one that says it is larger than what it holds."""
    import h5py

    if name in file or array.dtype.kind == "M":
        return None
    kind = chance.randrange(48)
    try:
        if kind == 0 and array.size:
            return file.create_dataset(name, data=array, chunks=True, compression="gzip")
        if kind == 1:
            return file.create_dataset(name, dtype="f4", data=h5py.Empty("f4"))
        if kind == 2:
            huge = chance.choice(((10**12, 8), (2**62,), (10**9, 320), (40_000, 30_000)))
            return file.create_dataset(name, huge, "f4", chunks=tuple(min(n, 1024) for n in huge))
        if kind == 3:
            return file.create_dataset(name, data=["text", "more"])
        if array.dtype.kind == "M":  # which HDF5 has no type for
            array = array.astype("<i8")
        return file.create_dataset(name, data=array)
    except (TypeError, ValueError):  # a group where the name says a dataset, or the other way round
        return None


def _npz(chance: random.Random) -> bytes:
    arrays = {name: array for name, array in _named(chance).items() if "/" not in name}
    kind = chance.randrange(6)
    if kind == 0:
        arrays = {"ids": np.array([*arrays] or ["A"]), "embeddings": _array(chance, (2, 3))}
    elif kind == 1:
        arrays["__provenance__"] = np.array(_provenance(chance))
    elif kind == 2:
        objects = np.empty(2, object)
        objects[:] = [np.ones(3), chance.choice((np.ones(3), "text", None, {"a": 1}, 5.0))]
        arrays["objects"] = objects
    target = io.BytesIO()
    chance.choice((np.savez, np.savez_compressed))(target, **arrays)
    return target.getvalue()


def _npy(chance: random.Random) -> bytes:
    target = io.BytesIO()
    shape = chance.choice(_shapes(chance, 2))
    array = _array(chance, (chance.choice((0, 1, 3)), *shape)) if chance.randrange(3) else None
    if array is None:
        array = np.empty(2, object)
        array[:] = [[1.0, 2.0], chance.choice(([3.0, 4.0], "x", np.ones(2), {"a": 1}, [1]))]
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


def _frame(chance: random.Random) -> dict[str, list[Any]]:
    """Columns of a table: a number a column, or a list a cell."""
    named, table = _named(chance), {}
    first = chance.choice(("id", "id", "id", "id", "protein_id", "header", "name", "Unnamed: 0"))
    table[first] = [*named]
    if not chance.randrange(3):
        table["sequence"] = ["MKT"] * len(named)
    if not chance.randrange(8):
        layers = (chance.choice((0, 1, -1, 5)) for _ in named)
        table[chance.choice(("layer", "residue_number", "length"))] = [*layers]
    if chance.randrange(2):
        width = chance.choice((1, 2, 8, 30))
        lists = [[chance.gauss(0, 1) for _ in range(width)] for _ in named]
        if not chance.randrange(12):
            lists[-1] = chance.choice(([], [1.0], [np.nan] * width, lists[-1] * 2))
        table[chance.choice(("embedding", "embedding", "embedding", "vector", "x"))] = lists
    else:
        begin = chance.choice(("e", "e", "e", "", "dim_", "V"))
        for number in range(chance.choice((1, 2, 12))):
            table[f"{begin}{number}"] = [float(chance.gauss(0, 1)) for _ in named]
    return table


def _parquet(chance: random.Random) -> bytes:
    import pyarrow
    from pyarrow import parquet

    table: Any = _frame(chance)
    if not chance.randrange(10):
        nested = chance.choice(
            ([[[1.0, 2.0]]], [None], ["text"], [{"a": 1}], [[None, 1.0]], [b"\xff"])
        )
        table["embedding"] = nested * len(next(iter(table.values())))
    made = pyarrow.table(table)
    if not chance.randrange(3):
        made = made.replace_schema_metadata({"provenance": _provenance(chance)})
    if not chance.randrange(8):
        made = made.slice(0, 0)
    target = io.BytesIO()
    parquet.write_table(made, target)
    return target.getvalue()


def _text(chance: random.Random) -> bytes:
    sign = chance.choice((",", ",", ",", "\t", "\t", ";", " "))
    columns = _frame(chance)
    rows = [[*columns], *map(list, zip(*columns.values(), strict=True))]
    if not chance.randrange(12):
        del rows[0]

    def cell(value: Any) -> str:
        text = repr(value) if isinstance(value, float) else str(value)
        return f'"{text}"' if sign in text else text

    text = "".join(sign.join(map(cell, row)) + "\n" for row in rows)
    return hurt_text(chance, text, (*WORDS, *ODD[:20]), often=2)[1]


def _pytorch(chance: random.Random) -> bytes:
    import torch

    kinds = (
        torch.float32,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.complex64,
    )

    def tensor(shape: tuple[int, ...] = (3,)) -> Any:
        return torch.zeros(shape, dtype=chance.choice(kinds))

    kind = chance.randrange(7)
    thing: Any = {f"P{n}": tensor(shape) for n, shape in enumerate(_shapes(chance, 3))}
    if kind == 0:
        layers = {chance.choice((2, 6, "6", None, -1)): tensor((4, 3))}
        kinds_of = chance.sample(
            ("representations", "mean_representations", "bos_representations"), 2
        )
        thing = {"label": chance.choice(("P0", 5, None)), **dict.fromkeys(kinds_of, layers)}
        if not chance.randrange(4):
            thing[kinds_of[0]] = chance.choice((None, [], tensor(), {6: "x"}, {6: None}))
    elif kind == 1:
        thing = chance.choice((tensor((2, 3)), [tensor(), tensor()], [], {}, None, 5, "x", (1, 2)))
    elif kind == 2:
        thing[chance.choice((5, "", None, ("a",)))] = chance.choice(
            (tensor(), [1.0, 2.0], [["x"]], None)
        )
    elif kind == 3:
        thing["P0"] = chance.choice(
            (torch.eye(2).to_sparse(), tensor().expand(10**9, 3), tensor(()))
        )
    target = io.BytesIO()
    torch.save(thing, target)
    return target.getvalue()


def _safetensors(chance: random.Random) -> bytes:
    from safetensors.numpy import save

    kept = {
        n: np.ascontiguousarray(a)
        for n, a in _named(chance).items()
        if a.dtype.str[1:] in "f4f2f8i4u1"
    }
    data = save(kept)
    if chance.randrange(4):
        return data
    return data.replace(b'"F32"', chance.choice((b'"F64"', b'"I32"', b'"XXX"')), 1)


MAKERS: dict[str, tuple[Callable[[random.Random], bytes], tuple[int, ...]]] = {
    "HDF5": (_hdf5, (0, 0, 4)),
    "npz": (_npz, (1, 1, 4)),
    "npy": (_npy, (7,)),
    "Parquet": (_parquet, (3, 3, 4)),
    "text": (_text, (2, 5, 9, 4)),
    "PyTorch": (_pytorch, (6,)),
    "safetensors": (_safetensors, (8,)),
}


def an_embedding_file(
    chance: random.Random, kinds: tuple[str, ...] = tuple(MAKERS)
) -> tuple[str, bytes]:
    """Return which format was made, and damaged or not, and its bytes."""
    name = chance.choice(kinds)
    make, endings = MAKERS[name]
    damage, data = "in itself", make(chance)
    if name != "text":
        damage, data = hurt(chance, data, often=2)
    ending = chance.choice(endings) if chance.randrange(12) else chance.randrange(len(ENDINGS))
    return f"{name}, {'whole' if damage in ('none', 'in itself') else 'damaged'}", bytes(
        [ending]
    ) + data


def a_file_to_read(chance: random.Random) -> tuple[str, bytes]:
    """Return a file of embeddings, mostly of the formats that :func:`esmkit.read` reads."""
    read = ("HDF5", "npz", "Parquet", "text")
    return an_embedding_file(chance, read if chance.randrange(12) else tuple(MAKERS))
