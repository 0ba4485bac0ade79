"""How well scores rank measured variants: Spearman with its interval, NDCG, top-decile recall.

NDCG and recall are those of ProteinGym (Notin et al. 2023): gains are the measured values scaled to
0 to 1, and both look at the best tenth. Where predictions tie, as baselines do, the mean over all
orders of what ties is taken, not the order of the table.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import InputError, OptionError

if TYPE_CHECKING:
    import pandas

__all__ = ["compare", "ndcg", "not_rankable", "spearman", "spearman_resampled", "top_recall"]

RESAMPLES = 2_000
"""Bootstrap samples of variants."""

TOP = 0.1
"""Share of the variants that NDCG and recall are about, as in ProteinGym."""

FEWEST = 3
"""Variants below which no rank correlation is given."""

_CHUNK = 4_000_000
"""Numbers of a chunk of resamples, so that memory stays small."""


def spearman(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return the rank correlation, ties by their mean rank; NaN if one of both is constant.

    >>> spearman(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4]))
    0.8
    """
    weights = np.ones((1, len(one)))
    value = _weighted(_ranks(one, weights), _ranks(other, weights), weights)[0]
    return float(np.round(value, 15))


def _ranks(values: NDArray[np.floating], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return mean ranks of the values in each sample, which has ``counts`` (s, n) copies of each."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) > 0])
    of_groups = np.add.reduceat(counts[:, order], starts, axis=1)  # (s, g)
    ranks = np.cumsum(of_groups, axis=1) - (of_groups - 1) / 2
    return ranks[:, group]


def _weighted(
    one: NDArray[np.float64], other: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the correlation of each sample (s,); NaN where one is constant."""
    total = counts.sum(axis=1, keepdims=True)
    a = one - (counts * one).sum(axis=1, keepdims=True) / total
    b = other - (counts * other).sum(axis=1, keepdims=True) / total
    variances = (counts * a * a).sum(axis=1) * (counts * b * b).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (counts * a * b).sum(axis=1) / np.sqrt(variances)
    return np.where(variances > 0, np.clip(found, -1, 1), np.nan)


def spearman_resampled(
    predictions: Sequence[NDArray[np.floating]],
    measured: NDArray[np.floating],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the rank correlations of bootstrap samples of the variants.

    Every prediction is judged on the same samples, so that differences of two have intervals too.

    Parameters
    ----------
    predictions : sequence of P arrays of float, shape (n,)
    measured : array of float, shape (n,)
    resamples : int
        How many samples, of n variants each, drawn with replacement.
    seed : int

    Returns
    -------
    numpy.ndarray of float64, shape (P, resamples)
        NaN where a sample is constant.
    """
    random = np.random.default_rng(seed)
    n = len(measured)
    found = np.empty((len(predictions), resamples))
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = random.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(float)
        ranks = _ranks(measured, counts)
        for place, values in enumerate(predictions):
            part = _weighted(_ranks(values, counts), ranks, counts)
            found[place, start : start + size] = part
    return found


def ndcg(predicted: NDArray[np.floating], measured: NDArray[np.floating]) -> float:
    """Return the normalised discounted cumulative gain of the best tenth, 0 to 1.

    Gains are the measured values scaled to 0 to 1 over all variants; NaN if these are constant, or
    there are fewer than ten variants.
    """
    from sklearn.metrics import ndcg_score

    top = int(len(measured) * TOP)
    low, high = float(np.min(measured)), float(np.max(measured))
    if top < 1 or high == low:
        return float("nan")
    gains = (measured - low) / (high - low)
    return float(ndcg_score([gains], [predicted], k=top))


def top_recall(predicted: NDArray[np.floating], measured: NDArray[np.floating]) -> float:
    """Return which share of the best measured tenth is among the best predicted tenth, 0 to 1.

    Both tenths begin at the 90th percentile. What ties there in the prediction is taken by the share
    of its places that are in the tenth.
    """
    best = measured >= np.percentile(measured, 100 * (1 - TOP))
    n = len(measured)
    places = n - int(np.ceil((1 - TOP) * (n - 1) - 1e-9))
    edge = np.sort(predicted)[n - places]
    above, tied = predicted > edge, predicted == edge
    share = (places - above.sum()) / tied.sum()
    return float(((best & above).sum() + share * (best & tied).sum()) / best.sum())


def not_rankable(measured: NDArray[np.floating]) -> str:
    """Return why measured values cannot be compared with any prediction, empty if they can.

    >>> not_rankable(np.array([1.0, 2.0, 2.5])), not_rankable(np.ones(3)).split(",")[0]
    ('', 'all 3 measured values are 1')
    """
    there = measured[np.isfinite(measured)]
    if len(there) < FEWEST:
        return (
            f"{len(there)} of {len(measured):,} variants have a measured value, and a rank "
            f"correlation takes {FEWEST}; check the column, or leave `measured` out"
        )
    if np.ptp(there) == 0:
        return (
            f"all {len(there):,} measured values are {there[0]:g}, so there is nothing to rank; "
            "name another column with `measured`"
        )
    return ""


@checked
def compare(
    predictions: Mapping[str, NDArray[np.floating]],
    measured: NDArray[np.floating],
    *,
    higher_is_better: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> "pandas.DataFrame":
    """Compare scores, and baselines beside them, with what was measured of each variant.

    Parameters
    ----------
    predictions : mapping from str to array of float, shape (n,)
        By name; variants that one has no value for are left out of its row alone.
    measured : array of float, shape (n,)
        NaN where nothing was measured: such variants are left out.
    higher_is_better : bool
        Whether fitter variants have higher values. If not, their sign is changed first, so that a
        positive correlation always says that what the model finds likely is fit.
    resamples, seed : int
        Bootstrap samples of variants, at least 2,000, and the seed of their random numbers.

    Returns
    -------
    pandas.DataFrame
        A row for each prediction: ``prediction``, ``variants``, ``spearman``, ``low`` and ``high``
        (95 % percentile interval over variants), ``ndcg``, ``top_recall``. NaN where a column is
        constant or has fewer than three variants.

    Raises
    ------
    InputError
        If fewer than three variants were measured, or all have one value, or a prediction has
        another number of variants.
    OptionError
        If there are fewer than 2,000 resamples.

    Examples
    --------
    >>> found = compare({"score": np.array([1.0, 2, 3, 4])}, np.array([1.0, 3, 2, 4]))
    >>> found.round(2).to_dict("records")[0]["spearman"]
    0.8
    """
    import pandas

    if resamples < RESAMPLES:
        raise OptionError(f"`resamples` is at least {RESAMPLES:,}, not {resamples:,}; give more")
    values_of = np.asarray(measured, np.float64)
    given = {name: np.asarray(values, np.float64) for name, values in predictions.items()}
    for name, values in given.items():
        if values.shape != values_of.shape or values_of.ndim != 1:
            raise InputError(
                f"{name!r} has the shape {values.shape} and what was measured {values_of.shape}; give "
                "one number of each for each variant"
            )
    problem = not_rankable(values_of)
    if problem:
        raise InputError(problem)
    signed = values_of if higher_is_better else -values_of
    there = np.isfinite(values_of)
    by_place: dict[bytes, list[str]] = {}
    usable = {name: there & np.isfinite(values) for name, values in given.items()}
    for name, mask in usable.items():
        by_place.setdefault(mask.tobytes(), []).append(name)
    rows: dict[str, dict[str, float]] = {}
    for names in by_place.values():
        mask = usable[names[0]]
        truth = signed[mask]
        values = [given[name][mask] for name in names]
        rows |= dict(zip(names, _rows(values, truth, resamples, seed), strict=True))
    return pandas.DataFrame([{"prediction": name, **rows[name]} for name in predictions])


def _rows(
    values: Sequence[NDArray[np.float64]], truth: NDArray[np.float64], resamples: int, seed: int
) -> list[dict[str, float]]:
    """Return a row for each prediction of the same variants."""
    nothing = dict.fromkeys(("spearman", "low", "high", "ndcg", "top_recall"), float("nan"))
    if len(truth) < FEWEST:
        return [{"variants": len(truth), **nothing} for _ in values]
    samples = spearman_resampled(values, truth, resamples=resamples, seed=seed)
    rows = []
    for one, sample in zip(values, samples, strict=True):
        row = {"variants": len(truth), **nothing}
        if np.ptp(one) > 0 and np.ptp(truth) > 0:
            sample = sample[np.isfinite(sample)]
            low, high = np.percentile(sample, [2.5, 97.5]) if len(sample) else (np.nan, np.nan)
            row |= {"spearman": spearman(one, truth), "low": float(low), "high": float(high)}
            row |= {"ndcg": ndcg(one, truth), "top_recall": top_recall(one, truth)}
        rows.append(row)
    return rows
