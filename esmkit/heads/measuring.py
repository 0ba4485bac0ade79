"""One pass of chains through a model: the scores of its heads, added up chain by chain."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.attention.extract import compute
from esmkit.attention.passes import Piece
from esmkit.attention.summaries import reduce_maps
from esmkit.encoder.names import HeadChoice
from esmkit.heads.properties import Property
from esmkit.heads.resume import Keeper
from esmkit.heads.scores import BlockScores, ChainLabels, score_block
from esmkit.heads.statistics import Accumulator
from esmkit.heads.unrepeated import APART, copies_in, of_pairs, pair_places
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["CENTRE", "Measured", "add_chain", "measure"]

Array = NDArray[np.float64]

CENTRE = MAX_RESIDUES - 1
"""Index of offset 0 in profiles of all offsets."""

BLOCK_FIELDS = tuple(BlockScores.__dataclass_fields__)
FIELDS = (*BLOCK_FIELDS, "facts")
"""Names of the arrays that are kept of each chain."""


@dataclass
class Measured:
    """Sums over the proteins of one pass, for n heads and P properties."""

    accumulator: Accumulator
    facts: Array  # (n, 4): entropy, distance, BOS, EOS, summed over proteins
    offsets: Array  # (n, 2 * 1022 - 1): weight at each offset
    offset_pairs: Array  # (2 * 1022 - 1,): pairs at each offset
    offset_labels: Array  # (P, 2 * 1022 - 1): labelled pairs at each offset
    squares: Array  # (n, 3)
    chains: list[str]
    apart: Accumulator | None = None  # of pairs, where repeats are left out, if that was asked
    repeated: list[str] = field(default_factory=list)  # chains with repeats

    def position_only(self) -> Array:
        """Return the share of each property for a head that knows nothing but offsets: (n, P).

        Its weight for a pair is the mean weight at that offset over all proteins.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.nan_to_num(self.offsets / self.offset_pairs)
            return mean @ self.offset_labels.T / (mean @ self.offset_pairs)[:, None]


def measure(
    model: "Encoder",
    structures: Iterable["Structure"],
    properties: Sequence[Property],
    choice: HeadChoice,
    *,
    progress: Say = silent,
    left_out: list[tuple[str, str]] | None = None,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
    stage: int = 0,
    again: bool = False,
) -> Measured:
    """Run chains through a model and add up the scores of its heads, chain by chain.

    With ``again``, properties of pairs are added up once more, with repeats left out.
    """
    heads, count, pairs = len(choice.heads), len(properties), pair_places(properties)
    width = 2 * MAX_RESIDUES - 1
    gathered = Measured(
        Accumulator(heads, count),
        np.zeros((heads, 4)),
        np.zeros((heads, width)),
        np.zeros(width),
        np.zeros((count, width)),
        np.zeros((heads, 3)),
        [],
        Accumulator(heads, len(pairs)) if again and pairs else None,
    )
    for number, structure in enumerate(structures):
        reason = _unusable(structure, gathered.chains)
        if reason:
            if left_out is not None:
                left_out.append((structure.id, reason))
            continue
        progress(structure.id)
        labels = ChainLabels(structure, properties)
        found = keep.get(stage, number, FIELDS)
        if found is None:
            found = _score(model, structure, labels, choice)
            keep.put(stage, number, found)
        gathered.facts += found["facts"]
        scores = BlockScores(**{name: found[name] for name in BLOCK_FIELDS})
        add_chain(gathered, structure.id, scores, labels)
        if gathered.apart is None:
            continue
        copies = copies_in(structure)
        if copies is None:
            gathered.apart.add(of_pairs(scores, pairs), labels.counts[pairs])
            continue
        gathered.repeated.append(structure.id)
        labels = ChainLabels(structure, [properties[place] for place in pairs], copies)
        found = keep.get(APART, number, BLOCK_FIELDS)
        if found is None:
            found = _score(model, structure, labels, choice)
            keep.put(APART, number, {name: found[name] for name in BLOCK_FIELDS})
        gathered.apart.add(
            BlockScores(**{name: found[name] for name in BLOCK_FIELDS}), labels.counts
        )
    return gathered


def _score(
    model: "Encoder", structure: "Structure", labels: ChainLabels, choice: HeadChoice
) -> dict[str, NDArray[Any]]:
    """Run one chain through a model; return the scores of its n heads, and facts (n, 4)."""
    places = {head: place for place, head in enumerate(choice.heads)}
    blocks: dict[int, tuple[BlockScores, NDArray[Any]]] = {}

    def score(maps: torch.Tensor) -> tuple[BlockScores, NDArray[Any]]:
        numbers = reduce_maps(maps, ("entropy", "distance", "special")).cpu().double().numpy()
        return score_block(maps[:, 1:-1, 1:-1].cpu().numpy(), labels), numbers

    def take(
        piece: Piece, layer: int, some: Sequence[int], scored: tuple[BlockScores, NDArray[Any]]
    ) -> None:
        blocks[places[layer, some[0]]] = scored

    items = [(0, structure.protein)]
    for _ in compute(model, items, choice, take, long="error", batch_tokens=1, prepare=score):
        pass
    parts = [blocks[first] for first in sorted(blocks)]
    found = {
        name: np.concatenate([getattr(scores, name) for scores, _ in parts])
        for name in BLOCK_FIELDS
    }
    found["facts"] = np.nan_to_num(np.concatenate([facts for _, facts in parts]), nan=1.0)
    return found


def _unusable(structure: "Structure", seen: Sequence[str]) -> str:
    if structure.id in seen:
        return "its ID comes twice; only the first is taken"
    if len(structure) > MAX_RESIDUES:
        return f"it has {len(structure):,} residues, more than the {MAX_RESIDUES:,} of one window"
    if int(structure.resolved.sum()) < 3:
        return "fewer than three of its residues are resolved"
    return ""


def add_chain(gathered: Measured, chain: str, scores: BlockScores, labels: ChainLabels) -> None:
    """Add the scores of one chain, all n heads."""
    gathered.accumulator.add(scores, labels.counts)
    window = slice(CENTRE - labels.residues + 1, CENTRE + labels.residues)
    gathered.offsets[:, window] += scores.profile
    gathered.offset_pairs[window] += labels.offset_pairs
    gathered.offset_labels[:, window] += labels.offset_labels
    gathered.squares += scores.squares
    gathered.chains.append(chain)
