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
from esmkit.cli.values import Command, Group

if TYPE_CHECKING:
    from esmkit.heads.replication import Second

__all__ = ["command"]

SHIPPED = "shipped"
"""Names the second set of chains that comes with esmkit."""


class _Profile(Command, Group):
    """A command of its own, and a group of those about what it made."""

    command_class: type[click.Command] | None = Command


@click.group(
    "heads",
    cls=_Profile,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND [ARGS]...]",
    short_help="What each attention head looks at, with controls.",
)
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
@click.option(
    "--compare",
    type=PATH,
    help="A folder that this command wrote for another model, whose heads stand beside these in "
    "atlas.html.",
)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
@click.pass_context
def command(
    context: click.Context,
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
    compare: str | None,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Measure what each attention head looks at: contacts, helices, disulfides, amino acids, offsets.

    Writes tables (effects with backgrounds, intervals, corrected p values and controls; a line for
    each head with its label, also as table.csv, table.md and table.tex for a paper), figures, a
    one-page summary, and atlas.html: one page with all heads, to search, sort, filter and compare. With the 8M model and TS50 it takes some minutes. The folder appears when the
    heads are profiled; the ablation is added to it. A run that is stopped goes on where it was when
    the same command is given again, also with other options: what they do not change is not
    measured again. A folder made with --no-ablation gets one from the same command without it.

    \b
    Examples:
      esmkit heads
      esmkit heads --structures chains -o profile --no-ablation
      esmkit heads --annotations features.tsv -o with-features
      esmkit heads --replicate shipped -o replicated
      esmkit heads -m facebook/esm2_t12_35M_UR50D -o larger --compare heads

    In Python:

    \b
      import esmkit
      esmkit.heads.profile(esmkit.load(), esmkit.data.ts50()).heads
    """
    if context.invoked_subcommand is not None:
        _check_alone(context)
        return
    from esmkit.explorer.atlas import FolderAtlas
    from esmkit.heads.to_folder import profile_to_folder

    if replicate is not None:
        _check_second(replicate)
    run = run_of(force=force, restart=restart, quiet=quiet)
    atlas = FolderAtlas(compare, command=run.command)
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
            atlas=atlas,
            run=run,
        )
    run.say(f"wrote {len(written)} files in {output}; begin with {output}/summary.md")


def _check_alone(context: click.Context) -> None:
    """Refuse options of the profile where a command about a finished folder is asked for."""
    default = click.core.ParameterSource.DEFAULT
    given = [p for p in context.params if context.get_parameter_source(p) not in (None, default)]
    if given:
        raise click.UsageError(
            f"options of 'esmkit heads' have no meaning before {context.invoked_subcommand!r}; "
            "write those that it has after it",
            context,
        )


@command.command("atlas", short_help="Make atlas.html of a finished folder.")
@click.argument("folder", type=PATH)
@click.option(
    "--compare", type=PATH, help="A finished folder of another model, whose heads stand beside."
)
@click.option(
    "--structures",
    type=PATH,
    help="Folder of the chains that were profiled. [default: the 50 chains of TS50]",
)
@plddt_options
@click.option("--force", is_flag=True, help="Replace an atlas.html that was changed.")
@model_options
def atlas(
    folder: str,
    compare: str | None,
    structures: str | None,
    reading: StructureReading,
    force: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Make atlas.html of a folder that esmkit heads wrote, or make it anew beside another model.

    Nothing is measured again: tables are read, and the model is run on four chains for their links.
    Of the other folder tables are read, and matrices and links taken from its own atlas.html.

    \b
    Examples:
      esmkit heads atlas heads
      esmkit heads atlas larger --model facebook/esm2_t12_35M_UR50D --compare heads

    In Python:

    \b
      import esmkit
      esmkit.atlas("heads", model=esmkit.load()).save("atlas.html")
    """
    from esmkit.explorer.atlas import add_atlas

    run = run_of(force=force, quiet=quiet)
    made = add_atlas(
        folder,
        model.load,
        lambda: reading.of_folder(structures),
        compare=compare,
        run=run,
    )
    run.say(f"wrote {made} ({made.stat().st_size / 1e6:.1f} MB); open it in a browser")


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
