"""Batches for masked language modelling: crops of proteins, some of their residues hidden.

Sources: [1] Devlin et al. 2019, arXiv:1810.04805 (15 % of the tokens are asked for: 80 % of them
hidden, 10 % replaced, 10 % shown). [2] Lin et al. 2023, doi:10.1126/science.ade2574 (ESM-2 is trained
in the same way, on crops of long proteins).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import at_least, given_proteins
from esmkit.reference.encoder import MASK, PAD, Array
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS, encode

__all__ = ["Batch", "crops_of", "hide", "random_batch", "repeat_rows"]

CHOSEN, HIDDEN, REPLACED = 0.15, 0.8, 0.1  # [1], section 3.1
LETTER_TOKENS = encode(AMINO_ACIDS)[1:-1]
"""Token ids of the 20 amino acids, in the order of the alphabet."""


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model is shown, what is right, and which places count.

    Attributes
    ----------
    ids : (B, T) int, what the model is shown
    targets : (B, T) int, what is right
    chosen : (B, T) bool, which places count

    Examples
    --------
    >>> targets = np.array([[0, 20, 15, 11, 2]])
    >>> Batch(np.where(targets == 15, MASK, targets), targets, targets == 15).ids
    array([[ 0, 20, 32, 11,  2]])
    """

    ids: Array  # (B, T) int
    targets: Array  # (B, T) int
    chosen: Array  # (B, T) bool


def crops_of(proteins: Sequence[Protein], tokens: int) -> Array:
    """Cut proteins into crops that do not overlap, each ``<cls>`` residues ``<eos>``.

    Parameters
    ----------
    proteins : sequence of Protein
    tokens : int
        T, of which T - 2 are residues; a rest shorter than a third of that is left out, a longer
        one is padded.

    Returns
    -------
    array (crops, T) of int

    Raises
    ------
    OptionError
        If a crop holds no residue.
    InputError
        If there is no crop.

    Examples
    --------
    >>> crops_of([Protein("P", "MKTAYIAK")], tokens=6)
    array([[ 0, 20, 15, 11,  5,  2],
           [ 0, 19, 12,  5, 15,  2]])
    """
    given_proteins(proteins, "cut")
    size = _residues(tokens)
    starts = [(p, s) for p in proteins for s in range(0, len(p.sequence), size)]
    cut = [p.sequence[s : s + size] for p, s in starts]
    cut = [letters for letters in cut if 3 * len(letters) >= size]
    if not cut:
        raise InputError("there is no crop to cut: give at least one protein that is long enough")
    return np.stack([_padded(letters, tokens) for letters in cut])


def hide(
    targets: Array, generator: np.random.Generator, *, share: float = CHOSEN, corrupt: bool = True
) -> Batch:
    """Choose residues to ask for, and hide them.

    Parameters
    ----------
    targets : (B, T) int
        As `crops_of` returns; specials and padding are never chosen, at least one residue of each
        sequence is.
    generator : numpy.random.Generator
    share : float
        How many residues are chosen, above 0 and below 1.
    corrupt : bool
        Of the chosen, show 80 % as ``<mask>``, 10 % as a random amino acid and 10 % as they are, as
        in training; otherwise all as ``<mask>``.

    Returns
    -------
    Batch

    Raises
    ------
    OptionError
        If the share is out of range.
    InputError
        If a sequence has none of the 20 amino acids.

    See Also
    --------
    crops_of : What residues are hidden in.
    random_batch : Crops and hidden residues at once.

    References
    ----------
    [1] Devlin et al. 2019, arXiv:1810.04805, section 3.1.

    Examples
    --------
    >>> crops = crops_of([Protein("P", "MKTAYIAKQRQISFVK")], tokens=18)
    >>> batch = hide(crops, np.random.default_rng(0), corrupt=False)
    >>> int(batch.chosen.sum()), int((batch.ids == MASK).sum())
    (4, 4)
    """
    if not 0 < share < 1:
        raise OptionError(f"share {share}: above 0 and below 1")
    residue = np.isin(targets, LETTER_TOKENS)
    for row in np.flatnonzero(~residue.any(axis=1))[:1]:
        raise InputError(f"sequence {row} has none of the 20 amino acids: nothing can be asked for")
    drawn = np.where(residue, generator.random(targets.shape), 2.0)
    chosen = (drawn < share) | (drawn == drawn.min(axis=1, keepdims=True))
    ids, fate = targets.copy(), generator.random(targets.shape)
    hidden = HIDDEN if corrupt else 1.0
    ids[chosen & (fate < hidden)] = MASK
    replaced = chosen & (fate >= hidden) & (fate < hidden + REPLACED)
    ids[replaced] = generator.choice(LETTER_TOKENS, int(replaced.sum()))
    return Batch(ids, targets, chosen)


def random_batch(
    proteins: Sequence[Protein],
    generator: np.random.Generator,
    *,
    size: int,
    tokens: int,
    repeated: bool = False,
) -> Batch:
    """Draw crops of random proteins, longer ones more often, and hide some residues.

    Parameters
    ----------
    proteins : sequence of Protein
    generator : numpy.random.Generator
    size : int
        B, how many crops.
    tokens : int
        T, the length of each.
    repeated : bool
        Write a stretch of each protein over and over, see `repeat_rows`.

    Returns
    -------
    Batch

    Raises
    ------
    OptionError
        If there is no crop, or a crop holds no residue.
    InputError
        If there is no protein, or all are empty.

    Examples
    --------
    >>> proteins = esmkit.data.demo_proteins()
    >>> random_batch(proteins, np.random.default_rng(0), size=4, tokens=32).ids.shape
    (4, 32)
    """
    at_least(1, size=size)
    given_proteins(proteins, "draw from")
    room = _residues(tokens)
    lengths = np.array([len(protein.sequence) for protein in proteins], float)
    if not lengths.any():
        raise InputError("all proteins are empty; give at least one with residues")
    targets = np.full((size, tokens), PAD)
    for row, place in zip(
        targets, generator.choice(len(proteins), size, p=lengths / lengths.sum()), strict=True
    ):
        letters = proteins[place].sequence
        start = generator.integers(0, max(1, len(letters) - room + 1))
        row[:] = _padded(letters[start : start + room], tokens)
    return hide(repeat_rows(targets, generator) if repeated else targets, generator)


def repeat_rows(targets: Array, generator: np.random.Generator) -> Array:
    """Write the first residues of each row over and over, up to its end.

    How many are repeated is drawn for each row anew, from a fifth to a half of its residues, so that
    no fixed distance leads from a residue to its copy: it has to be found by what stands around it.

    Parameters
    ----------
    targets : (B, T) int
        As `crops_of` returns; a row with padding keeps it.
    generator : numpy.random.Generator

    Returns
    -------
    array (B, T) of int

    Examples
    --------
    >>> from esmkit.sequences import decode
    >>> crops = crops_of([Protein("P", "MKTAYIAKQR")], tokens=12)
    >>> decode(repeat_rows(crops, np.random.default_rng(0))[0])
    '<cls>MKTAYMKTAY<eos>'
    """
    targets = targets.copy()
    for row in targets:
        residues = int(np.isin(row, LETTER_TOKENS).sum())
        period = generator.integers(max(1, residues // 5), max(1, residues // 2) + 1)
        row[1 : residues + 1] = np.resize(row[1 : period + 1], residues)
    return targets


def in_pieces(batch: Batch, size: int) -> Iterator[Batch]:
    """Yield a batch in smaller ones, to keep memory small."""
    for start in range(0, len(batch.ids), size):
        piece = slice(start, start + size)
        yield Batch(batch.ids[piece], batch.targets[piece], batch.chosen[piece])


def _residues(tokens: int) -> int:
    at_least(1, tokens=tokens)
    if tokens <= SPECIALS:
        raise OptionError(f"tokens {tokens}: at least {SPECIALS + 1}, for two of them are special")
    return tokens - SPECIALS


def _padded(letters: str, tokens: int) -> Array:
    ids = np.full(tokens, PAD)
    ids[: len(letters) + SPECIALS] = encode(letters)
    return ids
