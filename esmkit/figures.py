"""The figures of an attention file: for each protein the grid of heads, and the strongest large."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esmkit import plots
from esmkit.encoder.names import parse_head
from esmkit.errors import OptionError, OutputError
from esmkit.maps import AttentionMaps
from esmkit.maps_file import AttentionFile
from esmkit.store import disk_errors

__all__ = [
    "FileNames",
    "attention_figures",
    "check_folder",
    "file_name",
    "focus",
    "strongest_heads",
]

DRAWN_LARGE = 6
"""Heads of a protein that are drawn large when none are named."""

_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{n}{i}" for n in ("COM", "LPT") for i in range(10))}


def file_name(name: str) -> str:
    """Return a name that any file system takes and that stays in its folder, for a protein's ID.

    Letters other than ASCII letters, digits, ``.``, ``_`` and ``-`` become ``_``; a name that had
    to be changed ends in a few digits of its hash, so that no two become one.

    >>> file_name("sp|P69905|HBA_HUMAN")
    'sp_P69905_HBA_HUMAN-dd05f5c8'
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80].lstrip(".-") or "protein"
    if safe.split(".")[0].upper() in _RESERVED:
        safe = f"_{safe}"
    if safe != name:
        safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return safe


class FileNames:
    """Gives the proteins of a folder names that differ in more than the case of their letters.

    Chains of one PDB entry may be ``A`` and ``a``, and macOS and Windows keep one file for both.
    """

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Return :func:`file_name`, with its hash if another ID has that name but for case."""
        safe = file_name(name)
        if self._owner.setdefault(safe.casefold(), name) != name:
            safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
        return safe


def check_folder(folder: Path, *, force: bool, option: str = "--plot") -> None:
    """Make sure, before anything is computed, that files can go into a folder, named by an option.

    Raises
    ------
    OutputError
        If it is a file, holds something and ``force`` is not set, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{str(folder)!r} is a file; name a folder with {option}")
    there = folder.absolute()
    while not there.exists():
        there = there.parent  # mkdir will make the rest
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(
            f"the folder {str(folder)!r} cannot be written (see {str(there)!r}); choose another "
            f"with {option}"
        )
    with disk_errors(folder):
        if folder.is_dir():
            taken = any(not plots.is_unfinished(path) for path in folder.iterdir())
            if taken and not force:
                raise OutputError(
                    f"the folder {str(folder)!r} is not empty; --force writes into it all "
                    f"the same, or {option} names another"
                )


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
        check_folder(folder, force=force)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            plots.remove_unfinished(folder)
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
