"""``esmkit score proteins``: pseudo-perplexity, what is expected at each residue, figures."""

from pathlib import Path

import click

from esmkit.cli.options import (
    PATH,
    ModelChoice,
    batch_tokens_option,
    default_output,
    id_option,
    lm_head_option,
    long_option,
    model_options,
    on_invalid_option,
    run_of,
)
from esmkit.cli.stopping import kept
from esmkit.cli.values import Command, is_folder_for_figures, optional

__all__ = ["proteins"]


@click.command("proteins", cls=Command, short_help="Score proteins (the word may be left out).")
@click.argument("fasta", nargs=-1, type=PATH, metavar="FASTA...")
@click.option("-o", "--output", type=PATH, help="File to write; - for stdout. [<stem>.score.tsv]")
@click.option(
    "--per",
    type=click.Choice(["protein", "residue"]),
    help="One row per protein, or one per residue. [default: protein; residue for h5]",
)
@click.option(
    "--all-letters",
    is_flag=True,
    help="With --per residue, add the log-probability of each of the 20 amino acids.",
)
@click.option(
    "--one-pass",
    is_flag=True,
    help="Read each protein once with nothing hidden, for very many: the model then sees the "
    "residue it is asked for, and the table has one_pass_perplexity, another quantity.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["tsv", "csv", "parquet", "h5"]),
    help="A table, or the log-probabilities as arrays. [default: what the name ends in, tsv]",
)
@optional(
    "--plot",
    without="",
    takes=is_folder_for_figures,
    default=None,
    metavar="[FOLDER]",
    help="Draw the surprise along each protein, and a logo of what is expected. "
    "[default: <stem>.score]",
)
@click.option(
    "--plot-format",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Format of the figures.",
)
@click.option(
    "--structure",
    "structures",
    type=PATH,
    multiple=True,
    metavar="FILE[:CHAIN]",
    help="PDB or mmCIF of a protein: its secondary structure and numbers, on figures; may be given "
    "several times.",
)
@click.option("--mark", metavar="RESIDUES", help="Mark residues on figures, such as H59,H88.")
@click.option("--zoom", metavar="A-B", help="Draw this stretch only, such as 50-120.")
@click.option(
    "--domains",
    metavar="NAME:A-B,...|FILE",
    help="Strips on figures: kinase:10-120,SH2:130-200, or a table with name,start,end[,id].",
)
@long_option
@on_invalid_option
@id_option
@batch_tokens_option(16384)
@lm_head_option
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
def proteins(
    fasta: tuple[str, ...],
    output: str | None,
    per: str | None,
    all_letters: bool,
    one_pass: bool,
    file_format: str | None,
    plot: str | None,
    plot_format: str,
    structures: tuple[str, ...],
    mark: str | None,
    zoom: str | None,
    domains: str | None,
    long: str,
    on_invalid: str,
    ids: tuple[str, ...],
    batch_tokens: int,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Score the proteins of FASTA files (plain, .gz, or - for standard input).

    Each residue is hidden in turn, and the model says how likely each of the 20 amino acids is in
    its place: as many passes as there are residues. The pseudo-perplexity is exp of the mean of
    -log p of the residues that are there: 1 if all were foreseen, 20 for blind guessing. Surprise
    (-log2 p) and entropy are in bits; log_probability is the natural logarithm. Residues that are
    none of the 20 (X, B, U, Z, O) are left out of the means and counted. A run that is stopped goes
    on where it was when the same command is given again.

    \b
    Examples:
      esmkit score seqs.fasta
      esmkit score proteins seqs.fasta --per residue -o residues.tsv
      esmkit score proteome.fasta --one-pass
      esmkit score ubiquitin.fasta --plot --structure 1ubi.pdb --mark K48,K63
      esmkit score seqs.fasta --format h5
      cat seqs.fasta | esmkit score - -o - > scores.tsv

    Read it back with Python:

    \b
      import esmkit
      esmkit.read("seqs.score.tsv").to_frame()
    """
    from esmkit.attention.figure_options import FigureOptions
    from esmkit.files.names import folder_beside
    from esmkit.files.outputs import format_of_name, is_stream
    from esmkit.score.options import ScoreOptions

    if not fasta:
        raise click.UsageError("Missing argument 'FASTA...'.")
    arrays = (file_format or (output and format_of_name(output))) == "h5"
    options = ScoreOptions(
        per or ("residue" if arrays or all_letters else "protein"),  # type: ignore[arg-type]
        not one_pass,
        all_letters,
        long,  # type: ignore[arg-type]
        on_invalid,  # type: ignore[arg-type]
        batch_tokens,
    )
    target = Path(output) if output else default_output(fasta, f".score.{file_format or 'tsv'}")
    shown = {"mark": mark, "zoom": zoom, "domains": domains, "structure": structures or None}
    if plot is None and any(given is not None for given in shown.values()):
        plot = ""  # they say what figures show
    folder = Path(plot) if plot else None
    streamed = is_stream(target)
    if plot == "":
        folder = folder_beside(default_output(fasta, ".score.tsv") if streamed else target)
    figures = FigureOptions(kind=plot_format, **shown)

    from esmkit.score.to_figures import score_to_files

    with kept(not streamed):
        score_to_files(
            model.load,
            fasta,
            target,
            options,
            folder=folder,
            figures=figures,
            ids=ids or None,
            file_format=file_format,
            run=run_of(force=force, restart=restart, quiet=quiet),
        )
