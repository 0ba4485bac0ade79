"""Letters of proteins as numbers, and how well the next one is guessed without any network."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import items_of, what_is
from esmkit.errors import InputError
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode

__all__ = ["ASK", "LETTERS", "START", "bigram_losses", "letter_losses", "letter_numbers"]

LETTERS = AMINO_ACIDS
"""The letters that are predicted, in the order of their numbers from 0."""

START = len(LETTERS)
"""The number that stands before the first residue."""

ASK = START + 1
"""The number that asks for the letter of `recall_batch`; also any residue that is none of the 20."""

VOCABULARY = ASK + 1
"""How many numbers a network reads: the letters, ``START`` and ``ASK``."""

PSEUDOCOUNT = 1.0  # added to every count, so that no letter is impossible


def letter_numbers(sequence: str | Protein) -> NDArray[np.int64]:
    """Return ``START`` and the number of each residue.

    Parameters
    ----------
    sequence : str or Protein
        R residues; those that are none of the 20 amino acids (X, B, U, Z, O) become ``ASK``.

    Returns
    -------
    (R + 1,) int64

    Raises
    ------
    InputError
        If there is no residue, or a letter is none of these, such as ``-`` or ``J``.

    Examples
    --------
    >>> letter_numbers("ACX")
    array([20,  0,  1, 21])
    """
    text = getattr(sequence, "sequence", sequence)
    if not isinstance(text, str):
        raise InputError(f"a sequence is {what_is(text)}; give text or a Protein")
    if not text:
        raise InputError("an empty sequence has no residue to predict; leave it out")
    encode(text)  # refuses what is no letter of a protein, with its place
    return np.array([START, *(LETTERS.find(letter) % VOCABULARY for letter in text)])


def letter_losses(
    train: Sequence[str | Protein], held_out: Sequence[str | Protein]
) -> NDArray[np.float64]:
    """Return the loss of guessing by how common each letter is.

    Parameters
    ----------
    train : sequence of str or Protein
        What letters are counted in.
    held_out : sequence of str or Protein, P proteins

    Returns
    -------
    (P,) float64, nats: the mean of -log p over the residues of each protein

    Raises
    ------
    InputError
        If there is nothing to count in or to judge.

    Examples
    --------
    >>> letter_losses(["AAAC"], ["A", "C"]).round(2)
    array([1.79, 2.48])
    """
    given_sequences(train)
    given_sequences(held_out)
    counts = sum((_pairs(each).sum(axis=0) for each in train), np.zeros(len(LETTERS)))
    log = np.log((counts + PSEUDOCOUNT) / (counts + PSEUDOCOUNT).sum())
    return _losses(held_out, np.broadcast_to(log, (VOCABULARY, len(LETTERS))))


def bigram_losses(
    train: Sequence[str | Protein], held_out: Sequence[str | Protein]
) -> NDArray[np.float64]:
    """Return the loss of guessing by the residue before: how often each letter follows each.

    `train`, `held_out` and the result are those of `letter_losses`.

    Examples
    --------
    >>> bigram_losses(["ACACACAC"], ["ACAC"]).round(2)
    array([1.81])
    """
    given_sequences(train)
    given_sequences(held_out)
    counts = sum((_pairs(each) for each in train), np.zeros((VOCABULARY, len(LETTERS))))
    counts = counts + PSEUDOCOUNT
    return _losses(held_out, np.log(counts / counts.sum(axis=1, keepdims=True)))


def given_sequences(sequences: Sequence[str | Protein]) -> None:
    """Refuse anything but a list of one or more sequences."""
    items = items_of(sequences)
    if items is None:
        raise InputError(f"the sequences are {what_is(sequences)}; give a list of text or Protein")
    if not items:
        raise InputError("there is no sequence; give one or more")


def _pairs(sequence: str | Protein) -> NDArray[np.float64]:
    """Count which letter follows which number: (VOCABULARY, letters)."""
    numbers = letter_numbers(sequence)
    before, after = numbers[:-1], numbers[1:]
    counts = np.zeros((VOCABULARY, VOCABULARY))
    np.add.at(counts, (before, after), 1)
    return counts[:, : len(LETTERS)]


def _losses(
    held_out: Sequence[str | Protein], log_probability: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean loss of each protein, given log p of each letter after each number."""
    losses = []
    for sequence in held_out:
        counts = _pairs(sequence)
        if not counts.sum():
            raise InputError("a protein without any of the 20 amino acids cannot be judged")
        losses.append(-(counts * log_probability).sum() / counts.sum())
    return np.array(losses)
