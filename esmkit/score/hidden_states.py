"""Last hidden states of hidden residues, which a masked-LM head is fitted on and judged by.

Residues are hidden as in the training of ESM-2: of each protein 15 % are chosen, and of those 80 %
become ``<mask>``, 10 % another amino acid drawn at random, and 10 % stay. D is the width of the
encoder, M the number of chosen residues of all proteins together.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.score.probabilities import AMINO_ACID_TOKENS
from esmkit.sequences.tokens import MASK, encode

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.sequences.proteins import Protein

__all__ = ["CHOSEN", "KEPT", "MASKED", "RANDOM", "HiddenStates", "hidden_states", "hide"]

CHOSEN = 0.15
"""Share of residues that training asks for (ESM-2, as BERT before it)."""

_MASKED_SHARE, _RANDOM_SHARE = 0.8, 0.1

MASKED, RANDOM, KEPT = 0, 1, 2
"""What became of a chosen residue: ``<mask>``, a random amino acid, or it stayed."""

LONGEST = 1_022
"""Of a longer protein a stretch of so many residues is taken, as in training."""

_WINDOW = 2**16
"""Tokens that are sorted by length at once."""


@dataclass(frozen=True)
class HiddenStates:
    """What the encoder makes of chosen residues, and what they are.

    Attributes
    ----------
    states : numpy.ndarray of float16, shape (M, D)
        Last hidden states, after the final norm; a file that is read where it is needed.
    targets : numpy.ndarray of int64, shape (M,)
        Token ids of the residues themselves.
    kinds : numpy.ndarray of int8, shape (M,)
        ``MASKED``, ``RANDOM`` or ``KEPT``.
    proteins : numpy.ndarray of int64, shape (M,)
        Which protein each is of, from 0.
    """

    states: NDArray[np.float16]
    targets: NDArray[np.int64]
    kinds: NDArray[np.int8]
    proteins: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    def masked(self) -> "HiddenStates":
        """Return only those that were replaced by ``<mask>``, in memory."""
        return self.where(self.kinds == MASKED)

    def where(self, chosen: NDArray[np.bool_]) -> "HiddenStates":
        """Return some of them, in memory."""
        return HiddenStates(
            self.states[chosen], self.targets[chosen], self.kinds[chosen], self.proteins[chosen]
        )


def hide(
    tokens: NDArray[np.int64], random: np.random.Generator, share: float = CHOSEN
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """Hide residues of one protein as training does.

    Parameters
    ----------
    tokens : numpy.ndarray of int64, shape (T,)
        With BOS and EOS.
    random : numpy.random.Generator
    share : float
        Of the standard residues, how many are chosen; at least one.

    Returns
    -------
    changed : numpy.ndarray of int64, shape (T,)
        What the encoder sees.
    positions : numpy.ndarray of int64, shape (m,)
        Ascending; never a special token, or X, B, U, Z and O.
    kinds : numpy.ndarray of int8, shape (m,)
        ``MASKED``, ``RANDOM`` or ``KEPT``.

    Examples
    --------
    >>> from esmkit.sequences.tokens import decode
    >>> changed, positions, kinds = hide(encode("MKTAYIAKQR"), np.random.default_rng(1), 0.3)
    >>> decode(changed), positions.tolist(), kinds.tolist()
    ('<cls>MKTA<mask>IA<mask>QR<eos>', [4, 5, 8], [2, 0, 0])
    """
    standard = np.flatnonzero(np.isin(tokens, AMINO_ACID_TOKENS))
    count = min(len(standard), max(1, round(share * len(standard))))
    positions = np.sort(random.choice(standard, count, replace=False))
    drawn = random.random(count)
    kinds = np.full(count, KEPT, np.int8)
    kinds[drawn < _MASKED_SHARE + _RANDOM_SHARE] = RANDOM
    kinds[drawn < _MASKED_SHARE] = MASKED
    changed = tokens.copy()
    changed[positions[kinds == MASKED]] = MASK
    others = positions[kinds == RANDOM]
    changed[others] = random.choice(AMINO_ACID_TOKENS, len(others))
    return changed, positions, kinds


def hidden_states(
    model: "Encoder",
    proteins: "Sequence[Protein]",
    *,
    draws: Sequence[int] = (0,),
    only: Sequence[int] | None = None,
    share: float = CHOSEN,
    seed: int = 0,
    batch_tokens: int = 1_024,
    folder: Path | None = None,
    advance: Callable[[int], Any] | None = None,
) -> HiddenStates:
    """Run proteins with chosen residues hidden through the encoder.

    Parameters
    ----------
    model : Encoder
    proteins : sequence of Protein
        Proteins without any of the 20 amino acids are passed over.
    draws : sequence of int
        Numbers of the draws: each protein is run once for each, with other residues chosen.
    only : sequence of int, optional
        Places of the proteins that are run, by default all. What is hidden in a protein depends on
        its place among ``proteins``, and not on which others are run.
    share : float
        Share of the residues that are chosen, between 0 and 1.
    seed : int
        With it, the number of the draw and the place of the protein, residues are chosen.
    batch_tokens : int
        Most tokens of one forward pass; on a CPU at most 1,024.
    folder : Path, optional
        Where the states are kept while they are needed, 2 D bytes for each chosen residue; by
        default in a file of the system's folder for such files that has no name, and is gone with
        the process.
    advance : callable, optional
        Called with a number of tokens that are done.

    Returns
    -------
    HiddenStates
        In an order that depends on the proteins and the options alone.
    """
    places = range(len(proteins)) if only is None else only
    with tempfile.TemporaryFile(dir=folder) as file:
        targets, kinds, owners = [], [], []
        for found, target, kind, owner in _computed(
            model, _items(proteins, places, draws, share, seed), batch_tokens, advance
        ):
            file.write(found.astype(np.float16).tobytes())
            targets.append(target)
            kinds.append(kind)
            owners.append(owner)
        file.flush()
        count = sum(map(len, targets))
        states: Any = np.zeros((0, model.width), np.float16)
        if count:
            states = np.memmap(file, np.float16, "r", shape=(count, model.width))
    return HiddenStates(
        states,
        np.concatenate([np.zeros(0, np.int64), *targets]),
        np.concatenate([np.zeros(0, np.int8), *kinds]),
        np.concatenate([np.zeros(0, np.int64), *owners]),
    )


_Item = tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]


def _items(
    proteins: "Sequence[Protein]",
    places: Sequence[int],
    draws: Sequence[int],
    share: float,
    seed: int,
) -> Iterator[tuple[int, _Item]]:
    """Yield (tokens, (protein, what the encoder sees, targets, positions, kinds))."""
    for draw in draws:
        for number in places:
            sequence = proteins[number].sequence
            random = np.random.default_rng([seed, draw, number])
            if len(sequence) > LONGEST:
                start = int(random.integers(len(sequence) - LONGEST + 1))
                sequence = sequence[start : start + LONGEST]
            tokens = encode(sequence)
            if np.isin(tokens, AMINO_ACID_TOKENS).any():
                changed, positions, kinds = hide(tokens, random, share)
                yield len(tokens), (number, changed, tokens[positions], positions, kinds)


def _computed(
    model: "Encoder",
    items: Iterator[tuple[int, _Item]],
    batch_tokens: int,
    advance: Callable[[int], Any] | None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]]:
    """Yield the states, targets, kinds and proteins of each forward pass."""
    from esmkit.encoder.packing import batches_by_tokens, look_ahead, most_tokens, pack

    budget = most_tokens(batch_tokens, model.device)
    for window in look_ahead(items, max(budget, _WINDOW)):
        for batch in batches_by_tokens([len(item[1]) for item in window], budget):
            packed = pack([window[place][1] for place in batch], model.device)
            last = model.forward(packed, [model.layers])[0].float().cpu().numpy()  # (T, D)
            for place, where in packed.sequences():
                number, changed, targets, positions, kinds = window[batch[place]]
                owners = np.full(len(targets), number, np.int64)
                yield last[where][positions], targets, kinds, owners
                if advance is not None:
                    advance(len(changed))
