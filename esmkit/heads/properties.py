"""Properties that a head may look for: labels of pairs of residues, or of the residue looked at.

Further ones are a :class:`Property` with a name and a function, or annotations from a table.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from esmkit.contacts.scores import RANGES
from esmkit.errors import InputError, OptionError
from esmkit.sequences.proteins import AMINO_ACIDS

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["OFFSETS", "Property", "read_annotations", "standard_properties"]

OFFSETS = tuple(offset for offset in range(-4, 5))
"""Fixed offsets (key - query) that are properties of their own."""

HELIX_STEPS = (3, 4)
"""Residues between partners in a helix: i to i + 3 and i + 4 face each other."""

AMINO_ACID_NAMES = dict(
    zip(
        "ACDEFGHIKLMNPQRSTVWY",
        (
            *("alanine", "cysteine", "aspartate", "glutamate", "phenylalanine", "glycine"),
            *("histidine", "isoleucine", "lysine", "leucine", "methionine", "asparagine"),
            *("proline", "glutamine", "arginine", "serine", "threonine", "valine"),
            *("tryptophan", "tyrosine"),
        ),
        strict=True,
    )
)


@dataclass(frozen=True)
class Property:
    """One thing to look for.

    Attributes
    ----------
    name : str
        As it stands in the tables.
    kind : {'pair', 'residue', 'offset'}
        What ``labels`` returns: for ``pair`` bool (R, R), ``[query, key]``; for ``residue`` bool
        (R,), true for the residues that are looked at; ``offset`` is a number, key - query.
    labels : callable or int
        Given a :class:`~esmkit.structure.Structure` of R residues.

    Examples
    --------
    >>> import numpy as np
    >>> charged = Property("charged", "residue", lambda s: np.isin(list(s.sequence), list("DEKR")))
    >>> int(charged.of(esmkit.data.demo_structure()).sum())
    22
    """

    name: str
    kind: Literal["pair", "residue", "offset"]
    labels: Callable[["Structure"], NDArray[np.bool_]] | int

    def __post_init__(self) -> None:
        if self.kind not in ("pair", "residue", "offset"):
            raise OptionError(f"kind is pair, residue or offset, not {self.kind!r}")
        if (self.kind == "offset") != isinstance(self.labels, int):
            raise OptionError(f"property {self.name!r}: an offset is a number, others a function")

    def of(self, structure: "Structure") -> NDArray[np.bool_]:
        """Return the labels of a chain, checked.

        Parameters
        ----------
        structure : Structure
            A chain of R residues.

        Returns
        -------
        numpy.ndarray of bool, shape (R, R) or (R,)

        Raises
        ------
        InputError
            If the function returns something of another shape.
        """
        residues = len(structure)
        if isinstance(self.labels, int):
            return np.eye(residues, k=self.labels, dtype=bool)
        found = np.asarray(self.labels(structure), dtype=bool)
        wanted = (residues, residues) if self.kind == "pair" else (residues,)
        if found.shape != wanted:
            raise InputError(
                f"property {self.name!r} gives labels of shape {found.shape} for chain "
                f"{structure.id!r}; for kind {self.kind!r} it must be {wanted}"
            )
        return found


def _contacts(range_name: str) -> Callable[["Structure"], NDArray[np.bool_]]:
    least, most = RANGES[range_name]

    def labels(structure: "Structure") -> NDArray[np.bool_]:
        place = np.arange(len(structure))
        apart = np.abs(place[:, None] - place)
        near_enough = apart <= (len(structure) if most is None else most)
        return structure.contacts() & (apart >= least) & near_enough

    return labels


def _helix_partner(structure: "Structure") -> NDArray[np.bool_]:
    """Return which residues are 3 or 4 apart with an alpha helix from one to the other: (R, R)."""
    helix = np.array([letter == "H" for letter in structure.secondary_structure])
    found = np.zeros((len(helix), len(helix)), bool)
    for step in HELIX_STEPS:
        for i in range(len(helix) - step):
            if helix[i : i + step + 1].all():
                found[i, i + step] = found[i + step, i] = True
    return found


def _both_ways(pairs: NDArray[np.int64], residues: int) -> NDArray[np.bool_]:
    found = np.zeros((residues, residues), bool)
    if len(pairs):
        found[pairs[:, 0], pairs[:, 1]] = found[pairs[:, 1], pairs[:, 0]] = True
    return found


def _cysteine_pair(structure: "Structure") -> NDArray[np.bool_]:
    """Return the pairs of any two cysteines, the control for disulfides: (R, R)."""
    cysteine = np.array([letter == "C" for letter in structure.sequence])
    return cysteine[:, None] & cysteine & ~np.eye(len(cysteine), dtype=bool)


def _same_amino_acid(structure: "Structure") -> NDArray[np.bool_]:
    letters = np.array(list(structure.sequence))
    same = (letters[:, None] == letters) & (letters != "X")
    return same & ~np.eye(len(letters), dtype=bool)


def _letter(letter: str) -> Callable[["Structure"], NDArray[np.bool_]]:
    return lambda structure: np.array([a == letter for a in structure.sequence])


def _state(letter: str) -> Callable[["Structure"], NDArray[np.bool_]]:
    return lambda structure: np.array([a == letter for a in structure.secondary_structure_3])


def standard_properties() -> list[Property]:
    """Return the properties that every profile has.

    Contacts by range (short 6-11, medium 12-23, long from 24; Cβ within 8 Å); helix partner (3 or
    4 apart in one alpha helix); strand partner (DSSP bridge); disulfide, and any two cysteines;
    same amino acid; secondary structure and kind of the residue looked at; offsets -4 to 4.

    >>> [of.name for of in standard_properties()[:3]]
    ['short-range contact', 'medium-range contact', 'long-range contact']
    """
    pairs: list[Property] = [
        Property("short-range contact", "pair", _contacts("short")),
        Property("medium-range contact", "pair", _contacts("medium")),
        Property("long-range contact", "pair", _contacts("long")),
        Property("helix partner", "pair", _helix_partner),
        Property("strand partner", "pair", lambda s: _both_ways(s.strand_partners, len(s))),
        Property("disulfide", "pair", lambda s: _both_ways(s.disulfides, len(s))),
        Property("cysteine pair", "pair", _cysteine_pair),
        Property("same amino acid", "pair", _same_amino_acid),
    ]
    states = [
        Property("to helix", "residue", _state("H")),
        Property("to strand", "residue", _state("E")),
        Property("to coil", "residue", _state("C")),
    ]
    letters = [
        Property(f"to {AMINO_ACID_NAMES[letter]}", "residue", _letter(letter))
        for letter in sorted(AMINO_ACIDS)
        if letter in AMINO_ACID_NAMES
    ]
    offsets = [Property(f"offset {offset:+d}", "offset", offset) for offset in OFFSETS]
    return [*pairs, *states, *letters, *offsets]


def read_annotations(path: str | Path) -> list[Property]:
    r"""Read residue annotations, such as UniProt features, as properties.

    Parameters
    ----------
    path : str or Path
        Tab-separated with a header line: ``id`` (of the chain), ``start`` and ``end`` (residue
        numbers from 1, both included, in the chain's sequence) and ``feature`` (a name such as
        ``active site``). Further columns are ignored.

    Returns
    -------
    list of Property
        One of kind ``residue`` for each feature, called ``to FEATURE``.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, or a line makes no sense; the line is named.
        On use, if a feature ends after its chain.

    Examples
    --------
    >>> _ = Path("sites.tsv").write_text("id\tstart\tend\tfeature\n1ubi_A\t48\t48\tlinkage site\n")
    >>> found, = read_annotations("sites.tsv")
    >>> found.name, found.kind, np.flatnonzero(found.of(esmkit.data.demo_structure())).tolist()
    ('to linkage site', 'residue', [47])
    """
    needed = ("id", "start", "end", "feature")
    spans: dict[str, list[tuple[str, int, int]]] = {}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t")
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{str(path)!r} lacks the column {missing[0]!r}; annotations are tab-separated "
                    f"with a header line: {', '.join(needed)}"
                )
            for row in reader:  # blank lines are no rows, but they count as lines
                span = _span(row, f"{str(path)!r}, line {reader.line_num}")
                spans.setdefault(str(row["feature"]).strip(), []).append(span)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"cannot read annotations {str(path)!r} ({error}); check the file"
        ) from None
    if not spans:
        raise InputError(f"{str(path)!r} has no annotations; give a line for each feature")
    return [
        Property(f"to {feature}", "residue", _annotated(feature, found))
        for feature, found in spans.items()
    ]


def _span(row: dict[str, Any], where: str) -> tuple[str, int, int]:
    name, feature = (row["id"] or "").strip(), (row["feature"] or "").strip()
    try:
        start, end = int(row["start"]), int(row["end"])
    except (TypeError, ValueError):
        raise InputError(
            f"{where}: start and end are residue numbers, not {row['start']!r} and {row['end']!r}"
        ) from None
    if not name or not feature or not 1 <= start <= end:
        raise InputError(
            f"{where}: needs an id, a feature, and 1 <= start <= end; it has {name!r}, "
            f"{feature!r}, {start} and {end}"
        )
    return name, start, end


def _annotated(
    feature: str, spans: Sequence[tuple[str, int, int]]
) -> Callable[["Structure"], NDArray[np.bool_]]:
    def labels(structure: "Structure") -> NDArray[np.bool_]:
        found = np.zeros(len(structure), bool)
        for name, start, end in spans:
            if name != structure.id:
                continue
            if end > len(structure):
                raise InputError(
                    f"feature {feature!r} ends at residue {end} of chain {structure.id!r}, which "
                    f"has {len(structure)}; give residue numbers from 1 in the chain's sequence"
                )
            found[start - 1 : end] = True
        return found

    return labels
