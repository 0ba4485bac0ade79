"""The contacts task on disk: FASTA files to one file of contact maps."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.attention.options import AttentionOptions
from esmkit.attention.to_file import MAX_MAP_BYTES
from esmkit.contacts.kept_maps import square, upper_triangle
from esmkit.embeddings.writers import open_writer
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors
from esmkit.files.outputs import choose_format, is_stream, name_of_target
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.tables import open_table
from esmkit.files.task import Pending, Task, run_to_file, writing
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.windows import MAX_RESIDUES, Long, cut_into_pieces
from esmkit.text import Say, readable_bytes

# PyTorch is imported only after the input is validated: a typing error is answered at once.
if TYPE_CHECKING:
    import pandas

    from esmkit.contacts.head import ContactHead
    from esmkit.contacts.map import ContactMap
    from esmkit.encoder.encoder import Encoder

__all__ = ["CONTACT_FORMATS", "Watch", "contacts_file"]

CONTACT_FORMATS = ("tsv", "rr", "npz", "h5")
"""Tab-separated pairs, CASP's RR, or whole maps."""

TEXT_FORMATS = ("tsv", "rr")
"""Formats that list pairs as text."""

_BYTES_PER_LINE = 30
"""About what a pair takes in a text file."""


class Watch:
    """Follows a run of the contacts task. This one does nothing; others say what they need."""

    def look(self, protein: Protein) -> None:
        """See each protein while the input is validated."""

    def ready(self) -> None:
        """Refuse an input that is valid but does not fit, before a model is loaded."""

    def begin(self) -> None:
        """Get ready for the first map."""

    def add(self, found: "ContactMap") -> None:
        """Take the map of each protein, in input order, when it has been written."""

    def end(self) -> None:
        """Finish, after the last map has been written or the next could not be."""


@checked
def contacts_file(
    model: "Encoder | Callable[[], Encoder]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    head: "Callable[[Encoder], ContactHead] | None" = None,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    ids: Iterable[str] | None = None,
    batch_tokens: int = 2_048,
    min_separation: int = 6,
    min_probability: float | None = None,
    max_bytes: int = MAX_MAP_BYTES,
    file_format: str | None = None,
    watch: Watch = Watch(),  # noqa: B008 - does nothing
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write the contact maps of the proteins of FASTA files. A stopped run goes on where it was.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        ``.tsv``: a line for each pair, ``id``, ``i_number``, ``i``, ``j_number``, ``j``,
        ``separation``, ``probability``, likeliest first. ``.rr``: a block for each protein in
        CASP's RR format. ``.npz`` and ``.h5``: float32 (R, R) for each protein, symmetric, NaN for
        pairs that were never in one window. A link is written through. ``-`` is standard output;
        it and other streams, such as a pipe, take text alone.
    head : callable, optional
        Given the model, returns the :class:`~esmkit.contacts.ContactHead`; by default the
        checkpoint's own.
    long, on_invalid, batch_tokens
        As in :class:`esmkit.attention.options.AttentionOptions`.
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    min_separation, min_probability
        Pairs closer, or less likely, are left out of tsv and rr.
    max_bytes : int
        Refuse to write about more than this unless ``run.force`` is set.
    file_format : {'tsv', 'rr', 'npz', 'h5'}, optional
        Output format, whatever the name of the output ends in; by default what it ends in, and
        tsv for a stream.
    watch : Watch
        Follows the proteins and maps of the run.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    InputError, UnknownIdError, OptionError, CheckpointError, OutputError, ResumeError,
    NonFiniteError
        One sentence with the remedy. What was computed before is kept.
    """
    AttentionOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)  # checks them
    kind = choose_format(output, file_format, CONTACT_FORMATS, streamed=TEXT_FORMATS, say=run.say)
    if min_probability is not None and not np.isfinite(min_probability):
        raise OptionError(f"the least probability is a number, not {min_probability}")
    if min_separation < 1:
        raise OptionError(f"the least separation is at least 1, not {min_separation}")
    task = ContactsTask(
        model,
        head,
        kind,
        long=long,
        on_invalid=on_invalid,
        batch_tokens=batch_tokens,
        pairs=(min_separation, min_probability),
        max_bytes=None if run.force else max_bytes,
        watch=watch,
    )
    with_sidecar = kind in TEXT_FORMATS and not is_stream(output)
    run_to_file(task, sources, output, ids=ids, with_sidecar=with_sidecar, run=run)


class ContactsTask(Task):
    """One symmetric map for each protein; shards hold its upper triangle."""

    name = "contacts"

    def __init__(
        self,
        model: "Encoder | Callable[[], Encoder]",
        head: "Callable[[Encoder], ContactHead] | None",
        file_format: str,
        *,
        long: Long,
        on_invalid: OnInvalid,
        batch_tokens: int,
        pairs: tuple[int, float | None],
        max_bytes: int | None,
        watch: Watch,
    ) -> None:
        super().__init__(model, long=long, on_invalid=on_invalid)
        self._make_head = head
        self._head: ContactHead | None = None
        self._format = file_format
        self._batch_tokens = batch_tokens
        self._pairs = pairs
        self._max_bytes = max_bytes
        self._watch = watch

    @property
    def head(self) -> "ContactHead":
        """The contact head, made when it is first needed."""
        if self._head is None:
            from esmkit.contacts.head import ContactHead

            make = self._make_head or ContactHead.of_checkpoint
            self._head = make(self.model)
        return self._head

    def look(self, protein: Protein) -> None:
        """Show each protein to what follows the run."""
        self._watch.look(protein)

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Make the contact head, and judge the size of the output."""
        self._watch.ready()
        say(f"contacts by {self.head.source}")
        if self._format == "rr" and self.head.method != "regression":
            raise OptionError(
                "RR is for probabilities, and single heads give scores; use the format tsv, npz "
                "or h5"
            )
        residues = index.lengths.astype(np.float64)
        if self.long == "truncate":
            residues = np.minimum(residues, MAX_RESIDUES)
        if self._format in TEXT_FORMATS:
            far = np.maximum(residues - self._pairs[0], 0)
            size = int((far * (far + 1) / 2).sum()) * _BYTES_PER_LINE
        else:
            size = int((residues**2).sum()) * 4
        if self._max_bytes is not None and size > self._max_bytes:
            raise OptionError(
                f"about {readable_bytes(size)} of contacts (longest protein "
                f"{int(residues.max()):,} residues) are over `max_bytes`, "
                f"{readable_bytes(self._max_bytes)}; split the input, or give `run=Run(force=True)`"
                + (" with `min_probability`" if self._format in TEXT_FORMATS else "")
            )

    def options(self) -> dict[str, Any]:
        """Return head, format and what is left out."""
        least, likely = self._pairs
        return {
            "format": self._format,
            "head": self.head.to_dict(),
            "min_separation": least if self._format in TEXT_FORMATS else None,
            "min_probability": likely if self._format in TEXT_FORMATS else None,
            "dtype_stored": "float32",
            "batch-tokens": self._batch_tokens,
        }

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Predict what is missing, pass by pass."""
        from esmkit.contacts.prediction import predict

        for batch in predict(
            self.model,
            index.distinct(),
            self.head,
            long=self.long,
            batch_tokens=self._batch_tokens,
            missing=missing,
        ):
            for number, values in batch:
                pending.add(number, upper_triangle(values))
            yield [number for number, _ in batch]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write one map, or its pairs, for each protein."""
        where = name_of_target(target)
        writer = self._open(target, provenance, where)
        self._watch.begin()
        try:
            for number, protein in index.proteins():
                found = self._map(protein, square(shards[number]))
                with writing(where):
                    writer.add(protein, found)
                self._watch.add(found)
        finally:
            try:
                with writing(where):
                    writer.close()
            finally:
                self._watch.end()

    def _map(self, protein: Protein, values: NDArray[np.float32]) -> "ContactMap":
        from esmkit.contacts.map import ContactMap

        return ContactMap(
            id=protein.id,
            header=protein.header,
            sequence=protein.sequence[: len(values)],
            probability=values,
            method=self.head.method,
            source=self.head.source,
            windows=len(cut_into_pieces(protein, self.long)),
            checkpoint=self.model.checkpoint.name,
        )

    def _open(self, target: Any, provenance: dict[str, Any], where: Path | str) -> "_Writer":
        with disk_errors(where):
            if self._format == "tsv":
                return _TsvWriter(target, self._pairs)
            if self._format == "rr":
                return _RrWriter(target, self._pairs)
            return _MapWriter(self._format, target, provenance)


class _Writer(Protocol):
    def add(self, protein: Protein, found: "ContactMap") -> None: ...

    def close(self) -> None: ...


class _MapWriter:
    """Whole maps, in the formats that embeddings have too."""

    def __init__(self, file_format: str, target: Path, provenance: dict[str, Any]) -> None:
        self._writer = open_writer(file_format, target, provenance, layers=[0], per="protein")
        self.close = self._writer.close

    def add(self, protein: Protein, found: "ContactMap") -> None:
        self._writer.add(protein, found.probability)


class _TsvWriter:
    """Pairs as a table, a line for each."""

    def __init__(self, target: Path | IO[str], pairs: tuple[int, float | None]) -> None:
        self._pairs = pairs
        self._table = open_table("tsv", target, {})
        self.close = self._table.close

    def add(self, protein: Protein, found: "ContactMap") -> None:
        table = _table(found, self._pairs)
        table.insert(0, "id", protein.id)
        self._table.add(table)


class _RrWriter:
    """CASP's RR format: i, j, the bounds 0 and 8 Å of the distance of the Cβ, the probability."""

    def __init__(self, target: Path | IO[str], pairs: tuple[int, float | None]) -> None:
        self._pairs = pairs
        self._owned = isinstance(target, Path)
        self._handle: IO[str] = (
            target.open("w", encoding="utf-8", newline="") if isinstance(target, Path) else target
        )

    def add(self, protein: Protein, found: "ContactMap") -> None:
        lines = ["PFRMAT RR", f"TARGET {protein.id}", "AUTHOR esmkit"]
        lines += [f"METHOD {found.checkpoint}, {found.source}", "MODEL 1"]
        letters = found.sequence
        lines += [letters[start : start + 50] for start in range(0, len(letters), 50)]
        table = _table(found, self._pairs)
        pairs = zip(table["i_number"], table["j_number"], table["probability"], strict=True)
        lines += [f"{i} {j} 0 8 {p:.5f}" for i, j, p in pairs]
        self._handle.write("\n".join([*lines, "END", ""]))

    def close(self) -> None:
        self._handle.flush()
        if self._owned:
            self._handle.close()


def _table(found: "ContactMap", pairs: tuple[int, float | None]) -> "pandas.DataFrame":
    """Return the pairs that are to be written, likeliest first."""
    least, likely = pairs
    return found.to_frame(min_separation=least, min_probability=likely)
