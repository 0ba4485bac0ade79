"""Whether a difference is that of a pass in half precision, for this model and these proteins."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.against.pooling import OTHERS
from esmkit.against.precision import relative
from esmkit.against.records import MOST_MATCHED
from esmkit.against.states import read
from esmkit.encoder.encoder import Encoder
from esmkit.errors import EsmkitError

__all__ = ["half_bounds", "kinship"]

Array = NDArray[np.float64]

ALLOWED = {"float16": 4.0, "bfloat16": 3.0}
"""How many times further than esmkit's own pass somebody else's may be off: products are summed in
another order, or parts of the pass are in float32."""

KINSHIP = {"float16": 0.25, "bfloat16": 0.15}
"""Least :func:`kinship` of two passes in one half precision.

Of one to five proteins of 6 to 388 residues and hidden states 3, 5 and 6 of the 8M model,
transformers' passes have 0.46 to 0.71 in float16 and 0.20 to 0.62 in bfloat16 (under autocast 0.15
to 0.45); weights moved by 0.1 to 0.5 %, or by up to 30 steps of training, have up to 0.22 and 0.14
where they move the embeddings about as far."""

CHANCE = 2.5
"""Standard errors of a correlation by chance that kinship has to be over: of few numbers, such as one
vector of a narrow model, it may be large without any kin."""

MOST_READ = 5
"""Records that are read in half precision."""


def _half_model(model: Encoder, name: str) -> Encoder:
    return Encoder(
        copy.deepcopy(model.network),
        model.checkpoint,
        device=model.device,
        dtype=getattr(torch, name),
        has_contact_head=False,
    )


def kinship(given: Array, own: Array) -> float:
    """Return how much two sets of differences go the same way: 1 if they are alike, 0 by chance.

    The weights are rounded alike in every pass in half precision, so that two of them move an
    embedding in similar directions; other weights move it elsewhere. It is the mean of the
    correlation and of the share of equal signs (twice, less 1), which one large column does not
    decide.

    >>> random = np.random.default_rng(0)
    >>> one, other = random.normal(size=(2, 3, 320))
    >>> round(kinship(one, one), 3), abs(kinship(one, other)) < 0.1
    (1.0, True)
    """
    if not given.std() or not own.std():
        return 0.0
    correlation = float(np.corrcoef(given.ravel(), own.ravel())[0, 1])
    return (correlation + float((np.sign(given) * np.sign(own)).mean())) / 2


def half_bounds(search: Any, hypothesis: Any) -> dict[str, float]:
    """Return the largest relative difference that each half precision explains.

    A precision in which the records do not go the way of esmkit's own pass is left out: that a
    difference is small does not say where it comes from.

    Parameters
    ----------
    search : Search
        With its model, its records and its sample.
    hypothesis : Hypothesis
        How the records would be in float32.
    """
    spread = np.linspace(0, len(search.sample) - 1, min(MOST_READ, len(search.sample)))
    sample = [search.sample[place] for place in spread.astype(int)]
    fitting = [(n, search.request(hypothesis.source, n)) for n in sample]
    numbers = [n for n, request in fitting if request is not None]
    chosen = [request for _, request in fitting if request is not None]
    if not chosen:
        return {}
    records, model = search.records, search.model

    def digests(encoder: Encoder) -> Array:
        layers = list(hypothesis.layers)
        parts = encoder.parts()
        if hypothesis.source.change:
            parts = hypothesis.source.change(parts)
        others = hypothesis.pooling in OTHERS
        stats = read(encoder, chosen, layers, rows=bool(records.rows), others=others, parts=parts)
        made = [records.digest(one, hypothesis.pooling) for one in stats]
        blank = np.full(records.digests.shape[-1], np.nan)
        return np.stack([blank if one is None else one.mean(axis=0) for one in made])

    whole = digests(model)
    known = np.isfinite(whole).all(axis=-1)
    if not known.any():
        return {}
    whole, given = whole[known], records.digests[numbers][known]
    if hypothesis.reordered:
        others = records.digests[:MOST_MATCHED]
        given = np.stack([others[((others - one) ** 2).sum(axis=-1).argmin()] for one in whole])
    norms = np.linalg.norm(whole, axis=-1, keepdims=True)
    found = {}
    for name, times in ALLOWED.items():
        try:
            half = digests(_half_model(model, name))[known]
        except (EsmkitError, RuntimeError):
            continue  # a device without it, or values beyond its range
        if not np.isfinite(half).all():
            continue
        least = max(KINSHIP[name], CHANCE / float(np.sqrt(whole.size)))
        if not kinship((given - whole) / norms, (half - whole) / norms) >= least:
            continue
        off = relative(half, whole)
        found[name] = times * float(np.sqrt((off**2).mean())) + records.storage.relative
    return found
