"""``esmkit score fit``: a masked-LM head for an encoder that has none."""

from pathlib import Path

import click

from esmkit.cli.options import (
    PATH,
    ModelChoice,
    batch_tokens_option,
    make_say,
    model_options,
    on_invalid_option,
)
from esmkit.cli.values import Command
from esmkit.cli.words import in_command_words
from esmkit.text import visible_lines

__all__ = ["fit"]

SEED = click.IntRange(0, 2**31 - 1)
"""Seed that NumPy and PyTorch take."""


@click.command("fit", cls=Command, short_help="Fit a masked-LM head to an encoder.")
@click.argument("fasta", nargs=-1, required=True, type=PATH, metavar="FASTA...")
@click.option(
    "--validation",
    multiple=True,
    type=PATH,
    metavar="FASTA",
    help="Proteins that decide when to stop; may be given several times. [default: up to 60 of "
    "FASTA, whose relatives are left out]",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    default="lm-head.safetensors",
    show_default=True,
    help="File to write.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="How often each protein is run, with other residues hidden.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="How often each hidden residue is learnt from at most.",
)
@click.option(
    "--name", default="fitted", show_default=True, help="Name of the head, which outputs record."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of all that is drawn.")
@on_invalid_option
@batch_tokens_option(1024)
@click.option("--force", is_flag=True, help="Overwrite an output that exists.")
@model_options
def fit(
    fasta: tuple[str, ...],
    validation: tuple[str, ...],
    output: str,
    draws: int,
    epochs: int,
    name: str,
    seed: int,
    on_invalid: str,
    batch_tokens: int,
    force: bool,
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Fit a masked-LM head to the last hidden states of an encoder, which stays as it is.

    Residues are hidden as in the training of ESM-2. Without --validation up to 60 proteins drawn at
    random are set apart, and all that are alike to one of them (local alignments) are left out; what
    is printed at the end is said of those. With it, that the two have no relatives in common is for
    you to see to. Give thousands of proteins of all kingdoms: a head that was fitted to one organism
    is worse than the frequencies of letters on others.

    \b
    Examples:
      esmkit score fit uniprot.fasta
      esmkit score fit uniprot.fasta --validation others.fasta -o head.safetensors
      esmkit score seqs.fasta --lm-head head.safetensors
    """
    from esmkit.score.fitting_to_file import fit_to_file

    say = make_say(quiet)
    text = fit_to_file(
        model.load,
        fasta,
        Path(output),
        validation=validation or None,
        force=force,
        options={
            "draws": draws,
            "epochs": epochs,
            "name": name,
            "seed": seed,
            "on_invalid": on_invalid,
            "batch_tokens": batch_tokens,
        },
        progress=say,
    )
    say(f"wrote {output}")
    click.echo(visible_lines(in_command_words(text)))
