"""Attention heads ranked by how well each of them alone predicts contacts."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.contacts.prediction import corrected_maps
from esmkit.contacts.scores import CUTS, RANGES, Length, bootstrap, check_choice
from esmkit.errors import InputError
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.sequences.proteins import Protein
    from esmkit.structure import Structure

__all__ = [
    "BestHeads",
    "best_heads",
    "chosen_on",
    "precisions_of_heads",
    "rank_heads",
]


class BestHeads(list[str]):
    """Names of heads that were chosen by their scores, which know on which chains.

    Attributes
    ----------
    chosen_on : dict
        ``chains`` and ``sequences`` of the chains that decided; empty if they are not known.
    """

    def __init__(self, names: Iterable[str], chosen_on: dict[str, Any]) -> None:
        super().__init__(names)
        self.chosen_on = chosen_on


def chosen_on(proteins: "Iterable[Protein]") -> dict[str, Any]:
    """Return the JSON-ready facts about the chains that decided a choice."""
    known = list(proteins)
    return {"chains": [p.id for p in known], "sequences": [p.sequence for p in known]}


@checked
def rank_heads(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    length: Length = "resolved",
    seed: int = 0,
    progress: Say = silent,
) -> "pandas.DataFrame":
    """Score every head's corrected map by itself.

    The best of many heads owes part of its value to the chains on which it is the best. For what
    chosen heads are worth on others see :func:`esmkit.contacts.evaluate_best`.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
    length : {'resolved', 'full'}
        The L of P@L: the resolved residues of a chain, or all.
    seed : int
        Seed of the bootstrap.
    progress : callable
        Called with the ID of each chain before its turn.

    Returns
    -------
    pandas.DataFrame
        A row for each head and range: ``name``, ``layer``, ``head``, ``range``, the means over
        chains ``P@L``, ``P@L/2`` and ``P@L/5``, the 95 % bootstrap interval of P@L/2 ``low`` and
        ``high``, ``background``, and ``chains``. Its ``attrs`` name the chains.

    Raises
    ------
    InputError
        If there are no structures.

    See Also
    --------
    esmkit.contacts.best_heads : The best of the table.
    esmkit.plots.head_precision_grid : The figure.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:2]  # doctest: +SKIP
    >>> table = esmkit.contacts.rank_heads(esmkit.load(), chains)  # doctest: +SKIP
    >>> table.query("range == 'long'").nlargest(2, "P@L/2")["name"].tolist()  # doctest: +SKIP
    ['L5H4', 'L5H10']
    """
    import pandas

    from esmkit.encoder.names import head_name

    check_choice("length", length, Length)
    chains: list[Protein] = []

    def noted() -> Iterable["Structure"]:
        for structure in structures:
            chains.append(structure.protein)
            yield structure

    found, backgrounds = precisions_of_heads(model, noted(), length=length, progress=progress)
    rows: list[dict[str, Any]] = []
    for name, values in found.items():
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
    table = pandas.DataFrame(rows)
    table.attrs.update(chosen_on(chains))
    return table


def precisions_of_heads(
    model: "Encoder",
    structures: Iterable["Structure"],
    *,
    length: Length = "resolved",
    progress: Say = silent,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """Return the precision of every head's map on every chain, and that of guessing.

    Returns
    -------
    tuple of two dict
        For each range, P@L, P@L/2 and P@L/5 as float64 (chains, N * H, 3), and the background as
        float64 (chains,); NaN for a chain without pairs in the range.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in RANGES}
    backgrounds: dict[str, list[float]] = {name: [] for name in RANGES}
    for structure in structures:
        progress(structure.id)
        maps = corrected_maps(model, structure.protein)
        for name in RANGES:
            precision, background = _precisions(maps, structure, name, length)
            found[name].append(precision)
            backgrounds[name].append(background)
    if not found["long"]:
        raise InputError("there is no structure to score on; give at least one chain")
    return (
        {name: np.stack(values) for name, values in found.items()},
        {name: np.array(values) for name, values in backgrounds.items()},
    )


def _precisions(
    maps: np.ndarray, structure: "Structure", name: str, length: Length
) -> tuple[np.ndarray, float]:
    """Return P@L, P@L/2, P@L/5 of each map on one chain and range: (n, 3), NaN without pairs."""
    least, most = RANGES[name]
    i, j = np.triu_indices(len(structure), least)
    kept = structure.resolved[i] & structure.resolved[j]
    if most is not None:
        kept &= j - i <= most
    i, j = i[kept], j[kept]
    true = structure.contacts()[i, j]
    residues = int(structure.resolved.sum()) if length == "resolved" else len(structure)
    counts = [residues // divisor for divisor in CUTS.values()]
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

    Ties go to the head that stands first in the model. A contact head made of them knows on which
    chains they were chosen, so that it is not scored on the same.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`rank_heads`.
    count : int
        How many.
    measure : str
        Column that decides.
    of_range : {'short', 'medium', 'long'}
        Range of the pairs that decide.

    Returns
    -------
    list of str
        Its ``chosen_on`` names the chains.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:2]  # doctest: +SKIP
    >>> table = esmkit.contacts.rank_heads(esmkit.load(), chains)  # doctest: +SKIP
    >>> best = esmkit.contacts.best_heads(table, 2)  # doctest: +SKIP
    >>> best, best.chosen_on["chains"]  # doctest: +SKIP
    (['L5H4', 'L5H10'], ['3a4r_A', '2cvi_A'])
    """
    rows = table.query("range == @of_range")
    ranked = rows.sort_values(by=[measure, "layer", "head"], ascending=[False, True, True])
    return BestHeads(ranked["name"].head(count), {str(k): v for k, v in table.attrs.items()})
