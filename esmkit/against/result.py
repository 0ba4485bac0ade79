"""The result of looking at a file: what it is, what is wrong with it, and on what evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from esmkit.errors import VerificationError
from esmkit.text import shorten, visible

if TYPE_CHECKING:
    import pandas

__all__ = ["Cause", "Diagnosis", "PartDiagnosis"]

_LISTED = 5

_VERDICTS = {"same": "SAME", "differs": "DIFFERS", "unknown": "NOT KNOWN"}


@dataclass(frozen=True)
class Cause:
    """What happened to some records.

    Attributes
    ----------
    what : str
        In words.
    records : list of str
        To which.
    of : int
        Of how many.
    before, after : float, optional
        Median relative difference from what the file should hold, and from what the cause makes
        of it.
    evidence : list of str
    remedy : str

    Examples
    --------
    >>> from esmkit.against import Cause
    >>> cause = Cause("cut after 50 residues", ["P1"], of=4, before=0.2, after=1e-7)
    >>> cause.share, cause.lines()[0]
    (0.25, '1 of 4 records: cut after 50 residues')
    >>> cause.to_dict()["relative_before"]
    0.2
    """

    what: str
    records: list[str]
    of: int
    before: float | None = None
    after: float | None = None
    evidence: list[str] = field(default_factory=list)
    remedy: str = ""

    @property
    def share(self) -> float:
        """Share of the records, 0 to 1."""
        return len(self.records) / self.of

    def lines(self) -> list[str]:
        """Return it as text: a line, and its evidence below."""
        which = "all" if len(self.records) == self.of else f"{len(self.records):,} of {self.of:,}"
        plural = "record" if self.of == 1 else "records"
        found = [f"{which} {plural}: {self.what}" if self.of > 1 else self.what]
        if self.before is not None and self.after is not None:
            found.append(
                f"  relative difference {self.before:.1e} from what it should be, {self.after:.1e} with this cause"
            )
        elif self.before is not None:
            found.append(f"  relative difference {self.before:.1e}")
        found += [f"  {line}" for line in self.evidence]
        if len(self.records) < self.of:
            found.append(f"  {_listed(self.records)}")
        if self.remedy:
            found.append(f"  remedy: {self.remedy}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "what": self.what,
            "records": self.records,
            "share": self.share,
            "relative_before": self.before,
            "relative_after": self.after,
            "evidence": self.evidence,
            "remedy": self.remedy,
        }


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(shorten(visible(name), 40) for name in names[:_LISTED]) + more


@dataclass(frozen=True)
class PartDiagnosis:
    """What one part of a file is.

    Attributes
    ----------
    name : str
        What the file calls the part; empty if there is one only.
    verdict : {'same', 'differs', 'unknown'}
    summary : str
        One sentence.
    causes : list of Cause
    notes : list of str
    tried : list of str
        What was tried to explain it.
    rows : list of dict
        A row for each record: see :meth:`Diagnosis.to_frame`.

    Examples
    --------
    >>> from esmkit.against import PartDiagnosis
    >>> part = PartDiagnosis("layer 5", "same", "these are this model's mean embeddings")
    >>> part.lines()
    ["SAME  layer 5: these are this model's mean embeddings"]
    >>> part.to_dict()["verdict"]
    'same'
    """

    name: str
    verdict: str
    summary: str
    causes: list[Cause] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return it as text."""
        title = f"{visible(self.name)}: " if self.name else ""
        found = [f"{_VERDICTS[self.verdict]}  {title}{self.summary}"]
        for cause in self.causes:
            first, *rest = cause.lines()
            found += [f"- {first}", *rest]
        if self.verdict == "unknown" and self.tried:
            found.append(f"tried: {'; '.join(self.tried)}")
        return [*found, *(f"note: {note}" for note in self.notes)]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, without the rows of records."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "summary": self.summary,
            "causes": [cause.to_dict() for cause in self.causes],
            "notes": self.notes,
            "tried": self.tried,
        }


@dataclass(frozen=True)
class Diagnosis:
    """Whether a file holds a model's embeddings of some proteins, and if not, what happened.

    Made by :func:`esmkit.verify_against`.

    Attributes
    ----------
    path, kind : str
        The file, and what it is.
    checkpoint : dict
        The weights it was compared with.
    parts : list of PartDiagnosis
        One for each layer and kind of vector in the file.
    notes : list of str

    Examples
    --------
    >>> from esmkit.against import Diagnosis, PartDiagnosis
    >>> part = PartDiagnosis("", "differs", "cut after 50 residues", rows=[{"id": "P1"}])
    >>> found = Diagnosis("theirs.h5", "HDF5, a dataset for each protein", {}, [part])
    >>> found
    Diagnosis(differs: cut after 50 residues)
    >>> found.verdict, found.passed, found.to_dict()["records"]
    ('differs', False, [{'id': 'P1'}])
    >>> print(found.to_text())
    theirs.h5: HDF5, a dataset for each protein
    DIFFERS  cut after 50 residues
    >>> found.to_frame()["id"].tolist()
    ['P1']
    >>> found.raise_if_failed()
    Traceback (most recent call last):
    esmkit.errors.VerificationError: theirs.h5: cut after 50 residues
    """

    path: str
    kind: str
    checkpoint: dict[str, Any]
    parts: list[PartDiagnosis]
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``same``, ``differs`` or ``unknown``: of several parts the worst."""
        found = {part.verdict for part in self.parts}
        return next(v for v in ("unknown", "differs", "same") if v in found)

    @property
    def passed(self) -> bool:
        """Whether all of it is this model's."""
        return self.verdict == "same"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "path": self.path,
            "kind": self.kind,
            "checkpoint": self.checkpoint,
            "parts": [part.to_dict() for part in self.parts],
            "notes": self.notes,
            "records": [row for part in self.parts for row in part.rows],
        }

    def to_frame(self) -> "pandas.DataFrame":
        """Return a pandas table with a row for each record of each part.

        Returns
        -------
        pandas.DataFrame
            ``part``, ``record`` (name in the file), ``id`` (of the protein), ``verdict``,
            ``cause``, ``relative_before`` and ``relative_after`` (difference from what it should be
            and from what the cause makes of it), ``absolute_after`` and ``belongs_to``, the protein
            that a record under a wrong name is of.
        """
        import pandas

        return pandas.DataFrame([row for part in self.parts for row in part.rows])

    def to_text(self) -> str:
        """Return the verdict as text, with causes, evidence and notes."""
        lines = [f"{visible(self.path)}: {self.kind}"]
        for part in self.parts:
            lines += part.lines()
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"Diagnosis({self.verdict}: {self.parts[0].summary})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.to_text())}</pre>"

    def raise_if_failed(self) -> None:
        """Raise unless all of the file is this model's.

        Raises
        ------
        VerificationError
            With the summary of the first part that is not.
        """
        for part in self.parts:
            if part.verdict != "same":
                what = "cannot say what these are" if part.verdict == "unknown" else part.summary
                raise VerificationError(f"{shorten(visible(self.path))}: {what}")
