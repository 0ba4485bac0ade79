"""``esmkit explore`` from FASTA and structure to pages."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.errors import InputError, OptionError
from esmkit.explorer.figures import need_bokeh
from esmkit.explorer.labels import check_profile
from esmkit.explorer.live.choices import check_live
from esmkit.files.disk import check_output, disk_errors, through_links
from esmkit.files.names import FileNames, check_folder, file_name
from esmkit.files.run_options import Run
from esmkit.files.together import Together
from esmkit.sequences.fasta import stem_of
from esmkit.sequences.proteins import OnInvalid, Protein, read_fasta
from esmkit.sequences.report import InputReport
from esmkit.structure.alignment import protein_of
from esmkit.structure.given import read_chains
from esmkit.text import working

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["MOST_PAGES", "explore_to_files"]

MOST_PAGES = 20
"""Pages of one call, unless forced: each is megabytes, and made to be looked at."""


def explore_to_files(
    model: "Callable[[], Encoder]",
    sources: Sequence[str],
    output: Path | None,
    *,
    structure: str | None = None,
    on_invalid: OnInvalid = "error",
    ids: Sequence[str] | None = None,
    run: Run = Run(),  # noqa: B008 - frozen
    **options: Any,
) -> list[Path]:
    """Write a page for each protein, as soon as it is made: those before a stop or an error stay.

    Parameters
    ----------
    model : callable
        Returns the model; called only after the inputs have been validated.
    sources : sequence of str
        FASTA files; none with a structure, whose sequence is then used.
    output : Path, optional
        The page of one protein, or the folder for those of several; by default ``STEM.html`` and
        ``STEM.explorer`` in the current folder.
    structure : str, optional
        FILE or FILE:CHAIN, of one of the proteins.
    on_invalid : {'error', 'replace', 'skip', 'degap'}
        What to do with a letter that is no amino acid; see :func:`esmkit.read_fasta`.
    ids : sequence of str, optional
        Take these records only; see :func:`esmkit.read_fasta`.
    run : Run
        ``force`` overwrites, and makes more than 20 pages; ``restart`` changes nothing, for there
        is no unfinished work to go on with.
    **options
        Further arguments of :func:`esmkit.explore`.

    Returns
    -------
    list of Path
        The pages, in the order of the proteins.

    Raises
    ------
    InputError
        If there is no protein, or the structure is of none of them.
    OptionError
        If there are more than 20 proteins, or a page would not end in .html.
    OutputError
        If an output exists, or cannot be written.
    MissingDependencyError
        If Bokeh is not installed.
    """
    from tqdm import tqdm

    need_bokeh()
    check_live(**{"live": False, **options})
    check_profile(options.get("profile"))
    if ids is not None and not sources:
        raise OptionError("`ids` picks records out of FASTA files; give one, or leave `ids` out")
    truth = None
    if structure is not None:
        with working(run.say, "reading the structure"):
            (truth,) = read_chains([structure], run.say)
    proteins = _read(sources, on_invalid, ids, run) if sources else []
    if not sources and truth is not None:
        proteins = [truth.protein]
    if not proteins:
        raise InputError("no protein is left to show; give a FASTA file, or a `structure`")
    if len(proteins) > MOST_PAGES and not run.force:
        raise OptionError(
            f"{len(proteins):,} proteins make as many pages of some megabytes; pick at most "
            f"{MOST_PAGES} with `ids`, or give `run=Run(force=True)`"
        )
    beside = {} if truth is None else {protein_of(truth, proteins): truth}
    targets = _targets(proteins, sources, output, force=run.force)

    from esmkit.explorer.gather import explore

    loaded = model()
    quiet = not run.progress or len(proteins) < 2
    with Together(_place(targets), list(targets.values())) as files:
        for protein in tqdm(proteins, "pages", unit="page", disable=quiet):
            beside_it = beside.get(protein.id)
            with working(run.say, f"{protein.id}: computing and gathering what the page shows"):
                page = explore(loaded, protein, structure=beside_it, command=run.command, **options)
                path = targets[protein.id]
                page.save(files.staged(path), force=run.force)
                files.put(path)
            for note in page.data["notes"]:
                run.say(f"{protein.id}: {note}")
            run.say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB); open it in a browser")
    run.then()
    return list(targets.values())


def _read(
    sources: Sequence[str], on_invalid: OnInvalid, ids: Sequence[str] | None, run: Run
) -> list[Protein]:
    """Read the proteins, and say what was done to them."""
    report = InputReport()
    proteins = list(read_fasta(list(sources), on_invalid=on_invalid, ids=ids, report=report))
    if not proteins:
        raise InputError(report.nothing_left())
    for line in report.lines()[1:]:
        run.say(line)
    return proteins


def _targets(
    proteins: Sequence[Protein], sources: Sequence[str], output: Path | None, *, force: bool
) -> dict[str, Path]:
    """Return where each page goes, and make sure that it can go there."""
    if not sources or sources[0] == "-":
        stem = file_name(proteins[0].id)
    else:
        stem = stem_of(sources[0]) or "protein"
    if len(proteins) == 1:
        target = output or Path(f"{stem}.html")
        if target.suffix.lower() not in (".html", ".htm"):
            raise OptionError(f"a page is an HTML file; end the name {str(target)!r} in .html")
        check_output(target, force=force)
        return {proteins[0].id: target}
    folder = output or Path(f"{stem}.explorer")
    if folder.suffix.lower() in (".html", ".htm"):
        raise OptionError(
            f"{len(proteins)} proteins make as many pages; `output` names a folder for them, "
            f"not {str(folder)!r}"
        )
    left = {path.absolute() for path in Together.left(folder)}  # of a run that was stopped
    there = {path.absolute() for path in through_links(folder).glob("*")}
    check_folder(folder, "output", force=force or (there != set() and there <= left))
    folder = through_links(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    name_of = FileNames()
    return {protein.id: folder / f"{name_of(protein.id)}.html" for protein in proteins}


def _place(targets: dict[str, Path]) -> Path:
    """Return what the work on the pages is named after: the only page, or the folder of all."""
    first = next(iter(targets.values()))
    return first if len(targets) == 1 else first.parent
