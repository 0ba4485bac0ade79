"""``esmkit heads``: what each attention head looks at, with controls."""

from pathlib import Path

import click

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

__all__ = ["command"]


@click.command("heads", cls=Command, short_help="What each attention head looks at, with controls.")
@click.option(
    "--structures",
    type=PATH,
    help="Folder of PDB or mmCIF files. [default: the 50 chains of TS50]",
)
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
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
def command(
    structures: str | None,
    annotations: str | None,
    output: str,
    control: bool,
    ablation: bool,
    resamples: int,
    seed: int,
    plot_format: str,
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

    In Python:

    \b
      import esmkit
      esmkit.heads.profile(esmkit.load(), esmkit.data.ts50()).heads
    """
    from esmkit.heads.to_folder import profile_to_folder

    run = run_of(force=force, restart=restart, quiet=quiet)
    with kept():
        written = profile_to_folder(
            model.load,
            lambda: structures_of(structures, make_say(quiet=False)),
            Path(output),
            annotations=annotations,
            control=control,
            ablation=ablation,
            resamples=resamples,
            seed=seed,
            kind=plot_format,
            run=run,
        )
    run.say(f"wrote {len(written)} files in {output}; begin with {output}/summary.md")
