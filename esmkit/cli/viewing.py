"""Options of commands that draw links on a structure, for molecular viewers."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from esmkit.cli.options import names_list
from esmkit.cli.values import is_input, optional

if TYPE_CHECKING:
    from esmkit.attention.to_views import HeadViews
    from esmkit.files.views import ViewFiles

__all__ = ["head_views", "view_files", "view_options"]


def _are_viewers(word: str) -> bool:
    """Tell whether a word after ``--on-structure`` is its value."""
    from esmkit.structure.views import VIEWERS

    return set(word.lower().split(",")) <= {*VIEWERS, "all"} or not is_input(word)


def view_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--on-structure`` and ``--links``."""
    for option in (
        click.option(
            "--links",
            type=click.IntRange(min=1),
            help="How many links --on-structure draws. [default: one for each resolved residue]",
        ),
        optional(
            "--on-structure",
            "on_structure",
            without="all",
            takes=_are_viewers,
            callback=names_list,
            metavar="[VIEWERS]",
            help="Draw the strongest links on --structure, in files beside the output for pymol "
            "(.pml), chimerax (.cxc) and molstar (.mvsx): any of them, or all. [all]",
        ),
    ):
        function = option(function)
    return function


def view_files(
    viewers: tuple[str, ...] | None, links: int | None, beside: Path
) -> "ViewFiles | None":
    """Return which views are asked for, and beside which output they are written."""
    from esmkit.files.views import ViewFiles
    from esmkit.structure.views import views_asked

    if viewers is None:
        if links is not None:
            raise click.UsageError("--links says how many --on-structure draws; give that too")
        return None
    return ViewFiles(views_asked(viewers), beside, links)


def head_views(
    heads: tuple[str, ...] | None,
    structures: tuple[str, ...],
    viewers: tuple[str, ...] | None,
    links: int | None,
    beside: Path,
    say: Callable[[str], None],
    residues: str | None = None,
) -> "HeadViews | None":
    """Return the views of heads that are asked for."""
    files = view_files(viewers, links, beside)
    if files is None:
        return None
    if not structures:
        raise click.UsageError("--on-structure needs a structure; name one with --structure")
    from esmkit.attention.to_views import HeadViews
    from esmkit.structure.given import read_chains

    return HeadViews(heads or (), read_chains(structures, say), files, residues)
