"""The trace on disk: FASTA files to one file of activations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.encoder.activations import Activation, Activations
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors
from esmkit.files.outputs import choose_format
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.task import Task, run_to_file, writing
from esmkit.inside.edits import Edit, read_edits
from esmkit.inside.hdf5 import TraceWriter
from esmkit.inside.memory import bytes_of
from esmkit.inside.options import TraceOptions, described
from esmkit.sequences.index import InputIndex
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, readable_bytes

# PyTorch is imported only after the input is validated: a typing error is answered at once.
if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["MAX_TRACE_BYTES", "trace_file"]

MAX_TRACE_BYTES = 10 * 10**9
"""Largest output that is written without ``--force``."""


@checked
def trace_file(
    model: "Encoder | Callable[[], Encoder]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    options: TraceOptions,
    *,
    ids: Iterable[str] | None = None,
    max_bytes: int = MAX_TRACE_BYTES,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write activations of the proteins of FASTA files.

    HDF5: one group per protein in input order, a dataset for each activation under its name, of the
    residues in order, float32. ``bos`` and ``eos`` in the group hold the same of these tokens, for
    what is no map. A run that is stopped goes on where it was.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        The file to write, through a link if it is one: HDF5 (``.h5``, ``.hdf5``).
    options : TraceOptions
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    max_bytes : int
        Refuse what would take more than this, unless ``run.force`` is set.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    InputError, UnknownIdError, OptionError, CheckpointError, OutputError, ResumeError,
    NonFiniteError
        One sentence with the remedy. What was computed before is kept.

    Examples
    --------
    >>> demo = esmkit.data.demo_fasta()
    >>> options = TraceOptions(keep=["L5.residual"])
    >>> trace_file(esmkit.load, demo, "demo.trace.h5", options)                # doctest: +SKIP
    >>> esmkit.read("demo.trace.h5")["P69905"]["L5.residual"].shape            # doctest: +SKIP
    (142, 320)
    """
    choose_format(output, None, ("h5",), streamed=(), say=run.say)
    task = TraceTask(model, options, max_bytes=None if run.force else max_bytes)
    run_to_file(task, sources, output, ids=ids, run=run)


class TraceTask(Task):
    """Activations of each protein. A unit of work on disk is one activation of one protein."""

    name = "trace"

    def __init__(
        self,
        model: "Encoder | Callable[[], Encoder]",
        options: TraceOptions,
        *,
        max_bytes: int | None,
    ) -> None:
        super().__init__(model, long=options.long, on_invalid=options.on_invalid)
        self._options = options
        self._max_bytes = max_bytes
        self._keep: tuple[Activation, ...] = ()
        self._edits: tuple[Edit, ...] = ()
        self._recorded: list[str] = []

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Find the activations, and compute and judge the size of the output."""
        from esmkit.inside.tracer import activations_of

        known = activations_of(self.model)
        self._keep = known.choose(self._options.keep)
        self._edits = read_edits(self._options.edit, known)
        self._recorded = described(self._edits)
        if any(one.step == "logits" for one in self._keep):
            _ = self.model.lm_head  # which says what to do if there is none
        size, longest = self._size(known, index.lengths)
        say(
            f"{len(self._keep)} activation(s) of {len(index.lengths):,} protein(s): "
            f"{readable_bytes(size)} in {self._options.dtype}"
        )
        if self._max_bytes is not None and size > self._max_bytes:
            raise OptionError(
                f"{readable_bytes(size)} of activations (longest protein {longest:,} residues) are over "
                f"`max_bytes`, {readable_bytes(self._max_bytes)}; name fewer in `keep`, or single heads, "
                "or give `run=Run(force=True)`"
            )

    def _size(self, known: Activations, lengths: NDArray[np.int64]) -> tuple[int, int]:
        if self.long == "truncate":
            lengths = np.minimum(lengths, MAX_RESIDUES)
        each, counts = np.unique(lengths, return_counts=True)
        sizes = [
            bytes_of(known, self._keep, int(n)) * int(k) for n, k in zip(each, counts, strict=True)
        ]
        scale = np.dtype(self._options.dtype).itemsize / 4
        return int(sum(sizes) * scale), int(each[-1])

    def options(self) -> dict[str, Any]:
        """Return activations, edits and data type."""
        return {
            "format": "h5",
            "keep": [one.name for one in self._keep],
            "edit": self._recorded,
            "dtype_stored": self._options.dtype,
            "batch-tokens": self._options.batch_tokens,
        }

    def missing(self, index: InputIndex, held: Any) -> NDArray[np.bool_]:
        """Return which sequences lack an activation."""
        units = np.fromiter(held, np.int64, len(held)) // len(self._keep)
        return np.bincount(units, minlength=index.sequences) < len(self._keep)

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Trace what is missing, pass by pass."""
        from esmkit.inside.tracing import compute

        kind = np.dtype(self._options.dtype)
        for batch in compute(
            self.model,
            index.distinct(),
            self._keep,
            self._edits,
            long=self.long,
            batch_tokens=self._options.batch_tokens,
            missing=missing,
        ):
            for number, trace in batch:
                for place, one in enumerate(self._keep):
                    values = trace[one.name]
                    if not one.is_map:  # BOS and EOS before and after the residues
                        ends = (
                            np.expand_dims(end(one.name), one.token_axis)
                            for end in (trace.bos, trace.eos)
                        )
                        bos, eos = ends
                        values = np.concatenate([bos, values, eos], axis=one.token_axis)
                    pending.add(number * len(self._keep) + place, values.astype(kind))
                    pending.flush_if_full()
            yield [number for number, _ in batch]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write a group for each protein."""
        with disk_errors(target):
            writer = TraceWriter(target, provenance)
        try:
            for number, protein in index.proteins():
                with writing(target):
                    end = MAX_RESIDUES if self.long == "truncate" else None
                    writer.begin(protein, protein.sequence[:end])
                    for place, one in enumerate(self._keep):
                        writer.add(one, shards[number * len(self._keep) + place])
                    writer.end()
        finally:
            with writing(target):
                writer.close()
