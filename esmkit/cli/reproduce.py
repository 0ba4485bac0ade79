"""``esmkit reproduce``: published results beside what these weights and data give."""

from pathlib import Path

import click

from esmkit.cli.confidence import StructureReading, plddt_options
from esmkit.cli.options import (
    PATH,
    SEED,
    ModelChoice,
    lm_head_option,
    model_options,
    names_list,
    run_of,
)
from esmkit.cli.stopping import kept
from esmkit.cli.values import Command
from esmkit.text import visible_lines

__all__ = ["command"]


@click.command(
    "reproduce", cls=Command, short_help="Compare published results with what is measured here."
)
@click.option("--structures", type=PATH, help="Folder of PDB or mmCIF files. [default: TS50]")
@plddt_options
@click.option(
    "--chains-are",
    type=click.Choice(["other", "large-valid", "casp14", "cameo", "fusion"]),
    default="other",
    show_default=True,
    help="Published set that the structures are: fair-esm's three, or plm-contact-fusion's.",
)
@click.option(
    "--proteingym",
    type=PATH,
    help="Folder with DMS_substitutions.csv and the tables of its assays. [default: not run]",
)
@click.option("--only", callback=names_list, help="Only these: proteingym,head-L5H4.")
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="Write the table: .csv, .tsv, .md or .json. [default: printed only]",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of intervals and halves."
)
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@lm_head_option
@model_options
def command(
    structures: str | None,
    reading: StructureReading,
    chains_are: str,
    proteingym: str | None,
    only: tuple[str, ...] | None,
    output: str | None,
    seed: int,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Compare published results of ESM-2 with what these weights and data give.

    Prints a table: the published value, its own value with a 95 % interval, and a verdict.
    'reproduced' or 'differs' is said only of the published weights and data; with others a result is
    'not comparable', and what needs weights or files that are not here is 'not run'. Exits with 1 if
    a result differs. With --output a run that is stopped goes on where it was: all of ProteinGym
    takes hours on a CPU.

    \b
    Examples:
      esmkit reproduce
      esmkit reproduce --only head-L5H4,three-heads -o results.md
      esmkit reproduce --structures chains --only contacts-large-valid
      esmkit reproduce --proteingym proteingym --only proteingym -o proteingym.csv

    In Python:

    \b
      import esmkit
      esmkit.reproduce(esmkit.load(), only=["head-L5H4"]).to_frame()
    """
    from esmkit.files.outputs import is_stream
    from esmkit.published.to_file import reproduce_to_file

    run = run_of(force=force, restart=restart, quiet=quiet)
    path = None if output is None else Path(output)
    with kept(resumes=path is not None and not is_stream(path)):
        found = reproduce_to_file(
            model.load,
            lambda: reading.of_folder(structures),
            path,
            chains_are=chains_are,
            proteingym=proteingym,
            only=only or (),
            seed=seed,
            run=run,
        )
    if path is not None:
        run.say(f"wrote {output}")
    if found is not None:
        click.echo(visible_lines(found.to_text()), err=path is not None and is_stream(path))
        found.raise_if_differs()
