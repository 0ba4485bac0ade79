"""The profile of a second set of chains, on which findings of a first are repeated."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from esmkit.heads.profiling import profile
from esmkit.text import Say

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.properties import Property
    from esmkit.heads.result import HeadProfile
    from esmkit.heads.resume import Keeper
    from esmkit.structure import Structure

__all__ = ["profile_second"]


def profile_second(
    model: "Encoder",
    chains: "Sequence[Structure]",
    properties: "Sequence[Property]",
    keep: "Keeper",
    options: Mapping[str, Any],
    progress: Say,
    say: Say,
) -> "HeadProfile":
    """Profile a second set of chains: without controls, for none of its p values is asked for.

    Parameters
    ----------
    model, chains, properties, keep, progress
        As for :func:`esmkit.heads.profile`.
    options : mapping
        ``resamples`` and ``seed`` of the first profile.
    say : callable
        Called with a sentence for each chain that is left out.
    """
    found = profile(
        model,
        chains,
        properties=properties,
        control=False,
        resamples=options["resamples"],
        seed=options["seed"],
        progress=progress,
        keep=keep,
    )
    for name, reason in found.left_out:
        say(f"left out of the second set: {name}: {reason}")
    return found
