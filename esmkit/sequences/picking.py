"""Records of FASTA files picked out by their IDs."""

from collections.abc import Iterable, Iterator, Sequence

from esmkit.arguments import items_of, what_is
from esmkit.errors import OptionError
from esmkit.sequences.fasta import Record
from esmkit.sequences.headers import record_id
from esmkit.sequences.ids import UniqueIds, by_name, matching, names_in, unknown_id
from esmkit.sequences.letters import RecordError
from esmkit.sequences.report import InputReport

__all__ = ["checked_ids", "picked"]

_MOST_OFFERED = 50_000
"""IDs kept of those not asked for, to offer those that are near."""


def checked_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the IDs asked for, each once, after checking that they are some.

    Raises
    ------
    OptionError
        If they are text, which would be taken letter by letter, or none, or not text.
    """
    if isinstance(ids, str):
        raise OptionError(f"`ids` is a list of IDs, not text; give [{ids!r}]")
    given = items_of(ids)
    if given is None:
        raise OptionError(f"`ids` is a list of IDs, not {what_is(ids)}")
    for one in given:
        if not isinstance(one, str) or not one.strip():
            raise OptionError(f"an ID is text that is not empty, not {what_is(one)}")
    ids = tuple(dict.fromkeys(given))
    if not ids:
        raise OptionError("`ids` is empty; give at least one ID, or leave `ids` out")
    return ids


def picked(records: Iterable[Record], ids: Sequence[str], report: InputReport) -> Iterator[Record]:
    """Yield the records asked for in the order of the file, once it is read to its end.

    Parameters
    ----------
    records : iterable of Record
        All records.
    ids : sequence of str
        See :func:`esmkit.sequences.ids.matching`; a repeated ID goes by ``ID~2`` as without them.
    report : InputReport
        Told how many are left out.

    Yields
    ------
    Record
        With its ``name``. Those that are kept are the ones that an ID may mean.

    Raises
    ------
    UnknownIdError
        If an ID means none, or several.
    """
    unique = UniqueIds()
    asked = frozenset(ids)
    kept: dict[str, Record] = {}
    others: list[str] = []
    for count, record in enumerate(records, 1):
        report.not_asked_for = count
        try:
            name = unique(record_id(record.header, ""))
        except RecordError:
            continue  # it cannot be asked for
        if name in asked or not asked.isdisjoint(names_in(record.header)):
            kept[name] = record._replace(name=name)
        elif len(others) < _MOST_OFFERED:
            others.append(name)
    wanted: set[str] = set()
    headers = {_header(name, record): name for name, record in kept.items()}
    meant = by_name(headers)
    for one in ids:
        found = [one] if one in kept else [headers[h] for h in matching(meant.get(one, ()), one)]
        if len(found) != 1:
            raise unknown_id(one, [*kept, *others], found)
        wanted.update(found)
    report.not_asked_for -= len(wanted)
    yield from (record for name, record in kept.items() if name in wanted)


def _header(name: str, record: Record) -> str:
    """Return a header with the ID that the record goes by, so that headers differ as IDs do."""
    return name + record.header.lstrip()[len(record.header.split(maxsplit=1)[0].split("\x01")[0]) :]
