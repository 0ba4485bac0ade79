"""The letters of a sequence: which ESM-2 knows, and what to do with each that it does not know.

The 20 amino acids and X, B, U, Z, O have tokens of their own. Gaps, stops and other letters are
refused, or taken out, or written as X, as the caller chose; a sign that is neither is never written
as X, because it says that the text is no plain sequence: a number, two chains, a header.
"""

import unicodedata
from dataclasses import dataclass
from typing import Literal, get_args

from esmkit.arguments import checked, what_is
from esmkit.errors import InputError, OptionError
from esmkit.text import shorten

__all__ = [
    "ALLOWED_LETTERS",
    "AMINO_ACIDS",
    "GAPS",
    "LONGEST_PROTEIN",
    "Cleaned",
    "OnInvalid",
    "RecordError",
    "check_letters",
    "check_rule",
    "clean_sequence",
]

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The twenty standard amino acids."""

ALLOWED_LETTERS = frozenset(AMINO_ACIDS + "XBUZO")
"""Letters with a token of their own in ESM-2 (fair-esm, ``esm/constants.py``)."""

LONGEST_PROTEIN = 1_000_000
"""Most residues of a record. The longest proteins known have some 45,000 (PKZILLA-1, Prymnesium
parvum: 45,212; Fallon et al. 2024, Science 385, 671); what is longer is a genome, or no sequence."""

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
"""Dashes that word processors write in place of a hyphen: Unicode's category Pd, and the minus."""

GAPS = frozenset("-.~" + _DASHES)
"""Gaps of an alignment: ``-``; ``.`` of A2M and Stockholm; ``~`` of GCG's MSF; other dashes."""

UNKNOWN_RESIDUE = "?"
"""A residue that is not known, in PHYLIP and NEXUS; ``replace`` takes it as a letter."""

OnInvalid = Literal["error", "replace", "skip", "degap"]

_REPLACE = '`on_invalid="replace"` to write X'
_SKIP = '`on_invalid="skip"` to leave the record out'
_LEAVE_OUT = '`on_invalid="skip"` leaves it out'
_DEGAP = '`on_invalid="degap"` removes them'

_CHAINS = (
    "does it join chains, as in ColabFold's and ESMFold's input? ESM-2 reads one chain at a time",
    "give each chain a record of its own",
)
_SIGNS = {
    **dict.fromkeys(":/|", _CHAINS),
    ">": (
        "it is the mark of a FASTA header",
        "put the text in a FASTA file and give its path, or give the sequence alone",
    ),
    "<": ("is it a token such as <mask>?", "give residues alone, with X for one that is unknown"),
    "\0": ("it is a zero byte", "check that the file is text"),
    **dict.fromkeys(
        ",;", ("are these several sequences, or is it a comment?", "give each a record of its own")
    ),
    **dict.fromkeys(
        "()[]{}",
        ("is it a modified residue, written out?", "write the letter of its parent, or X"),
    ),
    **dict.fromkeys("\"'`\u2018\u2019\u201c\u201d", ("it is a quotation mark", "remove it")),
}
"""What a sign inside a sequence most likely is, and what to do."""


_MISSING_VALUES = frozenset(("n/a", "#n/a", "<na>", "#na"))
"""What tables write where there is nothing, in small letters, if it is no word of letters alone."""


class RecordError(InputError):
    """One record that esmkit cannot use as it is, while those beside it may be good."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A sequence that ESM-2 can read, and what was done to it.

    Attributes
    ----------
    sequence : str
        Upper-case residues.
    replaced : tuple of int
        0-based positions at which X was written.
    gaps : int
        Gaps that were removed.
    stop : bool
        Whether a stop was removed from its end.
    """

    sequence: str
    replaced: tuple[int, ...] = ()
    gaps: int = 0
    stop: bool = False


@checked
def clean_sequence(
    sequence: str, record: str = "", *, on_invalid: OnInvalid = "error"
) -> tuple[str, list[int]]:
    """Fold case, drop one trailing ``*`` and check every letter.

    Parameters
    ----------
    sequence : str
        Residues as they stand in the file, without white space.
    record : str
        What to call the record in an error message.
    on_invalid : {'error', 'replace', 'skip', 'degap'}
        ``replace`` writes X for every letter ESM-2 does not know, for gaps and for inner stops;
        ``degap`` removes gaps, and residues are then numbered without them; the other two raise.
        Digits, blanks and signs such as ``:`` always raise: they show that the text is no plain
        sequence.

    Returns
    -------
    sequence : str
        The cleaned sequence.
    replaced : list of int
        0-based positions at which X was written.

    Raises
    ------
    InputError
        If the sequence is empty, longer than any protein, or holds a letter esmkit does not know.
        The message names the record, the 1-based position, the letter and the remedy.
    OptionError
        If there is no such rule.

    Examples
    --------
    >>> clean_sequence("mktj*", on_invalid="replace")
    ('MKTX', [3])
    >>> clean_sequence("mk--t.", on_invalid="degap")
    ('MKT', [])
    """
    check_rule(on_invalid)
    cleaned = check_letters(sequence, record, on_invalid=on_invalid)
    return cleaned.sequence, list(cleaned.replaced)


def check_rule(on_invalid: object) -> None:
    """Make sure that there is such a rule for letters.

    Raises
    ------
    OptionError
        If there is none; the message names those that there are.
    """
    if on_invalid not in get_args(OnInvalid):
        *most, last = map(repr, get_args(OnInvalid))
        raise OptionError(f"on_invalid is {', '.join(most)} or {last}, not {what_is(on_invalid)}")


def check_letters(sequence: str, record: str = "", *, on_invalid: OnInvalid = "error") -> Cleaned:
    """Do what :func:`clean_sequence` does, and say more of what was done.

    Parameters
    ----------
    sequence, record, on_invalid
        See :func:`clean_sequence`.

    Returns
    -------
    Cleaned

    Raises
    ------
    RecordError
        See :func:`clean_sequence`.
    """
    name = f"sequence {shorten(record)!r}" if record else "the sequence"
    if len(sequence) > LONGEST_PROTEIN:
        raise _error(
            f"{name} has over {LONGEST_PROTEIN:,} letters, and no protein has nearly as many (is it "
            "a genome?)",
            f"remove the record, or {_LEAVE_OUT}",
        )
    text, gaps = sequence, 0
    if on_invalid == "degap" and not GAPS.isdisjoint(sequence):
        text = "".join(letter for letter in sequence if letter not in GAPS)
        gaps = len(sequence) - len(text)
    stop = text.endswith("*")
    if stop:
        text = text[:-1]
    if not text or GAPS.issuperset(text):
        what = " (it has gaps alone)" if text or gaps else ""
        raise _error(f"{name} is empty{what}", f"remove the record, or {_LEAVE_OUT}")
    # 'ß'.upper() is 'SS': case is folded letter by letter unless the text is plain ASCII.
    folded = text.upper() if text.isascii() else "".join(map(_upper_ascii, text))
    unknown = set(folded) - ALLOWED_LETTERS
    if not unknown:
        return Cleaned(folded, (), gaps, stop)
    wrong = unknown if on_invalid != "replace" else {c for c in unknown if not _has_an_x(c)}
    if wrong:
        raise _wrong_letter(name, sequence, wrong, stop)
    replaced = tuple(i for i, letter in enumerate(folded) if letter in unknown)
    return Cleaned(folded.translate({ord(c): "X" for c in unknown}), replaced, gaps, stop)


def _upper_ascii(letter: str) -> str:
    return letter.upper() if letter.isascii() else letter


def _has_an_x(letter: str) -> bool:
    """Return whether a letter stands for one residue, so that X can stand for it."""
    return letter.isalpha() or letter in GAPS or letter in "*" + UNKNOWN_RESIDUE


def _error(reason: str, remedy: str) -> RecordError:
    return RecordError(f"{reason}; {remedy}")


def _wrong_letter(name: str, sequence: str, wrong: set[str], stop: bool) -> RecordError:
    """Return the error for the first of the wrong letters, with its place in the text as it came."""
    if sequence.lower() in _MISSING_VALUES:
        return _error(
            f"{name} is {sequence!r}, a word for a missing value",
            f"remove the record, or {_LEAVE_OUT}",
        )
    last = sequence.rindex("*") if stop else -1
    places = [i for i, c in enumerate(sequence) if _upper_ascii(c) in wrong and i != last]
    letter = sequence[places[0]]
    what, remedy = _what_it_is(letter)
    more = f" (and {len(places) - 1:,} more such letters)" if len(places) > 1 else ""
    return _error(f"{name}, residue {places[0] + 1:,}: {letter!r} is {what}{more}", remedy)


def _what_it_is(letter: str) -> tuple[str, str]:
    """Return what a letter is that has no token, and what to do about it."""
    if letter in GAPS:
        what = "a gap, and ESM-2 reads unaligned sequences"
        return what, f"remove the gaps, or {_DEGAP}, or {_SKIP}"
    what, remedy = "not an amino acid esmkit knows", f"use X, or {_REPLACE}, or {_SKIP}"
    if letter == "*":
        return "a stop inside the sequence", remedy
    if _has_an_x(letter):
        return what, remedy
    if letter.isdigit():
        hint = "is it a numbered listing?", "remove the numbers"
    elif letter.isspace() and letter not in "\x1c\x1d\x1e\x1f":
        hint = "it is a blank", "remove it"
    elif unicodedata.category(letter)[0] == "C" and letter not in _SIGNS:
        hint = "it cannot be seen", "remove it, and check that the file is text"
    else:
        hint = _SIGNS.get(letter, ("", "remove it"))
    return what + f" ({hint[0]})" * bool(hint[0]), f"{hint[1]}, or {_SKIP}"
