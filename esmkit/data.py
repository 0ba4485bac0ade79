"""The real proteins that travel with esmkit.

Sources and licences are in ``data/README.md`` of the repository, and among the licences of the
installed package.
"""

import functools
from pathlib import Path
from typing import Literal

from esmkit.arguments import checked, what_is
from esmkit.errors import OptionError
from esmkit.sequences.proteins import Protein, read_fasta
from esmkit.structure import Structure, read_structure, read_structures

__all__ = [
    "demo_fasta",
    "demo_proteins",
    "demo_structure",
    "repeat_proteins",
    "replication",
    "replication_folder",
    "training_proteins",
    "ts50",
    "ts50_folder",
    "ubiquitin_fasta",
]

REPEATED_CHAINS = ("1h4a_X", "19hc_A")
"""Chains of TS50 and of the second set in which stretches are repeated."""


def _folder() -> Path:
    """Return the data folder: inside the installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    packaged = here / "_data"
    return packaged if packaged.is_dir() else here.parent / "data"


def demo_fasta() -> Path:
    """Return the path of ``demo.fasta``: 18 well-known proteins of many kinds, ubiquitin first.

    >>> demo_fasta().name
    'demo.fasta'
    """
    return _folder() / "demo.fasta"


def demo_proteins() -> list[Protein]:
    """Return the demo proteins.

    Examples
    --------
    >>> demo_proteins()[0].id
    '1UBI_A'
    """
    return list(read_fasta(demo_fasta()))


def demo_structure() -> Structure:
    """Return the structure of the first demo protein: ubiquitin, PDB entry 1UBI, 76 residues.

    Examples
    --------
    >>> demo_structure()
    Structure(1ubi_A: 76 residues, 76 resolved)
    """
    return read_structure(_folder() / "1ubi.pdb.gz")


def repeat_proteins() -> list[Protein]:
    """Return real proteins in which stretches are repeated, 14 of as many kinds.

    Ten of UniProt, from ``repeats.fasta``: polyubiquitin, WD40, kelch, pentatricopeptide and
    leucine-rich repeats, tandem domains. Troponin C and tPA of the demo proteins; gamma crystallin
    (1h4a_X), nine-haem cytochrome c (19hc_A) of the two sets of chains.

    Examples
    --------
    >>> repeat_proteins()[0].id
    'G7LI77'
    """
    demo = [protein for protein in demo_proteins() if protein.id in ("P02585", "P00750")]
    chains = [chain.protein for chain in (*ts50(), *replication()) if chain.id in REPEATED_CHAINS]
    return [*read_fasta(_folder() / "repeats.fasta"), *demo, *chains]


def replication_folder() -> Path:
    """Return the folder of the second set of chains; ``labels.tsv`` is in a checkout's only.

    >>> len(list(replication_folder().glob("*.gz")))
    47
    """
    return _folder() / "replication"


def replication() -> list[Structure]:
    """Return 62 other chains, on which findings of TS50 can be repeated, sorted by ID.

    Each has at most 35 % identity to every other and to TS50. Chains have 30 to 650 residues, some
    not resolved; 35 have disulfides, 104 in all. They are read once; the arrays are read-only, so
    that the list can be shared.

    Examples
    --------
    >>> sum(len(chain.disulfides) for chain in replication())
    104
    """
    return list(_replication())


@functools.cache
def _replication() -> tuple[Structure, ...]:
    return tuple(read_structures(replication_folder()))


@checked
def training_proteins(part: Literal["train", "held_out"] = "train") -> list[Protein]:
    """Return real proteins to train a small network on, or those kept out to judge it.

    2,250 proteins of UniProt to train on and 250 held out, of 40 to 400 residues, all of the 20
    amino acids. No protein to train on has a relative among those held out, nor among the other
    proteins of this module.

    Parameters
    ----------
    part : "train" or "held_out"

    Returns
    -------
    list of Protein
        In the order of the file, which is a random one.

    Raises
    ------
    OptionError
        If `part` is neither of the two.

    Examples
    --------
    >>> len(training_proteins()), len(training_proteins("held_out"))
    (2250, 250)
    >>> training_proteins("held_out")[0].header.split()[1]
    'held_out'
    """
    if part not in ("train", "held_out"):
        raise OptionError(f"part {what_is(part)}; give 'train' or 'held_out'")
    return [p for p in _training() if p.header.split(maxsplit=2)[1] == part]


@functools.cache
def _training() -> tuple[Protein, ...]:
    return tuple(read_fasta(_folder() / "training.fasta.gz"))


def ts50_folder() -> Path:
    """Return the folder of TS50: 50 files.

    In a checkout it also holds ``labels.tsv``, with what DSSP says about them.

    >>> len(list(ts50_folder().glob("*.pdb*")) + list(ts50_folder().glob("*.ent*")))
    50
    """
    return _folder() / "ts50"


def ts50() -> list[Structure]:
    """Return TS50: 50 single chains of 79 to 173 residues, low in redundancy, sorted by ID.

    They are read once; the arrays are read-only, so that the list can be shared.

    Examples
    --------
    >>> sum(len(structure) for structure in ts50())
    6860
    """
    return list(_ts50())


@functools.cache
def _ts50() -> tuple[Structure, ...]:
    return tuple(read_structures(ts50_folder()))


def ubiquitin_fasta() -> Path:
    """Return the path of ``ubiquitin.fasta``: the first demo protein alone, 76 residues.

    >>> [len(protein) for protein in esmkit.read_fasta(ubiquitin_fasta())]
    [76]
    """
    return _folder() / "ubiquitin.fasta"
