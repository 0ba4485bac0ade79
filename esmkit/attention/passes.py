"""Which pieces of proteins go through the model together when their maps are made."""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder import packing
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS, encode
from esmkit.sequences.windows import Long, cut_into_pieces

__all__ = ["Pass", "Piece", "passes_of"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a protein that goes through the model: all of it, or a window.

    Attributes
    ----------
    number : int
        The caller's number of the protein.
    index, count : int
        Which of its pieces, of how many.
    start, stop : int
        The residues it covers.
    residues : int
        How many residues of the protein are read in all.
    """

    number: int
    index: int
    count: int
    start: int
    stop: int
    residues: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Pieces that go through the model together.

    Attributes
    ----------
    pieces : list of Piece
    wanted : list of bool
        Whether a piece's maps are missing.
    names : list of str
        ID of the protein of each piece.
    tokens : list of int64 arrays
    shared : bool
        Whether all threads are to compute it together: there are so few passes that most of them would
        have nothing else to do.
    """

    pieces: list[Piece]
    wanted: list[bool]
    names: list[str]
    tokens: list[NDArray[np.int64]]
    shared: bool = False

    def completed(self) -> list[int]:
        """Return the numbers of the proteins whose last piece this pass has."""
        pairs = zip(self.pieces, self.wanted, strict=True)
        return [piece.number for piece, new in pairs if new and piece.index == piece.count - 1]


def passes_of(
    items: Iterable[tuple[int, Protein]],
    device: torch.device,
    *,
    long: Long,
    batch_tokens: int,
    missing: NDArray[np.bool_] | None = None,
) -> Iterator[Pass]:
    """Cut a stream of proteins into passes; leave out those of which nothing is missing.

    Passes are cut from the whole stream, so that a run that goes on where another one stopped makes
    the very passes that are missing: the last bits of a sum depend on the pass.

    Parameters
    ----------
    items : iterable of (int, Protein)
        Proteins under numbers of the caller's.
    device : torch.device
        Where they are computed.
    long : str
        Rule for sequences over 1,022 residues.
    batch_tokens : int
        Most tokens of a pass of several pieces.
    missing : numpy.ndarray of bool, optional
        For each number whether it is wanted.
    """
    most = packing.most_tokens(batch_tokens, device)
    parts = packing.look_ahead(_pieces(items, long), most)
    first = list(itertools.islice(parts, math.isqrt(torch.get_num_threads()) + 1))
    # Together threads are faster than each of them, but not as many times as they are
    shared = len(first) ** 2 <= torch.get_num_threads()
    for part in itertools.chain(first, parts):
        pieces = [piece for piece, _ in part]
        wanted = [missing is None or bool(missing[piece.number]) for piece in pieces]
        if any(wanted):
            tokens = [encode(protein.sequence[p.start : p.stop]) for p, protein in part]
            yield Pass(pieces, wanted, [protein.id for _, protein in part], tokens, shared)


def _pieces(
    items: Iterable[tuple[int, Protein]], long: Long
) -> Iterator[tuple[int, tuple[Piece, Protein]]]:
    for number, protein in items:
        cut = cut_into_pieces(protein, long)
        for index, (start, stop) in enumerate(cut):
            cost = stop - start + SPECIALS
            yield cost, (Piece(number, index, len(cut), start, stop, cut[-1][1]), protein)
