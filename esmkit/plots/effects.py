"""Effects on one number: of heads and layers, or of the residual stream at each residue."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from esmkit.plots import matrix
from esmkit.plots.figure import (
    PAGE_WIDTH,
    TITLE_HEIGHT,
    HouseFigure,
    finish,
    house_style,
    new,
    panel,
)
from esmkit.plots.heads import CELL_HEIGHT, LARGEST_CELL, NUMBER_CELL, SMALLEST_CELL, diverging
from esmkit.plots.protocols import Effects, PositionEffects

__all__ = ["head_effects", "position_effects"]

SIDE_CELL, GAP, BAR_ROOM = 0.62, 0.12, 0.75
"""Inches of a cell of a whole layer, between panels, and for the bar of colours."""

LEFT, TOP = 0.5, 0.08
"""Inches left of the panels, and above a map with marks."""


def head_effects(effects: Effects, *, path: str | Path | None = None) -> Figure:
    """Draw what each head adds to a number, or restores of it: layers by heads.

    Red is more, blue less. Beside the heads stand the feed-forward layers and what else has one value
    for a layer; they have the same colours, and often lie outside of the scale, which is that of the
    heads, so their numbers are written.

    Parameters
    ----------
    effects : Effects or Patching
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the extension is another.

    Examples
    --------
    >>> model = esmkit.load()                                                     # doctest: +SKIP
    >>> found = model.attribute_logit("MKTVRQERLKSIVRIL", "K10", against="E")     # doctest: +SKIP
    >>> esmkit.plots.head_effects(found).get_suptitle()                           # doctest: +SKIP
    'sequence_1: logit of K against E at K10, hidden'
    """
    table: Any = effects.shown
    of_heads = table[table["head"].notna()]
    layers, heads = sorted(table["layer"].unique()), sorted(of_heads["head"].unique())
    steps = list(dict.fromkeys(table.loc[table["head"].isna(), "step"]))
    room = PAGE_WIDTH - LEFT - BAR_ROOM - len(steps) * SIDE_CELL - GAP * bool(steps)
    side = min(LARGEST_CELL, max(SMALLEST_CELL, room / max(1, len(heads))))
    across, height = side * len(heads), CELL_HEIGHT * len(layers)
    width = LEFT + across + len(steps) * SIDE_CELL + GAP * bool(steps and heads) + BAR_ROOM
    scale = of_heads["value"] if len(heads) else table["value"]
    limit = float(np.nan_to_num(scale.abs().max())) or 1.0
    norm = Normalize(-limit, limit)
    with house_style():
        figure = new(
            max(PAGE_WIDTH, width), TITLE_HEIGHT + height + 0.42, effects.title, effects.subtitle
        )
        image: Any = None
        if len(heads):
            axes = panel(figure, LEFT, TITLE_HEIGHT, across, height)
            grid = of_heads.pivot_table(index="layer", columns="head", values="value", dropna=False)
            image = _grid(axes, grid.reindex(layers), norm, numbers=side >= NUMBER_CELL)
            axes.set_xticks(range(len(heads)), labels=[str(head) for head in heads])
            axes.set(xlabel="head", ylabel="layer")
        for number, step in enumerate(steps):
            left = LEFT + across + GAP * bool(heads) + number * SIDE_CELL
            axes = panel(figure, left, TITLE_HEIGHT, SIDE_CELL - 0.04, height)
            rows = table[table["step"] == step]
            image = _grid(axes, rows.set_index("layer")[["value"]].reindex(layers), norm, True)
            axes.set_xticks([0], labels=["\n".join(step.rsplit(" ", 1))])
            if number or heads:
                axes.set_yticks([])
            else:
                axes.set_ylabel("layer")
        _bar(figure, image, width - BAR_ROOM + 0.08, TITLE_HEIGHT, height, effects.unit)
        return finish(figure, path)


def _grid(axes: Axes, grid: Any, norm: Normalize, numbers: bool) -> Any:
    """Draw values, layers down, with their numbers where there is room."""
    values = grid.to_numpy(float)
    image = axes.imshow(values, cmap=diverging(), norm=norm, aspect="auto")
    axes.set_yticks(range(len(grid)), labels=[str(layer) for layer in grid.index])
    axes.tick_params(length=0)
    for (down, along), value in np.ndenumerate(values):
        text = "" if np.isnan(value) else _short(value, norm.vmax or 1.0)
        if not numbers or (text in ("", "0") and values.shape[1] > 1):
            continue
        colour = np.array([image.cmap(norm(value))[:3]])
        dark = matrix.lightness(colour)[0] < 55
        axes.text(
            *(along, down, text),
            ha="center",
            va="center",
            fontsize=5,
            color="white" if dark else "black",
        )
    return image


def _short(value: float, largest: float) -> str:
    """Return a number of about three signs, without its leading zero.

    >>> _short(0.1234, 1.0), _short(-3.21, 4.0), _short(-0.001, 1.0), _short(31.4, 40.0)
    ('.12', '-3.2', '0', '31')
    """
    digits = 0 if largest >= 10 else 1 if largest >= 2 else 2 if largest >= 0.1 else 3
    text = f"{value:.{digits}f}"
    if not float(text):
        return "0"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def _bar(
    figure: HouseFigure, image: Any, left: float, top: float, height: float, unit: str
) -> None:
    values = np.abs(np.ma.filled(image.get_array(), 0.0))
    extend = "both" if values.max(initial=0) > 1.001 * image.norm.vmax else "neither"
    bar = figure.colorbar(image, cax=panel(figure, left, top, 0.08, height), extend=extend)
    bar.ax.locator_params(nbins=5)
    bar.formatter = FuncFormatter(lambda value, _: f"{value:+g}" if value else "0")
    bar.update_ticks()
    bar.set_label(unit)


def _stretches(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return first and last of each stretch of numbers that follow each other.

    >>> _stretches((3, 4, 5, 9))
    [(3, 5), (9, 9)]
    """
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def position_effects(effects: PositionEffects, *, path: str | Path | None = None) -> Figure:
    """Draw where the residual stream carries what makes a difference: layers by residues.

    Red restores the number, blue moves it further away. The lowest row is the embedding, the highest
    the last layer; BOS and EOS stand at the ends. Residues that differ have a
    mark, and are left out where the colours' range is set, up to four times of it.

    Parameters
    ----------
    effects : Patching
        By residues.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the extension is another.

    Examples
    --------
    >>> model = esmkit.load()                                                     # doctest: +SKIP
    >>> found = model.patch("MKTVRQERLKSIVRIL", "K10E", what="positions")         # doctest: +SKIP
    >>> esmkit.plots.position_effects(found).get_suptitle()                       # doctest: +SKIP
    'sequence_1_K10E, patched from sequence_1'
    """
    names, values = effects.position_grid  # (n, R + 2)
    residues = len(effects.sequence)
    size = np.nan_to_num(np.abs(values))
    others = np.delete(size, list(effects.differing), axis=1)
    # Where the runs differ nearly all is restored, beside which the way from there would be white
    limit = max(float(others.max(initial=0)), float(size.max(initial=0)) / 4) or 1.0
    norm = Normalize(-limit, limit)
    height = max(0.9, 0.24 * len(names))
    left, width = 1.25, PAGE_WIDTH - 1.25 - BAR_ROOM
    with house_style():
        figure = new(PAGE_WIDTH, TITLE_HEIGHT + TOP + height + 0.5, effects.title, effects.subtitle)
        axes = panel(figure, left, TITLE_HEIGHT + TOP, width, height)
        image = axes.imshow(
            values[::-1],
            cmap=diverging(),
            norm=norm,
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, residues + 1.5, len(names) - 0.5, -0.5),
        )
        axes.set_yticks(range(len(names)), labels=names[::-1])
        axes.tick_params(axis="y", length=0)
        matrix.residue_axis(axes, "x", effects.sequence)
        axes.set_xlabel("residue (BOS and EOS at the ends)", labelpad=1)
        for start, stop in _stretches(effects.differing):
            look: dict[str, Any] = {"color": "black", "clip_on": False, "zorder": 5}
            axes.hlines(-0.72, start - 0.5, stop + 0.5, lw=1.2, **look)
            axes.plot([(start + stop) / 2], [-0.72], marker="v", ms=3.5, **look)
        axes.set(xlim=(-0.5, residues + 1.5), ylim=(len(names) - 0.5, -0.5))
        _bar(figure, image, left + width + 0.08, TITLE_HEIGHT + TOP, height, effects.unit)
        return finish(figure, path)
