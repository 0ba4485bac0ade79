"""CIF text to its data blocks.

Biopython's ``MMCIF2Dict`` reads one block with names as written and forgets what was quoted. Here
keywords and names count in any case, each block is a table of its own, and a quoted word is never
a keyword (CIF 1.1, https://www.iucr.org/resources/cif/spec/version1.1/cifsyntax).
"""

import re
from collections.abc import Iterable, Iterator

__all__ = ["Block", "read_blocks"]

Block = dict[str, list[str]]
"""Values of each item of a data block, by its name in lower case: ``_atom_site.cartn_x``."""

ATOMS = "_atom_site."

_SPECIAL = re.compile("['\"#]")
_WORD = re.compile(
    r"""[ \t]*(?:(?P<comment>\#.*)
    |'(?P<single>(?:[^']|'(?=[^ \t]))*)'(?=[ \t]|$)
    |"(?P<double>(?:[^"]|"(?=[^ \t]))*)"(?=[ \t]|$)
    |(?P<bare>[^ \t'"\#][^ \t]*))""",
    re.VERBOSE,
)
_KEYWORD = re.compile(r"(data_.*|save_.*|loop_|stop_|global_)\Z", re.IGNORECASE)


class _Quoted(str):
    """A value that was quoted, so that it is neither a name nor a keyword."""

    __slots__ = ()


def read_blocks(lines: Iterable[str]) -> list[tuple[str, Block]]:
    """Return the name and the items of each data block, in file order.

    Parameters
    ----------
    lines : iterable of str
        Lines without their ends.

    Raises
    ------
    ValueError
        If a quote or a text is not closed, a loop has values but no names, or a block has two
        tables of atoms.

    Examples
    --------
    >>> read_blocks(["DATA_X", "loop_", "_a.B", "1", "'2 x'", "_c.d 3"])
    [('X', {'_a.b': ['1', '2 x'], '_c.d': ['3']})]
    """
    blocks: list[tuple[str, Block]] = []
    items: Block = {}
    columns: list[list[str]] = []  # of the loop that is being read
    looping, count, waiting = False, 0, ""
    for token in _tokens(lines):
        is_bare = type(token) is str
        if is_bare and token[0] in "dDsSlLgG" and not waiting and _KEYWORD.match(token):
            looping, columns, count = token.lower() == "loop_", [], 0
            if token[:5].lower() == "data_":
                blocks.append((token[5:], items := {}))
            elif token[:5].lower() == "save_":  # a frame of a dictionary holds no atoms
                items = {} if len(token) > 5 else blocks[-1][1]
        elif is_bare and token[0] == "_" and not (looping and count and count % len(columns)):
            name = token.lower()
            if looping and count:
                looping = False
            if looping:
                if name.startswith(ATOMS) and name in items:
                    raise ValueError("two tables of atoms in one data block")
                items[name] = []
                columns.append(items[name])
            else:
                waiting = name
        elif looping:
            if not columns:
                raise ValueError(f"a loop without names, before {str(token)!r}")
            columns[count % len(columns)].append(token)
            count += 1
        elif waiting:
            items[waiting], waiting = [token], ""
    return blocks


def _tokens(lines: Iterable[str]) -> Iterator[str]:
    """Yield the words of the text; those that were quoted as ``_Quoted``."""
    rest = iter(lines)
    for line in rest:
        if line.startswith(";"):
            text = [line[1:].rstrip()]
            for line in rest:
                if line.startswith(";"):
                    break
                text.append(line.rstrip())
            else:
                raise ValueError("Missing closing semicolon")
            yield _Quoted("\n".join(text))
            line = line[1:].rstrip()
            if line and line[0] not in " \t":
                raise ValueError("Missing whitespace")
        if _SPECIAL.search(line) is None:
            yield from filter(None, line.strip().replace("\t", " ").split(" "))
        else:
            yield from _words(line.strip())


def _words(line: str) -> Iterator[str]:
    """Yield the words of a line that has quotes or a comment in it."""
    place = 0
    while place < len(line):
        found = _WORD.match(line, place)
        if found is None:
            raise ValueError(f"Line ended with quote open: {line}")
        kind = found.lastgroup or ""
        if kind == "comment":
            return
        yield found["bare"] if kind == "bare" else _Quoted(found[kind])
        place = found.end()
