"""Passes of a profile over its chains: with the trained weights, and with those of the controls."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.encoder.names import HeadChoice
from esmkit.errors import OptionError
from esmkit.heads.measuring import measure
from esmkit.heads.properties import Property
from esmkit.heads.resume import Keeper
from esmkit.heads.statistics import inflation
from esmkit.text import Say

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = [
    "TRAINED",
    "Controls",
    "check_untrained",
    "measure_controls",
    "passes",
    "untrained_models",
]

Array = NDArray[np.float64]

TRAINED = "trained weights"
"""Name of the pass with the weights of the model itself."""


def passes(model: "Encoder", *, control: bool = True) -> list[str]:
    """Return the names of the passes over the chains that a profile makes, in their order.

    Examples
    --------
    >>> passes(esmkit.load())                                   # doctest: +SKIP
    ['trained weights', 'random weights 1/3', 'random weights 2/3', ...
    """
    if not control:
        return [TRAINED]
    return [TRAINED, *(name for name, *_ in untrained_models(model, 0))]


def check_untrained(models: int | None) -> None:
    """Raise unless that many untrained models of each kind can be measured.

    Raises
    ------
    OptionError
        If there are fewer than 1 or more than 10.

    Examples
    --------
    >>> check_untrained(3)
    >>> check_untrained(None)  # the default
    """
    from esmkit.heads.untrained import MAX_CONTROLS

    if models is not None and not 1 <= models <= MAX_CONTROLS:
        raise OptionError(f"1 to {MAX_CONTROLS} untrained models of each kind, not {models}")


def untrained_models(
    model: "Encoder", seed: int, models: int | None = None
) -> "Iterator[tuple[str, str, int, Callable[[], Encoder]]]":
    """Yield name, kind, stage and maker of each untrained model, so many of each kind.

    Stages of a keeper are 1 to 10 for random weights, 11 to 20 for permuted ones.
    """
    from esmkit.heads.untrained import (
        MAX_CONTROLS,
        control_models,
        with_permuted_weights,
        with_random_weights,
    )

    models = control_models(model) if models is None else models
    makers = {"random": with_random_weights, "permuted": with_permuted_weights}
    for first, (kind, make) in zip((1, 1 + MAX_CONTROLS), makers.items(), strict=True):
        for number in range(models):
            name = f"{kind} weights {number + 1}/{models}"
            yield name, kind, first + number, partial(make, model, seed=seed + number)


@dataclass
class Controls:
    """Effects of heads of untrained models on the same chains; M models of each kind."""

    inflation: Array  # (P,)
    random: Array  # (M, n, P): differences
    permuted: Array  # (M, n, P)


def measure_controls(
    model: "Encoder",
    chains: Iterable["Structure"],
    properties: Sequence[Property],
    choice: HeadChoice,
    seed: int,
    progress: Say,
    keep: Keeper,
    models: int | None = None,
) -> Controls:
    """Measure the untrained models on the chains of a profile.

    Parameters
    ----------
    model, chains, properties, choice, seed, progress, keep
        Those of the profile.
    models : int, optional
        How many untrained models of each kind; by default :func:`untrained.control_models`.
    """
    deviations: dict[str, list[Array]] = {"random": [], "permuted": []}
    differences: dict[str, list[Array]] = {"random": [], "permuted": []}
    for _, kind, stage, make in untrained_models(model, seed, models):
        found = measure(
            *(make(), chains, properties, choice),
            progress=progress,
            keep=keep,
            stage=stage,
        ).accumulator
        deviations[kind].append(found.deviations())
        differences[kind].append(found.effects(resamples=1, seed=seed).difference)
    # The flatter attention is, the less it varies when labels are shifted, and the more deviations
    # a small taste amounts to: neither kind of untrained heads is the wider one for all properties
    wider = np.maximum(*(inflation(np.concatenate(of)) for of in deviations.values()))
    return Controls(wider, *(np.stack(of) for of in differences.values()))
