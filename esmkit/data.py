"""The real proteins that travel with esmkit; ``data/README.md`` gives sources and licences."""

from pathlib import Path

from esmkit.sequences import Protein, read_fasta

__all__ = ["demo_fasta", "demo_proteins", "ubiquitin_fasta"]


def _folder() -> Path:
    """Return the data folder: inside the installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    packaged = here / "_data"
    return packaged if packaged.is_dir() else here.parent / "data"


def demo_fasta() -> Path:
    """Return the path of ``demo.fasta``: 18 well-known proteins of many kinds, ubiquitin first."""
    return _folder() / "demo.fasta"


def demo_proteins() -> list[Protein]:
    """Return the demo proteins.

    Examples
    --------
    >>> demo_proteins()[0].id
    '1UBI_A'
    """
    return list(read_fasta(demo_fasta()))


def ubiquitin_fasta() -> Path:
    """Return the path of ``ubiquitin.fasta``: the first demo protein alone, 76 residues."""
    return _folder() / "ubiquitin.fasta"
