"""Contact maps of many chains against their structures: a contact head, and each head by itself."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from esmkit.arguments import checked
from esmkit.contacts.head import ContactHead
from esmkit.contacts.prediction import contacts, corrected_maps
from esmkit.contacts.scores import CUTS, RANGES, bootstrap, score_map, summarize_scores
from esmkit.encoder.checkpoints.known import OFFICIAL
from esmkit.errors import InputError
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["PUBLISHED", "Evaluation", "best_heads", "evaluate", "rank_heads"]

PUBLISHED = {
    "esm2_t6_8M_UR50D": 0.159,
    "esm2_t12_35M_UR50D": 0.288,
    "esm2_t30_150M_UR50D": 0.422,
    "esm2_t33_650M_UR50D": 0.501,
    "esm2_t36_3B_UR50D": 0.527,
}
"""Long-range P@L of the official weights on 14,842 chains (fair-esm README, Lin et al. 2023)."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one contact head on many chains.

    Attributes
    ----------
    head : ContactHead
    checkpoint : str
        Name of the weights.
    published : float or None
        Long-range P@L that the authors of these very weights give for the head they come with, on
        their own set of chains.
    chains : pandas.DataFrame
        A row for each chain and range, as :func:`esmkit.contacts.score_map` gives them.
    summary : pandas.DataFrame
        Means over chains with bootstrap intervals: see :func:`esmkit.contacts.summarize_scores`.
    """

    head: ContactHead
    checkpoint: str
    published: float | None
    chains: "pandas.DataFrame" = field(repr=False)
    summary: "pandas.DataFrame" = field(repr=False)

    def to_text(self) -> str:
        """Return the summary as lines of text."""
        count = self.chains.index.get_level_values("id").nunique()
        lines = [f"{self.head.source}, {count} chain(s), mean [95 % interval over chains]", ""]
        columns = ("range", "measure", "mean", "interval", "ceiling", "background")
        rows: list[tuple[str, ...]] = [columns]
        for (name, measure), row in self.summary.iterrows():  # type: ignore[misc] - MultiIndex
            rows.append(
                (
                    f"{name} {_span(name)}",
                    measure,
                    f"{row['mean']:.3f}",
                    "" if np.isnan(row["low"]) else f"[{row['low']:.3f}, {row['high']:.3f}]",
                    "" if np.isnan(row["ceiling"]) else f"{row['ceiling']:.3f}",
                    f"{row['background']:.3f}",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
        lines += ["  ".join(t.ljust(w) for t, w in zip(r, widths, strict=True)) for r in rows]
        if self.published is not None:
            lines += [
                "",
                f"published for these weights, long P@L on 14,842 chains: {self.published}",
            ]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        return self.summary.round(3).to_html()


def _span(name: str) -> str:
    least, most = RANGES[name]
    return f"({least}-{most})" if most is not None else f"({least}+)"


@checked
def evaluate(
    model: "Encoder",
    structures: Iterable["Structure"],
    head: ContactHead | None = None,
    *,
    seed: int = 0,
    progress: Say = silent,
) -> Evaluation:
    """Score a contact head on the sequences of structures.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Such as :func:`esmkit.data.ts50`.
    head : ContactHead, optional
        By default the checkpoint's own.
    seed : int
        Seed of the bootstrap.
    progress : callable
        Called with the ID of each chain before its turn.

    Raises
    ------
    InputError
        If there are no structures, or two have the same ID.
    CheckpointError
        If no head is given and the checkpoint has none.
    """
    import pandas

    chosen = ContactHead.of_checkpoint(model) if head is None else head
    tables: dict[str, pandas.DataFrame] = {}
    for structure in structures:
        progress(structure.id)
        if structure.id in tables:
            raise InputError(f"structure {structure.id!r} comes twice; give each chain once")
        result = contacts(model, structure.protein, head=chosen)
        tables[structure.id] = score_map(
            result.probability, structure.contacts(), structure.resolved
        )
    if not tables:
        raise InputError("there is no structure to score on; give at least one chain")
    return Evaluation(
        chosen,
        model.checkpoint.name,
        _published(model) if head is None else None,
        pandas.concat(tables, names=["id", "range"]),
        summarize_scores(tables, seed=seed),
    )


def _published(model: "Encoder") -> float | None:
    """Return the authors' number for these very weights, whatever their folder is called."""
    digest = model.checkpoint.sha256
    repo = next((c.repo for c in OFFICIAL.values() if c.sha256 == digest), "")
    return PUBLISHED.get(repo.removeprefix("facebook/"))


@checked
def rank_heads(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    seed: int = 0,
    progress: Say = silent,
) -> "pandas.DataFrame":
    """Score every head's corrected map by itself.

    Returns
    -------
    pandas.DataFrame
        A row for each head and range: ``name``, ``layer``, ``head``, ``range``, the means over
        chains ``P@L``, ``P@L/2`` and ``P@L/5``, the 95 % bootstrap interval of P@L/2 ``low`` and
        ``high``, ``background``, and ``chains``.
    """
    import pandas

    from esmkit.encoder.names import head_name

    found: dict[str, list[np.ndarray]] = {name: [] for name in RANGES}
    backgrounds: dict[str, list[float]] = {name: [] for name in RANGES}
    for structure in structures:
        progress(structure.id)
        maps = corrected_maps(model, structure.protein)
        for name in RANGES:
            precision, background = _precisions(maps, structure, name)
            found[name].append(precision)
            backgrounds[name].append(background)
    rows: list[dict[str, Any]] = []
    for name, of_chains in found.items():
        if not of_chains:
            raise InputError("there is no structure to score on; give at least one chain")
        values = np.stack(of_chains)  # (chains, heads, cuts)
        for place in range(values.shape[1]):
            layer, head = divmod(place, model.heads)
            kept = values[:, place][~np.isnan(values[:, place]).any(1)]
            low, high = bootstrap(kept[:, list(CUTS).index("P@L/2")], seed=seed)
            means = kept.mean(0) if len(kept) else np.full(len(CUTS), np.nan)
            facts = {"name": head_name(layer, head), "layer": layer, "head": head, "range": name}
            measures = dict(zip(CUTS, map(float, means), strict=True))
            background = float(np.nanmean(backgrounds[name])) if len(kept) else np.nan
            interval = {"low": low, "high": high, "background": background, "chains": len(kept)}
            rows.append({**facts, **measures, **interval})
    return pandas.DataFrame(rows)


def _precisions(maps: np.ndarray, structure: "Structure", name: str) -> tuple[np.ndarray, float]:
    """Return P@L, P@L/2, P@L/5 of each map on one chain and range: (n, 3), NaN without pairs."""
    least, most = RANGES[name]
    i, j = np.triu_indices(len(structure), least)
    kept = structure.resolved[i] & structure.resolved[j]
    if most is not None:
        kept &= j - i <= most
    i, j = i[kept], j[kept]
    true = structure.contacts()[i, j]
    length = int(structure.resolved.sum())
    counts = [length // divisor for divisor in CUTS.values()]
    if not len(true) or not min(counts):
        return np.full((len(maps), len(CUTS)), np.nan), np.nan
    order = np.argsort(-maps[:, i, j], axis=1, kind="stable")[:, : max(counts)]
    hits = true[order]  # (n, L)
    columns = [hits[:, :count].sum(1) / count for count in counts]
    return np.stack(columns, axis=1), float(true.mean())


@checked
def best_heads(
    table: "pandas.DataFrame", count: int, *, measure: str = "P@L/2", of_range: str = "long"
) -> list[str]:
    """Return the names of the heads with the highest value in a table of :func:`rank_heads`.

    Ties go to the head that stands first in the model.
    """
    rows = table.query("range == @of_range")
    ranked = rows.sort_values(by=[measure, "layer", "head"], ascending=[False, True, True])
    return list(ranked["name"].head(count))
