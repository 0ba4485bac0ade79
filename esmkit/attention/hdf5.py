"""Attention maps on disk: one HDF5 group per protein, each map compressed on its own.

Maps are compressed once, as soon as they exist, in the very form in which HDF5 keeps a chunk
(byte shuffle, then deflate), and copied as they are ever after. ISA-L makes the deflate stream,
eight times faster than zlib and no larger (measured on maps of real proteins: 600 MB/s against
80, both to 67 %); any HDF5 library reads it. The lower bytes of numbers, as good as random unless
these are very small, stand in the stream as they are, which deflate has for such bytes.
"""

import contextlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from esmkit.attention.maps import AttentionMaps
from esmkit.encoder.names import HeadChoice, choose_heads
from esmkit.errors import EsmkitError, OutputError
from esmkit.files.arrays import dataset_key, protein_id
from esmkit.files.disk import SteadyFile
from esmkit.files.hdf5 import open_hdf5
from esmkit.files.provenance import PROVENANCE, parse_provenance
from esmkit.files.reading import UNREADABLE, ProteinFile, damage
from esmkit.sequences.proteins import Protein
from esmkit.sequences.windows import WindowMean
from esmkit.text import missing

__all__ = ["AttentionFile", "AttentionWriter", "CompressedMaps", "chunk_rows", "decode_block"]

CHUNK_BYTES = 32 * 2**20
"""Largest HDF5 chunk: a whole map up to 4,096 residues in float16, some of its rows beyond."""

DEFLATE_LEVEL = 1
"""Higher levels of ISA-L are slower and save less than one part in a hundred on attention maps."""


FEW_SMALL = 0.5
"""Share of numbers below the smallest normal one, in a chunk, up to which all bytes but the highest are
stored as they are; with more, zeros too, they are deflated with it. Float16 maps of 60 to 1,000 residues
took the least room with this share, and were stored for four of five heads (100) to one of three (1,000)."""

STORED_BYTES = 2**16 - 1
"""Most bytes of a stored block (RFC 1951, section 3.2.4)."""


def chunk_rows(residues: int, dtype: np.dtype[Any]) -> int:
    """Return how many rows of a map make a chunk: all of them if they fit."""
    return min(residues, max(1, CHUNK_BYTES // (residues * dtype.itemsize)))


def compress(maps: NDArray[Any]) -> list[bytes]:
    """Return HDF5 chunks, each shuffled and deflated, of the same rows of h maps: (h, rows, R)."""
    heads, size = len(maps), maps.dtype.itemsize
    numbers = np.ascontiguousarray(maps).view(f"u{size}").reshape(heads, -1)
    by_byte = np.empty((heads, size, numbers.shape[1]), np.uint8)
    for byte in range(size):  # the lowest first, as in memory
        np.right_shift(numbers, 8 * byte, out=by_byte[:, byte], casting="unsafe")
    small = (numbers < 1 << np.finfo(maps.dtype).nmant).mean(axis=1)
    return [
        _deflate_highest(one) if share <= FEW_SMALL else isal_zlib.compress(one, DEFLATE_LEVEL)
        for one, share in zip(by_byte, small, strict=True)
    ]


def _deflate_highest(by_byte: NDArray[np.uint8]) -> bytes:
    """Return a zlib stream of (size, n) bytes, of which only those of the last row are deflated."""
    low = by_byte[:-1].reshape(-1).data
    parts: list[bytes | memoryview] = [b"\x78\x01"]  # the header of zlib
    for start in range(0, len(low), STORED_BYTES):
        block = low[start : start + STORED_BYTES]
        parts += [struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block]
    deflated = isal_zlib.compress(by_byte[-1], DEFLATE_LEVEL)
    parts.append(memoryview(deflated)[2:-4])  # without header and checksum of its own
    parts.append(isal_zlib.adler32(by_byte).to_bytes(4, "big"))
    return b"".join(parts)


def decompress(chunk: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Undo :func:`compress`."""
    by_byte = np.frombuffer(isal_zlib.decompress(chunk), np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(by_byte.T).view(dtype).reshape(shape)


class CompressedMaps:
    """Compressed maps of h heads of one piece of a protein, and their mass to BOS and EOS.

    Attributes
    ----------
    chunks : list of list of bytes
        For each head the HDF5 chunks of its map, from the first row.
    bos, eos : numpy.ndarray of float32, shape (h, R)
    """

    def __init__(
        self,
        chunks: list[list[bytes]],
        bos: NDArray[np.float32],
        eos: NDArray[np.float32],
    ) -> None:
        self.chunks = chunks
        self.bos = bos
        self.eos = eos

    @classmethod
    def make(
        cls, maps: NDArray[Any], bos: NDArray[np.float32], eos: NDArray[np.float32]
    ) -> "CompressedMaps":
        """Compress maps (h, R, R) of the data type they are to be stored in."""
        rows = chunk_rows(maps.shape[1], maps.dtype)
        bands = [
            compress(_full(maps[:, top : top + rows], rows))
            for top in range(0, maps.shape[1], rows)
        ]
        return cls([list(of_head) for of_head in zip(*bands, strict=True)], bos, eos)

    def encode(self) -> NDArray[np.uint8]:
        """Return everything as one array of bytes, for a shard."""
        flat = [chunk for of_head in self.chunks for chunk in of_head]
        sizes = np.array([len(chunk) for chunk in flat], dtype="<i8")
        parts = [sizes.tobytes(), self.bos.tobytes(), self.eos.tobytes(), *flat]
        return np.frombuffer(b"".join(parts), np.uint8)


def decode_block(
    data: NDArray[np.uint8], heads: int, residues: int, dtype: np.dtype[Any]
) -> CompressedMaps:
    """Undo :meth:`CompressedMaps.encode`, for a piece of that many heads and residues."""
    per_head = -(-residues // chunk_rows(residues, dtype))
    raw = data.data
    sizes = np.frombuffer(raw[: 8 * heads * per_head], "<i8")
    at = sizes.nbytes
    mass = np.frombuffer(raw[at : at + 8 * heads * residues], np.float32)
    bos, eos = mass.reshape(2, heads, residues)
    at += mass.nbytes
    ends = at + np.cumsum(sizes)
    flat = [bytes(raw[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
    chunks = [flat[head * per_head : (head + 1) * per_head] for head in range(heads)]
    return CompressedMaps(chunks, bos, eos)


class AttentionWriter:
    """Writes the HDF5 file: group per protein with ``attention``, ``bos`` and ``eos``.

    ``attention`` is (layers, heads, R, R) when whole layers were asked for, otherwise (n, R, R);
    the attribute ``heads`` of the group lists the names in this order.

    Parameters
    ----------
    path : Path
    provenance : dict
        Goes into the attribute of that name, as JSON.
    choice : HeadChoice
    dtype : numpy.dtype
        float16 or float32, of ``attention``; ``bos`` and ``eos`` are float32.
    """

    def __init__(
        self, path: Path, provenance: dict[str, Any], choice: HeadChoice, dtype: np.dtype[Any]
    ) -> None:
        self._choice, self._dtype = choice, dtype
        layers = len(choice.by_layer)
        self._shape = (layers, choice.of_heads) if choice.whole_layers else (len(choice.heads),)
        self._places = list(np.ndindex(*self._shape))
        self._heads = json.dumps(choice.names)
        self._disk = SteadyFile(path)
        self._file = h5py.File(self._disk, "w", libver=("v108", "v108"), track_order=True)
        self._file.attrs[PROVENANCE] = json.dumps(provenance)

    def begin(self, protein: Protein, residues: int, *, windows: int) -> None:
        """Make the group of a protein of which R residues were read; its maps come next."""
        group = self._file.create_group(dataset_key(protein.id))
        group.attrs["id"] = protein.id
        group.attrs["header"] = protein.header
        group.attrs["length"] = len(protein)
        group.attrs["sequence"] = np.bytes_(protein.sequence[:residues])
        group.attrs["heads"] = self._heads
        group.attrs["windows"] = windows
        self._maps = group.create_dataset(
            "attention",
            shape=(*self._shape, residues, residues),
            dtype=self._dtype,
            chunks=(*(1,) * len(self._shape), chunk_rows(residues, self._dtype), residues),
            compression="gzip",
            compression_opts=DEFLATE_LEVEL,
            shuffle=True,
        )
        self._group = group
        self._pieces: Sequence[tuple[int, int]] = [(0, residues)]
        shape = (len(self._choice.heads), residues)
        self._bos, self._eos = (WindowMean(shape, (-1,)) for _ in range(2))

    def add(
        self,
        places: Sequence[int],
        blocks: Sequence[CompressedMaps],
        pieces: Sequence[tuple[int, int]],
    ) -> None:
        """Write the maps of some heads, given by their places in the choice.

        Parameters
        ----------
        places : sequence of h int
            One after the other.
        blocks : sequence of CompressedMaps
            The maps of these heads in each piece of the protein.
        pieces : sequence of (start, stop)
            The residues of each piece. One piece is copied as it is; several are averaged.
        """
        these = slice(places[0], places[-1] + 1)
        for (start, stop), block in zip(pieces, blocks, strict=True):
            self._bos.add(start, stop, block.bos, at=(these,))
            self._eos.add(start, stop, block.eos, at=(these,))
        self._pieces = pieces
        height = chunk_rows(pieces[-1][1], self._dtype)
        for which, place in enumerate(places):
            head = self._places[place]
            if len(pieces) == 1:
                chunks: Iterable[bytes] = blocks[0].chunks[which]
            else:
                squares = [block.chunks[which][0] for block in blocks]
                chunks = _merge_windows(squares, pieces, height, self._dtype)
            for number, chunk in enumerate(chunks):
                self._maps.id.write_direct_chunk((*head, number * height, 0), chunk)

    def end(self) -> None:
        """Finish the group of a protein."""
        for name, mass in (("bos", self._bos), ("eos", self._eos)):
            means = mass.divide(self._pieces)
            self._group.create_dataset(name, data=means.reshape(*self._shape, -1))
        self._disk.check()

    def close(self) -> None:
        """Finish the file."""
        with self._disk:
            self._file.close()
            self._disk.finish()


def _merge_windows(
    squares: Sequence[bytes],
    pieces: Sequence[tuple[int, int]],
    height: int,
    dtype: np.dtype[Any],
) -> Iterator[bytes]:
    """Yield the chunks of a map from those of its windows: means where they overlap, else NaN."""
    residues = pieces[-1][1]
    for top in range(0, residues, height):
        bottom = min(top + height, residues)
        band = WindowMean((bottom - top, residues), (-2, -1), top=top)
        for (start, stop), chunk in zip(pieces, squares, strict=True):
            rows, size = band.rows(start, stop), stop - start
            if rows.start < rows.stop:
                square = decompress(chunk, (size, size), dtype)
                band.add(start, stop, square[rows])
        yield compress(_full(_cast(band.divide(pieces), dtype)[None], height))[0]


def _cast(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values in another precision: PyTorch has it done ten times faster than NumPy."""
    import torch

    return torch.from_numpy(values).to(getattr(torch, dtype.name)).numpy()


def _full(bands: NDArray[Any], height: int) -> NDArray[Any]:
    """Return rows of h maps at full height: HDF5 keeps no less, and never reads what is over the edge."""
    heads, rows, residues = bands.shape
    if rows == height:
        return bands
    full = np.zeros((heads, height, residues), bands.dtype)
    full[:, :rows] = bands
    return full


class AttentionFile(ProteinFile[AttentionMaps]):
    """An attention file: a mapping from ID to :class:`AttentionMaps`, in input order.

    Maps are read from the file when they are asked for: ``file["P69905"]["L5H4"]`` reads one. A
    protein is found by its ID, or by another name that means no other. The object can be pickled
    and copied, and used in a forked process: there the file is opened again, if it is still the
    same.

    Attributes
    ----------
    path : Path
    provenance : dict
        What the file records of its making: checkpoint, heads, policies, input, versions.

    Raises
    ------
    OutputError
        If there is no such file, or it holds no attention maps.
    UnknownIdError
        By ``file[name]``, if no protein is meant, or several are.
    ClosedFileError
        By every access, of the maps too, after :meth:`close`, or after the end of ``with``.

    Examples
    --------
    >>> model = esmkit.load()                                          # doctest: +SKIP
    >>> demo = esmkit.data.ubiquitin_fasta()                          # doctest: +SKIP
    >>> esmkit.attention_file(model, demo, "ubiquitin.h5")            # doctest: +SKIP
    >>> with AttentionFile("ubiquitin.h5") as found:                   # doctest: +SKIP
    ...     len(found.heads), found["1UBI_A"]["L5H4"].shape
    (120, (76, 76))
    """

    def _open(self) -> None:
        if not self._place.is_file():
            raise OutputError(missing(self.path))
        try:
            self._file = open_hdf5(self._place)
        except UNREADABLE as error:
            what = "cannot be read as HDF5"
            raise damage(self.path, error, "make it anew with `esmkit attention`", what) from error
        try:
            self.provenance: dict[str, Any] = parse_provenance(
                str(self._file.attrs.get(PROVENANCE, "{}"))
            )
            if self.provenance.get("task") != "attention":
                raise OutputError(
                    f"{str(self.path)!r} holds no attention maps of esmkit's; `esmkit attention` "
                    "writes them, and `esmkit.read` opens embeddings and contacts"
                )
            with self._reading():
                shape = self.provenance["model_shape"]
                self._checkpoint: str = self.provenance["checkpoint"]["name"]
                self._choice = choose_heads(
                    self.provenance["heads"],
                    "all",
                    of_layers=shape["layers"],
                    of_heads=shape["heads"],
                )
                self._keys = {protein_id(str(key)): str(key) for key in self._file}
        except EsmkitError:
            self._release()
            raise
        except UNREADABLE as error:
            self._release()
            raise damage(self.path, error, "make it anew") from error

    def _release(self) -> None:
        self._file.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn what HDF5 makes of a damaged file into one sentence."""
        try:
            yield
        except UNREADABLE as error:
            raise damage(self.path, error, "make it anew with `esmkit attention`") from error

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the n heads that every protein has here."""
        return self._choice.names

    def _read(self, key: str) -> AttentionMaps:
        with self._reading():
            return self._maps(key)

    def _maps(self, key: str) -> AttentionMaps:
        group: Any = self._file[key]
        count, attributes = len(self._choice.heads), group.attrs
        return AttentionMaps(
            id=str(attributes["id"]),
            header=str(attributes["header"]),
            sequence=bytes(attributes["sequence"]).decode(),
            choice=self._choice,
            bos=np.asarray(group["bos"]).reshape(count, -1),
            eos=np.asarray(group["eos"]).reshape(count, -1),
            get=partial(self._map, key),
            windows=int(attributes["windows"]),
            checkpoint=self._checkpoint,
        )

    def _map(self, key: str, place: int) -> NDArray[np.float32]:
        """Return one map of a protein: float32, (R, R)."""
        self._ready()
        with self._reading():
            group: Any = self._file[key]
            stored = group["attention"]
            head = np.unravel_index(place, stored.shape[:-2])
            return np.asarray(stored[(*map(int, head),)], np.float32)

    def _said(self) -> str:
        names = self.heads
        some = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return f"{len(names)} head(s) {some}, {self._checkpoint}"
