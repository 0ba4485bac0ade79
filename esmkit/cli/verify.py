"""``esmkit verify``: esmkit against Hugging Face and the encoder written from scratch."""

import json
from typing import Any

import click

from esmkit.cli.options import (
    PATH,
    ModelChoice,
    id_option,
    lm_head_option,
    make_say,
    model_options,
    on_invalid_option,
)
from esmkit.cli.values import Command
from esmkit.text import visible_lines

__all__ = ["command"]


@click.command(
    "verify", cls=Command, short_help="Compare esmkit with Hugging Face and the reference."
)
@click.argument("fasta", type=PATH, required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@on_invalid_option
@id_option
@lm_head_option
@model_options
def command(
    fasta: str | None,
    as_json: bool,
    on_invalid: str,
    ids: tuple[str, ...],
    model: ModelChoice,
    quiet: bool,
) -> None:
    """Compare esmkit with Hugging Face and with an encoder written from scratch.

    Hidden states, attention maps and contact maps are compared; with a masked-LM head its logits too,
    and with fair-esm where it is installed. Without FASTA the demo proteins are used. Prints a table of the largest differences and where
    they are; exits with 1 if one is over its tolerance.

    \b
    Examples:
      esmkit verify
      esmkit verify mine.fasta --model facebook/esm2_t12_35M_UR50D --json
    """
    from esmkit.data import demo_fasta
    from esmkit.errors import InputError
    from esmkit.sequences.proteins import read_fasta
    from esmkit.sequences.report import InputReport
    from esmkit.sequences.windows import MAX_RESIDUES

    say = make_say(quiet)
    report = InputReport()
    rule: Any = on_invalid
    source = fasta or demo_fasta()
    proteins = list(read_fasta(source, on_invalid=rule, ids=ids or None, report=report))
    if not proteins:
        raise InputError(report.nothing_left())
    report.truncated = sum(len(protein) > MAX_RESIDUES for protein in proteins)
    if fasta is None:
        say(f"no FASTA given: using the {len(proteins)} demo proteins")
    for line in report.lines():
        say(line)
    loaded = model.load()

    from esmkit.reference.verification import verify

    result = verify(loaded, proteins, progress=lambda text: say(f"comparing {text}"))
    click.echo(
        json.dumps(result.to_dict(), indent=2) if as_json else visible_lines(result.to_text())
    )
    result.raise_if_failed()
