"""``esmkit explore``: an interactive page about the attention of a protein."""

from pathlib import Path

import click

from esmkit.cli.options import (
    ModelChoice,
    attention_layers_option,
    heads_option,
    id_option,
    long_option,
    make_say,
    model_options,
    on_invalid_option,
    run_of,
)
from esmkit.cli.streams import at_terminal
from esmkit.cli.values import Command

__all__ = ["command"]


@click.command(
    "explore", cls=Command, short_help="Make an interactive page about a protein's attention."
)
@click.argument("fasta", nargs=-1, metavar="[FASTA]...")
@click.option("-o", "--output", help="Page to write, or folder for several. [default: <stem>.html]")
@click.option(
    "--structure",
    metavar="FILE[:CHAIN]",
    help="PDB or mmCIF of the protein: true contacts, distances, secondary structure, scores.",
)
@click.option(
    "--profile",
    type=click.Path(),
    metavar="FOLDER",
    help="What `esmkit heads` wrote: names and colours the heads.",
)
@heads_option
@attention_layers_option
@long_option
@on_invalid_option
@id_option
@click.option(
    "--max-bytes",
    default="60MB",
    show_default=True,
    help="Largest size of a page; of longer chains and larger models it shows as many heads as fit.",
)
@click.option(
    "--live",
    is_flag=True,
    help="Put the model into the page: it runs there, offline, on any sequence that a reader types.",
)
@click.option(
    "--live-bits",
    type=click.Choice(["16", "8"]),
    default="16",
    show_default=True,
    help="Size of a weight in a live page; 8 halves the page and is less exact.",
)
@click.option("--force", is_flag=True, help="Overwrite outputs, and make more than 20 pages.")
@model_options
def command(
    fasta: tuple[str, ...],
    output: str | None,
    structure: str | None,
    profile: str | None,
    heads: tuple[str, ...] | None,
    layers: tuple[int, ...],
    long: str,
    on_invalid: str,
    ids: tuple[str, ...],
    max_bytes: str,
    live: bool,
    live_bits: str,
    force: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Make a page on which the attention of a protein can be walked through (FASTA: plain, .gz, -).

    One HTML file that opens in any browser without a network: the grid of heads, the map of each,
    its strongest links along the sequence, predicted and true contacts, and every step from query
    to residual stream. Without FASTA the sequence of the structure is used; without either, on a
    terminal, the demo protein with its structure. With --live the page holds the model and runs it
    on what a reader types, pastes or mutates. Needs Bokeh: pip install "esmkit[explorer]".

    \b
    Examples:
      esmkit explore --structure 1ubi.pdb
      esmkit explore ubiquitin.fasta --structure 1ubi.pdb:A --profile heads
      esmkit explore seqs.fasta --heads L5H4,L5H10 -o pages
      esmkit explore --live --structure 1ubi.pdb -o live.html

    In Python, shown inline in Jupyter:

    \b
      import esmkit
      esmkit.explore(esmkit.load(), esmkit.data.demo_proteins()[0])
    """
    from esmkit.explorer.to_files import explore_to_files
    from esmkit.text import parse_bytes

    if not fasta and structure is None:
        if not at_terminal():
            raise click.UsageError("name a FASTA file, - for standard input, or a --structure")
        from esmkit.data import demo_structure, ubiquitin_fasta

        make_say(quiet=False)("no FASTA given: using the demo protein, ubiquitin (1UBI_A)")
        fasta, structure = (str(ubiquitin_fasta()),), str(demo_structure().path)
    explore_to_files(
        model.load,
        fasta,
        Path(output) if output else None,
        structure=structure,
        profile=profile,
        heads=heads,
        layers=layers,
        long=long,  # type: ignore[arg-type]
        on_invalid=on_invalid,  # type: ignore[arg-type]
        ids=ids or None,
        live=live,
        live_bits=int(live_bits),
        max_bytes=parse_bytes(max_bytes),
        run=run_of(force=force, quiet=quiet),
    )
