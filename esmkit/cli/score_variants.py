"""``esmkit score variants``: how much likelier the model finds mutated proteins."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from esmkit.cli.confidence import StructureReading, plddt_options
from esmkit.cli.options import (
    PATH,
    ModelChoice,
    batch_tokens_option,
    default_output,
    id_option,
    lm_head_option,
    make_say,
    model_options,
    on_invalid_option,
    run_of,
)
from esmkit.cli.stopping import kept
from esmkit.cli.values import Command, is_folder_for_figures, optional
from esmkit.cli.words import in_command_words
from esmkit.text import visible_lines

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["variants"]

STRATEGIES = ("masked-marginals", "wt-marginals", "mutant-marginals", "pllr")


@click.command("variants", cls=Command, short_help="Scores of mutants.")
@click.argument("fasta", nargs=-1, type=PATH, metavar="[FASTA]...")
@click.option(
    "-o", "--output", type=PATH, help="File to write; - for stdout. [<stem>.variants.tsv]"
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["tsv", "csv", "parquet"]),
    help="Output format. [default: what the name ends in, tsv]",
)
@click.option(
    "--mutations",
    type=PATH,
    metavar="FILE|A24G,...",
    help="Table with a column mutant (CSV or TSV, also .gz; ProteinGym's as they are), a list with "
    "one variant a line, or variants themselves, separated by commas: A24G,L3P:K7R,p.Lys7del.",
)
@click.option("--all", "scan", is_flag=True, help="Every single substitution, 19 of each residue.")
@click.option("--mutant-column", metavar="COLUMN", help="Column of the mutations. [a usual name]")
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    default="masked-marginals",
    show_default=True,
    help="Log-probability of the new letter less the old one's with the site hidden, with nothing "
    "hidden, or in the mutant; or the difference of both pseudo-log-likelihoods (pllr), which takes "
    "insertions and deletions.",
)
@click.option(
    "--measured",
    metavar="COLUMN",
    help="Column of what was measured: Spearman with its interval, NDCG and top-decile recall, "
    "beside baselines, in <stem>.variants.measured.tsv.",
)
@click.option(
    "--lower-is-better", is_flag=True, help="Fitter variants have lower values in --measured."
)
@click.option(
    "--first-number",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Number that the mutations give to the first residue of the sequence.",
)
@optional(
    "--plot",
    without="",
    takes=is_folder_for_figures,
    default=None,
    metavar="[FOLDER]",
    help="Draw a heat map of each protein. [default: <stem>.variants]",
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
    help="PDB or mmCIF whose secondary structure figures show; may be given several times.",
)
@click.option("--mark", metavar="RESIDUES", help="Mark residues on figures, such as H59,H88.")
@click.option("--zoom", metavar="A-B", help="Draw this stretch only, such as 50-120.")
@click.option(
    "--domains",
    metavar="NAME:A-B,...|FILE",
    help="Strips on figures: kinase:10-120,SH2:130-200, or a table with name,start,end[,id].",
)
@plddt_options
@on_invalid_option
@id_option
@batch_tokens_option(16_384)
@click.option("--force", is_flag=True, help="Overwrite outputs.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@lm_head_option
@model_options
def variants(
    fasta: tuple[str, ...],
    output: str | None,
    file_format: str | None,
    mutations: str | None,
    scan: bool,
    mutant_column: str | None,
    strategy: str,
    measured: str | None,
    lower_is_better: bool,
    first_number: int,
    plot: str | None,
    plot_format: str,
    structures: tuple[str, ...],
    mark: str | None,
    zoom: str | None,
    domains: str | None,
    reading: StructureReading,
    on_invalid: str,
    ids: tuple[str, ...],
    batch_tokens: int,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Score variants of proteins by how much likelier the model finds them than the wild type.

    Over 0 the model finds a variant likelier. Residues are numbered from 1 in the sequence that is
    given; the wild-type letter is held against it. A variant of several substitutions is written
    A24G:K7R. What does not fit stops the run, or with --on-invalid skip is left out and listed.
    Without FASTA the wild type is taken from the mutated sequences of the table. A FASTA with
    several proteins needs --id, or a table with a column id.

    \b
    Examples:
      esmkit score variants ubiquitin.fasta --all --plot
      esmkit score variants ubiquitin.fasta --mutations K48R,I44A:K48R -o k48r.tsv
      esmkit score variants --mutations dms.csv --measured DMS_score
      esmkit score variants ubiquitin.fasta --mutations dms.csv --strategy pllr -o pllr.tsv
    """
    from esmkit.files.names import folder_beside
    from esmkit.files.outputs import is_stream
    from esmkit.score.variants.rows import stem_of_table
    from esmkit.score.variants.to_files import sources_or_table, variants_to_files

    if scan == (mutations is not None):
        raise click.UsageError("give either --mutations, or --all for every substitution")
    if lower_is_better and measured is None:
        raise click.UsageError(
            "--lower-is-better is about what was measured; name it with --measured"
        )
    given = "all" if mutations is None else mutations
    say = make_say(quiet)
    loaded: list[Encoder] = []

    def model_once() -> "Encoder":
        if not loaded:
            loaded.append(model.load())
        return loaded[0]

    chains = reading.given(structures, say)
    streamed = output is not None and is_stream(output)
    with kept(not streamed), sources_or_table(fasta, given, mutant_column) as sources:
        named = fasta or (stem_of_table(str(given)),)
        if output is not None:
            target = Path(output)
        else:
            target = default_output(named, f".variants.{file_format or 'tsv'}")
        if plot is None and (structures or (mark, zoom, domains) != (None, None, None)):
            plot = ""  # they say what figures show
        folder = Path(plot) if plot else None
        if plot == "":
            folder = folder_beside(
                target if not streamed else default_output(named, ".variants.tsv")
            )
        text = variants_to_files(
            model_once,
            sources,
            target,
            given,
            strategy=strategy,
            measured=measured,
            higher_is_better=not lower_is_better,
            mutant_column=mutant_column,
            first_number=first_number,
            structures=chains,
            folder=folder,
            kind=plot_format,
            mark=mark,
            zoom=zoom,
            domains=domains,
            on_invalid=on_invalid,
            ids=ids or None,
            batch_tokens=batch_tokens,
            file_format=file_format,
            run=run_of(force=force, restart=restart, quiet=quiet),
        )
    if text:
        click.echo(visible_lines(in_command_words(text)), err=streamed)
