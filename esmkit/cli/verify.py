"""``esmkit verify``: esmkit against Hugging Face and the encoder written from scratch, or a file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from esmkit.cli.words import in_command_words
from esmkit.text import Say, visible_lines

if TYPE_CHECKING:
    from esmkit.sequences.proteins import Protein

__all__ = ["command"]


@click.command(
    "verify", cls=Command, short_help="Compare esmkit, or anybody's embeddings, with the model."
)
@click.argument("fasta", type=PATH, required=False)
@click.option(
    "--against",
    type=PATH,
    metavar="FILE",
    help="Somebody's embeddings of the same proteins, a file or a folder of .pt files: are they this "
    "model's, or what happened?",
)
@click.option(
    "--layer",
    type=int,
    help="With --against: the hidden state that FILE should hold, 0 to N or negative; by default "
    "what it says, or the last.",
)
@click.option(
    "--pool",
    type=click.Choice(["mean", "bos"]),
    help="With --against: the pooling that FILE should have; by default what it says, or the mean.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="With --against: write a table with a row for each record, .csv or .tsv.",
)
@click.option("--force", is_flag=True, help="Overwrite the output.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@on_invalid_option
@id_option
@lm_head_option
@model_options
def command(
    fasta: str | None,
    against: str | None,
    layer: int | None,
    pool: str | None,
    output: str | None,
    force: bool,
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

    With --against, somebody's embeddings of the same FASTA are compared with the model instead: HDF5,
    npz, npy, Parquet, CSV, safetensors or .pt, per protein or per residue. Says SAME, or DIFFERS and
    what happened (another layer, special tokens in the mean, cut sequences, shuffled IDs, other
    weights ...), or NOT KNOWN and what was tried; exits with 1 unless it is the same. Without FASTA
    the sequences in FILE are used, or the demo proteins.

    \b
    Examples:
      esmkit verify
      esmkit verify mine.fasta --model facebook/esm2_t12_35M_UR50D --json
      esmkit verify seqs.fasta --against theirs.h5
      esmkit verify seqs.fasta --against theirs.csv --layer 5 -o records.tsv
    """
    say = make_say(quiet)
    if against is not None:
        _compare(against, fasta, layer, pool, output, force, as_json, on_invalid, ids, model, say)
        return
    given = {"--layer": layer, "--pool": pool, "--output": output, "--force": force or None}
    for name, value in given.items():
        if value is not None:
            raise click.UsageError(f"{name} is for --against FILE; name the file to be checked")
    proteins = _proteins(fasta, on_invalid, ids, say)
    loaded = model.load()

    from esmkit.reference.verification import verify

    result = verify(loaded, proteins, progress=lambda text: say(f"comparing {text}"))
    click.echo(
        json.dumps(result.to_dict(), indent=2) if as_json else visible_lines(result.to_text())
    )
    result.raise_if_failed()


def _proteins(
    fasta: str | None, on_invalid: str, ids: tuple[str, ...], say: Say, *, cut: bool = True
) -> "list[Protein]":
    """Read the FASTA, or the demo proteins, and say what was done to it."""
    from esmkit.data import demo_fasta
    from esmkit.errors import InputError
    from esmkit.sequences.proteins import read_fasta
    from esmkit.sequences.report import InputReport
    from esmkit.sequences.windows import MAX_RESIDUES

    report = InputReport()
    rule: Any = on_invalid
    source = fasta or demo_fasta()
    proteins = list(read_fasta(source, on_invalid=rule, ids=ids or None, report=report))
    if not proteins:
        raise InputError(report.nothing_left())
    if cut:
        report.truncated = sum(len(protein) > MAX_RESIDUES for protein in proteins)
    if fasta is None:
        say(f"no FASTA given: using the {len(proteins)} demo proteins")
    for line in report.lines():
        say(line)
    return proteins


def _compare(
    against: str,
    fasta: str | None,
    layer: int | None,
    pool: str | None,
    output: str | None,
    force: bool,
    as_json: bool,
    on_invalid: str,
    ids: tuple[str, ...],
    model: ModelChoice,
    say: Say,
) -> None:
    """Say what somebody's embeddings are."""
    from esmkit.against.reading import read_given
    from esmkit.files.disk import check_output
    from esmkit.files.tables import write_table

    if output is not None:
        check_output(Path(output), force=force)
    given = read_given(against)  # what cannot be read is refused before the weights are loaded
    own = fasta is None and bool(given.sequences) and not ids
    if given.close is not None:
        given.close()
    del given  # it may hold every array, and the file is read again
    proteins = None if own else _proteins(fasta, on_invalid, ids, say, cut=False)
    loaded = model.load()

    from esmkit.against.check import compare, texts_of

    texts = None
    if proteins is not None and fasta is not None and fasta != "-":
        texts = texts_of(fasta, proteins)
    result = compare(loaded, against, proteins, texts, layer=layer, pool=pool, progress=say)
    if output is not None:
        kind = "tsv" if output.lower().endswith((".tsv", ".txt")) else "csv"
        write_table(Path(output), result.to_frame(), kind)
    lines = visible_lines(result.to_text()).split("\n")
    said = [in_command_words(one) if one.startswith("  remedy:") else one for one in lines]
    click.echo(json.dumps(result.to_dict(), indent=2) if as_json else "\n".join(said))
    result.raise_if_failed()
