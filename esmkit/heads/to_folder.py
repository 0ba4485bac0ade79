"""``esmkit heads`` from structures to a folder of tables, figures and a summary."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.errors import OutputError
from esmkit.files.disk import disk_errors, through_links
from esmkit.files.names import check_folder
from esmkit.files.provenance import run_identity
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.task import Pending
from esmkit.files.work_folder import WorkFolder, finished_by_killed_run, tidy_up, was_finishing
from esmkit.heads.properties import Property, read_annotations, standard_properties
from esmkit.heads.resume import ShardKeeper

if TYPE_CHECKING:
    import pandas
    from tqdm import tqdm

    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.result import HeadProfile
    from esmkit.structure import Structure

__all__ = ["ABLATION_CHAINS", "profile_to_folder"]

SHARD_BYTES = 32 * 2**20
"""Size at which a shard of measurements is written."""

ABLATION_CHAINS = 20
"""Chains on which heads are switched off: each head takes a forward pass of its own over them."""


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
    run: Run = Run(),  # noqa: B008 - frozen
) -> list[Path]:
    """Profile the heads of a model, switch each off, look at its circuits, and write it all.

    What was measured of each chain, and without each head, goes to shards in ``<folder>.work``; a
    run that was killed and is started again goes on after its last shard, with the same result to
    the last bit. The files appear when all are written.

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
        Run :func:`esmkit.heads.ablation.ablate` on 20 chains, drawn with ``seed``, and
        :func:`esmkit.heads.refit.refit_without` on all.
    kind : {'png', 'svg', 'pdf'}
        Format of the figures.
    run : Run
        How to treat what is there already, and whom to tell.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    InputError, OptionError, CheckpointError, OutputError, ResumeError, NonFiniteError
        One sentence with the remedy. What was measured before is kept.
    """
    going_on = run.force or was_finishing(folder)
    check_folder(folder, "folder", force=going_on)
    folder = through_links(folder)
    properties = standard_properties()
    if annotations is not None:
        properties += read_annotations(annotations)
    chains = structures()
    loaded = model()
    asked = {"control": control, "ablation": ablation, "resamples": resamples, "seed": seed}
    identity = _identity(loaded, chains, annotations, {**asked, "plot-format": kind})
    if finished_by_killed_run(folder, identity) and not run.restart:
        run.say(f"{folder} was complete: the run before was stopped just after writing it")
        tidy_up(folder, run.then)
        return sorted(path for path in folder.rglob("*") if path.is_file())
    with disk_errors(folder):
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    work = WorkFolder(folder, identity, restart=run.restart, force=run.force)
    try:
        if not run.force:
            check_folder(folder, "folder", force=False)
        if work.damaged:
            run.say(f"{work.damaged} damaged shard(s) found by checksum; they are computed anew")
        with Pending(work, SHARD_BYTES) as pending, ShardReader(work.shard_of) as shards:
            keep = ShardKeeper(work, pending, shards, compiled=loaded.compiled)
            if keep.held:
                run.say(f"going on after {keep.held:,} measurements of chains and heads")
            found, switched_off = _measure(loaded, chains, properties, keep, run, **asked)
        how = {
            **found.provenance,
            **({"min_plddt": least} if (least := chains[0].min_plddt) is not None else {}),
            "compiled": work.compiled(loaded.compiled),
            "command": run.command,
        }
        _write(work, replace(found, provenance=how), switched_off, loaded, kind)
        return work.finish_folder(run.then)
    finally:
        work.close()


def _identity(
    model: "Encoder", chains: "list[Structure]", annotations: str | None, asked: dict[str, Any]
) -> dict[str, Any]:
    """Return everything that the files depend on."""
    table = annotations and hashlib.sha256(Path(annotations).read_bytes()).hexdigest()
    return run_identity(
        "heads",
        checkpoint=model.checkpoint.sha256,
        dtype=str(model.dtype),
        device=model.device.type,
        settings={
            "chains": [f"{chain.id} {_digest(chain)}" for chain in chains],
            "annotations": table,
            **asked,
        },
    )


def _digest(chain: "Structure") -> str:
    """Return what identifies the sequence and the coordinates of a chain."""
    found = hashlib.sha256(chain.sequence.encode())
    for values in (chain.backbone, chain.cb, chain.sg):
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _measure(
    model: "Encoder",
    chains: "list[Structure]",
    properties: list[Property],
    keep: ShardKeeper,
    run: Run,
    *,
    control: bool,
    ablation: bool,
    resamples: int,
    seed: int,
) -> "tuple[HeadProfile, pandas.DataFrame | None]":
    """Profile the heads of a model, and switch each off."""
    from tqdm import tqdm

    from esmkit.heads.ablation import ablate
    from esmkit.heads.profiling import profile
    from esmkit.heads.refit import refit_without
    from esmkit.heads.untrained import control_models

    def bar(total: int, name: str, unit: str) -> tqdm:
        return tqdm(total=total, desc=name, unit=unit, disable=not run.progress, dynamic_ncols=True)

    passes = 1 + (control_models(model) if control else 0)
    with bar(len(chains) * passes, "heads", "chain") as shown:
        found = profile(
            model,
            chains,
            properties=properties,
            control=control,
            resamples=resamples,
            seed=seed,
            progress=lambda _: _advance(shown),
            keep=keep,
        )
    for name, reason in found.left_out:
        run.say(f"left out: {name}: {reason}")
    if not ablation:
        return found, None
    used = [chain for chain in chains if chain.id in set(found.provenance["chains"])]
    order = np.random.default_rng(seed).permutation(len(used))[:ABLATION_CHAINS]
    some = [used[i] for i in sorted(order)]
    with bar(len(found.heads), "ablation", "head") as shown:
        told = partial(_advance, shown)
        without = ablate(model, some, seed=seed, progress=told, keep=keep)
    with bar(len(found.heads), "refit", "head") as shown:
        told = partial(_advance, shown)
        refitted = refit_without(model, used, seed=seed, progress=told, keep=keep)
    return found, without.merge(refitted, on=["name", "layer", "head"], how="left")


def _write(
    work: WorkFolder,
    found: "HeadProfile",
    switched_off: "pandas.DataFrame | None",
    model: "Encoder",
    kind: str,
) -> None:
    from esmkit.heads.circuits import circuits
    from esmkit.heads.report.summary import write_report

    weights = circuits(model).to_frame()
    try:
        write_report(found, work.temporary(), ablation=switched_off, circuits=weights, kind=kind)
    except OutputError as error:
        cause = error.__cause__
        what = (isinstance(cause, OSError) and cause.strerror) or cause or error
        raise OutputError(
            f"cannot write the files of {str(work.output)!r} ({what}); all is measured and kept in "
            f"{str(work.folder)!r}: make room or mend the cause, then run the same again"
        ) from error


def _advance(bar: "tqdm", _: str = "") -> None:
    bar.update()
