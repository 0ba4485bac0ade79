"""How good a contact map is, measured on a structure: precision, its ceiling and its background."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked, what_is
from esmkit.errors import InputError, OptionError

if TYPE_CHECKING:
    import pandas

__all__ = [
    "CUTS",
    "RANGES",
    "bootstrap",
    "precision_curves",
    "ranked_pairs",
    "score_map",
    "summarize_scores",
]

RANGES: Mapping[str, tuple[int, int | None]] = {
    "short": (6, 11),
    "medium": (12, 23),
    "long": (24, None),
}
"""Separations |i - j|, both ends included (CASP; Rao et al. 2021)."""

CUTS: Mapping[str, int] = {"P@L": 1, "P@L/2": 2, "P@L/5": 5}
"""How many of the top pairs count: the length of the chain divided by this."""

RESAMPLES = 2_000
"""Bootstrap samples of chains behind an interval."""

CURVE_STEPS = 50
"""Points of a precision curve for each L of its length; L, L/2 and L/5 are among them."""

Length: TypeAlias = Literal["resolved", "full"]
"""The L of P@L: the residues of a chain that are resolved, or all of its sequence."""

OnChain: TypeAlias = tuple[NDArray[np.floating[Any]], NDArray[np.bool_], NDArray[np.bool_]]
"""What :meth:`esmkit.contacts.map.ContactMap.onto` gives: values and contacts (R, R), and which
residues are resolved (R,)."""


def ranked_pairs(
    values: NDArray[np.floating[Any]], *, least: int = 6, most: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of a map from the highest value to the lowest.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (R, R)
        Symmetric; pairs with NaN are left out.
    least, most : int
        Separations j - i that count, both ends included.

    Returns
    -------
    tuple of two numpy.ndarray of int64
        i < j, from 0; ties in the order of i, then j.
    """
    # No C integer holds a separation of any size
    rows, columns = np.triu_indices(len(values), min(least, len(values)))
    if most is not None:
        near = columns - rows <= most
        rows, columns = rows[near], columns[near]
    there = ~np.isnan(values[rows, columns])
    rows, columns = rows[there], columns[there]
    order = np.argsort(-values[rows, columns], kind="stable")
    return rows[order], columns[order]


@checked
def score_map(
    values: NDArray[np.floating[Any]],
    contacts: NDArray[np.bool_],
    resolved: NDArray[np.bool_],
    *,
    length: int | None = None,
) -> "pandas.DataFrame":
    """Score one map against the contacts of one chain.

    Parameters
    ----------
    values : numpy.ndarray of float, shape (R, R)
        Predicted probability, or any score that is higher for likelier contacts. NaN: no value.
    contacts : numpy.ndarray of bool, shape (R, R)
        Whether two residues touch.
    resolved : numpy.ndarray of bool, shape (R,)
        Residues with coordinates; pairs with others are left out.
    length : int, optional
        The L of P@L; by default the number of resolved residues.

    Returns
    -------
    pandas.DataFrame
        A row for each range, indexed ``short``, ``medium``, ``long``: ``pairs`` and ``contacts``
        counted; ``background``, the share of pairs that touch, and so the precision of guessing;
        ``AUC-PR``, the area under the precision-recall curve (average precision); for each cut
        ``P@L``, ``P@L/2``, ``P@L/5`` the precision, and ``ceiling P@L``, ... the highest value
        possible: contacts available over pairs asked for, at most 1. NaN where there is no pair,
        or for AUC-PR no contact.

    See Also
    --------
    esmkit.contacts.summarize_scores : Means over chains.
    esmkit.contacts.precision_curves : Precision from the first pair on.

    References
    ----------
    Rao et al. 2021, doi:10.1101/2020.12.15.422761 (ranges and precision at L, as in CASP).

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> contacts = ubiquitin.contacts()
    >>> near = -ubiquitin.distances  # nothing can be better
    >>> table = score_map(near, contacts, ubiquitin.resolved)
    >>> table[["pairs", "contacts", "P@L", "ceiling P@L"]].round(2)
            pairs  contacts   P@L  ceiling P@L
    range
    short     405        29  0.38         0.38
    medium    702        30  0.39         0.39
    long     1378        82  1.00         1.00
    """
    import pandas
    from sklearn.metrics import average_precision_score

    _check_shapes(values, contacts, resolved)
    length = int(resolved.sum()) if length is None else length
    rows = {}
    known = np.where(resolved[:, None] & resolved, values, np.nan)
    for name, (least, most) in RANGES.items():
        i, j = ranked_pairs(known, least=least, most=most)
        true = contacts[i, j]
        found: dict[str, float] = {"pairs": len(true), "contacts": int(true.sum())}
        found["background"] = float(true.mean()) if len(true) else np.nan
        found["AUC-PR"] = (
            float(average_precision_score(true, known[i, j])) if true.any() else np.nan
        )
        for cut, divisor in CUTS.items():
            count = length // divisor
            enough = count > 0 and len(true) > 0
            found[cut] = float(true[:count].sum() / count) if enough else np.nan
            found[f"ceiling {cut}"] = min(1.0, true.sum() / count) if enough else np.nan
        rows[name] = found
    table = pandas.DataFrame.from_dict(rows, orient="index").rename_axis("range")
    return table.astype({"pairs": int, "contacts": int})


@checked
def bootstrap(
    values: Sequence[float] | NDArray[np.floating[Any]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of a mean over chains, chains resampled with replacement.

    NaN values are left out; with fewer than two others both ends are NaN.

    Parameters
    ----------
    values : sequence of float
        One for each chain.
    resamples : int
        How many means of resampled chains.
    seed : int
        Seed of their random numbers.
    level : float
        Share of these means that the interval holds.

    Returns
    -------
    tuple of float
        Its lower and upper end.

    Examples
    --------
    >>> low, high = bootstrap([0.1, 0.2, 0.4, 0.3])
    >>> round(low, 3), round(high, 3)
    (0.15, 0.35)
    """
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    if len(kept) < 2:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    means = kept[random.integers(len(kept), size=(resamples, len(kept)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@checked
def summarize_scores(
    tables: Mapping[str, "pandas.DataFrame"], *, seed: int = 0
) -> "pandas.DataFrame":
    """Average the scores of many chains, with bootstrap intervals over chains.

    Parameters
    ----------
    tables : mapping from chain to table of :func:`score_map`
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        A row for each range and measure: ``mean``, ``low`` and ``high`` (95 % interval of the
        mean), ``ceiling`` (for P@L and its cuts), ``background``, and ``chains``.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> contacts = ubiquitin.contacts()
    >>> table = score_map(contacts.astype(float), contacts, ubiquitin.resolved)
    >>> summary = summarize_scores({"one": table, "another": table})
    >>> summary.loc[("long", "P@L/5"), ["mean", "ceiling", "chains"]].to_dict()
    {'mean': 1.0, 'ceiling': 1.0, 'chains': 2.0}
    """
    import pandas

    if not tables:
        raise InputError("there is no chain to average over")
    rows = []
    for name in RANGES:
        of_range = pandas.DataFrame([table.loc[name] for table in tables.values()])
        for measure in (*CUTS, "AUC-PR"):
            values = of_range[measure].to_numpy(float)
            low, high = bootstrap(values, seed=seed)
            ceiling = f"ceiling {measure}"
            rows.append(
                {
                    "range": name,
                    "measure": measure,
                    "mean": _mean(values),
                    "low": low,
                    "high": high,
                    "ceiling": _mean(of_range[ceiling]) if ceiling in of_range else np.nan,
                    "background": _mean(of_range["background"]),
                    "chains": int((~np.isnan(values)).sum()),
                }
            )
    return pandas.DataFrame(rows).set_index(["range", "measure"])


@checked
def precision_curves(
    chains: Iterable[OnChain],
    *,
    up_to: int = 1,
    length: Length = "resolved",
    seed: int = 0,
) -> "pandas.DataFrame":
    """Follow precision from the strongest pair of each range to the L-th or beyond.

    Parameters
    ----------
    chains : iterable of (values, contacts, resolved)
        One for each chain, as :meth:`esmkit.contacts.map.ContactMap.onto` gives it; taken one at a
        time.
    up_to : int
        Where curves end, in L.
    length : {'resolved', 'full'}
        L: the resolved residues of a chain, or all. Tables with all of them have
        ``attrs["length"]``, which figures show.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        50 rows for each range and L: ``range``; ``k/L``, the part of L that is asked for, of which
        each chain takes the whole number k of pairs; ``precision``, the mean over chains of
        correct pairs over k, equal to P@L, P@L/2 and P@L/5 of :func:`score_map` where k/L is 1,
        0.5 and 0.2; ``low`` and ``high``, its 95 % bootstrap interval over chains; ``ceiling``,
        the mean of the highest precision possible; ``background``, that of guessing; ``chains``,
        how many have a pair there. NaN where none has.

    Raises
    ------
    InputError
        If there is no chain.
    OptionError
        If ``up_to`` is no whole number above 0, ``length`` another word, or a map does not fit its
        contacts.

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_structure()
    >>> contacts = ubiquitin.contacts()  # also as the prediction: nothing can be better
    >>> table = precision_curves([(contacts.astype(float), contacts, ubiquitin.resolved)])
    >>> table.query("`k/L` == 0.2")[["range", "k/L", "precision", "ceiling"]]
          range  k/L  precision  ceiling
    9     short  0.2        1.0      1.0
    59   medium  0.2        1.0      1.0
    109    long  0.2        1.0      1.0
    """
    import pandas

    if isinstance(up_to, bool) or not isinstance(up_to, int | np.integer) or up_to < 1:
        raise OptionError(f"curves end at a whole number of L, 1 or more, not at {up_to!r}")
    check_choice("length", length, Length)
    steps = np.arange(1, up_to * CURVE_STEPS + 1)
    curves = [_curves(chain, steps, length) for chain in chains]
    if not curves:
        raise InputError("there is no chain to average over")
    rows = []
    for name, of_range in zip(RANGES, np.stack(curves, axis=-1), strict=True):
        at_steps = of_range.transpose(1, 0, 2)  # (steps, 3, chains)
        for step, (precision, ceiling, background) in zip(steps, at_steps, strict=True):
            low, high = bootstrap(precision, seed=seed)
            rows.append(
                {
                    "range": name,
                    "k/L": step / CURVE_STEPS,
                    "precision": _mean(precision),
                    "low": low,
                    "high": high,
                    "ceiling": _mean(ceiling),
                    "background": _mean(background),
                    "chains": int((~np.isnan(precision)).sum()),
                }
            )
    table = pandas.DataFrame(rows)
    if length != "resolved":
        table.attrs["length"] = length
    return table


def _curves(chain: OnChain, steps: NDArray[np.int64], length: Length) -> NDArray[np.float64]:
    """Return precision, ceiling and background of one chain: (ranges, 3, steps)."""
    values, contacts, resolved = chain
    _check_shapes(values, contacts, resolved)
    known = np.where(resolved[:, None] & resolved, values, np.nan)
    residues = int(resolved.sum()) if length == "resolved" else len(resolved)
    counts = residues * steps // CURVE_STEPS
    found = np.full((len(RANGES), 3, len(steps)), np.nan)
    for of_range, (least, most) in zip(found, RANGES.values(), strict=True):
        true = contacts[ranked_pairs(known, least=least, most=most)]
        if not len(true):
            continue
        correct = np.concatenate([[0], np.cumsum(true)])
        asked = counts > 0
        k = counts[asked]
        of_range[0, asked] = correct[np.minimum(k, len(true))] / k
        of_range[1, asked] = np.minimum(1, correct[-1] / k)
        of_range[2] = true.mean()
    return found


def _check_shapes(
    values: NDArray[np.floating[Any]], contacts: NDArray[np.bool_], resolved: NDArray[np.bool_]
) -> None:
    if values.shape != contacts.shape or len(resolved) != len(values):
        raise OptionError(
            f"a map of shape {values.shape} does not fit contacts of shape {contacts.shape}"
        )


def _mean(values: Any) -> float:
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    return float(kept.mean()) if len(kept) else float("nan")


def check_choice(name: str, given: Any, kind: Any) -> None:
    """Refuse a word that is none of a ``Literal``'s.

    Raises
    ------
    OptionError
        Naming the option, its values and the one given.
    """
    if given not in get_args(kind):
        raise OptionError(
            f"{name} is {' or '.join(map(repr, get_args(kind)))}, not {what_is(given)}"
        )


def span_of(name: str) -> str:
    """Return the separations of a range.

    >>> span_of("short"), span_of("long")
    ('(6-11)', '(24+)')
    """
    least, most = RANGES[name]
    return f"({least}-{most})" if most is not None else f"({least}+)"


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines, its columns one under the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(t.ljust(w) for t, w in zip(r, widths, strict=True)).rstrip() for r in rows]
