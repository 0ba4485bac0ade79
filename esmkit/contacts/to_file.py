"""The contacts task on disk: FASTA files to one file of contact maps."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.attention.options import AttentionOptions
from esmkit.attention.to_file import MAX_MAP_BYTES
from esmkit.contacts.kept_maps import pack, unpack
from esmkit.contacts.saturated import Saturated
from esmkit.contacts.top import GivenTop
from esmkit.contacts.written import Chosen, MapWriter, RrWriter, TsvWriter, Writer
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors
from esmkit.files.outputs import choose_format, is_stream, name_of_target
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.task import Task, run_to_file, writing
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.sequences.sites import GivenSites
from esmkit.sequences.windows import MAX_RESIDUES, Long, cut_into_pieces
from esmkit.text import Say, readable_bytes

# PyTorch is imported only after the input is validated: a typing error is answered at once.
if TYPE_CHECKING:
    from esmkit.contacts.head import ContactHead
    from esmkit.contacts.map import ContactMap
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["CONTACT_FORMATS", "Watch", "contacts_file"]

CONTACT_FORMATS = ("tsv", "rr", "npz", "h5")
"""Tab-separated pairs, CASP's RR, or whole maps."""

TEXT_FORMATS = ("tsv", "rr")
"""Formats that list pairs as text."""

_BYTES_PER_LINE = 30
"""About what a pair takes in a table: its ID of 3 letters and numbers of 2 digits included."""

_BYTES_PER_RR_LINE = 18
"""The same in RR, which has no ID."""

_BYTES_AROUND_RR = 150
"""What a protein takes in RR besides its sequence and pairs."""

LARGE_TABLE = 20 * 10**6
"""Bytes of a table from which on it is said how to make it smaller."""


class Watch:
    """Follows a run of the contacts task. This one does nothing; others say what they need.

    Attributes
    ----------
    has_structures : bool
        Whether there are structures, whose numbers tables are to have too.
    """

    has_structures = False

    def structure_of(self, name: str) -> "Structure | None":
        """Return the structure whose numbers a table has for the protein of this ID."""
        return None

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
    top: GivenTop | None = None,
    residues: GivenSites | None = None,
    max_bytes: int = MAX_MAP_BYTES,
    file_format: str | None = None,
    watch: Watch = Watch(),  # noqa: B008 - does nothing
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    r"""Write the contact maps of the proteins of FASTA files. A stopped run goes on where it was.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        ``.tsv``: a line for each pair, ``id``, ``i_number``, ``i``, ``j_number``, ``j``,
        ``separation``, ``probability`` (the contact head's score, 0 to 1), highest first; residues
        are numbered from 1 in the sequence that was given. With structures also ``structure``, ``i_author_number`` and
        ``j_author_number``, the numbers of its authors. ``.rr``: a block for each protein in
        CASP's RR format. ``.npz`` and ``.h5``: float32 (R, R) for each protein, symmetric, NaN for
        pairs that were never in one window. A link is written through. ``-`` is standard output;
        it and other streams, such as a pipe, take text alone.
    head : callable, optional
        Given the model, returns the :class:`~esmkit.contacts.ContactHead`; by default the
        checkpoint's own.
    long, on_invalid
        As in :class:`esmkit.attention.options.AttentionOptions`.
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    batch_tokens : int
        Most tokens of a pass.
    min_separation, min_probability
        Pairs closer, or with a lower score, are left out of tsv and rr.
    top : int or str, optional
        Take no more than the strongest so many pairs of each protein into tsv and rr: a number, or
        ``"L"``, ``"L/2"``, ``"2L"`` for a protein of L residues.
    residues : str, int, list or dict, optional
        Take only pairs of these residues with any other into tsv and rr, such as ``"59,88-92"``; of
        several proteins ``"P69905:59"``. See :mod:`esmkit.sequences.sites`.
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

    See Also
    --------
    esmkit.read : Reads npz and HDF5 back.
    esmkit.Esm2.contacts : The same in memory.

    Examples
    --------
    >>> ubiquitin = esmkit.data.ubiquitin_fasta()  # doctest: +SKIP
    >>> esmkit.contacts_file(esmkit.load, ubiquitin, "ubiquitin.tsv", top="L/2", min_separation=24)  # doctest: +SKIP
    >>> lines = Path("ubiquitin.tsv").read_text().splitlines()  # doctest: +SKIP
    >>> len(lines), lines[1].split("\t")[1:5]  # doctest: +SKIP
    (39, ['44', 'I', '70', 'V'])
    """
    AttentionOptions(long=long, on_invalid=on_invalid, batch_tokens=batch_tokens)  # checks them
    kind = choose_format(output, file_format, CONTACT_FORMATS, streamed=TEXT_FORMATS, say=run.say)
    chosen = Chosen.parse(min_separation, min_probability, top, residues)
    if kind not in TEXT_FORMATS and (top is not None or residues is not None):
        raise OptionError(
            f"{kind} holds whole maps, and `top` and `residues` choose rows of a table; leave them "
            "out, or write tsv or rr"
        )
    task = ContactsTask(
        model,
        head,
        kind,
        long=long,
        on_invalid=on_invalid,
        batch_tokens=batch_tokens,
        chosen=chosen,
        max_bytes=None if run.force else max_bytes,
        watch=watch,
    )
    with_sidecar = kind in TEXT_FORMATS and not is_stream(output)
    run_to_file(task, sources, output, ids=ids, with_sidecar=with_sidecar, run=run)


class ContactsTask(Task):
    """One symmetric map for each protein; shards hold its upper triangle, and logits where needed."""

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
        chosen: Chosen,
        max_bytes: int | None,
        watch: Watch,
    ) -> None:
        super().__init__(model, long=long, on_invalid=on_invalid)
        self._make_head = head
        self._head: ContactHead | None = None
        self._format = file_format
        self._batch_tokens = batch_tokens
        self._chosen = chosen
        self._name_bytes = array("L")
        self._named: list[Protein] = []  # those whose residues may be asked for
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
        self._name_bytes.append(len(protein.id.encode()))
        if self._chosen.residues is not None:
            self._named.append(protein)

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Make the contact head, and judge the size of the output."""
        self._watch.ready()
        self._chosen.settle(self._named)
        self._named = []
        say(f"contacts by {self.head.source}")
        if self._format == "rr" and self.head.method != "regression":
            raise OptionError(
                "RR is for probabilities, and single heads give scores; use the format tsv, npz "
                "or h5"
            )
        size, what = self._size(index)
        say(f"{what}: about {readable_bytes(size)}")
        if self._format in TEXT_FORMATS and size > LARGE_TABLE and self._chosen.top is None:
            say("fewer rows take less: the strongest by `top`, or those over `min_probability`")
        if self._max_bytes is not None and size > self._max_bytes:
            fewer = ", take the strongest pairs with `top`" * (self._format in TEXT_FORMATS)
            raise OptionError(
                f"about {readable_bytes(size)} of contacts (longest protein "
                f"{int(self._residues(index).max()):,} residues) are over `max_bytes`, "
                f"{readable_bytes(self._max_bytes)}; split the input{fewer}, or give "
                "`run=Run(force=True)`"
                + (" with `min_probability`" if self._format in TEXT_FORMATS else "")
            )

    def _residues(self, index: InputIndex) -> NDArray[np.int64]:
        """Return how many residues of each protein are read."""
        lengths = index.lengths
        return np.minimum(lengths, MAX_RESIDUES) if self.long == "truncate" else lengths

    def _size(self, index: InputIndex) -> tuple[int, str]:
        """Return about how many bytes the output takes, and what they are, in words."""
        residues = self._residues(index)
        proteins = f"{len(residues):,} protein{'s' * (len(residues) != 1)}"
        if self._format not in TEXT_FORMATS:
            return int((residues.astype(np.float64) ** 2).sum()) * 4, f"contact maps of {proteins}"
        rows = self._chosen.rows(residues, self.long)
        digits = mean_digits(residues) - 2
        if self._format == "tsv":
            size = rows * (_BYTES_PER_LINE + 3 * digits + np.array(self._name_bytes) - 3)
        else:
            size = rows * (_BYTES_PER_RR_LINE + 2 * digits) + residues + _BYTES_AROUND_RR
        at_most = "at most " * (
            self._chosen.min_probability is not None or self._chosen.residues is not None
        )
        total = int(rows.sum())
        what = f"contacts of {proteins}: {at_most}{total:,} row{'s' * (total != 1)}"
        return int(size.sum()), what

    def options(self) -> dict[str, Any]:
        """Return head, format and what is left out."""
        nothing = {"min_separation": None, "min_probability": None}
        return {
            "format": self._format,
            "head": self.head.to_dict(),
            **(self._chosen.settings() if self._format in TEXT_FORMATS else nothing),
            "dtype_stored": "float32",
            "batch-tokens": self._batch_tokens,
        }

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Predict what is missing, pass by pass."""
        from esmkit.contacts.prediction import predict_rankable

        for batch in predict_rankable(
            self.model,
            index.distinct(),
            self.head,
            long=self.long,
            batch_tokens=self._batch_tokens,
            missing=missing,
        ):
            for number, values, saturated in batch:
                pending.add(number, pack(values, saturated))
            yield [number for number, _, _ in batch]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write one map, or its pairs, for each protein."""
        where = name_of_target(target)
        writer = self._open(target, provenance, where)
        self._watch.begin()
        try:
            for number, protein in index.proteins():
                found = self._map(protein, *unpack(shards[number]))
                with writing(where):
                    writer.add(protein, found)
                self._watch.add(found)
        finally:
            try:
                with writing(where):
                    writer.close()
            finally:
                self._watch.end()

    def _map(
        self, protein: Protein, values: NDArray[np.float32], saturated: Saturated | None
    ) -> "ContactMap":
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
            saturated=saturated,
        )

    def _open(self, target: Any, provenance: dict[str, Any], where: Path | str) -> Writer:
        with disk_errors(where):
            if self._format == "tsv":
                return TsvWriter(target, self._chosen, self._watch)
            if self._format == "rr":
                return RrWriter(target, self._chosen)
            return MapWriter(self._format, target, provenance)


def mean_digits(residues: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many digits the numbers from 1 to each length have in the mean.

    >>> mean_digits(np.array([9, 99])).round(2)
    array([1.  , 1.91])
    """
    tens = 10.0 ** np.arange(12)
    return (np.maximum(residues[:, None] - tens + 1, 0) / residues[:, None]).sum(axis=1)
