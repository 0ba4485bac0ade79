"""The header of a record: its ID, and what makes it unusable.

The ID is the first word. NCBI's files of non-redundant proteins write several headers in one line
with a Start-of-Heading character (Ctrl-A, written ``^A``) between them; it ends an ID as well.
"""

import re

from esmkit.sequences.ids import id_in
from esmkit.sequences.letters import ALLOWED_LETTERS, RecordError
from esmkit.sequences.report import MAX_HEADER_BYTES
from esmkit.text import shorten

__all__ = ["MAX_ID_BYTES", "check_id", "record_id"]

MAX_ID_BYTES = 4_096
"""IDs name datasets and table rows; longer ones are a broken file, not a name."""

_SKIP = '`on_invalid="skip"` leaves the record out'

_SEPARATOR = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
"""Characters that end a line in Unicode, as in :meth:`str.splitlines`, but not in a FASTA file."""

_FEWEST_LETTERS = 5
"""Capital letters after such a character that look like the sequence, not like the description."""


def record_id(header: str, where: str, number: int = 1) -> str:
    r"""Return the ID of a header, if it can be the name of a dataset, a table row and a figure.

    Parameters
    ----------
    header : str
        The header line without ``>``.
    where : str
        What to call the record in an error message.
    number : int
        Number of the record, for a name to propose.

    Returns
    -------
    str
        The first word; what follows a ``^A`` does not belong to it.

    Raises
    ------
    RecordError
        If there is none, it is very long or holds a character that cannot be seen, or the header
        holds a zero byte or the beginning of the sequence.

    Examples
    --------
    >>> record_id("XP_1.1\x01XP_2.1 protein", "record 1")
    'XP_1.1'
    """
    name = id_in(header)
    if "\0" in header:
        raise _error(
            f"{where} has a zero byte in its header ({shorten(name)!r})",
            "check that the file is text",
        )
    for separator in _SEPARATOR.finditer(header):
        line = _SEPARATOR.split(header[separator.end() :], maxsplit=1)[0].strip()
        if line.startswith(">") or (len(line) >= _FEWEST_LETTERS and set(line) <= ALLOWED_LETTERS):
            raise _error(
                f"{where} has U+{ord(separator[0]):04X} in its header where a line should end, "
                f"before {shorten(line, 20)!r}",
                "write a line end in its place",
            )
    if not name:
        raise _error(f"{where} has no ID after '>'", f"give it a name, such as '>protein_{number}'")
    return check_id(name, where)


def check_id(name: str, where: str) -> str:
    """Return an ID as it is, if it can be the name of a dataset, a table row and a figure.

    Raises
    ------
    RecordError
        If it is very long, or holds a character that cannot be seen.
    """
    size = len(name.encode(errors="replace"))
    if size > MAX_ID_BYTES:
        more = f"over {MAX_HEADER_BYTES:,}" if size > MAX_HEADER_BYTES else f"{size:,}"
        raise _error(
            f"{where} has an ID of {more} bytes ({shorten(name, 30)!r})",
            "put a space after the name, so that the rest is a description",
        )
    if not name.isprintable():
        raise _error(
            f"{where} has an ID with an invisible character ({shorten(name)!r})",
            "rename the record, or check that the file is text",
        )
    return name


def _error(reason: str, remedy: str) -> RecordError:
    return RecordError(f"{reason}; {remedy}, or {_SKIP}")
