"""``esmkit score``: what the masked-LM head says of proteins, and of their variants."""

import click

from esmkit.cli.score_fit import fit
from esmkit.cli.score_proteins import proteins
from esmkit.cli.score_variants import variants
from esmkit.cli.values import GroupWithDefault

__all__ = ["command"]


@click.group(
    "score",
    cls=GroupWithDefault,
    default="proteins",
    short_help="What the masked-LM head says of proteins.",
)
def command() -> None:
    """Score proteins by what ESM-2 expects at each residue.

    \b
    Examples:
      esmkit score seqs.fasta
      esmkit score ubiquitin.fasta --per residue -o residues.tsv --plot
      esmkit score variants ubiquitin.fasta --all --plot
    """


command.add_command(proteins)
command.add_command(variants)
command.add_command(fit)
