"""FASTA as text: files opened, packed or not, and cut into records of bounded size.

However large a file or a line is, no more than one record is held, and of a record no more than
the longest protein could have: a packed file of a megabyte may unfold to any number of gigabytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from esmkit.errors import InputError
from esmkit.sequences.report import MAX_HEADER_BYTES
from esmkit.text import open_text, shorten

__all__ = ["LONGEST_PROTEIN", "fasta_records", "stem_of"]

LONGEST_PROTEIN = 1_000_000
"""Most residues of a record. The longest proteins known have some 45,000 (PKZILLA-1, Prymnesium
parvum: 45,212; Fallon et al. 2024, Science 385, 671); what is longer is a genome, or no sequence."""

_LINE_PART = 2**16
"""Characters; longer lines are read in parts."""


def fasta_records(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the records of one file after checking that it is FASTA at all.

    The rules are Biopython's (``SimpleFastaParser``), which reads a line of any length at once.

    Yields
    ------
    header : str
        Without ``>`` and without white space at its end; of a longer one the first
        ``MAX_HEADER_BYTES + 1`` characters, so that it is seen to be too long.
    sequence : str
        Without blanks; of a longer one the first ``LONGEST_PROTEIN + 1`` letters, as soon as they
        are there.
    """
    name = "standard input" if str(path) == "-" else str(path)
    with open_text(path) as handle:
        first = _first_part(handle)
        if not first:
            raise InputError(f"{name!r} is empty; a FASTA file has a '>' line for each protein")
        if not first.startswith(">"):
            raise InputError(
                f"{name!r} is not FASTA: it begins with {shorten(first.strip(), 30)!r} where "
                "a line that begins with '>' should stand"
            )
        yield from _records(first, handle)


def _first_part(handle: IO[str]) -> str:
    """Return the first line that is not blank, or the beginning of it."""
    while part := handle.readline(_LINE_PART):
        if part.strip():
            return part
    return ""


def _records(part: str, handle: IO[str]) -> Iterator[tuple[str, str]]:
    """Yield (header, sequence); ``part`` is the beginning of the first header's line."""
    read = handle.readline
    while part:
        header = part[1 : MAX_HEADER_BYTES + 2].rstrip()
        while part and part[-1] != "\n":
            part = read(_LINE_PART)
        letters: list[str] = []
        size, begins_line = 0, True
        while part := read(_LINE_PART):
            if begins_line and part[0] == ">":
                break
            begins_line = part[-1] == "\n"
            if size > LONGEST_PROTEIN:
                continue  # the rest of a record that is left out
            piece = part.rstrip()
            if " " in piece:
                piece = piece.replace(" ", "")
            if piece:
                letters.append(piece)
                size += len(piece)
            if size > LONGEST_PROTEIN:
                yield header, "".join(letters)
        if size <= LONGEST_PROTEIN:
            yield header, "".join(letters)


def stem_of(source: str | Path) -> str:
    """Return the name of a FASTA file without folder and endings; it may be empty.

    >>> stem_of("runs/seqs.fasta.gz")
    'seqs'
    """
    name = Path(source).name
    for ending in (".gz", ".fasta", ".fa", ".faa", ".fas", ".pep"):
        name = name.removesuffix(ending)
    return name
