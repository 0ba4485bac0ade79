"""The sites of a protein, each of which is hidden in turn, cut into portions of work.

Nothing here needs PyTorch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from esmkit.errors import InputError
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS
from esmkit.sequences.windows import MAX_RESIDUES, Long, cut_into_pieces, window_around

__all__ = ["PORTION_TOKENS", "Sites", "count_of_portions", "portions", "residues_read"]

PORTION_TOKENS = 2**15
"""About how many tokens are read for a portion, which is what a kill loses at most: some seconds of
a processor core with the smallest model."""


@dataclass(frozen=True, slots=True)
class Sites:
    """Neighbouring residues of a protein that are hidden in turn.

    Attributes
    ----------
    number : int
        The caller's number of the protein.
    protein : Protein
        As far as it is read.
    start, stop : int
        Indices of the first residue and of the one after the last.
    index, of : int
        Which portion of the protein this is, and of how many.
    size : int
        Residues of a window.
    """

    number: int
    protein: Protein
    start: int
    stop: int
    index: int
    of: int
    size: int

    def places(self) -> range:
        """Return the indices of the residues."""
        return range(self.start, self.stop)

    @property
    def tokens(self) -> int:
        """How many tokens are read for them in all."""
        return len(self.places()) * (min(self.size, len(self.protein)) + SPECIALS)

    def window(self, place: int) -> tuple[int, int]:
        """Return (start, stop) of what is read of the protein while a residue is hidden."""
        return window_around(place, len(self.protein), self.size)


def residues_read(residues: int, long: Long) -> tuple[int, int]:
    """Return how many residues of a protein are read, and how many of these at once.

    >>> residues_read(1500, "window"), residues_read(1500, "truncate"), residues_read(76, "whole")
    ((1500, 1022), (1022, 1022), (76, 76))
    """
    if long == "truncate":
        residues = min(residues, MAX_RESIDUES)
    return residues, residues if long == "whole" else min(residues, MAX_RESIDUES)


def count_of_portions(residues: int, long: Long) -> int:
    """Return into how many portions the sites of a protein of that length are cut.

    >>> count_of_portions(76, "window"), count_of_portions(1500, "window")
    (1, 47)
    """
    read, size = residues_read(residues, long)
    return -(-read // _sites_of_portion(size))


def portions(number: int, protein: Protein, long: Long) -> Iterator[Sites]:
    """Yield all sites of a protein, portion by portion.

    Parameters
    ----------
    number : int
        The caller's number of the protein.
    protein : Protein
    long : {'window', 'whole', 'truncate', 'error'}
        See :class:`esmkit.score.options.ScoreOptions`.

    Raises
    ------
    InputError
        If the rule is ``error`` and the protein is longer than the model was trained for.

    Examples
    --------
    >>> [(s.start, s.stop) for s in portions(0, Protein("p", 400 * "A"), "window")]
    [(0, 81), (81, 162), (162, 243), (243, 324), (324, 400)]
    """
    if long == "error":
        cut_into_pieces(protein, long)
    read, size = residues_read(len(protein), long)
    if not read:
        raise InputError(f"sequence {protein.id!r} is empty; give at least one residue")
    if read < len(protein):
        protein = Protein(protein.id, protein.sequence[:read], protein.header)
    step = _sites_of_portion(size)
    starts = range(0, read, step)
    for index, start in enumerate(starts):
        stop = min(start + step, read)
        yield Sites(number, protein, start, stop, index, len(starts), size)


def _sites_of_portion(size: int) -> int:
    return max(1, PORTION_TOKENS // (size + SPECIALS))
