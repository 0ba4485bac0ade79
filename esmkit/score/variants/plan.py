"""What has to be computed for variants of one protein, in pieces, and how scores come of it.

With x the wild type, y a variant, m a site with the letters x_m and y_m, and p the softmax over the 20
amino acids:

- *wt-marginals*: sum over m of log p(y_m | x) - log p(x_m | x); one pass.
- *masked-marginals*: the same with site m hidden, and no other, log p(. | x without m).
- *mutant-marginals*: sum over m of log p(y_m | y) - log p(x_m | y); one pass for each variant.
- *pllr*: sum over all i of log p(y_i | y without i), less the same of x; R passes for each variant,
  and the only one that takes insertions and deletions.

The first two are those of fair-esm's ``predict.py``; the third is that of Meier et al. 2021
(doi:10.1101/2021.07.09.450648), whose masked marginals of several substitutions hide all of their
sites at once, where each is hidden alone here. Of a protein over 1,022
residues, each site is read in the window that has it as near its middle as the ends allow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import what_is
from esmkit.errors import InputError, OptionError
from esmkit.score.variants.mutations import Variant
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.windows import MAX_RESIDUES, window_around

__all__ = ["STRATEGIES", "Plan", "Strategy", "Unit", "check_strategy"]

Strategy = Literal["wt-marginals", "masked-marginals", "mutant-marginals", "pllr"]
"""Conventions for scores of variants; see the top of this module."""

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

_SITES = 32
"""Hidden sites of a unit: what a stop loses, and what a shard has a name for."""

_PLACE = {letter: place for place, letter in enumerate(AMINO_ACIDS)}

Values = Mapping[int, NDArray[np.float64]]
"""Results of units by their place in the plan."""


def check_strategy(strategy: str) -> None:
    """Refuse a strategy that there is not."""
    if strategy not in STRATEGIES:
        raise OptionError(
            f"`strategy` is {', '.join(map(repr, STRATEGIES))}, not {what_is(strategy)}; choose one"
        )


@dataclass(frozen=True, slots=True)
class Unit:
    """Sites of a window that are asked about together.

    Attributes
    ----------
    hidden : bool
        Whether each site is hidden in turn, or nothing is.
    pieces : tuple of (str, tuple of int)
        Residues of a window, and indices in it.
    variant : Variant, optional
        The variant whose own sequence this is of: then the result is one number. Without, it is
        log p (sites, 20).
    """

    hidden: bool
    pieces: tuple[tuple[str, tuple[int, ...]], ...]
    variant: Variant | None = None

    @property
    def passes(self) -> int:
        """Sequences that go through the model."""
        return sum(len(sites) if self.hidden else 1 for _, sites in self.pieces)

    @property
    def residues(self) -> int:
        """Residues of these."""
        return sum(
            len(window) * (len(sites) if self.hidden else 1) for window, sites in self.pieces
        )

    def gathered(self, found: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the result of the unit.

        Parameters
        ----------
        found : sequence of float64 arrays (sites, 20)
            log p of each piece.
        """
        if self.variant is None:
            return np.concatenate(found)
        total = 0.0
        for (window, sites), logs in zip(self.pieces, found, strict=True):
            total += sum(logs[k, _PLACE[window[site]]] for k, site in enumerate(sites))
        if self.hidden:
            return np.array([total])
        old = iter(edit.first for edit in self.variant.edits)  # pieces are in their order
        total -= sum(logs[k, _PLACE[next(old)]] for logs in found for k in range(len(logs)))
        return np.array([total])


class Plan:
    """The passes that variants of one protein take, and their scores.

    Parameters
    ----------
    sequence : str
        R residues of the wild type.
    variants : sequence of Variant
        Each once, its residues counted from 1.
    strategy : str
    with_entropy : bool
        Whether the entropy of each site is wanted too.
    size : int
        Residues of a window.

    Attributes
    ----------
    units : list of Unit
    """

    def __init__(
        self,
        sequence: str,
        variants: Sequence[Variant],
        strategy: Strategy,
        *,
        with_entropy: bool = False,
        size: int = MAX_RESIDUES,
    ) -> None:
        self.sequence: str = sequence
        self.strategy, self._size = strategy, size
        self.variants: list[Variant] = list(variants)
        self.units: list[Unit] = []
        self._hidden_at: dict[int, tuple[int, int]] = {}  # site: (unit, row)
        self._plain_at: dict[int, tuple[int, int]] = {}
        self._unit_of: dict[Variant, int] = {}
        self._shared_of: dict[Variant, list[int]] = {}
        for variant in self.variants:
            check_fits(variant, sequence, strategy)
        sites = sorted({edit.start - 1 for v in self.variants for edit in v.edits})
        substituted = sorted(
            {e.start - 1 for v in self.variants if v.substitutions_only for e in v.edits}
        )
        if strategy == "pllr" and self.variants:
            every = [i for i, letter in enumerate(sequence) if letter in _PLACE]
            self._add_sites(every, hidden=True)
            self._add_pseudo_likelihoods()
        elif strategy == "mutant-marginals":
            self._add_own()
        else:
            self._add_sites(sites, hidden=strategy == "masked-marginals")
        if with_entropy:
            self._add_sites([s for s in substituted if s not in self._hidden_at], hidden=True)

    @property
    def passes(self) -> int:
        """Sequences that go through the model in all."""
        return sum(unit.passes for unit in self.units)

    def _window(self, site: int, residues: int) -> tuple[int, int]:
        return window_around(site, residues, self._size)

    def _add_sites(self, sites: Sequence[int], *, hidden: bool) -> None:
        """Add units for log p of all letters at sites of the wild type."""
        at = self._hidden_at if hidden else self._plain_at
        for (start, stop), some in _by_window(sites, self.sequence, self._size).items():
            step = _SITES if hidden else len(some)
            for first in range(0, len(some), step):
                part = some[first : first + step]
                at.update((site, (len(self.units), row)) for row, site in enumerate(part))
                window = self.sequence[start:stop]
                self.units.append(Unit(hidden, ((window, tuple(s - start for s in part)),)))

    def _add_own(self) -> None:
        """Add a unit for each variant's own sequence, nothing hidden."""
        for variant in self.variants:
            own = variant.applied(self.sequence)
            pieces = tuple(
                (own[start:stop], tuple(site - start for site in sites))
                for (start, stop), sites in _by_window(
                    [edit.start - 1 for edit in variant.edits], own, self._size
                ).items()
            )
            self._unit_of[variant] = len(self.units)
            self.units.append(Unit(False, pieces, variant))

    def _add_pseudo_likelihoods(self) -> None:
        """Add a unit for each variant's own sequence, each site hidden in turn.

        Of a long protein, what a window says that the wild type has too is not computed again.
        """
        known = {}
        for start, stop in {self._window(s, len(self.sequence)) for s in range(len(self.sequence))}:
            known[self.sequence[start:stop]] = start
        for variant in self.variants:
            own = variant.applied(self.sequence)
            every = [i for i, letter in enumerate(own) if letter in _PLACE]
            pieces, shared = [], []
            for (start, stop), sites in _by_window(every, own, self._size).items():
                inside = tuple(site - start for site in sites)
                there = known.get(own[start:stop], -1)
                same = {
                    site
                    for site in inside
                    if there >= 0 and self._window(there + site, len(self.sequence))[0] == there
                }
                shared += [there + site for site in inside if site in same]
                rest = tuple(site for site in inside if site not in same)
                if rest:
                    pieces.append((own[start:stop], rest))
            self._unit_of[variant] = len(self.units)
            self._shared_of[variant] = shared
            self.units.append(Unit(True, tuple(pieces), variant))

    # -------------------------------------------------------------------- what comes of it

    def scores(self, values: Values) -> dict[Variant, float]:
        """Return the score of each variant, in nats; above 0 the model finds it likelier.

        Parameters
        ----------
        values : mapping from int to float64 array
            Result of each unit, by its place.
        """
        if self.strategy == "mutant-marginals":
            return {v: float(values[self._unit_of[v]][0]) for v in self.variants}
        if self.strategy == "pllr":
            return self._ratios(values)
        at = self._hidden_at if self.strategy == "masked-marginals" else self._plain_at
        return {variant: self._marginal(variant, at, values) for variant in self.variants}

    def _marginal(
        self, variant: Variant, at: Mapping[int, tuple[int, int]], values: Values
    ) -> float:
        total = 0.0
        for edit in variant.edits:
            unit, row = at[edit.start - 1]
            logs = values[unit][row]
            total += float(logs[_PLACE[edit.new]] - logs[_PLACE[edit.first]])
        return total

    def _ratios(self, values: Values) -> dict[Variant, float]:
        of_site = {
            site: float(values[unit][row][_PLACE[self.sequence[site]]])
            for site, (unit, row) in self._hidden_at.items()
        }
        wild = sum(of_site.values())
        return {
            v: float(values[self._unit_of[v]][0])
            + sum(of_site[site] for site in self._shared_of[v])
            - wild
            for v in self.variants
        }

    def entropies(self, values: Values) -> dict[int, float]:
        """Return the entropy of hidden sites, in nats, by the number of the residue from 1."""
        from esmkit.score.probabilities import entropy_of

        return {
            site + 1: float(entropy_of(values[unit][row]))
            for site, (unit, row) in self._hidden_at.items()
        }


def _by_window(sites: Sequence[int], sequence: str, size: int) -> dict[tuple[int, int], list[int]]:
    """Return sites by the window that has them as near its middle as the ends allow."""
    found: dict[tuple[int, int], list[int]] = {}
    for site in sites:
        found.setdefault(window_around(site, len(sequence), size), []).append(site)
    return found


def check_fits(variant: Variant, sequence: str, strategy: str) -> None:
    """Refuse a variant that a strategy has no score for.

    Raises
    ------
    InputError
        If it has an insertion or deletion and the strategy is another than pllr, or nothing is
        left of it that has a probability.
    """
    if strategy != "pllr" and not variant.substitutions_only:
        raise InputError(
            f"{variant} changes the length, and {strategy} compares letters at a site; "
            'give `strategy="pllr"`, which takes insertions and deletions, or leave it out'
        )
