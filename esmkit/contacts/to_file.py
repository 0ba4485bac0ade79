"""The contacts task on disk: FASTA files to one file of contact maps."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from esmkit.attention.options import AttentionOptions
from esmkit.attention.to_file import MAX_MAP_BYTES
from esmkit.embeddings.writers import open_writer
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors
from esmkit.files.run import Run
from esmkit.files.shards import ShardReader
from esmkit.files.tables import spreadsheet_text
from esmkit.files.task import STDOUT, Pending, Task, run_to_file, writing
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.windows import MAX_RESIDUES, Long
from esmkit.text import Say, readable_bytes

# PyTorch is imported once the input has been found good: a typing error is answered at once.
if TYPE_CHECKING:
    from esmkit.contacts.head import ContactHead
    from esmkit.encoder.encoder import Encoder

__all__ = ["CONTACT_FORMATS", "contacts_file"]

CONTACT_FORMATS = ("tsv", "rr", "npz", "h5")
"""Tab-separated pairs, CASP's RR, or whole maps."""

_BYTES_PER_LINE = 30
"""About what a pair takes in a text file."""


def contacts_file(
    model: "Encoder | Callable[[], Encoder]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    head: "Callable[[Encoder], ContactHead] | None" = None,
    *,
    long: Long = "window",
    on_invalid: OnInvalid = "error",
    batch_tokens: int = 2_048,
    min_separation: int = 6,
    min_probability: float | None = None,
    max_bytes: int = MAX_MAP_BYTES,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write the contact maps of the proteins of FASTA files. A stopped run goes on where it was.

    Parameters
    ----------
    model : Encoder or callable
        A callable is asked for the model once the input has been found good.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        ``.tsv``: a line for each pair, ``id``, ``i_number``, ``i``, ``j_number``, ``j``,
        ``separation``, ``probability``, likeliest first; ``-`` is the same on standard output.
        ``.rr``: a block for each protein in CASP's RR format. ``.npz`` and ``.h5``: float32
        (R, R) for each protein, symmetric, NaN for pairs that were never in one window.
    head : callable, optional
        Given the model, returns the :class:`~esmkit.contacts.ContactHead`; by default the
        checkpoint's own.
    long, on_invalid, batch_tokens
        As in :class:`esmkit.attention.options.AttentionOptions`.
    min_separation, min_probability
        Pairs closer, or less likely, are left out of tsv and rr.
    max_bytes : int
        Refuse to write about more than this unless ``run.force`` is set.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    InputError, OptionError, CheckpointError, OutputError, ResumeError, NonFiniteError
        One sentence with the remedy. What was computed before is kept.
    """
    AttentionOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)  # checks them
    suffix = Path(output).suffix.removeprefix(".").lower()
    to_stdout = Path(output) == STDOUT
    if not to_stdout and suffix not in CONTACT_FORMATS:
        raise OptionError(
            f"{str(output)!r} says no format: let it end in "
            + ", ".join(f".{name}" for name in CONTACT_FORMATS)
        )
    if min_probability is not None and not np.isfinite(min_probability):
        raise OptionError(f"the least probability is a number, not {min_probability}")
    if min_separation < 1:
        raise OptionError(f"the least separation is at least 1, not {min_separation}")
    task = ContactsTask(
        model,
        head,
        "tsv" if to_stdout else suffix,
        long=long,
        on_invalid=on_invalid,
        batch_tokens=batch_tokens,
        pairs=(min_separation, min_probability),
        max_bytes=None if run.force else max_bytes,
    )
    run_to_file(
        task,
        sources,
        output,
        with_sidecar=suffix in ("tsv", "rr"),
        run=run,
    )


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
    ) -> None:
        super().__init__(model, long=long, on_invalid=on_invalid)
        self._make_head = head
        self._head: ContactHead | None = None
        self._format = file_format
        self._batch_tokens = batch_tokens
        self._pairs = pairs
        self._max_bytes = max_bytes

    @property
    def head(self) -> "ContactHead":
        """The contact head, made when it is first needed."""
        if self._head is None:
            from esmkit.contacts.head import ContactHead

            make = self._make_head or ContactHead.of_checkpoint
            self._head = make(self.model)
        return self._head

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Make the contact head, and judge the size of the output."""
        say(f"contacts by {self.head.source}")
        if self._format == "rr" and self.head.method != "regression":
            raise OptionError(
                "RR is for probabilities, and single heads give scores; use --format tsv, npz or h5"
            )
        residues = index.lengths.astype(np.float64)
        if self.long == "truncate":
            residues = np.minimum(residues, MAX_RESIDUES)
        if self._format in ("tsv", "rr"):
            far = np.maximum(residues - self._pairs[0], 0)
            size = int((far * (far + 1) / 2).sum()) * _BYTES_PER_LINE
        else:
            size = int((residues**2).sum()) * 4
        if self._max_bytes is not None and size > self._max_bytes:
            raise OptionError(
                f"about {readable_bytes(size)} of contacts (longest protein "
                f"{int(residues.max()):,} residues) are over --max-bytes "
                f"{readable_bytes(self._max_bytes)}; split the input, or say --force"
                + (" with --min-probability" if self._format in ("tsv", "rr") else "")
            )

    def options(self) -> dict[str, Any]:
        """Return head, format and what is left out."""
        least, likely = self._pairs
        return {
            "format": self._format,
            "head": self.head.to_dict(),
            "min_separation": least if self._format in ("tsv", "rr") else None,
            "min_probability": likely if self._format in ("tsv", "rr") else None,
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
                pending.add(number, values[np.triu_indices(len(values))])
            yield [number for number, _ in batch]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write one map, or its pairs, for each protein."""
        where = target if isinstance(target, Path) else "standard output"
        writer = self._open(target, provenance, where)
        try:
            for number, protein in index.proteins():
                values = _square(shards[number])
                with writing(where):
                    writer.add(protein, values)
        finally:
            with writing(where):
                writer.close()

    def _open(self, target: Any, provenance: dict[str, Any], where: Path | str) -> "_Writer":
        with disk_errors(where):
            if self._format in ("tsv", "rr"):
                kind = _TsvWriter if self._format == "tsv" else _RrWriter
                return kind(target, self.head.method, self._pairs, provenance)
            return open_writer(self._format, target, provenance, layers=[0], per="protein")


def _square(triangle: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the symmetric map of an upper triangle, diagonal included."""
    residues = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    values = np.empty((residues, residues), np.float32)
    values[np.triu_indices(residues)] = triangle
    values.T[np.triu_indices(residues)] = triangle
    return values


class _Writer(Protocol):
    def add(self, protein: Protein, values: NDArray[np.float32]) -> None: ...

    def close(self) -> None: ...


class _TextWriter:
    """Lines of text to a file, or to a stream that stays open."""

    def __init__(
        self,
        target: Path | IO[str],
        method: str,
        pairs: tuple[int, float | None],
        provenance: dict[str, Any],
    ) -> None:
        self._owned = isinstance(target, Path)
        self._handle: IO[str] = (
            target.open("w", encoding="utf-8", newline="") if isinstance(target, Path) else target
        )
        self._method, self._pairs, self._provenance = method, pairs, provenance

    def _table(self, protein: Protein, values: NDArray[np.float32]) -> Any:
        from esmkit.contacts.map import ContactMap

        found = ContactMap(
            id=protein.id,
            header=protein.header,
            sequence=protein.sequence[: len(values)],
            probability=values,
            method=self._method,  # type: ignore[arg-type]
        )
        least, likely = self._pairs
        return found.to_frame(min_separation=least, min_probability=likely)

    def close(self) -> None:
        self._handle.flush()
        if self._owned:
            self._handle.close()


class _TsvWriter(_TextWriter):
    _begun = False

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        table = self._table(protein, values)
        table.insert(0, "id", spreadsheet_text(protein.id))
        table.to_csv(
            self._handle, sep="\t", index=False, header=not self._begun, lineterminator="\n"
        )
        self._begun = True


class _RrWriter(_TextWriter):
    """CASP's RR format: i, j, the bounds 0 and 8 Å of the distance of the Cβ, the probability."""

    def add(self, protein: Protein, values: NDArray[np.float32]) -> None:
        sequence = protein.sequence[: len(values)]
        lines = ["PFRMAT RR", f"TARGET {protein.id}", "AUTHOR esmkit", "MODEL 1"]
        checkpoint = self._provenance["checkpoint"]["name"]
        lines.insert(3, f"METHOD {checkpoint}, {self._provenance['head']['source']}")
        lines += [sequence[start : start + 50] for start in range(0, len(sequence), 50)]
        table = self._table(protein, values)
        pairs = zip(table["i_number"], table["j_number"], table["probability"], strict=True)
        lines += [f"{i} {j} 0 8 {p:.5f}" for i, j, p in pairs]
        self._handle.write("\n".join([*lines, "END", ""]))
