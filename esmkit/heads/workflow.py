"""``esmkit heads`` from structures to a folder of tables, figures and a summary."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from esmkit.figures import check_folder
from esmkit.heads.properties import read_annotations, standard_properties
from esmkit.runs import Say

if TYPE_CHECKING:
    from esmkit.model import Esm2
    from esmkit.structure import Structure

__all__ = ["ABLATION_CHAINS", "profile_to_folder"]

ABLATION_CHAINS = 20
"""Chains on which heads are switched off: each head is a forward pass of its own over all."""


def profile_to_folder(
    model: "Callable[[], Esm2]",
    structures: "Callable[[], list[Structure]]",
    folder: Path,
    *,
    annotations: str | None = None,
    control: bool = True,
    ablation: bool = True,
    resamples: int = 2_000,
    seed: int = 0,
    kind: str = "png",
    force: bool = False,
    progress: bool = False,
    say: Say = lambda text: None,
) -> list[Path]:
    """Profile the heads of a model, switch each off, look at its circuits, and write it all.

    Parameters
    ----------
    model, structures : callable
        Asked once what comes before has been found good.
    folder : Path
        Made if need be; see :func:`esmkit.heads.report.write_report` for what goes into it.
    annotations : str, optional
        A table for :func:`esmkit.heads.read_annotations`.
    control, resamples, seed
        As in :func:`esmkit.heads.profile`.
    ablation : bool
        Run :func:`esmkit.heads.ablation.ablate` on 20 chains, drawn with ``seed``.
    kind : {'png', 'svg', 'pdf'}
        Of the figures.
    force : bool
        Write into a folder that is not empty.
    progress : bool
        Show progress bars on standard error.
    say : callable
        Told what was left out, a sentence at a time.

    Returns
    -------
    list of Path
        What was written.
    """
    from tqdm import tqdm

    check_folder(folder, force=force)
    properties = standard_properties()
    if annotations is not None:
        properties += read_annotations(annotations)
    chains = structures()

    from esmkit.heads.ablation import ablate
    from esmkit.heads.circuits import circuits
    from esmkit.heads.control import control_models
    from esmkit.heads.profiling import profile
    from esmkit.heads.report import write_report

    loaded = model()

    def bar(total: int, name: str) -> tqdm:
        return tqdm(total=total, desc=name, unit="chain", disable=not progress, dynamic_ncols=True)

    passes = 1 + (control_models(loaded) if control else 0)
    with bar(len(chains) * passes, "heads") as shown:
        found = profile(
            loaded,
            chains,
            properties=properties,
            control=control,
            resamples=resamples,
            seed=seed,
            progress=lambda _: _advance(shown),
        )
    for name, reason in found.left_out:
        say(f"left out: {name}: {reason}")
    switched_off = None
    if ablation:
        used = [chain for chain in chains if chain.id in set(found.provenance["chains"])]
        order = np.random.default_rng(seed).permutation(len(used))[:ABLATION_CHAINS]
        some = [used[i] for i in sorted(order)]
        with tqdm(
            total=2 * len(found.heads), desc="ablation", unit="head", disable=not progress
        ) as shown:
            switched_off = ablate(loaded, some, seed=seed, progress=lambda _: _advance(shown))
    return write_report(
        found,
        folder,
        ablation=switched_off,
        circuits=circuits(loaded).to_frame(),
        kind=kind,
        force=force,
    )


def _advance(bar: object) -> None:
    bar.update()  # type: ignore[attr-defined]
