"""All that ``esmkit heads`` measures, each with a bar, kept in the shards of a work folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from esmkit.files.pending import Pending
from esmkit.files.run_options import Run
from esmkit.files.shards import ShardReader
from esmkit.files.work_folder import WorkFolder
from esmkit.heads.passes import Passes, advance, bar
from esmkit.heads.properties import Property
from esmkit.heads.resume import Key, ShardKeeper, ablation_keys, profile_keys

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.heads.replication import Second
    from esmkit.heads.result import HeadProfile
    from esmkit.structure import Structure

__all__ = ["ABLATION_CHAINS", "Measuring"]

SHARD_BYTES = 32 * 2**20
"""Size at which a shard of measurements is written."""

ABLATION_CHAINS = 20
"""Chains on which heads are switched off: each head takes a forward pass of its own over them."""


@dataclass(frozen=True)
class Measuring:
    """A model, chains, and what is asked of them.

    Attributes
    ----------
    model : Encoder
    chains : list of Structure
    properties : list of Property
    asked : dict
        ``control``, ``resamples`` and ``seed`` of :func:`esmkit.heads.profile`.
    run : Run
    second : list of Structure, HeadProfile or None
        Chains, or their profile, on which findings are repeated.
    """

    model: "Encoder"
    chains: "list[Structure]"
    properties: list[Property]
    asked: dict[str, Any]
    run: Run
    second: "Second | None" = None

    @contextmanager
    def _keeper(
        self, work: WorkFolder, key: Key, watch: Callable[[int], None] = lambda stage: None
    ) -> Iterator[ShardKeeper]:
        compiled = self.model.compiled
        with Pending(work, SHARD_BYTES) as pending, ShardReader(work.shard_of) as shards:
            yield ShardKeeper(work, pending, shards, key, compiled=compiled, watch=watch)

    def profiled(self, work: WorkFolder) -> "HeadProfile":
        """Profile the heads; the bar says in which model."""
        from esmkit.heads.controls import passes as names_of
        from esmkit.heads.profiling import profile

        names = names_of(self.model, control=self.asked["control"])
        copied = self._repeats(work, len(names))
        key = profile_keys(self.chains, self.properties, seed=self.asked["seed"])
        with (
            Passes(len(self.chains), names, self.run) as passes,
            self._keeper(work, key, passes) as keep,
        ):
            given = {"properties": self.properties, "repeats": copied}
            found = profile(self.model, self.chains, **given, keep=keep, **self.asked)
        for name, reason in found.left_out:
            self.run.say(f"left out: {name}: {reason}")
        compiled = work.compiled(self.model.compiled)
        how = {**found.provenance, "compiled": compiled, "command": self.run.command}
        if (least := self.chains[0].min_plddt) is not None:
            how["min_plddt"] = least
        second = self._repeated(work, self.second) if self.second is not None else None
        table = found.replicates(second) if second is not None else None
        bonds = self._disulfides(work, key, len(names))
        return replace(found, provenance=how, replication=table, disulfides=bonds)

    def with_repeats(self, work: WorkFolder, found: "HeadProfile") -> "HeadProfile":
        """Add repeats to a profile of an earlier version: the model's chains run once more."""
        from esmkit.heads.controls import passes as names_of
        from esmkit.heads.relabel import with_repeats

        copied = self._repeats(work, len(names_of(self.model, control=self.asked["control"])))
        key = profile_keys(self.chains, self.properties, seed=self.asked["seed"])
        with (
            Passes(len(self.chains), [""], self.run) as passes,
            self._keeper(work, key, passes) as keep,
        ):
            given = (self.model, self.chains, self.properties, copied)
            return with_repeats(found, *given, keep=keep)

    def _repeats(self, work: WorkFolder, models: int) -> "pandas.DataFrame":
        """Score heads on segments written twice, and on real proteins with repeats."""
        from esmkit.data import repeat_proteins
        from esmkit.heads.real_repeats import across_proteins, real_repeat_scores
        from esmkit.heads.repeats import SEQUENCES, repeat_keys, repeat_scores, repeated_sequences

        seed, proteins = self.asked["seed"], repeat_proteins()
        made = repeated_sequences(SEQUENCES, seed=seed)
        key = repeat_keys(made, proteins, seed=seed)
        with (
            bar(len(made) * models + len(proteins), "repeats", "sequence", self.run) as shown,
            self._keeper(work, key) as keep,
        ):
            told: Any = {"progress": partial(advance, shown), "keep": keep}
            scores = repeat_scores(self.model, sequences=SEQUENCES, **self.asked, **told)
            real = real_repeat_scores(self.model, proteins, **told)
        often = {"resamples": self.asked["resamples"], "seed": seed}
        return scores.merge(across_proteins(real, **often), on=["name", "layer", "head"])

    def _repeated(self, work: WorkFolder, second: "Second") -> "HeadProfile":
        from esmkit.heads.second import profile_second

        if not isinstance(second, Sequence):
            return cast("HeadProfile", second)
        key = profile_keys(second, self.properties, seed=self.asked["seed"])
        shown = bar(len(second), "second set", "chain", self.run)
        with shown, self._keeper(work, key) as keep:
            given = (self.model, second, self.properties, keep, self.asked)
            return profile_second(*given, partial(advance, shown), self.run.say)

    def _disulfides(self, work: WorkFolder, key: Key, models: int) -> "pandas.DataFrame | None":
        """Hold bonded cysteines against others of their chain, where chains have some."""
        from esmkit.heads.disulfides import usable, within_chains
        from esmkit.heads.matched_pairs import MIN_RESAMPLES

        asked = {**self.asked, "resamples": max(self.asked["resamples"], MIN_RESAMPLES)}
        count = len(usable(self.chains))
        if not count:
            return None
        with (
            bar(count * models, "disulfides", "chain", self.run) as shown,
            self._keeper(work, key) as keep,
        ):
            told = partial(advance, shown)
            return within_chains(self.model, self.chains, progress=told, keep=keep, **asked)

    def ablated(self, work: WorkFolder, found: "HeadProfile") -> "pandas.DataFrame":
        """Switch each head off, on some of the chains that were profiled, and fit without it."""
        from esmkit.heads.ablation import ablate
        from esmkit.heads.refit import refit_without

        seed = self.asked["seed"]
        used, some = self._drawn(found)
        keys = ablation_keys(used, some, seed=seed)
        with (
            bar(len(found.heads), "ablation", "head", self.run) as shown,
            self._keeper(work, keys) as keep,
        ):
            told = partial(advance, shown)
            without = ablate(self.model, some, seed=seed, progress=told, keep=keep)
        with (
            bar(len(found.heads), "refit", "head", self.run) as shown,
            self._keeper(work, keys) as keep,
        ):
            told = partial(advance, shown)
            refitted = refit_without(self.model, used, seed=seed, progress=told, keep=keep)
        table = without.merge(refitted, on=["name", "layer", "head"], how="left")
        return self.with_loss(work, found, table)

    def with_loss(
        self, work: WorkFolder, found: "HeadProfile", table: "pandas.DataFrame"
    ) -> "pandas.DataFrame":
        """Add what each head is worth to the masked-LM loss; nothing if there is no head for that."""
        from esmkit.heads.masked_loss import COLUMNS, DRAWS, head_facts, loss_without
        from esmkit.heads.resume import loss_keys

        facts, seed = head_facts(self.model), self.asked["seed"]
        if facts is None:
            return table
        some = sorted(self._drawn(found)[1], key=lambda chain: chain.id)
        keys = loss_keys(some, facts, draws=DRAWS, seed=seed)
        steps = len(some) * self.model.layers
        with (
            bar(steps, "masked-LM loss", "layer of a chain", self.run) as shown,
            self._keeper(work, keys) as keep,
        ):
            told = partial(advance, shown)
            loss = loss_without(self.model, some, seed=seed, progress=told, keep=keep)
        before = table.drop(columns=list(COLUMNS), errors="ignore")
        return before.merge(loss, on=["name", "layer", "head", "mode"], how="left")

    def _drawn(self, found: "HeadProfile") -> "tuple[list[Structure], list[Structure]]":
        """Return the chains that were profiled, and those on which heads are switched off."""
        profiled = set(found.provenance["chains"])
        used = list({c.id: c for c in reversed(self.chains) if c.id in profiled}.values())[::-1]
        order = np.random.default_rng(self.asked["seed"]).permutation(len(used))[:ABLATION_CHAINS]
        return used, [used[i] for i in sorted(order)]
