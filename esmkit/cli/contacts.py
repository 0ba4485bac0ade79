"""``esmkit contacts``: contact maps from attention; ``fit`` and ``evaluate`` on structures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

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


def top_heads_option(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the option for how many heads are chosen."""
    return click.option(
        *names,
        type=click.IntRange(min=1),
        help="With --method heads: the best so many by long-range P@L/2 on TS50.",
    )


def top_pairs(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> "int | str | None":
    """Parse ``100``, ``L`` or ``L/2``."""
    from esmkit.contacts.top import parse_top
    from esmkit.errors import OptionError

    if text is None:
        return None
    if text.isdecimal() and not int(text):
        raise click.BadParameter(f"{text} is not in the range x>=1.")
    try:
        parse_top(text)
    except OptionError as error:
        raise click.BadParameter(str(error)) from None
    return int(text) if text.isdecimal() else text


def _head_maker(
    method: str | None,
    heads: Sequence[str] | None,
    top: int | None,
    head_weights: str | None,
    say: Callable[[str], None],
    option: str = "--top",
) -> "Callable[[Encoder], ContactHead] | None":
    """Return what makes the contact head once there is a model."""
    named = heads is not None or top is not None
    by_heads = method == "heads" or (method is None and named)
    if named and not by_heads:
        raise click.UsageError(f"--heads and {option} are for --method heads; leave --method out")
    if by_heads and head_weights:
        raise click.UsageError(f"--head-weights is a regression; leave --heads, {option} or it out")
    if heads is not None and top:
        raise click.UsageError(f"give --heads, or {option} to have them chosen, not both")
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
@head_options
@top_heads_option("--top-heads")
@click.option(
    "--top",
    callback=top_pairs,
    metavar="N|L|L/2",
    help="Only the strongest so many pairs of each protein in tsv and rr; L is its length. With "
    "--method heads alone a number chooses heads, as --top-heads does. [all kept]",
)
@click.option(
    "--residues",
    metavar="SITES",
    help="Only pairs of these residues with any other in tsv and rr, such as 59,88-92; of several "
    "proteins ID:59,88-92. Numbers count from 1 in the sequence. [all kept]",
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
    <stem>.contacts.scores.tsv. Without FASTA the sequence of the structure is used.

    \b
    Examples:
      esmkit contacts seqs.fasta
      esmkit contacts predict seqs.fasta --format rr
      esmkit contacts --structure 1ubi.pdb:A --plot
      esmkit contacts seqs.fasta --top L
      esmkit contacts seqs.fasta --residues 59,88-92
      esmkit contacts seqs.fasta --heads L5H4 -o heads.h5
    """
    from esmkit.contacts.to_files import predict_to_files, read_chains, sources_or_structures
    from esmkit.files.names import folder_beside
    from esmkit.files.outputs import is_stream
    from esmkit.text import parse_bytes

    say = make_say(quiet)
    if method == "heads" and heads is None and top_heads is None and isinstance(top, int):
        top_heads, top = top, None  # the name that --top-heads had before
    head = _head_maker(method, heads, top_heads, head_weights, say, "--top-heads")
    loaded: list[Encoder] = []

    def model_once() -> "Encoder":
        if not loaded:
            loaded.append(model.load())
        return loaded[0]

    chains = read_chains(structures, say)
    streamed = output is not None and is_stream(output)
    with kept(not streamed), sources_or_structures(fasta, chains) as sources:
        suffix = f".contacts.{file_format or 'tsv'}"
        target = Path(output) if output else default_output(sources, suffix)
        folder = Path(plot) if plot else None
        if plot == "":  # beside the output, or as if it were a file
            folder = folder_beside(default_output(sources, ".contacts.tsv") if streamed else target)
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
            batch_tokens=batch_tokens,
            min_separation=min_separation,
            min_probability=min_probability,
            top=top,
            residues=residues,
            max_bytes=parse_bytes(max_bytes),
            file_format=file_format,
            run=run_of(force=force, restart=restart, quiet=quiet),
        )
    if text:
        click.echo(visible_lines(in_command_words(text)), err=streamed)


@command.command("evaluate", short_help="Score a contact head, or every head, on structures.")
@click.option("--structures", type=PATH, help="Folder of PDB or mmCIF files. [default: TS50]")
@head_options
@top_heads_option("--top", "--top-heads", "top")
@click.option("--each-head", is_flag=True, help="Score every attention head by itself instead.")
@click.option("-o", "--output", type=PATH, help="Write the table as CSV. [default: printed only]")
@click.option("--plot", type=PATH, help="Draw it to this file: .png, .svg or .pdf.")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@model_options
def evaluate(
    structures: str | None,
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
        lambda: structures_of(structures, make_say(quiet=False)),
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
