"""The Bokeh figures of a page: axes, tools and empty sources, which the scripts in static/ fill.

Each figure and source has a name by which the scripts find it. What happens in one figure is told
to the scripts through CustomJS, and they tell the others.
"""

from typing import Any

from esmkit.errors import needed

__all__ = ["figures", "need_bokeh"]

MAP_SIZE, CONTACT_SIZE = 560, 400
"""Pixels along the side of a map; the page shrinks them on a narrow screen."""


STRIP = 0.03
"""Part of a map's side that secondary structure takes beside it."""


def need_bokeh() -> None:
    """Make sure that Bokeh is installed.

    Raises
    ------
    MissingDependencyError
        If it is not; with the extra that brings it.
    """
    with needed("the explorer", "bokeh", extra="explorer"):
        import bokeh  # noqa: F401


def figures(residues: int, *, truth: bool) -> dict[str, Any]:
    """Return the figures as Bokeh's JSON items, by the place where each goes.

    Parameters
    ----------
    residues : int
        R; axes are residue numbers from 1.
    truth : bool
        Whether there is a structure.
    """
    from bokeh.embed import json_item
    from bokeh.layouts import column

    roots: dict[str, Any] = {
        "map": _map(residues, truth),
        "arcs": column(*_along(residues), sizing_mode="stretch_width"),
        "contacts": _contact_map(residues, truth),
        "steps": column(*_steps(residues), sizing_mode="stretch_width"),
    }
    return {name: json_item(root) for name, root in roots.items()}


def _models() -> Any:
    """Return ``bokeh.models``; its constructors have no types that fit their arguments."""
    from bokeh import models

    return models


def _ticks(function: str = "ticks") -> Any:
    """Return a ticker of residues; Bokeh's own begins at 0, where there is none."""
    code = f"return esmkitExplorer.{function}(cb_data.start, cb_data.end)"
    return _models().CustomJSTicker(major_code=code)


def _new(name: str, **options: Any) -> Any:
    models = _models()
    from bokeh.plotting import figure

    # no fill: the page shines through, and clearing a fill leaves a line at the edges
    plot: Any = figure(name=name, border_fill_color=None, background_fill_color=None, **options)
    plot.toolbar.logo = None
    plot.xaxis.ticker = _ticks()
    plot.xaxis.formatter = models.CustomJSTickFormatter(code="return esmkitExplorer.tick(tick)")
    for tool in plot.select({"type": models.WheelZoomTool}):
        tool.modifiers = {"shift": True}  # the wheel alone scrolls the page
        plot.toolbar.active_scroll = tool
    for event in ("mousemove", "mouseleave", "tap", "selectiongeometry", "reset"):
        plot.js_on_event(
            event, models.CustomJS(args={}, code=f"esmkitExplorer.fromBokeh({name!r}, cb_obj)")
        )
    return plot


def _square(name: str, residues: int, size: int, tools: str, *, truth: bool) -> Any:
    """Return a figure for a map: first query on top, first key on the left.

    With a structure there is room before the first residue for a strip of secondary structure.
    """
    models = _models()

    first = 0.5 - (STRIP * residues if truth else 0)
    last = residues + 0.5
    plot = _new(
        name,
        frame_width=size,
        frame_height=size,
        x_range=models.Range1d(first, last, bounds=(first, last), min_interval=2),
        y_range=models.Range1d(last, first, bounds=(first, last), min_interval=2),
        x_axis_location="above",
        tools=tools,
        toolbar_location="right",
    )
    plot.yaxis.ticker = _ticks()
    plot.yaxis.formatter = models.CustomJSTickFormatter(code="return esmkitExplorer.tick(tick)")
    plot.grid.visible = False
    _image(plot, f"{name}-image")
    _quads(plot, f"{name}-secondary", 0.8)
    return plot


def _quads(plot: Any, name: str, alpha: float) -> None:
    sides = ("left", "right", "top", "bottom")
    source = _models().ColumnDataSource({side: [] for side in (*sides, "colour")}, name=name)
    plot.quad(
        **{side: side for side in sides},
        fill_color="colour",
        line_color=None,
        fill_alpha=alpha,
        source=source,
    )


def _image(plot: Any, name: str) -> None:
    import numpy as np

    models = _models()

    data = {"image": [np.zeros((2, 2), np.uint32)], "x": [0.5], "y": [0.5], "dw": [1], "dh": [1]}
    source = models.ColumnDataSource(data, name=name)
    plot.image_rgba("image", x="x", y="y", dw="dw", dh="dh", source=source)


def _scatter(plot: Any, name: str, **options: Any) -> Any:
    models = _models()

    source = models.ColumnDataSource({"x": [], "y": []}, name=name)
    return plot.scatter("x", "y", source=source, name=f"{name}-glyph", **options)


def _cross(plot: Any, name: str) -> None:
    """Add a line for the picked query and one for the picked key."""
    models = _models()

    for which, dimension in (("query", "width"), ("key", "height")):
        plot.add_layout(
            models.Span(
                dimension=dimension,
                name=f"{name}-{which}",
                line_width=1,
                line_dash="dashed" if which == "key" else "solid",
                location=None,
            )
        )


def _brush(plot: Any, name: str) -> None:
    models = _models()

    plot.add_layout(
        models.BoxAnnotation(
            name=f"{name}-brush", fill_alpha=0, line_width=1.5, line_alpha=0.9, visible=False
        )
    )


def _select_only(plot: Any) -> None:
    """Let the brush tool mark a region, not glyphs."""
    models = _models()

    for tool in plot.select({"type": models.BoxSelectTool}):
        tool.renderers = []
        plot.toolbar.active_drag = tool
        tool.description = "Brush: drag over a region"


def _map(residues: int, truth: bool) -> Any:
    tools = "box_select,pan,box_zoom,wheel_zoom,reset,save"
    plot = _square("map", residues, MAP_SIZE, tools, truth=truth)
    plot.xaxis.axis_label = "key: the residue looked at"
    plot.yaxis.axis_label = "query: the residue that looks"
    _scatter(plot, "map-truth", marker="square", size=4, fill_alpha=0, line_width=1)
    _brush(plot, "map")
    _cross(plot, "map")
    _scatter(plot, "map-pick", marker="circle", size=14, fill_alpha=0, line_width=2.5)
    _select_only(plot)
    return plot


def _contact_map(residues: int, truth: bool) -> Any:
    tools = "pan,box_zoom,wheel_zoom,reset,save"
    plot = _square("contacts", residues, CONTACT_SIZE, tools, truth=truth)
    plot.xaxis.axis_label = "predicted, above the diagonal" if truth else "residue"
    plot.yaxis.axis_label = "true, below the diagonal" if truth else "residue"
    _cross(plot, "contacts")
    _scatter(plot, "contacts-pick", marker="circle", size=14, fill_alpha=0, line_width=2.5)
    return plot


def _along(residues: int) -> list[Any]:
    """Return the arcs along the sequence, and below them the mass on BOS and EOS."""
    from bokeh.core.properties import value

    models = _models()

    shared = models.Range1d(0, residues + 1, bounds=(0, residues + 1), min_interval=4)
    arcs = _new(
        "arcs",
        height=330,
        sizing_mode="stretch_width",
        x_range=shared,
        y_range=models.Range1d(-1.15, 1.15),
        tools="xbox_select,xpan,xwheel_zoom,reset,save",
        toolbar_location="right",
    )
    arcs.yaxis.visible = False
    arcs.grid.visible = False
    links = models.ColumnDataSource(
        {"xs": [], "ys": [], "width": [], "alpha": [], "colour": []}, name="arcs-links"
    )
    arcs.multi_line(
        "xs", "ys", line_width="width", line_alpha="alpha", line_color="colour", source=links
    )
    _quads(arcs, "arcs-secondary", 0.45)
    letters = models.ColumnDataSource({"x": [], "y": [], "text": []}, name="arcs-letters")
    arcs.text(
        "x",
        "y",
        text="text",
        source=letters,
        name="arcs-letters-glyph",
        text_align="center",
        text_baseline="middle",
        text_font_size="11px",
        text_font=value("monospace"),
    )
    _brush(arcs, "arcs")
    _scatter(arcs, "arcs-pick", marker="circle", size=13, fill_alpha=0, line_width=2.5)
    _select_only(arcs)
    special = _new(
        "special",
        height=130,
        sizing_mode="stretch_width",
        x_range=shared,
        y_range=models.Range1d(0, 1),
        tools="xpan,xwheel_zoom,reset",
        toolbar_location=None,
    )
    special.yaxis.axis_label = "weight"
    special.yaxis.ticker.desired_num_ticks = 3
    special.grid.visible = False
    for name, dash in (("bos", "solid"), ("eos", "dashed")):
        source = models.ColumnDataSource({"x": [], "y": []}, name=f"special-{name}")
        special.line(
            "x", "y", source=source, name=f"special-{name}-line", line_dash=dash, line_width=1.8
        )
    return [arcs, special]


def _steps(residues: int) -> list[Any]:
    """Return bars of scores and weights over all tokens: BOS at 0, EOS at R + 1."""
    models = _models()

    shared = models.Range1d(-0.5, residues + 1.5, bounds=(-0.5, residues + 1.5), min_interval=4)
    plots = []
    for name, label in (("scores", "score"), ("weights", "weight")):
        plot = _new(
            name,
            height=150,
            sizing_mode="stretch_width",
            x_range=shared,
            y_range=models.Range1d(0, 1),
            tools="xpan,xbox_zoom,xwheel_zoom,reset",
            toolbar_location="right",
        )
        plot.xaxis.ticker = _ticks("tokenTicks")
        plot.xaxis.formatter = models.CustomJSTickFormatter(
            code="return esmkitExplorer.tokenTick(tick)"
        )
        plot.yaxis.axis_label = label
        plot.yaxis.ticker.desired_num_ticks = 4
        plot.xgrid.visible = False
        source = models.ColumnDataSource({"x": [], "top": [], "colour": []}, name=f"{name}-bars")
        plot.vbar("x", top="top", width=0.85, fill_color="colour", line_color=None, source=source)
        plots.append(plot)
    return plots
