"""A dataset to one file, in input order, as the local engine would have written it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.embeddings.cluster.dataset import (
    PROVENANCE_FILE,
    open_part,
    part_of_name,
    parts_in_order,
)
from esmkit.embeddings.cluster.storage import Folder
from esmkit.embeddings.writers import EMBEDDING_FORMATS, open_writer
from esmkit.errors import OptionError, OutputError
from esmkit.files.disk import (
    check_output,
    disk_errors,
    move_into_place,
    named_place,
    sync,
    write_durably,
)
from esmkit.files.outputs import choose_format, is_stream
from esmkit.files.provenance import parse_provenance, provenance_sidecar
from esmkit.files.run_options import Run
from esmkit.files.task import writing
from esmkit.files.together import Together
from esmkit.sequences.proteins import Protein, UniqueIds

__all__ = ["merge_dataset"]


def merge_dataset(
    dataset: str | Path,
    output: str | Path,
    *,
    file_format: str | None = None,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write the proteins of a complete dataset to one file.

    Parameters
    ----------
    dataset : str or Path
        Folder or URL of the dataset.
    output : str or Path
        File to write, through a link if it is one; its name says the format.
    file_format : {'h5', 'parquet', 'npz', 'csv'}, optional
        Output format, whatever the name says.
    run : Run
        Options of the run: ``force`` overwrites an output that exists, ``say`` is told what was
        done.

    Raises
    ------
    OutputError
        If the dataset is not complete, a part is damaged, or the file cannot be written.
    """
    if is_stream(output):
        raise OptionError(
            "a dataset is merged into a file, not to standard output; name one with `output`"
        )
    kind = choose_format(output, file_format, tuple(EMBEDDING_FORMATS), streamed=(), say=run.say)
    target = named_place(Path(output))
    files = [provenance_sidecar(target), target] if kind == "csv" else [target]
    Together.take_back(target)
    for path in reversed(files):
        check_output(path, force=run.force)
    folder = Folder(dataset)
    names = folder.names()
    if not names:
        raise OutputError(f"{folder.url!r} is empty, or no such folder is there; check the path")
    if PROVENANCE_FILE not in names:
        raise OutputError(
            f"{folder.url!r} is not a complete dataset; run the embedding that makes it to its end"
        )
    try:
        provenance = {**parse_provenance(folder.read(PROVENANCE_FILE)), "format": kind}
    except (ValueError, RecursionError) as error:
        raise OutputError(
            f"{PROVENANCE_FILE} of {folder.url!r} is damaged ({error}); make the dataset anew"
        ) from error
    _check_count(folder, names, provenance)
    with Together(target, files) as together:
        staged = together.staged(target)
        temporary = target.with_name(target.name + ".tmp") if staged == target else staged
        try:
            count, renamed = _write(folder, provenance, kind, temporary, target)
            with disk_errors(target):
                if kind == "csv":
                    text = json.dumps(provenance, indent=2) + "\n"
                    write_durably(together.staged(files[0]), text.encode())
                    together.finish()
                else:
                    sync(temporary)
                    move_into_place(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    run.say(
        f"{count:,} protein(s) written" + (f", {renamed:,} repeated ID(s) renamed" * bool(renamed))
    )
    run.then()


def _write(
    folder: Folder, provenance: dict[str, Any], kind: str, temporary: Path, target: Path
) -> tuple[int, int]:
    """Write all proteins at a temporary place; return how many, and how many were renamed."""
    count = renamed = 0
    unique = UniqueIds()
    with disk_errors(target):
        writer = open_writer(
            kind, temporary, provenance, layers=provenance["layers"], per=provenance["per"]
        )
    try:
        for protein, values in _proteins(folder, provenance):
            name = unique(protein.id)
            renamed += name != protein.id
            with writing(target):
                writer.add(Protein(name, protein.sequence, protein.header), values)
            count += 1
    finally:
        with writing(target):
            writer.close()
    return count, renamed


def _check_count(folder: Folder, names: list[str], provenance: dict[str, Any]) -> None:
    found = sum(part_of_name(name) is not None for name in names)
    wanted = sum(file["ranges"] for file in provenance["inputs"])
    if found != wanted:
        raise OutputError(
            f"{folder.url!r} has {found:,} part(s) where there were {wanted:,}; run the "
            "embedding that made it again"
        )


def _proteins(
    folder: Folder, provenance: dict[str, Any]
) -> Iterator[tuple[Protein, NDArray[np.float32]]]:
    """Yield proteins and values in input order, a part at a time."""
    layers, per_residue = len(provenance["layers"]), provenance["per"] == "residue"
    for name in parts_in_order(folder):
        _, table = open_part(folder, name)
        if not len(table):
            continue
        lists = table.column("embedding").combine_chunks()
        vectors = lists.flatten().to_numpy().reshape(len(lists), -1)
        records = table.column("record").to_numpy()
        starts = np.flatnonzero(np.diff(records, prepend=-1))
        facts = table.select(["id", "header", "length"]).take(starts).to_pylist()
        letters = table.column("residue").to_pylist() if per_residue else []
        for fact, start, stop in zip(facts, starts, [*starts[1:], len(records)], strict=True):
            values = vectors[start:stop]
            residues = (stop - start) // layers
            if per_residue:
                values = values.reshape(layers, residues, -1)
            # Writers want letters for rows per residue, and otherwise the length alone
            known = "".join(letters[start : start + residues]) if per_residue else ""
            sequence = known.ljust(fact["length"], "X")
            yield (
                Protein(fact["id"], sequence, fact["header"]),
                (values[0] if layers == 1 else values),
            )
