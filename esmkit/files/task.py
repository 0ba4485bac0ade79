"""From FASTA files to one output file, in shards that survive a kill: what such tasks share.

A task computes results for the distinct sequences of the input and then writes them in input
order. This module validates before anything is written, keeps what is finished when a run is
stopped for whatever reason, goes on from there, and lets the output appear only when it is whole.
"""

import contextlib
import json
import os
import re
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from esmkit.errors import OutputError
from esmkit.files.disk import check_output, disk_errors, through_links
from esmkit.files.outputs import STDOUT, is_stream, name_of_target, open_stream
from esmkit.files.pending import Pending
from esmkit.files.provenance import provenance_sidecar, run_identity, run_provenance
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.work_folder import WorkFolder, finished_by_killed_run, tidy_up, was_finishing
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.windows import MAX_RESIDUES, Long, cut_into_pieces
from esmkit.text import Say, working

# PyTorch is imported only after the input has been validated: a typing error is answered at once.
if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["Task", "run_to_file", "writing"]


class Task(ABC):
    """One kind of run: what it computes and writes. :func:`run_to_file` drives it.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    long : str
        Rule for sequences over 1,022 residues.
    on_invalid : str
        Rule for letters that ESM-2 has no token for.

    Attributes
    ----------
    shard_bytes : int
        Size at which a shard is written.
    """

    name: ClassVar[str]
    shard_bytes = 32 * 2**20

    def __init__(
        self, model: "Encoder | Callable[[], Encoder]", *, long: Long, on_invalid: OnInvalid
    ) -> None:
        self._given = model
        self._loaded: Encoder | None = None
        self.long: Long = long
        self.on_invalid: OnInvalid = on_invalid

    @property
    def model(self) -> "Encoder":
        """The model, loaded when it is first needed."""
        if self._loaded is None:
            self._loaded = self._given() if callable(self._given) else self._given
        return self._loaded

    def look(self, protein: Protein) -> None:  # noqa: B027 - most tasks need not look
        """See each protein once while the input is validated; by default nothing is done."""

    @abstractmethod
    def prepare(self, index: InputIndex, say: Say) -> None:
        """Resolve options against the model, and refuse what does not fit it."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the task's part of fingerprint and provenance, JSON-ready."""

    def missing(self, index: InputIndex, held: Any) -> NDArray[np.bool_]:
        """Return, for each distinct sequence, whether shards do not hold it whole."""
        return ~np.isin(np.arange(index.sequences), np.fromiter(held, np.int64, len(held)))

    def left(self, index: InputIndex, missing: NDArray[np.bool_] | None = None) -> int:
        """Return how much there is to do for sequences, by default all: residues to be read."""
        if missing is None:
            return index.residues_to_compute
        return int(index.lengths[index.first_of[missing]].sum())

    def done(self, index: InputIndex, completed: Sequence[int]) -> int:
        """Return how much of that is done with what :meth:`compute` has yielded."""
        return int(index.lengths[index.first_of[list(completed)]].sum())

    @abstractmethod
    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: "Pending"
    ) -> Iterator[Sequence[int]]:
        """Add results to ``pending``; yield what each batch has completed, for :meth:`done`."""

    @abstractmethod
    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write all results in input order, repeats of a sequence included."""


def run_to_file(
    task: Task,
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    ids: Iterable[str] | None = None,
    with_sidecar: bool = False,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Run a task from FASTA files to one file.

    Parameters
    ----------
    task : Task
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        The file to write, through a link if it is one; or a stream, such as ``-`` for standard
        output.
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    with_sidecar : bool
        Write the provenance to a file beside the output, which has no place for it; never beside a
        stream.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    InputError, UnknownIdError, OptionError, CheckpointError, OutputError, ResumeError,
    NonFiniteError
        One sentence with the remedy. What was computed before is kept.
    """
    sources = [sources] if isinstance(sources, str | Path) else sources
    output = Path(output)
    streamed = is_stream(output)
    if not streamed:
        output = through_links(output)
        # A run killed between moving its output and tidying up is recognised further down
        check_output(output, force=run.force or finished_by_killed_run(output))
        if with_sidecar:
            check_output(provenance_sidecar(output), force=run.force or was_finishing(output))
        _refuse_to_overwrite_input(output, sources)
    else:
        _refuse_closed_stdout()
    with tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        with working(run.say, "reading the input"):
            index = InputIndex.build(
                sources, on_invalid=task.on_invalid, scratch=Path(scratch), ids=ids, look=task.look
            )
            _apply_long_policy(index, task.long)
        for line in index.report.lines():
            run.say(line)
        task.prepare(index, run.say)
        home = Path(scratch) / "stdout" if streamed else output
        identity = _identity(task, index)
        if not streamed and finished_by_killed_run(output):
            if finished_by_killed_run(output, identity) and not run.restart:
                run.say(f"{output} was complete: the run before was stopped just after writing it")
                tidy_up(output, run.then)
                return
            check_output(output, force=run.force)
            tidy_up(output)  # it is about to be overwritten by another run
        work = WorkFolder(home, identity, restart=run.restart, force=run.force)
        try:
            _fill(work, task, index, run)
            provenance = _provenance(task, index, work, run.command)
            with (
                _said_of_output(output, work, index.sequences),
                ShardReader(work.shard_of) as shards,
                _stream_or(output, work.temporary()) as target,
                working(run.say, f"all is computed; writing {name_of_target(output)}"),
            ):
                task.write(index, shards, provenance, target)
            if streamed:
                run.then()
            else:
                sidecar = _sidecar(output, provenance) if with_sidecar else None
                work.finish(sidecar=sidecar, then=run.then)
        finally:
            work.close()


def _refuse_closed_stdout() -> None:
    """Refuse to compute what standard output, closed, would not take."""
    if sys.stdout is None or sys.stdout.closed or not sys.stdout.writable():
        raise OutputError("standard output is closed; name a file with `output`")


@contextlib.contextmanager
def _stream_or(output: Path, path: Path) -> Iterator[Any]:
    """Yield the stream that the output is, open; or else the path at which to write it."""
    if not is_stream(output):
        yield path
        return
    with disk_errors(output), open_stream(output) as stream:
        yield stream


@contextlib.contextmanager
def _said_of_output(output: Path, work: WorkFolder, sequences: int) -> Iterator[None]:
    """Say where all that was computed is kept, if the disk fails while the output is written."""
    try:
        yield
    except OutputError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        what = cause.strerror or cause
        if is_stream(output):
            name = "standard output" if output == STDOUT else repr(str(output))
            raise OutputError(
                f"cannot write to {name} ({what}); nothing is kept of it: mend the cause "
                "and run the same again, or name a file with `output`"
            ) from cause
        raise OutputError(
            f"cannot write {str(output)!r} ({what}); all {sequences:,} sequences are computed and "
            f"kept in {str(work.folder)!r}: make room or mend the cause, then run the same again"
        ) from cause


def _refuse_to_overwrite_input(output: Path, sources: Sequence[str | Path]) -> None:
    """Refuse an output that is an input, which even ``force`` must not overwrite."""
    for source in sources:
        path = Path(source)
        for target in (output, provenance_sidecar(output)):
            if target.exists() and path.exists() and target.samefile(path):
                raise OutputError(
                    f"{str(target)!r} is the input itself; name another file with `output`"
                )


def _sidecar(output: Path, provenance: dict[str, Any]) -> tuple[Path, bytes]:
    return provenance_sidecar(output), (json.dumps(provenance, indent=2) + "\n").encode()


def _apply_long_policy(index: InputIndex, long: Long) -> None:
    """Count, or refuse, the sequences that are longer than the model was trained for."""
    count = int((index.lengths > MAX_RESIDUES).sum())
    if count and long == "error":
        for _, protein in index.proteins():
            cut_into_pieces(protein, "error")
    if long == "window":
        index.report.windowed = count
    if long == "truncate":
        index.report.truncated = count


def _identity(task: Task, index: InputIndex) -> dict[str, Any]:
    """Return everything that the output depends on."""
    model = task.model
    return run_identity(
        task.name,
        checkpoint=model.checkpoint.sha256,
        dtype=str(model.dtype),
        device=model.device.type,
        settings={
            "input": [file["sha256"] for file in index.files],
            **_asked_for(index),
            **task.options(),
            "long": task.long,
            "on-invalid": task.on_invalid,
        },
    )


def _asked_for(index: InputIndex) -> dict[str, Any]:
    """Return which records were asked for, if not all of them, in an order that means nothing."""
    return {} if index.ids is None else {"id": sorted(index.ids)}


def _provenance(task: Task, index: InputIndex, work: WorkFolder, command: str) -> dict[str, Any]:
    """Return what the output records of its making."""
    model = task.model
    return run_provenance(
        task.name,
        checkpoint=model.checkpoint.to_dict(),
        shape={"layers": model.layers, "heads": model.heads, "width": model.width},
        settings={**_asked_for(index), **task.options(), "long": task.long},
        dtype=str(model.dtype).removeprefix("torch."),
        device=model.device.type,
        compiled=work.compiled(model.compiled),
        made_from={"inputs": index.files, "input_report": index.report.to_dict()},
        command=command,
        packages=("torch", "transformers", "numpy", "h5py"),
    )


def _fill(work: WorkFolder, task: Task, index: InputIndex, run: Run) -> None:
    """Compute what the shards do not hold yet."""
    if work.damaged:
        run.say(f"{work.damaged} damaged shard(s) found by checksum; they are computed anew")
    missing = task.missing(index, work.shard_of)
    held = int((~missing).sum())
    if held:
        run.say(f"going on after {held:,} of {index.sequences:,} sequences")
    if held == index.sequences:
        return
    work.note_attention(compiled=task.model.compiled)
    total = task.left(index)
    bar = tqdm(
        total=total,
        initial=total - task.left(index, missing),
        unit="res",
        unit_scale=True,
        desc=task.name,
        disable=not run.progress,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        dynamic_ncols=True,
    )
    with bar, Pending(work, task.shard_bytes) as pending:
        for completed in task.compute(index, missing, pending):
            pending.flush_if_due()
            bar.update(task.done(index, completed))


@contextlib.contextmanager
def writing(where: Path | str) -> Iterator[None]:
    """Give a full disk the same sentence whatever a library makes of it."""
    with disk_errors(where):
        try:
            yield
        except (RuntimeError, ValueError, OSError) as error:  # h5py's and pyarrow's names for it
            if isinstance(error, BrokenPipeError):
                raise
            raise _plain(error) from error


def _plain(error: Exception) -> OSError:
    """Return an error of the disk in one line; HDF5's has several, with addresses in memory."""
    if isinstance(error, OSError) and error.errno:
        return error
    found = re.search(r"errno = (\d+)", str(error))
    if found:
        return OSError(int(found[1]), os.strerror(int(found[1])))
    return OSError(f"writing failed: {str(error).splitlines()[0] if str(error) else error!r}")
