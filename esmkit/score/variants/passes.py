"""Units of a plan through the model: log p of the 20 amino acids at the sites asked about."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder.masked import masked_logits
from esmkit.encoder.packing import look_ahead, most_tokens, pack
from esmkit.score.probabilities import log_softmax_20
from esmkit.score.variants.plan import Unit
from esmkit.sequences.tokens import encode

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["compute_units"]

Numbered = tuple[int, Unit]


def compute_units(
    model: "Encoder", units: Iterable[Numbered], *, batch_tokens: int
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the result of each unit, as soon as it is there: those with hidden sites last.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    units : iterable of (int, Unit)
        Units with their numbers.
    batch_tokens : int
        Most tokens of a pass.

    Yields
    ------
    (int, numpy.ndarray of float64)
        The number, and what :meth:`Unit.gathered` makes.
    """
    plain: list[Numbered] = []
    hidden: list[Numbered] = []
    for number, unit in units:
        (hidden if unit.hidden else plain).append((number, unit))
    yield from _gathered(plain, _plain_logits(model, _requests(plain), batch_tokens))
    yield from _gathered(hidden, masked_logits(model, _requests(hidden), batch_tokens=batch_tokens))


def _requests(units: Iterable[Numbered]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield tokens of each piece and the positions of its sites in them."""
    for _, unit in units:
        for window, sites in unit.pieces:
            yield encode(window), np.array(sites, np.int64) + 1  # BOS is before


def _gathered(
    units: list[Numbered], logits: Iterator[NDArray[np.float32]]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    for number, unit in units:
        found = [log_softmax_20(next(logits)) for _ in unit.pieces]
        yield number, unit.gathered(found)


def _plain_logits(
    model: "Encoder",
    requests: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    batch_tokens: int,
) -> Iterator[NDArray[np.float32]]:
    """Yield logits (P, 33) at positions of sequences, nothing hidden, in order."""
    head = None
    budget = most_tokens(batch_tokens, model.device)
    for batch in look_ahead(((len(t), (t, p)) for t, p in requests), budget):
        head = head or model.lm_head
        packed = pack([tokens for tokens, _ in batch], model.device)
        states = model.forward(packed, [model.layers])[0]  # (T, D)
        starts = {place: where.start for place, where in packed.sequences()}
        rows = np.concatenate([p + starts[k] for k, (_, p) in enumerate(batch)])
        with torch.inference_mode():
            logits = head.logits(states[torch.from_numpy(rows).to(states.device)])
        waiting = deque(logits.float().cpu().numpy())
        for _, positions in batch:
            yield np.array([waiting.popleft() for _ in positions])
