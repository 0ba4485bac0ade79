"""What ``esmkit score variants`` does around the scores: wild types, figures, comparisons, files."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.attention.figure_options import FigureOptions
from esmkit.errors import InputError, OptionError
from esmkit.files.disk import check_output, disk_errors, through_links
from esmkit.files.names import FileNames, check_folder, remove_unfinished, with_ending
from esmkit.files.outputs import format_of_name, is_stream
from esmkit.files.run_options import Run
from esmkit.files.tables import write_table
from esmkit.files.work_folder import was_finishing
from esmkit.score.variants.asked import Asked
from esmkit.score.variants.baselines import BASELINES
from esmkit.score.variants.rows import is_mutation_file, read_mutations, stem_of_table
from esmkit.score.variants.to_file import Watch, variants_file
from esmkit.sequences.proteins import Protein
from esmkit.structure import Structure
from esmkit.text import Say, shorten, visible, working

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.plots.annotations import GivenAnnotations

__all__ = ["comparison", "sources_or_table", "variants_to_files"]


@contextlib.contextmanager
def sources_or_table(
    fasta: Sequence[str], mutations: Any, column: str | None
) -> Iterator[tuple[str, ...]]:
    """Yield FASTA files: those given, or one of the wild type that a table's sequences come from.

    Raises
    ------
    OptionError
        If there is neither.
    InputError
        If the table does not say its wild type.
    """
    if fasta:
        yield tuple(fasta)
        return
    if not is_mutation_file(mutations):
        raise OptionError(
            "give a FASTA file of the wild type, - for standard input, or with `mutations` a table "
            "that has the mutated sequences too, as ProteinGym's"
        )
    wild = read_mutations(mutations, column=column).wild_type()
    with tempfile.TemporaryDirectory(prefix="esmkit-") as folder:
        name = stem_of_table(mutations) or "wild_type"
        path = Path(folder) / "wild_type.fasta"
        path.write_text(f">{name.split()[0]}\n{wild}\n", encoding="utf-8", newline="\n")
        yield (str(path),)


def comparison(
    table: "pandas.DataFrame", strategy: str, *, higher_is_better: bool = True
) -> "pandas.DataFrame":
    """Compare the scores of a table, and the baselines in it, with what was measured.

    Parameters
    ----------
    table : pandas.DataFrame
        Of :func:`esmkit.score.variants.score_variants` with ``measured``.
    strategy : str
        What the score is called in the result.
    higher_is_better : bool
        Whether fitter variants have higher measured values.

    Returns
    -------
    pandas.DataFrame
        For each protein, the rows of :func:`esmkit.score.variants.measured.compare`, with a column
        ``id`` before; a protein whose measured values cannot be ranked has none.

    Raises
    ------
    InputError
        If there is no other protein.
    """
    import pandas

    from esmkit.score.variants.measured import compare

    groups = {str(name): rows for name, rows in table.groupby("id", sort=False)}
    unfit = _not_rankable({name: rows["measured"] for name, rows in groups.items()})
    found = []
    for name, rows in groups.items():
        if name in unfit:
            continue
        predictions = {strategy: rows["score"].to_numpy(float)}
        predictions |= {one: rows[one].to_numpy(float) for one in BASELINES}
        if len(set(rows["mutations"])) > 1:
            predictions["fewer_mutations"] = -rows["mutations"].to_numpy(float)
        part = compare(
            predictions, rows["measured"].to_numpy(float), higher_is_better=higher_is_better
        )
        part.insert(0, "id", name)
        found.append(part)
    return pandas.concat(found, ignore_index=True)


def _not_rankable(measured: Mapping[str, Any]) -> dict[str, str]:
    """Return the proteins whose measured values cannot be ranked, and why; refuse it if all are so."""
    from esmkit.score.variants.measured import not_rankable

    why = {name: not_rankable(np.asarray(values, float)) for name, values in measured.items()}
    unfit = {name: reason for name, reason in why.items() if reason}
    if len(unfit) == len(measured):
        first = next(iter(unfit))
        named = f"{shorten(visible(first), 40)}: " if len(measured) > 1 else ""
        raise InputError(f"{named}{unfit[first]}")
    return unfit


class _Follower(Watch):
    """Keeps the proteins, what figures show of them, and the table."""

    def __init__(self, figures: FigureOptions | None) -> None:
        self._figures = figures
        self.proteins: list[Protein] = []
        self.annotated: dict[str, GivenAnnotations] = {}
        self.table: pandas.DataFrame | None = None

    def ready(self, proteins: Sequence[Protein]) -> None:
        """Refuse what figures are to show if it fits none of the proteins."""
        self.proteins = list(proteins)
        if self._figures is not None:
            self.annotated = self._figures.of_each(self.proteins)

    def placed(self, asked: Asked, say: Say) -> None:
        """Refuse measured values that nothing can be compared with; say which have no part."""
        if not asked.measured:
            return
        of_each = {
            protein.id: np.array([one.row.measured for one in some])
            for protein, some in zip(asked.proteins, asked.placed, strict=True)
            if some
        }
        for name, reason in _not_rankable(of_each).items():
            say(f"{shorten(visible(name), 40)} is not compared: {reason.split(';')[0]}")
        lacking = sum(int(np.isnan(values).sum()) for values in of_each.values())
        if lacking:
            say(
                f"{lacking:,} of {asked.count:,} variants have no number in column "
                f"{visible(asked.measured)!r}: they are scored and have no part in the comparison"
            )

    def end(self, table: "pandas.DataFrame") -> None:
        """Keep the table."""
        self.table = table


def variants_to_files(
    model: "Callable[[], Encoder]",
    sources: Sequence[str],
    target: Path,
    mutations: Any,
    *,
    strategy: Any,
    measured: str | None = None,
    higher_is_better: bool = True,
    structures: Sequence[Structure] = (),
    folder: Path | None = None,
    kind: str = "png",
    mark: Any = None,
    zoom: Any = None,
    domains: Any = None,
    file_format: str | None = None,
    run: Run,
    **options: Any,
) -> str:
    """Write scores of variants, then compare them with what was measured and draw them.

    Parameters
    ----------
    model : callable
        Returns the model; called only after the input has been validated.
    sources : sequence of str
        FASTA files, plain or gzip.
    target : Path
        The file to write; ``-`` is standard output.
    mutations, strategy, measured, **options
        As in :func:`esmkit.score.variants.to_file.variants_file`.
    higher_is_better : bool
        Whether fitter variants have higher measured values.
    structures : sequence of Structure
        Structures of some of the proteins, for figures.
    folder : Path, optional
        Folder for figures; without it nothing is drawn.
    kind : {'png', 'svg', 'pdf'}
        Format of the figures.
    mark, zoom, domains
        What figures show, as in :func:`esmkit.plots.contact_map`.
    file_format, run
        As in :func:`esmkit.score.variants.to_file.variants_file`.

    Returns
    -------
    str
        What to print: how the scores compare with what was measured.
    """
    figures = None
    if folder is not None:
        figures = FigureOptions(
            kind=kind, mark=mark, zoom=zoom, domains=domains, structure=tuple(structures)
        )
    streamed = is_stream(target)
    going_on = was_finishing(target)  # a run was stopped while it compared or drew
    beside = with_ending(target, ".measured.tsv") if measured and not streamed else None
    if beside is not None:
        check_output(beside, force=run.force or going_on)
    if folder is not None:
        check_folder(folder, "folder", force=run.force or going_on, beside=target)
    watch = _Follower(figures)
    text = ""

    def table() -> "pandas.DataFrame":
        if watch.table is None:
            watch.table = _read(target, file_format)
        return watch.table

    def finish() -> None:
        nonlocal text
        if not streamed:
            run.say(f"wrote {target}")
        if measured:
            with working(run.say, "comparing with what was measured"):
                found = comparison(table(), strategy, higher_is_better=higher_is_better)
            text = _in_words(found, measured, higher_is_better=higher_is_better)
            if beside is not None:
                write_table(beside, found, "tsv")
                run.say(f"wrote {beside}")
        if folder is not None:
            drawn = draw_variants(
                table(),
                watch.proteins,
                folder,
                strategy=strategy,
                kind=kind,
                annotated=watch.annotated,
                measured=measured,
                higher_is_better=higher_is_better,
                progress=run.progress,
            )
            run.say(f"drew {len(drawn)} figure(s) in {folder}")
        run.then()

    variants_file(
        model,
        sources,
        target,
        mutations,
        strategy=strategy,
        measured=measured,
        file_format=file_format,
        watch=watch,
        run=dataclasses.replace(run, then=finish),
        **options,
    )
    return text


def _read(target: Path, file_format: str | None) -> "pandas.DataFrame":
    """Read a table that the run before has written."""
    import pandas

    kind = file_format or format_of_name(target)
    if kind == "parquet":
        return pandas.read_parquet(target)
    return pandas.read_csv(
        target, sep="," if kind == "csv" else "\t", keep_default_na=False, na_values=[""],
        dtype={"id": str, "mutant": str, "residue": str, "mutant_residue": str},
    )  # fmt: skip


def _in_words(found: "pandas.DataFrame", column: str, *, higher_is_better: bool) -> str:
    """Return a comparison as text."""
    shown = found.drop(columns="id") if len(set(found["id"])) == 1 else found
    direction = (
        "higher is fitter" if higher_is_better else "lower is fitter, so their sign was changed"
    )
    return (
        f"{shown.round(3).to_string(index=False, na_rep='-')}\n\n"
        f"against {column} ({direction}): over 0, what is predicted better is fitter; low to high is "
        "the 95% interval over variants, 2,000 resamples; ndcg and top_recall are about the best "
        f"tenth\n{'; '.join(f'{name}: {what}' for name, what in BASELINES.items())}"
    )


def draw_variants(
    table: "pandas.DataFrame",
    proteins: Sequence[Protein],
    folder: Path,
    *,
    strategy: str,
    kind: str,
    annotated: "dict[str, GivenAnnotations]",
    measured: str | None,
    higher_is_better: bool,
    progress: bool,
) -> list[Path]:
    """Draw a heat map of the single substitutions of each protein, and scores against measurements.

    Returns
    -------
    list of Path
        ``ID.variants.png``, and with ``measured`` ``ID.measured.png``.
    """
    from tqdm import tqdm

    from esmkit import plots

    folder = through_links(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
    name_of = FileNames()
    drawn: list[Path] = []
    of_each: dict[str, Any] = {str(name): rows for name, rows in table.groupby("id", sort=False)}
    wanted = [protein for protein in proteins if protein.id in of_each]
    for protein in tqdm(wanted, "drawing", unit="protein", disable=not progress, delay=1.0):
        rows = of_each[protein.id]
        name = name_of(protein.id)
        if rows["residue_number"].notna().any():
            path = folder / f"{name}.variants.{kind}"
            plots.variant_map(
                *(protein.id, protein.sequence, rows),
                label=strategy,
                path=path,
                **annotated.get(protein.id, {}),
            )
            drawn.append(path)
        if measured and (rows["score"].notna() & rows["measured"].notna()).any():
            path = folder / f"{name}.measured.{kind}"
            plots.variant_scatter(
                *(protein.id, rows),
                label=strategy,
                measured=measured,
                higher_is_better=higher_is_better,
                path=path,
            )
            drawn.append(path)
    return drawn
