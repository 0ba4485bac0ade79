"""What ``esmkit contacts`` does around a prediction: structures, scores, figures, files."""

import contextlib
import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.contacts.kept_maps import KeptMaps
from esmkit.contacts.map import ContactMap
from esmkit.contacts.to_file import Watch, contacts_file
from esmkit.errors import OptionError
from esmkit.files.disk import check_output, disk_errors, through_links
from esmkit.files.names import FileNames, check_folder, file_name, remove_unfinished
from esmkit.files.outputs import format_of_name, is_stream
from esmkit.files.run_options import Run
from esmkit.files.tables import write_table
from esmkit.files.work_folder import scratch_file, was_finishing
from esmkit.sequences.proteins import OnInvalid, Protein, read_fasta
from esmkit.structure import Structure
from esmkit.structure.pairing import Pairing

if TYPE_CHECKING:
    import pandas

    from esmkit.contacts.head import ContactHead
    from esmkit.encoder.encoder import Encoder
    from esmkit.files.views import ViewFiles

__all__ = [
    "evaluate_to_files",
    "fit_to_file",
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
        path.write_text("".join(f">{s.protein.header}\n{s.protein.sequence}\n" for s in structures))
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


def draw_maps(
    maps: Iterable[ContactMap],
    pairs: Sequence[tuple[Protein, Structure]],
    folder: Path,
    *,
    kind: str,
) -> list[Path]:
    """Draw the contact map of each protein, over its structure where there is one.

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
            plots.contact_map(found, structure, path=path)
            drawn.append(path)
            if structure is not None:
                curves.append(found.onto(structure))
    if curves:
        path = folder / f"precision.{kind}"
        plots.precision_by_rank(precision_curves(curves), path=path)
        drawn.append(path)
    return drawn


def evaluate_to_files(
    model: "Callable[[], Encoder]",
    structures: Callable[[], list[Structure]],
    make_head: "Callable[[Encoder], ContactHead] | None",
    *,
    each_head: bool,
    output: Path | None,
    plot: Path | None,
    force: bool,
    progress: bool,
) -> str:
    """Score a contact head, or each attention head, on structures; write and draw the table.

    Returns
    -------
    str
        The table to print.
    """
    for path, named in ((output, "output"), (plot, "plot")):
        if path is not None and not (path == output and is_stream(path)):
            check_output(path, force=force, named=named, forced="force=True")
    chains = structures()

    from esmkit import plots
    from esmkit.contacts.evaluation import evaluate, rank_heads
    from esmkit.contacts.prediction import contacts
    from esmkit.contacts.scores import precision_curves

    loaded = model()
    with _bar(len(chains), "contacts", progress) as told:
        if each_head:
            table = rank_heads(loaded, chains, progress=told)
            long = table.query("range == 'long'").sort_values(by="P@L/2", ascending=False)
            columns = ["name", "P@L", "P@L/2", "P@L/5", "low", "high", "background"]
            text = (
                f"the ten best of {len(long)} heads at long range, {len(chains)} chain(s), interval "
                f"of P@L/2\n\n{long[columns].head(10).round(3).to_string(index=False)}"
            )
        else:
            head = make_head(loaded) if make_head else None
            result = evaluate(loaded, chains, head, progress=told)
            table, text = result.chains.reset_index(), result.to_text()
    if output is not None:
        write_table(output, table, "tsv" if format_of_name(output) == "tsv" else "csv")
    if plot is not None and each_head:
        plots.head_precision_grid(table, path=plot)
    elif plot is not None:
        results = (contacts(loaded, c.protein, head=result.head).onto(c) for c in chains)
        plots.precision_by_rank(precision_curves(results), path=plot)
    return text


def fit_to_file(
    model: "Callable[[], Encoder]",
    structures: Callable[[], list[Structure]],
    output: Path,
    *,
    chains: int | None,
    seed: int,
    inverse_penalty: float,
    force: bool,
    progress: bool,
) -> str:
    """Fit a contact head and score it on the chains that took no part.

    Returns
    -------
    str
        What to print.
    """
    import numpy as np

    check_output(output, force=force, forced="force=True")
    found = structures()
    if chains is not None and chains > len(found):
        raise OptionError(
            f"{chains} chains were asked for and there are {len(found)}; ask for less"
        )
    order = np.random.default_rng(seed).permutation(len(found))
    fitted = [found[i] for i in sorted(order[:chains])] if chains is not None else found
    rest = [chain for chain in found if chain.id not in {c.id for c in fitted}]

    from esmkit.contacts.evaluation import evaluate
    from esmkit.contacts.fitting import fit

    loaded = model()
    with _bar(len(fitted), "fit", progress) as told:
        head = fit(loaded, fitted, inverse_penalty=inverse_penalty, seed=seed, progress=told)
    head.save(output)
    facts = head.provenance
    lines = [
        f"{head.source}: {facts['pairs']:,} pairs, {facts['contacts']:,} contacts; "
        f"{facts['heads_with_weight']} of {loaded.layers * loaded.heads} heads have a weight"
    ]
    if rest:
        with _bar(len(rest), "score", progress) as told:
            lines += ["", evaluate(loaded, rest, head, progress=told).to_text()]
        if loaded.has_contact_head:
            lines += ["", evaluate(loaded, rest).to_text()]
    else:
        lines += ["no chain is left to score it on; `chains` fits to some and scores on the rest"]
    return "\n".join(lines)


@contextlib.contextmanager
def _bar(total: int, name: str, shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield what is told of each chain before its turn."""
    from tqdm import tqdm

    with tqdm(total=total, desc=name, unit="chain", disable=not shown, dynamic_ncols=True) as bar:

        def told(_: str) -> None:
            bar.update()

        yield told


class _Follower(Watch):
    """Pairs structures with proteins, and keeps the maps that are to be scored or drawn."""

    def __init__(self, structures: Sequence[Structure], kept: KeptMaps) -> None:
        self._pairing = Pairing(structures)
        self.pairs: list[tuple[Protein, Structure]] = []
        self.kept = kept
        self.look = self._pairing.look
        self.begin, self.add, self.end = kept.begin, kept.add, kept.end

    def ready(self) -> None:
        """Refuse structures that are of none of the proteins."""
        self.pairs = self._pairing.pairs()
        if self.kept.only is not None:
            self.kept.only.update(protein.id for protein, _ in self.pairs)


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
    InputError
        If a structure is of none of the proteins; nothing has been computed.
    """
    from esmkit.contacts.head import ContactHead

    streamed = is_stream(target)
    scores = target.with_suffix(".scores.tsv") if structures and not streamed else None
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
        nonlocal text
        if not streamed:
            run.say(f"wrote {target}")
        if structures:
            table = score_maps(maps(), watch.pairs)
            text = table.round(3).to_string()
            if scores is not None:
                write_table(scores, table.reset_index(), "tsv")
                run.say(f"wrote {scores}")
        if views is not None:
            from esmkit.contacts.on_structure import contacts_on_structures

            for sentence in contacts_on_structures(maps(), watch.pairs, views):
                run.say(sentence)
        if folder is not None:
            drawn = draw_maps(maps(), watch.pairs, folder, kind=kind)
            run.say(f"drew {len(drawn)} figure(s) in {folder}")
        run.then()

    with tempfile.TemporaryDirectory(prefix="esmkit-") as scratch:
        path = Path(scratch) / "maps" if streamed else scratch_file(target, "maps")
        kept = KeptMaps(path, None if folder is not None else set())
        watch = _Follower(structures, kept)
        contacts_file(
            model,
            sources,
            target,
            head_once,
            on_invalid=on_invalid,
            ids=ids,
            long=long,
            watch=watch,
            run=dataclasses.replace(run, then=finish),
            **options,
        )
    return text
