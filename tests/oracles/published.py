"""The numbers of a row that must have some."""

from esmkit.published import Row


def own_of(row: Row) -> float:
    """The value measured, which must be there."""
    assert row.own is not None
    return row.own


def interval_of(row: Row) -> tuple[float, float]:
    """Its interval, which must be there."""
    assert row.low is not None
    assert row.high is not None
    return row.low, row.high


def published_of(row: Row) -> float:
    """The published value, which must be there."""
    assert row.published is not None
    return row.published
