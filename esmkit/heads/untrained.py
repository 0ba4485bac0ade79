"""The controls of a head profile: the same architecture without what training put into it.

Random weights say what the architecture does by itself. Their attention is almost flat, so that
anything beats them. Permuted weights are the stronger control: every tensor keeps the very entries
that training gave it, with their size and their spread, and loses their order, and with it all that
was learnt. Their attention is as sharp as that of trained heads, and has tastes, at random.
"""

import copy
from typing import TypeVar

import torch
from transformers import EsmModel

from esmkit.arguments import checked
from esmkit.encoder.checkpoints.parts import frequency_buffers
from esmkit.encoder.encoder import Encoder

__all__ = ["control_models", "with_permuted_weights", "with_random_weights"]

CONTROL_HEADS = 300
"""Heads from which the spread of what no training gives is known to some 4 %."""

AnyEncoder = TypeVar("AnyEncoder", bound=Encoder)

MAX_CONTROLS = 10
"""Models of each control, at most."""


def control_models(model: Encoder) -> int:
    """Return how many models of a control a profile measures.

    One for a large model; three for the 120 heads of the 8M.
    """
    return min(-(-CONTROL_HEADS // (model.layers * model.heads)), MAX_CONTROLS)


@checked
def with_random_weights(model: AnyEncoder, *, seed: int = 0) -> AnyEncoder:
    """Return the same architecture with random weights, a control for what structure alone does.

    Weights are those of transformers' own initialisation (normal, standard deviation 0.02; norms
    1 and 0), the same for the same seed; rotary frequencies are those of the model.

    Parameters
    ----------
    model : Encoder
        It is left as it is.
    seed : int

    Returns
    -------
    Encoder
        Of the same type, on the same device, with a network of its own.

    Examples
    --------
    >>> untrained = with_random_weights(esmkit.load(), seed=0)   # doctest: +SKIP
    >>> untrained.embed("MKTAYIAKQR").mean.shape                 # doctest: +SKIP
    (320,)
    """
    config = copy.deepcopy(model.network.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EsmModel(config, add_pooling_layer=False)
    return _of_the_same_shape(model, network)


@checked
def with_permuted_weights(model: AnyEncoder, *, seed: int = 0) -> AnyEncoder:
    """Return the model with the entries of each tensor in random order, a control that could win.

    Every weight, bias and norm keeps its entries, so their mean, spread and outliers; where they
    stand is drawn, the same for the same seed, whatever the device. Rotary frequencies stay.

    Parameters
    ----------
    model : Encoder
        It is left as it is.
    seed : int

    Returns
    -------
    Encoder
        Of the same type, on the same device, with a network of its own.

    Examples
    --------
    >>> model = esmkit.load()                                    # doctest: +SKIP
    >>> with_permuted_weights(model, seed=1).layers              # doctest: +SKIP
    6
    """
    with torch.random.fork_rng(devices=[]):  # making a network draws weights that nobody needs
        network = EsmModel(copy.deepcopy(model.network.config), add_pooling_layer=False)
    state = {name: tensor.detach().cpu() for name, tensor in model.network.named_parameters()}
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            flat = state[name].reshape(-1)
            parameter.copy_(flat[torch.randperm(flat.numel(), generator=draws)].view_as(parameter))
    return _of_the_same_shape(model, network)


def _of_the_same_shape(model: AnyEncoder, network: EsmModel) -> AnyEncoder:
    """Return an encoder like another with this network, and with its rotary frequencies."""
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
