"""From FASTA to proteins to tokens; windows; the report of what was done to the input.

``fasta`` cuts files into records, ``proteins`` applies the input rules to them and to what is given in
memory, ``tokens`` turns residues into token ids, ``windows`` cuts what is too long for the model,
``index`` is one pass over an input that will be read again, ``report`` says what was done to it.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.sequences.proteins import (
        AMINO_ACIDS,
        Protein,
        clean_proteins,
        clean_sequence,
        read_fasta,
    )
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
    "Protein",
    "clean_proteins",
    "clean_sequence",
    "decode",
    "encode",
    "read_fasta",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AMINO_ACIDS": "proteins",
        "BOS": "tokens",
        "EOS": "tokens",
        "InputReport": "report",
        "MASK": "tokens",
        "MAX_RESIDUES": "windows",
        "PAD": "tokens",
        "Protein": "proteins",
        "TOKENS": "tokens",
        "UNKNOWN": "tokens",
        "clean_proteins": "proteins",
        "clean_sequence": "proteins",
        "decode": "tokens",
        "encode": "tokens",
        "read_fasta": "proteins",
    },
)
