"""Contact maps of the chains of a batch without a head: sums over maps, of which most stay.

A contact map is a weighted sum over the corrected maps of heads. Taking a head away can change it
in two ways, which are told apart here: the head's *output* shapes the maps of later layers, and the
head's own *map* is a term of the sum. The map of a head does not depend on its own output.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.contacts.correction import corrected_sum
from esmkit.contacts.head import ContactHead
from esmkit.contacts.scores import CUTS, RANGES
from esmkit.encoder.packing import Pack
from esmkit.encoder.stream import MapStream, Sink

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["MEASURED", "ContactSums"]

MEASURED = ("P@L", "P@L/2")
"""Precisions at long range that are compared with the intact model."""

Sums = list[torch.Tensor]
"""The sum of each chain, (R, R)."""


class ContactSums:
    """The contact maps of the chains of one batch, at the entrance of one layer after the other.

    Parameters
    ----------
    model : Encoder
    chains : sequence of Structure
    head : ContactHead, optional
        Without one, precisions are NaN.
    """

    def __init__(
        self, model: "Encoder", chains: "Sequence[Structure]", head: ContactHead | None
    ) -> None:
        self._model = model
        self._head = head
        self._by_layer: Mapping[int, Sequence[int]] = head.choice.by_layer if head else {}
        self._weights = torch.zeros(model.layers, model.heads, device=model.device)
        if head is not None:
            layers, numbers = np.array(head.choice.heads).T
            self._weights[layers, numbers] = torch.tensor(head.weights).to(self._weights)
        self._pairs = [_long_range(chain) for chain in chains]
        self._kept = [torch.zeros(len(c), len(c), device=model.device) for c in chains]
        self._intact: Sums = []
        self._sums: dict[str, Sums] = {}

    def intact(self, pack: Pack, names: Sequence[str]) -> torch.Tensor:
        """Run the whole model as it is; return its last hidden state, (T, D)."""
        self._intact = [kept.clone() for kept in self._kept]
        sink, last = self._add_to(self._intact), [self._model.layers]
        states = self._model.forward(pack, last, names=names, sink=sink, heads=self._by_layer)[0]
        self._precision = self._score(self._intact)
        return states

    def watch(self, pack: Pack, layer: int) -> MapStream:
        """Return what adds the maps of a layer to those that stay."""
        wanted = {layer: self._by_layer.get(layer, ())}
        return MapStream(pack, self._add_to(self._kept), wanted)

    def without(self, pack: Pack, layer: int, head: int) -> MapStream:
        """Return what sums the maps of later layers, and knows the map of a head of this one."""
        both, output = ([kept.clone() for kept in self._kept] for _ in range(2))
        less = list(self._intact)
        self._sums = {"both": both, "output": output, "map": less}
        later = {n: heads for n, heads in self._by_layer.items() if n > layer}
        own = [h for h in self._by_layer.get(layer, ()) if h == head]

        def add(number: int, place: int, heads: Sequence[int], maps: torch.Tensor) -> None:
            weights = self._weights[number, list(heads)]
            if number == layer:
                part = corrected_sum(maps[:, 1:-1, 1:-1], -weights)
                less[place] = less[place] + part
                both[place] += part
                return
            part = corrected_sum(maps[:, 1:-1, 1:-1], weights)
            both[place] += part
            output[place] += part

        self._own, self._later = bool(own), bool(later)
        return MapStream(pack, add, {**later, layer: own})

    def _add_to(self, sums: Sums) -> Sink:
        def add(layer: int, place: int, heads: Sequence[int], maps: torch.Tensor) -> None:
            inner = maps[:, 1:-1, 1:-1]  # (h, R, R)
            sums[place] += corrected_sum(inner, self._weights[layer, list(heads)])

        return add

    def precisions(self) -> dict[str, NDArray[np.float64]]:
        """Return long-range P@L and P@L/2 of each chain, (chains, 2) each; NaN where undefined.

        Returns
        -------
        dict of str to numpy.ndarray of float64
            ``intact``; without the head's ``output``, with its ``map`` still read; without its
            ``map``, its output kept; and without ``both``.
        """
        intact = self._precision
        # Nothing is summed where nothing changes: so a change of nothing is 0, not a rounding
        output = self._score(self._sums["output"]) if self._later else intact
        less = self._score(self._sums["map"]) if self._own else intact
        both = self._score(self._sums["both"]) if self._own else output
        return {"intact": intact, "output": output, "map": less, "both": both}

    def _score(self, sums: Sums) -> NDArray[np.float64]:
        found = np.full((len(sums), len(MEASURED)), np.nan)
        if self._head is None:
            return found
        for number, (values, (rows, columns, true, size)) in enumerate(
            zip(sums, self._pairs, strict=True)
        ):
            if self._head.method == "regression":
                values = torch.sigmoid(values + self._head.bias)
            order = np.argsort(-values.cpu().numpy()[rows, columns], kind="stable")
            for place, cut in enumerate(MEASURED):
                count = size // CUTS[cut]
                if count and len(true):
                    found[number, place] = true[order[:count]].sum() / count
        return found


def _long_range(
    chain: "Structure",
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], int]:
    """Return the resolved pairs of a chain, which of them touch, and its resolved residues."""
    rows, columns = np.triu_indices(len(chain), min(RANGES["long"][0], len(chain)))
    there = chain.resolved[rows] & chain.resolved[columns]
    rows, columns = rows[there], columns[there]
    return rows, columns, chain.contacts()[rows, columns], int(chain.resolved.sum())
