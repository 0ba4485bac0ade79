"""The explorer: one HTML file in which the attention of one protein can be walked through.

``gather`` collects what a page shows, ``trace`` runs the reference encoder and packs its queries,
keys and values, ``facts`` turns those into maps, thumbnails and facts, ``structure`` lays a structure
on the sequence, ``labels`` reads a profile, ``figures`` holds the Bokeh figures, ``page`` puts it
all into one file; what runs in the browser is in ``static``. ``atlas`` is another page, about all
heads of a model; ``offline`` is what the two pages share, ``parts`` what
pages about one protein say. ``live`` is a page that holds the model and runs it.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.explorer.gather import explore
    from esmkit.explorer.live.page import LiveExplorer
    from esmkit.explorer.page import Explorer

__all__ = ["Explorer", "LiveExplorer", "explore"]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Explorer": "page",
            "LiveExplorer": "live.page",
            "explore": "gather",
        },
    )
