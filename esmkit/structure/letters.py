"""Names of residues in structure files: their letters, and which of them are no amino acids."""

import functools

from esmkit.sequences.proteins import ALLOWED_LETTERS

__all__ = ["CAPS", "WATERS", "is_known", "letter_of", "nucleotides"]

CAPS = frozenset(("ACE", "FOR", "NH2", "NME", "NMA"))
"""Groups at the ends of a chain that SEQRES lists but that are no residues."""

WATERS = frozenset(("HOH", "WAT", "DOD", "H2O", "TIP", "TIP3", "SOL"))

# What Biopython's table of modified residues lacks: the rarer letters, and the names that
# molecular dynamics programs give to protonation states (Amber, CHARMM).
_MORE_LETTERS = {
    **{"SEC": "U", "PYL": "O", "ASX": "B", "GLX": "Z", "UNK": "X"},
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "H"),
    **{"CYX": "C", "CYM": "C", "ASH": "D", "GLH": "E", "LYN": "K"},
}
_MORE_NUCLEOTIDES = ("A", "C", "G", "U", "I", "N", "DA", "DC", "DG", "DT", "DU", "DI", "DN")


@functools.cache
def _letters() -> dict[str, str]:
    from Bio.Data.PDBData import protein_letters_3to1_extended as table

    known = {name.strip(): letter for name, letter in table.items() if letter in ALLOWED_LETTERS}
    return known | _MORE_LETTERS


def letter_of(name: str, parents: dict[str, str]) -> str:
    """Return the letter of a residue: of its own name, else of its parent's, else X."""
    return _letters().get(name) or _letters().get(parents.get(name, ""), "X")


def is_known(name: str) -> bool:
    """Tell whether a residue of this name is an amino acid, modified or not."""
    return name in _letters()


@functools.cache
def nucleotides() -> frozenset[str]:
    """Return the names of nucleotides, modified ones too."""
    from Bio.Data.PDBData import nucleic_letters_3to1_extended as table

    return frozenset(name.strip() for name in table).union(_MORE_NUCLEOTIDES)
