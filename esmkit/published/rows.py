"""One row of the table: what is published, what was measured, and whether they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from esmkit.published.known import Claim

__all__ = ["Row", "Verdict", "judge", "not_run"]

Verdict = Literal["reproduced", "differs", "not comparable", "not run"]


@dataclass(frozen=True)
class Row:
    """A published result beside one's own.

    Attributes
    ----------
    name, what, protocol, data, source : str
        The published result: short name, quantity, how it was measured and on what, where it stands.
    published : float or None
        Its value; None where nothing is published for a model of this size.
    published_low, published_high : float or None
        Its 95 % interval, where it is published.
    own : float or None
        Value measured here; None if it was not.
    low, high : float or None
        Its 95 % interval; of values that are to be equal, what the published value may differ by.
    on : str
        What it was measured on.
    verdict : {'reproduced', 'differs', 'not comparable', 'not run'}
    because : str
        What is other, or missing; or what the verdict rests on.

    Examples
    --------
    >>> from esmkit.published.known import choose_claims
    >>> row = not_run(choose_claims(["proteingym"])[0], "8M", "ProteinGym's files")
    >>> row.verdict, row.published, row.own, row.because
    ('not run', 0.226, None, "missing: ProteinGym's files")
    """

    name: str
    what: str
    protocol: str
    data: str
    source: str
    published: float | None
    published_low: float | None
    published_high: float | None
    own: float | None
    low: float | None
    high: float | None
    on: str
    verdict: Verdict
    because: str

    @property
    def inside(self) -> bool | None:
        """Whether the published value lies within one's own interval, whatever the verdict.

        Examples
        --------
        >>> from esmkit.published.known import choose_claims
        >>> claim = choose_claims(["head-L5H4"])[0]
        >>> judge(claim, "8M", 0.26, 0.24, 0.28, on="50 chains", other=["other chains"]).inside
        True
        """
        if self.published is None or self.low is None or self.high is None:
            return None
        return self.low <= self.published <= self.high


def _row(claim: Claim, size: str | None, verdict: Verdict, because: str, **own: object) -> Row:
    low, high = claim.interval or (None, None)
    measured = {"own": None, "low": None, "high": None, "on": "", **own}
    return Row(
        *(claim.name, claim.what, claim.protocol, _published_on(claim, size), claim.source),
        published=claim.values.get(size or ""),
        published_low=low,
        published_high=high,
        verdict=verdict,
        because=because,
        **measured,  # type: ignore[arg-type]
    )


def _published_on(claim: Claim, size: str | None) -> str:
    weights = (
        f"official weights of the {size} model" if size in claim.values else "official weights"
    )
    return f"{claim.data()}, {weights}"


def not_run(claim: Claim, size: str | None, missing: str) -> Row:
    """Return the row of a result that was not measured, with what is missing."""
    return _row(claim, size, "not run", f"missing: {missing}")


def judge(
    claim: Claim,
    size: str,
    own: float,
    low: float,
    high: float,
    *,
    on: str,
    other: Sequence[str] = (),
    published: float | None = None,
    note: str = "",
) -> Row:
    """Return the row of a result that was measured.

    The verdict is about one and the same thing: with other weights or data there is none.

    Parameters
    ----------
    claim : Claim
    size : str
        Size of the model, such as ``8M``.
    own, low, high : float
        The value measured, and its interval.
    on : str
        What it was measured on.
    other : sequence of str
        What differs from the published measurement; empty if nothing does.
    published : float, optional
        Value to compare with, by default that of the claim.
    note : str
        A fact to add.

    Examples
    --------
    >>> from esmkit.published.known import choose_claims
    >>> claim = choose_claims(["head-L5H4"])[0]
    >>> judge(claim, "8M", 0.26, 0.24, 0.28, on="200 chains").verdict
    'reproduced'
    >>> judge(claim, "8M", 0.18, 0.15, 0.21, on="200 chains").verdict
    'differs'
    >>> judge(claim, "8M", 0.18, 0.15, 0.21, on="50 chains", other=["other chains"]).verdict
    'not comparable'
    """
    value = claim.values[size] if published is None else published
    near = claim.rounding()
    agrees = low - near <= value <= high + near
    measured = {"own": own, "low": low, "high": high, "on": on}
    if other:
        verdict: Verdict = "not comparable"
        because = "; ".join(other)
    else:
        verdict = "reproduced" if agrees else "differs"
        where = "within" if agrees else "outside"
        because = f"the published value is {where} the interval"
    row = _row(claim, size, verdict, "; ".join(filter(None, (because, note))), **measured)
    if published is None:
        return row
    from dataclasses import replace

    return replace(row, published=published)
