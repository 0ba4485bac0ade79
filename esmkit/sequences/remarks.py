"""Sequences that can be read and are most likely none: text, words for a missing value, DNA.

All of these are letters that ESM-2 has tokens for, so nothing is refused; it is said.
"""

import math
import re

from esmkit.text import shorten, visible, warn_caller

__all__ = ["REMARKS", "SWISS_PROT_PERCENT", "OddSequenceWarning", "remarks_on", "warn_of"]


class OddSequenceWarning(UserWarning):
    """A sequence that can be read, and most likely is none: text, ``nan``, or DNA.

    Examples
    --------
    >>> import warnings
    >>> from esmkit.sequences import clean_proteins
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     proteins = list(clean_proteins(["ACGT" * 10]))
    >>> print(caught[0].message)
    sequence 'sequence_1' is of A, C, G, T, U and N alone, like DNA or RNA; ESM-2 reads ...
    """


NUCLEOTIDES = "ACGTUN"

SHORTEST_NUCLEIC_ACID = 30
"""Residues; shorter peptides may well be of nothing but Ala, Cys, Gly, Thr and Asn."""

MISSING_VALUES = frozenset(("nan", "none", "null", "na", "nil", "nat", "missing"))
"""What tables write where there is nothing, in small letters (``pandas.read_csv``, ``na_values``)."""

HEADINGS = frozenset(
    ["protein", "proteins", "peptide", "peptides", "sequence", "sequences", "proteinsequence"]
)
"""What stands over a column of sequences, in small letters: the first row of a table, or its columns."""

RARE_LETTERS = "BJOUXZ"
"""Letters for residues that are ambiguous or unknown, selenocysteine and pyrrolysine."""

MOST_RARE = 0.1
"""Share of them in a sequence beyond which it is remarked on. Swiss-Prot's release statistics round
the share of each among all residues to 0.00 %."""

FEWEST_RARE = 3
"""So many of them at least: a short peptide may well have an X at each end."""

FEWEST_SINGLE = 3
"""So many sequences of one letter, before any other, are most likely the letters of one."""

THREE_LETTER_CODES = frozenset(
    [
        "ALA",
        "ARG",
        "ASN",
        "ASP",
        "CYS",
        "GLN",
        "GLU",
        "GLY",
        "HIS",
        "ILE",
        "LEU",
        "LYS",
        "MET",
        "PHE",
        "PRO",
        "SER",
        "THR",
        "TRP",
        "TYR",
        "VAL",
    ]
)

FEWEST_CODES = 3
"""Of so many codes and nothing else no protein is by chance: 20 of 8,000 triplets are codes."""

_WORDS = frozenset(
    [
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "can",
        "for",
        "from",
        "has",
        "have",
        "in",
        "is",
        "it",
        "its",
        "no",
        "not",
        "of",
        "on",
        "or",
        "that",
        "the",
        "there",
        "this",
        "to",
        "was",
        "were",
        "which",
        "will",
        "with",
        "you",
    ]
)
"""Common words of English text."""

FEWEST_WORDS = 2
"""So many of them among words divided by blanks make text of it."""

_PERCENT_ENGLISH = {
    **{"A": 8.167, "B": 1.492, "C": 2.782, "D": 4.253, "E": 12.702, "F": 2.228, "G": 2.015},
    **{"H": 6.094, "I": 6.966, "J": 0.153, "K": 0.772, "L": 4.025, "M": 2.406, "N": 6.749},
    **{"O": 7.507, "P": 1.929, "Q": 0.095, "R": 5.987, "S": 6.327, "T": 9.056, "U": 2.758},
    **{"V": 0.978, "W": 2.360, "X": 0.150, "Y": 1.974, "Z": 0.074},
}
"""Letters of English text (Lewand 2000, Cryptological Mathematics, p. 36)."""

SWISS_PROT_PERCENT = {
    **{"A": 8.25, "R": 5.53, "N": 4.06, "D": 5.46, "C": 1.38, "Q": 3.93, "E": 6.72, "G": 7.07},
    **{"H": 2.27, "I": 5.91, "L": 9.65, "K": 5.80, "M": 2.41, "F": 3.86, "P": 4.74, "S": 6.65},
    **{"T": 5.36, "W": 1.10, "Y": 2.92, "V": 6.86},
}
"""Residues of Swiss-Prot, percent (release statistics, UniProtKB/Swiss-Prot 2024_01)."""

_PERCENT_PROTEIN = {
    **SWISS_PROT_PERCENT,
    **dict.fromkeys(RARE_LETTERS, 0.15),  # far more than there are: two of them prove nothing
}

_EVIDENCE = {
    letter: math.log(share / _PERCENT_PROTEIN[letter]) for letter, share in _PERCENT_ENGLISH.items()
}
"""Logarithm of how much likelier a letter is in English text than in a protein."""

LEAST_EVIDENCE = 4.0
"""Text is e^4, some 50 times, as likely as a protein."""

REMARKS = {
    "missing_values": "is a word for a missing value; leave such rows out",
    "like_text": "reads like English text; check that it is a sequence",
    "three_letter_codes": "is of three-letter codes such as MetLysThr, read as three residues each; "
    "write one letter for each, for example with Bio.SeqUtils.seq1",
    "rare_letters": "is over a tenth B, J, O, U, X or Z, letters for residues that are rare or not "
    "known; check that it is a sequence",
    "like_nucleic_acid": "is of A, C, G, T, U and N alone, like DNA or RNA; ESM-2 reads proteins, so "
    "translate it first",
    "single_letters": "is of one letter, as are those before it; if these are the residues of one "
    "protein, join them: ''.join(...)",
}
"""What is said of a sequence of each kind; the report's fields have the names of all but the last."""


def remarks_on(sequence: str, text: str = "") -> list[str]:
    """Return what is odd about a sequence.

    Parameters
    ----------
    sequence : str
        Letters as they came or cleaned, without blanks.
    text : str
        The same with its blanks, or the beginning of it, if it has any.

    Returns
    -------
    list of str
        Keys of :data:`REMARKS`.

    Examples
    --------
    >>> remarks_on("nan"), remarks_on("Thiswaspastedhere", "This was pasted here")
    (['missing_values'], ['like_text'])
    >>> remarks_on("MKTVRQERLKSIVRILERSKEPVSGAQLAEELSVSRQVIVQDIAYLRSLGYNIVATPRGYVLAGG")
    []
    """
    upper = sequence.upper()
    rare = sum(map(upper.count, RARE_LETTERS))
    if len(sequence) < 8 and sequence.lower() in MISSING_VALUES:
        return ["missing_values"]
    if len(upper) >= SHORTEST_NUCLEIC_ACID and not upper.strip(NUCLEOTIDES):
        return ["like_nucleic_acid"]
    if _is_of_codes(upper):
        return ["three_letter_codes"]
    if sequence.lower() in HEADINGS or _reads_like_text(upper, rare, text):
        return ["like_text"]
    return ["rare_letters"] * (rare >= FEWEST_RARE and rare > MOST_RARE * len(upper))


def _is_of_codes(upper: str) -> bool:
    """Return whether a sequence is of three-letter codes, and nothing else."""
    if len(upper) % 3 or len(upper) < 3 * FEWEST_CODES:
        return False
    return all(upper[i : i + 3] in THREE_LETTER_CODES for i in range(0, len(upper), 3))


def _reads_like_text(upper: str, rare: int, text: str) -> bool:
    """Return whether words, or letters that proteins do not have, make English of it."""
    words = re.findall(r"\w+", text.lower())
    if len(words) > FEWEST_WORDS and sum(word in _WORDS for word in words) >= FEWEST_WORDS:
        return True
    if rare < 2 or "O" not in upper or upper.count("X") + upper.count("Z") > rare / 2:
        return False  # English has an O in every dozen letters, and few of X and Z
    evidence = sum(upper.count(letter) * weight for letter, weight in _EVIDENCE.items())
    return evidence > LEAST_EVIDENCE


def warn_of(kind: str, name: str) -> None:
    """Warn of an odd sequence where no report will tell of it.

    Parameters
    ----------
    kind : str
        A key of :data:`REMARKS`.
    name : str
        Name of the sequence.
    """
    text = f"sequence {shorten(visible(name))!r} {REMARKS[kind]}"
    warn_caller(text, OddSequenceWarning)
