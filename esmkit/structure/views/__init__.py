"""Links between residues drawn on a structure, in files that molecular viewers open.

``atoms`` finds in the user's file the atoms that a viewer will find there, ``view`` is what is to be
seen, ``pymol``, ``chimerax`` and ``molstar`` write it for one viewer each, and ``render`` chooses.
"""

from esmkit.structure.views.render import VIEWERS, render, viewer_of, views_asked
from esmkit.structure.views.view import Link, View, lacking, made_by, strongest

__all__ = [
    "VIEWERS",
    "Link",
    "View",
    "lacking",
    "made_by",
    "render",
    "strongest",
    "viewer_of",
    "views_asked",
]
