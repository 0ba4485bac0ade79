"""Domains of proteins as people give them: ``kinase:10-120,SH2:130-200``, a table, or its file."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from esmkit.arguments import items_of, what_is, whole_number
from esmkit.errors import InputError, OptionError
from esmkit.paths import is_file
from esmkit.sequences.ids import find
from esmkit.text import open_text, shorten, visible

__all__ = ["Domain", "Domains", "GivenDomains", "parse_domains"]

GivenDomains: TypeAlias = (
    str | Path | Mapping[str, str | tuple[int, int]] | Iterable[tuple[str, int, int]]
)
"""What may be given for domains: text, the path of a table, a dict, a table, or a list."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "name": ("name", "domain", "feature", "region", "description"),
    "start": ("start", "begin", "from", "first"),
    "end": ("end", "stop", "to", "last"),
    "id": ("id", "protein", "accession", "uniprot", "protein_id"),
}
"""Columns of a table, by the names that people give them; without ``id`` it is about one protein."""

_ONE = re.compile(r"\s*(?P<name>.*?)\s*:\s*(?P<start>[0-9]{1,9})\s*[-–]\s*(?P<end>[0-9]{1,9})\s*")  # noqa: RUF001

_EXAMPLE = "kinase:10-120,SH2:130-200"


class Domain(NamedTuple):
    """A named stretch of residues, both ends counted from 1 and included."""

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Domains:
    """Domains, and of which protein: ID as it was given, empty for whichever there is."""

    parts: tuple[tuple[str, Domain], ...]

    def of_each(self, names: Sequence[str]) -> dict[str, tuple[Domain, ...]]:
        """Return the domains of each protein that has some, by start.

        Parameters
        ----------
        names : sequence of str
            IDs of all proteins, or their headers. IDs of a table that are not among them are left
            out: tables are of more proteins than are looked at.

        Raises
        ------
        OptionError
            If there are several proteins, and it is not said which is meant; or if the IDs are of
            none of them.

        Examples
        --------
        >>> parse_domains("SH3:84-140").of_each(["P12931"])
        {'P12931': (Domain(name='SH3', start=84, end=140),)}
        """
        meant: dict[str, str | None] = {}
        for owner in dict.fromkeys(owner for owner, _ in self.parts):
            if not owner and len(names) != 1:
                raise OptionError(
                    f"`domains` are of one protein, and there are {len(names):,}; give a table with "
                    "a column id, or take one protein with `ids`"
                )
            try:
                meant[owner] = find(names, owner) if owner else names[0]
            except KeyError:
                meant[owner] = None
        if not any(meant.values()):
            raise OptionError(
                f"`domains` are of {visible(shorten(next(iter(meant)), 30))!r}, and that is not "
                f"here; there is {visible(shorten(names[0], 30))!r}"
            )
        found: dict[str, list[Domain]] = {}
        for owner, domain in self.parts:
            name = meant[owner]
            if name is not None:
                found.setdefault(name, []).append(domain)
        return {name: tuple(sorted(d, key=lambda one: one[1:])) for name, d in found.items()}


def check_domains(domains: Iterable[Domain], residues: int, name: str = "") -> None:
    """Refuse domains that reach beyond their protein.

    Raises
    ------
    OptionError
        If one ends after the last of the residues.
    """
    for domain in domains:
        if domain.end > residues:
            whose = f" of {visible(name)!r}" if name else ""
            raise OptionError(
                f"domain {visible(domain.name)!r} of `domains` ends at {domain.end}, and the "
                f"residues{whose} are 1 to {residues:,}; count from the first residue of the "
                "sequence given"
            )


def parse_domains(given: Any) -> Domains:
    """Read domains as they are given, before anything is known of the proteins.

    Parameters
    ----------
    given : str, path, dict, pandas.DataFrame, or list of (name, start, end)
        Text such as ``kinase:10-120,SH2:130-200``; a CSV or TSV file with a line of column names
        ``name``, ``start`` and ``end``, and ``id`` where it is about several proteins, or a data
        frame of these; a dict from name to ``"10-120"`` or ``(10, 120)``. Residues count from 1.

    Raises
    ------
    OptionError, InputError
        If it is none of these, or a domain has no name or runs backwards.

    Examples
    --------
    >>> parse_domains("kinase:10-120").parts
    (('', Domain(name='kinase', start=10, end=120)),)
    >>> parse_domains({"kinase": (10, 120)}) == parse_domains([("kinase", 10, 120)])
    True
    """
    if isinstance(given, str) and _ONE.match(given):
        return Domains(tuple(("", _from_text(piece)) for piece in re.split(r"[,;]", given)))
    if isinstance(given, str | Path):
        return _from_file(Path(given))
    if isinstance(given, Mapping):
        parts = [_from_pair(name, ends) for name, ends in given.items()]
    elif hasattr(given, "columns") and hasattr(given, "to_dict"):
        return _from_rows(list(map(str, given.columns)), given.to_numpy().tolist(), "the table")
    else:
        items = items_of(given)
        if items is None:
            raise _not_domains(given)
        parts = [
            _domain(*item) if isinstance(item, list | tuple) and len(item) == 3 else _refuse(item)
            for item in items
        ]
    if not parts:
        raise OptionError(f"`domains` names none; give some, such as {_EXAMPLE}, or leave it out")
    return Domains(tuple(("", part) for part in parts))


def _from_text(piece: str) -> Domain:
    found = _ONE.fullmatch(piece)
    return (
        _domain(found["name"], int(found["start"]), int(found["end"])) if found else _refuse(piece)
    )


def _from_pair(name: Any, ends: Any) -> Domain:
    if isinstance(ends, str):
        return _from_text(f"{name}:{ends}")
    pair = items_of(ends)
    return _domain(name, *pair) if pair is not None and len(pair) == 2 else _refuse(ends)


def _domain(name: Any, start: Any, end: Any) -> Domain:
    """Return a domain, its ends as they come out of a table: whole numbers, or text of them."""
    first, last = _number(start), _number(end)
    label = name.strip() if isinstance(name, str) else ""
    if not label:
        raise OptionError(f"a domain of `domains` has a name, not {what_is(name)}; give {_EXAMPLE}")
    if first is None or last is None or first < 1:
        wrong = start if first is None or first < 1 else end
        raise OptionError(
            f"domain {visible(shorten(label, 30))!r} of `domains` begins and ends at residues "
            f"counted from 1, not at {what_is(wrong)}; give {_EXAMPLE}"
        )
    if last < first:
        raise OptionError(
            f"domain {visible(shorten(label, 30))!r} of `domains` runs backwards; write "
            f"{last}-{first}"
        )
    return Domain(label, first, last)


def _number(value: Any) -> int | None:
    number = whole_number(value)
    if number is None and isinstance(value, float) and value.is_integer():
        return int(value)  # a column with a gap is one of floats
    if number is None and isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return int(value)
    return number


def _from_file(path: Path) -> Domains:
    if not is_file(path):
        raise InputError(
            f"`domains` is neither domains such as {_EXAMPLE} nor a file that is there: "
            f"{visible(shorten(str(path)))!r}; give one of these"
        )
    with open_text(path, kind="a table", example="a CSV with columns name, start and end") as lines:
        text = [line for line in lines if line.strip() and not line.startswith("#")]
    if not text:
        raise InputError(f"{str(path)!r} is empty; give a table with columns name, start and end")
    delimiter = "\t" if "\t" in text[0] else ";" if ";" in text[0] and "," not in text[0] else ","
    try:
        first, *rows = csv.reader(text, delimiter=delimiter)
    except csv.Error as error:
        raise InputError(
            f"{str(path)!r} cannot be read as a table ({error}); write a CSV"
        ) from None
    return _from_rows(first, rows, repr(str(path)))


def _from_rows(columns: list[str], rows: list[list[Any]], where: str) -> Domains:
    named = [column.strip().lstrip("\ufeff").casefold() for column in columns]
    place: dict[str, int] = {}
    for wanted, names in COLUMNS.items():
        there = [named.index(name) for name in names if name in named]
        if there:
            place[wanted] = there[0]
        elif wanted != "id":
            raise InputError(
                f"{where} has no column {wanted}; `domains` takes a table with columns name, start "
                "and end, and id where it is about several proteins"
            )
    parts = []
    for number, row in enumerate(rows, 2):
        if len(row) < len(columns):
            raise InputError(
                f"{where}, line {number}: {len(row)} cells and {len(columns)} columns; give each "
                "domain a name, a start and an end"
            )
        domain = _domain(str(row[place["name"]]), row[place["start"]], row[place["end"]])
        parts.append((str(row[place["id"]]).strip() if "id" in place else "", domain))
    if not parts:
        raise InputError(f"{where} has no rows; give each domain one, or leave `domains` out")
    return Domains(tuple(parts))


def _refuse(given: Any) -> Domain:
    raise _not_domains(given)


def _not_domains(given: Any) -> OptionError:
    return OptionError(
        f"`domains` are names with their residues, such as {_EXAMPLE}, or a table with columns name, "
        f"start and end, not {what_is(given)}"
    )
