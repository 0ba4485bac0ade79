"""Code in texts leads to the reference: ``esmkit.load``, ``esmkit contacts --plot``, ``docs/x.md``.

The texts are read on code hosts too, where pages that are generated do not exist. So they write plain
code, and the site makes a link of what names a public object, a command or a text.
"""

from docutils import nodes
from sphinx.application import Sphinx

from _make.named import page_named

__all__ = ["setup"]


def _link(app: Sphinx, tree: nodes.document, page: str) -> None:
    if app.builder.format != "html":
        return
    objects = {entry.node_id for entry in app.env.domains.python_domain.objects.values()}
    for node in list(tree.findall(nodes.literal)):
        above, inside = node.parent, False
        while above is not None and not inside:
            inside = (
                isinstance(above, (nodes.reference, nodes.title)) or "desc_sign" in above.tagname
            )
            above = above.parent
        found = None if inside else page_named(node.astext())
        if found is None or found[0] == page or found[0] not in app.env.found_docs:
            continue
        address = app.builder.get_relative_uri(page, found[0])
        anchor = f"#{found[1]}" if found[1] in objects else ""
        link = nodes.reference("", "", internal=True, refuri=address + anchor)
        node.replace_self(link)
        link += node


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what makes links of code."""
    app.connect("doctree-resolved", _link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
