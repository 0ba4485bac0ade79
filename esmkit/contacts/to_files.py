"""What ``esmkit contacts`` does around a prediction: structures, scores, figures, files."""

import contextlib
import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.attention.figure_options import FigureOptions
from esmkit.contacts.kept_maps import KeptMaps
from esmkit.contacts.map import ContactMap
from esmkit.contacts.to_file import CONTACT_FORMATS, TEXT_FORMATS, Watch, contacts_file
from esmkit.errors import OptionError
from esmkit.files.disk import check_output, disk_errors, through_links
from esmkit.files.names import FileNames, check_folder, file_name, remove_unfinished, with_ending
from esmkit.files.outputs import format_of_name, is_stream
from esmkit.files.run_options import Run
from esmkit.files.tables import write_table
from esmkit.files.work_folder import scratch_file, was_finishing
from esmkit.sequences.proteins import OnInvalid, Protein, read_fasta
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.structure import Structure
from esmkit.structure.pairing import Pairing
from esmkit.text import Say, working

if TYPE_CHECKING:
    import pandas

    from esmkit.contacts.head import ContactHead
    from esmkit.encoder.encoder import Encoder
    from esmkit.files.views import ViewFiles
    from esmkit.plots.annotations import GivenAnnotations

__all__ = [
    "predict_to_files",
    "sources_or_structures",
]


@contextlib.contextmanager
def sources_or_structures(
    fasta: Sequence[str], structures: Sequence[Structure]
) -> Iterator[tuple[str, ...]]:
    """Yield FASTA files: those given, or one made of the sequences of the structures.

    Raises
    ------
    OptionError
        If there is neither, or standard input is to be scored, which can be read only once.
    """
    if fasta:
        if structures and "-" in fasta:
            raise OptionError("to score on a structure, give a FASTA file in place of -")
        yield tuple(fasta)
        return
    if not structures:
        raise OptionError("give a FASTA file, - for standard input, or a `structure`")
    with tempfile.TemporaryDirectory(prefix="esmkit-") as folder:
        name = file_name(structures[0].id if len(structures) == 1 else "structures")
        path = Path(folder) / f"{name}.fasta"
        records = (f">{s.protein.header}\n{s.protein.sequence}\n" for s in structures)
        path.write_text("".join(records), encoding="utf-8", newline="\n")
        yield (str(path),)


def score_maps(
    maps: Iterable[ContactMap], pairs: Sequence[tuple[Protein, Structure]]
) -> "pandas.DataFrame":
    """Score the contact maps of proteins on their structures.

    Returns
    -------
    pandas.DataFrame
        A row for each structure and range; see :func:`esmkit.contacts.score_map`.
    """
    import pandas

    scores: dict[int, pandas.DataFrame] = {}
    for found in maps:
        for number, (protein, structure) in enumerate(pairs):
            if protein.id == found.id:
                scores[number] = found.score(structure)
    tables = {(p.id, s.id): scores[number] for number, (p, s) in enumerate(pairs)}
    return pandas.concat(tables).rename_axis(["id", "structure", "range"])


def in_sample(
    head: "ContactHead | None", pairs: Sequence[tuple[Protein, Structure]]
) -> Iterator[str]:
    """Yield a line for each protein that the contact head was fitted to, or chosen on."""
    if head is None:
        return
    for protein, structure in pairs:
        known = head.learnt_from(structure.protein) or head.learnt_from(protein)
        if known is not None:
            yield (
                f"IN-SAMPLE, too high: {protein.id} on {structure.id}, for the {head.source} was "
                f"made on {known}, which is the same protein or a relative"
            )


def draw_maps(
    maps: Iterable[ContactMap],
    pairs: Sequence[tuple[Protein, Structure]],
    folder: Path,
    *,
    kind: str,
    annotated: "Mapping[str, GivenAnnotations]",
) -> list[Path]:
    """Draw the contact map of each protein, over its structure where there is one.

    ``annotated`` says what else a figure shows, by the ID of the protein.

    Returns
    -------
    list of Path
        ``ID.contacts.png``, or ``ID.STRUCTURE.png`` with a structure, and for structures
        ``precision.png``: precision against rank.
    """
    from esmkit import plots
    from esmkit.contacts.scores import precision_curves

    folder = through_links(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
    drawn: list[Path] = []
    curves = []
    name_of = FileNames()
    times: Counter[str] = Counter()
    for found in maps:
        of_protein = [s for p, s in pairs if p.id == found.id]
        for structure in of_protein or [None]:
            what = "contacts" if structure is None else file_name(structure.id)
            start = f"{name_of(found.id)}.{what}"
            times[start] += 1  # structures of one name in different folders
            again = f"~{times[start]}" if times[start] > 1 else ""
            path = folder / f"{start}{again}.{kind}"
            of_this = {n: v for n, v in annotated.get(found.id, {}).items() if n != "structure"}
            plots.contact_map(found, structure, path=path, **of_this)
            drawn.append(path)
            if structure is not None:
                curves.append(found.onto(structure, ranking=True))
    if curves:
        path = folder / f"precision.{kind}"
        plots.precision_by_rank(precision_curves(curves), path=path)
        drawn.append(path)
    return drawn


class _Follower(Watch):
    """Pairs structures with proteins, and keeps the maps that are to be scored or drawn."""

    def __init__(
        self,
        structures: Sequence[Structure],
        kept: KeptMaps,
        figures: FigureOptions,
        *,
        long: Any,
        say: Say,
    ) -> None:
        self._pairing = Pairing(structures)
        self._figures = figures
        self._most = MAX_RESIDUES if long == "truncate" else None
        self._say = say
        self._proteins: list[Protein] = []
        self.annotated: dict[str, GivenAnnotations] = {}
        self.has_structures = bool(structures)
        self.pairs: list[tuple[Protein, Structure]] = []
        self.kept = kept
        self.begin, self.add, self.end = kept.begin, kept.add, kept.end

    def look(self, protein: Protein) -> None:
        """Compare a protein with the structures, and remember it if figures ask for its residues."""
        self._pairing.look(protein)
        if self._figures.annotated:
            read = dataclasses.replace(protein, sequence=protein.sequence[: self._most])
            self._proteins.append(read)

    def ready(self) -> None:
        """Refuse structures, and what figures are to show, that fit none of the proteins."""
        self.pairs = self._pairing.pairs()
        if self._figures.annotated:
            self.annotated = self._figures.of_each(self._proteins)
            self._proteins = []
        if self.kept.only is not None:
            self.kept.only.update(protein.id for protein, _ in self.pairs)
        for name, count in Counter(protein.id for protein, _ in self.pairs).items():
            if count > 1:
                first = self.structure_of(name)
                self._say(
                    f"{name} has {count} structures; author numbers in the table are those of "
                    f"{first.id if first else ''}, the first"
                )

    def structure_of(self, name: str) -> Structure | None:
        """Return the first structure of the protein of this ID."""
        return next((s for protein, s in self.pairs if protein.id == name), None)


def predict_to_files(
    model: "Callable[[], Encoder]",
    sources: Sequence[str],
    target: Path,
    make_head: "Callable[[Encoder], ContactHead] | None",
    structures: Sequence[Structure],
    *,
    folder: Path | None,
    kind: str,
    on_invalid: OnInvalid,
    ids: Sequence[str] | None = None,
    long: Any,
    views: "ViewFiles | None" = None,
    run: Run,
    residues: Any = None,
    mark: Any = None,
    zoom: Any = None,
    domains: Any = None,
    **options: Any,
) -> str:
    """Write contact maps, then score and draw them, as they were written.

    Parameters
    ----------
    model : callable
        Returns the model; called only after the input has been validated.
    sources : sequence of str
        FASTA files, plain or gzip.
    target : Path
        The file to write; ``-`` is standard output.
    make_head : callable, optional
        Given the model, returns the contact head; by default the checkpoint's own.
    structures : sequence of Structure
        Structures of some of the proteins, to score and to draw their maps on.
    folder : Path, optional
        Folder for figures; without it nothing is drawn.
    kind : {'png', 'svg', 'pdf'}
        Format of the figures.
    residues, mark, zoom, domains
        What figures show, as in :func:`esmkit.plots.contact_map`; of several proteins each is
        named: ``P69905:59``. Tables have the pairs of ``residues`` only.
    views : ViewFiles, optional
        Files for molecular viewers, with the contacts on the structures.
    on_invalid, ids, long, run, **options
        As in :func:`esmkit.contacts.contacts_file`.

    Returns
    -------
    str
        The table of scores to print; empty without structures.

    Raises
    ------
    InputError, OptionError, UnknownIdError
        If a structure is of none of the proteins, or an option does not fit; nothing has been
        computed.
    """
    figures = FigureOptions(
        kind=kind, residues=residues if folder else None, mark=mark, zoom=zoom, domains=domains
    )
    if folder is not None and _holds_maps(target, options.get("file_format")):
        residues = None  # they are for the figures
    from esmkit.contacts.head import ContactHead

    streamed = is_stream(target)
    scores = with_ending(target, ".scores.tsv") if structures and not streamed else None
    going_on = was_finishing(target)  # a run was stopped while it scored or drew
    if scores is not None:
        check_output(scores, force=run.force or going_on)
    if folder is not None:
        check_folder(folder, "folder", force=run.force or going_on, beside=target)
    if views is not None:
        views.check(structures, force=run.force or going_on)
    made: list[ContactHead] = []
    text = ""

    def head_once(loaded: "Encoder") -> "ContactHead":
        if not made:
            made.append((make_head or ContactHead.of_checkpoint)(loaded))
        return made[0]

    def maps() -> Iterable[ContactMap]:
        if kept.are_there():
            return kept
        # The run before was stopped when it had done with them, or did not need them all
        from esmkit.contacts.prediction import contacts

        proteins = read_fasta(list(sources), on_invalid=on_invalid, ids=ids)
        head = head_once(model())
        wanted = (protein for protein in proteins if kept.wants(protein.id))
        return (contacts(model(), protein, head=head, long=long) for protein in wanted)

    def finish() -> None:
        from tqdm import tqdm

        nonlocal text
        if not streamed:
            run.say(f"wrote {target}")
        if structures:
            with working(run.say, "scoring the maps on the structures"):
                table = score_maps(maps(), watch.pairs)
            head = head_once(model()) if make_head is not None else None
            text = "\n".join([table.round(3).to_string(), *in_sample(head, watch.pairs)])
            if scores is not None:
                write_table(scores, table.reset_index(), "tsv")
                run.say(f"wrote {scores}")
        if views is not None:
            from esmkit.contacts.on_structure import contacts_on_structures

            for sentence in contacts_on_structures(maps(), watch.pairs, views):
                run.say(sentence)
        if folder is not None:
            shown = tqdm(maps(), "drawing", unit="protein", disable=not run.progress, delay=1.0)
            drawn = draw_maps(shown, watch.pairs, folder, kind=kind, annotated=watch.annotated)
            run.say(f"drew {len(drawn)} figure(s) in {folder}")
        run.then()

    with tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        path = Path(scratch) / "maps" if streamed else scratch_file(target, "maps")
        kept = KeptMaps(path, None if folder is not None else set())
        watch = _Follower(structures, kept, figures, long=long, say=run.say)
        contacts_file(
            model,
            sources,
            target,
            head_once,
            on_invalid=on_invalid,
            ids=ids,
            long=long,
            watch=watch,
            residues=residues,
            run=dataclasses.replace(run, then=finish),
            **options,
        )
    return text


def _holds_maps(target: Path, file_format: str | None) -> bool:
    """Tell whether an output holds whole maps."""
    return (file_format or format_of_name(target)) in set(CONTACT_FORMATS) - set(TEXT_FORMATS)
