"""What an mmCIF file says of its polymers: full sequences, and what modified residues come from."""

import re
from collections.abc import Iterator

from Bio.Data.PDBData import protein_letters_1to3

from esmkit.structure.cif import Block

__all__ = ["Sequences", "as_number"]

_NUMBER = re.compile(r"-?[0-9]{1,9}\Z")
_IN_CODE = re.compile(r"\(([^()\s]+)\)|([A-Za-z])")
_THREE = {letter: name.upper() for letter, name in protein_letters_1to3.items()}
_THREE |= {"U": "SEC", "O": "PYL", "B": "ASX", "Z": "GLX", "X": "UNK"}


def as_number(text: str) -> int | None:
    """Return a whole number of at most nine digits, else None."""
    return int(text) if _NUMBER.match(text) else None


def _rows(table: Block, category: str, *names: str) -> Iterator[tuple[str, ...]]:
    """Return the rows of some columns of one mmCIF category; none if one column is not there."""
    return zip(*(table.get(f"_{category}.{name}", []) for name in names), strict=False)


class Sequences:
    """The polymers of a data block.

    Attributes
    ----------
    parents : dict of str
        Name of a modified residue to the name of its parent, where the file says so: itself, or
        by wwPDB's canonical sequence.
    """

    def __init__(self, table: Block) -> None:
        self._table = table
        self._codes = dict(self._entities("pdbx_seq_one_letter_code"))
        self.parents: dict[str, str] = dict(self._canonical())
        chemistry = _rows(table, "chem_comp", "id", "mon_nstd_parent_comp_id")
        modified = _rows(table, "pdbx_struct_mod_residue", "label_comp_id", "parent_comp_id")
        for name, parent in [*chemistry, *modified]:
            if parent not in (".", "?"):
                self.parents[name.upper()] = parent.upper()

    def _entities(self, column: str) -> Iterator[tuple[str, str]]:
        """Yield the entities of polymers with what a column says of them."""
        return _rows(self._table, "entity_poly", "entity_id", column)  # type: ignore[return-value]

    def _canonical(self) -> Iterator[tuple[str, str]]:
        """Yield modified residues and their parents by the canonical sequences.

        A chromophore stands there with several letters, so that no place fits its residue.
        """
        for entity, canonical in self._entities("pdbx_seq_one_letter_code_can"):
            names = self._spelled(self._codes.get(entity, ""))
            letters = "".join(canonical.split()).upper()
            if len(names) == len(letters):
                for name, letter in zip(names, letters, strict=True):
                    if letter in _THREE and letter != "X" and name != _THREE[letter]:
                        yield name, _THREE[letter]

    @staticmethod
    def _spelled(code: str) -> list[str]:
        """Return the names of residues of ``MK(MSE)L``."""
        return [
            name.upper() if name else _THREE.get(letter.upper(), "UNK")
            for name, letter in _IN_CODE.findall("".join(code.split()))
        ]

    def of(self, asym: str, entity: str, chain: str) -> list[str]:
        """Return the names of the full sequence of a polymer, [] if the file has none.

        Parameters
        ----------
        asym, entity : str
            The labels of the polymer; ``""`` where they are not known.
        chain : str
            The authors' name of its chain, by which it is found where there is no entity.
        """
        sources = [
            (entity, _rows(self._table, "entity_poly_seq", "entity_id", "num", "mon_id")),
            (asym, _rows(self._table, "pdbx_poly_seq_scheme", "asym_id", "seq_id", "mon_id")),
        ]
        if not entity:
            strands = self._entities("pdbx_strand_id")
            entity = next(
                (e for e, text in strands if chain in "".join(text.split()).split(",")), ""
            )
            rows = _rows(self._table, "entity_poly_seq", "entity_id", "num", "mon_id")
            sources.append((entity, rows))
        for owner, rows in sources:
            names: dict[int, str] = {}
            for key, text, residue in rows:
                number = as_number(text)
                if key == owner and owner and number is not None:
                    names.setdefault(number, residue.upper())  # the first of several at one place
            if names and set(names) == set(range(1, len(names) + 1)):
                return [names[i] for i in sorted(names)]
        kind = dict(self._entities("type")).get(entity, "polypeptide")
        canonical = dict(self._entities("pdbx_seq_one_letter_code_can"))
        known = [
            c for codes in (self._codes, canonical) if (c := codes.get(entity, "?")) not in ".?"
        ]
        return self._spelled(known[0]) if known and "polypeptide" in kind.lower() else []
