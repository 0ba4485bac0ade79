"""Links from pages of source code back to the pages of what they define.

Sphinx takes for granted that all of a module is documented under one name. Here ``EsmkitError`` is
``esmkit.EsmkitError`` and its neighbour ``esmkit.errors.InputError``, so the anchors of the links back
are corrected once the pages are written.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

__all__ = ["setup"]

_BACK = re.compile(r'(href="[^"#]*?(reference/python/[^"#]+)\.html#)([^"]+)"')


def _mend(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    documented: dict[str, list[str]] = {}
    for entry in app.env.domains.python_domain.objects.values():
        documented.setdefault(entry.docname, []).append(entry.node_id)

    def right(match: re.Match[str]) -> str:
        anchors = documented.get(match[2], [])
        if match[3] in anchors:
            return match[0]
        parts = match[3].split(".")
        # `esmkit.Trace.mean` may be `esmkit.inside.Trace.mean`: the longest end that fits
        for start in range(len(parts)):
            end = "." + ".".join(parts[start:])
            found = [anchor for anchor in anchors if anchor.endswith(end)]
            if found:
                return f'{match[1]}{min(found, key=len)}"'
        return match[0]

    for path in Path(app.outdir).glob("_modules/**/*.html"):
        before = path.read_text(encoding="utf-8")
        after = _BACK.sub(right, before)
        if after != before:
            path.write_text(after, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what corrects the links."""
    app.connect("build-finished", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
