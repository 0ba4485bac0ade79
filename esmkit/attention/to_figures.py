"""The figures of an attention file: for each protein the grid of heads, and some of them large."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit import plots
from esmkit.attention.choosing import heads_that_reach_far
from esmkit.attention.figure_options import FigureOptions
from esmkit.attention.hdf5 import AttentionFile
from esmkit.attention.maps import AttentionMaps
from esmkit.files.disk import disk_errors, through_links
from esmkit.files.names import FileNames, check_folder, remove_unfinished
from esmkit.sequences.proteins import Protein

if TYPE_CHECKING:
    from esmkit.plots.annotations import GivenAnnotations

__all__ = ["attention_figures"]


def attention_figures(
    path: str | Path,
    folder: str | Path,
    *,
    heads: Sequence[str] | None = None,
    kind: str = "png",
    force: bool = False,
    going_on: bool = False,
    **annotated: Any,
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
    **annotated
        ``residues``, ``mark``, ``zoom``, ``domains`` and ``structure``, as in
        :func:`esmkit.plots.attention_head`; of several proteins each is named: ``P69905:59``.

    Yields
    ------
    Path
        Each figure when it has been written.

    Raises
    ------
    OutputError
        If the file is not an attention file, or the folder cannot be used.
    OptionError, UnknownIdError, InputError
        If a head is not in the file, or an annotation does not fit its proteins.

    Examples
    --------
    >>> model = esmkit.load()                                          # doctest: +SKIP
    >>> options = esmkit.AttentionOptions(heads=["L5H4"])              # doctest: +SKIP
    >>> demo = esmkit.data.ubiquitin_fasta()                           # doctest: +SKIP
    >>> esmkit.attention_file(model, demo, "ubi.h5", options)          # doctest: +SKIP
    >>> [path.name for path in attention_figures("ubi.h5", "figures")]  # doctest: +SKIP
    ['1UBI_A.L5H4.png', '1UBI_A.L5H4.arcs.png']
    """
    options = FigureOptions(heads, kind, **annotated)
    folder = through_links(Path(folder))
    with AttentionFile(path) as found:
        options.check_heads(found.heads, f"in {str(path)!r}, which holds")
        of_each = options.of_each(_proteins(found)) if options.annotated else {}
        check_folder(folder, "folder", force=force, forced="force=True")
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
        name_of = FileNames()
        for name, maps in found.items():
            start = name_of(name)
            for ending, draw in _figures_of(maps, options.heads, of_each.get(name, {})):
                target = folder / f"{start}.{ending}.{kind}"
                if not (going_on and target.exists()):
                    draw(path=target)
                yield target


def _proteins(found: AttentionFile) -> list[Protein]:
    """Return the proteins of a file, as far as they were read."""
    return [Protein(maps.id, maps.sequence, maps.header) for maps in found.values()]


def _figures_of(
    maps: AttentionMaps, heads: Sequence[str] | None, annotated: "GivenAnnotations"
) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield for each figure of a protein the end of its name, and what draws it."""
    if len(maps) > 1:
        yield "heads", partial(plots.attention_grid, maps, **annotated)
    if maps.windows == 1 and len(maps) == maps.choice.of_layers * maps.choice.of_heads:
        yield "flow", partial(plots.attention_flow, maps, **annotated)
    for head in heads or heads_that_reach_far(maps):
        yield head, partial(plots.attention_head, maps, head, **annotated)
        yield f"{head}.arcs", partial(plots.attention_arcs, maps, head, **annotated)
