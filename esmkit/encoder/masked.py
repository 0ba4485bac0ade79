"""What the encoder makes of each residue with that residue hidden.

For P positions of a protein of T tokens there are P copies of it, each with one token replaced by
``<mask>``, and of each copy only the hidden token's last hidden state is wanted.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.encoder.encoder import Encoder
from esmkit.encoder.packing import most_tokens, pack
from esmkit.sequences.tokens import MASK

__all__ = ["BATCH_TOKENS", "Request", "masked_logits", "masked_states"]

BATCH_TOKENS = 16_384
"""Most tokens of one forward pass by default; on a CPU fewer, see :func:`most_tokens`."""

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

    Yields
    ------
    numpy.ndarray of float32, shape (P, 33)
        For each request in order: row p has the logits at token ``positions[p]`` of the protein in
        which that token, and none but it, is replaced by ``<mask>``. ``<mask>`` tokens that are
        there stay, and count in token dropout.
    """
    head = model.lm_head  # type: ignore[attr-defined] - refused before anything is computed
    for states in masked_states(model, requests, batch_tokens=batch_tokens):
        with torch.inference_mode():
            yield head.logits(states).float().cpu().numpy()


def masked_states(
    model: Encoder, requests: Iterable[Request], *, batch_tokens: int = BATCH_TOKENS
) -> Iterator[torch.Tensor]:
    """Yield the last hidden state of each token with that token hidden, (P, D).

    Parameters and order are those of :func:`masked_logits`; the states are on the model's device and
    in its data type.
    """
    for tokens, positions in requests:
        copies = max(1, most_tokens(batch_tokens, model.device) // len(tokens))
        states = []
        for start in range(0, len(positions), copies):
            some = np.asarray(positions[start : start + copies], dtype=np.int64)
            hidden = np.tile(tokens, (len(some), 1))  # (c, T)
            hidden[np.arange(len(some)), some] = MASK
            last = model.forward(pack(list(hidden), model.device), [model.layers])[0]  # (c T, D)
            rows = np.arange(len(some)) * len(tokens) + some
            states.append(last[torch.from_numpy(rows).to(last.device)])
        yield torch.cat(states) if states else torch.empty(0, model.width, dtype=model.dtype)
