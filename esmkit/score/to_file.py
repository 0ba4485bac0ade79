"""The score task on disk: FASTA files to one file of scores, in shards that survive a kill."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors
from esmkit.files.outputs import choose_format, is_stream, name_of_target
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.tables import import_pyarrow
from esmkit.files.task import Task, run_to_file, writing
from esmkit.score.options import ScoreOptions
from esmkit.score.sites import count_of_portions, portions, residues_read
from esmkit.score.writers import SCORE_FORMATS, ProteinRows, open_writer, pack, unpack
from esmkit.sequences.index import InputIndex
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.text import Say

# PyTorch is imported only after the input is validated: a typing error is answered at once.
if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.score.protein_score import ProteinScore
    from esmkit.score.sites import Sites

__all__ = ["ScoreTask", "Watch", "score_file"]

OTHER_LETTERS = "XBUZO"
"""Letters with a token that are none of the 20 amino acids."""


class Watch:
    """Follows a run of the score task. This one does nothing; others say what they need.

    Attributes
    ----------
    of_residues : bool
        Whether it needs the numbers of every residue.
    """

    of_residues = False

    def look(self, protein: Protein) -> None:
        """See each protein, as far as it is read, while the input is validated."""

    def ready(self) -> None:
        """Refuse an input that is valid but does not fit, before a model is loaded."""

    def begin(self) -> None:
        """Get ready for the first score."""

    def add(self, found: "ProteinScore") -> None:
        """Take the score of each protein, in input order, when it has been written."""

    def end(self) -> None:
        """Finish, after the last score has been written or the next could not be."""


@checked
def score_file(
    model: "Encoder | Callable[[], Encoder]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    options: ScoreOptions = ScoreOptions(),  # noqa: B008 - frozen
    *,
    ids: Iterable[str] | None = None,
    file_format: str | None = None,
    watch: Watch = Watch(),  # noqa: B008 - does nothing
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write what the masked-LM head says of the proteins of FASTA files into one file.

    A run that is stopped goes on where it was when the same is asked for again.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    sources : path, or sequence of paths
        FASTA files, plain or gzip; ``-`` is standard input.
    output : str or Path
        ``.tsv``, ``.csv`` or ``.parquet``: a table. With ``options.per="protein"`` a row per
        protein: ``id``, ``length``, ``pseudo_perplexity`` (``one_pass_perplexity`` if nothing was
        hidden), ``mean_surprise_bits``, ``mean_entropy_bits``, ``accuracy``, ``counted`` and
        ``left_out``. With ``"residue"`` a row per residue: ``id``, ``residue_number`` (from 1),
        ``residue``, ``log_probability`` (natural), ``surprise_bits``, ``entropy_bits``, ``rank``,
        ``expected`` and ``expected_probability``; see :class:`esmkit.ProteinScore`. ``.h5``: float32
        (R, 20) for each protein, natural logarithms of the probabilities of
        ``ACDEFGHIKLMNPQRSTVWY``. A link is written through. ``-`` is standard output; it and other
        streams, such as a pipe, take tables of text.
    options : ScoreOptions
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    file_format : {'tsv', 'csv', 'parquet', 'h5'}, optional
        Output format, whatever the name of the output ends in; by default what it ends in.
    watch : Watch
        Follows the run.
    run : Run
        How to treat what is there already, and whom to tell.

    Raises
    ------
    InputError, UnknownIdError, OptionError, CheckpointError, OutputError, ResumeError,
    NonFiniteError
        One sentence with the remedy. What was computed before is kept.

    See Also
    --------
    esmkit.read : Reads the file back.
    esmkit.Esm2.score : The same in memory.

    Examples
    --------
    >>> ubiquitin = esmkit.data.ubiquitin_fasta()
    >>> esmkit.score_file(esmkit.load, ubiquitin, "ubiquitin.score.tsv")    # doctest: +SKIP
    >>> int(esmkit.read("ubiquitin.score.tsv").to_frame()["counted"]["1UBI_A"])  # doctest: +SKIP
    76
    """
    formats = tuple(SCORE_FORMATS)
    file_format = choose_format(output, file_format, formats, streamed=("tsv", "csv"), say=run.say)
    if file_format == "h5" and options.per == "protein":
        raise OptionError(
            "HDF5 holds the log-probabilities of every residue, and one row per protein was asked "
            'for; ask for `per="residue"`, or for a table with `file_format="tsv"`'
        )
    if file_format == "parquet":
        import_pyarrow()
    run_to_file(
        ScoreTask(model, options, file_format, watch),
        sources,
        output,
        ids=ids,
        with_sidecar=file_format in ("tsv", "csv") and not is_stream(output),
        run=run,
    )


class ScoreTask(Task):
    """Scores of proteins. A unit of work on disk is a portion of the sites of a protein.

    With nothing hidden it is a protein; if only tables per protein are made of them, just their
    numbers are kept.
    """

    name = "score"

    def __init__(
        self,
        model: "Encoder | Callable[[], Encoder]",
        options: ScoreOptions,
        file_format: str,
        watch: Watch,
    ) -> None:
        super().__init__(model, long=options.long, on_invalid=options.on_invalid)
        self._options = options
        self._format = file_format
        self._watch = watch
        self._others = np.zeros(2, np.int64)  # residues left out, and proteins with some
        self._first = np.zeros(1, np.int64)
        self._held = np.zeros(0, np.int64)
        self._facts: dict[str, Any] = {}

    @property
    def _whole(self) -> bool:
        """Whether the numbers of every residue are kept."""
        return self._options.masked or self._options.per == "residue" or self._watch.of_residues

    def look(self, protein: Protein) -> None:
        """Count what has no probability of its own."""
        read, _ = residues_read(len(protein), self.long)
        sequence = protein.sequence[:read]
        others = sum(map(sequence.count, OTHER_LETTERS))
        self._others += (others, others > 0)
        self._watch.look(Protein(protein.id, sequence, protein.header))

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Look for the masked-LM head, and say how much there is to do."""
        self._watch.ready()
        self._facts = dict(self.model.lm_head.facts)
        residues, proteins = self._others.tolist()
        if residues:
            say(
                f"{residues:,} residue{'s' * (residues != 1)} (X, B, U, Z or O) of {proteins:,} "
                f"protein{'s' * (proteins != 1)} {'have' if residues != 1 else 'has'} no probability "
                "and no part in the means"
            )
        lengths = index.lengths[index.first_of].tolist()
        portions_of = np.ones(len(lengths), np.int64)
        if self._options.masked:
            portions_of[:] = [count_of_portions(length, self.long) for length in lengths]
            read = [residues_read(length, self.long) for length in lengths]
            sites = sum(residues for residues, _ in read)
            work = sum(residues * size for residues, size in read)
            say(
                f"each of {sites:,} residues is hidden in turn, and its protein read once for each: "
                f"{work:,} residues to read; `masked=False` reads each protein once, {sites:,} "
                "residues, for another quantity"
            )
        self._first = np.concatenate([[0], np.cumsum(portions_of)])

    def options(self) -> dict[str, Any]:
        """Return what the scores depend on, and the masked-LM head."""
        options = self._options
        found: dict[str, Any] = {
            "lm_head": self._facts,
            "format": self._format,
            "per": options.per,
            "masked": options.masked,
            "letters": AMINO_ACIDS,
            "batch-tokens": options.batch_tokens,
        }
        if options.all_letters:
            found["all-letters"] = True
        if not options.masked:  # a run that has kept less cannot be gone on with for figures
            found["kept"] = "residues" if self._whole else "proteins"
        return found

    def missing(self, index: InputIndex, held: Any) -> NDArray[np.bool_]:
        """Return which sequences lack a portion."""
        self._held = np.sort(np.fromiter(held, np.int64, len(held)))
        counts = np.diff(np.searchsorted(self._held, self._first))
        return counts < np.diff(self._first)

    def left(self, index: InputIndex, missing: NDArray[np.bool_] | None = None) -> int:
        """Return how many residues are to be read."""
        if not self._options.masked:
            return super().left(index, missing)
        every = np.ones(index.sequences, bool) if missing is None else missing
        total = 0
        for number in np.flatnonzero(every).tolist():
            read, size = residues_read(int(index.lengths[index.first_of[number]]), self.long)
            total += read * size
            first, stop = np.searchsorted(self._held, self._first[number : number + 2])
            if missing is not None and first < stop:
                cut = portions(0, Protein("", read * "X"), self.long)
                held = (one for one in cut if self._is_held(number, one))
                total -= sum(len(one.places()) * size for one in held)
        return total

    def done(self, index: InputIndex, completed: Sequence[int]) -> int:
        """Return how many residues were read: of hidden ones, that is what has been yielded."""
        return sum(completed) if self._options.masked else super().done(index, completed)

    def _is_held(self, number: int, sites: "Sites") -> bool:
        unit = self._first[number] + sites.index
        place = np.searchsorted(self._held, unit)
        return bool(place < len(self._held) and self._held[place] == unit)

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Score what is missing."""
        if self._options.masked:
            yield from self._masked(index, missing, pending)
            return
        from esmkit.score.passes import one_pass
        from esmkit.score.running import score_of

        for batch in one_pass(self.model, index.distinct(), self._options, missing=missing):
            for number, protein, values in batch:
                read = Protein(protein.id, protein.sequence[: len(values)], protein.header)
                score = score_of(self.model, "", read, values, self._options)
                pending.add(number, score.log_probabilities if self._whole else pack(score))
            yield [number for number, *_ in batch]

    def _masked(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        from esmkit.score.passes import masked_sites
        from esmkit.score.probabilities import log_softmax_20

        def is_missing(sites: "Sites") -> bool:
            return bool(missing[sites.number]) and not self._is_held(sites.number, sites)

        every = (
            sites
            for number, protein in index.distinct()
            for sites in portions(number, protein, self.long)
        )
        batch_tokens = self._options.batch_tokens
        for sites, values in masked_sites(
            self.model, every, batch_tokens=batch_tokens, missing=is_missing
        ):
            unit = int(self._first[sites.number]) + sites.index
            pending.add(unit, log_softmax_20(values).astype(np.float32))
            yield [len(values) * min(sites.size, len(sites.protein))]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write the scores of every protein."""
        where = name_of_target(target)
        self._watch.begin()
        with disk_errors(where):
            writer = open_writer(self._format, target, provenance, self._options)
        try:
            for number, protein in index.proteins():
                first, stop = self._first[number : number + 2].tolist()
                parts = [shards[unit] for unit in range(first, stop)]
                if not self._whole:
                    assert isinstance(writer, ProteinRows)
                    with writing(where):
                        writer.add_row(protein, unpack(parts[0]))
                    continue
                score = self._score(protein, np.concatenate(parts))
                with writing(where):
                    writer.add(protein, score)
                self._watch.add(score)
        finally:
            with writing(where):
                writer.close()
            self._watch.end()

    def _score(self, protein: Protein, values: NDArray[np.float32]) -> "ProteinScore":
        from esmkit.score.protein_score import ProteinScore
        from esmkit.score.running import windows_of

        return ProteinScore(
            *(protein.id, protein.header, protein.sequence[: len(values)], values),
            masked=self._options.masked,
            windows=windows_of(len(values), self._options),
            checkpoint=self.model.checkpoint.name,
            head=str(self._facts["name"]) if self._facts["source"] == "fitted" else "",
        )
