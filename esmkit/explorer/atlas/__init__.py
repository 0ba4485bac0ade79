"""The atlas: one HTML file with all heads of a model, to search, sort, filter and compare.

``make`` puts a page together; ``numbers`` turns the tables of a profile into the numbers of heads,
``removal`` those of an ablation; ``weights`` computes what needs the model: amino-acid matrices and
links of example chains, which ``chains`` chooses; ``folder`` reads and writes folders of
``esmkit heads``; ``page`` is the file. What runs in the browser is in ``static``, beside what the
explorer shares with it.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.explorer.atlas.folder import FolderAtlas, add_atlas
    from esmkit.explorer.atlas.page import Atlas

__all__ = ["Atlas", "FolderAtlas", "add_atlas"]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__, {"Atlas": "page", "FolderAtlas": "folder", "add_atlas": "folder"}
    )
