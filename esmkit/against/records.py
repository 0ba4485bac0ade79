"""Records of one part of a file beside the proteins that they are of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esmkit.against.pooling import POOLINGS, ROWS
from esmkit.against.precision import Storage, storage_of
from esmkit.against.states import Stats
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS

__all__ = ["Records"]

Array = NDArray[np.float64]

DIGEST_ROWS = 3
"""Rows at the beginning of an array of residues by which it is recognised."""

MOST_MATCHED = 20_000
"""Records among which the one that a vector belongs to is looked for."""


@dataclass(frozen=True)
class Records:
    """What a file gives of n proteins, finite and not zero.

    Attributes
    ----------
    names : list of str
        Of the records, in the order of the file.
    proteins : list of Protein
        Of each record.
    texts : list of str
        What the FASTA says of each protein, letter by letter.
    arrays : list of numpy.ndarray of float32, shape (D,) or (rows, D)
    storage : Storage
    digests : numpy.ndarray of float64, shape (n, C)
        The vectors; of arrays of residues their first rows, one after the other.
    rows : int
        Rows that a digest is made of; 0 for vectors.
    places : list of int
        Place of each record's protein in the FASTA.
    by_id : bool
        Whether records have IDs, and are not rows that were taken in the order of the FASTA.
    """

    names: list[str]
    proteins: list[Protein]
    texts: list[str]
    arrays: list[NDArray[np.float32]]
    storage: Storage
    digests: Array
    rows: int
    places: list[int]
    by_id: bool = True

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        proteins: Sequence[Protein],
        texts: Sequence[str],
        arrays: Sequence[NDArray[np.float32]],
        places: Sequence[int],
        *,
        by_id: bool = True,
    ) -> "Records":
        """Gather records and make their digests."""
        rows = 0
        if arrays[0].ndim == 2:
            rows = min(DIGEST_ROWS, *(len(array) for array in arrays))
        digests = np.stack([a[:rows].ravel() if rows else a for a in arrays]).astype(np.float64)
        return cls(
            *(list(names), list(proteins), list(texts), list(arrays)),
            *(storage_of(arrays), digests, rows, list(places), by_id),
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def tokens(self) -> list[int]:
        """Tokens of each protein, BOS and EOS included."""
        return [len(protein) + SPECIALS for protein in self.proteins]

    @property
    def poolings(self) -> list[str]:
        """Names of what the arrays may be."""
        return list(ROWS if self.rows else POOLINGS)

    def digest(self, stats: Stats, pooling: str) -> Array | None:
        """Return own digests, (L, C), of what was read; None if it cannot be pooled so."""
        if not self.rows:
            found = POOLINGS[pooling].make(stats)
        else:
            found, count = ROWS[pooling].rows(stats, self.rows)
            if found is None or count < self.rows:
                return None
            found = found.reshape(len(found), -1)
        return None if found is None else found.astype(np.float64)

    def own(self, stats: Stats, pooling: str, number: int) -> tuple[Array, Array] | None:
        """Return own values of one layer and the given ones that they stand against.

        Parameters
        ----------
        stats : Stats
            Of one layer, or of several whose mean is meant.
        pooling : str
        number : int
            The record whose array is compared.

        Returns
        -------
        two numpy.ndarray of float64, shape (D,) or (rows, D); or None
        """
        given = self.arrays[number].astype(np.float64)
        if not self.rows:
            made = POOLINGS[pooling].make(stats)
            return None if made is None else (made.mean(axis=0, dtype=np.float64), given)
        found, count = ROWS[pooling].rows(stats, len(given))
        return None if found is None else (found.mean(axis=0, dtype=np.float64), given[:count])
