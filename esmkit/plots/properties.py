"""Heads beside properties, similar ones next to each other."""

from collections.abc import Iterable
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esmkit.errors import OptionError
from esmkit.plots.figure import (
    MARGIN,
    PAGE_WIDTH,
    SUBTITLE_POINTS,
    TITLE_HEIGHT,
    HouseFigure,
    finish,
    fit,
    house_style,
    new,
    panel,
)
from esmkit.plots.heads import diverging
from esmkit.plots.profiles import (
    CLIP,
    kinds_of,
    literal,
    one_line,
    source,
    specialisation,
    visible_effects,
)
from esmkit.plots.protocols import Profile

__all__ = ["property_map"]

MAP_ROW, MAP_COLUMN = 0.098, 0.33
"""Inches that a head takes in the map, and those that a property takes at most."""

KIND_COLOUR = {"pair": "black", "residue": "#0072B2"}
KIND_TEXT = {"pair": "a kind of pair", "residue": "a kind of residue looked at"}


def property_map(profile: Profile, *, most: int = 80, path: str | Path | None = None) -> Figure:
    """Draw heads beside properties, similar heads and similar properties next to each other.

    Colour is the log2 of the odds of a labelled pair over those expected from the head's offsets:
    +1 is twice the odds. White is no significant effect (q of either tail over the ``max_q`` of
    the profile's rules, or for less a 95 % interval that reaches 0), grey insufficient support.
    Rows and columns are ordered by hierarchical clustering of what is seen (average linkage,
    Euclidean). Properties that none of these heads has a significant effect for are left out, and
    named below. Fixed offsets are left out: :func:`esmkit.plots.offset_profiles` shows them.

    Parameters
    ----------
    profile : HeadProfile
    most : int
        Heads that are drawn: those with the largest significant difference.
    path : path, optional
        Where to save: PNG, SVG or PDF by its extension, 300 dpi.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    OptionError
        If the profile has nothing but offsets, ``most`` is below 1, or the extension is another.

    Examples
    --------
    >>> model, ubiquitin = esmkit.load(), esmkit.data.demo_structure()            # doctest: +SKIP
    >>> asked = {"resamples": 100, "control": False}                               # doctest: +SKIP
    >>> profile = esmkit.heads.profile(model, [ubiquitin], **asked)               # doctest: +SKIP
    >>> esmkit.plots.property_map(profile, most=20).get_suptitle()                # doctest: +SKIP
    'Heads and the properties they look for, beyond what offsets explain'
    """
    from scipy.cluster import hierarchy

    if most < 1:
        raise OptionError(f"most is at least 1, not {most}")
    kinds = kinds_of(profile)
    if set(kinds.values()) <= {"offset"}:
        raise OptionError("the profile holds fixed offsets only; offset_profiles draws those")
    values: Any = visible_effects(profile)
    largest = specialisation(profile).reindex(values.index)
    kept = largest.dropna().nlargest(most).index
    values = values.loc[[name for name in values.index if name in set(kept)]]
    values, left_out = _with_hits(values)
    tree = _tree(values.to_numpy())
    if tree is not None:
        values = values.iloc[hierarchy.leaves_list(tree)]
    beside = _tree(values.to_numpy().T)
    if beside is not None:
        values = values.iloc[:, hierarchy.leaves_list(beside)]
    labels = dict(zip(profile.heads["name"], profile.heads["label"], strict=True))
    rows, columns = max(1, len(values)), values.shape[1]
    left, top, right = 1.05, TITLE_HEIGHT + 1.05, 1.2
    total = len(profile.heads)
    width = min(MAP_COLUMN, 4.9 / columns)
    across = max(PAGE_WIDTH, left + width * columns + right)
    notes = _wrapped(left_out, across - 2 * MARGIN)
    below = 0.14 * len(notes) + 0.08 * bool(notes)
    with house_style():
        figure = new(
            across,
            top + rows * MAP_ROW + 0.7 + below,
            "Heads and the properties they look for, beyond what offsets explain",
            f"{_count_of(len(values), total, most)} · {source(profile)}",
        )
        axes = panel(figure, left, top, width * columns, rows * MAP_ROW)
        _draw_map(axes, values, labels, kinds)
        if tree is not None:
            _draw_tree(panel(figure, MARGIN, top, left - 0.5, rows * MAP_ROW), tree)
        height = top + rows * MAP_ROW
        bar = panel(figure, left, height + 0.12, 2.0, 0.08)
        shown = figure.colorbar(axes.images[0], cax=bar, orientation="horizontal", extend="both")
        shown.set_ticks([-2, -1, 0, 1, 2], labels=["¼", "½", "1", "2", "4"])
        shown.set_label("times the odds expected from offsets", loc="left")
        _say_kinds(figure, values.columns, kinds, height + 0.28)
        for number, line in enumerate(notes):
            place = (MARGIN / across, 1 - (height + 0.7 + 0.14 * number) / figure.get_figheight())
            figure.text(*place, line, fontsize=SUBTITLE_POINTS, color="0.35", parse_math=False)
        return finish(figure, path)


def _with_hits(values: Any) -> tuple[Any, list[str]]:
    """Return the columns with an effect that is seen, and sentences that name the others."""
    if not len(values):
        return values, []
    unknown = values.isna().all()
    hit = (values.fillna(0.0) != 0).any()
    said = [
        f"{text}: {', '.join(map(one_line, values.columns[left]))}."
        for text, left in (
            ("Left out, for none of these heads has a significant effect", ~hit & ~unknown),
            ("Left out, for too few chains have it", unknown),
        )
        if left.any()
    ]
    return values.loc[:, hit], said


def _wrapped(sentences: Iterable[str], width: float) -> list[str]:
    """Return sentences as lines of that many inches."""
    lines: list[str] = []
    for sentence in sentences:
        line = ""
        for word in sentence.split(" "):
            longer = f"{line} {word}".strip()
            if line and fit(longer, width, SUBTITLE_POINTS) != longer:
                lines.append(line)
                longer = word
            line = longer
        lines.append(fit(line, width, SUBTITLE_POINTS))
    return lines


def _count_of(shown: int, total: int, most: int) -> str:
    if 0 < shown < most and shown < total:
        verb = "has" if shown == 1 else "have"
        return f"the {shown} of {total} heads that {verb} a significant effect"
    if shown == total:
        return f"all {total} heads"
    if not shown:
        return f"none of {total} heads has a significant effect"
    return f"{shown} of {total} heads: those with the largest significant differences"


def _draw_map(axes: Axes, values: Any, labels: dict[str, str], kinds: dict[str, str]) -> None:
    axes.imshow(
        values.to_numpy() if len(values) else np.full((1, values.shape[1]), nan),
        cmap=diverging(),
        norm=Normalize(-CLIP, CLIP),
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_yticks(range(len(values)), labels=list(values.index), fontsize=5.2)
    axes.set_xticks(range(values.shape[1]), labels=[*map(one_line, values.columns)], rotation=90)
    axes.tick_params(length=0, pad=2, labelbottom=False, labeltop=True)
    for text, name in zip(axes.get_xticklabels(), values.columns, strict=True):
        text.set(color=KIND_COLOUR[kinds[name]], fontsize=6)
    for row, name in enumerate(values.index):
        axes.text(values.shape[1] - 0.2, row, one_line(labels[name]), va="center", fontsize=5.2)
    literal([*axes.get_xticklabels(), *axes.texts])
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.grid(which="minor", axis="x", color="0.85", lw=0.3)
    axes.tick_params(which="minor", length=0)


def _tree(rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the linkage of rows, unknown values taken as no effect; None for fewer than two."""
    from scipy.cluster import hierarchy

    if len(rows) < 2:
        return None
    clipped = np.clip(np.nan_to_num(rows, nan=0.0), -CLIP, CLIP)
    return hierarchy.linkage(clipped, method="average", optimal_ordering=True)


def _draw_tree(axes: Axes, tree: NDArray[np.float64]) -> None:
    from scipy.cluster import hierarchy

    found = hierarchy.dendrogram(tree, no_plot=True)
    for down, across in zip(found["icoord"], found["dcoord"], strict=True):
        axes.plot(across, (np.array(down) - 5) / 10, color="0.5", lw=0.5)
    axes.set(ylim=(len(tree) + 0.5, -0.5))
    axes.invert_xaxis()
    axes.set_axis_off()


def _say_kinds(
    figure: HouseFigure, names: Iterable[str], kinds: dict[str, str], top: float
) -> None:
    there = {kinds[name] for name in names}
    if len(there) < 2:
        return  # nothing to tell apart
    across, down = figure.get_size_inches()
    for number, kind in enumerate(kind for kind in KIND_TEXT if kind in there):
        place = ((3.5 + 1.45 * number) / across, 1 - top / down)
        figure.text(*place, f"name of {KIND_TEXT[kind]}", color=KIND_COLOUR[kind], fontsize=6)
