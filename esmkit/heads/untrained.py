"""The control of a head profile: the same architecture without what training put into it."""

import copy
from typing import TypeVar

import torch
from transformers import EsmModel

from esmkit.encoder.checkpoints.parts import frequency_buffers
from esmkit.encoder.encoder import Encoder

__all__ = ["control_models", "with_random_weights"]

CONTROL_HEADS = 300
"""Heads from which the spread of what no training gives is known to some 4 %."""

AnyEncoder = TypeVar("AnyEncoder", bound=Encoder)

MAX_CONTROLS = 10
"""Models with random weights, at most."""


def control_models(model: Encoder) -> int:
    """Return how many models with random weights a profile has as its control.

    One for a large model; three for the 120 heads of the 8M.
    """
    return min(-(-CONTROL_HEADS // (model.layers * model.heads)), MAX_CONTROLS)


def with_random_weights(model: AnyEncoder, *, seed: int = 0) -> AnyEncoder:
    """Return the same architecture with random weights, a control for what structure alone does.

    Weights are those of transformers' own initialisation (normal, standard deviation 0.02; norms
    1 and 0), the same for the same seed; rotary frequencies are those of the model.
    """
    config = copy.deepcopy(model.network.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EsmModel(config, add_pooling_layer=False)
    frequencies = frequency_buffers(model.network)
    for name, buffer in frequency_buffers(network).items():
        buffer.data = frequencies[name].detach().cpu().clone()
    return type(model)(
        network,
        model.checkpoint,
        device=model.device,
        dtype=model.dtype,
        has_contact_head=False,
        compiled=model.compiled,
    )
