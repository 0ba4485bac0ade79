"""Work on the cluster: read ranges of FASTA files, embed them, write their parts.

Nothing here imports Ray. A reader is a function that yields ranges; a worker is a class that holds
one model. Whatever goes wrong with one range is an answer like any other, so that the rest goes on.
"""

import gzip
import hashlib
import json
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.embeddings.cluster.dataset import Part, part_bytes, part_name
from esmkit.embeddings.cluster.ranges import digest_of, ranges_of_stream, read_range
from esmkit.embeddings.cluster.storage import Folder, open_input
from esmkit.embeddings.options import EmbedOptions
from esmkit.errors import EsmkitError, InputError
from esmkit.sequences.proteins import Protein, read_named
from esmkit.sequences.report import InputReport
from esmkit.sequences.windows import MAX_RESIDUES, cut_into_pieces
from esmkit.text import Say

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["MOST_STARTS", "Embedder", "Settings", "attempt_name", "identify", "read_item"]

MOST_STARTS = 3
"""Deaths of workers after which a range is given up: more memory is what it needs, not patience."""

_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Settings:
    """Settings that every worker gets.

    Attributes
    ----------
    output : str
        Folder of the dataset.
    run : str
        Identity of the run, which stands in every part.
    model, device, dtype : str
        Arguments of :func:`esmkit.load`.
    sha256 : str
        Hash of the weights that the driver found; a worker with others refuses.
    threads : int
        Threads of PyTorch in each worker.
    layers : tuple of int
        Hidden states 0..N, already resolved.
    width : int
        Values of a vector, D.
    options : EmbedOptions
    provenance : str
        JSON that goes to the footer of each part.
    compiled : bool, optional
        Compile attention for the CPU of each machine; by default where it can be.
    """

    output: str
    run: str
    model: str
    device: str
    dtype: str
    sha256: str
    threads: int
    layers: tuple[int, ...]
    width: int
    options: EmbedOptions
    provenance: str
    compiled: bool | None = None


def identify(item: dict[str, Any]) -> dict[str, Any]:
    """Hash an input file where it can be read, and tell whether it is gzip.

    Parameters
    ----------
    item : dict
        ``file`` (its number) and ``url``.

    Returns
    -------
    dict
        ``file``, ``sha256``, ``gzip`` and ``error``, empty if all is well.
    """
    found = {"file": item["file"], "sha256": "", "gzip": False, "error": ""}
    try:
        with open_input(item["url"]) as handle:
            digest = hashlib.sha256()
            head = b""
            while block := handle.read(2**20):
                head = head or block[:2]
                digest.update(block)
        return {**found, "sha256": digest.hexdigest(), "gzip": head == _GZIP}
    except EsmkitError as error:
        return {**found, "error": str(error)}


def read_item(item: dict[str, Any], range_bytes: int) -> Iterator[dict[str, Any]]:
    """Read one range of a plain file, or all that are missing of a gzip file.

    Parameters
    ----------
    item : dict
        ``file``, ``name``, ``url``, ``gzip``, ``range`` (of a plain file) and ``held``: JSON of
        the digests of those of its ranges that are finished.
    range_bytes : int

    Yields
    ------
    dict
        ``kind`` is ``range`` (``data`` holds its records), ``end`` (``range`` says how many the
        gzip file has) or ``error``. ``progress`` counts bytes of the file.
    """
    blank = {"kind": "", "file": item["file"], "name": item["name"], "range": item["range"]}
    blank |= {"data": b"", "progress": 0, "error": ""}
    held: dict[str, str] = json.loads(item["held"])
    try:
        with open_input(item["url"]) as handle:
            if not item["gzip"]:
                data = read_range(handle, item["range"], range_bytes)
                _refuse_empty(item["name"], item["range"], data)
                wanted = held.get(str(item["range"])) != digest_of(data)
                kind = "range" if wanted else "held"
                yield {
                    **blank,
                    "kind": kind,
                    "data": data if wanted else b"",
                    "progress": len(data),
                }
                return
            before = number = 0
            for number, data in ranges_of_stream(gzip.GzipFile(fileobj=handle), range_bytes):  # type: ignore[arg-type]
                _refuse_empty(item["name"], number, data)
                now = handle.tell()  # in the packed file, which is what progress is measured in
                if held.get(str(number)) != digest_of(data):
                    facts = {"kind": "range", "range": number, "data": data}
                    yield {**blank, **facts, "progress": now - before}
                    before = now
            yield {**blank, "kind": "end", "range": number + 1, "progress": now - before}
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        text = f"{item['name']!r} is a damaged gzip file ({error}); copy or download it again"
        yield {**blank, "kind": "error", "error": text}
    except InputError as error:
        text = str(error)
        if "BadGzipFile" in text or "CRC" in text:
            text = f"{item['name']!r} is a damaged gzip file"
        yield {**blank, "kind": "error", "error": text}


def _refuse_empty(name: str, number: int, data: bytes) -> None:
    if number == 0 and not data.strip():  # the first range has nothing only if the file has nothing
        raise InputError(f"{name!r} is empty; a FASTA file has a '>' line for each protein")


def attempt_name(file: int, number: int, start: int) -> str:
    """Return the name of the note that a worker has begun a range for the n-th time."""
    return f"_attempt-{file:05d}-{number:07d}-{start}"


class Embedder:
    """A worker: one model, one range at a time.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Folder(settings.output)
        self._model: Encoder | None = None
        self._failure = ""
        self._said: list[str] = []
        try:
            self._model = _load(settings, self._said.append)
        except EsmkitError as error:
            self._failure = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Embed a range, write its part and return what happened, without anything large."""
        answer = {
            name: row[name] for name in ("kind", "file", "name", "range", "progress", "error")
        }
        answer |= {"part": "", "seconds": 0.0, "said": "\n".join(self._said)}
        if row["kind"] != "range":
            return answer
        if self._model is None:
            return {**answer, "kind": "fatal", "error": self._failure}
        begun = time.monotonic()
        try:
            part = self._embed(self._model, row)
            return {**answer, "part": json.dumps(asdict(part)), "seconds": time.monotonic() - begun}
        except EsmkitError as error:
            return {**answer, "kind": "error", "error": str(error)}
        except Exception as error:  # a bug, perhaps: named, and the other ranges go on
            return {**answer, "kind": "error", "error": f"{type(error).__name__}: {error}"}

    def _embed(self, model: "Encoder", row: dict[str, Any]) -> Part:
        file, number, settings = row["file"], row["range"], self._settings
        start = self._begin(file, number)
        try:
            report = InputReport()
            name = f"{row['name']}, range {number}" if number else row["name"]
            proteins = read_records(row["data"], name, settings.options, report)
            values = embed_records(model, [p for _, p in proteins], settings, report)
            part = Part(
                settings.run,
                file,
                number,
                digest_of(row["data"]),
                report.records,
                report.proteins,
                report.residues,
                {
                    k: v
                    for k, v in report.to_dict().items()
                    if k not in ("duplicate_ids", "renamed", "aligned")
                },
            )
            data = part_bytes(
                part,
                proteins,
                values,
                layers=settings.layers,
                width=settings.width,
                per=settings.options.per,
                provenance=json.dumps(
                    {**json.loads(settings.provenance), "compiled": model.compiled}
                ),
            )
            self._folder.write(part_name(file, number), data)
            return part
        finally:
            for k in range(1, start + 1):
                self._folder.remove(attempt_name(file, number, k))

    def _begin(self, file: int, number: int) -> int:
        """Leave a note that this range was begun; a worker that dies cannot take it away."""
        start = 1
        while self._folder.exists(attempt_name(file, number, start)):
            start += 1
        if start > MOST_STARTS:
            for k in range(1, start):
                self._folder.remove(attempt_name(file, number, k))
            raise InputError(
                f"{MOST_STARTS} workers in turn died while embedding it, most likely for want of "
                'memory; use a smaller `batch_tokens`, or fewer workers, or `long="window"`'
            )
        self._folder.write(attempt_name(file, number, start), b"begun\n")
        return start


def _load(settings: Settings, say: Say) -> "Encoder":
    import torch

    from esmkit.encoder.checkpoints import OfflineCheckpointWarning
    from esmkit.encoder.encoder import Encoder
    from esmkit.errors import CheckpointError

    torch.set_num_threads(settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OfflineCheckpointWarning)  # the driver has said it
        model = Encoder.load(
            settings.model, settings.device, settings.dtype, compiled=settings.compiled, say=say
        )
    if model.checkpoint.sha256 != settings.sha256:
        raise CheckpointError(
            f"a worker found other weights for {settings.model!r} (SHA-256 "
            f"{model.checkpoint.sha256[:12]}…) than the driver ({settings.sha256[:12]}…); give "
            "`model` a folder that all machines share"
        )
    return model


def read_records(
    data: bytes, name: str, options: EmbedOptions, report: InputReport
) -> list[tuple[int, Protein]]:
    """Parse and check the records of a range by the very rules of :func:`read_fasta`.

    Returns
    -------
    list of (int, Protein)
        Number of the record in the range, from 1, and the protein; records left out have none.

    Raises
    ------
    InputError
        The message names the first record that is not acceptable.
    """
    if not data:
        return []
    with tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        path = Path(scratch) / "range.fasta"
        path.write_bytes(data)
        proteins = []
        for protein in read_named([(path, name)], options.on_invalid, None, report):
            cut_into_pieces(protein, options.long)  # refuses what is too long
            proteins.append((report.records, protein))
    long = sum(len(protein) > MAX_RESIDUES for _, protein in proteins)
    if options.long == "window":
        report.windowed = long
    if options.long == "truncate":
        report.truncated = long
    return proteins


def embed_records(
    model: "Encoder", proteins: Sequence[Protein], settings: Settings, report: InputReport
) -> list[NDArray[np.float32]]:
    """Embed the distinct sequences of a range; return the values of every protein."""
    from esmkit.embeddings.embed import compute

    options = settings.options
    number_of: dict[str, int] = {}
    distinct: list[Protein] = []
    for protein in proteins:
        if protein.sequence not in number_of:
            number_of[protein.sequence] = len(distinct)
            distinct.append(protein)
    report.duplicate_sequences = len(proteins) - len(distinct)
    per_residue = options.per == "residue"
    results: list[Any] = [None] * len(distinct)
    for batch in compute(
        model, enumerate(distinct), settings.layers, options, keep_residues=per_residue
    ):
        for number, embedding in batch:
            pooled = embedding.mean if options.pool == "mean" else embedding.bos
            results[number] = embedding.residues if per_residue else pooled
    return [results[number_of[protein.sequence]] for protein in proteins]
