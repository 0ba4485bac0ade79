"""Time of a network as the length of what it reads grows.

All times are of the processor, of all threads together: on one thread
(``torch.set_num_threads(1)``) that is what a quiet machine takes, and others that want the processor
do not count.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from esmkit.arguments import what_is
from esmkit.errors import InputError, OptionError
from esmkit.reference.bounds import at_least
from esmkit.reference.recurrent.letters import LETTERS
from esmkit.reference.recurrent.networks import RecurrentNetwork

__all__ = ["growth", "step_by_step_share", "time_by_length"]


def time_by_length(
    networks: Mapping[str, nn.Module],
    lengths: Sequence[int],
    *,
    task: Literal["read", "learn"] = "read",
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Take the processor time of networks that read one sequence, in turn.

    Networks and lengths take turns, so that a machine that is busy for a while slows all alike. Each
    network runs once before the clock does.

    Parameters
    ----------
    networks : mapping from name to RecurrentNetwork or TransformerNetwork
    lengths : sequence of int
    task : {'read', 'learn'}
        The forward pass, or that and the gradients of all weights.
    repeats : int
    seed : int
        Of the random letters that are read.

    Returns
    -------
    dict from name to (lengths, repeats) float64, seconds

    Raises
    ------
    OptionError
        If the task is another, or a length or ``repeats`` is under 1.
    InputError
        If there is no network or no length.

    Examples
    --------
    >>> from esmkit.reference.recurrent import RecurrentNetwork
    >>> network = RecurrentNetwork(width=8, layers=1)
    >>> time_by_length({"GRU": network}, [4, 8], repeats=3)["GRU"].shape
    (2, 3)
    """
    if task not in ("read", "learn"):
        raise OptionError(f"task {task!r}; give 'read' or 'learn'")
    if not isinstance(networks, Mapping) or not networks:
        arrived = "an empty dict" if networks == {} else what_is(networks)
        raise InputError(f"the networks are {arrived}; give a dict of one or more by name")
    if not len(lengths):
        raise InputError("there is no length; give one or more")
    for length in lengths:
        at_least(1, length=length, repeats=repeats)
    generator = np.random.default_rng(seed)
    inputs = [torch.from_numpy(generator.integers(len(LETTERS), size=(1, n))) for n in lengths]
    seconds = {name: np.empty((len(lengths), repeats)) for name in networks}
    for turn in range(-1, repeats):  # the first is not counted
        for place, numbers in enumerate(inputs):
            for name, network in networks.items():
                started = time.process_time()
                _run(network, numbers, task)
                if turn >= 0:
                    seconds[name][place, turn] = time.process_time() - started
    return seconds


def growth(lengths: ArrayLike, seconds: ArrayLike) -> float:
    """Return the exponent b of time ~ length^b, by least squares on logarithms.

    Parameters
    ----------
    lengths, seconds : (n,) of positive numbers, n of 2 or more

    Returns
    -------
    float: 1 where twice the length takes twice the time, 2 where it takes four times

    Raises
    ------
    InputError
        If the two differ in number, are fewer than two or not above 0, or all lengths are one.

    Examples
    --------
    >>> round(growth([1, 2, 4], [3, 12, 48]), 3)
    2.0
    """
    x, y = np.asarray(lengths, float), np.asarray(seconds, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise InputError(
            f"{x.size} lengths and {y.size} times; give as many of one as of the other, two or more"
        )
    if min(x.min(), y.min()) <= 0 or np.ptp(x) == 0:
        raise InputError("lengths and times are above 0, and of two lengths at least")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def step_by_step_share(network: RecurrentNetwork, length: int, *, repeats: int = 5) -> float:
    """Return the part of a recurrent network's time that goes place by place.

    What a layer does with its inputs is one product for all places; what it does with its state has
    to wait for the place before. The former is timed by itself and taken from the whole.

    Parameters
    ----------
    network : RecurrentNetwork
    length : int
    repeats : int
        Medians of that many.

    Returns
    -------
    float, 0 to 1

    Raises
    ------
    OptionError
        If ``length`` or ``repeats`` is under 1.
    InputError
        If it is no recurrent network.

    Examples
    --------
    >>> 0 < step_by_step_share(RecurrentNetwork(width=8, layers=1), 32) < 1
    True
    """
    at_least(1, length=length, repeats=repeats)
    if not isinstance(network, RecurrentNetwork):
        raise InputError(
            f"{what_is(network)} has no part that goes place by place; give a RecurrentNetwork"
        )
    x = torch.zeros(1, length, network.width)
    inputs = [w for name, w in network.recurrent.named_parameters() if name.startswith("weight_ih")]
    whole, products = [], []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            started = time.process_time()
            network.layers_of(x)
            between = time.process_time()
            for weight in inputs:
                torch.nn.functional.linear(x, weight)
            whole.append(between - started)
            products.append(time.process_time() - between)
    return 1 - float(np.median(products[1:]) / np.median(whole[1:]))  # the first is warming up


def _run(network: nn.Module, numbers: torch.Tensor, task: str) -> None:
    if task == "read":
        with torch.inference_mode():
            network(numbers)
        return
    with torch.enable_grad():
        loss = network(numbers).square().mean()
        torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
