"""Files that are given for a structure and are none: what they are, and what to give instead."""

import re
from collections.abc import Sequence

__all__ = ["what_it_is"]

_FIRST_CHARACTERS = 4_000
"""How much of a text is looked at."""

_CONVERT = "write it as PDB or mmCIF with the program that made it, or with Open Babel"
_DOWNLOAD = "download the PDB or mmCIF file itself"

_STARTS = (
    (">", "FASTA, which has no coordinates; give a structure of the protein"),
    ("@<tripos>", f"MOL2; {_CONVERT}"),
    ("<!doctype html", f"a web page; {_DOWNLOAD}"),
    ("<html", f"a web page; {_DOWNLOAD}"),
    ("<error", f"the answer of a server that has no such file; {_DOWNLOAD}"),
    ("psf", "a PSF file, which has no coordinates; write the structure as PDB (VMD, CHARMM)"),
    ("%version", "an Amber topology, which has no coordinates; write PDB with cpptraj or ambpdb"),
    ("==== secondary structure", "the output of DSSP; give the structure that it is of"),
    ("atom", "not in the columns of the PDB format; write the file again as PDB or mmCIF"),
    ("hetatm", "not in the columns of the PDB format; write the file again as PDB or mmCIF"),
)
"""First characters in lower case, and what to say of them."""

_BINARY = (
    ("encoder", "BinaryCIF; give the mmCIF file that belongs to it"),
    ("mmtf", "MMTF; give the mmCIF file that belongs to it"),
    ("cord", "a trajectory (DCD); write the frame that is wanted as PDB"),
)
"""Words at the beginning of binary files."""

_IN_TEXT = (
    ("predicted_aligned_error", "the predicted aligned errors (PAE) of AlphaFold"),
    ('"pae"', "the predicted aligned errors (PAE) of AlphaFold"),
    ("pdbx:datablock", "PDBML"),
    ("nosuchkey", "the answer of a server that has no such file"),
)

_GRO_ATOM = re.compile(r".{5}.{5}.{5}[\d* ]{5}(\s*-?\d+\.\d+){3}")
_XYZ_ATOM = re.compile(r"\s*[A-Za-z]{1,2}(\s+-?\d+\.\d+([eE][-+]?\d+)?){3}")


def what_it_is(lines: Sequence[str]) -> str:
    """Say what the lines of a file are that is neither PDB nor mmCIF, and what to do.

    Returns
    -------
    str
        The second half of a sentence, ``""`` if nothing is known about such a file.

    Examples
    --------
    >>> what_it_is([">P1", "MKT"])
    'FASTA, which has no coordinates; give a structure of the protein'
    """
    kept = [line for line in lines if line.strip()]
    first = kept[0].strip().lower() if kept else ""
    text = "\n".join(kept[:200])[:_FIRST_CHARACTERS].lower()
    for word, what in _BINARY:
        if word in text[:100] and ("\0" in text or "\ufffd" in text):
            return what
    for start, what in _STARTS:
        if first.startswith(start):
            return what
    if first[:1] in ("{", "[", "<"):
        kind = "JSON" if first[0] != "<" else "XML"
        kind = next((what for piece, what in _IN_TEXT if piece in text), kind)
        return f"{kind}; give the PDB or mmCIF file that belongs to it"
    if any(line.rstrip().endswith(("V2000", "V3000")) for line in lines[:5]):
        return f"an SDF or MOL file; {_CONVERT}"
    if len(lines) > 2 and lines[1].strip().isdigit() and _GRO_ATOM.match(lines[2]):
        return "a GRO file; write it as PDB with `gmx editconf -f FILE.gro -o FILE.pdb`"
    if first.isdigit() and len(lines) > 2 and _XYZ_ATOM.match(lines[2]):
        return f"an XYZ file, which has no residues; {_CONVERT}"
    if first.startswith(("header", "title", "remark", "cryst1", "seqres")):
        return f"the head of a PDB file without its atoms; {_DOWNLOAD}"
    return ""
