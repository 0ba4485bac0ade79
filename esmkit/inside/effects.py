"""Effects of components on one number: a table that sums to it, and its figure."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.arguments import checked
from esmkit.errors import OptionError

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["Effects"]

SAID = {
    "embedding": "embedding",
    "head": "heads",
    "attention_bias": "attention bias",
    "feed_forward": "feed-forward layers",
    "bias": "bias",
}
"""Kinds of components in words."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What each component adds to one number; all of them sum to it.

    Attributes
    ----------
    value : float
        The number.
    what : str
        What it is, in words.
    unit : str
        What contributions are in.
    id, sequence : str
        The protein.
    checkpoint, head : str
        Name of the weights, and of what turns their states into the number, where that is another.
    table : pandas.DataFrame
        A row for each component: ``component``, ``kind`` (``embedding``, ``head``,
        ``attention_bias``, ``feed_forward`` or ``bias``: all that depends on no component),
        ``layer`` and ``head`` from 0, ``contribution``.

    See Also
    --------
    esmkit.Esm2.attribute_logit, esmkit.Esm2.attribute_contact

    Examples
    --------
    >>> ubiquitin = esmkit.data.demo_proteins()[0]  # doctest: +SKIP
    >>> found = esmkit.load().attribute_contact(ubiquitin, 4, 12)  # doctest: +SKIP
    >>> found.title  # doctest: +SKIP
    '1UBI_A: score of the contact of F4 and T12'
    >>> found.subtitle[:40]  # doctest: +SKIP
    '4.338 = heads +9.11, bias -4.77 · esm2-8'
    >>> found.top(2, kind="head")["component"].tolist()  # doctest: +SKIP
    ['L5H4', 'L5H10']
    >>> int(found.by_kind()["components"].sum()) == len(found.to_frame())  # doctest: +SKIP
    True
    >>> found.shown.columns.tolist()  # doctest: +SKIP
    ['layer', 'head', 'step', 'value']
    >>> figure = found.plot()  # doctest: +SKIP
    """

    value: float
    what: str
    unit: str
    id: str
    sequence: str
    checkpoint: str
    table: Any = field(repr=False)
    head: str = ""

    def to_frame(self) -> "pandas.DataFrame":
        """Return the table, with ``share``: the contribution over the sum of all magnitudes."""
        whole: Any = self.table["contribution"].abs().sum()
        return self.table.assign(share=self.table["contribution"].abs() / (whole or 1.0))

    def by_kind(self) -> "pandas.DataFrame":
        """Return the sums over components of a kind: ``kind``, ``contribution``, ``components``.

        Contributions of one kind partly cancel; how many there are is said beside the sum.
        """
        groups: Any = self.table.groupby("kind", sort=False)["contribution"]
        return groups.agg(contribution="sum", components="count").reset_index()

    @checked
    def top(self, count: int = 10, *, kind: str | None = None) -> "pandas.DataFrame":
        """Return the components that count most, by magnitude.

        Parameters
        ----------
        count : int
            How many, at least 1.
        kind : str, optional
            Of one kind only, such as ``head``.

        Returns
        -------
        pandas.DataFrame
            Rows of :meth:`to_frame`.

        Raises
        ------
        OptionError
            If there is no such kind.
        """
        if count < 1:
            raise OptionError(f"at least 1 row is asked for, not {count}")
        table: Any = self.to_frame()
        kinds = list(dict.fromkeys(table["kind"]))
        if kind is not None and kind not in kinds:
            raise OptionError(f"`kind` is one of {', '.join(kinds)}, not {kind!r}")
        table = table if kind is None else table[table["kind"] == kind]
        order = table["contribution"].abs().sort_values(ascending=False, kind="stable").index
        return table.loc[order[:count]].reset_index(drop=True)

    # ------------------------------------------------------------------------ the figure

    @property
    def title(self) -> str:
        """Title of the figure."""
        return f"{self.id}: {self.what}"

    @property
    def subtitle(self) -> str:
        """What stands under it."""
        parts = [
            f"{SAID[kind]} {value:+.3g}"
            for kind, value in self.by_kind()[["kind", "contribution"]].itertuples(index=False)
        ]
        by = f" · {self.head}" if self.head else ""
        return f"{self.value:.4g} = {', '.join(parts)} · {self.checkpoint}{by}"

    @property
    def shown(self) -> "pandas.DataFrame":
        """What the figure draws: ``layer``, ``head``, ``step`` and ``value`` of what has a layer."""
        table: Any = self.table[self.table["layer"].notna()]
        return table[["layer", "head"]].assign(
            step=table["kind"].map(SAID), value=table["contribution"]
        )

    @checked
    def plot(self, *, path: str | Path | None = None) -> "Figure":
        """Draw the contributions, layers by heads, with :func:`esmkit.plots.head_effects`.

        Parameters
        ----------
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit.plots.effects import head_effects

        return head_effects(self, path=path)

    def __repr__(self) -> str:
        return f"Effects({self.id!r}, {self.what}: {self.value:.6g}, {len(self.table)} components)"

    def _repr_html_(self) -> str:
        from esmkit.plots.figure import inline_html

        return inline_html(self.plot())
