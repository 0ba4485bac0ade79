"""Two contact heads on the same chains: by how much one is better, and how sure that is."""

from typing import TYPE_CHECKING

import numpy as np

from esmkit.arguments import checked
from esmkit.contacts.evaluation import Evaluation
from esmkit.contacts.scores import CUTS, RANGES, bootstrap, in_columns, span_of
from esmkit.errors import OptionError

if TYPE_CHECKING:
    import pandas

__all__ = ["differences", "differences_text"]


@checked
def differences(one: Evaluation, other: Evaluation, *, seed: int = 0) -> "pandas.DataFrame":
    """Compare two contact heads on the chains that both were scored on, chain by chain.

    The intervals of two means overlap long before the two differ for chance alone, since chains
    are hard or easy for both. Here the difference on each chain is taken first.

    Parameters
    ----------
    one, other : Evaluation
        Of the same chains, with the same L.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row for each range and measure: ``difference``, the mean over chains of one less other;
        ``low`` and ``high``, its 95 % bootstrap interval, chains resampled; ``chains``.

    Raises
    ------
    OptionError
        If they have no chain in common, or another L.

    Examples
    --------
    >>> from esmkit.contacts import evaluate, evaluate_best
    >>> model = esmkit.load()                                                 # doctest: +SKIP
    >>> chains = esmkit.data.ts50()[:12]
    >>> own = evaluate(model, chains)                                         # doctest: +SKIP
    >>> best = evaluate_best(model, chains, 3)                                # doctest: +SKIP
    >>> differences(best, own).loc[("long", "P@L/2")].index.to_list()         # doctest: +SKIP
    ['difference', 'low', 'high', 'chains']
    """
    import pandas

    if one.length != other.length:
        raise OptionError(
            f"P@L of {one.length} and of {other.length} residues cannot be compared; evaluate both "
            "with the same `length`"
        )
    both = one.chains.index.intersection(other.chains.index)
    if not len(both):
        raise OptionError("the two have no chain in common; evaluate both on the same structures")
    rows = []
    for name in RANGES:
        keys = [key for key in both if key[1] == name]
        for measure in (*CUTS, "AUC-PR"):
            apart = (one.chains.loc[keys, measure] - other.chains.loc[keys, measure]).to_numpy()
            known = apart[~np.isnan(apart)]
            low, high = bootstrap(known, seed=seed)
            mean = float(known.mean()) if len(known) else np.nan
            facts = {"difference": mean, "low": low, "high": high, "chains": len(known)}
            rows.append({"range": name, "measure": measure, **facts})
    return pandas.DataFrame(rows).set_index(["range", "measure"])


def differences_text(one: Evaluation, other: Evaluation, *, seed: int = 0) -> str:
    """Return :func:`differences` as lines of text."""
    table = differences(one, other, seed=seed)
    lines = [
        f"less {other.head.source}, on the {table['chains'].to_numpy().max()} chain(s) of both, "
        "difference by chain [95 % interval over chains]",
        "",
    ]
    rows: list[tuple[str, ...]] = [("range", "measure", "difference", "interval")]
    for (name, measure), row in table.iterrows():  # type: ignore[misc] - MultiIndex
        interval = "" if np.isnan(row["low"]) else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        rows.append((f"{name} {span_of(name)}", measure, f"{row['difference']:+.3f}", interval))
    return "\n".join(lines + in_columns(rows))
