"""One head on a card: label, evidence, numbers, what it looks for, an example."""

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit import plots
from esmkit.attention.maps import AttentionMaps
from esmkit.errors import OptionError
from esmkit.heads.labels import Rules
from esmkit.plots.profiles import offset_columns, source
from esmkit.plots.protocols import Profile
from esmkit.text import percent, signed

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from esmkit.encoder.encoder import Encoder
    from esmkit.sequences.proteins import Protein

__all__ = ["HeadCard", "head_card"]

SHOWN_EFFECTS = 6


@dataclass(frozen=True, eq=False)
class HeadCard:
    """Card of one head; in Jupyter it shows itself.

    Attributes
    ----------
    name, label, evidence : str
    numbers : dict of str to float
        ``entropy`` (0 to 1), ``distance`` (residues), ``bos`` and ``eos`` (mean weight),
        ``positional`` (share of the variance of its maps that offsets explain).
    top : pandas.DataFrame
        Its six effects with the largest difference; columns as in ``HeadProfile.effects``.
    offsets : numpy.ndarray of int64, shape (65,)
        -32 to 32, key - query.
    offset_shares : numpy.ndarray of float64, shape (65,)
        Share of the weight between residues at each.
    source : str
        Checkpoint, and number of chains.
    maps : AttentionMaps, optional
        Maps of an example.
    max_q : float
        False discovery rate up to which its effects are significant.
    """

    name: str
    label: str
    evidence: str
    numbers: dict[str, float] = field(repr=False)
    top: "pandas.DataFrame" = field(repr=False)
    offsets: NDArray[np.int64] = field(repr=False)
    offset_shares: NDArray[np.float64] = field(repr=False)
    source: str = ""
    maps: AttentionMaps | None = None
    max_q: float = Rules.max_q

    def __repr__(self) -> str:
        lines = [
            f"{self.name}: {self.label} ({self.source})",
            f"  {self.evidence}",
            f"  {', '.join(self._facts())}",
        ]
        rows = self.table()
        wide = max((len(row[0]) for row in rows), default=0)
        lines += [f"  {row[0]:<{wide}}  {'  '.join(row[1:])}" for row in rows]
        return "\n".join(lines)

    def _facts(self) -> list[str]:
        numbers = self.numbers
        return [
            f"entropy {numbers['entropy']:.2f}",
            f"mean distance {numbers['distance']:.1f} residues",
            f"BOS {numbers['bos']:.1%}",
            f"EOS {numbers['eos']:.1%}",
            f"offsets explain {numbers['positional']:.0%} of its maps",
        ]

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """Return its top effects as text: property, share, background, difference, q."""
        return [
            (
                str(row["property"]),
                percent(row["share"]),
                f"expected {percent(row['background'])}",
                f"{signed(100 * row['difference'], 2)} points "
                f"[{signed(100 * row['low'], 2)}, {signed(100 * row['high'], 2)}]",
                f"q = {row['q']:.1g}",
            )
            for row in self.top.to_dict("records")
        ]

    def plot(self, *, path: Any = None) -> "Figure":
        """Draw where it looks along the sequence, and its top effects.

        Its map on the example is ``card.maps.plot(card.name)``.
        """
        return plots.head_card(self, path=path)

    def _repr_html_(self) -> str:
        head = ("property", "share of its weight", "", "difference [95% interval]", "")
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.table()
        )
        columns = "".join(f"<th>{cell}</th>" for cell in head)
        example = "" if self.maps is None else plots.inline_html(self.maps.plot(self.name))
        return (
            f"<div><h3>{escape(self.name)}: {escape(self.label)}</h3>"
            f"<p>{escape(self.evidence)}</p><p>{escape(' · '.join(self._facts()))}<br>{escape(self.source)}</p>"
            f"<table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table>"
            f"{plots.inline_html(self.plot())}{example}</div>"
        )


def head_card(
    profile: Profile,
    name: str,
    *,
    maps: AttentionMaps | None = None,
    model: "Encoder | None" = None,
    protein: "str | Protein | None" = None,
) -> HeadCard:
    """Return the card of one head.

    Parameters
    ----------
    profile : HeadProfile
    name : str
        Such as ``L5H4``.
    maps : AttentionMaps, optional
        Maps of an example, with this head.
    model : Encoder, optional
        Instead of maps: computes them, of this head only.
    protein : str or Protein, optional
        The example for ``model``; by default ubiquitin.

    Returns
    -------
    HeadCard

    Raises
    ------
    OptionError
        If there is no such head, or maps and model are both given, or a protein without a model.
    """
    top: Any = profile.of(name)  # says which heads there are, if not this one
    if maps is not None and model is not None:
        raise OptionError("give maps or a model that computes them, not both")
    if protein is not None and model is None:
        raise OptionError(
            "a protein needs the model too: profile.head(name, model=..., protein=...)"
        )
    if model is not None:
        from esmkit.attention.extract import attention
        from esmkit.data import demo_structure
        from esmkit.sequences.proteins import Protein

        if protein is None:
            protein = demo_structure().protein
        if isinstance(protein, str):
            protein = Protein("protein", protein, "protein")
        maps = attention(model, protein, heads=[name])
    if maps is not None and name not in maps.heads:
        raise OptionError(f"the maps do not have head {name}; compute them with it")
    table: Any = profile.heads
    facts = table[table["name"] == name].iloc[0]
    offsets, columns = offset_columns(table)
    numbers = ("entropy", "distance", "bos", "eos", "positional")
    return HeadCard(
        name,
        str(facts["label"]),
        str(facts["evidence"]),
        {key: float(facts[key]) for key in numbers},
        top[top["difference"].notna()].head(SHOWN_EFFECTS).reset_index(drop=True),
        np.array(offsets),
        facts[columns].to_numpy(np.float64),
        source(profile),
        maps,
        profile.rules.max_q,
    )
