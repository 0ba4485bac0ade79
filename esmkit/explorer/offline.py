"""One HTML file with everything inside: how it is put together, written and shown in Jupyter."""

import base64
import html
import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from esmkit.errors import OptionError
from esmkit.files.disk import check_output, disk_errors, write_durably
from esmkit.text import visible

__all__ = ["OfflinePage", "document", "json_for_script", "map_colours", "static_text"]

INLINE_LIMIT = 30_000_000
"""Largest page inside a notebook, bytes; with a larger one it becomes unusable."""


class OfflinePage:
    """A page that needs no network: base of :class:`esmkit.Explorer` and :class:`esmkit.Atlas`.

    Children say in ``__repr__`` what they are about, and make the text in ``_make``.
    """

    shrink = ""
    """What to do where a page is too large for a notebook, after "open that"."""

    def __init__(self) -> None:
        self._html = ""

    def _make(self) -> str:
        raise NotImplementedError

    def to_html(self) -> str:
        """Return the page as text."""
        if not self._html:
            self._html = self._make()
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

    def _repr_html_(self) -> str:
        page = self.to_html()
        if len(page) > INLINE_LIMIT:
            return (
                f"<p>{html.escape(visible(repr(self)))}: {len(page) / 1e6:,.0f} MB are too much "
                "inside a notebook; write it with <code>.save('page.html')</code> and open that"
                f"{self.shrink}.</p>"
            )
        label = html.escape(visible(repr(self)), quote=True)
        return (
            f'<iframe title="{label}" style="width:100%;height:900px;border:1px solid #8888" '
            f'sandbox="allow-scripts allow-downloads" srcdoc="{html.escape(page, quote=True)}">'
            "</iframe>"
        )


def document(
    *,
    title: str,
    policy: str,
    style: str,
    body: str,
    data: Mapping[str, Any],
    arrays: Mapping[str, bytes],
    scripts: Iterable[str],
) -> str:
    """Return the text of a page.

    Parameters
    ----------
    title : str
    policy : str
        Content security policy.
    style, body : str
        CSS; HTML.
    data : mapping of str to Any
        JSON-ready values, by the ``id`` of their element.
    arrays : mapping of str to bytes
        What scripts read as ``data-NAME``, in base64.
    scripts : iterable of str
        JavaScript, each in an element of its own.
    """
    values = (
        f'<script type="application/json" id="{name}">{json_for_script(value)}</script>\n'
        for name, value in data.items()
    )
    blobs = (
        f'<script type="text/plain" id="data-{html.escape(name)}">'
        f"{base64.b64encode(array).decode()}</script>\n"
        for name, array in arrays.items()
    )
    return "".join(
        (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{html.escape(visible(title))}</title>\n<style>\n{style}</style>\n</head>\n<body>\n",
            body,
            *values,
            *blobs,
            *(f"<script>{text}</script>\n" for text in scripts),
            "</body>\n</html>\n",
        )
    )


def static_text(name: str, package: str = "esmkit.explorer") -> str:
    """Return a file that runs in the browser, from the ``static`` folder of a package."""
    return (resources.files(package) / "static" / name).read_text(encoding="utf-8")


def map_colours() -> dict[str, list[int]]:
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
