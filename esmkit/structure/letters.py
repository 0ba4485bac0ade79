"""Names of residues in structure files: their letters, and which of them are no amino acids."""

import functools
from collections import Counter
from collections.abc import Iterable

from esmkit.sequences.proteins import ALLOWED_LETTERS

__all__ = ["CAPS", "WATERS", "is_known", "letter_of", "nucleotides", "remarks"]

CAPS = frozenset(("ACE", "FOR", "NH2", "NME", "NMA"))
"""Groups at the ends of a chain that SEQRES lists but that are no residues."""

WATERS = frozenset(
    ("HOH", "WAT", "DOD", "H2O", "TIP", "TIP3", "TIP4", "TIP5", "TP3", "SPC", "SPCE", "SOL", "SOLV")
)

# What Biopython's table of modified residues lacks: the rarer letters, and the names that
# molecular dynamics programs give to protonation states (Amber, CHARMM, GROMOS, OPLS).
_MORE_LETTERS = {
    **{"SEC": "U", "PYL": "O", "ASX": "B", "GLX": "Z", "UNK": "X"},
    **dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP", "HIS1", "HIS2"), "H"),
    **dict.fromkeys(("HISA", "HISB", "HISD", "HISE", "HISH", "HISP"), "H"),
    **dict.fromkeys(("CYX", "CYM", "CYN", "CYSH", "CYS1", "CYS2"), "C"),
    **dict.fromkeys(("ASH", "ASPH", "ASPP"), "D"),
    **dict.fromkeys(("GLH", "GLUH", "GLUP"), "E"),
    **dict.fromkeys(("LYN", "LYP", "LSN", "LYSH"), "K"),
    **{"ARN": "R", "ARGN": "R", "TYM": "Y", "TYRU": "Y", "ASN1": "N", "PGLU": "Q"},
    # Amber at constant pH and phosphorylated (phosaa10), FoldX
    **{"AS4": "D", "GL4": "E", "S1P": "S", "T1P": "T", "Y1P": "Y", "H1S": "H", "H2S": "H"},
    **dict.fromkeys(("H1D", "H2D", "H1E", "H2E"), "H"),
    # One-letter codes of the wwPDB's chemical components
    **{"IAS": "D", "FGA": "E", "GHP": "G"},
}
# wwPDB's canonical sequences have them with the letter of their mirror image (DSN is S in 1PFE).
_MIRRORED = {
    **{"DAL": "A", "DAR": "R", "DSG": "N", "DAS": "D", "DCY": "C", "DGN": "Q", "DGL": "E"},
    **{"DHI": "H", "DIL": "I", "DLE": "L", "DLY": "K", "MED": "M", "DPN": "F", "DPR": "P"},
    **{"DSN": "S", "DTH": "T", "DTR": "W", "DTY": "Y", "DVA": "V"},
}
_AMBER_STATES = ("HID", "HIE", "HIP", "CYX", "CYM", "ASH", "GLH", "LYN")
_MORE_NUCLEOTIDES = (
    *("A", "C", "G", "U", "I", "N", "DA", "DC", "DG", "DT", "DU", "DI", "DN"),
    *("ADE", "CYT", "GUA", "THY", "URA"),  # CHARMM
    *(f"{kind}{base}{end}" for kind in ("", "R") for base in "ACGU" for end in "35N"),  # Amber
    *(f"D{base}{end}" for base in "ACGT" for end in "35N"),
)


@functools.cache
def _letters() -> dict[str, str]:
    from Bio.Data.PDBData import protein_letters_3to1 as standard
    from Bio.Data.PDBData import protein_letters_3to1_extended as table

    known = {name.strip(): letter for name, letter in table.items() if letter in ALLOWED_LETTERS}
    known |= _MORE_LETTERS | _MIRRORED
    # Amber calls the residues at the ends of a chain NALA and CALA.
    ends = {f"{end}{name}": known[name] for end in "NC" for name in (*standard, *_AMBER_STATES)}
    return known | ends


def letter_of(name: str, parents: dict[str, str]) -> str:
    """Return the letter of a residue: of its own name, else of its parent's, else X."""
    return _letters().get(name) or _letters().get(parents.get(name, ""), "X")


def is_known(name: str) -> bool:
    """Tell whether a residue of this name is an amino acid, modified or not."""
    return name in _letters()


def remarks(names: Iterable[str], parents: dict[str, str]) -> tuple[str, ...]:
    """Return a sentence for each kind of residue whose letter says less than its name.

    Parameters
    ----------
    names : iterable of str
        Of all residues of a chain.
    parents : dict of str
        Name of a modified residue to that of its parent, where the file says so.

    Examples
    --------
    >>> remarks(["ALA", "DAL", "CRO", "DAL"], {"CRO": "THR, TYR, GLY"})
    ('2 residue(s) DAL are D-amino acids, read as A', '1 residue(s) CRO (from THR, TYR, GLY) have no letter of their own, read as X')
    """
    notes = []
    for name, count in Counter(names).items():
        if name in _MIRRORED:
            notes.append(f"{count} residue(s) {name} are D-amino acids, read as {_MIRRORED[name]}")
        elif name == "UNK":
            notes.append(f"{count} residue(s) UNK are not known to the file's authors, read as X")
        elif letter_of(name, parents) == "X":
            parent = f" (from {parents[name]})" if name in parents else ""
            notes.append(
                f"{count} residue(s) {name}{parent} have no letter of their own, read as X"
            )
    return tuple(notes)


@functools.cache
def nucleotides() -> frozenset[str]:
    """Return the names of nucleotides, modified ones too."""
    from Bio.Data.PDBData import nucleic_letters_3to1_extended as table

    return frozenset(name.strip() for name in table).union(_MORE_NUCLEOTIDES) - _MIRRORED.keys()
