"""The explorer: one HTML file in which the attention of one protein can be walked through.

``gather`` collects what a page shows, ``trace`` runs the reference encoder and packs its queries,
keys and values, ``facts`` turns those into maps, thumbnails and facts, ``truth`` lays a structure
on the sequence, ``labels`` reads a profile, ``figures`` holds the Bokeh figures, ``page`` puts it
all into one file; what runs in the browser is in ``static``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esmkit.explorer.gather import explore
    from esmkit.explorer.page import Explorer

__all__ = ["Explorer", "explore"]

# Imported when first used, so that a bad option is answered before PyTorch and Bokeh are loaded.
_HOME = {"Explorer": "page", "explore": "gather"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'esmkit.explorer' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"esmkit.explorer.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
