"""One protein as it is given: text, Biopython's objects, (ID, sequence) pairs, and what is none."""

import os
from collections.abc import KeysView, Mapping, Set
from typing import Any

from esmkit.arguments import what_is
from esmkit.errors import InputError
from esmkit.sequences.proteins import ALLOWED_LETTERS, Protein
from esmkit.sequences.remarks import NUCLEOTIDES
from esmkit.sequences.tables import is_a, name_of
from esmkit.text import shorten

__all__ = [
    "is_fasta_text",
    "is_one",
    "is_path",
    "is_sparse",
    "lone_pair",
    "one_of",
    "pair_of",
    "refusal",
]

REMEDY = (
    "give a sequence, a Protein, the path of a FASTA file, a dict from ID to sequence, a table with "
    "a column 'sequence', (ID, sequence) pairs, or a list of sequences"
)

_LONGEST_NAME = 20
"""A text of so many amino acid letters and nothing else is a sequence, and no ID."""

_FASTA_ENDINGS = (".fasta", ".fa", ".faa", ".fas", ".fsa", ".pep", ".gz", ".txt", ".a3m", ".afa")

_SEQUENCES = (
    "Bio.Seq._SeqAbstractBaseClass",
    "Bio.Seq.Seq",
    "Bio.Seq.MutableSeq",
    "biotite.sequence.ProteinSequence",
)
"""Classes whose ``str`` is the residues."""


def is_path(item: Any) -> bool:
    """Return whether an item of a list is a path; a dot alone may be a gap."""
    if isinstance(item, os.PathLike):
        return True
    return (
        isinstance(item, str)
        and not is_fasta_text(item)
        and (item.lower().endswith(_FASTA_ENDINGS) or "/" in item or "\\" in item)
    )


def is_one(item: Any) -> bool:
    """Return whether something is one protein."""
    return (
        isinstance(item, str | Protein)
        or is_a(item, *_SEQUENCES, "Bio.SeqRecord.SeqRecord")
        or isinstance(getattr(item, "protein", None), Protein)  # esmkit.Structure
    )


def one_of(item: Any, where: str = "the protein", name: str | None = None) -> Protein | str:
    """Return one protein, its letters not yet checked; text alone if it has no name.

    Parameters
    ----------
    item : anything
    where : str
        What to call it in an error.
    name : str, optional
        Its ID, if that is given beside it.
    """
    if isinstance(item, str):
        if is_fasta_text(item):
            raise InputError(
                f"{where} is text that begins with '>', as FASTA does; write it to a file and give "
                "its path, or give (ID, sequence) pairs"
            )
        text = str(item)
        return text if name is None else Protein(name, "".join(text.split()), name)
    if isinstance(item, Protein):
        found = name or name_of(item.id, f"the ID of {where}")
        header = item.header if isinstance(item.header, str) and name in (None, item.id) else ""
        return Protein(found, _letters(item.sequence, where), header or found)
    if is_a(item, *_SEQUENCES):
        text = _letters(item, where)
        return text if name is None else Protein(name, text, name)
    if is_a(item, "Bio.SeqRecord.SeqRecord"):
        return _of_record(item, where, name)
    inner = getattr(item, "protein", None)
    if isinstance(inner, Protein):
        return one_of(inner, where, name)
    raise InputError(f"{where} is {what_is(item)}; {_hint(item)}")


def _of_record(record: Any, where: str, name: str | None) -> Protein | str:
    text = _letters(record.seq, where)
    kind = getattr(record, "annotations", {}).get("molecule_type")
    # Who translates `record.seq` alone leaves "DNA" beside a protein: the letters count too.
    says_so = isinstance(kind, str) and kind.upper().endswith(("DNA", "RNA"))
    if says_so and text and not text.upper().strip(NUCLEOTIDES):
        raise InputError(
            f"the sequence of {where} is {kind}, as its record says, and ESM-2 reads proteins; "
            "give record.translate() in its place"
        )
    found = name
    if found is None and isinstance(record.id, str) and record.id.strip():
        found = None if record.id == "<unknown id>" else record.id
    if found is None:
        return text
    words = record.description if isinstance(record.description, str) else ""
    if words in ("", "<unknown description>") or found != record.id:
        words = found
    elif words.split(maxsplit=1)[0] != found:
        words = f"{found} {words}"
    return Protein(found, text, words)


def _letters(sequence: Any, where: str) -> str:
    """Return the letters of a sequence without white space."""
    if not isinstance(sequence, str) and not is_a(sequence, *_SEQUENCES):
        raise InputError(
            f"the sequence of {where} is {what_is(sequence)}; a sequence is text of residues"
        )
    try:
        return "".join(str(sequence).split())
    except Exception as error:  # Biopython's UndefinedSequenceError, a ValueError of a length alone
        raise InputError(f"the sequence of {where} is not known ({error})") from None


def is_sparse(given: Any) -> bool:
    """Return whether something is a sparse matrix of SciPy's."""
    return is_a(given, "scipy.sparse.spmatrix", "scipy.sparse.sparray")


def is_fasta_text(text: str) -> bool:
    """Return whether a text is that of a FASTA file rather than a sequence."""
    return text.lstrip().startswith(">")


# ------------------------------------------------------------------------------------ pairs


def lone_pair(given: Any) -> Protein | str | None:
    """Return the protein of an (ID, sequence) tuple; None if it is no such tuple.

    The first is an ID if it has a character that no sequence has. Two texts of letters may be two
    sequences: they are, if the first is longer than any ID; otherwise nobody can tell.
    """
    if not isinstance(given, tuple) or len(given) != 2 or not is_one(given[1]):
        return None
    first = given[0]
    if not isinstance(first, str):
        return None if is_one(first) or isinstance(first, tuple) else pair_of(given, "the tuple")
    if not all(letter.isalpha() or letter in "-.* \t\n" for letter in first):
        return pair_of(given, "the tuple")
    if len(first) < _LONGEST_NAME:
        raise InputError(
            f"a tuple of two, such as ({shorten(first, 20)!r}, ...), may be an ID with its sequence "
            "or two sequences; write [(ID, sequence)] for the one, [first, second] for the other"
        )
    return None


def pair_of(pair: tuple[Any, Any], where: str) -> Protein | str:
    """Return the protein of an (ID, sequence) pair."""
    first, second = pair
    if not is_one(second):
        raise InputError(
            f"{where} is a pair whose second is {what_is(second)}; a pair is (ID, sequence)"
        )
    name = name_of(first, f"the first of {where}")
    if len(name) >= _LONGEST_NAME and set(name.upper()) <= ALLOWED_LETTERS:
        raise InputError(
            f"{where} is a pair of two sequences ({shorten(name, 20)!r} and another); a pair is "
            "(ID, sequence), so give all sequences in one list"
        )
    return one_of(second, where, name)


def refusal(given: Any) -> InputError:
    """Return the error for what holds no proteins: what arrived, and what to give instead."""
    what = what_is(given).replace("a ", "a sparse ", 1) if is_sparse(given) else what_is(given)
    return InputError(f"cannot take {what} for proteins; {_hint(given)}")


def _hint(given: Any) -> str:
    """Return what to give in place of something that is refused."""
    if isinstance(given, KeysView):
        return "the keys of a dict are IDs: give the dict itself"
    if isinstance(given, Set):
        return "a set has no order: give a list, such as sorted(...)"
    if isinstance(given, bytes | bytearray):
        return "give text, such as value.decode()"
    if hasattr(given, "read"):
        name = getattr(given, "name", None)
        which = f", {name!r}" if isinstance(name, str) else ""
        return f"give the path of the file{which}, not the open file"
    if isinstance(given, Mapping):
        return "give (ID, sequence) pairs, such as (row['id'], row['sequence'])"
    if isinstance(given, list):
        return "give one flat list of sequences, or (ID, sequence) tuples"
    return REMEDY
