"""The contact regression fitted anew without a head, to see whether others can stand in for it.

Taking a term out of a regression that was fitted with it is no fair question: its other weights
count on that term. Here the regression is fitted again without the head's map, by the protocol of
Rao et al. 2021 as in :func:`esmkit.contacts.fit` (every pair at least 6 apart, L1 penalty). So that
no chain is scored by what was learned from it, chains are cut into two halves of like lengths, and
each is scored by the regression of the other. The network is not changed.

An L1 penalty gives most heads no weight; where a head has none, the regression without it is the
same, and the change is 0. So only heads with a weight are fitted without.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.contacts.fitting import INVERSE_PENALTY
from esmkit.contacts.map import MIN_SEPARATION
from esmkit.contacts.prediction import corrected_maps
from esmkit.contacts.scores import RANGES, bootstrap
from esmkit.encoder.names import choose_heads, head_name
from esmkit.heads.ablation import check_chains
from esmkit.heads.changes import flip_test
from esmkit.heads.lasso import fit_lasso
from esmkit.heads.resume import REFIT, Keeper
from esmkit.heads.statistics import benjamini_hochberg
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["refit_without"]

FEATURE_BYTES = 512 * 2**20
"""Most bytes of maps that are held at once; 220 MB for TS50 and 120 heads."""

Array = NDArray[np.float64]


def refit_without(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    heads: Sequence[str] | None = None,
    seed: int = 0,
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> "pandas.DataFrame":
    """Fit a contact regression on other chains without one head at a time, and score it.

    The maps of all heads are held at once, 4 bytes for each head and pair. If they would take more
    than 512 MiB, chains are drawn, with ``seed``, until they fill it.

    Parameters
    ----------
    model : Encoder
        With or without a contact head; that is not used.
    structures : iterable of Structure
        Chains of up to 1,022 residues, each ID once. Half of them teach, the others are scored,
        and the other way round; Rao et al. took about 20 to teach.
    heads : sequence of str, optional
        Names such as ``L5H4``, or ``L5`` for a whole layer; by default all.
    seed : int
        Seed of the bootstrap, of the test, and of the choice of chains.
    progress : callable
        Called with the name of each head before its turn.
    keep : Keeper
        Stores what was measured without each head, and returns what it already has.

    Returns
    -------
    pandas.DataFrame
        A row for each head: ``name``, ``layer``, ``head``; ``refit_weight``, its weight where all
        heads are there, mean of the two halves; ``refit_precision``, long-range P@L of the
        regression without it, mean over chains, 0 to 1; ``refit_change``, the same less that of
        the regression with all heads, which is ``refit_precision - refit_change``; ``refit_low``
        and ``refit_high``, its 95 % interval, a bootstrap over chains; ``refit_q``, its false
        discovery rate over the heads of the table (:mod:`esmkit.heads.changes`), NaN where nothing
        changes; ``refit_scored``, the chains with a precision. All NaN, and 0 scored, where nothing
        can be fitted: with fewer than two chains, or a half without contacts.

    Raises
    ------
    InputError
        If there is no structure, two have the same ID, or one is too long.
    OptionError
        If there is no such head.

    Examples
    --------
    >>> chains = esmkit.data.ts50()[:10]
    >>> table = refit_without(esmkit.load(), chains, heads=["L5"])         # doctest: +SKIP
    >>> table.nsmallest(1, "refit_change")["name"].item()                  # doctest: +SKIP
    'L5H4'
    """
    import pandas

    choice = choose_heads(heads, "all", of_layers=model.layers, of_heads=model.heads)
    refits = _Refits(model, _drawn(model, check_chains(structures), seed), keep)
    rows: list[dict[str, Any]] = []
    for layer, head in choice.heads:
        progress(head_name(layer, head))
        place = layer * model.heads + head
        precision = refits.without(place)
        change = precision - refits.precision
        low, high = bootstrap(change, seed=seed)
        known = ~np.isnan(change)
        rows.append(
            {
                "name": head_name(layer, head),
                "layer": layer,
                "head": head,
                "refit_weight": float(refits.weights[:, place].mean()),
                "refit_precision": float(precision[known].mean()) if known.any() else np.nan,
                "refit_change": float(change[known].mean()) if known.any() else np.nan,
                "refit_low": low,
                "refit_high": high,
                "refit_q": flip_test(change, seed=seed),
                "refit_scored": int(known.sum()),
            }
        )
    table = pandas.DataFrame(rows)
    table["refit_q"] = benjamini_hochberg(table["refit_q"].to_numpy())
    return table


def _drawn(model: "Encoder", chains: "list[Structure]", seed: int) -> "list[Structure]":
    """Return the chains whose maps fit into memory, two at least; the order given is no matter."""
    chains = sorted(chains, key=lambda chain: chain.id)
    room = FEATURE_BYTES // (4 * (model.layers * model.heads + 1))
    taken: list[Structure] = []
    for number in np.random.default_rng(seed).permutation(len(chains)):
        room -= len(_pairs(chains[number])[0])
        if room < 0 and len(taken) >= 2:
            break
        taken.append(chains[number])
    return taken


def _pairs(chain: "Structure") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the resolved pairs that a regression learns from."""
    i, j = np.triu_indices(len(chain), min(MIN_SEPARATION, len(chain)))
    there = chain.resolved[i] & chain.resolved[j]
    return i[there], j[there]


@dataclass
class _Half:
    """Chains that teach one regression and are scored by the other."""

    chains: "list[Structure]"
    features: NDArray[np.float32] = field(init=False, repr=False)
    """(N * H + 1, pairs): the corrected maps of all heads, and ones."""
    labels: NDArray[np.bool_] = field(init=False, repr=False)

    def measure(self, model: "Encoder") -> None:
        pairs = [_pairs(chain) for chain in self.chains]
        self._ends = np.cumsum([0, *(len(i) for i, _ in pairs)])
        self._far = [j - i >= RANGES["long"][0] for i, j in pairs]
        self.features = np.ones((model.layers * model.heads + 1, self._ends[-1]), np.float32)
        self.labels = np.zeros(self._ends[-1], bool)
        for number, (chain, (i, j)) in enumerate(zip(self.chains, pairs, strict=True)):
            here = slice(*self._ends[number : number + 2])
            self.features[:-1, here] = corrected_maps(model, chain.protein)[:, i, j]
            self.labels[here] = chain.contacts()[i, j]

    @property
    def teaches(self) -> bool:
        """Whether there are pairs of both kinds."""
        return bool(self.labels.any() and not self.labels.all())

    def score(self, weights: Array) -> Array:
        """Return long-range P@L of each chain; NaN where undefined."""
        used = np.flatnonzero(weights)
        odds = weights[used] @ self.features[used].astype(float)
        found = np.full(len(self.chains), np.nan)
        for number, (chain, far) in enumerate(zip(self.chains, self._far, strict=True)):
            here, count = slice(*self._ends[number : number + 2]), int(chain.resolved.sum())
            if count and far.any():
                order = np.argsort(-odds[here][far], kind="stable")
                found[number] = self.labels[here][far][order[:count]].sum() / count
        return found


class _Refits:
    """Regressions of both halves with all heads, and without each; maps are made when needed."""

    def __init__(self, model: "Encoder", chains: "list[Structure]", keep: Keeper) -> None:
        self._model, self._keep = model, keep
        self._heads = model.layers * model.heads
        chains = sorted(chains, key=lambda chain: (len(chain), chain.id))
        self._chains = chains[::2], chains[1::2]
        found = keep.get(REFIT, self._heads, ("precision", "weights"))
        if found is None:
            precision, weights = self._with_all()
            found = {"precision": precision, "weights": weights}
            keep.put(REFIT, self._heads, found)
        self.precision: Array = found["precision"]  # (chains,), half after half
        self.weights: Array = found["weights"]  # (2, N * H + 1); NaN if nothing can be fitted

    @cached_property
    def _halves(self) -> list[_Half]:
        halves = [_Half(chains) for chains in self._chains]
        for half in halves:
            half.measure(self._model)
        return halves

    def _with_all(self) -> tuple[Array, Array]:
        if not all(half.teaches for half in self._halves):
            chains = sum(len(half.chains) for half in self._halves)
            return np.full(chains, np.nan), np.full((2, self._heads + 1), np.nan)
        weights = np.stack([self._fit(half) for half in self._halves])
        return self._scored(weights), weights

    def without(self, place: int) -> Array:
        """Return the precision of each chain by the regression of the other half without a head."""
        if not (np.nan_to_num(self.weights[:, place]) != 0).any():
            return self.precision
        found = self._keep.get(REFIT, place, ("precision",))
        if found is None:
            weights = [
                self._fit(half, start=start, without=place) if start[place] else start
                for half, start in zip(self._halves, self.weights, strict=True)
            ]
            found = {"precision": self._scored(np.stack(weights))}
            self._keep.put(REFIT, place, found)
        return found["precision"]

    def _fit(self, half: _Half, **options: Any) -> Array:
        return fit_lasso(half.features, half.labels, inverse_penalty=INVERSE_PENALTY, **options)

    def _scored(self, weights: Array) -> Array:
        of_other = zip(self._halves, weights[::-1], strict=True)
        return np.concatenate([half.score(given) for half, given in of_other])
