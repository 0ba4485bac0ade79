"""What a trained network is held against, and what its heads look at.

Axes as in `esmkit.reference.encoder`.
"""

from collections.abc import Sequence

import numpy as np

from esmkit.errors import InputError, OptionError
from esmkit.reference.encoder import PAD, Array, encode
from esmkit.reference.training.batches import LETTER_TOKENS, Batch, in_pieces
from esmkit.reference.training.model import MaskedLm
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode as tokens_of

__all__ = ["copy_shares", "counting_losses", "letter_similarity", "offset_shares"]

PSEUDO_COUNTS = 100
"""Residues of the average protein that are added to counts of few."""
PIECE = 32
"""Crops of one pass: their maps are all kept."""


def counting_losses(proteins: Sequence[Protein], batch: Batch) -> dict[str, float]:
    """Return the loss on a batch of three guesses that need no network, in nats.

    Parameters
    ----------
    proteins : sequence of Protein
        To count in.
    batch : Batch
        What is guessed, as by `held_out_batch`.

    Returns
    -------
    dict
        ``letters``: how often each amino acid occurs in the proteins counted. ``own letters``: how
        often it occurs in what is shown of the crop at hand, with as much of the average as 100
        residues weigh. ``two neighbours``: what usually stands after the residue before, and before
        the residue after, ``p(x | left) p(x | right) / p(x)``, normalised; a hidden one says nothing.

    Raises
    ------
    InputError
        If there is nothing to count or to guess.

    Examples
    --------
    >>> from esmkit.reference.training import held_out_batch
    >>> protein = Protein("P", "ACDEFGHIKLMNPQRSTVWY" * 3, "P")
    >>> round(counting_losses([protein], held_out_batch([protein]))["letters"], 3)   # ln 20
    2.996
    """
    if not proteins or not batch.chosen.any():
        raise InputError("nothing to count in, or nothing to guess; give proteins and a batch")
    number = np.full(LETTER_TOKENS.max() + 20, -1)  # of a token among the 20 letters, else -1
    number[LETTER_TOKENS] = np.arange(len(AMINO_ACIDS))
    sequences = [number[tokens_of(protein.sequence)[1:-1]] for protein in proteins]
    sequences = [letters[letters >= 0] for letters in sequences]
    counts = np.bincount(np.concatenate(sequences), minlength=20)
    letters = (counts + 1) / (counts + 1).sum()
    rows, columns = np.nonzero(batch.chosen)
    right = number[batch.targets[rows, columns]]
    shown = number[batch.ids]  # (B, T), -1 where there is no letter to see
    pairs = np.zeros((20, 20))  # [left, right]
    for sequence in sequences:
        np.add.at(pairs, (sequence[:-1], sequence[1:]), 1)

    own = np.stack([np.bincount(row[row >= 0], minlength=20) for row in shown])
    after, before = _with_average(pairs, letters), _with_average(pairs.T, letters)
    left, right_of = shown[rows, columns - 1], shown[rows, columns + 1]
    nothing = np.ones(20)
    neighbours = (
        letters
        * np.where(left[:, None] >= 0, after[left] / letters, nothing)
        * np.where(right_of[:, None] >= 0, before[right_of] / letters, nothing)
    )
    guesses = {
        "letters": np.tile(letters, (len(right), 1)),
        "own letters": _with_average(own, letters)[rows],
        "two neighbours": neighbours / neighbours.sum(axis=1, keepdims=True),
    }
    places = np.arange(len(right))
    return {name: -float(np.log(p[places, right]).mean()) for name, p in guesses.items()}


def _with_average(counts: Array, average: Array) -> Array:
    """Return counts (rows, 20) as probabilities, drawn towards the average where they are few."""
    added = counts + PSEUDO_COUNTS * average
    return added / added.sum(axis=1, keepdims=True)


def offset_shares(model: MaskedLm, ids: Array, offsets: Sequence[int] = range(-8, 9)) -> Array:
    """Return how much of each head's attention goes to a fixed distance.

    Parameters
    ----------
    model : MaskedLm
    ids : (B, T) int
        Crops without padding, as `crops_of` returns them for long proteins; rows with padding are
        left out.
    offsets : sequence of int
        Distances from the asking residue, negative towards the start.

    Returns
    -------
    array (N, H, offsets)
        Mean weight, 0 to 1, over the residues whose partner at this distance is a residue too. A
        head that looks everywhere alike gives 1 / T at each.

    Raises
    ------
    InputError
        If no row is without padding.
    OptionError
        If a distance is not shorter than the crops.

    Examples
    --------
    >>> from esmkit.reference.training import crops_of, random_masked_lm
    >>> model = random_masked_lm(0, layers=2, width=16, heads=2, hidden=32)
    >>> crops = crops_of([Protein("P", "ACDEFGHIKLMNPQRSTVWY")], tokens=22)
    >>> offset_shares(model, crops, offsets=[-1, 0, 1]).shape
    (2, 2, 3)
    """
    ids = np.asarray(ids)
    whole = ids[np.isin(ids[:, 1:-1], LETTER_TOKENS).all(axis=1)]
    if not len(whole):
        raise InputError("every crop has padding or masks; give at least one without")
    residues = ids.shape[1] - 2
    if not len(offsets):
        raise OptionError("there is no offset to look at; give at least one")
    if max(abs(offset) for offset in offsets) >= residues:
        raise OptionError(
            f"offsets {list(offsets)}: crops of {residues} residues have no such pairs"
        )
    total = np.zeros((len(model.encoder.layers), model.encoder.heads, len(offsets)))
    for start in range(0, len(whole), PIECE):
        piece = whole[start : start + PIECE]
        maps = encode(model.encoder, piece, attentions=True).attentions
        assert maps is not None  # asked for
        for layer, weights in enumerate(maps):
            inner = weights[:, :, 1:-1, 1:-1].sum(axis=0)  # (B, H, T, T) -> (H, R, R)
            for place, offset in enumerate(offsets):
                total[layer, :, place] += np.diagonal(inner, offset, 1, 2).mean(axis=-1)
    return total / len(whole)


def copy_shares(model: MaskedLm, batch: Batch) -> tuple[Array, float]:
    """Return how much each head looks from hidden residues to residues that hold the right letter.

    Parameters
    ----------
    model : MaskedLm
    batch : Batch
        As `held_out_batch` makes it.

    Returns
    -------
    array (N, H)
        Mean weight, 0 to 1, from a hidden residue to all places where its letter is shown. The
        model cannot see the letter, so more than by chance means that it found it out.
    float
        What a head gives that looks at all tokens alike: the share of these places.

    Raises
    ------
    InputError
        If no residue is asked for.

    Examples
    --------
    >>> from esmkit.reference.training import held_out_batch, random_masked_lm
    >>> model = random_masked_lm(0, layers=2, width=16, heads=2, hidden=32)
    >>> batch = held_out_batch(esmkit.data.demo_proteins(), tokens=32, crops=4, repeated=True)
    >>> shares, chance = copy_shares(model, batch)
    >>> shares.shape, round(chance, 2)
    ((2, 2), 0.11)
    """
    if not batch.chosen.any():
        raise InputError("no residue of the batch is asked for; the mean over none is no number")
    total = np.zeros((len(model.encoder.layers), model.encoder.heads))
    chance = 0.0
    for piece in in_pieces(batch, PIECE):
        maps = encode(model.encoder, piece.ids, attentions=True).attentions
        assert maps is not None  # asked for
        right = piece.ids[:, None, :] == piece.targets[:, :, None]  # (B, T, T), [asking, asked]
        right &= piece.chosen[:, :, None]
        tokens = (piece.ids != PAD).sum(axis=1)  # (B,)
        chance += float((right.sum(axis=(1, 2)) / tokens).sum())
        for layer, weights in enumerate(maps):
            total[layer] += np.einsum("bhts,bts->h", weights, right)
    asked = int(batch.chosen.sum())
    return total / asked, chance / asked


def letter_similarity(model: MaskedLm) -> Array:
    """Return the cosine between the learned vectors of any two amino acids, less their mean.

    Parameters
    ----------
    model : MaskedLm

    Returns
    -------
    array (20, 20)
        From -1 to 1, in the order of ``AMINO_ACIDS``, that of their letters in the alphabet.

    Examples
    --------
    >>> from esmkit.reference.training import random_masked_lm
    >>> cosines = letter_similarity(random_masked_lm(0))
    >>> cosines.shape, bool(np.allclose(cosines.diagonal(), 1))
    ((20, 20), True)
    """
    vectors = model.encoder.embedding[LETTER_TOKENS].astype(np.float64)
    vectors = vectors - vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T
