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
    found: list[Example] = []

    def take(chain: "Structure", why: str) -> None:
        found.append(Example(chain, why))
        left.remove(chain)

    for letter, why in (("H", "the most helix"), ("E", "the most strand")):
        share = [np.mean([s == letter for s in chain.secondary_structure_3]) for chain in left]
        if left and max(share) > 0:
            take(left[int(np.argmax(share))], why)
    bonds = [len(chain.disulfides) for chain in left]
    if left and max(bonds) > 0:
        take(left[int(np.argmax(bonds))], "the most disulfides")
    if left:
        middle = left[len(left) // 2]
        take(middle, "of middling length")
    return found
