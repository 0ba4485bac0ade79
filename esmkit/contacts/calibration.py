"""How often pairs touch that have a given score: whether 0.9 means nine in ten."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked, what_is, whole_number
from esmkit.contacts.map import MIN_SEPARATION
from esmkit.contacts.scores import RANGES, RESAMPLES, OnChain
from esmkit.errors import InputError, OptionError

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["BINS", "Reliability", "count_pairs", "reliability"]

BINS = 10
"""Bins of equal width from 0 to 1 in a reliability table."""

MOST_BINS = 1_000

SEPARATIONS: dict[str, tuple[int, int | None]] = {"all": (MIN_SEPARATION, None), **RANGES}
"""All pairs that count, and the ranges by themselves."""

NOT_LOW = 0.1
"""Nearly all pairs score below this; the error of the others is a number of its own."""


@dataclass(frozen=True)
class Reliability:
    """Scores beside the share of pairs that touch.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each range (``all``: 6 or more apart) and bin of the score: ``range``, ``from``
        and ``to``, the bounds of the bin, of which the upper one belongs to the next; ``pairs``;
        ``score``, their mean; ``touch``, the share of them that touch; ``low`` and ``high``, its
        95 % bootstrap interval over chains; ``chains`` that have such a pair. NaN where none has.
    error : pandas.DataFrame
        For each range, indexed by its name: ``error``, the expected calibration error, the mean
        over pairs of the distance between score and share in their bin, with ``low`` and ``high``;
        ``error from 0.1``, ``low from 0.1`` and ``high from 0.1``, the same over pairs that score
        at least 0.1, for most pairs score near 0; ``pairs`` and ``chains``.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> contacts = ubiquitin.contacts()
    >>> says = np.where(contacts, 0.95, 0.05)
    >>> found = esmkit.contacts.reliability([(says, contacts, ubiquitin.resolved)])
    >>> found.error["pairs"].to_dict()
    {'all': 2485, 'short': 405, 'medium': 702, 'long': 1378}
    >>> print(found.to_text())
    score         pairs  mean score   touch  interval
    0-0.1       2,344       0.050   0.000
    0.1-0.2           0
    0.2-0.3           0
    0.3-0.4           0
    0.4-0.5           0
    0.5-0.6           0
    0.6-0.7           0
    0.7-0.8           0
    0.8-0.9           0
    0.9-1           141       0.950   1.000
    expected calibration error 0.0500; of pairs that score 0.1 or more 0.050
    >>> figure = found.plot()
    """

    table: "pandas.DataFrame" = field(repr=False)
    error: "pandas.DataFrame"

    def to_text(self) -> str:
        """Return the rows of all ranges together, and the error, as lines of text."""
        error = self.error.loc["all"]
        if np.isnan(error["error"]):
            return "there is no pair of residues that far apart"
        lines = [f"{'score':<10}{'pairs':>9}{'mean score':>12}{'touch':>8}  interval"]
        for row in self.table.query("range == 'all'").to_dict("records"):
            touch = "" if np.isnan(row["touch"]) else f"{row['touch']:.3f}"
            score = "" if np.isnan(row["score"]) else f"{row['score']:.3f}"
            lines.append(
                f"{row['from']:.2g}-{row['to']:<6.2g}{row['pairs']:>9,}{score:>12}{touch:>8}  "
                f"{_interval(row['low'], row['high'])}".rstrip()
            )
        text = f"expected calibration error {error['error']:.4f} "
        text += _interval(error["low"], error["high"], 4)
        if not np.isnan(error["error from 0.1"]):
            text = (
                f"{text.rstrip()}; of pairs that score 0.1 or more {error['error from 0.1']:.3f} "
            )
            text += _interval(error["low from 0.1"], error["high from 0.1"])
        return "\n".join([*lines, text.rstrip()])

    def plot(self, *, path: Any = None) -> "Figure":
        """Draw it; see :func:`esmkit.plots.reliability_diagram`.

        Parameters
        ----------
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit import plots

        return plots.reliability_diagram(self, path=path)

    def _repr_html_(self) -> str:
        return self.table.round(3).to_html()


def _interval(low: float, high: float, digits: int = 3) -> str:
    return "" if np.isnan(low) else f"[{low:.{digits}f}, {high:.{digits}f}]"


def count_pairs(chain: OnChain, bins: int = BINS) -> NDArray[np.float64]:
    """Count the pairs of one chain by their score.

    Returns
    -------
    numpy.ndarray of float64, shape (ranges, bins, 3)
        Ranges are ``all``, ``short``, ``medium`` and ``long``. Of each bin: pairs, sum of their
        scores, and how many touch.

    Raises
    ------
    OptionError
        If a score is below 0 or above 1.
    """
    values, contacts, resolved = chain
    rows, columns = np.triu_indices(len(values), MIN_SEPARATION)
    score = values[rows, columns].astype(np.float64)
    kept = resolved[rows] & resolved[columns] & ~np.isnan(score)
    score, touch = score[kept], contacts[rows, columns][kept]
    apart = (columns - rows)[kept]
    if len(score) and not (score.min() >= 0 and score.max() <= 1):
        raise OptionError(
            f"reliability is of scores from 0 to 1, and these go from {score.min():.3g} to "
            f"{score.max():.3g}; single heads give no probabilities, take a regression"
        )
    # Bounds are compared, not computed back from a quotient: 0.3 * 10 is not 3 in floating point
    edges = np.arange(1, bins) / bins
    place = np.searchsorted(edges, score, side="right")
    found = np.zeros((len(SEPARATIONS), bins, 3))
    for counts, (least, most) in zip(found, SEPARATIONS.values(), strict=True):
        inside = (apart >= least) & (apart <= (most or apart.max(initial=0)))
        for column, weight in enumerate((None, score[inside], touch[inside].astype(float))):
            counts[:, column] = np.bincount(place[inside], weight, minlength=bins)
    return found


@checked
def reliability(chains: Iterable[OnChain], *, bins: int = BINS, seed: int = 0) -> Reliability:
    """Compare scores with the share of pairs that touch.

    Parameters
    ----------
    chains : iterable of (values, contacts, resolved)
        One for each chain, as :meth:`esmkit.contacts.map.ContactMap.onto` gives it; taken one at a
        time. Pairs 6 or more apart count.
    bins : int
        Bins of equal width from 0 to 1.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    Reliability

    Raises
    ------
    InputError
        If there is no chain.
    OptionError
        If a score is below 0 or above 1, or ``bins`` is not from 2 to 1,000.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> contacts = ubiquitin.contacts()
    >>> says = np.where(contacts, 0.95, 0.05)  # right everywhere, and too modest by 0.05
    >>> found = reliability([(says, contacts, ubiquitin.resolved)])
    >>> found.table.query("range == 'long' and pairs > 0")[["from", "to", "pairs", "touch"]]
        from   to  pairs  touch
    30   0.0  0.1   1296    0.0
    39   0.9  1.0     82    1.0
    >>> float(found.error.loc["long", "error"].round(3))
    0.05
    """
    count = whole_number(bins)
    if count is None or not 2 <= count <= MOST_BINS:
        raise OptionError(f"bins are a whole number from 2 to {MOST_BINS:,}, not {what_is(bins)}")
    counts = [count_pairs(chain, count) for chain in chains]
    if not counts:
        raise InputError("there is no chain to compare scores with; give at least one")
    return from_counts(np.stack(counts), seed=seed)


def from_counts(counts: NDArray[np.float64], *, seed: int = 0) -> Reliability:
    """Make the tables of the counts of chains, (chains, ranges, bins, 3), that were made before."""
    import pandas

    chains, _, bins, _ = counts.shape
    random = np.random.default_rng(seed)
    times = random.multinomial(chains, np.full(chains, 1 / chains), size=RESAMPLES).astype(float)
    rows, errors = [], {}
    for place, name in enumerate(SEPARATIONS):
        of_range = counts[:, place]  # (chains, bins, 3)
        resampled = np.tensordot(times, of_range, axes=1)  # (resamples, bins, 3)
        total, shares = of_range.sum(0), _share(resampled)
        for bin_, (pairs, score, touch) in enumerate(total):
            low, high = _ends(shares[:, bin_], chains)
            rows.append(
                {
                    "range": name,
                    "from": bin_ / bins,
                    "to": (bin_ + 1) / bins,
                    "pairs": int(pairs),
                    "score": score / pairs if pairs else np.nan,
                    "touch": touch / pairs if pairs else np.nan,
                    "low": low,
                    "high": high,
                    "chains": int((of_range[:, bin_, 0] > 0).sum()),
                }
            )
        facts: dict[str, float] = {}
        above = np.arange(bins) / bins >= NOT_LOW
        for suffix, kept in (("", np.ones(bins, bool)), (" from 0.1", above)):
            low, high = _ends(_error(resampled[:, kept]), chains)
            facts[f"error{suffix}"] = float(_error(total[None, kept])[0])
            facts[f"low{suffix}"], facts[f"high{suffix}"] = low, high
        facts["pairs"] = int(total[:, 0].sum())
        facts["chains"] = int((of_range[..., 0].sum(1) > 0).sum())
        errors[name] = facts
    table = pandas.DataFrame.from_dict(errors, orient="index").rename_axis("range")
    return Reliability(pandas.DataFrame(rows), table.astype({"pairs": int, "chains": int}))


def _share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of pairs that touch: (..., bins), NaN without pairs."""
    pairs = counts[..., 0]
    return np.divide(counts[..., 2], pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)


def _error(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over pairs of the distance of score and share in their bin: (n,)."""
    pairs = counts[..., 0].sum(-1)
    apart = np.abs(counts[..., 1] - counts[..., 2]).sum(-1)
    return np.divide(apart, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)


def _ends(values: NDArray[np.float64], chains: int) -> tuple[float, float]:
    """Return the ends of a 95 % percentile interval; NaN for one chain."""
    known = values[~np.isnan(values)]
    if chains < 2 or not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
