"""The embed task on disk: FASTA files to one embedding file, in shards that survive a kill."""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from esmkit._version import __version__
from esmkit.errors import OptionError, OutputError
from esmkit.exports import FORMATS, import_pyarrow, open_writer, provenance_sidecar
from esmkit.inputs import InputIndex
from esmkit.policies import MAX_RESIDUES, EmbedOptions, cut_into_pieces
from esmkit.store import (
    ShardReader,
    WorkFolder,
    check_output,
    disk_errors,
    finished_by_killed_run,
)

# PyTorch is imported once the input has been found good: a typing error is answered at once.
if TYPE_CHECKING:
    from esmkit.embed import Embedding
    from esmkit.model import Esm2

__all__ = ["STDOUT", "embed_file"]

STDOUT = Path("-")
"""As output: CSV on standard output."""

SHARD_BYTES = 32 * 2**20
"""A shard is written when it has grown to this."""

SHARD_SECONDS = (2.0, 60.0)
"""... or when this has passed: 2 % of the time so far, within these bounds, is all a kill loses."""

Say = Callable[[str], None]


def embed_file(
    model: "Esm2 | Callable[[], Esm2]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    options: EmbedOptions = EmbedOptions(),  # noqa: B008 - frozen
    *,
    file_format: str | None = None,
    force: bool = False,
    restart: bool = False,
    command: str = "",
    progress: bool = False,
    say: Say = lambda text: None,
) -> None:
    """Embed the proteins of FASTA files into one file.

    The input is validated from start to end before anything is written. Results go to shards in
    ``<output>.work``; a run that was killed and is started again goes on after its last shard.
    The output appears when it is whole, and the folder goes.

    Parameters
    ----------
    model : Esm2 or callable
        A callable is asked for the model once the input has been found good.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        The file to write; ``-`` is standard output, for CSV.
    options : EmbedOptions
    file_format : {'h5', 'parquet', 'npz', 'csv'}, optional
        By default what the name of the output ends in.
        One dataset or array per protein, or a table with one row per protein (or residue) and
        layer. Always float32.
    force : bool
        Overwrite an output that exists.
    restart : bool
        Throw unfinished work away instead of going on with it.
    command : str
        Recorded in the provenance.
    progress : bool
        Show a progress bar on standard error.
    say : callable
        Told what was found and done, a sentence at a time.

    Raises
    ------
    InputError, OptionError, CheckpointError, OutputError, ResumeError, NonFiniteError
        One sentence with the remedy. What was computed before is kept.
    """
    file_format = choose_format(output, file_format)
    if file_format == "parquet":
        import_pyarrow()
    sources = [sources] if isinstance(sources, str | Path) else sources
    output = Path(output)
    to_stdout = output == STDOUT
    if to_stdout and file_format != "csv":
        raise OptionError("only CSV goes to standard output: add --format csv, or name a file")
    if not to_stdout:
        # A run killed between moving its output and tidying up is recognised further down
        check_output(output, force=force or finished_by_killed_run(output))
        if file_format == "csv":
            check_output(provenance_sidecar(output), force=force)
        _refuse_to_overwrite_input(output, sources)
    with tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        index = InputIndex.build(sources, on_invalid=options.on_invalid, scratch=Path(scratch))
        _apply_long_policy(index, options)
        for line in index.report.lines():
            say(line)
        loaded = model() if callable(model) else model
        layers = loaded.resolve_layers(options.layers)
        home = Path(scratch) / "stdout.csv" if to_stdout else output
        fingerprint = _fingerprint(loaded, index, layers, options, file_format)
        if not force and not to_stdout and output.exists():
            if finished_by_killed_run(output, fingerprint):
                say(f"{output} was complete: the run before was stopped just after writing it")
                return
            check_output(output, force=False)
        work = WorkFolder(home, fingerprint, restart=restart, force=force)
        try:
            _fill(work, loaded, index, layers, options, progress=progress, say=say)
            provenance = _provenance(loaded, index, layers, options, command)
            target = sys.stdout if to_stdout else work.temporary()
            _write(work, index, provenance, layers, options, file_format, target)
            if not to_stdout:
                work.finish(sidecar=_sidecar(output, provenance) if file_format == "csv" else None)
        finally:
            work.close()


def choose_format(output: str | Path, asked: str | None) -> str:
    """Return the format asked for, or the one that the name of the output ends in.

    Raises
    ------
    OptionError
        If there is no such format, or the name ends in that of another.
    """
    if asked is not None and asked not in FORMATS:
        raise OptionError(f"format is {', '.join(FORMATS)}, not {asked!r}")
    suffix = Path(output).suffix.removeprefix(".").lower()
    if suffix in FORMATS and asked not in (None, suffix):
        raise OptionError(
            f"{str(output)!r} ends in .{suffix}, but the format is to be {asked}; give a name that "
            f"ends in .{asked}, or leave --format out"
        )
    if str(output) == str(STDOUT):
        return asked or "csv"
    if suffix not in FORMATS:
        raise OptionError(
            f"{str(output)!r} says no format: let it end in "
            + ", ".join(f".{name}" for name in FORMATS)
        )
    return suffix


def _refuse_to_overwrite_input(output: Path, sources: Sequence[str | Path]) -> None:
    """Even --force must not turn a FASTA file into its own embeddings."""
    for source in sources:
        path = Path(source)
        for target in (output, provenance_sidecar(output)):
            if target.exists() and path.exists() and target.samefile(path):
                raise OutputError(f"{str(target)!r} is the input itself; give another with -o")


def _sidecar(output: Path, provenance: dict[str, Any]) -> tuple[Path, bytes]:
    return provenance_sidecar(output), (json.dumps(provenance, indent=2) + "\n").encode()


def _apply_long_policy(index: InputIndex, options: EmbedOptions) -> None:
    """Count, or refuse, the sequences that are longer than the model was trained for."""
    long = int((index.lengths > MAX_RESIDUES).sum())
    if long and options.long == "error":
        for _, protein in index.proteins():
            cut_into_pieces(protein, "error")
    if options.long == "window":
        index.report.windowed = long
    if options.long == "truncate":
        index.report.truncated = long


def _fingerprint(
    model: "Esm2",
    index: InputIndex,
    layers: Sequence[int],
    options: EmbedOptions,
    file_format: str,
) -> dict[str, Any]:
    """Return everything that the output depends on."""
    return {
        "format": file_format,
        "esmkit": __version__,
        "input": [file["sha256"] for file in index.files],
        "checkpoint": model.checkpoint.sha256,
        "layers": list(layers),
        "per": options.per,
        "pool": options.pool if options.per == "protein" else None,
        "long": options.long,
        "on-invalid": options.on_invalid,
        "batch-tokens": options.batch_tokens,
        "dtype": str(model.dtype),
        "device": model.device.type,
    }


def _provenance(
    model: "Esm2", index: InputIndex, layers: Sequence[int], options: EmbedOptions, command: str
) -> dict[str, Any]:
    """Return what the output records of its making: no dates, so equal runs give equal files."""
    import torch
    import transformers

    return {
        "esmkit": __version__,
        "checkpoint": model.checkpoint.to_dict(),
        "layers": list(layers),
        "per": options.per,
        "pool": options.pool if options.per == "protein" else None,
        "long": options.long,
        "max_residues": MAX_RESIDUES,
        "dtype_model": str(model.dtype).removeprefix("torch."),
        "dtype_stored": "float32",
        "device": model.device.type,
        "inputs": index.files,
        "input_report": index.report.to_dict(),
        "command": command,
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }


def _fill(
    work: WorkFolder,
    model: "Esm2",
    index: InputIndex,
    layers: Sequence[int],
    options: EmbedOptions,
    *,
    progress: bool,
    say: Say,
) -> None:
    """Compute what the shards do not hold yet."""
    from esmkit.embed import compute

    if work.damaged:
        say(f"{work.damaged} damaged shard(s) found by checksum; they are computed anew")
    held = len(work.shard_of)
    if held:
        say(f"going on after {held:,} of {index.sequences:,} sequences")
    if held == index.sequences:
        return
    pending = _Pending(work)
    residues_of = index.lengths[index.first_of]
    bar = tqdm(
        total=index.residues_to_compute,
        initial=int(residues_of[list(work.shard_of)].sum()) if held else 0,
        unit="res",
        unit_scale=True,
        desc="embed",
        disable=not progress,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        dynamic_ncols=True,
    )
    with bar, pending:
        for batch in compute(
            model,
            index.distinct(),
            layers,
            options,
            keep_residues=options.per == "residue",
            done=work.shard_of,
        ):
            for number, embedding in batch:
                pending.add(number, _values(embedding, options))
            pending.flush_if_due()
            bar.update(int(residues_of[[number for number, _ in batch]].sum()))


def _values(embedding: "Embedding", options: EmbedOptions) -> NDArray[np.float32]:
    if options.per == "residue":
        return embedding.residues
    return embedding.mean if options.pool == "mean" else embedding.bos


class _Pending(contextlib.AbstractContextManager["_Pending"]):
    """Results on their way to a shard; whatever ends the run, they are written first."""

    def __init__(self, work: WorkFolder) -> None:
        self._work = work
        self._arrays: dict[int, NDArray[np.float32]] = {}
        self._bytes = 0
        self._begun = self._written = time.monotonic()

    def add(self, number: int, values: NDArray[np.float32]) -> None:
        self._arrays[number] = values
        self._bytes += values.nbytes

    def flush_if_due(self) -> None:
        now = time.monotonic()
        least, most = SHARD_SECONDS
        patience = min(most, max(least, 0.02 * (now - self._begun)))
        if self._bytes >= SHARD_BYTES or now - self._written >= patience:
            self.flush()

    def flush(self) -> None:
        if self._arrays:
            self._work.write(self._arrays)
            self._arrays, self._bytes = {}, 0
        self._written = time.monotonic()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.flush()
        else:
            with contextlib.suppress(OutputError):  # the first error is the one to report
                self.flush()


def _write(
    work: WorkFolder,
    index: InputIndex,
    provenance: dict[str, Any],
    layers: Sequence[int],
    options: EmbedOptions,
    file_format: str,
    target: Any,
) -> None:
    """Write all results in input order, repeats of a sequence included."""
    shards = ShardReader(work)
    where = target if isinstance(target, Path) else "standard output"
    with disk_errors(where):
        writer = open_writer(file_format, target, provenance, layers=layers, per=options.per)
    try:
        for number, protein in index.proteins():
            values = shards[number]
            with _writing(where):
                writer.add(protein, values)
    finally:
        with _writing(where):
            writer.close()


@contextlib.contextmanager
def _writing(where: Path | str) -> Iterator[None]:
    """Give a full disk the same sentence whatever a library makes of it."""
    with disk_errors(where):
        try:
            yield
        except (RuntimeError, ValueError) as error:  # h5py's and pyarrow's names for it
            raise OSError(f"writing failed: {error}") from error
