"""Results about contacts, measured on the chains of structures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.contacts.choosing import best_of, halves
from esmkit.contacts.head import ContactHead
from esmkit.contacts.prediction import contacts
from esmkit.contacts.ranking import precisions_of_heads
from esmkit.contacts.scores import CUTS, bootstrap, score_map
from esmkit.encoder.names import head_name
from esmkit.errors import OptionError
from esmkit.published.keeping import Keep, digest_of
from esmkit.published.known import SETS, Claim
from esmkit.published.rows import Row, judge, not_run
from esmkit.text import Say, silent

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["OnChains", "chain_digest"]

BEST = (5, 4)
"""Layer and head of L5H4, the best head of the 8M model in the published comparison."""

AVERAGED = 3
"""Heads in the published mean of the best heads."""

CHOSEN_HERE = "heads chosen on one half of the chains, and not on the 10 chains of the publication"
"""Why the mean of three heads has no verdict, whatever weights and chains there are."""

MOST_CHAINS = 1_000
"""Chains on which heads are chosen by halves: relatives are told by comparing all pairs of chains."""


@dataclass
class OnChains:
    """Measures results about contacts on one set of chains.

    Attributes
    ----------
    model : Encoder
    size : str or None
        Published size of the model's shape.
    chains : list of Structure
    which : str
        Name of the published set that the chains are, or ``other``.
    other : list of str
        What differs from the published measurements whatever the chains are, such as the weights.
    keep : Keep
    seed : int
    progress : callable
        Called with a line for each chain before its turn.
    """

    model: "Encoder"
    size: str | None
    chains: "Sequence[Structure]"
    which: str = "other"
    other: Sequence[str] = ()
    keep: Keep = field(default_factory=Keep)
    seed: int = 0
    progress: Say = silent

    def row(self, claim: Claim) -> Row:
        """Return the row of one result."""
        if claim.name == "categorical-jacobian":
            return not_run(
                claim, self.size, "the categorical Jacobian, which esmkit does not compute"
            )
        if self.size not in claim.values:
            return not_run(
                claim, self.size, f"a published value for a model of {_shape(self.model)}"
            )
        if claim.on != self.which and claim.name in ("contacts-casp14", "contacts-cameo"):
            return not_run(claim, self.size, f"the chains of {SETS[claim.on][0]}")
        measure = {
            "head-L5H4": self._one_head,
            "three-heads": self._three_heads,
            "L5H4-is-best": self._share,
        }.get(claim.name, self._contact_head)
        return measure(claim)

    def _judged(
        self, claim: Claim, values: NDArray[np.float64], note: str = "", other: Sequence[str] = ()
    ) -> Row:
        """Judge a mean over chains; ``other`` is what differs in how it was measured."""
        kept = values[~np.isnan(values)]
        if len(kept) < 2:
            return not_run(claim, self.size, "at least two chains with pairs 24 or more apart")
        low, high = bootstrap(kept, seed=self.seed)
        assert self.size is not None  # `row` has looked
        return judge(
            claim,
            self.size,
            float(kept.mean()),
            low,
            high,
            on=f"{len(kept):,} chains",
            other=[*self.other, *self._other_chains(claim, len(kept)), *other],
            note=note,
        )

    def _other_chains(self, claim: Claim, measured: int) -> list[str]:
        """Say how the chains differ from the published ones."""
        if self.which != claim.on:
            return [f"{measured:,} chains that are not {claim.data()}"]
        count = SETS[claim.on][1]
        if count is None:  # so that two of them would pass for all
            return [f"{measured:,} chains of {claim.data()}, whose number is not published"]
        return [f"{measured:,} chains of {claim.data()}"] if measured != count else []

    def _contact_head(self, claim: Claim) -> Row:
        if not self.model.has_contact_head:
            return not_run(claim, self.size, "a contact head in the checkpoint")
        found = np.array([self._scored(chain, None)[0] for chain in self.chains])
        return self._judged(claim, found)

    def _scored(self, chain: "Structure", names: list[str] | None) -> NDArray[np.float64]:
        """Return the long-range P@L, P@L/2 and P@L/5 of the contact head, or of a mean of heads."""

        def measure() -> NDArray[np.float64]:
            self.progress(f"{chain.id}: {'contact head' if names is None else ' '.join(names)}")
            head = None if names is None else ContactHead.mean_of(self.model, names)
            found = contacts(self.model, chain.protein, head=head).onto(chain, ranking=True)
            length = None if names is None else len(chain)  # as each is published
            return score_map(*found, length=length).loc["long", list(CUTS)].to_numpy(np.float64)

        of = "contact head" if names is None else " ".join(names)
        return self.keep.measured(f"{of} {chain_digest(chain)}", measure)

    @cached_property
    def _heads(self) -> NDArray[np.float64]:
        """Long-range P@L, P@L/2, P@L/5 of every head on every chain: (chains, N * H, 3)."""

        def of(chain: "Structure") -> NDArray[np.float64]:
            def measure() -> NDArray[np.float64]:
                self.progress(f"{chain.id}: every head")
                return precisions_of_heads(self.model, [chain], length="full")[0]["long"][0]

            return self.keep.measured(f"every head {chain_digest(chain)}", measure)

        return np.stack([of(chain) for chain in self.chains])

    def _half(self) -> NDArray[np.float64]:
        """P@L/2 of every head on every chain: (chains, N * H)."""
        return self._heads[:, :, list(CUTS).index("P@L/2")]

    def _one_head(self, claim: Claim) -> Row:
        found = self._half()
        means = np.nanmean(found, axis=0) if not np.isnan(found).all() else np.zeros(found.shape[1])
        best = head_name(*divmod(int(np.argmax(means)), self.model.heads))
        place = BEST[0] * self.model.heads + BEST[1]
        return self._judged(claim, found[:, place], f"the best head here is {best}")

    def _share(self, claim: Claim) -> Row:
        found = self._half()
        ties = (found == found.max(axis=1, keepdims=True)).astype(np.float64)
        place = BEST[0] * self.model.heads + BEST[1]
        with np.errstate(invalid="ignore"):  # NaN equals nothing, so it is no tie
            shares = np.where(np.isnan(found).any(1), np.nan, ties[:, place] / ties.sum(1))
        return self._judged(claim, shares)

    def _three_heads(self, claim: Claim) -> Row:
        """Choose on each half of the chains, score on the other; relatives are in the same half."""
        order = np.random.default_rng(self.seed).permutation(len(self.chains))
        taken = np.sort(order[:MOST_CHAINS])
        chains = [self.chains[place] for place in taken]
        sequences = [chain.sequence for chain in chains]
        values = self._heads[taken]
        usable = np.asarray(~np.isnan(values).any((1, 2)))
        try:
            side = halves(sequences, seed=self.seed)
        except OptionError as error:  # all of one family
            return not_run(claim, self.size, f"chains of two families ({error})")
        if not all(usable[side == which].any() for which in (0, 1)):
            return not_run(claim, self.size, "chains with pairs 24 or more apart in both halves")
        chosen = [
            sorted(best_of(values[side == 1 - which], AVERAGED, self.model.heads), key=_place)
            for which in (0, 1)
        ]
        pairs = zip(chains, side, strict=True)
        found = np.array([self._scored(chain, chosen[which])[1] for chain, which in pairs])
        note = "the three are " + " or ".join(dict.fromkeys(" ".join(names) for names in chosen))
        return self._judged(claim, found, note, [CHOSEN_HERE])


def _place(name: str) -> tuple[int, ...]:
    """Return layer and head of a name such as L5H4."""
    return tuple(int(part) for part in name[1:].split("H"))


def _shape(model: "Encoder") -> str:
    return f"{model.layers} layers, {model.heads} heads and width {model.width}"


def chain_digest(chain: "Structure") -> str:
    """Return what identifies the sequence and the coordinates of a chain."""
    parts = (chain.backbone, chain.cb, chain.sg)
    return digest_of(chain.sequence.encode(), *(np.ascontiguousarray(p).tobytes() for p in parts))
