"""What a part of a file should be, and what is known of its records so far."""

from dataclasses import dataclass, field

from esmkit.against.hypotheses import Hypothesis
from esmkit.against.records import Records
from esmkit.against.sources import PLAIN, WINDOWS, Source, cut
from esmkit.against.trial import Fit
from esmkit.sequences.windows import MAX_RESIDUES

__all__ = ["Expected", "State", "sources_for"]


@dataclass(frozen=True)
class Expected:
    """What a part should be.

    Attributes
    ----------
    layer : int
    pool : {'mean', 'bos'}
    any_layer : bool
        Whether the file does not say which of several layers it is.
    sources : list of Source
        Ways to read long proteins that are right.
    """

    layer: int
    pool: str
    any_layer: bool = False
    sources: list[Source] = field(default_factory=lambda: [PLAIN, WINDOWS])


def sources_for(long: str | None) -> list[Source]:
    """Return the ways to read long proteins that are right by what the file says of itself."""
    if long == "truncate":
        return [cut(MAX_RESIDUES), PLAIN]
    return {"whole": [PLAIN], "window": [WINDOWS, PLAIN]}.get(long or "", [PLAIN, WINDOWS])


@dataclass
class State:
    """What is known of the records so far.

    Attributes
    ----------
    fits : dict from int to Fit
        Of records that are explained.
    by : dict from int to Hypothesis
        What explains them.
    before : dict from int to Fit
        How far every record is from what it should be.
    """

    fits: dict[int, Fit] = field(default_factory=dict)
    by: dict[int, Hypothesis] = field(default_factory=dict)
    before: dict[int, Fit] = field(default_factory=dict)

    def copied(self, records: Records) -> dict[int, int]:
        """Return the unexplained records whose vector is that of another, which it is right of."""
        if records.rows:
            return {}
        own = {records.digests[n].tobytes(): n for n, f in self.fits.items() if f.belongs_to == n}
        left = (n for n in range(len(records)) if n not in self.fits)
        return {n: own[key] for n in left if (key := records.digests[n].tobytes()) in own}
