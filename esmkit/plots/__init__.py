"""Every Matplotlib figure.

Each function takes results, returns a ``matplotlib.figure.Figure`` and saves it if given a path:
PNG, SVG or PDF. Nothing here uses pyplot, so no state is left behind and no window opens.

For figures of your own there are ``notebook_style``, ``COLOURS``, ``draw_matrix``, ``map_colours`` and
``residue_axis``, which draw on axes of pyplot.
"""

# ruff: noqa: E402
from esmkit.plots.loading import load_matplotlib

load_matplotlib()  # before what imports it

from esmkit.plots.ablation import ablation_scatter
from esmkit.plots.arcs import attention_arcs
from esmkit.plots.card import head_card
from esmkit.plots.contacts import contact_map
from esmkit.plots.effects import head_effects, position_effects
from esmkit.plots.figure import inline_html, save
from esmkit.plots.head import attention_head
from esmkit.plots.heads import offset_profiles, property_grid
from esmkit.plots.lens import logit_lens
from esmkit.plots.logo import logo
from esmkit.plots.needed import masked_loss
from esmkit.plots.notebooks import (
    COLOURS,
    draw_matrix,
    map_colours,
    notebook_style,
    residue_axis,
)
from esmkit.plots.precision import head_precision_grid, precision_by_rank
from esmkit.plots.properties import property_map
from esmkit.plots.reliability import reliability_diagram
from esmkit.plots.repeats import repeat_scores
from esmkit.plots.surprise import surprise
from esmkit.plots.thumbnails import attention_flow, attention_grid
from esmkit.plots.variants import variant_map, variant_scatter

__all__ = [
    "COLOURS",
    "ablation_scatter",
    "attention_arcs",
    "attention_flow",
    "attention_grid",
    "attention_head",
    "contact_map",
    "draw_matrix",
    "head_card",
    "head_effects",
    "head_precision_grid",
    "inline_html",
    "logit_lens",
    "logo",
    "map_colours",
    "masked_loss",
    "notebook_style",
    "offset_profiles",
    "position_effects",
    "precision_by_rank",
    "property_grid",
    "property_map",
    "reliability_diagram",
    "repeat_scores",
    "residue_axis",
    "save",
    "surprise",
    "variant_map",
    "variant_scatter",
]
