"""A network on its way to another process: what of it travels."""

from copy import deepcopy

import torch
from torch import nn

__all__ = ["travelling"]

HOOKS_OF = "transformers.utils.output_capturing"
"""Module whose functions transformers hangs on a network when hidden states or maps are asked for.

They are functions within functions, which pickle cannot name. transformers hangs them there again
when they are asked for again."""

INSTALLED = "_output_capturing_hooks_installed"
"""Attribute by which transformers knows that it has done so."""

HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")
"""Tables of a module, all by the number of a hook."""


def travelling(network: nn.Module) -> nn.Module:
    """Return a network that pickles: the same weights, on the CPU, without transformers' own hooks.

    The network itself stays as it is, and weights that are on the CPU are shared, not copied. Hooks
    of the user's stay.
    """
    tensors = [*network.parameters(), *network.buffers()]
    # What deepcopy finds in its memo it takes for copied
    copy = deepcopy(network, {id(tensor): _on_cpu(tensor) for tensor in tensors})
    for module in copy.modules():
        for number, hook in list(module._forward_hooks.items()):
            if getattr(hook, "__module__", None) == HOOKS_OF:
                for table in HOOKS:
                    getattr(module, table).pop(number, None)
        if hasattr(module, INSTALLED):
            setattr(module, INSTALLED, False)
    return copy


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor that is on the CPU, the same one where it is already."""
    if tensor.device.type == "cpu":
        return tensor
    moved = tensor.detach().cpu()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved
