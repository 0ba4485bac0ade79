"""``esmkit contacts``: contact maps from attention; ``fit`` and ``evaluate`` on structures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from esmkit.cli.confidence import StructureReading, plddt_options
from esmkit.cli.options import (
    PATH,
    SEED,
    ModelChoice,
    batch_tokens_option,
    default_output,
    id_option,
    long_option,
    make_say,
    model_options,
    names_list,
    on_invalid_option,
    run_of,
    structures_of,
)
from esmkit.cli.stopping import kept
from esmkit.cli.values import Command, is_folder_for_figures, optional
from esmkit.cli.viewing import view_files, view_options
from esmkit.cli.words import in_command_words
from esmkit.text import visible_lines

if TYPE_CHECKING:
    from esmkit.contacts import ContactHead
    from esmkit.encoder.encoder import Encoder

__all__ = ["command"]


class _PredictByDefault(click.Group):
    """A group whose first word may be missing: then it is ``predict``."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["predict", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        inner = click.Context(self.commands["predict"], parent=ctx, info_name="predict")
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            return inner.command.shell_complete(inner, incomplete)
        # A shell completes files if no word is left; bash wants to be told of that first
        return [CompletionItem(incomplete, type="file"), *found]


def head_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what decides which attention heads make the map."""
    for option in (
        click.option(
            "--head-weights",
            type=PATH,
            help="Contact head written by `esmkit contacts fit`. [default: the checkpoint's own]",
        ),
        click.option(
            "--top",
            "top",
            type=click.IntRange(min=1),
            help="With --method heads: the best so many by long-range P@L/2 on TS50.",
        ),
        click.option(
            "--heads", callback=names_list, help="With --method heads: these, such as L5H4,L4H11."
        ),
        click.option(
            "--method",
            type=click.Choice(["regression", "heads"]),
            help="Contact head, or the mean of single heads. [default: heads if any are given]",
        ),
    ):
        function = option(function)
    return function


def _head_maker(
    method: str | None,
    heads: Sequence[str] | None,
    top: int | None,
    head_weights: str | None,
    say: Callable[[str], None],
) -> "Callable[[Encoder], ContactHead] | None":
    """Return what makes the contact head once there is a model."""
    named = heads is not None or top is not None
    by_heads = method == "heads" or (method is None and named)
    if named and not by_heads:
        raise click.UsageError("--heads and --top are for --method heads; leave --method out")
    if by_heads and head_weights:
        raise click.UsageError("--head-weights is a regression; leave --heads, --top or it out")
    if heads is not None and top:
        raise click.UsageError("give --heads, or --top to have them chosen, not both")
    if by_heads:

        def mean_of_heads(model: "Encoder") -> "ContactHead":
            from esmkit.contacts import ContactHead, best_heads, rank_heads
            from esmkit.data import ts50

            chosen = heads
            if chosen is None:
                count = top or 1
                say(f"choosing {count} head(s) by long-range P@L/2 on the 50 chains of TS50")
                chosen = best_heads(rank_heads(model, ts50()), count)
            return ContactHead.mean_of(model, chosen)

        return mean_of_heads
    if head_weights:

        def from_file(model: "Encoder") -> "ContactHead":
            from esmkit.contacts import ContactHead

            head = ContactHead.load(head_weights, model)
            fitted = head.provenance.get("checkpoint", {})
            if fitted.get("sha256") not in (None, model.checkpoint.sha256):
                say(
                    f"note: {head_weights} was fitted to {fitted.get('name')}, not to these weights"
                )
            return head

        return from_file
    return None


@click.group("contacts", cls=_PredictByDefault, short_help="Contact maps from attention.")
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
@view_options
@plddt_options
@head_options
@click.option(
    "--min-separation",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Leave closer pairs out of tsv and rr.",
)
@click.option(
    "--min-probability", type=float, help="Leave less likely pairs out of tsv and rr. [all kept]"
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
    on_structure: tuple[str, ...] | None,
    links: int | None,
    reading: StructureReading,
    method: str | None,
    heads: tuple[str, ...] | None,
    top: int | None,
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

    With --structure, maps are scored: precision of the top L, L/2 and L/5 pairs at short, medium
    and long range, printed and written to <stem>.contacts.scores.tsv. Without FASTA the sequence
    of the structure is used.

    \b
    Examples:
      esmkit contacts seqs.fasta
      esmkit contacts predict seqs.fasta --format rr
      esmkit contacts --structure 1ubi.pdb:A --plot
      esmkit contacts ubiquitin.fasta --structure 1ubi.pdb --on-structure pymol
      esmkit contacts seqs.fasta --heads L5H4 -o heads.h5
    """
    from esmkit.contacts.to_files import predict_to_files, sources_or_structures
    from esmkit.files.names import folder_beside
    from esmkit.files.outputs import is_stream
    from esmkit.text import parse_bytes

    say = make_say(quiet)
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
            _head_maker(method, heads, top, head_weights, say),
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
            max_bytes=parse_bytes(max_bytes),
            file_format=file_format,
            run=run_of(force=force, restart=restart, quiet=quiet),
        )
    if text:
        click.echo(visible_lines(in_command_words(text)), err=streamed)


@command.command("evaluate", short_help="Score a contact head, or every head, on structures.")
@click.option("--structures", type=PATH, help="Folder of PDB or mmCIF files. [default: TS50]")
@plddt_options
@head_options
@click.option("--each-head", is_flag=True, help="Score every attention head by itself instead.")
@click.option("-o", "--output", type=PATH, help="Write the table as CSV. [default: printed only]")
@click.option("--plot", type=PATH, help="Draw it to this file: .png, .svg or .pdf.")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@model_options
def evaluate(
    structures: str | None,
    reading: StructureReading,
    method: str | None,
    heads: tuple[str, ...] | None,
    top: int | None,
    head_weights: str | None,
    each_head: bool,
    output: str | None,
    plot: str | None,
    force: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Score a contact head on structures: means over chains with bootstrap intervals.

    \b
    Examples:
      esmkit contacts evaluate
      esmkit contacts evaluate --structures chains --head-weights head.json -o scores.csv
      esmkit contacts evaluate --each-head --plot heads.png
    """
    from esmkit.contacts.to_files import evaluate_to_files
    from esmkit.files.outputs import is_stream

    say = make_say(quiet)
    head = _head_maker(method, heads, top, head_weights, say)
    if each_head and (head is not None or method):
        raise click.UsageError("--each-head scores every head; leave other choices of heads out")
    text = evaluate_to_files(
        model.load,
        lambda: reading.of_folder(structures),
        head,
        each_head=each_head,
        output=Path(output) if output else None,
        plot=Path(plot) if plot else None,
        force=force,
        progress=not quiet,
    )
    click.echo(visible_lines(in_command_words(text)), err=output is not None and is_stream(output))


@command.command("fit", short_help="Fit a contact head to structures.")
@click.option("--structures", type=PATH, help="Folder of PDB or mmCIF files. [default: TS50]")
@click.option("--chains", type=click.IntRange(min=1), help="Take so many, drawn with --seed. [all]")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of the draw and the solver."
)
@click.option(
    "--inverse-penalty",
    type=float,
    default=0.15,
    show_default=True,
    help="C of the L1 penalty (0.15 in Rao et al. 2021); smaller leaves fewer heads.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default="contact-head.json",
    show_default=True,
    help="File to write.",
)
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
@model_options
def fit(
    structures: str | None,
    chains: int | None,
    seed: int,
    inverse_penalty: float,
    output: str,
    force: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Fit a contact head: L1 logistic regression on the maps of all heads (Rao et al. 2021).

    Chains that took no part are scored with it and with the checkpoint's own head.

    \b
    Examples:
      esmkit contacts fit --chains 20
      esmkit contacts fit --structures chains -o head.json
      esmkit contacts seqs.fasta --head-weights head.json
    """
    from esmkit.contacts.to_files import fit_to_file

    say = make_say(quiet)
    text = fit_to_file(
        model.load,
        lambda: structures_of(structures, make_say(quiet=False)),
        Path(output),
        chains=chains,
        seed=seed,
        inverse_penalty=inverse_penalty,
        force=force,
        progress=not quiet,
    )
    say(f"wrote {output}")
    click.echo(visible_lines(in_command_words(text)))
