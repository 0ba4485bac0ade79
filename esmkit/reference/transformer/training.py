"""Training of whole transformers: batches in, a better model and the curve of its loss out."""

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from esmkit.arguments import what_is
from esmkit.errors import InputError
from esmkit.reference.bounds import at_least, float_type
from esmkit.reference.encoder import Array
from esmkit.reference.training.optimizer import Adam, clip_gradients, learning_rate
from esmkit.reference.training.tree import tree_map
from esmkit.reference.transformer.gradients import Batch, Model, loss_and_gradients

LARGEST_GRADIENT = 1.0
"""Longest gradient that a step takes as it is; post-LN layers now and then give one far longer."""


def train(
    model: Model,
    batch_of: Callable[[int], Batch],
    steps: int,
    *,
    rate: float = 3e-3,
    warm_up: int = 50,
    decay: float = 0.0,
    dtype: DTypeLike = np.float32,
) -> tuple[Model, Array]:
    """Train with Adam: the rate rises in a line, then falls like a cosine.

    Parameters
    ----------
    model : Transformer or DecoderOnly; it stays as it is
    batch_of : callable, gives the batch of a step, counted from 0
    steps : int
    rate : float, the highest learning rate
    warm_up : int, steps until it is reached: post-LN layers go astray without ([1], section 5.3)
    decay : float, weight decay, see `esmkit.reference.training.Adam`
    dtype : float32 (default) or float64, in which to compute

    Returns
    -------
    Transformer or DecoderOnly
        The trained model, in `dtype`.
    array (steps,)
        Loss of each batch before its step, nats per letter.

    Raises
    ------
    OptionError
        If there is no step, or a number is out of range.
    InputError
        If the batches do not fit the model.

    Examples
    --------
    >>> from esmkit.reference.transformer import random_decoder_only
    >>> model = random_decoder_only(np.random.default_rng(0), tokens=3, width=8, heads=2)
    >>> batch = Batch(ids=np.array([[0, 1, 2]]), targets=np.array([[1, 2, 1]]))
    >>> model, losses = train(model, lambda step: batch, 40, rate=0.02, warm_up=5)
    >>> bool(losses[-1] < 0.1 * losses[0])
    True
    """
    at_least(1, steps=steps)
    at_least(0, warm_up=warm_up)
    if not callable(batch_of):
        raise InputError(
            f"batch_of is {what_is(batch_of)}; give the function that state_batches returns"
        )
    float_type(dtype)
    optimizer = Adam(rate, second=0.98, decay=decay)  # [1], section 5.3, has 0.98
    model = tree_map(lambda array: array.astype(dtype), model)
    losses = np.empty(steps)
    for step in range(steps):
        losses[step], gradients = loss_and_gradients(model, batch_of(step))
        gradients, _ = clip_gradients(gradients, LARGEST_GRADIENT)
        now = learning_rate(step, steps, rate, warm_up=warm_up)
        model = optimizer.step(model, gradients, now)
    return model, losses
