"""Units of a plan through the model: log p of the 20 amino acids at the sites asked about."""

from collections import deque
from collections.abc import Container, Iterable, Iterator
from itertools import groupby
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

GROUP_RESIDUES = 2**15
"""About how many residues are read for a group of units, some seconds of a processor core."""

Numbered = tuple[int, Unit]


def compute_units(
    model: "Encoder",
    units: Iterable[Unit],
    *,
    batch_tokens: int,
    held: Container[int] = frozenset(),
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield the result of each unit, as soon as it is there.

    Units go through the model in groups that depend on all units alone, for what is computed side by
    side differs by rounding: so a run that goes on where another one stopped gives the same numbers
    to the last bit.

    Parameters
    ----------
    model : Encoder
        With a masked-LM head.
    units : iterable of Unit
    batch_tokens : int
        Most tokens of a pass.
    held : container of int
        Numbers of units that are there already; they are not yielded, and a group of them is not
        computed.

    Yields
    ------
    (int, numpy.ndarray of float64)
        The number, and what :meth:`Unit.gathered` makes.
    """
    for group in _groups(enumerate(units), max(GROUP_RESIDUES, 2 * batch_tokens)):
        if all(number in held for number, _ in group):
            continue
        make = masked_logits if group[0][1].hidden else _plain_logits
        logits = iter(make(model, _requests(group), batch_tokens=batch_tokens))
        for number, unit in group:
            found = unit.gathered([log_softmax_20(next(logits)) for _ in unit.pieces])
            if number not in held:
                yield number, found


def _groups(units: Iterable[Numbered], budget: int) -> Iterator[list[Numbered]]:
    """Yield neighbouring units that all hide residues, or none, of about that many residues."""
    for _, alike in groupby(units, key=lambda numbered: numbered[1].hidden):
        yield from look_ahead(((unit.residues, (n, unit)) for n, unit in alike), budget)


def _requests(units: Iterable[Numbered]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield tokens of each piece and the positions of its sites in them."""
    for _, unit in units:
        for window, sites in unit.pieces:
            yield encode(window), np.array(sites, np.int64) + 1  # BOS is before


def _plain_logits(
    model: "Encoder",
    requests: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    *,
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
