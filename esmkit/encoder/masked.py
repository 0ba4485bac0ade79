"""What the encoder makes of each token with that token hidden.

For P tokens of a protein there are P copies of it, each with one token replaced by ``<mask>``, and of
each copy only the hidden token's last hidden state is wanted. Copies of one protein share what they
can (:mod:`esmkit.encoder.hidden_token`), copies of several are packed, and what is asked for twice is
computed once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder.encoder import Encoder
from esmkit.encoder.forward import embed_tokens, encoder_layer, enter
from esmkit.encoder.hidden_token import FirstAttention, behind_attention, last_layer
from esmkit.encoder.packing import Pack, batches_by_tokens, look_ahead, pack
from esmkit.encoder.rotary import rotary_tables
from esmkit.encoder.threads import side_by_side
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.sequences.tokens import MASK, TOKENS

__all__ = ["BATCH_TOKENS", "Request", "masked_logits", "masked_states"]

BATCH_TOKENS = 16_384
"""Most tokens of one forward pass by default; on a CPU :data:`PASS_TOKENS`, if that is less."""

PASS_TOKENS = 1_536
"""Most tokens of one forward pass on a CPU, so that hidden states stay in its cache.

As few more than in :mod:`esmkit.encoder.packing` that copies of 300 residues fill a row."""

WINDOW_PASSES = 32
"""Passes that are planned at once."""

FEWEST_SHARING = 8
"""Copies of a protein from which on the first layer's attention is shared: to prepare that takes as
long as it saves in 7 copies of 300 residues, or in 10 of 1,000."""

FEWEST_PASSES, FEWEST_TOKENS = 4, 256
"""On a CPU little work is cut into so many passes of at least so many tokens, for threads to share.

Not as many as there are threads: what is computed together, and so the last bit of a result, depends
on the requests and ``batch_tokens`` alone."""

Request = tuple[NDArray[np.int64], Sequence[int] | NDArray[np.integer]]
"""Token ids of a protein, (T,), and the positions of the tokens to hide in turn, (P,)."""


def masked_logits(
    model: Encoder, requests: Iterable[Request], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[NDArray[np.float32]]:
    """Yield the logits of each token with that token hidden.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    requests : iterable of (int64 array of shape (T,), int array of shape (P,))
        Token ids with BOS and EOS, and positions in them, in any order, repeated or not.
    batch_tokens : int
        Most tokens of one forward pass; a longer protein goes alone.

    Returns
    -------
    iterator of numpy.ndarray of float32, shape (P, 33)
        For each request in order: row p has the logits at token ``positions[p]`` of the protein in
        which that token, and none but it, is replaced by ``<mask>``. ``<mask>`` tokens that are
        there stay, and count in token dropout.

    Raises
    ------
    CheckpointError
        If there is no masked-LM head: at once, before anything is computed.
    InputError
        If a position is outside the protein or a token id outside the vocabulary.
    NonFiniteError
        If a result is NaN or infinite.
    OptionError
        If a pass does not fit into memory.

    Examples
    --------
    >>> from esmkit.sequences import encode
    >>> ids = encode("MKTVRQERLK")
    >>> next(masked_logits(esmkit.load(), [(ids, range(1, 11))])).shape      # doctest: +SKIP
    (10, 33)
    """
    head = model.lm_head

    def logits(states: torch.Tensor) -> NDArray[np.float32]:
        if not len(states):
            return np.empty((0, len(TOKENS)), np.float32)
        with torch.inference_mode():
            return head.logits(states).cpu().numpy()

    return map(logits, masked_states(model, requests, batch_tokens=batch_tokens))


def masked_states(
    model: Encoder, requests: Iterable[Request], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[torch.Tensor]:
    """Yield the last hidden state, after the final norm, of each token with that token hidden.

    Parameters, order and errors are those of :func:`masked_logits`, but no masked-LM head is needed.

    Yields
    ------
    torch.Tensor of the model's dtype, shape (P, D)
        On the model's device.
    """
    device = model.device
    most = min(batch_tokens, PASS_TOKENS) if device.type == "cpu" else batch_tokens
    checked = (_checked(number, *request) for number, request in enumerate(requests, 1))
    costs = ((len(ids) * max(1, len(places)), (ids, places)) for ids, places in checked)
    with side_by_side(device) as run:
        for window in look_ahead(costs, WINDOW_PASSES * most):
            proteins = _distinct(window, model)
            passes = _plan(list(proteins.values()), most, model)
            for batch, states in zip(
                passes,
                # One pass alone is shared between the threads
                run(partial(_run, model), passes, alone=lambda _: len(passes) == 1),  # noqa: B023
                strict=True,
            ):
                batch.keep(states)
            for ids, places in window:
                protein = proteins[ids.tobytes()]
                rows = np.searchsorted(protein.places, places)
                yield protein.states[torch.from_numpy(rows).to(device)]


def _checked(
    number: int, ids: NDArray[np.int64], positions: Sequence[int] | NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a request as arrays, or refuse it."""
    ids = np.ascontiguousarray(ids, dtype=np.int64)
    places = np.asarray(positions, dtype=np.int64)
    if not len(ids) or int(ids.min()) < 0 or int(ids.max()) >= len(TOKENS):
        raise InputError(
            f"protein number {number}: token ids must be 0 to {len(TOKENS) - 1}, at least one; use "
            "esmkit.sequences.encode"
        )
    outside = places[(places < 0) | (places >= len(ids))]
    if len(outside):
        raise InputError(
            f"protein number {number}: cannot hide token {outside[0]}; there are tokens 0 to "
            f"{len(ids) - 1}"
        )
    return ids, places


@dataclass(slots=True, eq=False)
class _Protein:
    """A protein, which of its tokens are to be hidden, and what is known of them.

    Attributes
    ----------
    ids : numpy.ndarray of int64, shape (T,)
    places : numpy.ndarray of int64, shape (P,)
        Each once, ascending.
    states : torch.Tensor, shape (P, D)
        The results.
    attention : FirstAttention, optional
        What its copies share, as soon as one has needed it. Threads that need it at the same time
        compute the same.
    """

    ids: NDArray[np.int64]
    places: NDArray[np.int64]
    states: torch.Tensor
    attention: FirstAttention | None = None

    def copies(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return copies with one token hidden in each: (c,) to (c, T)."""
        copies = np.tile(self.ids, (len(places), 1))
        copies[np.arange(len(places)), places] = MASK
        return copies

    def first_attention(self, model: Encoder) -> FirstAttention:
        """Compute what copies share in the first layer; needs two tokens that are no ``<mask>``."""
        if self.attention is None:
            # All copies have as many masks, and so the same token dropout: what is hidden in one
            # copy is found in another
            parts, device, tokens = model.parts(), model.device, len(self.ids)
            one, other = np.flatnonzero(self.ids != MASK)[:2]
            packed = pack(list(self.copies(np.array([one, other]))), device)
            copy, second = embed_tokens(packed, parts)[0].split(tokens)  # (T, D) each
            mask = copy[one].clone()
            copy[one] = second[one]
            turns = rotary_tables(
                packed.positions[0, :tokens], parts.inverse_frequencies, copy.dtype
            )
            self.attention = FirstAttention.of(copy, mask, parts.layers[0], turns, model.operations)
        return self.attention


@dataclass(frozen=True, slots=True)
class _Part:
    """Some copies of one protein: those of the places of these numbers."""

    protein: _Protein
    numbers: NDArray[np.intp]

    @property
    def places(self) -> NDArray[np.int64]:
        return self.protein.places[self.numbers]


@dataclass(frozen=True, slots=True)
class _Pass:
    """Copies of proteins that go through the encoder together, the longest first.

    Attributes
    ----------
    parts : tuple of _Part
    shares : bool
        Whether attention of the first layer is shared between copies.
    """

    parts: tuple[_Part, ...]
    shares: bool

    def keep(self, states: torch.Tensor) -> None:
        """Put results, (C, D), where they belong."""
        sizes = [len(part.numbers) for part in self.parts]
        for part, found in zip(self.parts, states.split(sizes), strict=True):
            part.protein.states[torch.from_numpy(part.numbers).to(states.device)] = found


def _distinct(
    window: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]], model: Encoder
) -> dict[bytes, _Protein]:
    """Return each protein once, with all places that are asked for."""
    asked: dict[bytes, list[NDArray[np.int64]]] = {}
    for ids, places in window:
        asked.setdefault(ids.tobytes(), []).append(places)
    proteins = {}
    for key, several in asked.items():
        places = np.unique(np.concatenate(several))
        states = torch.empty(len(places), model.width, dtype=model.dtype, device=model.device)
        proteins[key] = _Protein(np.frombuffer(key, np.int64), places, states)
    return proteins


def _plan(proteins: Sequence[_Protein], most: int, model: Encoder) -> list[_Pass]:
    """Distribute the copies of proteins over passes of at most ``most`` tokens, or of one copy."""
    if model.device.type == "cpu":  # little work for several threads too, however many there are
        tokens = sum(len(protein.ids) * len(protein.places) for protein in proteins)
        most = min(most, max(FEWEST_TOKENS, -(-tokens // FEWEST_PASSES)))
    kinds: dict[bool, list[_Part]] = {True: [], False: []}
    for protein in proteins:
        hidden = np.flatnonzero(protein.ids[protein.places] != MASK)
        as_they_are = np.flatnonzero(protein.ids[protein.places] == MASK)
        shares = len(hidden) >= FEWEST_SHARING and model.layers > 1
        count = _copies_at_once(len(protein.ids), most, rows=model.operations.rows)
        for numbers in (hidden, as_they_are):
            for start in range(0, len(numbers), count):
                part = _Part(protein, numbers[start : start + count])
                kinds[shares and numbers is hidden].append(part)
    passes = []
    for shares, parts in kinds.items():
        tokens = [len(part.protein.ids) * len(part.numbers) for part in parts]
        for batch in batches_by_tokens(tokens, most):
            chosen = sorted((parts[i] for i in batch), key=lambda part: -len(part.protein.ids))
            passes.append(_Pass(tuple(chosen), shares))
    return passes


def _copies_at_once(length: int, most: int, *, rows: int) -> int:
    """Return how many copies of so many tokens fill a pass, the last block of a row included."""
    largest = max(1, most // length)
    counts = range(largest, (largest - 1) // 2, -1)
    return min(counts, key=lambda count: -(-count * length // rows) * rows / count)


@torch.inference_mode()
def _run(model: Encoder, batch: _Pass) -> torch.Tensor:
    """Run copies through the encoder: the last hidden states of their hidden tokens, (C, D)."""
    copies = [copy for part in batch.parts for copy in part.protein.copies(part.places)]
    places = np.concatenate([part.places for part in batch.parts])
    starts = np.cumsum([0, *map(len, copies[:-1])])
    packed = pack(copies, model.device)
    hidden = torch.from_numpy(starts + places).to(model.device)  # (C,)
    try:
        states = _hidden_states(model, packed, hidden, batch)
    except RuntimeError as error:  # OutOfMemoryError is one; the CPU's has no class of its own
        if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error):
            raise
        raise OptionError(
            f"{packed.ids.shape[1]:,} tokens do not fit into the memory of {model.device}; allow "
            'fewer with `batch_tokens`, or load the model with `device="cpu"`'
        ) from None
    if not bool(torch.isfinite(states).all()):
        raise NonFiniteError(
            "the model returned NaN or infinity for a protein with a hidden residue; "
            f"{model.non_finite_remedy}"
        )
    return states


def _hidden_states(
    model: Encoder, packed: Pack, hidden: torch.Tensor, batch: _Pass
) -> torch.Tensor:
    """Return the last hidden states of hidden tokens: (C,) places in the row to (C, D)."""
    parts, operations = model.parts(), model.operations
    layers, last = parts.layers, len(parts.layers) - 1
    x, row = enter(packed, parts, operations)  # (1, T, D)
    if batch.shares:
        x = behind_attention(_first_heads(model, x, batch), x, layers[0], operations)
    for number in range(int(batch.shares), last):
        x = encoder_layer(number, x, layers[number], row)  # (1, T, D)
    return parts.final_norm(last_layer(x, hidden, layers[last], row))[0]  # (C, D)


def _first_heads(model: Encoder, x: torch.Tensor, batch: _Pass) -> torch.Tensor:
    """Return the outputs of the heads of the first layer: a row of T tokens to (1, T, H, K)."""
    heads, start = x.new_zeros(1, x.shape[1], model.heads, model.width // model.heads), 0
    for part in batch.parts:
        mixed = part.protein.first_attention(model).of_copies(
            torch.from_numpy(part.places).to(model.device)
        )
        heads[0, start : start + mixed.shape[0] * mixed.shape[1]] = mixed.flatten(0, 1)
        start += mixed.shape[0] * mixed.shape[1]
    return heads
