"""The layout of a distributed output: one Parquet file for each finished range, and what it is of.

::

    OUT/part-00000-0000012.parquet    the rows of file 0, range 12: whole, or not there
    OUT/_manifest.json                fingerprint of the run and its input files
    OUT/_errors.json                  which ranges the last run could not do, and why
    OUT/_provenance.json              as in the files of the local engine; there when complete

Readers of Parquet folders pass over names that begin with ``_``. The parts themselves say which
ranges are done; no list has to be kept in step with them.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.embeddings.cluster.storage import Folder
from esmkit.embeddings.writers import vector_table
from esmkit.errors import OutputError, ResumeError
from esmkit.files.provenance import PROVENANCE
from esmkit.files.tables import ParquetTable, import_pyarrow
from esmkit.sequences.ids import id_in
from esmkit.sequences.proteins import Protein

__all__ = [
    "ERRORS",
    "MANIFEST",
    "PROVENANCE_FILE",
    "Input",
    "Manifest",
    "Part",
    "held_parts",
    "open_part",
    "part_bytes",
    "part_name",
    "part_of_name",
    "parts_in_order",
    "read_manifest",
    "sequence_hash",
]

MANIFEST = "_manifest.json"
"""File that says what a dataset is of."""

ERRORS = "_errors.json"
"""File of the ranges that the last run could not do, and why."""

PROVENANCE_FILE = "_provenance.json"
"""File of the provenance; it is there when the dataset is complete."""

_FACTS = "esmkit_part"
"""Entry of a part's metadata that holds its :class:`Part`."""

_PART = re.compile(r"part-(\d{5,})-(\d{7,})\.parquet")

_THREADS = 16
"""Footers read at once: on an object store each takes a few round trips."""


def part_name(file: int, number: int) -> str:
    """Return the name of the part of a range.

    >>> part_name(0, 12)
    'part-00000-0000012.parquet'
    """
    return f"part-{file:05d}-{number:07d}.parquet"


def part_of_name(name: str) -> tuple[int, int] | None:
    """Return (file, range) of a part by its name; None for any other file.

    >>> part_of_name("part-00000-0000012.parquet"), part_of_name("_manifest.json")
    ((0, 12), None)
    """
    found = _PART.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def sequence_hash(sequence: str) -> str:
    """Return BLAKE2b of a sequence, 128 bits in hexadecimal.

    >>> sequence_hash("MKTV")
    '7c4116bb0fd326cafc4120b7b286a87d'
    """
    return hashlib.blake2b(sequence.encode(), digest_size=16).hexdigest()


@dataclass
class Input:
    """One input file.

    Attributes
    ----------
    name : str
        File name without its folder.
    url : str
        Path or URL at which it was read.
    bytes : int
    sha256 : str
    gzip : bool
    ranges : int or None
        Number of ranges; that of a gzip file is known once it was read to its end.
    """

    name: str
    url: str
    bytes: int
    sha256: str
    gzip: bool
    ranges: int | None


@dataclass
class Manifest:
    """Everything that the rows of a dataset depend on: its run, and its input."""

    fingerprint: dict[str, Any]
    range_bytes: int
    inputs: list[Input]

    @property
    def run(self) -> str:
        """The fingerprint in short; it stands in every part.

        ``on-invalid`` is left out: a range finished under ``error`` is the same under any rule.
        """
        facts = {k: v for k, v in self.fingerprint.items() if k != "on-invalid"}
        names = [file.name for file in self.inputs]
        text = json.dumps([facts, self.range_bytes, names], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def save(self, folder: Folder) -> None:
        """Write it to its place."""
        folder.write(MANIFEST, (json.dumps(asdict(self), indent=2) + "\n").encode())


def read_manifest(folder: Folder) -> Manifest | None:
    """Return the manifest of a folder, or None if there is none.

    Raises
    ------
    OutputError
        If it cannot be understood.
    """
    if not folder.exists(MANIFEST):
        return None
    try:
        found = json.loads(folder.read(MANIFEST))
        inputs = [Input(**file) for file in found.pop("inputs")]
        return Manifest(inputs=inputs, **found)
    except (ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{folder.url}/{MANIFEST} is damaged ({error}); embed anew with `run=Run(restart=True)`"
        ) from None


@dataclass
class Part:
    """Facts that a part has in its footer: its range, and what was done to the records there."""

    run: str
    file: int
    range: int
    digest: str
    records: int
    proteins: int
    residues: int
    report: dict[str, Any] = field(default_factory=dict)


def part_bytes(
    part: Part,
    proteins: Sequence[tuple[int, Protein]],
    values: Sequence[NDArray[np.float32]],
    *,
    layers: Sequence[int],
    width: int,
    per: str,
    provenance: str,
) -> bytes:
    """Return a part as the bytes of a Parquet file.

    Parameters
    ----------
    part : Part
    proteins : sequence of (int, Protein)
        Number of the record in the range, from 1, and the protein.
    values : sequence of float32 arrays
        Values of each protein: (D,), (R, D), or either with a leading layer axis.
    layers : sequence of int
    width : int
        D.
    per : {'protein', 'residue'}
    provenance : str
        JSON of the provenance, which makes a part readable by itself.
    """
    rows: dict[str, list[Any]] = {name: [] for name in _columns(per)}
    vectors = [np.empty((0, width), np.float32)]
    for (record, protein), value in zip(proteins, values, strict=True):
        stacked = value if len(layers) > 1 else value[None]  # (L, D) or (L, R, D)
        facts = (id_in(protein.header), protein.header, len(protein))
        place = (sequence_hash(protein.sequence), part.file, part.range, record)
        for layer, of_layer in zip(layers, stacked, strict=True):
            of_layer = np.atleast_2d(of_layer)
            vectors.append(of_layer)
            for index in range(len(of_layer)):
                more = (index + 1, protein.sequence[index]) if per == "residue" else ()
                for column, fact in zip(rows.values(), (*facts, *place, layer, *more), strict=True):
                    column.append(fact)
    buffer = io.BytesIO()
    metadata = {_FACTS: json.dumps(asdict(part)), PROVENANCE: provenance}
    with ParquetTable(buffer, metadata, write_page_checksum=True) as table:
        table.add_arrow(vector_table(rows, np.concatenate(vectors)))
    return buffer.getvalue()


def _columns(per: str) -> list[str]:
    """Return the columns before the vector: those of the local engine's Parquet, and the place."""
    columns = ["id", "header", "length", "sequence_hash", "file", "range", "record", "layer"]
    return columns + (["residue_number", "residue"] if per == "residue" else [])


def open_part(folder: Folder, name: str) -> tuple[Part, Any]:
    """Return what a part says of itself, and its table, every page compared with its checksum.

    Raises
    ------
    OutputError
        If it is damaged, or not a part.
    """
    _, parquet = import_pyarrow()
    data = folder.read(name)
    with _damage(folder, name):
        table = parquet.read_table(io.BytesIO(data), page_checksum_verification=True)
        _check_columns(table.schema)
        return Part(**json.loads(table.schema.metadata[_FACTS.encode()])), table


def _check_columns(schema: Any) -> None:
    """Refuse names and types that are not a part's: no checksum covers them."""
    vector = schema.field("embedding").type
    per = "residue" if "residue" in schema.names else "protein"
    empty = np.empty((0, vector.list_size), np.float32)
    wanted = vector_table({name: [] for name in _columns(per)}, empty).schema
    if not schema.remove_metadata().equals(wanted):
        raise ValueError("its columns are not those of a part")


BROKEN = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RuntimeError, MemoryError),
)
"""Errors that pyarrow raises for a damaged file: its own are children of these."""


class _damage:
    """Gives every way in which a file can be broken the same sentence."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder, self._name = folder, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, BROKEN):
            raise OutputError(
                f"{self._folder.url}/{self._name} is damaged ({str(error).splitlines()[0]}); "
                "delete it and run the same embedding again, which makes it anew"
            ) from None


def held_parts(folder: Folder, run: str) -> dict[tuple[int, int], Part]:
    """Return the finished ranges: the parts of this run whose footer is whole.

    A part that is damaged does not count; it is made anew and overwritten.

    Raises
    ------
    ResumeError
        If there are parts of another run.
    """
    names = [name for name in folder.names() if part_of_name(name)]
    held: dict[tuple[int, int], Part] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for name, part in zip(names, pool.map(lambda n: _footer(folder, n), names), strict=True):
            place = part_of_name(name)
            if part is None or place is None or (part.file, part.range) != place:
                continue
            if part.run != run:
                raise ResumeError(
                    f"{folder.url}/{name} belongs to another run; move it away, or give another "
                    "folder with `output`, or begin anew with `run=Run(restart=True)`"
                )
            held[place] = part
    return held


def _footer(folder: Folder, name: str) -> Part | None:
    _, parquet = import_pyarrow()
    try:
        with folder.open(name) as handle:
            metadata = parquet.read_schema(handle).metadata
        return Part(**json.loads(metadata[_FACTS.encode()]))
    except OutputError as error:
        if getattr(error.__cause__, "errno", 0) is not None:  # the disk's or the network's word
            raise
        return None  # pyarrow's OSError about what it read
    except BROKEN:
        return None


def parts_in_order(folder: Folder) -> Iterator[str]:
    """Yield the names of the parts in the order of the input."""
    places = [place for name in folder.names() if (place := part_of_name(name))]
    for place in sorted(places):
        yield part_name(*place)
