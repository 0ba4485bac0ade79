"""What was given: one protein or many, each with its name, in whatever form a person has them.

This is the one place that decides it, for every function that takes proteins. Nothing is read as a
list of proteins merely because it iterates: a table iterates over the names of its columns, a
``dict`` over its keys, a sequence of Biopython over its residues.

========================================  ======================================================
One protein                               text of residues, :class:`Protein`, Biopython's ``Seq``,
                                          ``MutableSeq`` and ``SeqRecord``, a structure, a tuple
                                          (ID, sequence)
FASTA files                               a ``Path``, text with a dot or a slash in it, a list of
                                          these
Many proteins, with their IDs             a ``dict`` from ID to sequence; a table, by the names of
                                          its columns (:mod:`esmkit.sequences.tables`); a ``Series``
                                          with its index; (ID, sequence) pairs
Many proteins, with or without            a list, tuple, generator or array of one axis of any of
                                          the first
========================================  ======================================================

A protein without a name is called ``sequence_1``, ``sequence_2``, ... by its place.
"""

import itertools
import os
from collections import UserList, deque
from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    Set,
    ValuesView,
)
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from esmkit.arguments import what_is
from esmkit.errors import InputError
from esmkit.sequences.fasta import check_there
from esmkit.sequences.many import ProteinStream
from esmkit.sequences.one import (
    is_fasta_text,
    is_one,
    is_path,
    is_sparse,
    lone_pair,
    one_of,
    pair_of,
    refusal,
)
from esmkit.sequences.proteins import (
    ALLOWED_LETTERS,
    OnInvalid,
    Protein,
    clean_proteins,
    read_named,
)
from esmkit.sequences.tables import (
    ID_COLUMNS,
    SEQUENCE_COLUMNS,
    column_of_values,
    is_a,
    is_missing,
    name_of,
    named_rows,
    normalised,
)
from esmkit.text import shorten

__all__ = ["ManyProteins", "OneProtein", "one_or_many", "one_protein", "only_result"]

_Result = TypeVar("_Result")

_LISTS = (list, tuple, deque, UserList, ItemsView, ValuesView)
"""Lists, which are no sequence of residues of somebody's own class."""


class _BioSeq(Protocol):
    """Biopython's ``Seq`` and ``MutableSeq``, for a type checker."""

    def reverse_complement(self, *, inplace: bool = ...) -> Any: ...
    def translate(self) -> Any: ...


class _BioRecord(Protocol):
    """Biopython's ``SeqRecord``, for a type checker."""

    seq: Any
    id: Any
    description: Any


class _HasProtein(Protocol):
    """A structure, for a type checker."""

    @property
    def protein(self) -> Protein: ...


OneProtein: TypeAlias = str | Protein | _BioSeq | _BioRecord | _HasProtein
"""What is one protein."""

ManyProteins: TypeAlias = os.PathLike[str] | Iterable[Any]
"""What is many proteins."""


def one_or_many(
    proteins: OneProtein | ManyProteins, *, on_invalid: OnInvalid = "error"
) -> tuple[bool, ProteinStream]:
    """Tell one protein from many, and apply the input rules to what was given.

    What is no protein is refused here: every item of a list, table or dict is looked at, and the
    first item of an iterator. A file is opened and its first records are read.

    Parameters
    ----------
    proteins : see the top of this module
    on_invalid : {'error', 'replace', 'skip', 'degap'}
        As in :func:`esmkit.read_fasta`.

    Returns
    -------
    single : bool
        Whether it is one.
    stream : ProteinStream
        The proteins, read as they are asked for.

    Raises
    ------
    InputError
        If it is nothing that holds proteins; the message says what to give instead.

    Examples
    --------
    >>> single, stream = one_or_many("mkt")
    >>> single, [protein.sequence for protein in stream]
    (True, ['MKT'])
    >>> single, stream = one_or_many({"WT": "MKT", "M1A": "AKT"})
    >>> single, [(protein.id, protein.sequence) for protein in stream]
    (False, [('WT', 'MKT'), ('M1A', 'AKT')])
    """
    proteins = _looked_into(proteins)
    paths = _paths(proteins)
    if paths is not None:
        return False, _from_files(paths, on_invalid)
    one = one_of(proteins) if is_one(proteins) else lone_pair(proteins)
    if one is not None:
        return True, ProteinStream(clean_proteins([one], on_invalid=on_invalid), 1)
    items = _many(proteins)
    count = None
    if isinstance(items, list):
        count = None if on_invalid == "skip" else len(items)
    stream = ProteinStream(clean_proteins(items, on_invalid=on_invalid), count)
    stream.read_ahead(1)
    return False, stream.checked()


def one_protein(given: Any, purpose: str) -> Protein:
    """Return the protein, if exactly one was given.

    Raises
    ------
    InputError
        If there is none, or more.
    """
    _, stream = one_or_many(given)
    stream.read_ahead(2)
    found = list(itertools.islice(stream, 2))
    if len(found) == 1:
        return found[0]
    number = "none" if not found else "several" if stream.count is None else f"{stream.count:,}"
    raise InputError(f"{purpose}, and {number} are given; give a sequence or a Protein")


def only_result(results: Iterable[_Result], purpose: str) -> _Result:
    """Return the result for a single protein.

    Parameters
    ----------
    results : iterable
        One result, or none.
    purpose : str
        What the protein was for, such as ``embed``.

    Raises
    ------
    InputError
        If ``on_invalid="skip"`` has left the protein out.
    """
    for result in results:
        return result
    raise InputError(
        f'the sequence was left out by `on_invalid="skip"`; nothing is left to {purpose}'
    )


# ------------------------------------------------------------------------------------ files


def _looked_into(given: Any) -> Any:
    """Return paths that an iterator gives, such as that of ``glob``, as a list; else what is given."""
    if not isinstance(given, Iterator) or hasattr(given, "read") or _is_of_text(given):
        return given
    for first in given:
        rest = itertools.chain([first], given)
        return list(rest) if is_path(first) else rest
    return []


def _paths(given: Any) -> list[str | Path] | None:
    """Return the paths that were given, one or a list of them; None for anything else."""
    if isinstance(given, os.PathLike):
        return [_path(given)]
    if isinstance(given, str):
        names_file = any(mark in given for mark in "./\\") and not is_fasta_text(given)
        return [given] if names_file else None
    if isinstance(given, list | tuple) and given and all(map(is_path, given)):
        return [_path(path) for path in given]
    return None


def _path(path: Any) -> str | Path:
    text = os.fspath(path)
    return path if isinstance(path, str | Path) else Path(os.fsdecode(text))


def _from_files(paths: Sequence[str | Path], on_invalid: OnInvalid) -> ProteinStream:
    for path in paths:
        try:
            check_there(path)
        except InputError as error:
            letters = set(str(path)) - {".", "-", "*", "/"}
            if str(error).startswith("there is no file") and letters <= ALLOWED_LETTERS:
                if "/" in str(path):
                    what = "these are the chains of a complex, give each as a sequence of its own"
                else:
                    what = "this is an aligned sequence, remove its gaps"
                raise InputError(
                    f"there is no file {str(path)!r}; check the path, or if {what}"
                ) from None
            raise
    stream = ProteinStream(read_named(((path, "") for path in paths), on_invalid, None, None))
    stream.read_ahead(2)  # whether it is one record, the result can say then
    return stream.checked()


# ------------------------------------------------------------------------------------ many


def _many(given: Any) -> Iterable[Protein | str]:
    """Return the proteins of something that holds many: a list, or of an iterator an iterator."""
    if is_sparse(given):  # one kind of them is a dict as well
        raise refusal(given)
    rows = named_rows(given)
    if rows is not None:
        return [_value(value, where, name) for where, name, value in rows]
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if is_a(given, "Bio.Align.MultipleSeqAlignment"):
        given = list(given)
    values = column_of_values(given)
    if values is not None:
        given = values
    if isinstance(given, Set | KeysView) and not isinstance(given, ItemsView):
        raise refusal(given)
    is_list = isinstance(given, Sequence | ItemsView | ValuesView)
    if isinstance(given, bytes | bytearray | memoryview | range):
        is_list = False
    if is_list and not hasattr(given, "read"):
        items = [_item(item, number) for number, item in enumerate(given, 1)]
        if len(items) > 1 and not isinstance(given, _LISTS) and _is_of_letters(items):
            raise refusal(given)  # a sequence of a library that is not known here
        return items
    if isinstance(given, Iterator) and not hasattr(given, "read") and not _is_of_text(given):
        return _begun(_item(item, number) for number, item in enumerate(given, 1))
    raise refusal(given)


def _is_of_letters(items: list[Protein | str]) -> bool:
    """Return whether each item is a letter, as in one sequence that is iterated over."""
    return all(isinstance(item, str) and len(item) == 1 for item in items)


def _item(item: Any, number: int) -> Protein | str:
    where = f"item {number:,}"
    if isinstance(item, tuple):
        if len(item) != 2:
            raise InputError(
                f"{where} is a {type(item).__name__} of {len(item)}; give (ID, sequence) pairs, or "
                "sequences"
            )
        return pair_of(item, where)
    if is_path(item):
        raise InputError(
            f"{where} is a path ({shorten(str(item), 40)!r}) where a sequence belongs; give a list "
            "of paths alone, or of sequences alone"
        )
    return one_of(item, where)


def _value(value: Any, where: str, name: str | None) -> Protein | str:
    """Return the protein of a value beside its ID, which nothing nested is."""
    if not is_one(value):
        what = "missing" if is_missing(value) else what_is(value)
        raise InputError(f"{where} is {what}; a sequence belongs there")
    if is_path(value):
        raise InputError(f"{where} is a path ({shorten(str(value), 40)!r}), and no sequence")
    return one_of(value, where, name)


def _of_mapping(given: Mapping[Any, Any]) -> Iterable[Protein | str]:
    names = {normalised(key) for key in given if isinstance(key, str)} if len(given) < 99 else set()
    if names & set(SEQUENCE_COLUMNS) and names & set(ID_COLUMNS):
        raise InputError(
            f"the {type(given).__name__} has columns for keys ({', '.join(map(repr, given))}), not "
            "IDs; give pairs, such as zip(table['id'], table['sequence']), or for one record "
            "(row['id'], row['sequence'])"
        )
    found = (
        _value(value, f"the value of {what_is(key)}", name_of(key, "a key"))
        for key, value in given.items()
    )
    return list(found) if isinstance(given, dict) else _begun(found)


def _begun(items: Iterator[Protein | str]) -> Iterable[Protein | str]:
    """Return the same items after looking at the first."""
    for first in items:
        return itertools.chain([first], items)
    return []


def _is_of_text(given: Any) -> bool:
    """Return whether an iterator goes over the letters of a text, or the keys of a dict."""
    kind = type(given).__name__
    begins = ("str_", "dict_key", "dict_reversekey", "bytes_", "range_", "set_")
    return kind.startswith(begins)
