"""FASTA as text: files opened, packed or not, and cut into records of bounded size.

However large a file or a line is, no more than one record is held, and of a record no more than
the longest protein could have: a packed file of a megabyte may unfold to any number of gigabytes.
"""

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from esmkit.errors import InputError
from esmkit.sequences.formats import looks_like_pir, remedy_for, to_fasta
from esmkit.sequences.ids import id_in
from esmkit.sequences.letters import LONGEST_PROTEIN
from esmkit.sequences.report import MAX_HEADER_BYTES
from esmkit.text import open_text, shorten, visible

__all__ = ["Record", "check_there", "fasta_records", "stem_of"]

_LINE_PART = 2**16
"""Characters; longer lines are read in parts."""


_TEXT_KEPT = 500
"""Characters of a line with blanks that are kept as they are, to see whether they are words."""


_LIKE_A_MARK = ("\uff1e", "\ufe65", "&gt;")
"""What word processors with wide letters, and web pages, make of ``>``."""


_TOKEN = re.compile(r"</?\w+>")
"""``<mask>`` or ``<NA>``: a word in brackets, whose ``>`` begins no record; its letters are refused."""


class Record(NamedTuple):
    """One record as it stands in a file, or as it was given in memory.

    Attributes
    ----------
    header : str
        Without ``>`` and without white space at its end; of a longer one the first
        ``MAX_HEADER_BYTES + 1`` characters, so that it is seen to be too long.
    sequence : str
        Without blanks; of a longer one the first ``LONGEST_PROTEIN + 1`` letters.
    source : str
        The file; of a record in memory its ID.
    number : int
        Number of the record in its file, from 1; 0 in memory.
    line : int
        Number of the header's line, from 1; 0 in memory.
    text : str
        The beginning of the first line of the sequence that has blanks inside; empty if none has.
    name : str
        The ID that the record goes by, if it is known already.
    """

    header: str
    sequence: str
    source: str
    number: int = 0
    line: int = 0
    text: str = ""
    name: str = ""


def check_there(path: str | Path) -> None:
    """Open a file that can be opened twice, for the error if it cannot be opened at all.

    Raises
    ------
    InputError
        See :func:`esmkit.text.open_text`.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        mode = stat.S_IFREG  # to be opened, which says what is wrong with it
    if str(path) != "-" and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        with open_text(path):  # what is read from a pipe would be gone
            pass


def fasta_records(path: str | Path, name: str = "") -> Iterator[Record]:
    """Yield the records of one file after checking that it is FASTA at all.

    The rules are Biopython's (``SimpleFastaParser``), which reads a line of any length at once; but
    a ``>`` inside a line of a sequence, where a line end is missing, is an error.

    Parameters
    ----------
    path : str or Path
        The file; ``-`` is standard input.
    name : str
        What to call it in messages, if it is the copy of another.

    Yields
    ------
    Record
        One whose sequence is too long as soon as that is seen.

    Raises
    ------
    InputError
        If the file is not FASTA, or a line end is missing before ``>``.
    """
    name = name or ("standard input" if str(path) == "-" else str(path))
    with open_text(path) as handle:
        first, line = _first_part(handle)
        if not first:
            raise InputError(f"{name!r} is empty; a FASTA file has a '>' line for each protein")
        if not first.startswith(">"):
            remedy = remedy_for(first, name)
            raise InputError(
                f"{name!r} is not FASTA: it begins with {shorten(first.strip(), 30)!r} where "
                f"a line that begins with '>' should stand{'; ' * bool(remedy)}{remedy}"
            )
        yield from _records(first, handle, name, line)


def _first_part(handle: IO[str]) -> tuple[str, int]:
    """Return the first line that is not blank, or the beginning of it, and its number."""
    line = 1
    while part := handle.readline(_LINE_PART):
        if part.strip():
            return part, line
        line += part[-1] == "\n"
    return "", line


def _records(part: str, handle: IO[str], name: str, line: int) -> Iterator[Record]:
    """Yield records; ``part`` is the beginning of the first header's line."""
    read = handle.readline
    number = 0
    while part:
        number += 1
        header = part[1 : MAX_HEADER_BYTES + 2].rstrip()
        if looks_like_pir(header):
            raise _pir(name, header, line)
        begun = line
        while part and part[-1] != "\n":
            part = read(_LINE_PART)
        line += 1
        letters: list[str] = []
        size, begins_line, text = 0, True, ""
        while part := read(_LINE_PART):
            like_a_mark = begins_line and part.startswith(_LIKE_A_MARK)
            if ">" in part or like_a_mark:
                if begins_line and part[0] == ">":
                    break
                if like_a_mark or ">" in _TOKEN.sub("", part):
                    raise _line_end_missing(
                        part, header, f"{name!r}, line {line:,}, record {number:,}"
                    )
            begins_line = part[-1] == "\n"
            line += begins_line
            if size > LONGEST_PROTEIN:
                continue  # the rest of a record that is left out
            piece = part.rstrip()
            if " " in piece:
                text = text or piece[:_TEXT_KEPT].strip()
                piece = piece.replace(" ", "")
            if piece:
                letters.append(piece)
                size += len(piece)
            if size > LONGEST_PROTEIN:
                yield Record(header, "".join(letters), name, number, begun)
        if size <= LONGEST_PROTEIN:
            text = text if " " in text else ""
            yield Record(header, "".join(letters), name, number, begun, text)


def _line_end_missing(part: str, header: str, where: str) -> InputError:
    """Return the error for a ``>`` that does not begin its line; what follows it may be a header."""
    before, _, after = part.partition(">")
    before, after = (visible(side.strip()) for side in (before, after))
    shown = f"{'…' * (len(before) > 12)}{before[-12:]}>{shorten(after, 12)}"
    where += f" ({shorten(id_in(header))!r})"
    if ">" not in part:
        return InputError(
            f"{where}: a line begins with {shorten(visible(part.strip()), 20)!r} where '>' is meant; "
            "write '>' in its place"
        )
    if "\0" in header:
        return InputError(
            f"{where} has a zero byte in its header; check that the file is text, and save it as "
            "UTF-8"
        )
    return InputError(
        f"{where}: a line end is missing before '>' in {shown!r} (were files joined of which one had "
        "no line end at its end?); begin a new line with that '>', or remove it"
    )


def _pir(name: str, header: str, line: int) -> InputError:
    """Return the error for a file of NBRF/PIR, whose titles would be read as residues."""
    return InputError(
        f"{name!r}, line {line:,}: {shorten('>' + header, 30)!r} is a header of NBRF/PIR, which has "
        f"a title on its second line; make FASTA of it with `{to_fasta(name, 'pir')}`"
    )


def stem_of(source: str | Path) -> str:
    """Return the name of a FASTA file without folder and endings; it may be empty.

    >>> stem_of("runs/seqs.fasta.gz")
    'seqs'
    """
    name = Path(source).name
    for ending in (".gz", ".fasta", ".fa", ".faa", ".fas", ".pep"):
        name = name.removesuffix(ending)
    return name
