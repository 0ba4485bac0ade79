"""Hidden states of proteins as somebody may have read them, gathered into what pooling needs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder import packing
from esmkit.encoder.checkpoints.parts import Parts
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.forward import forward
from esmkit.encoder.watch import Watch
from esmkit.sequences.tokens import PAD

__all__ = [
    "MOST_PADDED",
    "Piece",
    "Request",
    "Stats",
    "exact_rotary",
    "padded",
    "read",
    "without_token_dropout",
]

Array = NDArray[np.float32]

PASS_TOKENS = 4_096
"""Most tokens of one pass."""

MOST_PADDED = 4_096
"""Tokens up to which padding is looked for: attention over the longest protein of a proteome, for
every record that may have been padded to it, would take more memory than there is."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that go through the model together.

    Attributes
    ----------
    ids : numpy.ndarray of int64, shape (T,)
    front : int
        Special tokens before the first residue: 1, or 0 without BOS.
    back : int
        Special tokens after the last residue: EOS, and padding that is attended to.
    start : int
        Index of the first residue in the protein.
    """

    ids: NDArray[np.int64]
    front: int = 1
    back: int = 1
    start: int = 0

    @property
    def residues(self) -> int:
        """Tokens that are residues."""
        return len(self.ids) - self.front - self.back


@dataclass(frozen=True, slots=True)
class Request:
    """How one protein is to be read: one piece, or several and how they are put together.

    Attributes
    ----------
    pieces : tuple of Piece
    join : {'average', 'means'}
        Of several pieces: residues in two pieces are averaged; or the mean of a protein is the
        mean of the means of its pieces.
    """

    pieces: tuple[Piece, ...]
    join: Literal["average", "means"] = "average"


@dataclass(frozen=True, slots=True)
class Stats:
    """What poolings of one protein are made of; L layers, D values.

    Attributes
    ----------
    residues, pads : int
        How many residues were read, and padding tokens after EOS.
    total, most, first, last : numpy.ndarray, shape (L, D)
        Sum and largest of the residues' states; those of the first and the last residue.
    bos, eos : numpy.ndarray, shape (L, D), or None
        None if there was no such token.
    padding : numpy.ndarray, shape (L, D)
        Sum of the states of padding.
    rows : numpy.ndarray, shape (L, T, D), or None
        States of all tokens, if they were asked for.
    front : int
        Rows before the first residue.
    others : dict from str to numpy.ndarray, shape (L, D)
        Poolings that are no sums, by name, if they were asked for.
    """

    residues: int
    pads: int
    total: Array
    most: Array
    first: Array
    last: Array
    bos: Array | None
    eos: Array | None
    padding: Array
    rows: Array | None
    front: int
    others: dict[str, Array] = field(default_factory=dict)


class _BeforeNorm(Watch):
    """Keeps the residual stream that the final norm takes."""

    def __init__(self, layers: int) -> None:
        self._last = layers - 1
        self.kept: torch.Tensor | None = None

    def at(self, layer: int | None, step: str, x: torch.Tensor) -> torch.Tensor:
        """Look at the last layer's residual."""
        if layer == self._last and step == "residual":
            self.kept = x
        return x


def without_token_dropout(parts: Parts) -> Parts:
    """Return the parts of an encoder that does not scale its embeddings by 0.88."""
    return replace(parts, token_dropout=False)


def exact_rotary(parts: Parts) -> Parts:
    """Return the parts of an encoder that computes the rotary frequencies itself.

    Old checkpoints store them rounded to float16, and transformers and fair-esm take those.
    """
    kept = parts.inverse_frequencies
    count = len(kept)
    exact = 10_000.0 ** (-np.arange(count, dtype=np.float64) / count)
    return replace(parts, inverse_frequencies=torch.from_numpy(exact).to(kept))


@torch.inference_mode()
def read(
    model: Encoder,
    requests: Sequence[Request],
    layers: Sequence[int],
    *,
    rows: bool = False,
    others: bool = False,
    parts: Parts | None = None,
) -> list[Stats]:
    """Run proteins through the model and gather what poolings are made of.

    Parameters
    ----------
    model : Encoder
    requests : sequence of Request
    layers : sequence of int
        Hidden states 0..N; N + 1 is the last layer before the final norm, N + 2 the last hidden
        state after a second one.
    rows : bool
        Keep the states of all tokens.
    others : bool
        Make the poolings that are no sums, which take longer.
    parts : Parts, optional
        The encoder in another form than it is.

    Returns
    -------
    list of Stats
        One for each request.
    """
    parts = parts or model.parts()
    flat = [(n, piece) for n, request in enumerate(requests) for piece in request.pieces]
    budget = packing.most_tokens(PASS_TOKENS, model.device)
    several = [len(request.pieces) > 1 for request in requests]
    found: dict[int, list[Any]] = {}
    for batch in packing.batches_by_tokens([len(piece.ids) for _, piece in flat], budget):
        pack = packing.pack([flat[i][1].ids for i in batch], model.device)
        states = _states(model, pack, parts, layers)
        for place, where in pack.sequences():
            number, piece = flat[batch[place]]
            of_piece = states[:, where].cpu().numpy()
            stats = _stats(of_piece, piece, rows=rows or several[number], others=others)
            found.setdefault(number, []).append((piece, stats))
    return [_join(found[n], request, rows, others) for n, request in enumerate(requests)]


def _states(
    model: Encoder, pack: packing.Pack, parts: Parts, layers: Sequence[int]
) -> torch.Tensor:
    """Return hidden states of a pack, (L, T, D) float32, those around the final norm too."""
    watch = _BeforeNorm(model.layers)
    wanted = {min(layer, model.layers) for layer in layers}
    states = forward(pack, parts, model.operations, layers=wanted, watch=watch)
    if model.layers + 1 in layers and watch.kept is not None:
        states[model.layers + 1] = watch.kept[0, : pack.ids.shape[1]]
    if model.layers + 2 in layers:
        states[model.layers + 2] = parts.final_norm(states[model.layers])
    return torch.stack([states[layer].float() for layer in layers])


def _stats(states: Array, piece: Piece, *, rows: bool, others: bool) -> Stats:
    end = states.shape[1] - piece.back
    residues = states[:, piece.front : end]
    pads = int((piece.ids == PAD).sum())
    return Stats(
        residues=residues.shape[1],
        pads=pads,
        total=residues.sum(axis=1, dtype=np.float64).astype(np.float32),
        most=residues.max(axis=1),
        first=residues[:, 0].copy(),
        last=residues[:, -1].copy(),
        bos=states[:, 0].copy() if piece.front else None,
        eos=states[:, end].copy() if piece.back > pads else None,
        padding=states[:, states.shape[1] - pads :].sum(axis=1),
        rows=states.copy() if rows else None,
        front=piece.front,
        others=_others(residues) if others else {},
    )


def _others(residues: Array) -> dict[str, Array]:
    """Return poolings of residues, (L, R, D), that are no sums: (L, D) by name."""
    count = residues.shape[1]
    lower, upper = (count - 1) // 2, count // 2
    ordered = np.partition(residues, [lower, upper], axis=1)
    deviation = residues.std(axis=1, dtype=np.float64).astype(np.float32)
    norms = np.linalg.norm(residues, axis=-1, keepdims=True)
    found = {
        "min": residues.min(axis=1),
        "median": (ordered[:, lower] + ordered[:, upper]) / 2,
        "median_lower": ordered[:, lower],
        "deviation": deviation,
        "mean_of_units": (residues / np.maximum(norms, 1e-12)).mean(axis=1),
    }
    if count > 1:
        found["deviation_sample"] = deviation * np.float32(count / (count - 1)) ** np.float32(0.5)
    return found


def _join(found: list[tuple[Piece, Stats]], request: Request, rows: bool, others: bool) -> Stats:
    """Put the pieces of one protein together."""
    if len(found) == 1:
        return found[0][1]
    found = sorted(found, key=lambda pair: pair[0].start)
    each = [stats for _, stats in found]
    stop = max(piece.start + piece.residues for piece, _ in found)
    assert each[0].rows is not None
    layers, _, width = each[0].rows.shape
    sums, counts = np.zeros((layers, stop, width)), np.zeros((stop, 1))
    for piece, stats in found:
        assert stats.rows is not None
        where = slice(piece.start, piece.start + piece.residues)
        sums[:, where] += stats.rows[:, piece.front : piece.front + piece.residues]
        counts[where] += 1
    residues = (sums / counts).astype(np.float32)
    total = residues.sum(axis=1, dtype=np.float64)
    if request.join == "means":
        total = stop * np.mean([stats.total / stats.residues for stats in each], axis=0)
    specials: Any = [(stats.bos, stats.eos) for stats in each]
    bos, eos = np.asarray(np.mean(specials, axis=0, dtype=np.float64), np.float32)
    whole = np.concatenate([bos[:, None], residues, eos[:, None]], axis=1) if rows else None
    return Stats(
        residues=stop,
        pads=0,
        total=total.astype(np.float32),
        most=residues.max(axis=1),
        first=residues[:, 0],
        last=residues[:, -1],
        bos=bos,
        eos=eos,
        padding=np.zeros_like(bos),
        rows=whole,
        front=1,
        others=_others(residues) if others else {},
    )


@torch.inference_mode()
def padded(model: Encoder, ids: NDArray[np.int64], pads: int, layers: Sequence[int]) -> Array:
    """Return the states of a sequence, and of padding after it that nothing attends to.

    The network of transformers is asked, as one who pads asks it.

    Parameters
    ----------
    model : Encoder
    ids : numpy.ndarray of int64, shape (T,)
    pads : int
        M padding tokens.
    layers : sequence of int
        L hidden states 0..N.

    Returns
    -------
    numpy.ndarray of float32, shape (L, T + M, D)
    """
    row = np.concatenate([ids, np.full(pads, PAD)])
    mask = np.arange(len(row)) < len(ids)
    network: Any = model.network
    states = network(
        input_ids=torch.from_numpy(row)[None].to(model.device),
        attention_mask=torch.from_numpy(mask.astype(np.int64))[None].to(model.device),
        output_hidden_states=True,
    ).hidden_states
    return torch.stack([states[layer][0].float() for layer in layers]).cpu().numpy()
