"""Tasks for whole transformers: read residues, write the secondary structure of each, or a copy.

Stretches of one length are read, and as many letters written: H helix, E strand, C neither. A
`Transformer` reads residues with its encoder; a `DecoderOnly` finds them written before the letters,
each residue at the place that its letter will have.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from esmkit.arguments import what_is
from esmkit.errors import InputError
from esmkit.reference.bounds import at_least, same_shape
from esmkit.reference.encoder import Array
from esmkit.reference.transformer.generation import generate
from esmkit.reference.transformer.gradients import Batch
from esmkit.reference.transformer.stacks import DecoderOnly, Transformer, forward

RESIDUES = "ACDEFGHIKLMNPQRSTVWYX"
"""What is read, by token id; X is any other residue, and one that is not shown."""

STATES = "HEC"
"""What is written, by token id."""

BEGIN, HIDDEN = 3, 4
"""Tokens beside the three letters: before the first one, and in place of one that is not shown."""

LETTERS = 5
"""Tokens that a decoder of states knows; residues follow in the vocabulary of a `DecoderOnly`."""

HIDDEN_RESIDUES = 0.1
"""Share of residues that training does not show: few chains are soon learned by heart."""

UNKNOWN = -1  # state of a residue without coordinates


class HasStates(Protocol):
    """A chain: its sequence, and a letter of `STATES`, or another, for each residue."""

    @property
    def sequence(self) -> str:
        """R letters."""
        ...

    @property
    def secondary_structure_3(self) -> str:
        """R letters."""
        ...


@dataclass(frozen=True, eq=False)
class Stretches:
    """Pieces of L residues of one or more chains.

    Attributes
    ----------
    residues : (B, L) int, ids of `RESIDUES`
    states : (B, L) int, ids of `STATES`, -1 where the structure does not tell
    counted : (B, L) bool, True once for each residue whose state is known
    chain : (B,) int, number of the chain
    """

    residues: Array
    states: Array
    counted: Array
    chain: Array


def cut(chains: Iterable[HasStates], length: int) -> Stretches:
    """Cut chains into stretches of one length; the last one reaches back into the one before.

    Parameters
    ----------
    chains : iterable of chains, such as `esmkit.Structure`; shorter ones are left out
    length : int, L

    Returns
    -------
    Stretches

    Raises
    ------
    InputError
        If no chain is long enough, or something is no chain.
    OptionError
        If the length is below 1.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> chain = SimpleNamespace(sequence="MKTAY", secondary_structure_3="CHHE.")
    >>> stretches = cut([chain], 3)
    >>> stretches.states.tolist(), stretches.counted.astype(int).tolist()
    ([[2, 0, 0], [0, 1, -1]], [[1, 1, 1], [0, 1, 0]])
    """
    at_least(1, length=length)
    residues, states, counted, numbers = [], [], [], []
    for number, chain in enumerate(chains):
        read, right = _ids(chain)
        for start in range(0, len(read) if len(read) >= length else 0, length):
            first = min(start, len(read) - length)
            residues.append(read[first : first + length])
            states.append(right[first : first + length])
            counted.append((np.arange(length) >= start - first) & (states[-1] != UNKNOWN))
            numbers.append(number)
    if not residues:
        raise InputError(f"no chain has {length} residues: give longer chains, or cut shorter")
    return Stretches(*(np.array(part) for part in (residues, states, counted, numbers)))


def state_batches(
    chains: Iterable[HasStates], length: int, *, size: int = 24, seed: int = 0, alone: bool = False
) -> Callable[[int], Batch]:
    """Return a function that draws the batch of a training step.

    A stretch begins anywhere. Of its letters a share is hidden from the decoder, drawn for each
    stretch between none and all, so that the network can also be asked what residues alone tell.

    Parameters
    ----------
    chains : iterable of chains; shorter ones are left out
    length : int, L
    size : int, B
    seed : int
    alone : bool, True for a `DecoderOnly`

    Returns
    -------
    callable
        Takes the number of a step and returns its Batch, the same for the same seed.

    Raises
    ------
    InputError
        If no chain is long enough, or something is no chain.
    OptionError
        If the length is below 1.

    Examples
    --------
    >>> batch_of = state_batches([esmkit.data.demo_structure()], 20, size=2)
    >>> batch_of(0).source.shape, batch_of(0).targets.shape
    ((2, 20), (2, 20))
    """
    draw = _drawing(chains, length, size)

    def batch_of(step: int) -> Batch:
        generator = np.random.default_rng([seed, step])
        residues, states = draw(generator)
        unseen = generator.random(residues.shape) < HIDDEN_RESIDUES
        hidden = generator.random(states.shape) < generator.random((size, 1))
        history = np.where(hidden, UNKNOWN, states)
        targets = np.maximum(states, 0)
        given = _given(np.where(unseen, RESIDUES.index("X"), residues), history, alone)
        known = states != UNKNOWN
        if alone:
            none = np.zeros((size, length), int)
            targets, known = np.hstack([none, targets]), np.hstack([none.astype(bool), known])
        return Batch(targets=targets, chosen=known, **given)

    return batch_of


def copy_batches(
    chains: Iterable[HasStates], length: int, *, size: int = 32, seed: int = 0
) -> Callable[[int], Batch]:
    """Return a function that draws batches of a plainer task: write the residues that were read.

    Each letter has one right place to look at, its own: what positions are worth is seen at once.
    The vocabulary of what is written is `RESIDUES` and, as token 21, the begin.

    Parameters
    ----------
    chains : iterable of chains; shorter ones are left out
    length : int, L
    size : int, B
    seed : int

    Returns
    -------
    callable
        Takes the number of a step and returns its Batch, the same for the same seed.

    Raises
    ------
    InputError
        If no chain is long enough, or something is no chain.
    OptionError
        If the length is below 1.

    Examples
    --------
    >>> batch = copy_batches([esmkit.data.demo_structure()], 20, size=2)(0)
    >>> bool((batch.targets == batch.source).all())
    True
    """
    draw = _drawing(chains, length, size)

    def batch_of(step: int) -> Batch:
        residues, _ = draw(np.random.default_rng([seed, step]))
        begin = np.full((size, 1), len(RESIDUES))
        return Batch(np.hstack([begin, residues[:, :-1]]), residues, source=residues)

    return batch_of


def score_states(
    model: Transformer | DecoderOnly, residues: Array, history: Array | None = None
) -> Array:
    """Score the letter of each residue in one pass, beside letters that are given.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    residues : (B, L) int
    history : (B, L) int, letters that the decoder is shown, each to those after it; -1 hides one,
        and by default all are hidden

    Returns
    -------
    (B, L, 3), logits

    Raises
    ------
    InputError
        If residues are no ids of `RESIDUES`, or history is of another shape.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_transformer
    >>> sizes = {"source_tokens": 21, "tokens": 5, "width": 8, "heads": 2}
    >>> model = random_transformer(np.random.default_rng(0), **sizes)
    >>> score_states(model, np.array([[10, 8, 16]])).shape
    (1, 3, 3)
    """
    residues = _residue_ids(residues)
    length = residues.shape[1]
    history = np.full_like(residues, UNKNOWN) if history is None else np.asarray(history)
    if history.shape != residues.shape:
        raise InputError(f"history {history.shape}: give a letter, or -1, for each of the residues")
    run = forward(model, **_given(residues, history, isinstance(model, DecoderOnly)))
    return run.logits[:, -length:, : len(STATES)]


def write_states(
    model: Transformer | DecoderOnly,
    residues: Array,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    cached: bool = True,
) -> Array:
    """Write a letter for each residue, one after the other, each beside those written before.

    Parameters
    ----------
    model : Transformer or DecoderOnly
    residues : (B, L) int
    temperature, seed, cached
        As for `generate`.

    Returns
    -------
    (B, L) int, ids of `STATES`

    Raises
    ------
    InputError
        If residues are no ids of `RESIDUES`.
    OptionError
        If the temperature is out of range.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_transformer
    >>> sizes = {"source_tokens": 21, "tokens": 5, "width": 8, "heads": 2}
    >>> model = random_transformer(np.random.default_rng(0), **sizes)
    >>> write_states(model, np.array([[10, 8, 16]])).shape
    (1, 3)
    """
    residues = _residue_ids(residues)
    length = residues.shape[1]
    prompt = _prompt(residues, isinstance(model, DecoderOnly))
    options = {"temperature": temperature, "seed": seed, "cached": cached}
    return generate(model, letters=length, choices=np.arange(3), **prompt, **options).ids


def accuracy(written: Array, stretches: Stretches) -> Array:
    """Return, for each chain, the share of residues whose letter is right (Q3): (chains,).

    Parameters
    ----------
    written : (B, L) int
    stretches : Stretches, from `cut`

    Returns
    -------
    numpy.ndarray
        float64, (chains,), 0 to 1.

    Raises
    ------
    InputError
        If they differ in shape.

    See Also
    --------
    write_states : What is judged.

    Examples
    --------
    >>> stretches = cut([esmkit.data.demo_structure()], 38)
    >>> accuracy(np.full((2, 38), STATES.index("C")), stretches).round(2)  # all coil
    array([0.41])
    """
    same_shape("accuracy", written=(np.asarray(written), stretches.states.shape))
    right = (written == stretches.states) & stretches.counted
    shares = [
        right[stretches.chain == number].sum() / stretches.counted[stretches.chain == number].sum()
        for number in np.unique(stretches.chain)
    ]
    return np.array(shares)


def _drawing(
    chains: Iterable[HasStates], length: int, size: int
) -> Callable[[np.random.Generator], tuple[Array, Array]]:
    """Return a function that draws residues and states (B, L); a stretch may begin anywhere."""
    at_least(1, length=length, size=size)
    pairs = [pair for pair in map(_ids, chains) if len(pair[0]) >= length]
    if not pairs:
        raise InputError(f"no chain has {length} residues: give longer chains, or cut shorter")
    places = np.array([len(read) - length + 1 for read, _ in pairs])

    def draw(generator: np.random.Generator) -> tuple[Array, Array]:
        drawn = generator.choice(len(pairs), size, p=places / places.sum())
        first = [int(generator.integers(0, places[number])) for number in drawn]
        parts = [
            [row[start : start + length] for row in pairs[number]]
            for number, start in zip(drawn, first, strict=True)
        ]
        residues, states = (np.array(part) for part in zip(*parts, strict=True))
        return residues, states

    return draw


def _residue_ids(residues: Array) -> Array:
    if isinstance(residues, str):
        raise InputError("residues are text; give ids, such as those of cut(chains, length)")
    residues = np.asarray(residues)
    if residues.ndim != 2 or not residues.size or not np.issubdtype(residues.dtype, np.integer):
        raise InputError(f"residues {residues.shape}: give whole numbers (stretches, residues)")
    if residues.min() < 0 or residues.max() >= len(RESIDUES):
        wrong = residues[(residues < 0) | (residues >= len(RESIDUES))][0]
        raise InputError(f"residue id {wrong}: ids of RESIDUES are 0 to {len(RESIDUES) - 1}")
    return residues


def _ids(chain: HasStates) -> tuple[Array, Array]:
    if not hasattr(chain, "secondary_structure_3"):
        raise InputError(
            f"a chain is {what_is(chain)}; give structures, such as esmkit.data.ts50() returns"
        )
    other = len(RESIDUES) - 1
    read = [RESIDUES.find(letter) % (other + 1) for letter in chain.sequence]
    right = [
        STATES.find(letter) for letter in chain.secondary_structure_3
    ]  # -1 where there is none
    return np.array(read), np.array(right)


def _given(residues: Array, history: Array, alone: bool) -> dict[str, Array]:
    """Lay residues and shown letters (B, L) out as the model reads them."""
    begin = np.full((len(residues), 1), BEGIN)
    shown = np.hstack([begin, np.where(history == UNKNOWN, HIDDEN, history)[:, :-1]])
    if not alone:
        return {"ids": shown, "source": residues}
    places = np.arange(residues.shape[1])
    return {"ids": np.hstack([residues + LETTERS, shown]), "places": np.tile(places, 2)}


def _prompt(residues: Array, alone: bool) -> dict[str, Array]:
    """Lay residues (B, L) out before anything is written."""
    given = _given(residues, residues, alone)
    written = residues.shape[1] - 1
    return given | {"ids": given["ids"][:, : given["ids"].shape[1] - written]}
