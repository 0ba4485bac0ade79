"""Single numbers that are published of the official 8M weights."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.published.known import Claim
from esmkit.published.rows import Row, judge, not_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from esmkit.encoder.encoder import Encoder

__all__ = ["LOGITS", "STATES", "golden_row"]

STATES = (
    (0, 6, 4, 13, 5, 4, 16, 12, 11, 7, 2),
    ((0.1444, 0.5413, 0.3248), (0.3034, 0.0053, 0.3108), (0.3228, -0.2499, 0.3415)),
)
"""Token ids, and the last hidden state of the first three tokens in the first three dimensions."""

LOGITS = (
    (0, 1, 2, 3, 4, 5),
    ((8.9215, -10.5898, -6.4671), (-6.3967, -13.9114, -1.1212), (-7.7812, -13.9516, -3.7406)),
)
"""Token ids, and the logits of the first three of them for the first three tokens."""

ALLOWED = 1e-4
"""What transformers' own test allows: this, and this share of the value (``atol`` and ``rtol``)."""


def golden_row(claim: Claim, model: "Encoder", size: str | None, other: "Sequence[str]") -> Row:
    """Return the row of published single numbers.

    Parameters
    ----------
    claim : Claim
        ``golden-states`` or ``golden-logits``.
    model : Encoder
    size : str or None
    other : sequence of str
        How the weights, or the numbers they are computed in, differ from the published ones; the
        row is run only if they do not, for other weights have nothing to do with these numbers.
    """
    if size is None or size not in claim.values:
        return not_run(
            claim, size, "the official weights of the 8M model, of which these numbers are"
        )
    if other:
        return not_run(claim, size, f"the official weights of the {size} model, in float32")
    wants_head = claim.name == "golden-logits"
    if wants_head and (not model.has_lm_head or model.lm_head.facts["source"] == "fitted"):
        return not_run(claim, size, "the masked-LM head of the official weights")
    ids, published = LOGITS if wants_head else STATES
    found = _logits(model, ids) if wants_head else _states(model, ids)
    values = np.array(published, np.float64)
    off = np.abs(found[:3, :3] - values)
    allowed = ALLOWED * (1 + np.abs(values))
    worst = np.unravel_index(np.argmax(off - allowed), off.shape)
    own, most = float(off[worst]), float(allowed[worst])
    return judge(claim, size, own, own - most, own + most, on=f"{len(ids)} tokens")


def _states(model: "Encoder", ids: "Sequence[int]") -> NDArray[np.float32]:
    return model.hidden_states([np.array(ids)])[0][0]


def _logits(model: "Encoder", ids: "Sequence[int]") -> NDArray[np.float32]:
    import torch

    states = torch.from_numpy(_states(model, ids)).to(model.device)
    with torch.inference_mode():
        return model.lm_head.logits(states).cpu().numpy()
