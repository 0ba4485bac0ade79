"""The attention task on disk: FASTA files to one file of maps, or of numbers in their place."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.attention.hdf5 import AttentionWriter, CompressedMaps, decode_block
from esmkit.attention.options import AttentionOptions, columns_of
from esmkit.encoder.names import HeadChoice, choose_heads
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors
from esmkit.files.outputs import choose_format, format_of_name, is_stream, name_of_target
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.tables import import_pyarrow, open_table
from esmkit.files.task import Task, run_to_file, writing
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import Protein
from esmkit.sequences.windows import MAX_RESIDUES, windows
from esmkit.text import Say, readable_bytes

# PyTorch is imported only after the input is validated: a typing error is answered at once.
if TYPE_CHECKING:
    import torch

    from esmkit.attention.figure_options import FigureOptions
    from esmkit.attention.passes import Piece
    from esmkit.encoder.encoder import Encoder

__all__ = ["MAX_MAP_BYTES", "attention_file"]

MAX_MAP_BYTES = 10 * 10**9
"""Largest output, before compression, that is written without ``--force``."""


TABLE_FORMATS = ("csv", "tsv", "parquet")
"""Formats of reductions."""


@checked
def attention_file(
    model: "Encoder | Callable[[], Encoder]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    options: AttentionOptions = AttentionOptions(),  # noqa: B008 - frozen
    *,
    ids: Iterable[str] | None = None,
    max_bytes: int = MAX_MAP_BYTES,
    file_format: str | None = None,
    figures: "FigureOptions | None" = None,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write the attention maps of the proteins of FASTA files, or numbers in their place.

    Maps go to HDF5: one group per protein in input order with ``attention`` (layers, heads, R, R)
    or, for chosen heads, (n, R, R), and ``bos`` and ``eos`` without the last axis. With
    ``options.reduce`` a table goes to CSV, TSV or Parquet instead, a row for each protein and head; see
    :mod:`esmkit.attention.summaries`. A run that is stopped goes on where it was.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        The file to write, through a link if it is one: HDF5 (``.h5``, ``.hdf5``); with
        ``options.reduce`` a table (``.csv``, ``.tsv``, ``.parquet``), or ``-`` or another stream,
        which gets CSV unless ``file_format`` is ``tsv``.
    options : AttentionOptions
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    max_bytes : int
        Refuse maps that would take more than this, before compression, unless ``run.force`` is set.
    file_format : {'h5', 'csv', 'tsv', 'parquet'}, optional
        Output format, whatever the name of the output ends in; by default what it ends in.
    figures : FigureOptions, optional
        Figures that will be drawn of the file: checked against its proteins and heads before
        anything is computed.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    InputError, UnknownIdError, OptionError, CheckpointError, OutputError, ResumeError,
    NonFiniteError
        One sentence with the remedy. What was computed before is kept.

    See Also
    --------
    AttentionFile : Reading it back.
    esmkit.attention.attention_figures : Figures of it.

    Examples
    --------
    >>> model = esmkit.load()                                          # doctest: +SKIP
    >>> demo = esmkit.data.ubiquitin_fasta()                           # doctest: +SKIP
    >>> attention_file(model, demo, "ubiquitin.h5")                    # doctest: +SKIP
    >>> esmkit.read("ubiquitin.h5")["1UBI_A"].heads[:2]                # doctest: +SKIP
    ('L0H0', 'L0H1')
    >>> entropy = AttentionOptions(reduce="entropy")                   # doctest: +SKIP
    >>> attention_file(model, demo, "ubiquitin.csv", entropy)          # doctest: +SKIP
    """
    kind = _format_of(output, file_format, options, run.say)
    if options.reduce:
        if kind == "parquet":
            import_pyarrow()
        task: Task = ReduceTask(model, options, kind)
    else:
        task = MapsTask(model, options, max_bytes=None if run.force else max_bytes, figures=figures)
    run_to_file(
        task,
        sources,
        output,
        ids=ids,
        with_sidecar=kind in ("csv", "tsv") and not is_stream(output),
        run=run,
    )


def _format_of(output: str | Path, asked: str | None, options: AttentionOptions, say: Say) -> str:
    """Return the format of the output: HDF5 for maps, a table for reductions."""
    streamed = is_stream(output)
    named = None if asked is None and streamed else asked or format_of_name(output)
    if options.reduce:
        if (named is None and not streamed) or named not in (None, *TABLE_FORMATS):
            raise OptionError(
                f"with reductions the output is a table: let {str(output)!r} end in .csv, .tsv or "
                '.parquet, or name one of them, such as `file_format="csv"`'
            )
        return choose_format(output, asked, TABLE_FORMATS, streamed=("csv", "tsv"), say=say)
    if streamed and asked in (None, "h5"):
        return choose_format(output, "h5", ("h5",), streamed=(), say=say)
    if named != "h5":
        raise OptionError(
            f"attention maps are written to HDF5: let {str(output)!r} end in .h5, or ask for a "
            "table with `reduce`"
        )
    return choose_format(output, asked, ("h5",), streamed=(), say=say)


class _AttentionTask(Task):
    """What maps and their reductions share."""

    name = "attention"

    def __init__(
        self, model: "Encoder | Callable[[], Encoder]", options: AttentionOptions, file_format: str
    ) -> None:
        super().__init__(model, long=options.long, on_invalid=options.on_invalid)
        self._options = options
        self._format = file_format
        self._choice = HeadChoice((), 0, 0)

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Resolve the heads."""
        self._choice = choose_heads(
            self._options.heads,
            self._options.layers,
            of_layers=self.model.layers,
            of_heads=self.model.heads,
        )

    def options(self) -> dict[str, Any]:
        """Return heads and format."""
        return {
            "format": self._format,
            "heads": list(self._choice.names),
            "batch-tokens": self._options.batch_tokens,
        }


class ReduceTask(_AttentionTask):
    """One row of numbers for each protein and head."""

    def options(self) -> dict[str, Any]:
        """Return heads, format and reductions."""
        return {**super().options(), "reduce": list(columns_of(self._options.reduce))}

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Reduce what is missing, pass by pass."""
        from esmkit.attention.summaries import reduced

        items = index.distinct()
        for batch in reduced(self.model, items, self._choice, self._options, missing=missing):
            for number, values in batch:
                pending.add(number, values)
            yield [number for number, _ in batch]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write the table."""
        from esmkit.attention.summaries import rows_of

        where = name_of_target(target)
        with disk_errors(where), open_table(self._format, target, provenance) as table:
            for number, protein in index.proteins():
                rows = rows_of(protein, self._choice, shards[number], self._options.reduce)
                with writing(where):
                    table.add(rows)


class MapsTask(_AttentionTask):
    """Compressed maps. A unit of work on disk is a block of heads of one piece of a protein."""

    shard_bytes = 4 * 2**20

    def __init__(
        self,
        model: "Encoder | Callable[[], Encoder]",
        options: AttentionOptions,
        *,
        max_bytes: int | None,
        figures: "FigureOptions | None" = None,
    ) -> None:
        super().__init__(model, options, "h5")
        self._figures = figures
        self._drawn: list[Protein] = []
        self._dtype = np.dtype(options.dtype)
        self._max_bytes = max_bytes
        self._first: NDArray[np.int64] = np.zeros(1, np.int64)

    def look(self, protein: Protein) -> None:
        """Keep the proteins whose figures show more than whole maps, as far as they are read."""
        if self._figures is not None and self._figures.annotated:
            end = MAX_RESIDUES if self.long == "truncate" else None
            self._drawn.append(Protein(protein.id, protein.sequence[:end], protein.header))

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Resolve the heads, and compute and judge the size of the output."""
        if self._drawn and self._figures is not None:
            self._figures.of_each(self._drawn)
            self._drawn = []
        super().prepare(index, say)
        if self._figures is not None:
            self._figures.check_heads(self._choice.names, "among what is extracted:")
        heads = len(self._choice.heads)
        residues = self._residues(index.lengths)
        per_pair, per_residue = heads * self._dtype.itemsize, heads * 8
        size = int((residues**2).sum() * per_pair + residues.sum() * per_residue)
        say(
            f"attention maps of {heads} head(s) for {len(residues):,} protein(s): "
            f"{readable_bytes(size)} in {self._dtype} before compression"
        )
        if self._max_bytes is not None and size > self._max_bytes:
            longest = int(residues.max())
            raise OptionError(
                f"{readable_bytes(size)} of attention maps (longest protein {longest:,} residues) "
                f"are over `max_bytes`, {readable_bytes(self._max_bytes)}; choose fewer `heads` or "
                "`layers`, ask for numbers in their place with `reduce`, or give "
                "`run=Run(force=True)`"
            )
        units = [self._units(int(length)) for length in residues[index.first_of]]
        self._first = np.concatenate([[0], np.cumsum(units, dtype=np.int64)])

    def options(self) -> dict[str, Any]:
        """Return heads, format and data type."""
        return {**super().options(), "dtype_stored": self._options.dtype}

    def _residues(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many residues of each protein are read."""
        return np.minimum(lengths, MAX_RESIDUES) if self.long == "truncate" else lengths

    def _pieces(self, residues: int) -> list[tuple[int, int]]:
        return windows(residues) if self.long == "window" else [(0, residues)]

    def _blocks(self, piece_residues: int) -> list[list[int]]:
        """Return, for one piece, the heads of each unit as places in the choice, in order."""
        from esmkit.encoder.stream import head_blocks

        blocks, place = [], 0
        for heads in self._choice.by_layer.values():
            for block in head_blocks(heads, piece_residues + 2):
                blocks.append(list(range(place, place + len(block))))
                place += len(block)
        return blocks

    def _units(self, residues: int) -> int:
        return sum(len(self._blocks(stop - start)) for start, stop in self._pieces(residues))

    def missing(self, index: InputIndex, held: Any) -> NDArray[np.bool_]:
        """Return which sequences lack a unit."""
        units = np.sort(np.fromiter(held, np.int64, len(held)))
        counts = np.diff(np.searchsorted(units, self._first))
        return counts < np.diff(self._first)

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Compress each block of maps as it is made."""
        import torch

        from esmkit.attention.extract import compute

        stored = getattr(torch, self._dtype.name)
        place_of = {head: place for place, head in enumerate(self._choice.heads)}

        def compressed(maps: "torch.Tensor") -> NDArray[np.uint8]:
            bos, eos = (maps[:, 1:-1, at].cpu().numpy() for at in (0, -1))
            inner = maps[:, 1:-1, 1:-1].to(stored).cpu().numpy()
            return CompressedMaps.make(inner, bos, eos).encode()

        def take(piece: "Piece", layer: int, heads: Sequence[int], data: Any) -> None:
            blocks = self._blocks(piece.stop - piece.start)
            block = bisect_left(blocks, [place_of[layer, heads[0]]])
            first = int(self._first[piece.number])
            pending.add(first + piece.index * len(blocks) + block, data)
            pending.flush_if_full()

        yield from compute(
            self.model,
            index.distinct(),
            self._choice,
            take,
            long=self.long,
            batch_tokens=self._options.batch_tokens,
            missing=missing,
            prepare=compressed,
            in_turn=False,
        )

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write a group for each protein, its chunks copied as they were compressed."""
        with disk_errors(target):
            writer = AttentionWriter(target, provenance, self._choice, self._dtype)
        try:
            for number, protein in index.proteins():
                with writing(target):
                    self._write_one(writer, protein, int(self._first[number]), shards)
        finally:
            with writing(target):
                writer.close()

    def _write_one(
        self, writer: AttentionWriter, protein: Protein, unit: int, shards: ShardReader
    ) -> None:
        residues = int(self._residues(np.array([len(protein)]))[0])
        pieces = self._pieces(residues)
        piece_residues = pieces[0][1]  # all windows of a protein are of one size
        blocks = self._blocks(piece_residues)
        writer.begin(protein, residues, windows=len(pieces))
        for number, places in enumerate(blocks):
            of_pieces = [
                decode_block(
                    shards[unit + piece * len(blocks) + number],
                    len(places),
                    piece_residues,
                    self._dtype,
                )
                for piece in range(len(pieces))
            ]
            writer.add(places, of_pieces, pieces)
        writer.end()
