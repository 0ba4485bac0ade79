"""Do heads tell bonded cysteines from others? Asked within chains, at like separations.

A head that likes cysteines, or a distance along the sequence, gives bonded cysteines much weight
without knowing of bonds. So every bonded pair is held against pairs of cysteines of the same chain
that are not bonded, in the same direction (query before or after key), with a like separation. The
AUC of a head is the probability that the bonded pair has more of its weight: 0.5 is chance, 1 a
head that always prefers the bond.

Bonded cysteines touch, and a head that looks for contacts prefers them too. So two more numbers are
given: touching pairs without a bond against pairs apart, which such a head prefers as much, and
bonded pairs against touching ones, which it does not tell apart.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import InputError
from esmkit.heads.matched_pairs import (
    APART,
    BONDED,
    TOUCHING,
    CysteinePairs,
    check_resamples,
    compare,
    score,
    sums,
)
from esmkit.heads.resume import Keeper
from esmkit.heads.statistics import MIN_PROTEINS
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.encoder.names import HeadChoice
    from esmkit.structure import Structure

__all__ = ["pairs_of", "usable", "within_chains"]

Array = NDArray[np.float64]

MAX_SHARED_LIGAND = 4.5
"""Å between two sulfurs, neither of them in a bond: they hold a metal, or are a bond that is broken."""

STAGE = 2_000
"""The first stage of a keeper; profiles use those below."""


def pairs_of(
    structure: "Structure",
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the ordered pairs of resolved cysteines: query, key and kind, each (n,).

    Left out are two cysteines in no bond whose sulfurs are within 4.5 Å: they share a metal, or are
    a bond that was reduced, and are no example of either.

    Examples
    --------
    >>> chain = esmkit.data.replication()[11]
    >>> query, key, kind = pairs_of(chain)
    >>> chain.id, len(kind), int((kind == BONDED).sum())
    ('1bx8_A', 90, 10)
    """
    from scipy.spatial.distance import cdist

    cysteine = np.array([letter == "C" for letter in structure.sequence])
    places = np.flatnonzero(cysteine & np.isfinite(structure.sg).all(axis=1) & structure.resolved)
    bonded = np.zeros((len(structure), len(structure)), bool)
    bonded[structure.disulfides[:, 0], structure.disulfides[:, 1]] = True
    bonded = np.logical_or(bonded, bonded.T)[np.ix_(places, places)]
    close = structure.contacts()[np.ix_(places, places)]
    kind = np.where(bonded, BONDED, np.where(close, TOUCHING, APART))
    free = np.logical_not(bonded.any(axis=1))
    sulfurs = structure.sg[places]
    shared = (cdist(sulfurs, sulfurs) < MAX_SHARED_LIGAND) & free & free[:, None]
    query, key = np.nonzero(~shared & ~np.eye(len(places), dtype=bool))
    return places[query], places[key], kind[query, key]


@checked
def within_chains(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    control: bool = True,
    untrained: int | None = None,
    resamples: int = 2_000,
    seed: int = 0,
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> "pandas.DataFrame":
    """Ask of every head whether it prefers bonded cysteines to others of the same chain.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Such as ``[*esmkit.data.ts50(), *esmkit.data.replication()]``. Chains without a bond or
        without another pair, those over 1,022 residues, and IDs that come twice are left out.
    control : bool
        Measure untrained models too: random weights, and trained ones in another order.
    untrained : int, optional
        How many untrained models of each kind, 1 to 10; by default as many as give 300 heads.
    resamples : int
        Bootstrap samples of chains, at least 2,000.
    seed : int
        Seed of the bootstrap and of the untrained models.
    progress : callable
        Called with the ID of each chain before its turn, in each model.
    keep : Keeper
        Stores what was measured of each chain, and returns what it already has.

    Returns
    -------
    pandas.DataFrame
        A row for each head, as :func:`compare` makes them; with ``control`` also ``random`` and
        ``permuted``, the 95th percentile of the distance of an AUC from 0.5 over the heads of
        untrained models, and ``inflation``, by how much more than chains alone explain their AUCs
        vary, the larger of both. ``p`` and ``q`` allow for it.

    Raises
    ------
    InputError
        If no chain has a bond and another pair of cysteines.
    OptionError
        If there are fewer than 2,000 resamples, or not 1 to 10 untrained models of each kind.

    Examples
    --------
    >>> found = within_chains(esmkit.load(), esmkit.data.replication())  # doctest: +SKIP
    >>> bool((found["q"] <= 0.05).any())                                 # doctest: +SKIP
    False
    """
    from esmkit.encoder.names import choose_heads
    from esmkit.heads.controls import check_untrained, untrained_models

    check_untrained(untrained)
    check_resamples(resamples)
    chains = usable(structures)
    if not chains:
        raise InputError(
            "no chain has a disulfide and another pair of cysteines to hold it against; "
            "esmkit.data.replication() has some"
        )
    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    measured = _measure(model, chains, choice, progress, keep, STAGE)
    aucs: dict[str, list[Array]] = {"random": [], "permuted": []}
    scores: dict[str, list[Array]] = {"random": [], "permuted": []}
    if control:
        for _, kind, stage, make in untrained_models(model, seed, untrained):
            wins, counts = sums(
                _measure(make(), chains, choice, progress, keep, STAGE + stage), BONDED, None
            )
            if counts.any():
                aucs[kind].append(wins.sum(0) / counts.sum())
                scores[kind].append(score(wins, counts))
    wider = max(
        [1.0, *(float(np.mean(np.square(np.concatenate(of)))) for of in scores.values() if of)]
    )
    table = compare(measured, choice.names, inflation=wider, resamples=resamples, seed=seed)
    for place, column in enumerate(("layer", "head")):
        table.insert(1 + place, column, [each[place] for each in choice.heads])
    if control:
        for kind, found in aucs.items():
            far = np.abs(np.concatenate(found) - 0.5) if found else np.array([np.nan])
            table[kind] = np.quantile(far, 0.95)
        enough = bool(np.all(table["chains"].to_numpy() >= MIN_PROTEINS))
        table["inflation"] = wider if enough else np.nan
    return table


def usable(structures: Iterable["Structure"]) -> list[tuple[int, "Structure"]]:
    """Return the chains with a bond and another pair, each ID once, with their places.

    Examples
    --------
    >>> len(usable(esmkit.data.ts50())), len(usable(esmkit.data.replication()))
    (14, 33)
    """
    found: dict[str, tuple[int, Structure]] = {}
    for place, structure in enumerate(structures):
        kinds = pairs_of(structure)[2] if len(structure) <= MAX_RESIDUES else np.array([])
        if (kinds == BONDED).any() and (kinds != BONDED).any():
            found.setdefault(structure.id, (place, structure))
    return list(found.values())


def _measure(
    model: "Encoder",
    chains: Sequence[tuple[int, "Structure"]],
    choice: "HeadChoice",
    progress: Say,
    keep: Keeper,
    stage: int,
) -> list[CysteinePairs]:
    """Run chains through a model; return what its heads give their cysteines."""
    found = []
    for number, structure in chains:
        progress(structure.id)
        query, key, kind = pairs_of(structure)
        kept = keep.get(stage, number, ("weights", "expected"))
        if kept is None:
            weights, expected = _attention(model, structure, choice, query, key)
            kept = {"weights": weights, "expected": expected}
            keep.put(stage, number, kept)
        found.append(CysteinePairs(query, key, kind, **kept))
    return found


def _attention(
    model: "Encoder",
    structure: "Structure",
    choice: "HeadChoice",
    query: NDArray[np.int64],
    key: NDArray[np.int64],
) -> tuple[Array, Array]:
    """Return the weights of pairs, and the means at their offsets: each (heads, n)."""
    import torch

    from esmkit.attention.extract import compute
    from esmkit.attention.passes import Piece

    places = {head: place for place, head in enumerate(choice.heads)}
    blocks: dict[int, tuple[Array, Array]] = {}

    def prepare(maps: torch.Tensor) -> tuple[Array, Array]:
        inner = maps[:, 1:-1, 1:-1].cpu().double().numpy()
        offsets, where = np.unique(key - query, return_inverse=True)
        means = [inner.diagonal(offset, 1, 2).mean(1) for offset in offsets]
        return inner[:, query, key], np.stack(means, axis=1)[:, where]

    def take(piece: Piece, layer: int, some: Sequence[int], got: tuple[Array, Array]) -> None:
        blocks[places[layer, some[0]]] = got

    items = [(0, structure.protein)]
    for _ in compute(model, items, choice, take, long="error", batch_tokens=1, prepare=prepare):
        pass
    parts = [blocks[first] for first in sorted(blocks)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([p[1] for p in parts])
