"""Scores to a file, and their figures: what ``esmkit score`` does."""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.attention.figure_options import FigureOptions
from esmkit.files.arrays import H5Writer
from esmkit.files.disk import disk_errors, through_links
from esmkit.files.hdf5 import open_hdf5
from esmkit.files.names import FileNames, check_folder, remove_unfinished
from esmkit.files.outputs import is_stream
from esmkit.files.run_options import Run
from esmkit.files.task import writing
from esmkit.files.work_folder import scratch_file, was_finishing
from esmkit.score.options import ScoreOptions
from esmkit.score.protein_score import ProteinScore
from esmkit.score.to_file import Watch, score_file
from esmkit.sequences.proteins import Protein, read_fasta

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.plots.annotations import GivenAnnotations

__all__ = ["score_to_files"]

_FACTS = ("masked", "windows", "checkpoint", "head")
"""Attributes of a score besides its protein and its numbers."""


def score_to_files(
    model: "Callable[[], Encoder]",
    sources: Sequence[str],
    target: Path,
    options: ScoreOptions,
    *,
    folder: Path | None = None,
    figures: FigureOptions = FigureOptions(),  # noqa: B008 - frozen
    ids: Sequence[str] | None = None,
    file_format: str | None = None,
    run: Run = Run(),  # noqa: B008 - frozen
) -> None:
    """Write scores, then draw them, as they were written.

    Parameters
    ----------
    model : callable
        Returns the model; called only after the input has been validated.
    sources : sequence of str
        FASTA files, plain or gzip; ``-`` is standard input.
    target : Path
        The file to write; ``-`` is standard output.
    options : ScoreOptions
    folder : Path, optional
        Folder for figures: ``ID.surprise.png`` and ``ID.logo.png`` of each protein. Without it
        nothing is drawn.
    figures : FigureOptions
        What they show.
    ids, file_format, run
        As in :func:`esmkit.score_file`.

    Raises
    ------
    InputError, UnknownIdError, OptionError, CheckpointError, OutputError, ResumeError,
    NonFiniteError
        One sentence with the remedy. What was computed before is kept.
    """
    streamed = is_stream(target)
    going_on = was_finishing(target)  # a run was stopped while it drew
    if folder is not None:
        check_folder(folder, "folder", force=run.force or going_on, beside=target)

    def finish() -> None:
        if not streamed:
            run.say(f"wrote {target}")
        if folder is not None and isinstance(watch, _Kept):
            from tqdm import tqdm

            scores = watch.scores() if watch.are_there() else anew()
            bar = tqdm(scores, "drawing", unit="protein", disable=not run.progress, delay=1.0)
            drawn = sum(
                1
                for _ in draw_scores(
                    *(bar, folder, figures.kind, watch.annotated),
                    going_on=going_on and not run.force,
                )
            )
            run.say(f"drew {drawn} figure(s) in {folder}")
        run.then()

    def anew() -> Iterator[ProteinScore]:
        # The run before was one without figures, stopped when it had done
        from esmkit.score.scoring import score

        rest = {name: getattr(options, name) for name in ("masked", "long", "batch_tokens")}
        loaded = model()
        for protein in read_fasta(list(sources), on_invalid=options.on_invalid, ids=ids):
            yield score(loaded, protein, **rest)

    with tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        path = Path(scratch) / "scores" if streamed else scratch_file(target, "scores")
        watch = _Kept(path, figures) if folder is not None else Watch()
        score_file(
            *(model, sources, target, options),
            ids=ids,
            file_format=file_format,
            watch=watch,
            run=dataclasses.replace(run, then=finish),
        )


def draw_scores(
    scores: Iterable[ProteinScore],
    folder: Path,
    kind: str,
    annotated: "dict[str, GivenAnnotations]",
    *,
    going_on: bool = False,
) -> Iterator[Path]:
    """Draw surprise and logo of each protein.

    Parameters
    ----------
    scores : iterable of ProteinScore
    folder : Path
        Made if need be.
    kind : {'png', 'svg', 'pdf'}
    annotated : dict
        What else the figures of a protein show, by its ID.
    going_on : bool
        Leave figures that are there as they are: each appears whole or not at all.

    Yields
    ------
    Path
        Each figure when it is there.
    """
    from esmkit import plots

    folder = through_links(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
    name_of = FileNames()
    for score in scores:
        start = name_of(score.id)
        shown: dict[str, Any] = {**annotated.get(score.id, {})}
        for ending, draw in (("surprise", plots.surprise), ("logo", plots.logo)):
            path = folder / f"{start}.{ending}.{kind}"
            if not (going_on and path.exists()):
                draw(score, path=path, **shown)
            yield path


class _Kept(Watch):
    """Scores on the way to their figures, in a file: a kill may come before they are drawn."""

    of_residues = True

    def __init__(self, path: Path, figures: FigureOptions) -> None:
        self._path = path
        self._figures = figures
        self._proteins: list[Protein] = []
        self._writer: H5Writer | None = None
        self.annotated: dict[str, Any] = {}

    def look(self, protein: Protein) -> None:
        """Remember a protein if figures ask for its residues."""
        if self._figures.annotated:
            self._proteins.append(protein)

    def ready(self) -> None:
        """Refuse what figures are to show that fits none of the proteins."""
        if self._figures.annotated:
            self.annotated = self._figures.of_each(self._proteins)
            self._proteins = []

    def begin(self) -> None:
        """Open the file, empty."""
        with disk_errors(self._path):
            self._writer = H5Writer(self._path, {})

    def add(self, found: ProteinScore) -> None:
        """Keep a score."""
        assert self._writer is not None
        facts = json.dumps({name: getattr(found, name) for name in _FACTS})
        protein = Protein(found.id, found.sequence, found.header)
        with writing(self._path):
            self._writer.add(protein, found.log_probabilities, sequence=found.sequence, facts=facts)

    def end(self) -> None:
        """Close the file."""
        if self._writer is not None:
            with writing(self._path):
                self._writer.close()
            self._writer = None

    def are_there(self) -> bool:
        """Tell whether there are scores; if so, they are all there."""
        return self._path.is_file()

    def scores(self) -> Iterator[ProteinScore]:
        """Read the scores, one at a time."""
        with open_hdf5(self._path) as handle:
            for dataset in handle.values():
                text = {name: str(dataset.attrs[name]) for name in ("id", "header", "sequence")}
                values = np.asarray(dataset, np.float32)
                facts = json.loads(str(dataset.attrs["facts"]))
                yield ProteinScore(**text, log_probabilities=values, **facts)
