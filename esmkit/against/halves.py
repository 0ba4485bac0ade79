"""How far a pass in half precision is from one in float32, for this model and these proteins."""

import copy
from typing import Any

import numpy as np
import torch

from esmkit.against.precision import relative
from esmkit.against.states import read
from esmkit.encoder.encoder import Encoder
from esmkit.errors import EsmkitError

__all__ = ["half_bounds"]

ALLOWED = {"float16": 4.0, "bfloat16": 3.0}
"""How many times further than esmkit's own pass somebody else's may be off: products are summed in
another order, or parts of the pass are in float32."""


def _half_model(model: Encoder, name: str) -> Encoder:
    return Encoder(
        copy.deepcopy(model.network),
        model.checkpoint,
        device=model.device,
        dtype=getattr(torch, name),
        has_contact_head=False,
    )


def half_bounds(search: Any, hypothesis: Any) -> dict[str, float]:
    """Return the largest relative difference that each half precision explains.

    Parameters
    ----------
    search : Search
        With its model, its records and its sample.
    hypothesis : Hypothesis
        How the records would be in float32.
    """
    numbers = search.sample[: 3 if len(search.sample) > 3 else None]
    requests = [search.request(hypothesis.source, n) for n in numbers]
    chosen = [request for request in requests if request is not None]
    if not chosen:
        return {}
    records, model = search.records, search.model

    def digests(encoder: Encoder) -> np.ndarray[Any, Any]:
        layers = list(hypothesis.layers)
        parts = encoder.parts()
        if hypothesis.source.change:
            parts = hypothesis.source.change(parts)
        stats = read(encoder, chosen, layers, rows=bool(records.rows), parts=parts)
        made = [records.digest(one, hypothesis.pooling) for one in stats]
        return np.stack([one.mean(axis=0) for one in made if one is not None])

    whole = digests(model)
    found = {}
    for name, times in ALLOWED.items():
        try:
            off = relative(digests(_half_model(model, name)), whole)
        except (EsmkitError, RuntimeError):
            continue  # a device without it, or values beyond its range
        found[name] = times * float(np.sqrt((off**2).mean())) + records.storage.relative
    return found
