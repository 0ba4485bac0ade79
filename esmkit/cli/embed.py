"""``esmkit embed``: FASTA in, embeddings out."""

from pathlib import Path
from typing import Any

import click

from esmkit.cli.options import (
    PATH,
    ModelChoice,
    batch_tokens_option,
    default_output,
    id_option,
    layer_list,
    long_option,
    model_options,
    on_invalid_option,
    run_of,
)
from esmkit.cli.ray import embed_on_ray, ray_options, read_dataset, refuse_ray_options
from esmkit.cli.stopping import kept
from esmkit.cli.values import Command

__all__ = ["command"]


@click.command("embed", cls=Command, short_help="Embed proteins of FASTA files.")
@click.argument("fasta", nargs=-1, type=PATH, metavar="FASTA...")
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="File to write; - for CSV on stdout; with --engine ray a folder. "
    "[default: <stem>.h5, or the folder <stem>]",
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
@long_option
@on_invalid_option
@id_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["h5", "parquet", "npz", "csv"]),
    help="Output format, whatever the output is called. [default: by its name; h5 without -o]",
)
@batch_tokens_option(4096)
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@ray_options
@model_options
def command(
    fasta: tuple[str, ...],
    output: str | None,
    per: str,
    pool: str,
    layers: tuple[int, ...],
    long: str,
    on_invalid: str,
    ids: tuple[str, ...],
    file_format: str | None,
    batch_tokens: int,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
    **ray: Any,
) -> None:
    """Embed the proteins of FASTA files (plain, .gz, or - for standard input).

    A run that is stopped goes on where it was when the same command is given again.

    \b
    Examples:
      esmkit embed seqs.fasta
      esmkit embed seqs.fasta --per residue --layers 0,3,6 -o residues.h5
      esmkit embed a.fasta b.fasta.gz --format parquet -o all.parquet
      cat seqs.fasta | esmkit embed - --format csv -o - > seqs.csv
      esmkit embed seqs.fasta --engine ray --num-workers 2 -o embeddings
      esmkit embed --check embeddings
      esmkit embed --merge embeddings -o merged.h5

    Read it back with Python:

    \b
      import esmkit
      esmkit.read("seqs.h5").to_frame()
    """
    from esmkit.embeddings.options import EmbedOptions

    given = EmbedOptions(layers, per, pool, long, on_invalid, batch_tokens)  # type: ignore[arg-type]
    if ids and (ray["engine"] == "ray" or ray["check"] is not None or ray["merge"] is not None):
        raise click.UsageError(
            "--id is for --engine local, without --check or --merge; leave it out, or put these "
            "records in a FASTA file of their own"
        )
    if read_dataset(ray, fasta, output, file_format, force=force, quiet=quiet):
        return
    run = run_of(force=force, restart=restart, quiet=quiet)
    if not fasta:
        raise click.UsageError("Missing argument 'FASTA...'.")
    if ray["engine"] == "ray":
        if file_format not in (None, "parquet"):
            raise click.UsageError(
                "--engine ray writes a folder of Parquet files; --merge makes another format of it"
            )
        target = output or str(default_output(fasta, ""))
        with kept():
            embed_on_ray(
                ray,
                fasta,
                target,
                given,
                model=model.name,
                device=model.device,
                dtype=model.dtype,
                compiled=model.compiled,
                run=run,
            )
        run.say(f"wrote {target}")
        return
    refuse_ray_options(ray)

    from esmkit.embeddings.to_file import embed_file
    from esmkit.files.outputs import is_stream

    target = Path(output) if output else default_output(fasta, f".{file_format or 'h5'}")
    streamed = is_stream(target)
    with kept(not streamed):
        embed_file(
            model.load,
            fasta,
            target,
            given,
            ids=ids or None,
            file_format=file_format,
            run=run,
        )
    if not streamed:
        run.say(f"wrote {target}")
