"""The table of published results beside one's own."""

import json
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from esmkit.errors import VerificationError
from esmkit.published.rows import Row

if TYPE_CHECKING:
    import pandas

__all__ = ["Reproduction"]

HEADINGS = ("verdict", "result", "published", "own [95 % interval]", "on", "because")


@dataclass(frozen=True)
class Reproduction:
    """What :func:`esmkit.reproduce` returns: published results beside one's own.

    Attributes
    ----------
    checkpoint : dict
        The weights.
    rows : list of Row
        One for each published result, also for those that were not run.

    See Also
    --------
    esmkit.reproduce

    Examples
    --------
    >>> from esmkit.published.known import choose_claims
    >>> from esmkit.published.rows import judge
    >>> claim = choose_claims(["head-L5H4"])[0]
    >>> row = judge(claim, "8M", 0.18, 0.15, 0.21, on="50 chains", other=["50 other chains"])
    >>> found = Reproduction({"name": "mine"}, [row])
    >>> found.to_frame()[["result", "published", "own", "verdict"]].values.tolist()
    [['head-L5H4', 0.249, 0.18, 'not comparable']]
    >>> found.differs, found.count("reproduced")
    ([], 0)
    """

    checkpoint: dict[str, Any]
    rows: list[Row]

    def __repr__(self) -> str:
        """Count the verdicts.

        >>> Reproduction({"name": "mine"}, [])
        Reproduction(mine: 0 reproduced, 0 differ, 0 not comparable, 0 not run)
        """
        return f"Reproduction({self.checkpoint['name']}: {self._counts()})"

    def _counts(self) -> str:
        return (
            f"{self.count('reproduced')} reproduced, {self.count('differs')} differ, "
            f"{self.count('not comparable')} not comparable, {self.count('not run')} not run"
        )

    @property
    def differs(self) -> list[Row]:
        """Rows whose own value should agree with the published one and does not."""
        return [row for row in self.rows if row.verdict == "differs"]

    def count(self, verdict: str) -> int:
        """Return how many rows have a verdict.

        Parameters
        ----------
        verdict : {'reproduced', 'differs', 'not comparable', 'not run'}

        Returns
        -------
        int

        Examples
        --------
        >>> Reproduction({"name": "mine"}, []).count("not run")
        0
        """
        return sum(row.verdict == verdict for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values.

        Examples
        --------
        >>> Reproduction({"name": "mine"}, []).to_dict()
        {'checkpoint': {'name': 'mine'}, 'results': []}
        """
        rows = [{**asdict(row), "inside": row.inside} for row in self.rows]
        return {"checkpoint": self.checkpoint, "results": rows}

    def to_frame(self) -> "pandas.DataFrame":
        """Return a row for each result.

        Returns
        -------
        pandas.DataFrame
            ``verdict``, ``result``, ``what``, ``published``, ``published_low``, ``published_high``,
            ``own``, ``low``, ``high``, ``inside`` (whether the published value lies within one's own
            interval), ``on``, ``because``, ``protocol``, ``data``
            (what was published is of), ``source``. Missing where nothing was
            measured or published.

        Examples
        --------
        >>> len(Reproduction({"name": "mine"}, []).to_frame().columns)
        15
        """
        import pandas

        columns = ["verdict", "result", "what", "published", "published_low", "published_high"]
        columns += ["own", "low", "high", "inside", "on", "because", "protocol", "data", "source"]
        rows = [{**asdict(row), "result": row.name, "inside": row.inside} for row in self.rows]
        numbers = ["published", "published_low", "published_high", "own", "low", "high"]
        return pandas.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float))

    def to_text(self) -> str:
        """Return the table as text: a line for each result, then what each is and where it stands.

        Examples
        --------
        >>> Reproduction({"name": "mine"}, []).to_text().splitlines()[-1]
        '0 reproduced, 0 differ, 0 not comparable, 0 not run'
        """
        table = [HEADINGS, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[place]) for line in table) for place in range(len(HEADINGS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
        return "\n".join([*lines, "", *self._sources(), "", self._counts()])

    def to_markdown(self) -> str:
        """Return the table as Markdown, with sources below.

        Examples
        --------
        >>> print(Reproduction({"name": "mine"}, []).to_markdown().splitlines()[0])
        | verdict | result | published | own [95 % interval] | on | because |
        """
        lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
        for row in self.rows:
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in _cells(row))} |")
        said = [f"- {line}" for line in self._sources()]
        return "\n".join([*lines, "", *said, ""])

    def to_json(self) -> str:
        """Return everything as JSON.

        Examples
        --------
        >>> Reproduction({"name": "mine"}, []).to_json().split()[1]
        '"checkpoint":'
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def _sources(self) -> list[str]:
        """Say what each result is and where it is published; once where that is the same."""
        names: dict[str, list[str]] = {}
        for row in self.rows:
            names.setdefault(_said(row), []).append(row.name)
        return [f"{', '.join(of)}: {said}" for said, of in names.items()]

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in HEADINGS)
        lines = []
        for row in self.rows:
            cells = "".join(f"<td>{escape(cell)}</td>" for cell in _cells(row))
            told = escape(_said(row), quote=True)
            lines.append(f'<tr title="{told}">{cells}</tr>')
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def raise_if_differs(self) -> None:
        """Raise if a result that should be reproduced is not.

        Raises
        ------
        VerificationError
            Names the first such result, both values and the interval.

        Examples
        --------
        >>> Reproduction({"name": "mine"}, []).raise_if_differs()
        """
        for row in self.differs:
            _, _, published, own, on, _ = _cells(row)
            raise VerificationError(
                f"{row.name}: published is {published}, and here it is {own} on {on}, with the same "
                "weights and data; check the weights (`esmkit weights check`), the files, and what "
                "`esmkit verify` says"
            )


def _said(row: Row) -> str:
    """Say what a result is, how and on what it was measured, and where it is published."""
    return f"{row.what}; {row.protocol}. Published for {row.data}: {row.source}"


def _number(value: float) -> str:
    """Return a number as it is published: with three digits, or four.

    >>> _number(0.4), _number(0.2745)
    ('0.400', '0.2745')
    """
    text = f"{value:.4f}"
    return text.removesuffix("0")


def _cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row, under ``HEADINGS``."""
    golden = row.name.startswith("golden")
    published = "" if row.published is None else _number(row.published)
    own = "" if row.own is None else f"{row.own:.3f}"
    if golden:  # a table of numbers is published, and its largest difference is one's own
        published, own = "9 values", "" if row.own is None else f"{row.own:.1e} off"
    if row.published_low is not None and row.published_high is not None:
        published += f" [{row.published_low:.3f}, {row.published_high:.3f}]"
    if row.low is not None and row.high is not None and not golden:
        own += f" [{row.low:.3f}, {row.high:.3f}]"
    return row.verdict, row.name, published, own, row.on, row.because
