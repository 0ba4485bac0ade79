"""The figures of an attention file: for each protein the grid of heads, and some of them large."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from esmkit import plots
from esmkit.attention.choosing import heads_that_reach_far
from esmkit.attention.hdf5 import AttentionFile
from esmkit.attention.maps import AttentionMaps
from esmkit.encoder.names import parse_head
from esmkit.errors import OptionError
from esmkit.files.disk import disk_errors, through_links
from esmkit.files.names import FileNames, check_folder, remove_unfinished

__all__ = ["attention_figures"]


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

    For each protein: the grid of its heads (``ID.heads.png``) if there are several; layer means and
    rollout (``ID.flow.png``) if every head is there and it was read in one piece; and for each head
    that is drawn large its map (``ID.L5H4.png``) and its strongest links (``ID.L5H4.arcs.png``).

    Parameters
    ----------
    path : str or Path
        Written by ``esmkit attention``.
    folder : str or Path
        Made if need be.
    heads : sequence of str, optional
        Heads to draw large; by default the six in which residues far apart look at each other
        most; see :mod:`esmkit.attention.choosing`.
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
    folder = through_links(Path(folder))
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
    if len(maps) > 1:
        yield "heads", partial(plots.attention_grid, maps)
    if maps.windows == 1 and len(maps) == maps.choice.of_layers * maps.choice.of_heads:
        yield "flow", partial(plots.attention_flow, maps)
    for head in [h.strip().upper() for h in heads] if heads else heads_that_reach_far(maps):
        yield head, partial(plots.attention_head, maps, head)
        yield f"{head}.arcs", partial(plots.attention_arcs, maps, head)
