"""The logit lens: what each layer would say of each residue."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from esmkit.plots import matrix
from esmkit.plots.figure import PAGE_WIDTH, TITLE_HEIGHT, finish, house_style, new, panel
from esmkit.plots.protocols import Lens
from esmkit.sequences.letters import AMINO_ACIDS

__all__ = ["logit_lens"]

LEFT, SIDE, GAP, BAR_ROOM = 0.62, 1.05, 0.14, 0.6
"""Inches left of the map, of the panel of means, between the two, and for the bar of colours."""

ROW = 0.24
"""Inches of a layer."""

SMALLEST_LETTER = 4.0
"""Points of a letter in the map; with less room there are none."""


def logit_lens(lens: Lens, *, path: str | Path | None = None) -> Figure:
    """Draw how probable the residue that is there is after each layer, and which one is expected.

    Layers go up. Colour is the probability of the residue that is there, letters are the most likely
    ones, where there is room. On the right the perplexity of each layer, exp of the mean of -log p;
    the dashed line is 20, blind guessing. Earlier layers are read through the last norm and a head
    that was fitted for the last layer only.

    Parameters
    ----------
    lens : LogitLens
        R residues.
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
    >>> lens = esmkit.load().logit_lens("MKTVRQERLKSIVRIL")                       # doctest: +SKIP
    >>> esmkit.plots.logit_lens(lens).get_suptitle()                              # doctest: +SKIP
    'sequence_1: what each layer would expect'
    """
    names, residues = list(lens.layers), len(lens.sequence)
    height, width = ROW * len(names), PAGE_WIDTH - LEFT - SIDE - 2 * GAP - BAR_ROOM
    values = np.exp(lens.log_probability.astype(float))
    norm = Normalize(0, float(np.nanmax(values, initial=0.0)) or 1.0)
    count = len(lens.hidden)
    hidden = (
        "each residue hidden in turn"
        if count == residues and residues > 1
        else f"{count} hidden"
        if count
        else "nothing hidden"
    )
    by = f" · {lens.head}" if lens.head else ""
    with house_style():
        figure = new(
            PAGE_WIDTH,
            TITLE_HEIGHT + height + 0.5,
            f"{lens.id}: what each layer would expect",
            f"a lens: norm and head were fitted for the last layer · {hidden} · {lens.checkpoint}{by}",
        )
        axes = panel(figure, LEFT, TITLE_HEIGHT, width, height)
        image = axes.imshow(
            values[::-1],
            cmap=matrix.colours(),
            norm=norm,
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, residues + 0.5, len(names) - 0.5, -0.5),
        )
        axes.set_yticks(range(len(names)), labels=names[::-1])
        axes.tick_params(axis="y", length=0)
        matrix.residue_axis(axes, "x", lens.sequence)
        axes.set_xlabel("residue", labelpad=1)
        points = min(6.0, 72 * width / residues)
        if points >= SMALLEST_LETTER:
            _letters(axes, lens, image, points)
        bar_left = LEFT + width + GAP
        bar = figure.colorbar(image, cax=panel(figure, bar_left, TITLE_HEIGHT, 0.08, height))
        bar.set_label("p of the residue there")
        bar.ax.locator_params(nbins=4)
        side = panel(figure, bar_left + BAR_ROOM, TITLE_HEIGHT, SIDE, height)
        _means(side, lens, len(names))
        return finish(figure, path)


def _letters(axes: Any, lens: Lens, image: Any, points: float) -> None:
    """Write the most likely letters, bold where they are those that are there."""
    best = lens.log_probabilities.argmax(axis=2)[::-1]
    shown = np.nan_to_num(np.exp(lens.log_probability.astype(float)))[::-1]
    for (row, column), place in np.ndenumerate(best):
        letter, value = AMINO_ACIDS[place], float(shown[row, column])
        dark = matrix.lightness(np.array([image.cmap(image.norm(value))[:3]]))[0] < 55
        axes.text(
            *(column + 1, row, letter),
            ha="center",
            va="center",
            fontsize=points,
            weight="bold" if letter == lens.sequence[column] else "normal",
            color="white" if dark else "0.25",
        )


def _means(axes: Any, lens: Lens, count: int) -> None:
    """Draw the perplexity of each layer."""
    known = ~np.isnan(lens.log_probability[0])
    axes.set(ylim=(count - 0.5, -0.5), xlabel="perplexity")
    axes.set_yticks([])
    axes.spines[["top", "right"]].set_visible(False)
    if not known.any():
        return
    values = np.exp(-lens.log_probability[:, known].astype(float).mean(axis=1))[::-1]
    axes.plot(values, range(count), marker="o", ms=3, lw=0.8, color="black")
    axes.axvline(20, color="0.6", lw=0.6, ls="--", zorder=0)
    if values.max() > 100:
        axes.set_xscale("log")
