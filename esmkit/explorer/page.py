"""The page itself: one HTML file with everything inside."""

import base64
import html
import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

from esmkit.errors import OptionError
from esmkit.files.disk import check_output, disk_errors, write_durably
from esmkit.text import visible

__all__ = ["Explorer", "json_for_script"]

SCRIPTS = (
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
    "main.js",
)
"""Scripts in the order in which the browser runs them."""

INLINE_LIMIT = 30_000_000
"""Largest page inside a notebook, bytes; with a larger one it becomes unusable."""

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:"
)
"""Content security policy: nothing is loaded that is not in the file. Bokeh builds functions from
text, so that has to be allowed."""


class Explorer:
    """A page about the attention of one protein; made by :func:`esmkit.explore`.

    Attributes
    ----------
    data : dict
        What the page says, JSON-ready.
    arrays : dict of str to bytes
        What it draws, little-endian.
    """

    def __init__(self, data: dict[str, Any], arrays: dict[str, bytes]) -> None:
        self.data = data
        self.arrays = arrays
        self._html = ""

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

    def to_html(self) -> str:
        """Return the page as text."""
        if not self._html:
            self._html = "".join(self._parts())
        return self._html

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the page to a file.

        Parameters
        ----------
        path : path
            Ending in ``.html``.
        force : bool
            Overwrite a file that exists.

        Raises
        ------
        OptionError
            If the name ends otherwise.
        OutputError
            If it exists, or cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() not in (".html", ".htm"):
            raise OptionError(f"a page is an HTML file; end the name {str(path)!r} in .html")
        check_output(path, force=force, named="path", forced="force=True")
        with disk_errors(path):
            write_durably(path, self.to_html().encode())
        return path

    def _parts(self) -> list[str]:
        from bokeh.resources import Resources

        from esmkit.explorer.figures import figures

        title = html.escape(visible(f"{self.data['id']} · attention · esmkit"))
        body = _static("page.html")
        blobs = [
            f'<script type="text/plain" id="data-{html.escape(name)}">'
            f"{base64.b64encode(data).decode()}</script>\n"
            for name, data in self.arrays.items()
        ]
        items = figures(len(self.data["sequence"]), truth=self.data["structure"] is not None)
        inline = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
        bokeh = [f"<script>{text}</script>\n" for text in inline]
        scripts = "\n".join(_static(name) for name in SCRIPTS)
        return [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{title}</title>\n<style>\n{_static('explorer.css')}</style>\n</head>\n<body>\n",
            body,
            f'<script type="application/json" id="data">{json_for_script(self.data)}</script>\n',
            f'<script type="application/json" id="data-colours">{json_for_script(_colours())}'
            "</script>\n",
            f'<script type="application/json" id="data-figures">{json_for_script(items)}</script>\n',
            *blobs,
            *bokeh,
            f"<script>\n{scripts}\n</script>\n</body>\n</html>\n",
        ]

    def _repr_html_(self) -> str:
        page = self.to_html()
        if len(page) > INLINE_LIMIT:
            return (
                f"<p>{html.escape(visible(repr(self)))}: {len(page) / 1e6:,.0f} MB are too much "
                "inside a notebook; write it with <code>.save('page.html')</code> and open that, "
                "or name some <code>heads</code>.</p>"
            )
        label = html.escape(visible(repr(self)), quote=True)
        return (
            f'<iframe title="{label}" style="width:100%;height:900px;border:1px solid #8888" '
            f'sandbox="allow-scripts allow-downloads" srcdoc="{html.escape(page, quote=True)}">'
            "</iframe>"
        )


def _static(name: str) -> str:
    return (resources.files(__name__.rpartition(".")[0]) / "static" / name).read_text(
        encoding="utf-8"
    )


def _colours() -> dict[str, list[int]]:
    """Return the colours of maps on light and dark, 256 x RGB in a row.

    Both are magma (even in lightness, safe for every kind of colour vision): reversed on light, as
    in esmkit's figures, and as it is on dark.
    """
    import numpy as np

    from esmkit.plots.matrix import colours, magma

    steps = np.linspace(0, 1, 256)
    light, dark = colours()(steps)[:, :3], magma()(0.04 + 0.94 * steps)[:, :3]
    return {
        "light": np.round(255 * light).astype(int).ravel().tolist(),
        "dark": np.round(255 * dark).astype(int).ravel().tolist(),
    }


def json_for_script(value: Any) -> str:
    r"""Return a value as JSON that can stand inside ``<script>`` and holds no hidden character.

    ``<``, ``>`` and ``&`` are written as escapes, so no ``</script>`` or ``<!--`` can come out of
    a name; all else beyond ASCII is escaped as well. NaN and infinity become null.

    >>> json_for_script({"id": "</script>"})
    '{"id":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_clean(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, bool | int) or value is None:
        return value
    if hasattr(value, "item"):  # a NumPy scalar
        return _clean(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return visible(str(value))
