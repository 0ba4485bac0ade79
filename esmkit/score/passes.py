"""What goes through the model for a score: each residue hidden in turn, or whole proteins once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from esmkit.encoder import packing
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.masked import Request, masked_logits
from esmkit.encoder.threads import side_by_side, threads_of_a_pass
from esmkit.score.options import ScoreOptions
from esmkit.score.sites import PORTION_TOKENS, Sites
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS, TOKENS, encode
from esmkit.sequences.windows import WindowMean, cut_into_pieces, tokens_of

__all__ = ["Logits", "masked_sites", "one_pass"]

LOOK_AHEAD_BATCHES = 32
"""Input that is held and sorted by length at a time, in batches."""

Logits = NDArray[np.float32]
"""Of R residues: (R, 33)."""


def masked_sites(
    model: Encoder,
    items: Iterable[Sites],
    *,
    batch_tokens: int,
    missing: Callable[[Sites], bool] = lambda sites: True,
) -> Iterator[tuple[Sites, Logits]]:
    """Yield sites in order, with the logits of each residue while it is hidden.

    Sites are computed in groups that depend on the stream alone, so that a run that goes on where
    another one stopped computes the very passes that are missing, to the last bit.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    items : iterable of Sites
    batch_tokens : int
        Most tokens in one forward pass.
    missing : callable
        Tells which sites are wanted; a group without any is not computed.

    Yields
    ------
    (Sites, float32 array of shape (sites, 33))
    """
    costs = ((sites.tokens, sites) for sites in items)
    for group in packing.look_ahead(costs, PORTION_TOKENS):
        wanted = [missing(sites) for sites in group]
        if not any(wanted):
            continue
        of_each = [requests_of(sites) for sites in group]
        requests = (request for of_sites in of_each for request in of_sites)
        found = masked_logits(model, requests, batch_tokens=batch_tokens)
        for sites, of_sites, is_wanted in zip(group, of_each, wanted, strict=True):
            rows = list(islice(found, len(of_sites)))
            if is_wanted:
                yield sites, np.concatenate(rows)


def requests_of(sites: Sites) -> list[Request]:
    """Return the tokens of each window of some sites, and the tokens to hide in it in turn."""
    found: list[Request] = []
    for (start, stop), places in groupby(sites.places(), key=sites.window):
        tokens = encode(sites.protein.sequence[start:stop])
        found.append((tokens, [place - start + 1 for place in places]))
    return found


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a protein that is read at once: all of it, or a window of a long one."""

    number: int
    protein: Protein
    start: int
    stop: int
    index: int
    of: int

    @property
    def tokens(self) -> int:
        return self.stop - self.start + SPECIALS


def one_pass(
    model: Encoder,
    items: Iterable[tuple[int, Protein]],
    options: ScoreOptions,
    *,
    missing: NDArray[np.bool_] | None = None,
    one_by_one: bool = False,
    first_first: bool = False,
) -> Iterator[list[tuple[int, Protein, Logits]]]:
    """Read numbered proteins once each with nothing hidden, in the order of the passes.

    Passes depend on the stream and the options alone, so that a run that goes on where another one
    stopped computes the very passes that are missing.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    items : iterable of (int, Protein)
        Proteins under numbers of the caller's; each number once.
    options : ScoreOptions
    missing : numpy.ndarray of bool, optional
        Results that are wanted, by number; a pass without any is not computed.
    one_by_one : bool
        Give each pass all threads, which is better for one or two.
    first_first : bool
        Compute the pass with the first protein first, so that results in input order begin to come
        early.

    Yields
    ------
    list of (int, Protein, float32 array of shape (R, 33))
        What a pass has completed; over windows the mean.
    """
    early: dict[int, dict[int, Logits]] = {}  # pieces of proteins some of whose are to come

    def read(pieces: list[_Piece]) -> tuple[list[_Piece], list[Logits]]:
        return pieces, _read(model, pieces)

    def is_large(pieces: list[_Piece]) -> bool:
        return pieces[0].tokens > packing.pass_tokens()

    passes = _passes(model, items, options, missing, first_first)
    device = None if one_by_one else model.device
    with side_by_side(device, share=threads_of_a_pass()) as run:
        for pieces, found in run(read, passes, alone=is_large):
            done: list[tuple[int, Protein, Logits]] = []
            for piece, logits in zip(pieces, found, strict=True):
                if missing is not None and not missing[piece.number]:
                    continue
                of_protein = early.setdefault(piece.number, {})
                of_protein[piece.index] = logits
                if len(of_protein) == piece.of:
                    whole = _joined(piece, early.pop(piece.number), options)
                    done.append((piece.number, piece.protein, whole))
            if done:
                yield done


def _joined(piece: _Piece, found: dict[int, Logits], options: ScoreOptions) -> Logits:
    """Return the logits of a protein: the mean over its windows, added in their order."""
    if piece.of == 1:
        return found[0]
    cut = cut_into_pieces(piece.protein, options.long)
    mean = WindowMean((len(piece.protein), len(TOKENS)), (-2,))
    for index, (start, stop) in enumerate(cut):
        mean.add(start, stop, found[index])
    return mean.divide(cut)


def _read(model: Encoder, pieces: Sequence[_Piece]) -> list[Logits]:
    """Run pieces through the model and its head in one pass."""
    import torch

    ids = [encode(piece.protein.sequence[piece.start : piece.stop]) for piece in pieces]
    pack = packing.pack(ids, model.device)
    names = [piece.protein.id for piece in pieces]
    states = model.forward(pack, [model.layers], names=names)[0]  # (T, D)
    with torch.inference_mode():
        logits = model.lm_head.logits(states).float().cpu().numpy()
    where = dict(pack.sequences())
    return [logits[where[place]][1:-1].copy() for place in range(len(pieces))]


def _passes(
    model: Encoder,
    items: Iterable[tuple[int, Protein]],
    options: ScoreOptions,
    missing: NDArray[np.bool_] | None,
    first_first: bool,
) -> Iterator[list[_Piece]]:
    """Cut a stream of proteins into passes; leave out those of which nothing is missing."""
    most = packing.most_tokens(options.batch_tokens, model.device)
    costs = ((tokens_of(protein, options.long), (number, protein)) for number, protein in items)
    for window in packing.look_ahead(costs, LOOK_AHEAD_BATCHES * most):
        pieces = []
        for number, protein in window:
            cut = cut_into_pieces(protein, options.long)
            pieces += [
                _Piece(number, protein, start, stop, index, len(cut))
                for index, (start, stop) in enumerate(cut)
            ]
        batches = packing.batches_by_tokens([piece.tokens for piece in pieces], most)
        if first_first:
            batches.sort(key=min)  # the same passes, to the last bit: only when is another matter
        for batch in batches:
            chosen = [pieces[i] for i in batch]
            if missing is None or any(missing[piece.number] for piece in chosen):
                yield chosen
