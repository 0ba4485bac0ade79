"""From FASTA to proteins to tokens; windows; the report of what was done to the input.

``fasta`` cuts files into records (``formats`` names files that are not FASTA), ``headers`` finds the ID of
each and ``letters`` checks its sequence, ``remarks`` tells what is odd about it; ``proteins`` applies all
of this to files and to what is given in memory. ``ids`` says which record a name means, ``picking`` takes
those asked for. ``tokens`` turns residues into token ids, ``windows`` cuts what is too long for the model,
``index`` is one pass over an input that will be read again, ``report`` says what was done to it, ``sites``
reads residues as people name them, and ``domains`` named stretches of them; ``repeated`` finds
stretches of a sequence that are repeated in it.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.sequences.letters import AMINO_ACIDS, clean_sequence
    from esmkit.sequences.proteins import Protein, clean_proteins, read_fasta
    from esmkit.sequences.remarks import OddSequenceWarning
    from esmkit.sequences.repeated import internal_repeats, residue_pairs
    from esmkit.sequences.report import InputReport
    from esmkit.sequences.tokens import BOS, EOS, MASK, PAD, TOKENS, UNKNOWN, decode, encode
    from esmkit.sequences.windows import MAX_RESIDUES

__all__ = [
    "AMINO_ACIDS",
    "BOS",
    "EOS",
    "MASK",
    "MAX_RESIDUES",
    "PAD",
    "TOKENS",
    "UNKNOWN",
    "InputReport",
    "OddSequenceWarning",
    "Protein",
    "clean_proteins",
    "clean_sequence",
    "decode",
    "encode",
    "internal_repeats",
    "read_fasta",
    "residue_pairs",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "AMINO_ACIDS": "letters",
            "BOS": "tokens",
            "EOS": "tokens",
            "InputReport": "report",
            "MASK": "tokens",
            "MAX_RESIDUES": "windows",
            "OddSequenceWarning": "remarks",
            "PAD": "tokens",
            "Protein": "proteins",
            "TOKENS": "tokens",
            "UNKNOWN": "tokens",
            "clean_proteins": "proteins",
            "clean_sequence": "letters",
            "decode": "tokens",
            "encode": "tokens",
            "internal_repeats": "repeated",
            "read_fasta": "proteins",
            "residue_pairs": "repeated",
        },
    )
