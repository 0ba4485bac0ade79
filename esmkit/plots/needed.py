"""Needed for what the model was trained to do: the masked-LM loss without each head."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from esmkit.errors import OptionError
from esmkit.plots.ablation import LOOKS, MODE_TEXT, by_family, lead_mode
from esmkit.plots.figure import PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel
from esmkit.plots.labels import name_points
from esmkit.plots.profiles import FAMILIES, family, kinds_of, one_line, source, specialisation
from esmkit.plots.protocols import Profile

if TYPE_CHECKING:
    import pandas

__all__ = ["masked_loss"]

CHANGE = "masked_lm_loss_change"

LOSS = "rise of the masked-LM loss\n(1/1000 nat per residue)"

NAMED = 4
"""Heads that are named for each axis of a panel."""

RANKED = 10
"""Heads in the panel of those that the loss misses most."""

LONGEST = 26
"""Letters of a label in that panel."""

HEIGHTS = (2.3, 2.4)
"""Inches of the panels of the first row and of the second."""

LEFT, GAP, BELOW = 0.75, 0.75, 0.6
"""Inches: left of a panel, between two, and below a row."""

NAMES = 1.55
"""Inches for the names of heads and their labels."""


def masked_loss(
    profile: Profile, ablation: "pandas.DataFrame", *, path: str | Path | None = None
) -> Figure:
    """Draw what heads are worth for guessing hidden residues, beside what else is known of them.

    Above, a point for each head, set to its mean if that was measured: up, the rise of the masked-LM
    loss without it (a thousandth of a nat per residue; above 0 where the head helps); across, its
    largest significant difference, and the change of long-range contact precision. Below, the heads
    that the loss misses most, with 95 % intervals, filled where q is small enough; and whole layers of
    attention beside the sum of their heads.

    Parameters
    ----------
    profile : HeadProfile
    ablation : pandas.DataFrame
        With the columns of :func:`esmkit.heads.masked_loss.loss_without`; with ``precision_change``,
        there is a panel of contacts. Heads that are not in the profile are left out.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the table has no masked-LM loss, or the extension is another.

    Examples
    --------
    >>> import pandas
    >>> names = {"name": ["L0H0", "L0H1"], "layer": 0, "head": [0, 1], "property": "disulfide"}
    >>> numbers = {"share": [0.02, 0.001], "background": 0.001, "difference": [0.019, 0.0]}
    >>> effects = pandas.DataFrame(names | numbers | {"q": [1e-4, 0.9], "proteins": 20})
    >>> effects = effects.assign(kind="pair", family="pairs")
    >>> heads = effects[["name"]].assign(label=["disulfide", "none"])
    >>> where_from = {"checkpoint": {"name": "made up"}, "chains": ["chain"] * 20}
    >>> profile = esmkit.heads.HeadProfile(effects, heads, where_from)
    >>> table = pandas.DataFrame({"name": ["L0H0", "L0H1"], "mode": "mean"})
    >>> table = table.assign(
    ...     masked_lm_loss_change=[0.02, 0.001], masked_lm_loss_low=0.0, masked_lm_loss_high=0.03,
    ...     masked_lm_loss_q=[1e-4, 0.8], masked_lm_residues=100,
    ... )
    >>> esmkit.plots.masked_loss(profile, table).get_suptitle()
    'What the model was trained to do, without each head'
    """
    table: Any = ablation[ablation["name"].isin(list(profile.heads["name"]))]
    if CHANGE not in table or table[CHANGE].isna().all():
        raise OptionError(
            "the table of ablations has no masked-LM loss; that needs a model with a masked-LM head"
        )
    mode = lead_mode(table["mode"])
    rows = table[(table["mode"] == mode) & table[CHANGE].notna()]
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    kinds = kinds_of(profile)
    rows = rows.assign(
        looks=100 * rows["name"].map(specialisation(profile)).fillna(0),
        rise=1_000 * rows[CHANGE],
        label=rows["name"].map(labels),
        family=rows["name"].map(lambda name: family(labels[name], kinds)),
    )
    if "precision_change" in rows:
        rows["contacts"] = 100 * rows["precision_change"]
    on = f"{int(rows['masked_lm_residues'].max()):,} hidden residues"
    if "chains" in rows:  # fewer than were profiled
        on += f" of {int(rows['chains'].max()):,} chains"
    with house_style():
        figure = new(
            PAGE_WIDTH,
            TITLE_HEIGHT + 0.2 + sum(HEIGHTS) + 2 * BELOW + 0.25,
            "What the model was trained to do, without each head",
            f"{on}, {MODE_TEXT.get(mode, mode)} · {source(profile)}",
        )
        _fill(figure, rows, profile.rules.max_q)
        there = [name for name in FAMILIES if (rows["family"] == name).any()]
        handles = [
            Line2D([], [], ls="", color=LOOKS[f][0], marker=LOOKS[f][1], ms=4, label=FAMILIES[f])
            for f in there
        ]
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.55 / PAGE_WIDTH, 0),
            ncols=len(handles),
        )
        return finish(figure, path)


def _fill(figure: Figure, rows: Any, max_q: float) -> None:
    """Draw the panels."""
    across = [("looks", "largest significant difference (percentage points of weight)")]
    if "contacts" in rows and rows["contacts"].notna().any():
        across.append(("contacts", "change of long-range P@L (percentage points)"))
    top, wide = TITLE_HEIGHT + 0.2, (PAGE_WIDTH - 0.15) / len(across) - GAP
    for column, (name, text) in enumerate(across):
        left = LEFT + column * (wide + GAP)
        _scatter(panel(figure, left, top, wide, HEIGHTS[0]), rows[rows[name].notna()], name, text)
    top += HEIGHTS[0] + BELOW
    wide = (PAGE_WIDTH - 0.15 - NAMES - GAP) / 2
    _ranking(panel(figure, NAMES, top, wide + 0.25, HEIGHTS[1]), rows, max_q)
    if {"layer", "layer_loss_change"} <= set(rows) and rows["layer_loss_change"].notna().any():
        _layers(panel(figure, NAMES + wide + GAP + 0.25, top, wide - 0.25, HEIGHTS[1]), rows)


def _scatter(axes: Axes, points: Any, name: str, text: str) -> None:
    across, up = points[name].to_numpy(float), points["rise"].to_numpy(float)
    by_family(axes, across, up, points["family"])
    axes.axhline(0, color="0.6", lw=0.5, zorder=0)
    if name == "contacts":
        axes.axvline(0, color="0.6", lw=0.5, zorder=0)
    axes.set_xlabel(text)
    axes.set_ylabel(LOSS)
    rank = points[[name, "rise"]].assign(**{name: points[name].abs()}).corr(method="spearman")
    size = "of its size " if name == "contacts" else ""
    if not np.isnan(rank.iloc[0, 1]):
        title = f"rank correlation {size}with the loss {rank.iloc[0, 1]:+.2f}"
        axes.set_title(title, fontsize=7, pad=3, loc="left")
    axes.margins(0.09)
    chosen = dict.fromkeys(n for v in (up, across) for n in np.argsort(-np.abs(v))[:NAMED])
    name_points(axes, across, up, chosen, list(points["name"]))


def _ranking(axes: Axes, rows: Any, max_q: float) -> None:
    """Draw the heads that the loss misses most, with what their labels say."""
    first = rows.nlargest(RANKED, "rise")
    places = np.arange(len(first), dtype=float)
    colours = [LOOKS[name][0] for name in first["family"]]
    ends = (1_000 * first[f"masked_lm_loss_{end}"] for end in ("low", "high"))
    axes.hlines(places, *ends, colors=colours, lw=1)
    sure = (first["masked_lm_loss_q"] <= max_q).to_numpy()
    faces = [colour if kept else "white" for colour, kept in zip(colours, sure, strict=True)]
    axes.scatter(first["rise"], places, s=14, c=faces, edgecolors=colours, lw=0.8, zorder=3)
    axes.axvline(0, color="0.6", lw=0.5, zorder=0)
    named = [
        f"{name}  {_short(label)}"
        for name, label in zip(first["name"], first["label"], strict=True)
    ]
    axes.set_yticks(places, named, fontsize=6)
    axes.set_ylim(len(first) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(LOSS.replace("\n", " "))
    note = f"heads missed most: 95% intervals (filled: q ≤ {max_q:g})"
    axes.set_title(note, fontsize=7, pad=3, loc="left")


def _layers(axes: Axes, rows: Any) -> None:
    """Draw what all heads of a layer are worth together, and the sum of what each is worth alone."""
    by_layer = rows.groupby("layer")
    first, places = by_layer.first(), np.arange(rows["layer"].nunique(), dtype=float)
    whole = 1_000 * first["layer_loss_change"].to_numpy(float)
    ends = (1_000 * first[f"layer_loss_{end}"].to_numpy(float) for end in ("low", "high"))
    axes.vlines(places, *ends, color="black", lw=1)
    axes.scatter(places, whole, s=14, color="black", zorder=3, label="all its heads together")
    axes.scatter(
        places,
        by_layer["rise"].sum(),
        s=22,
        color="#E69F00",
        marker="_",
        lw=1.5,
        label="sum of its heads alone",
    )
    axes.axhline(0, color="0.6", lw=0.5, zorder=0)
    axes.set_xticks(places, [f"L{number}" for number in first.index])
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel(LOSS)
    axes.margins(y=0.12)
    axes.legend(loc="best", fontsize=5.5)
    axes.set_title("whole layers of attention", fontsize=7, pad=3, loc="left")


def _short(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
