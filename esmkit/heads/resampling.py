"""Bootstrap over proteins: intervals of ratios of sums, and of ratios of such ratios."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["interval", "samples"]

ENDS = [0.025, 0.975]
"""Quantiles at the ends of a 95 % percentile interval."""

AT_A_TIME = 500
"""Columns that are resampled together, so that the samples of all never lie in memory."""

Array = NDArray[np.float64]


def samples(count: int, resamples: int, seed: int) -> Array:
    """Return how often each of some proteins is in each bootstrap sample: (resamples, count).

    The same for the same seed, so that two quantities can be resampled together.

    >>> samples(3, 2, seed=0).sum(1)
    array([3., 3.])
    """
    if not count:  # the second half of one protein
        return np.zeros((resamples, 0))
    random = np.random.default_rng(seed)
    return random.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)


def interval(
    draws: Array,
    above: Array,
    below: Array,
    other_above: Array | None = None,
    other_below: Array | None = None,
) -> tuple[Array, Array]:
    """Return the 95 % percentile interval of a ratio of sums over proteins.

    Parameters
    ----------
    draws : numpy.ndarray of float64, shape (resamples, count)
        As :func:`samples` returns them.
    above, below : numpy.ndarray of float64, shape (count, ...)
        What is summed above and below the line, of each protein.
    other_above, other_below : numpy.ndarray of float64, shape (count, ...), optional
        Of a second ratio, in the same samples; the interval is then that of the first over it.

    Returns
    -------
    tuple of numpy.ndarray of float64, shape (...)
        Lower and upper end. NaN with fewer than two proteins, and where no sample gives a number;
        samples that give none otherwise are left out.

    Examples
    --------
    >>> low, high = interval(samples(2, 100, seed=0), np.ones((2, 1)), np.array([[2.0], [2.0]]))
    >>> low, high
    (array([0.5]), array([0.5]))
    """
    count, *shape = above.shape
    if count < 2:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    terms = [
        values.reshape(count, -1)
        for values in (above, below, other_above, other_below)
        if values is not None
    ]
    low, high = np.empty(terms[0].shape[1]), np.empty(terms[0].shape[1])
    for start in range(0, len(low), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        sums = [draws @ values[:, part] for values in terms]
        with np.errstate(invalid="ignore", divide="ignore"):
            values = sums[0] / sums[1]
            if len(sums) > 2:
                values /= sums[2] / sums[3]
        values[np.isinf(values)] = np.nan  # a background of nothing is no ratio
        low[part], high[part] = _ends(values)
    return low.reshape(shape), high.reshape(shape)


def _ends(values: Array) -> Array:
    """Return the ends of the interval of each column, samples without a number left out."""
    missing = np.isnan(values)
    ends = np.full((2, values.shape[1]), np.nan)
    whole, some = ~missing.any(0), missing.any(0) & ~missing.all(0)
    ends[:, whole] = np.quantile(values[:, whole], ENDS, axis=0)
    if some.any():  # a sample without any protein that has the property; slow, so only these
        ends[:, some] = np.nanquantile(values[:, some], ENDS, axis=0)
    return ends
