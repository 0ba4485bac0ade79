"""``esmkit contacts evaluate`` and ``fit``: contact heads on structures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from esmkit.cli.confidence import StructureReading, plddt_options
from esmkit.cli.contact_heads import head_maker, head_options
from esmkit.cli.options import PATH, SEED, ModelChoice, make_say, model_options
from esmkit.cli.values import Command
from esmkit.cli.words import in_command_words
from esmkit.text import visible_lines

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["evaluate", "fit"]


@click.command(
    "evaluate", cls=Command, short_help="Score a contact head, or every head, on structures."
)
@click.option("--structures", type=PATH, help="Folder of PDB or mmCIF files. [default: TS50]")
@plddt_options
@head_options
@click.option("--each-head", is_flag=True, help="Score every attention head by itself instead.")
@click.option(
    "--training-chains",
    type=click.Choice(["leave-out", "score"]),
    default="leave-out",
    show_default=True,
    help="Chains that the head was fitted to or chosen on, and their relatives.",
)
@click.option(
    "--length",
    type=click.Choice(["resolved", "full"]),
    default="resolved",
    show_default=True,
    help="L of P@L: the resolved residues of a chain, or all.",
)
@click.option("-o", "--output", type=PATH, help="Write the table as CSV. [default: printed only]")
@click.option("--plot", type=PATH, help="Draw it to this file: .png, .svg or .pdf.")
@click.option(
    "--calibration",
    type=PATH,
    multiple=True,
    help="Write how often pairs of a score touch (.csv, .tsv), or draw it (.png, .svg, .pdf); may "
    "be given several times.",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Seed of intervals and halves."
)
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
    training_chains: str,
    length: str,
    output: str | None,
    plot: str | None,
    calibration: tuple[str, ...],
    seed: int,
    force: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Score a contact head on structures: means over chains with bootstrap intervals.

    No chain is scored with a head that was fitted to it, or chosen on it: chains of --head-weights
    and their relatives (told by sequence) are left out, and with --top each half of TS50 is scored
    with the heads that are best on the other half. Another head than the checkpoint's own is
    compared with that one, chain by chain. A table shows how often pairs touch by their score. A
    score is no frequency: on TS50 72 % of the pairs over 0.9 touch.

    \b
    Examples:
      esmkit contacts evaluate
      esmkit contacts evaluate --top 3
      esmkit contacts evaluate --structures chains --head-weights head.json -o scores.csv
      esmkit contacts evaluate --calibration calibration.png
      esmkit contacts evaluate --each-head --plot heads.png
    """
    from esmkit.contacts.scores_to_files import evaluate_to_files
    from esmkit.files.outputs import is_stream

    say = make_say(quiet)
    head = head_maker(method, heads, top, head_weights, say)
    if each_head and (head is not None or method):
        raise click.UsageError("--each-head scores every head; leave other choices of heads out")
    best = None
    if head is not None and heads is None and not head_weights:
        best = top or 1  # --method heads without names

    def choose_on() -> "list[Structure]":
        from esmkit.data import ts50

        say(f"choosing {best} head(s) by long-range P@L/2 on the 50 chains of TS50, by halves")
        return ts50()

    text = evaluate_to_files(
        model.load,
        lambda: reading.of_folder(structures),
        None if best is not None else head,
        each_head=each_head,
        output=Path(output) if output else None,
        plot=Path(plot) if plot else None,
        force=force,
        progress=not quiet,
        best=best,
        choose_on=choose_on,
        calibration=[Path(path) for path in calibration],
        training_chains=training_chains,
        length=length,
        seed=seed,
    )
    click.echo(visible_lines(in_command_words(text)), err=output is not None and is_stream(output))


@click.command("fit", cls=Command, short_help="Fit a contact head to structures.")
@click.option("--structures", type=PATH, help="Folder of PDB or mmCIF files. [default: TS50]")
@plddt_options
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
    reading: StructureReading,
    chains: int | None,
    seed: int,
    inverse_penalty: float,
    output: str,
    force: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Fit a contact head: L1 logistic regression on the maps of all heads (Rao et al. 2021).

    Chains that took no part, and are no relatives of those that did, are scored with it and with the
    checkpoint's own head, and the two are compared chain by chain.

    \b
    Examples:
      esmkit contacts fit --chains 20
      esmkit contacts fit --structures chains -o head.json
      esmkit contacts seqs.fasta --head-weights head.json
    """
    from esmkit.contacts.scores_to_files import fit_to_file

    say = make_say(quiet)
    text = fit_to_file(
        model.load,
        lambda: reading.of_folder(structures),
        Path(output),
        chains=chains,
        seed=seed,
        inverse_penalty=inverse_penalty,
        force=force,
        progress=not quiet,
    )
    say(f"wrote {output}")
    click.echo(visible_lines(in_command_words(text)))
