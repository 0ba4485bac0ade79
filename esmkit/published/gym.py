"""ProteinGym's benchmark of substitutions with one's own weights: scores, correlations, averages."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.errors import InputError
from esmkit.published.gym_files import ALL_ASSAYS, Assay, Gym
from esmkit.published.keeping import Keep
from esmkit.published.known import Claim
from esmkit.published.rows import Row, judge, not_run
from esmkit.score.variants.measured import spearman, spearman_resampled
from esmkit.score.variants.scoring import score_variants
from esmkit.sequences.proteins import Protein
from esmkit.text import Say, silent

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder

__all__ = ["OnGym", "mean_over_functions", "resampled_means"]

ONE_ASSAY = "BLAT_ECOLX_Stiffler_2015"
"""The assay that has a row of its own: TEM-1 beta-lactamase."""

ALLOWED = 0.005
"""Allowed difference from a published value of the same assays: ProteinGym's releases of one model
differ by that (ESM-2 650M: 0.419 and 0.414), as they mend assays."""

FEWEST = 3
"""Measured variants below which an assay has no rank correlation."""

RESAMPLES = 2_000
"""Bootstrap samples behind an interval."""


@dataclass
class OnGym:
    """Measures results about variants on ProteinGym's assays.

    Attributes
    ----------
    model : Encoder
    size : str or None
        Published size of the model's shape.
    gym : Gym or None
        The files; None if none are given.
    other : list of str
        How the weights differ from the published ones.
    keep : Keep
    seed : int
    progress : callable
        Called with a line for each assay before its turn.
    """

    model: "Encoder"
    size: str | None
    gym: Gym | None
    other: Sequence[str] = ()
    keep: Keep = field(default_factory=Keep)
    seed: int = 0
    progress: Say = silent

    def row(self, claim: Claim) -> Row:
        """Return the row of one result."""
        if self.gym is None:
            return not_run(
                claim,
                self.size,
                "ProteinGym's files (its reference file and the tables of the assays)",
            )
        if self.size is None or self.size not in claim.values:
            shape = f"{self.model.layers} layers, {self.model.heads} heads and width"
            return not_run(
                claim, self.size, f"a published value for a model of {shape} {self.model.width}"
            )
        if not self.model.has_lm_head:
            return not_run(claim, self.size, "a masked-LM head")
        return self._one(claim) if claim.name == "proteingym-TEM-1" else self._all(claim, self.size)

    def _correlations(self, assay: Assay) -> NDArray[np.float64]:
        """Return Spearman, its 95 % interval over variants where a row shows it, and how many: (4,)."""

        def measure() -> NDArray[np.float64]:
            self.progress(assay.id)
            protein = Protein(assay.id, assay.sequence)
            try:
                table = score_variants(self.model, protein, assay.path, measured="DMS_score")
            except InputError as error:
                raise InputError(f"assay {assay.id!r}: {error}") from None
            score, truth = (table[name].to_numpy(np.float64) for name in ("score", "measured"))
            known = np.isfinite(truth)
            score, truth = score[known], truth[known]
            if len(truth) < FEWEST:
                return np.array([np.nan, np.nan, np.nan, len(truth)])
            low, high = np.nan, np.nan
            if assay.id == ONE_ASSAY:  # of half a million variants it would take minutes
                samples = spearman_resampled([score], truth, resamples=RESAMPLES, seed=self.seed)[0]
                samples = samples[np.isfinite(samples)]
                if len(samples):
                    low, high = np.percentile(samples, [2.5, 97.5])
            return np.array([spearman(score, truth), low, high, len(truth)])

        head = self.model.lm_head.facts.get("sha256", "of the checkpoint")
        return self.keep.measured(f"assay {assay.digest()} {self.seed} {head}", measure)

    def _one(self, claim: Claim) -> Row:
        assert self.gym is not None  # `row` has looked
        assert self.size is not None
        assay = next((a for a in self.gym.assays if a.id == ONE_ASSAY), None)
        if assay is None:
            return not_run(claim, self.size, f"the table of {ONE_ASSAY}")
        own, low, high, count = map(float, self._correlations(assay))
        if np.isnan(own):
            return not_run(claim, self.size, "measured values that differ")
        other = [*self.other, *_other_head(self.model), *_other_variants([assay], [count])]
        if not other:  # the same variants: a sample of them has nothing to say
            low, high = own - ALLOWED, own + ALLOWED
        on = f"{assay.path.name}"
        given = assay.published.get(self.size)
        return judge(
            claim,
            self.size,
            own,
            low,
            high,
            on=on,
            other=other,
            published=given,
            note="" if other else f"allowed is {ALLOWED}",
        )

    def _all(self, claim: Claim, size: str) -> Row:
        assert self.gym is not None  # `row` has looked
        assays = self.gym.assays
        measured = np.array([self._correlations(assay) for assay in assays])
        found, counts = measured[:, 0], measured[:, 3]
        there = ~np.isnan(found)
        if not there.any():
            return not_run(claim, size, "an assay whose measured values differ")
        kept = [assay for assay, known in zip(assays, there, strict=True) if known]
        proteins = [assay.protein for assay in kept]
        functions = [assay.function for assay in kept]
        own = mean_over_functions(found[there], proteins, functions)
        low, high = resampled_means(found[there], proteins, functions, seed=self.seed)
        published, note = None, ""
        other = [
            *self.other,
            *_other_head(self.model),
            *_other_variants(kept, counts[there].tolist()),
        ]
        whole = len(kept) == ALL_ASSAYS
        if all(size in assay.published for assay in kept):
            published = mean_over_functions(
                np.array([assay.published[size] for assay in kept]), proteins, functions
            )
            note = f"the published value is that of these {len(kept)} assays in ProteinGym's table"
        elif not whole:
            other.append(f"{len(kept)} of the {ALL_ASSAYS} assays")
        if not other:
            low, high = own - ALLOWED, own + ALLOWED
            note = "; ".join(filter(None, (f"allowed is {ALLOWED}", note)))
        on = f"{len(kept)} assays of {len(set(proteins))} proteins"
        return judge(
            claim, size, own, low, high, on=on, other=other, published=published, note=note
        )


def _other_head(model: "Encoder") -> list[str]:
    """Say whether the masked-LM head is not the one of the weights."""
    if model.lm_head.facts["source"] != "fitted":
        return []
    return ["a fitted masked-LM head instead of the official one"]


def _other_variants(assays: Sequence[Assay], counts: Sequence[float]) -> list[str]:
    """Say which assays have not as many measured variants as the reference file says."""
    pairs = zip(assays, counts, strict=True)
    off = [(a, int(n)) for a, n in pairs if a.variants is not None and a.variants != int(n)]
    if not off:
        return []
    assay, count = off[0]
    more = f"; {len(off)} assays are not whole" if len(off) > 1 else ""
    return [f"{count:,} variants of {assay.id}, which has {assay.variants:,}{more}"]


def _of_functions(
    values: NDArray[np.float64], proteins: Sequence[str], functions: Sequence[str]
) -> list[NDArray[np.float64]]:
    """Return, for each function, the mean over the assays of each of its proteins."""
    groups: dict[str, dict[str, list[float]]] = {}
    for value, protein, function in zip(values, proteins, functions, strict=True):
        groups.setdefault(function, {}).setdefault(protein, []).append(float(value))
    return [np.array([np.mean(v) for v in of.values()], np.float64) for of in groups.values()]


def mean_over_functions(
    values: NDArray[np.float64], proteins: Sequence[str], functions: Sequence[str]
) -> float:
    """Average as ProteinGym does: over the assays of a protein, proteins of a function, functions.

    A protein that was assayed for two functions counts in both.

    >>> mean_over_functions(np.array([0.2, 0.4, 0.6, 0.1]), list("aabb"), list("xxxy"))
    0.275
    """
    return float(np.mean([of.mean() for of in _of_functions(values, proteins, functions)]))


def resampled_means(
    values: NDArray[np.float64],
    proteins: Sequence[str],
    functions: Sequence[str],
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % interval of :func:`mean_over_functions`, proteins resampled in each function.

    >>> values = np.array([0.2, 0.4, 0.6, 0.0, 0.1])
    >>> low, high = resampled_means(values, list("abcde"), list("xxxyy"))
    >>> bool(low < mean_over_functions(values, list("abcde"), list("xxxyy")) < high)
    True
    """
    random = np.random.default_rng(seed)
    means = [
        of[random.integers(len(of), size=(RESAMPLES, len(of)))].mean(1)
        for of in _of_functions(values, proteins, functions)
    ]
    low, high = np.quantile(np.mean(means, axis=0), [0.025, 0.975])
    return float(low), float(high)
