"""``esmkit contacts``: contact maps from attention; ``fit`` and ``evaluate`` on structures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from esmkit.cli.confidence import StructureReading, plddt_options
from esmkit.cli.contact_heads import head_maker, head_options_beside_pairs, top_pairs
from esmkit.cli.evaluate import evaluate, fit
from esmkit.cli.options import (
    PATH,
    ModelChoice,
    batch_tokens_option,
    default_output,
    id_option,
    long_option,
    make_say,
    model_options,
    on_invalid_option,
    run_of,
)
from esmkit.cli.stopping import kept
from esmkit.cli.values import GroupWithDefault, is_folder_for_figures, optional
from esmkit.cli.viewing import view_files, view_options
from esmkit.cli.words import in_command_words
from esmkit.text import visible_lines

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["command"]


@click.group(
    "contacts",
    cls=GroupWithDefault,
    default="predict",
    short_help="Contact maps from attention.",
)
def command() -> None:
    """Predict contact maps from attention, score them on structures, or fit a contact head.

    \b
    Examples:
      esmkit contacts seqs.fasta
      esmkit contacts ubiquitin.fasta --structure 1ubi.pdb --plot
      esmkit contacts evaluate
      esmkit contacts fit --structures chains -o head.json
    """


@command.command("predict", short_help="Predict contacts (the word may be left out).")
@click.argument("fasta", nargs=-1, type=PATH, metavar="[FASTA]...")
@click.option(
    "-o", "--output", type=PATH, help="File to write; - for stdout. [<stem>.contacts.tsv]"
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["tsv", "rr", "npz", "h5"]),
    help="Pairs as a table or as CASP's RR, or whole maps. [default: what the name ends in, tsv]",
)
@click.option(
    "--structure",
    "structures",
    type=PATH,
    multiple=True,
    metavar="FILE[:CHAIN]",
    help="PDB or mmCIF to score and overlay; may be given several times.",
)
@optional(
    "--plot",
    without="",
    takes=is_folder_for_figures,
    default=None,
    metavar="[FOLDER]",
    help="Draw the map of each protein. [default: <stem>.contacts]",
)
@click.option(
    "--plot-format",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Format of the figures.",
)
@click.option("--mark", metavar="RESIDUES", help="Mark residues on figures, such as H59,H88.")
@click.option("--zoom", metavar="A-B", help="Draw this stretch only, such as 50-120.")
@click.option(
    "--domains",
    metavar="NAME:A-B,...|FILE",
    help="Strips on figures: kinase:10-120,SH2:130-200, or a table with name,start,end[,id].",
)
@view_options
@plddt_options
@head_options_beside_pairs
@click.option(
    "--top",
    callback=top_pairs,
    metavar="N|L|L/2",
    help="Only the strongest so many pairs of each protein in tsv and rr; L is its length. With "
    "--method heads alone a number chooses heads, as --top-heads does. [all kept]",
)
@click.option(
    "--residues",
    metavar="RESIDUES",
    help="Only pairs of these with any other residue in tsv, rr and figures: 59,88-92 or, of "
    "several proteins, P69905:59. Numbers count from 1 in the sequence. [all kept]",
)
@click.option(
    "--min-separation",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Leave closer pairs out of tsv and rr.",
)
@click.option(
    "--min-probability",
    type=float,
    help="Leave pairs with a lower score out of tsv and rr. [all kept]",
)
@click.option(
    "--max-bytes",
    default="10GB",
    show_default=True,
    help="Refuse outputs of about more than this, unless --force.",
)
@long_option
@on_invalid_option
@id_option
@batch_tokens_option(2048)
@click.option("--force", is_flag=True, help="Overwrite outputs, and exceed --max-bytes.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
def predict(
    fasta: tuple[str, ...],
    output: str | None,
    file_format: str | None,
    structures: tuple[str, ...],
    plot: str | None,
    plot_format: str,
    mark: str | None,
    zoom: str | None,
    domains: str | None,
    on_structure: tuple[str, ...] | None,
    links: int | None,
    reading: StructureReading,
    method: str | None,
    heads: tuple[str, ...] | None,
    top_heads: int | None,
    top: int | str | None,
    residues: str | None,
    head_weights: str | None,
    min_separation: int,
    min_probability: float | None,
    max_bytes: str,
    long: str,
    on_invalid: str,
    ids: tuple[str, ...],
    batch_tokens: int,
    force: bool,
    restart: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Predict the contacts of proteins (FASTA: plain, .gz, or - for standard input).

    Residues are numbered from 1 in the sequence that is given, in every output. With --structure
    the table has the numbers of its authors beside them, and maps are scored: precision of the top
    L, L/2 and L/5 pairs at short, medium and long range, printed and written to
    <stem>.contacts.scores.tsv. Without FASTA the sequence of the structure is used. The column
    probability is the contact head's score, 0 to 1, and no frequency; how often pairs of a score
    touch is what `esmkit contacts evaluate` shows.

    \b
    Examples:
      esmkit contacts seqs.fasta
      esmkit contacts predict seqs.fasta --format rr
      esmkit contacts --structure 1ubi.pdb:A --plot
      esmkit contacts ubiquitin.fasta --structure 1ubi.pdb --on-structure pymol
      esmkit contacts seqs.fasta --top L -o top.tsv
      esmkit contacts ubiquitin.fasta --residues 48,60-65 --mark K48 -o sites.tsv
      esmkit contacts seqs.fasta --heads L5H4 -o heads.h5
    """
    from esmkit.contacts.to_files import predict_to_files, sources_or_structures
    from esmkit.files.names import folder_beside
    from esmkit.files.outputs import is_stream
    from esmkit.text import parse_bytes

    say = make_say(quiet)
    if method == "heads" and heads is None and top_heads is None and isinstance(top, int):
        top_heads, top = top, None  # the name that --top-heads had before
    head = head_maker(method, heads, top_heads, head_weights, say, "--top-heads")
    loaded: list[Encoder] = []

    def model_once() -> "Encoder":
        if not loaded:
            loaded.append(model.load())
        return loaded[0]

    chains = reading.given(structures, say)
    streamed = output is not None and is_stream(output)
    with kept(not streamed), sources_or_structures(fasta, chains) as sources:
        suffix = f".contacts.{file_format or 'tsv'}"
        target = Path(output) if output else default_output(sources, suffix)
        if plot is None and (mark, zoom, domains) != (None, None, None):
            plot = ""  # they say what figures show
        folder = Path(plot) if plot else None
        beside = target
        if streamed and (plot == "" or on_structure):  # as if it were a file
            beside = default_output(sources, ".contacts.tsv")
        if plot == "":
            folder = folder_beside(beside)
        text = predict_to_files(
            model_once,
            sources,
            target,
            head,
            chains,
            folder=folder,
            kind=plot_format,
            on_invalid=on_invalid,  # type: ignore[arg-type]
            ids=ids or None,
            long=long,
            views=view_files(on_structure, links, beside),
            batch_tokens=batch_tokens,
            min_separation=min_separation,
            min_probability=min_probability,
            top=top,
            residues=residues,
            mark=mark,
            zoom=zoom,
            domains=domains,
            max_bytes=parse_bytes(max_bytes),
            file_format=file_format,
            run=run_of(force=force, restart=restart, quiet=quiet),
        )
    if text:
        click.echo(visible_lines(in_command_words(text)), err=streamed)


command.add_command(evaluate)
command.add_command(fit)
