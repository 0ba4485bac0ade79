"""The variants task on disk: FASTA files and mutations to one table, in shards that survive a kill."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.files.outputs import choose_format, is_stream, name_of_target
from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.tables import import_pyarrow, open_table
from esmkit.files.task import Task, run_to_file, writing
from esmkit.score.variants.asked import Asked, ask
from esmkit.score.variants.options import check_options, table_or_all
from esmkit.score.variants.plan import Plan, Strategy, Unit
from esmkit.score.variants.rows import MutationTable
from esmkit.sequences.index import InputIndex
from esmkit.sequences.proteins import OnInvalid, Protein
from esmkit.text import Say

# PyTorch is imported only after the input is validated: a typing error is answered at once.
if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder

__all__ = ["VARIANT_FORMATS", "VariantsTask", "Watch", "variants_file"]

VARIANT_FORMATS = ("tsv", "csv", "parquet")
"""Formats of a table of variants."""


class Watch:
    """Follows a run of the variants task. This one does nothing."""

    def ready(self, proteins: Sequence[Protein]) -> None:
        """Refuse an input that is valid but does not fit, before a model is loaded."""

    def placed(self, asked: Asked, say: Say) -> None:
        """Refuse variants that were placed, before a model is loaded."""

    def end(self, table: "pandas.DataFrame") -> None:
        """Take the whole table, when it is written."""


@checked
def variants_file(
    model: "Encoder | Callable[[], Encoder]",
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    mutations: Any = "all",
    *,
    strategy: Strategy = "masked-marginals",
    measured: str | None = None,
    mutant_column: str | None = None,
    first_number: int = 1,
    on_invalid: OnInvalid = "error",
    ids: Iterable[str] | None = None,
    batch_tokens: int = 16_384,
    file_format: str | None = None,
    watch: Watch = Watch(),  # noqa: B008 - does nothing
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write the scores of variants of proteins into one table. A stopped run goes on where it was.

    Parameters
    ----------
    model : Encoder or callable
        A callable returns the model; it is called only after the input has been validated.
    sources : path, or sequence of paths
        FASTA files of the wild types, plain or gzip; ``-`` is standard input.
    output : str or Path
        ``.tsv``, ``.csv`` or ``.parquet``: a row for each variant, with the columns of
        :func:`esmkit.score.variants.score_variants`. ``-`` is standard output.
    mutations, strategy, measured, mutant_column, first_number, on_invalid, batch_tokens
        As in :func:`esmkit.score.variants.score_variants`.
    ids : iterable of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    file_format : {'tsv', 'csv', 'parquet'}, optional
        Output format; by default what the name of the output ends in.
    watch : Watch
        Follows the run.
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
    >>> esmkit.score.variants.to_file.variants_file(
    ...     esmkit.load, demo, "hba.variants.tsv", "all", ids=["P69905"]
    ... )                                                          # doctest: +SKIP
    """
    check_options(strategy, first_number, on_invalid)
    kind = choose_format(output, file_format, VARIANT_FORMATS, streamed=("tsv", "csv"), say=run.say)
    if kind == "parquet":
        import_pyarrow()
    table = table_or_all(mutations, mutant_column, measured)
    task = VariantsTask(
        model,
        table,
        strategy=strategy,
        first_number=first_number,
        on_invalid=on_invalid,
        batch_tokens=batch_tokens,
        file_format=kind,
        watch=watch,
    )
    with_sidecar = kind != "parquet" and not is_stream(output)
    run_to_file(task, sources, output, ids=ids, with_sidecar=with_sidecar, run=run)


class VariantsTask(Task):
    """Scores of variants. A unit of work on disk is that of a plan."""

    name = "variants"

    def __init__(
        self,
        model: "Encoder | Callable[[], Encoder]",
        table: MutationTable | Literal["all"],
        *,
        strategy: Strategy,
        first_number: int,
        on_invalid: OnInvalid,
        batch_tokens: int,
        file_format: str,
        watch: Watch,
    ) -> None:
        super().__init__(model, long="window", on_invalid=on_invalid)
        self._table = table
        self._strategy: Strategy = strategy
        self._first_number = first_number
        self._batch_tokens = batch_tokens
        self._format = file_format
        self._watch = watch
        self._proteins: list[Protein] = []
        self._asked = Asked([], [], strategy)
        self._plans: dict[str, Plan] = {}
        self._units: list[Unit] = []
        self._first: dict[str, int] = {}  # number of a plan's first unit
        self._held: set[int] = set()
        self._facts: dict[str, Any] = {}

    def look(self, protein: Protein) -> None:
        """Keep each protein: mutations are held against it."""
        self._proteins.append(protein)

    def prepare(self, index: InputIndex, say: Say) -> None:
        """Hold mutations against proteins, and say how much there is to do."""
        self._watch.ready(self._proteins)
        self._asked = ask(
            self._table if isinstance(self._table, MutationTable) else "all",
            self._proteins,
            strategy=self._strategy,
            first_number=self._first_number,
            on_invalid=self.on_invalid,
        )
        for line in self._asked.report():
            say(line)
        self._watch.placed(self._asked, say)
        self._plans = self._asked.plans()
        for sequence, plan in self._plans.items():
            self._first[sequence] = len(self._units)
            self._units += plan.units
        self._facts = dict(self.model.lm_head.facts)
        count, passes = self._asked.count, sum(unit.passes for unit in self._units)
        say(
            f"{count:,} variant{'s' * (count != 1)} by {self._strategy}: {passes:,} "
            f"pass{'es' * (passes != 1)}, {sum(unit.residues for unit in self._units):,} residues to read"
        )

    def options(self) -> dict[str, Any]:
        """Return what the scores depend on, the masked-LM head, and what was left out."""
        asked = self._asked
        digest = hashlib.sha256()
        for protein, some in zip(asked.proteins, asked.placed, strict=True):
            for one in some:
                digest.update(f"{protein.id}\t{one.name}\t{one.row.measured!r}\n".encode())
        found: dict[str, Any] = {
            "lm_head": self._facts,
            "format": self._format,
            "strategy": self._strategy,
            "mutations": self._table.name if isinstance(self._table, MutationTable) else "all",
            "mutations_sha256": digest.hexdigest(),
            "variants": asked.count,
            "first-number": self._first_number,
            "batch-tokens": self._batch_tokens,
        }
        if asked.measured:
            found["measured"] = asked.measured
        if asked.refused.count or asked.others:
            found["left_out"] = {
                "rows": asked.refused.count,
                "reasons": asked.refused.reasons,
                "of_other_proteins": asked.others,
            }
        return found

    def _of(self, sequence: str) -> range:
        """Return the numbers of the units of a sequence."""
        first = self._first.get(sequence, 0)
        return range(first, first + len(self._plans[sequence].units))

    def missing(self, index: InputIndex, held: Any) -> NDArray[np.bool_]:
        """Return which sequences lack a unit."""
        self._held = set(held)
        found = np.zeros(index.sequences, bool)
        for number, protein in index.distinct():
            found[number] = any(unit not in self._held for unit in self._of(protein.sequence))
        return found

    def left(self, index: InputIndex, missing: NDArray[np.bool_] | None = None) -> int:
        """Return how many residues are to be read."""
        held = set() if missing is None else self._held
        return sum(unit.residues for n, unit in enumerate(self._units) if n not in held)

    def done(self, index: InputIndex, completed: Sequence[int]) -> int:
        """Return how many residues were read for units."""
        return sum(self._units[number].residues for number in completed)

    def compute(
        self, index: InputIndex, missing: NDArray[np.bool_], pending: Pending
    ) -> Iterator[Sequence[int]]:
        """Compute the units that are missing."""
        from esmkit.score.variants.passes import compute_units

        for number, values in compute_units(
            self.model, self._units, batch_tokens=self._batch_tokens, held=self._held
        ):
            pending.add(number, values)
            yield [number]

    def write(
        self, index: InputIndex, shards: ShardReader, provenance: dict[str, Any], target: Any
    ) -> None:
        """Write the table."""
        values = {
            sequence: {place: shards[unit] for place, unit in enumerate(self._of(sequence))}
            for sequence in self._plans
        }
        table = self._asked.frame(self._plans, values)
        with (
            writing(name_of_target(target)),
            open_table(self._format, target, provenance) as writer,
        ):
            writer.add(table)
        self._watch.end(table)
