"""What search results say below their titles.

Sphinx fetches each page it has found to show a part of it, which a browser refuses to pages that are
opened from a disk. Here the first sentence of every page travels in one small file.
"""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from _make.names import first_sentence

__all__ = ["setup"]

_TIME = re.compile(r"About \d+ minutes? ")
"""How notebooks begin."""

LONGEST = 200
"""Letters of a summary; a line or two."""


def _take(app: Sphinx, tree: nodes.document) -> None:
    for paragraph in tree.findall(nodes.paragraph):
        inside = paragraph.parent
        if isinstance(inside, nodes.Element) and inside.tagname in (
            "entry",
            "list_item",
            "compact_paragraph",
        ):
            continue
        text = first_sentence(paragraph.astext())
        if text and not _TIME.match(text):
            short = text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ..."
            _kept(app)[app.env.docname] = short
            return


def _kept(app: Sphinx) -> dict[str, str]:
    if not hasattr(app.env, "esmkit_summaries"):
        app.env.esmkit_summaries = {}  # type: ignore[attr-defined]
    return app.env.esmkit_summaries  # type: ignore[attr-defined]


def _forget(app: Sphinx, env: Any, page: str) -> None:
    _kept(app).pop(page, None)


def _scripts(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    if page == "search":
        app.add_js_file("summaries.js")
        app.add_js_file("search-summaries.js")


def _write(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        said = json.dumps(dict(sorted(_kept(app).items())), ensure_ascii=False, indent=0)
        path = Path(app.outdir) / "_static" / "summaries.js"
        path.write_text(f"window.esmkitSummaries = {said};\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what collects the sentences and hands them to the search page."""
    app.connect("doctree-read", _take)
    app.connect("env-purge-doc", _forget)
    app.connect("html-page-context", _scripts)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
