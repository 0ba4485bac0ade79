"""Example chains of the atlas: few, short, and unlike each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from esmkit.attention.choosing import FAR

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["MOST_RESIDUES", "Example", "choose_examples"]

MOST_RESIDUES = 250
"""Longer chains are examples only if all are longer: their arcs are hard to tell apart."""

WANTED = 4
"""Example chains of a page."""

BONDED = "the most disulfides"

ORDER = ("the most helix", "the most strand", BONDED, "of middling length")
"""Why chains are taken, in the order of the page."""


@dataclass(frozen=True, eq=False)
class Example:
    """A chain that the page shows, and why this one."""

    structure: "Structure"
    why: str


def choose_examples(chains: "Sequence[Structure]") -> list[Example]:
    """Return up to four chains: the most helix, the most strand, the most disulfides, a middling one.

    The choice goes by the structures alone, not by what any head does on them.

    Parameters
    ----------
    chains : sequence of Structure

    Examples
    --------
    >>> from esmkit.data import ts50
    >>> [example.why for example in choose_examples(ts50())][:2]
    ['the most helix', 'the most strand']
    """
    # of chains whose contacts are known: the others show nothing that the sequence does not
    usable = [chain for chain in chains if chain.resolved.sum() > FAR]
    short = [chain for chain in usable if len(chain) <= MOST_RESIDUES]
    left = sorted(
        short or sorted(usable, key=len)[:WANTED], key=lambda chain: (len(chain), chain.id)
    )
    found: dict[str, Example] = {}

    def take(values: Sequence[float], why: str) -> None:
        if left and max(values) > 0:
            found[why] = Example(left.pop(int(np.argmax(values))), why)

    take([len(chain.disulfides) for chain in left], BONDED)  # first, for few chains have some
    for letter, why in (("H", "the most helix"), ("E", "the most strand")):
        take([np.mean([s == letter for s in c.secondary_structure_3]).item() for c in left], why)
    take([at == len(left) // 2 for at in range(len(left))], "of middling length")
    return sorted(found.values(), key=lambda example: ORDER.index(example.why))
