"""``esmkit heads`` from structures to a folder of tables, figures and a summary."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from esmkit.errors import OutputError
from esmkit.files.disk import disk_errors, through_links
from esmkit.files.names import check_folder
from esmkit.files.provenance import run_identity
from esmkit.files.run_options import Run
from esmkit.files.work_folder import ADDED, WorkFolder, tidy_up, was_finishing, work_folder_of
from esmkit.heads.atlas_file import Page, write_atlas
from esmkit.heads.made import (
    ABLATED,
    PAGES,
    REPEATS,
    TABLES,
    Made,
    add_to_folder,
    check_open,
    read_made,
    record,
    remove,
)
from esmkit.heads.measure_all import ABLATION_CHAINS, Measuring
from esmkit.heads.passes import advance, bar
from esmkit.heads.properties import Property, read_annotations, standard_properties
from esmkit.heads.replication import Second, check_second
from esmkit.heads.resume import chain_digest, held

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.result import HeadProfile
    from esmkit.structure import Structure

__all__ = ["ABLATION_CHAINS", "profile_to_folder"]

TO_COME = (
    "the ablation (what is lost without each head) is not done yet. What was measured so far is "
    "whole; the same run again goes on with the ablation and adds it."
)

Plan = Literal["new", "anew", "add", "close", "repeats", "loss"]
"""What is to be done with a folder: write it; write it over one that is unfinished; add the ablation
to what it holds; say that it stays without; add repeats, or the loss, that earlier versions lack."""


def profile_to_folder(
    model: "Callable[[], Encoder]",
    structures: "Callable[[], list[Structure]]",
    folder: Path,
    *,
    annotations: str | None = None,
    control: bool = True,
    ablation: bool = True,
    resamples: int = 2_000,
    seed: int = 0,
    kind: str = "png",
    replicate: "Callable[[], Second] | None" = None,
    atlas: Page | None = None,
    run: Run = Run(),  # noqa: B008 - frozen
) -> list[Path]:
    """Profile the heads of a model, look at their circuits, switch each off, and write it all.

    Tables, figures and summary appear, all at once, when the heads are profiled; the summary says
    that the ablation is still to come, which is then measured and added. What was measured of each
    chain, and without each head, goes to shards in ``<folder>.work``. A run that is stopped at any
    moment and started again goes on after its last shard, also with other options: what these do
    not change is taken from there. The result is the same to the last bit. A folder that was made
    without ablation gets one from the same run with it; nothing else is measured again.

    Parameters
    ----------
    model, structures : callable
        Called only after folder and annotations have been validated.
    folder : Path
        Made if need be; see :func:`esmkit.heads.report.summary.write_report` for what goes into it.
    annotations : str, optional
        A table for :func:`esmkit.heads.read_annotations`.
    control, resamples, seed
        Controls, bootstrap samples and their seed, as in :func:`esmkit.heads.profile`.
    ablation : bool
        Run :func:`esmkit.heads.ablation.ablate` on 20 chains, drawn with ``seed``.
    kind : {'png', 'svg', 'pdf'}
        Format of the figures.
    replicate : callable, optional
        Called like ``structures`` for a second set of chains, or its profile, on which to repeat
        what was found; see :func:`esmkit.heads.replication.replicate`.
    atlas : callable, optional
        Makes ``atlas.html``, such as :class:`esmkit.explorer.atlas.FolderAtlas`; called when the
        heads are profiled, and again when the ablation is there.
    run : Run
        How to treat what is there already, and whom to tell.

    Returns
    -------
    list of Path
        What the folder holds of this run.

    Raises
    ------
    InputError, OptionError, CheckpointError, OutputError, ResumeError, NonFiniteError
        One sentence with the remedy. What was measured before is kept.
    """
    check_open(folder, ablation, run)
    folder = through_links(folder)
    properties = standard_properties()
    if annotations is not None:
        properties += read_annotations(annotations)
    chains = structures()
    loaded = model()
    asked = {"control": control, "resamples": resamples, "seed": seed}
    measured = run_identity(
        "heads",
        checkpoint=loaded.checkpoint.sha256,
        dtype=str(loaded.dtype),
        device=loaded.device.type,
        settings={"chains": [f"{chain.id} {chain_digest(chain)}" for chain in chains]},
    )
    identity = {**measured, **asked, "annotations": _hash(annotations), "plot-format": kind}
    second = replicate() if replicate else None
    if second is not None:
        identity["replicate"] = check_second(loaded.checkpoint.to_dict(), chains, second)
    # as it reads from a file
    job = _Job(
        *(loaded, chains, properties, folder, json.loads(json.dumps(identity)), asked, kind, run),
        *(second, atlas),
    )
    made = read_made(folder)
    if made is not None and not run.restart and job.stopped_after(made, ablation=ablation):
        run.say(f"{folder} was complete: the run before was stopped just after writing it")
        tidy_up(folder, run.then)
        return job.written(made)
    job.plan(ablation=ablation)  # refuses before anything is made
    with disk_errors(folder):
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    begun = made is not None and (made.ablation == "not done yet" or job.lacks_repeats(made))
    work = WorkFolder(folder, measured, restart=run.restart, force=run.force or begun)
    try:
        return job.work(work, ablation=ablation)
    finally:
        work.close()


def _hash(annotations: str | None) -> str | None:
    return annotations and hashlib.sha256(Path(annotations).read_bytes()).hexdigest()


@dataclass
class _Job:
    """What is measured, with which options, for which folder."""

    model: "Encoder"
    chains: "list[Structure]"
    properties: list[Property]
    folder: Path
    identity: dict[str, Any]
    asked: dict[str, Any]
    kind: str
    run: Run
    second: "Second | None" = None
    atlas: Page | None = None

    @property
    def _measuring(self) -> Measuring:
        given = self.model, self.chains, self.properties, self.asked, self.run, self.second
        return Measuring(*given)

    def stopped_after(self, made: Made, *, ablation: bool) -> bool:
        """Tell whether the same run was stopped when all was in its place, with its work beside it."""
        added = (work_folder_of(self.folder) / ADDED).exists()
        moved = added if ablation else was_finishing(self.folder)
        wanted = "done" if ablation else "left out"
        same = made.identity == self.identity and made.ablation == wanted
        return moved and same and not (ablation and made.lacks_loss) and not made.changed()

    def written(self, made: Made) -> list[Path]:
        """Return the files of the folder."""
        return sorted(self.folder / name for name in (*made.files, "provenance.json"))

    def plan(self, *, ablation: bool) -> Plan:
        """Say what is to be done with the folder, or refuse to touch it."""
        made, run = read_made(self.folder), self.run
        begun = made is not None and made.ablation == "not done yet"
        if made is not None and made.identity == self.identity and not run.restart:
            if not begun and self.lacks_repeats(made):
                return self._whole(made, "repeats")
            if begun:
                return self._whole(made, "add" if ablation else "close")
            if ablation and made.ablation == "left out" and not run.force:
                return self._whole(made, "add")
            if ablation and made.lacks_loss and not run.force:
                return self._whole(made, "loss")
        if made is not None and begun and work_folder_of(self.folder).is_dir():
            return self._whole(made, "anew")
        check_folder(self.folder, "folder", force=run.force or was_finishing(self.folder))
        return "new"

    def lacks_repeats(self, made: Made) -> bool:
        """Tell whether an earlier version made the folder by the same run, without repeats."""
        same = made.identity == self.identity and not (self.run.force or self.run.restart)
        return same and REPEATS not in made.files

    def _whole(self, made: Made, plan: Plan) -> Plan:
        """Refuse to go on from tables, or to write over a report, that somebody has changed."""
        if plan == "anew":
            changed = [] if self.run.force else made.changed(missing=False)
        elif plan == "repeats" and was_finishing(self.folder):  # stopped while files were replaced
            changed = []
        elif work_folder_of(self.folder).is_dir():  # perhaps stopped while the pages were replaced
            changed = made.changed(TABLES)
        else:
            changed = made.changed((*TABLES, *PAGES, *([ABLATED] if plan == "loss" else [])))
        if changed:
            raise OutputError(
                f"{str(self.folder / changed[0])!r} is not as it was written, so that nothing can be "
                "added to it; name another folder with `folder`, or begin anew in it with "
                "`run=Run(force=True)` and `run=Run(restart=True)`"
            )
        return plan

    def work(self, work: WorkFolder, *, ablation: bool) -> list[Path]:
        """Do what is to be done, with the work folder locked."""
        plan, before = self.plan(ablation=ablation), read_made(self.folder)
        (work.folder / ADDED).unlink(missing_ok=True)
        if work.damaged:
            self.run.say(
                f"{work.damaged} damaged shard(s) found by checksum; they are computed anew"
            )
        if there := held(work):
            self.run.say(
                f"going on with the {there:,} measurements of chains and heads in {work.folder}"
            )
        if plan in ("new", "anew"):
            found = self._measuring.profiled(work)
            self._place(work, found, before, plan, more=ablation)
            if not ablation:
                return self.written(_made(self.folder))
        elif plan == "repeats":
            made = _made(self.folder)
            more = ablation and (made.ablation == "left out" or made.lacks_loss)
            found = self._with_repeats(work, made, more=more)
            if not more:
                return self.written(_made(self.folder))
        else:
            from esmkit.heads.reading import read_profile

            self.run.say(f"{self.folder} holds the profile; it is gone on from there")
            found = read_profile(self.folder)
        table = self._ablated(work, found) if ablation else None
        return self._add(work, found, table)

    def _ablated(self, work: WorkFolder, found: "HeadProfile") -> "pandas.DataFrame":
        """Switch each head off; where an earlier version did, add what that did not measure."""
        if not _made(self.folder).lacks_loss:
            return self._measuring.ablated(work, found)
        from esmkit.heads.reading import read_table

        self.run.say(f"{self.folder} holds an ablation without the masked-LM loss; it is added")
        return self._measuring.with_loss(work, found, read_table(self.folder / ABLATED))

    def _place(
        self,
        work: WorkFolder,
        found: "HeadProfile",
        before: Made | None,
        plan: Plan,
        *,
        more: bool,
    ) -> None:
        """Write tables, figures and summary, and let them appear together."""
        from esmkit.heads.circuits import circuits
        from esmkit.heads.report.files import figure_names
        from esmkit.heads.report.summary import write_report

        layers = self.model.layers
        with bar(layers, "circuits, against random heads", "layer", self.run) as shown:
            weights = circuits(self.model, progress=partial(advance, shown)).to_frame()
        staged = work.temporary()
        with (
            self._said(work),
            bar(len(figure_names(found)), "figures", "figure", self.run) as shown,
        ):
            write_report(
                found,
                staged,
                circuits=weights,
                kind=self.kind,
                unfinished=TO_COME if more else "",
                atlas=self.atlas is not None,
                progress=partial(advance, shown),
            )
            self._write_atlas(staged, found, circuits=weights)
            record(staged, self.identity, "not done yet" if more else "left out", {})
        if before is not None and plan == "anew":
            remove(before)
        written = work.finish_folder(self.run.then, more=more)
        if before is not None and plan == "new":  # written over, which is known to be wanted
            remove(before, kept=[path.relative_to(self.folder).as_posix() for path in written])
        if more:
            self.run.say(
                f"wrote tables, figures and summary in {self.folder}; the ablation is added to them"
            )

    def _with_repeats(self, work: WorkFolder, made: Made, *, more: bool) -> "HeadProfile":
        """Write the report anew with what repeats add to it; all else is read from the folder."""
        from esmkit.heads.reading import read_profile, read_table
        from esmkit.heads.report.files import figure_names
        from esmkit.heads.report.summary import write_report

        self.run.say(f"{self.folder} holds a profile without repeats; they are added")
        found = self._measuring.with_repeats(work, read_profile(self.folder))
        tables: dict[str, Any] = {
            name: read_table(self.folder / f"{name}.csv") if f"{name}.csv" in made.files else None
            for name in ("ablation", "circuits")
        }
        staged = work.temporary()
        count = len(figure_names(found, tables["ablation"]))
        with self._said(work), bar(count, "figures", "figure", self.run) as shown:
            told, page = partial(advance, shown), self.atlas is not None
            write_report(found, staged, **tables, kind=self.kind, atlas=page, progress=told)
            self._write_atlas(staged, found, **tables)
            record(staged, self.identity, made.ablation, {})
        work.note(ADDED)
        written = work.finish_folder(self.run.then, more=more)
        remove(made, kept=[path.relative_to(self.folder).as_posix() for path in written])
        return found

    def _add(
        self, work: WorkFolder, found: "HeadProfile", table: "pandas.DataFrame | None"
    ) -> list[Path]:
        """Add the ablation to the folder; without one, say in it no longer that one is to come."""
        from esmkit.heads.masked_loss import head_facts
        from esmkit.heads.report.files import ATLAS, NO_PARQUET, SHOWN, figure_names
        from esmkit.heads.report.summary import add_ablation

        made, staged, how = _made(self.folder), work.temporary(), found.provenance["compiled"]
        if table is not None and how != "in part" and work.compiled(how) != how:
            how = "in part"
        facts = {**found.provenance, "compiled": how, "command": self.run.command}
        if table is not None:
            facts["lm_head"] = head_facts(self.model)
        notes = [] if "effects.parquet" in made.files else [NO_PARQUET]
        drawn = [name for name in figure_names(found, table) if name in SHOWN]
        with self._said(work), bar(len(drawn), "figures", "figure", self.run) as shown:
            add_ablation(
                *(replace(found, provenance=facts), staged, table),
                kind=self.kind,
                notes=notes,
                atlas=self.atlas is not None or ATLAS in made.files,
                progress=partial(advance, shown),
            )
            self._write_atlas(staged, replace(found, provenance=facts), ablation=table)
            record(staged, self.identity, "left out" if table is None else "done", made.files)
        if table is not None:
            work.note(ADDED)
        add_to_folder(staged, made, force=self.run.force)
        self.run.then()
        if table is None and held(work):
            self.run.say(
                f"what was measured of the ablation stays in {work.folder}: the same with "
                "`ablation=True` goes on with it; delete that folder if it is not wanted"
            )
        else:
            work.remove()
        return self.written(_made(self.folder))

    def _write_atlas(self, staged: Path, found: "HeadProfile", **tables: Any) -> None:
        where = staged, self.folder, found, self.model, self.chains
        write_atlas(self.atlas, *where, **tables, say=self.run.say)

    @contextmanager
    def _said(self, work: WorkFolder) -> Iterator[None]:
        """Say where all that was measured is kept, if the report cannot be written."""
        try:
            yield
        except OutputError as error:
            cause = error.__cause__
            what = (isinstance(cause, OSError) and cause.strerror) or cause or error
            raise OutputError(
                f"cannot write the files of {str(self.folder)!r} ({what}); all is measured and kept "
                f"in {str(work.folder)!r}: make room or mend the cause, then run the same again"
            ) from error


def _made(folder: Path) -> Made:
    made = read_made(folder)
    if made is None:
        raise OutputError(
            f"{str(folder)!r} has been changed or removed meanwhile; run the same again"
        )
    return made
