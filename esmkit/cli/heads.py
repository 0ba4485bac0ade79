"""``esmkit heads``: what each attention head looks at, with controls."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from esmkit.cli.confidence import StructureReading, plddt_options
from esmkit.cli.options import (
    PATH,
    SEED,
    ModelChoice,
    make_say,
    model_options,
    run_of,
    structures_of,
)
from esmkit.cli.stopping import kept
from esmkit.cli.values import Command

if TYPE_CHECKING:
    from esmkit.heads.replication import Second

__all__ = ["command"]

SHIPPED = "shipped"
"""Names the second set of chains that comes with esmkit."""


@click.command("heads", cls=Command, short_help="What each attention head looks at, with controls.")
@click.option(
    "--structures",
    type=PATH,
    help="Folder of PDB or mmCIF files. [default: the 50 chains of TS50]",
)
@plddt_options
@click.option(
    "--annotations",
    type=PATH,
    help="Further properties: a table with columns id, start, end, feature (tab-separated).",
)
@click.option(
    "-o", "--output", type=PATH, default="heads", show_default=True, help="Folder to write."
)
@click.option(
    "--control/--no-control",
    default=True,
    show_default=True,
    help="Measure the same model with random weights as well.",
)
@click.option(
    "--ablation/--no-ablation",
    default=True,
    show_default=True,
    help="Switch each head off: what it does to contacts and embeddings (on 20 chains).",
)
@click.option(
    "--resamples",
    type=click.IntRange(100, 1_000_000),
    default=2000,
    show_default=True,
    help="Bootstrap samples of proteins.",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of bootstrap and random weights."
)
@click.option(
    "--plot-format",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Format of the figures.",
)
@click.option(
    "--replicate",
    type=PATH,
    help="A second set of chains, on which what was found is repeated: a folder of PDB or mmCIF "
    "files, one that this command wrote, or 'shipped' for 62 chains that come with esmkit.",
)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
def command(
    structures: str | None,
    reading: StructureReading,
    annotations: str | None,
    output: str,
    control: bool,
    ablation: bool,
    resamples: int,
    seed: int,
    plot_format: str,
    replicate: str | None,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Measure what each attention head looks at: contacts, helices, disulfides, amino acids, offsets.

    Writes tables (effects with backgrounds, intervals, corrected p values and controls; a line for
    each head with its label, also as table.csv, table.md and table.tex for a paper), figures and a
    one-page summary. With the 8M model and TS50 it takes some minutes. The folder appears when the
    heads are profiled; the ablation is added to it. A run that is stopped goes on where it was when
    the same command is given again, also with other options: what they do not change is not
    measured again. A folder made with --no-ablation gets one from the same command without it.

    \b
    Examples:
      esmkit heads
      esmkit heads --structures chains -o profile --no-ablation
      esmkit heads --annotations features.tsv -o with-features
      esmkit heads --replicate shipped -o replicated

    In Python:

    \b
      import esmkit
      esmkit.heads.profile(esmkit.load(), esmkit.data.ts50()).heads
    """
    from esmkit.heads.to_folder import profile_to_folder

    if replicate is not None:
        _check_second(replicate)
    run = run_of(force=force, restart=restart, quiet=quiet)
    with kept():
        written = profile_to_folder(
            model.load,
            lambda: reading.of_folder(structures),
            Path(output),
            annotations=annotations,
            control=control,
            ablation=ablation,
            resamples=resamples,
            seed=seed,
            kind=plot_format,
            replicate=None if replicate is None else lambda: _second(replicate),
            run=run,
        )
    run.say(f"wrote {len(written)} files in {output}; begin with {output}/summary.md")


def _check_second(where: str) -> None:
    """Refuse a second set that is not there before the first one is measured."""
    if where == SHIPPED or Path(where).is_dir():
        return
    from esmkit.errors import InputError
    from esmkit.text import did_you_mean, missing

    if not Path(where).exists() and (meant := did_you_mean(where, [SHIPPED])):
        raise InputError(f"there is no folder {where!r}{meant}")
    raise InputError(missing(where, "folder"))


def _second(where: str) -> "Second":
    """Return the chains, or the profile, on which findings are repeated."""
    from esmkit.data import replication
    from esmkit.heads.reading import read_profile

    if where == SHIPPED:
        return replication()
    if (Path(where) / "effects.csv").is_file():
        return read_profile(where)
    return structures_of(where, make_say(quiet=False))
