"""Which protein each name in a file means: by ID, header, part of it, hash, sequence or place."""

import hashlib
import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from esmkit.errors import InputError
from esmkit.sequences.ids import by_name, names_in
from esmkit.sequences.proteins import Protein
from esmkit.text import shorten, visible

__all__ = ["Pairing", "pair"]

_LISTED = 3


@dataclass(frozen=True)
class Pairing:
    """Names of a file and the proteins that they mean.

    Attributes
    ----------
    proteins : dict from str to int
        Place of the protein in the FASTA, by name in the file, in the order of the file.
    by_place : bool
        Whether names are numbers that were taken for places.
    distinct : bool
        Whether those are places among the proteins without such as have the sequence of one before.
    absent : list of int
        Proteins that the file does not have.
    unknown : list of str
        Names in the file that mean no protein.
    repeated : list of str
        Names that are there once more than there are such proteins.
    """

    proteins: dict[str, int]
    by_place: bool = False
    absent: list[int] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    distinct: bool = False


def _plain(name: str) -> str:
    """Return a name as programs write it that allow few signs."""
    return re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").casefold()


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _only(forms: dict[str, list[int]]) -> dict[str, int]:
    return {form: places[0] for form, places in forms.items() if len(set(places)) == 1}


def _first_of(name: str) -> str:
    """Return the name of which ``name~2`` is the second.

    >>> _first_of("P1~2"), _first_of("P1")
    ('P1', 'P1')
    """
    return re.sub(r"~\d+$", "", name)


def _lookups(proteins: Sequence[Protein], taken: set[int]) -> list[Callable[[str], int | None]]:
    """Return the ways to find a protein by a name, the surest first."""
    ids = {protein.id: n for n, protein in enumerate(proteins)}
    headers: dict[str, list[int]] = {}
    sequences: dict[str, list[int]] = {}
    plain: dict[str, list[int]] = {}
    for n, protein in enumerate(proteins):
        headers.setdefault(protein.header, []).append(n)
        sequences.setdefault(protein.sequence, []).append(n)
        for form in {_plain(protein.id), _plain(protein.header)}:
            plain.setdefault(form, []).append(n)
    hashes = {_md5(sequence): places for sequence, places in sequences.items()}
    places_of_forms = {form: [ids[one] for one in meant] for form, meant in by_name(ids).items()}
    exact = [ids, _only(headers), _only(places_of_forms), _only(plain)]
    exact += [_only(hashes), _only(sequences)]
    waiting = {header: deque(places) for header, places in headers.items()}

    def by_part(name: str) -> int | None:
        forms = names_in(name)
        found = {ids[form] for form in forms if form in ids}
        found |= {exact[2][form] for form in forms if form in exact[2]}
        return found.pop() if len(found) == 1 else None

    def by_header(name: str) -> int | None:
        # of several proteins with one header, the next
        places = waiting.get(name) or waiting.get(_first_of(name), deque())
        while places and places[0] in taken:
            places.popleft()
        return places[0] if places else None

    def plain_one(name: str) -> int | None:
        return exact[3].get(_plain(name))

    return [
        exact[0].get,
        by_header,
        exact[2].get,
        by_part,
        plain_one,
        exact[4].get,
        exact[5].get,
    ]


def _numbers(names: Sequence[str]) -> dict[str, int] | None:
    """Return the places that names tell which are nothing but numbered, from 0 or 1; else None.

    HDF5 and folders list ``seq_10`` before ``seq_2``, so that the order of the file says nothing.

    >>> _numbers(["seq_1", "seq_3", "seq_2"])
    {'seq_1': 0, 'seq_3': 2, 'seq_2': 1}
    >>> _numbers(["P12345", "P69905"])
    """
    found = [re.fullmatch(r"(\D*)([0-9]{1,9})", name) for name in names]
    stems = {match and match[1].casefold() for match in found}
    places = [int(match[2]) for match in found if match]
    if len(stems) != 1 or None in stems or min(places) > 1:
        return None
    if sorted(places) != list(range(min(places), min(places) + len(names))):
        return None
    return {name: place - min(places) for name, place in zip(names, places, strict=True)}


def pair(names: Sequence[str], proteins: Sequence[Protein], path: str) -> Pairing:
    """Find the protein that each name of a file means.

    Parameters
    ----------
    names : sequence of str
        In the order of the file; such as are numbered from 0 or 1, all of them, mean places: among
        all proteins, or among those of different sequences where there are as many.
    proteins : sequence of Protein
    path : str
        The file, for messages.

    Raises
    ------
    InputError
        If no name means any protein.

    Examples
    --------
    >>> proteins = [Protein("sp|P69905|HBA_HUMAN", "MV"), Protein("1UBI_A", "MQ")]
    >>> pair(["1ubi_a", "P69905"], proteins, "x.h5").proteins
    {'1ubi_a': 1, 'P69905': 0}
    """
    found: dict[str, int] = {}
    taken: set[int] = set()
    lookups = _lookups(proteins, taken)
    for name in names:
        for lookup in lookups:
            place = lookup(name)
            if place is not None and place not in taken:
                found[name] = place
                taken.add(place)
                break
    if found:
        absent = [n for n in range(len(proteins)) if n not in taken]
        left = [name for name in names if name not in found]
        repeated = {name for name in left if _first_of(name) != name and _first_of(name) in found}
        unknown = [name for name in left if name not in repeated]
        again = [_first_of(name) for name in left if name in repeated]
        return Pairing(found, False, absent, unknown, again)
    numbers = _numbers(names)
    if numbers is not None and len(names) == len(proteins):
        return Pairing(numbers, True)
    firsts = list({protein.sequence: n for n, protein in reversed([*enumerate(proteins)])}.values())
    firsts.sort()
    if numbers is not None and len(names) == len(firsts):  # made of each sequence once
        kept = {name: firsts[place] for name, place in numbers.items()}
        again = sorted({*range(len(proteins))} - {*firsts})
        return Pairing(kept, True, again, distinct=True)
    theirs = ", ".join(repr(shorten(visible(name))) for name in names[:_LISTED])
    ours = ", ".join(repr(shorten(visible(p.id))) for p in proteins[:_LISTED])
    if numbers is not None:
        raise InputError(
            f"{path!r} has {len(names):,} records without IDs and there are {len(proteins):,} proteins"
            + (f" of {len(firsts):,} different sequences" if len(firsts) < len(proteins) else "")
            + ", so whose is whose cannot be told; write IDs beside the records, or give a FASTA of "
            "these records only"
        )
    raise InputError(
        f"no record of {path!r} ({theirs}) has the ID of a protein ({ours}); give the FASTA that it "
        "was made of"
    )
