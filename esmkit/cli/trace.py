"""``esmkit trace``: FASTA in, activations of the model out."""

from pathlib import Path

import click

from esmkit.cli.options import (
    PATH,
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
)
from esmkit.cli.stopping import kept
from esmkit.cli.values import Command

__all__ = ["command"]


def _edits(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str | float]:
    """Parse ``L4H7.output=zero`` and ``L4.residual[10:20]=0.5``."""
    found: dict[str, str | float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            number = "zero" if value.strip().lower() == "zero" else float(value)
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is not NAME=zero or NAME=number, such as L4H7.output=zero"
            ) from None
        found[name.strip()] = number
    return found


@click.command("trace", cls=Command, short_help="Read what the model computes inside, by name.")
@click.argument("fasta", nargs=-1, required=True, type=PATH, metavar="FASTA...")
@click.option("-o", "--output", type=PATH, help="File to write. [default: <stem>.trace.h5]")
@click.option(
    "--keep",
    required=True,
    callback=names_list,
    metavar="NAMES",
    help="What to keep: L5.residual,L5H4.output, or patterns such as L*.residual, or all.",
)
@click.option(
    "--edit",
    "edit",
    multiple=True,
    callback=_edits,
    metavar="NAME=VALUE",
    help="Put zero or a number in the place of an activation, of residues from 0 with "
    "L4H7.output[10:20]=zero; may be given several times.",
)
@click.option(
    "--store",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Precision in the file.",
)
@click.option(
    "--max-bytes",
    default="10GB",
    show_default=True,
    help="Refuse an output larger than this, unless --force.",
)
@long_option
@on_invalid_option
@id_option
@batch_tokens_option(2048)
@click.option("--force", is_flag=True, help="Overwrite the output, and exceed --max-bytes.")
@click.option("--restart", is_flag=True, help="Throw unfinished work away and begin anew.")
@model_options
def command(
    fasta: tuple[str, ...],
    output: str | None,
    keep: tuple[str, ...],
    edit: dict[str, str | float],
    store: str,
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
    """Read activations of the model on proteins (FASTA: plain, .gz, or - for standard input).

    Every step of the pass has a name. embedding; of layer 5 L5.attention_input, L5.query, L5.key,
    L5.value, L5.scores, L5.weights, L5.head_output, L5.attention_output, L5.attention_residual,
    L5.feed_forward_input, L5.feed_forward_hidden, L5.feed_forward_output and L5.residual; of its
    head 4 L5H4.output, L5H4.weights and so on; final; logits. Arrays have the residues in order,
    BOS and EOS apart. The size is said first. A run that is stopped goes on where it was when the
    same command is given again.

    \b
    Examples:
      esmkit trace seqs.fasta --keep L5.residual,L5H4.output
      esmkit trace seqs.fasta --keep "L*.residual" -o streams.h5
      esmkit trace seqs.fasta --keep final --edit L4H7.output=zero -o without.h5

    Read it back with Python:

    \b
      import esmkit
      esmkit.read("seqs.trace.h5")["P69905"]["L5.residual"]
    """
    from esmkit.inside.options import TraceOptions
    from esmkit.inside.to_file import trace_file
    from esmkit.text import parse_bytes

    say = make_say(quiet)
    target = Path(output) if output else default_output(fasta, ".trace.h5")
    options = TraceOptions(
        keep,
        edit or None,
        store,  # type: ignore[arg-type]
        long,  # type: ignore[arg-type]
        on_invalid,  # type: ignore[arg-type]
        batch_tokens,
    )
    with kept():
        trace_file(
            model.load,
            list(fasta),
            target,
            options,
            ids=ids or None,
            max_bytes=parse_bytes(max_bytes),
            run=run_of(
                force=force, restart=restart, quiet=quiet, then=lambda: say(f"wrote {target}")
            ),
        )
