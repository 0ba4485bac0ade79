"""``esmkit embed``: FASTA in, embeddings out."""

from pathlib import Path

import click

from esmkit.cli.options import (
    PATH,
    ModelChoice,
    command_line,
    default_output,
    layer_list,
    make_say,
    model_options,
)
from esmkit.cli.stopping import kept

__all__ = ["command"]


@click.command("embed", short_help="Embed proteins of FASTA files.")
@click.argument("fasta", nargs=-1, type=PATH, required=True, metavar="FASTA...")
@click.option(
    "-o", "--output", type=PATH, help="File to write; - for CSV on stdout. [default: <stem>.h5]"
)
@click.option(
    "--per",
    type=click.Choice(["protein", "residue"]),
    default="protein",
    show_default=True,
    help="One vector per protein, or one per residue.",
)
@click.option(
    "--pool",
    type=click.Choice(["mean", "bos"]),
    default="mean",
    show_default=True,
    help="Mean over residues, or the BOS token (with --per protein).",
)
@click.option(
    "--layers",
    default="-1",
    show_default=True,
    callback=layer_list,
    help="Hidden states: 0 is the token embedding, N (or -1) the last layer; 0,3,6 or all.",
)
@click.option(
    "--long",
    type=click.Choice(["window", "whole", "truncate", "error"]),
    default="window",
    show_default=True,
    help="Over 1,022 residues: averaged windows, one pass, the beginning only, or an error.",
)
@click.option(
    "--on-invalid",
    type=click.Choice(["error", "replace", "skip"]),
    default="error",
    show_default=True,
    help="Unknown letters: stop, write X, or leave the record out and list it.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["h5", "parquet", "npz", "csv"]),
    help="Of the output. [default: what its name ends in; h5 without -o]",
)
@click.option(
    "--batch-tokens",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Most tokens in one forward pass; less memory with fewer.",
)
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
def command(
    fasta: tuple[str, ...],
    output: str | None,
    per: str,
    pool: str,
    layers: tuple[int, ...],
    long: str,
    on_invalid: str,
    file_format: str | None,
    batch_tokens: int,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Embed the proteins of FASTA files (plain, .gz, or - for standard input).

    A run that is stopped goes on where it was when the same command is given again.

    \b
    Examples:
      esmkit embed seqs.fasta
      esmkit embed seqs.fasta --per residue --layers 0,3,6 -o residues.h5
      esmkit embed a.fasta b.fasta.gz --format parquet -o all.parquet
      cat seqs.fasta | esmkit embed - --format csv -o - > seqs.csv

    Read it back with Python:

    \b
      import esmkit
      esmkit.read("seqs.h5").to_frame()
    """
    from esmkit.embed_fasta import embed_file
    from esmkit.policies import EmbedOptions

    target = Path(output) if output else default_output(fasta, f".{file_format or 'h5'}")
    with kept(output != "-"):
        embed_file(
            model.load,
            fasta,
            target,
            EmbedOptions(layers, per, pool, long, on_invalid, batch_tokens),  # type: ignore[arg-type]
            file_format=file_format,
            force=force,
            restart=restart,
            command=command_line(),
            progress=not quiet,
            say=make_say(quiet),
        )
    if output != "-":
        make_say(quiet)(f"wrote {target}")
