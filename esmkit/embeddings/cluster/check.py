"""The proof that every record of the input is in the dataset, once, and nothing else.

The input is read from start to end by the parser of the local engine, which knows nothing of
ranges, and compared record by record with the rows of the parts in order. One part is held at a
time. No Ray is needed.
"""

import gzip
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from esmkit.embeddings.cluster.dataset import (
    PROVENANCE_FILE,
    Manifest,
    open_part,
    part_name,
    part_of_name,
    read_manifest,
    sequence_hash,
)
from esmkit.embeddings.cluster.ranges import ranges_of_stream
from esmkit.embeddings.cluster.storage import Folder, absolute, open_input, size_of
from esmkit.errors import InputError, OutputError
from esmkit.files.run_options import Run
from esmkit.sequences.ids import id_in
from esmkit.sequences.proteins import OnInvalid, Protein, read_fasta
from esmkit.sequences.report import InputReport
from esmkit.text import shorten

__all__ = ["check_dataset"]

Record = tuple[str, str, str, int]
"""ID, header, hash of the sequence, residues."""

_READ_BYTES = 16 * 2**20
"""Records of a file in an object store that are read at a time."""


def check_dataset(
    output: str | Path,
    sources: Sequence[str | Path] = (),
    *,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Prove that a dataset holds every record of its input exactly once.

    Every page of every part is compared with its checksum, and every value must be finite.

    Parameters
    ----------
    output : str or Path
        The folder or URL.
    sources : sequence of paths
        Where the input files are now, in the same order; by default where they were.
    run : Run
        Options of the run: ``progress`` shows a progress bar on standard error, ``say`` is told the
        result in one sentence. Nothing is written, so the others change nothing.

    Raises
    ------
    OutputError
        If it is not complete; the message names the first difference.
    InputError
        If an input file is not there any more.
    """
    folder = Folder(output)
    manifest = read_manifest(folder)
    if manifest is None:
        if not folder.names():
            raise OutputError(
                f"{folder.url!r} is empty, or no such folder is there; check the path"
            )
        raise OutputError(f"{folder.url!r} is not a dataset of esmkit: it has no _manifest.json")
    urls = [absolute(source) for source in sources] or [file.url for file in manifest.inputs]
    if len(urls) != len(manifest.inputs):
        raise OutputError(
            f"{folder.url!r} is of {len(manifest.inputs)} input file(s), not {len(urls)}; name "
            "them all in the same order, or none"
        )
    names = folder.names()
    _check_names(folder, manifest, names)
    rule: OnInvalid = manifest.fingerprint["on-invalid"]
    report = InputReport()
    records = proteins = 0
    bar = tqdm(
        total=sum(f.ranges or 0 for f in manifest.inputs),
        desc="check",
        unit="part",
        disable=not run.progress,
        mininterval=1.0,
    )
    with bar:
        for number, (file, url) in enumerate(zip(manifest.inputs, urls, strict=True)):
            rows = _rows(folder, manifest, number, bar)
            wanted = _records(url, file.gzip, rule, report)
            proteins += _compare(folder, file.name, wanted, rows)
        records = report.records
    if PROVENANCE_FILE not in names:
        raise OutputError(
            f"{folder.url!r} has every row but no {PROVENANCE_FILE}: its run was stopped just "
            "before the end; run the same embedding once more"
        )
    left_out = f', {report.skipped:,} left out by `on_invalid="skip"`' if report.skipped else ""
    run.say(
        f"complete: {records:,} record(s) in the input{left_out}, {proteins:,} protein(s) in "
        f"{sum(f.ranges or 0 for f in manifest.inputs):,} part(s), each exactly once and in order"
    )


def _records(url: str, packed: bool, rule: OnInvalid, report: InputReport) -> Iterator[Protein]:
    """Read a file from start to end; one in an object store a few megabytes at a time."""
    size_of(url)
    if "://" not in url:
        yield from read_fasta(url, on_invalid=rule, report=report)
        return
    with open_input(url) as handle, tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        stream = gzip.GzipFile(fileobj=handle) if packed else handle  # type: ignore[arg-type]
        for _, data in ranges_of_stream(stream, _READ_BYTES):  # type: ignore[arg-type]
            if data:
                path = Path(scratch) / "block.fasta"
                path.write_bytes(data)
                yield from read_fasta(path, on_invalid=rule, report=report)


def _check_names(folder: Folder, manifest: Manifest, names: list[str]) -> None:
    found = {name for name in names if part_of_name(name)}
    unknown = [file.name for file in manifest.inputs if file.ranges is None]
    if unknown:
        raise OutputError(
            f"{folder.url!r} is not complete: {unknown[0]!r} was not read to its end; run the "
            "same embedding again"
        )
    wanted = {
        part_name(number, k)
        for number, file in enumerate(manifest.inputs)
        for k in range(file.ranges or 0)
    }
    if missing := sorted(wanted - found):
        raise OutputError(
            f"{folder.url!r} is not complete: {len(missing):,} of {len(wanted):,} part(s) are "
            f"missing, such as {missing[0]}; run the same embedding again"
        )
    if foreign := sorted(found - wanted):
        raise OutputError(
            f"{folder.url!r} has {len(foreign):,} part(s) too many, such as {foreign[0]}; move "
            "them away"
        )


def _rows(
    folder: Folder, manifest: Manifest, number: int, bar: Any
) -> Iterator[tuple[str, Record]]:
    """Yield (part, record) in order; rows of one protein (layers, residues) are one record."""
    layers = len(manifest.fingerprint["layers"])
    per_residue = manifest.fingerprint["per"] == "residue"
    cut = manifest.fingerprint["long"] == "truncate"
    for k in range(manifest.inputs[number].ranges or 0):
        name = part_name(number, k)
        part, table = open_part(folder, name)
        if part.run != manifest.run or (part.file, part.range) != (number, k):
            raise OutputError(f"{folder.url}/{name} belongs to another run; delete it")
        vectors = table.column("embedding").combine_chunks().flatten().to_numpy()
        if table.column("embedding").null_count or not np.isfinite(vectors).all():
            raise OutputError(f"{folder.url}/{name} has values that are no numbers; delete it")
        columns = ("record", "id", "header", "sequence_hash", "length", "file", "range")
        rows = zip(*(table.column(c).to_pylist() for c in columns), strict=True)
        count = last = 0
        for record, identity, header, digest, length, file, of_range in rows:
            if (file, of_range) != (number, k):
                raise OutputError(f"{folder.url}/{name} has rows of another range; delete it")
            if count == 0:
                if record <= last:
                    raise OutputError(
                        f"{folder.url}/{name} has record {record:,} ({shorten(identity)!r}) out of "
                        "order, or twice; delete it"
                    )
                last = record
                residues = min(length, 1022) if cut else length
                count = layers * (residues if per_residue else 1)
                yield name, (identity, header, digest, length)
            elif record != last:
                raise OutputError(f"{folder.url}/{name}, record {last:,}: rows are missing")
            count -= 1
        if count:
            raise OutputError(f"{folder.url}/{name}, record {last:,}: rows are missing; delete it")
        bar.update(1)


def _compare(
    folder: Folder, name: str, wanted: Iterator[Protein], rows: Iterator[tuple[str, Record]]
) -> int:
    """Go through input and dataset side by side; return how many proteins there are."""
    count = 0
    remedy = "delete that part and run the same embedding again"
    for count, protein in enumerate(wanted, 1):
        identity = id_in(protein.header)
        record = (identity, protein.header, sequence_hash(protein.sequence), len(protein))
        part, found = next(rows, ("", None))
        if found is None:
            raise OutputError(
                f"{folder.url!r} is not complete: protein {count:,} of {name!r} "
                f"({shorten(identity)!r}) and all after it have no row"
            )
        if found != record:
            raise OutputError(
                f"{folder.url}/{part}: protein {count:,} of {name!r} is {shorten(identity)!r} "
                f"({len(protein):,} residues), and the row there is {shorten(found[0])!r} "
                f"({found[3]:,} residues); {remedy}"
            )
    for part, found in rows:
        raise OutputError(
            f"{folder.url}/{part} has a row more than the input ({shorten(found[0])!r}); {remedy}"
        )
    if not count:
        raise InputError(f"no protein is left of {name!r}")
    return count
