"""Which viewer a file is for, and what is written into it."""

from collections.abc import Sequence
from pathlib import Path

from esmkit.errors import OptionError
from esmkit.structure.views import chimerax, molstar, pymol
from esmkit.structure.views.view import View, drawn

__all__ = ["VIEWERS", "render", "viewer_of", "views_asked"]

VIEWERS = {"pymol": ".pml", "chimerax": ".cxc", "molstar": ".mvsx"}
"""Viewers, and what the names of their files end in: PyMOL's and ChimeraX's commands, and for Mol*
MolViewSpec's archive, which holds the structure too."""


def viewer_of(path: str | Path) -> str:
    """Return the viewer whose files end as a path does.

    Raises
    ------
    OptionError
        If there is none.

    Examples
    --------
    >>> viewer_of("contacts.PML")
    'pymol'
    """
    ending = Path(path).suffix.lower()
    for viewer, its in VIEWERS.items():
        if its == ending:
            return viewer
    raise OptionError(
        f"{str(path)!r} says no viewer: let it end in .pml for PyMOL, .cxc for ChimeraX or .mvsx "
        "for Mol*"
    )


def views_asked(names: Sequence[str]) -> tuple[str, ...]:
    """Return viewers by their names; ``all`` is all of them.

    Raises
    ------
    OptionError
        If there is no such viewer.

    Examples
    --------
    >>> views_asked(["all"]), views_asked(["PyMOL"])
    (('pymol', 'chimerax', 'molstar'), ('pymol',))
    """
    asked = [name.strip().lower().replace("*", "star") for name in names]
    for name in asked:
        if name not in (*VIEWERS, "all"):
            raise OptionError(f"there is no viewer {name!r}; give {', '.join(VIEWERS)}, or all")
    return tuple(viewer for viewer in VIEWERS if viewer in asked or "all" in asked)


def render(view: View, path: str | Path) -> bytes:
    """Return the contents of a file for the viewer that its name ends in.

    Parameters
    ----------
    view : View
    path : path
        Where the file will be; scripts name the structure by its way from there, too.

    Returns
    -------
    bytes

    Raises
    ------
    OptionError
        If the name ends in nothing that a viewer reads.
    InputError
        If the structure's file is gone, or a viewer could not find the residues in it.

    Examples
    --------
    >>> from esmkit.data import demo_structure
    >>> from esmkit.structure.views import Link
    >>> links = (Link(3, 64, 0.97),)
    >>> view = View(demo_structure(), "contacts", "probability", (), (), links)
    >>> render(view, "contacts.pml").decode().splitlines()[-1]
    'python end'
    """
    writers = {"pymol": pymol.script, "chimerax": chimerax.script, "molstar": molstar.archive}
    write = writers[viewer_of(path)]
    return write(view, *drawn(view), Path(path))
