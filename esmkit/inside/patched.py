"""What patching found: how much of a metric each activation restores."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import OptionError

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

__all__ = ["Patching"]

MOST_ROWS = 24
"""Rows of a map by residues; of more the largest are shown."""

STEPS = {"attention_output": "attention output", "feed_forward_output": "feed-forward output"}


@dataclass(frozen=True, eq=False)
class Patching:
    """How much each activation of a clean run restores of a metric in a corrupted one.

    Attributes
    ----------
    id, sequence : str
        The clean protein, R residues.
    corrupted_id, corrupted_sequence : str
    differing : tuple of int
        Residues, from 1, in which the two runs differ: another letter, or hidden in one.
    metric : str
        What is restored, in words.
    clean, corrupted : float
        The metric in either run.
    by_residue : bool
        Whether activations were patched at each token alone.
    rank_correlation : float
        Spearman's, of the exact changes and those that attribution patching estimates; NaN if only one
        was computed, or one is constant.
    checkpoint : str
    table : pandas.DataFrame
        See :meth:`to_frame`.

    See Also
    --------
    esmkit.patch : Makes it.

    References
    ----------
    Wang et al. 2022, arXiv:2211.00593 (activation patching).

    Examples
    --------
    >>> found = esmkit.patch(esmkit.load(), "MKTVRQERLKSIVRIL", "K10E", what="layers")  # doctest: +SKIP
    >>> found.title, found.unit  # doctest: +SKIP
    ('sequence_1_K10E, patched from sequence_1', 'restoration')
    >>> found.subtitle.startswith(found.metric)  # doctest: +SKIP
    True
    >>> found.top(1)["activation"].item(), len(found.to_frame())  # doctest: +SKIP
    ('L4.feed_forward_output', 12)
    >>> found.shown.columns.tolist()  # doctest: +SKIP
    ['layer', 'head', 'step', 'value']
    >>> figure = found.plot()  # doctest: +SKIP
    """

    id: str
    sequence: str
    corrupted_id: str
    corrupted_sequence: str
    differing: tuple[int, ...]
    metric: str
    clean: float
    corrupted: float
    by_residue: bool
    rank_correlation: float
    checkpoint: str
    table: Any = field(repr=False)

    def to_frame(self) -> "pandas.DataFrame":
        """Return the table.

        Returns
        -------
        pandas.DataFrame
            A row for each patch: ``activation``, ``layer``, ``head``, ``step``; ``token`` (``all``,
            ``BOS``, ``EOS`` or a residue such as ``K48``) and ``residue_number``, from 1;
            ``metric``, that of the corrupted run with this activation of the clean one, ``change``
            from the corrupted run and ``restoration``, 0 as corrupted and 1 as clean, which may be
            less or more; ``attributed``, the change that one backward pass estimates, and
            ``attributed_restoration``. NaN for what was not computed, or where there is nothing to
            restore.
        """
        return self.table.copy()

    @property
    def _column(self) -> str:
        """Which column is shown: what is exact, and restoration if there is something to restore."""
        exact = self.table["change"].notna().any()
        same = self.clean == self.corrupted
        return (
            ("change" if same else "restoration")
            if exact
            else ("attributed" if same else "attributed_restoration")
        )

    @checked
    def top(self, count: int = 10) -> "pandas.DataFrame":
        """Return the patches that restore most, the largest first; those that harm come last.

        Raises
        ------
        OptionError
            If ``count`` is less than 1.
        """
        if count < 1:
            raise OptionError(f"at least 1 row is asked for, not {count}")
        rows = self.table.sort_values(self._column, ascending=False, kind="stable")
        return rows.head(count).reset_index(drop=True)

    # ------------------------------------------------------------------------ the figure

    @property
    def title(self) -> str:
        """Title of the figure."""
        return f"{self.corrupted_id}, patched from {self.id}"

    @property
    def subtitle(self) -> str:
        """What stands under it."""
        rank = (
            ""
            if np.isnan(self.rank_correlation)
            else f" · rank correlation with attribution patching {self.rank_correlation:.2f}"
        )
        return (
            f"{self.metric}: {self.corrupted:.3g} corrupted, {self.clean:.3g} clean{rank} · "
            f"{self.checkpoint}"
        )

    @property
    def unit(self) -> str:
        """What the numbers of the figure are."""
        return self._column.replace("_", " ")

    @property
    def shown(self) -> "pandas.DataFrame":
        """What the figure of heads and layers draws: ``layer``, ``head``, ``step``, ``value``."""
        table = self.table[self.table["layer"].notna()]
        return table[["layer", "head"]].assign(
            step=[STEPS.get(step, step.replace("_", " ")) for step in table["step"]],
            value=table[self._column],
        )

    @property
    def position_grid(self) -> tuple[list[str], NDArray[np.float64]]:
        """Names of activations, and their values at BOS, the residues and EOS, (n, R + 2).

        Examples
        --------
        >>> found = esmkit.patch(
        ...     esmkit.load(), "MKTVRQERLK", "K2E", what="L5.residual",
        ...     by_residue=True, method="attribution",
        ... )  # doctest: +SKIP
        >>> names, values = found.position_grid  # doctest: +SKIP
        >>> names, values.shape  # doctest: +SKIP
        (['L5.residual'], (1, 12))
        """
        names = list(dict.fromkeys(self.table["activation"]))
        values = self.table[self._column].to_numpy(float).reshape(len(names), -1)
        if len(names) > MOST_ROWS:
            largest = np.sort(np.argsort(-np.nanmax(np.abs(values), axis=1))[:MOST_ROWS])
            names, values = [names[n] for n in largest], values[largest]
        return names, values

    @checked
    def plot(self, *, path: str | Path | None = None) -> "Figure":
        """Draw what is restored: layers by heads, or activations by residues.

        Parameters
        ----------
        path : path, optional
            Where to save: PNG, SVG or PDF by its extension.

        Returns
        -------
        matplotlib.figure.Figure
        """
        from esmkit.plots.effects import head_effects, position_effects

        return (position_effects if self.by_residue else head_effects)(self, path=path)

    def __repr__(self) -> str:
        return (
            f"Patching({self.corrupted_id!r} from {self.id!r}, {self.metric}: {self.corrupted:.4g} to "
            f"{self.clean:.4g}, {len(self.table):,} patches)"
        )

    def _repr_html_(self) -> str:
        from esmkit.plots.figure import inline_html

        return inline_html(self.plot())
