"""PDB and mmCIF files to protein chains: sequence, contacts, secondary structure, disulfides.

``files`` tells the two formats apart (``contents`` is what they hold, ``formats`` what else is
given for a structure). ``pdb`` reads PDB: ``pdb_lines`` knows what a line means, ``pdb_chains``
where chains end. ``mmcif`` reads mmCIF: ``cif`` knows its text, ``mmcif_sequences`` its polymers,
``mmcif_chains`` which numbers are positions in them; ``building`` makes Biopython's objects of the
atoms. ``letters`` knows the names of residues, ``residues`` chooses among alternatives and tells
protein from the rest, ``placing`` finds the gaps, ``secondary`` is DSSP, ``record`` is the result,
which ``read`` gives;
``alignment`` says which residue of a sequence is which of a structure, and ``numbering`` what the
authors' number of each is, ``pairing`` which protein a structure is of; ``views`` shows links on a
structure in molecular viewers.
"""

from esmkit.structure.read import chains_of, read_structure, read_structures, split_chain
from esmkit.structure.record import CONTACT_CUTOFF, Structure
from esmkit.structure.residues import Chain

__all__ = [
    "CONTACT_CUTOFF",
    "Chain",
    "Structure",
    "chains_of",
    "read_structure",
    "read_structures",
    "split_chain",
]
