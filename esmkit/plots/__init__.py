"""Every Matplotlib figure.

Each function takes results, returns a ``matplotlib.figure.Figure`` and saves it if given a path:
PNG, SVG or PDF. Nothing here uses pyplot, so no state is left behind and no window opens.
"""

from esmkit.plots.arcs import attention_arcs
from esmkit.plots.contacts import contact_map
from esmkit.plots.figure import inline_html, save
from esmkit.plots.head import attention_head
from esmkit.plots.precision import head_precision_grid, precision_by_rank
from esmkit.plots.thumbnails import attention_flow, attention_grid

__all__ = [
    "attention_arcs",
    "attention_flow",
    "attention_grid",
    "attention_head",
    "contact_map",
    "head_precision_grid",
    "inline_html",
    "precision_by_rank",
    "save",
]
