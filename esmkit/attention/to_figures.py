"""The figures of an attention file: for each protein the grid of heads, and the strongest large."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esmkit import plots
from esmkit.attention.hdf5 import AttentionFile
from esmkit.attention.maps import AttentionMaps
from esmkit.encoder.names import parse_head
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors
from esmkit.files.names import FileNames, check_folder, remove_unfinished

__all__ = ["attention_figures", "focus", "strongest_heads"]

DRAWN_LARGE = 6
"""Heads of a protein that are drawn large when none are named."""


def focus(maps: AttentionMaps) -> NDArray[np.float64]:
    """Return how focused each head is: residue mass times (1 - normalised entropy), 0 to 1.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        1 for a head whose every row is one weight of 1; 0 for even rows, and for heads that give
        all their weight to BOS and EOS.
    """
    found = np.zeros(len(maps))
    residues = len(maps.sequence)
    for place in range(len(maps) if residues > 1 else 0):
        rows = np.nan_to_num(maps.get(place)).astype(np.float64)
        mass = rows.sum(1)
        shares = rows / np.where(mass > 0, mass, 1)[:, None]
        logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
        entropy = -(shares * logs).sum(1).mean() / np.log(residues)
        found[place] = mass.mean() * (1 - entropy)
    return found


def strongest_heads(maps: AttentionMaps, count: int = DRAWN_LARGE) -> list[str]:
    """Return the most focused head of each layer, of the ``count`` layers with the most focused.

    One of each layer, because the most focused heads of all look alike: they watch a neighbour.
    """
    score = focus(maps)
    best: dict[int, int] = {}
    for place, (layer, _) in enumerate(maps.choice.heads):
        if layer not in best or score[place] > score[best[layer]]:
            best[layer] = place
    places = sorted(best.values(), key=lambda place: -score[place])[:count]
    return [maps.heads[place] for place in sorted(places)]


def attention_figures(
    path: str | Path,
    folder: str | Path,
    *,
    heads: Sequence[str] | None = None,
    kind: str = "png",
    force: bool = False,
    going_on: bool = False,
) -> Iterator[Path]:
    """Draw the proteins of an attention file.

    For each protein: the grid of all heads (``ID.heads.png``); layer means and rollout
    (``ID.flow.png``) if every head is there and it was read in one piece; and for each of the
    strongest heads its map (``ID.L5H4.png``) and its links (``ID.L5H4.arcs.png``).

    Parameters
    ----------
    path : str or Path
        Written by ``esmkit attention``.
    folder : str or Path
        Made if need be.
    heads : sequence of str, optional
        Heads to draw large; by default those of :func:`strongest_heads`.
    kind : {'png', 'svg', 'pdf'}
    force : bool
        Draw into a folder that is not empty, overwriting figures.
    going_on : bool
        Leave figures that are there as they are: each appears whole or not at all.

    Yields
    ------
    Path
        Each figure when it has been written.

    Raises
    ------
    OutputError
        If the file is not an attention file, or the folder cannot be used.
    OptionError
        If a head is not in the file.
    """
    folder = Path(folder)
    with AttentionFile(path) as found:
        for name in heads or ():
            parse_head(name)
            if name.strip().upper() not in found.heads:
                raise OptionError(
                    f"head {name} is not in {str(path)!r}, which holds {len(found.heads)} head(s), "
                    f"{found.heads[0]} to {found.heads[-1]}"
                )
        check_folder(folder, "folder", force=force, forced="force=True")
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
        name_of = FileNames()
        for name, maps in found.items():
            start = name_of(name)
            for ending, draw in _figures_of(maps, heads):
                target = folder / f"{start}.{ending}.{kind}"
                if not (going_on and target.exists()):
                    draw(path=target)
                yield target


def _figures_of(
    maps: AttentionMaps, heads: Sequence[str] | None
) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield for each figure of a protein the end of its name, and what draws it."""
    yield "heads", partial(plots.attention_grid, maps)
    if maps.windows == 1 and len(maps) == maps.choice.of_layers * maps.choice.of_heads:
        yield "flow", partial(plots.attention_flow, maps)
    for head in [h.strip().upper() for h in heads] if heads else strongest_heads(maps):
        yield head, partial(plots.attention_head, maps, head)
        yield f"{head}.arcs", partial(plots.attention_arcs, maps, head)
