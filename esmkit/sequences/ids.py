"""The names under which a record may be asked for, and the one record that a name means.

``sp|P69905|HBA_HUMAN`` is asked for as P69905, or as HBA_HUMAN. The forms are those that UniProt
(uniprot.org/help/fasta-headers), NCBI (the "FASTA sequence identifiers" of the NCBI C++ Toolkit
book), UniRef, the AlphaFold database and PDB write.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable

from esmkit.errors import UnknownIdError
from esmkit.text import shorten, visible

__all__ = [
    "UniqueIds",
    "accession_of",
    "by_name",
    "find",
    "id_in",
    "matching",
    "names_in",
    "near",
    "unknown_id",
]

_UNIPROT = r"(?:[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})"
"""A UniProtKB accession number (uniprot.org/help/accession_numbers)."""

_ACCESSION = re.compile(rf"({_UNIPROT})(-[0-9]+)?(\.[0-9]+)?")
"""With the number of an isoform, or of a version of the sequence."""

_CLUSTER = re.compile(r"UniRef(?:100|90|50)_(.+)")
"""A cluster of UniRef is named after its representative (uniprot.org/help/uniref)."""

_ALPHAFOLD = re.compile(r"AF-(.+?)-F[0-9]+(?:-model_v[0-9]+)?")
"""An entry of the AlphaFold database (alphafold.ebi.ac.uk)."""

_VERSIONED = re.compile(r"([A-Za-z]\w*)\.[0-9]+")
"""``NP_000508.1``: an accession with the version of its sequence, as NCBI writes them."""

_PDB_CHAIN = re.compile(r"([0-9][A-Za-z0-9]{3})[_:](\w+)")
"""An entry of the Protein Data Bank and a chain of it."""

_TAGS = frozenset(
    [
        "sp",
        "tr",
        "ur",
        "gi",
        "ref",
        "gb",
        "emb",
        "dbj",
        "pdb",
        "pir",
        "prf",
        "lcl",
        "gnl",
        "bbs",
        "bbm",
        "gim",
        "pat",
        "pgp",
        "oth",
        "tpg",
        "tpe",
        "tpd",
        "gpp",
    ]
)
"""Words that say of which database the next part is; no record is asked for as ``sp``."""

_MOST_SHOWN = 5
"""Names that a message offers."""

_CLOSE_ENOUGH = 0.6
"""Similarity of a name that is offered, 0 to 1; difflib's own threshold."""

_LEAST_SHARED = 2
"""Characters of a name that is offered because it begins, or holds, what is asked for."""

_MOST_COMPARED = 50_000
"""Names that are compared with one that is not there; of a file with millions the first."""


def id_in(header: str) -> str:
    """Return the ID of a header: its first word, ended by a ``^A`` too; empty if there is none.

    >>> id_in("sp|P69905|HBA_HUMAN Hemoglobin subunit alpha")
    'sp|P69905|HBA_HUMAN'
    """
    words = header.split(maxsplit=1)
    return words[0].split("\x01", 1)[0] if words else ""


def names_in(header: str) -> tuple[str, ...]:
    """Return the names under which a record may be asked for, the whole ID first.

    Parameters
    ----------
    header : str
        A header without ``>``, or an ID alone. Of a header of NCBI with several, divided by
        ``^A``, all count.

    Returns
    -------
    tuple of str
        The surest first; empty for an empty header.

    Examples
    --------
    >>> names_in("sp|P69905|HBA_HUMAN Hemoglobin subunit alpha")
    ('sp|P69905|HBA_HUMAN', 'P69905', 'HBA_HUMAN')
    >>> names_in("NP_000508.1 hemoglobin")
    ('NP_000508.1', 'NP_000508')
    >>> names_in("UniRef100_P69905")
    ('UniRef100_P69905', 'P69905')
    """
    return tuple(dict.fromkeys(name for level in _levels(header) for name in level))


def _levels(header: str) -> tuple[list[str], list[str], list[str]]:
    """Return the whole ID, the names written in it, and names without version or isoform."""
    whole: list[str] = []
    written: list[str] = []
    for one in header.split("\x01"):
        name = id_in(one)
        if name:
            whole.append(name)
            written += _parts(name)
    # The IDs of other records that one of NCBI stands for are names of it, not its ID
    whole, written = whole[:1], [*whole[1:], *written]
    shorter: list[str] = []
    for name in (*whole, *written):
        if (
            ((found := _ACCESSION.fullmatch(name)) and found[0] != found[1])
            or (found := _VERSIONED.fullmatch(name))
            or (found := _PDB_CHAIN.fullmatch(name))
        ):
            shorter.append(found[1])
    return whole, written, shorter


def _parts(name: str) -> list[str]:
    """Return the names that an ID is made of."""
    parts = [part for part in name.split("|") if part]
    if len(parts) < 2:
        parts = []
    elif parts[0] == "pdb" and len(parts) == 3:
        parts = [f"{parts[1]}_{parts[2]}"]
    names = [part for part in parts if part.lower() not in _TAGS]
    for part in (name, *parts):
        for form in (_CLUSTER, _ALPHAFOLD):
            if found := form.fullmatch(part):
                names.append(found[1])
    return names


def matching(names: Iterable[str], wanted: str) -> list[str]:
    """Return the IDs that a name may mean: those it names best.

    Parameters
    ----------
    names : iterable of str
        IDs, or whole headers, in which other names of a record may stand.
    wanted : str
        What is asked for.

    Returns
    -------
    list of str
        The ID that is the name; else those in which it is written, as a part between ``|``; else
        those of which it is the name without version, isoform or chain. Empty if there is none.

    Examples
    --------
    >>> matching(["sp|P69905|HBA_HUMAN", "sp|P68871|HBB_HUMAN"], "P68871")
    ['sp|P68871|HBB_HUMAN']
    """
    found: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name in names:
        if name == wanted:
            return [name]
        # Most names do not hold what is asked for, and are done with
        if wanted in name:
            for level, of_level in zip(found, _levels(name), strict=True):
                if wanted in of_level:
                    level.append(name)
    return next((list(dict.fromkeys(level)) for level in found if level), [])


def by_name(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the IDs that each other name may mean, so that many names are looked up quickly.

    Parameters
    ----------
    names : iterable of str
        IDs, or whole headers.

    Returns
    -------
    dict of list of str
        Candidates for :func:`matching`. An ID itself is no key: it means itself.

    Examples
    --------
    >>> by_name(["sp|P69905|HBA_HUMAN", "1UBI"])
    {'P69905': ['sp|P69905|HBA_HUMAN'], 'HBA_HUMAN': ['sp|P69905|HBA_HUMAN']}
    """
    found: dict[str, list[str]] = {}
    for name in names:
        for form in names_in(name):
            if form != name:
                found.setdefault(form, []).append(name)
    return found


def find(names: Iterable[str], wanted: str) -> str:
    """Return the one ID that a name means.

    Parameters
    ----------
    names : iterable of str
        IDs; they are gone through twice if none is meant.
    wanted : str
        What is asked for.

    Returns
    -------
    str
        The ID as it is in ``names``.

    Raises
    ------
    UnknownIdError
        If none is meant, with those that are near; or if several are, with their IDs.

    Examples
    --------
    >>> find(["sp|P69905|HBA_HUMAN", "sp|P68871|HBB_HUMAN"], "P69905")
    'sp|P69905|HBA_HUMAN'
    """
    names = list(names) if not isinstance(names, list | tuple) else names
    found = matching(names, wanted) if isinstance(wanted, str) else []
    if len(found) == 1:
        return found[0]
    raise unknown_id(wanted, names, found)


def near(names: Iterable[str], wanted: str) -> list[str]:
    """Return the IDs that are most like a name which none of them has, at most five.

    Parameters
    ----------
    names : iterable of str
        IDs; of very many the first 50,000 are compared.
    wanted : str
        What is asked for.

    Returns
    -------
    list of str
        The nearest first; without regard to capitals.

    Examples
    --------
    >>> near(["sp|P69905|HBA_HUMAN", "sp|P68871|HBB_HUMAN"], "p69906")
    ['sp|P69905|HBA_HUMAN']
    """
    home: dict[str, str] = {}
    for count, name in enumerate(names):
        if count == _MOST_COMPARED:
            break
        for form in names_in(name):
            home.setdefault(form.casefold(), name)
    asked = wanted.casefold()
    close = difflib.get_close_matches(asked, home, n=2 * _MOST_SHOWN, cutoff=_CLOSE_ENOUGH)
    if len(asked) >= _LEAST_SHARED:
        close += [form for form in home if asked in form or form in asked][: 2 * _MOST_SHOWN]
    return list(dict.fromkeys(home[form] for form in close))[:_MOST_SHOWN]


def unknown_id(
    wanted: object, names: Iterable[str], found: Iterable[str] = (), where: str = ""
) -> UnknownIdError:
    """Return the error for a name that means no record, or several.

    Parameters
    ----------
    wanted : object
        What is asked for.
    names : iterable of str
        The IDs that there are.
    found : iterable of str
        Those that it may mean.
    where : str
        What holds the records, such as ``of 'x.h5'``.
    """
    found = list(found)
    asked = f"{_shown(wanted)}{' ' * bool(where)}{where}"
    if found:
        return UnknownIdError(
            f"the ID {asked} may mean {len(found):,} records: {_listed(found)}; give the whole ID "
            "of one"
        )
    names = list(names)
    if not isinstance(wanted, str):
        return UnknownIdError(f"an ID is text, not {asked}; give one such as {_listed(names[:1])}")
    close = near(names, wanted)
    if close:
        return UnknownIdError(f"there is no ID {asked}; near ones are {_listed(close)}")
    if not names:
        return UnknownIdError(f"there is no ID {asked}: there are no records")
    return UnknownIdError(
        f"there is no ID {asked}; there are {len(names):,}, such as {_listed(names[:3])}"
    )


def _shown(name: object) -> str:
    return repr(shorten(visible(name))) if isinstance(name, str) else type(name).__name__


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN:,} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(map(_shown, names[:_MOST_SHOWN])) + more


def accession_of(name: str) -> str:
    """Return the accession number in an ID, for tables to be joined by; else the ID itself.

    Parameters
    ----------
    name : str
        An ID.

    Returns
    -------
    str
        UniProt's accession number, with the number of an isoform, if the ID has one as a part
        between ``|``, in the name of a UniRef cluster or of an entry of the AlphaFold database.

    Examples
    --------
    >>> accession_of("sp|P69905|HBA_HUMAN"), accession_of("UniRef50_P69905"), accession_of("1UBI_A")
    ('P69905', 'P69905', '1UBI_A')
    """
    for part in (*(p for p in name.split("|")), *_parts(name)):
        if found := _ACCESSION.fullmatch(part):
            return found[1] + (found[2] or "")
    return name


class UniqueIds:
    """Makes IDs unique in input order: ``ID``, ``ID~2``, ``ID~3``.

    Only 64-bit hashes are kept (about 65 MB for a million IDs). Two different IDs with one hash,
    odds of 3 in 10^8 for a million, cost nothing worse than a needless ``~2``.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._next: dict[int, int] = {}

    def __call__(self, name: str) -> str:
        """Return the name, or the next that is free."""
        key = _hash64(name)
        if key not in self._seen:
            self._seen.add(key)
            return name
        number = self._next.get(key, 2)
        while _hash64(f"{name}~{number}") in self._seen:
            number += 1
        self._next[key] = number + 1
        unique = f"{name}~{number}"
        self._seen.add(_hash64(unique))
        return unique


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
