"""References of docstrings: to esmkit's own names wherever they are defined, and to other projects.

A docstring names what its module knows: ``:func:`trace``` where ``trace`` stands beside it. On the site
it stands on the page of ``esmkit.patch``. So a name that Sphinx does not find is looked up in the
module that the documented object comes from. It then leads to the page of the public object; if it
is none, it stays code, provided that it exists. What exists nowhere is a warning, and an error in CI.
"""

import importlib
import inspect
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from _make.names import ROOMS, constant_of, methods_of, public_names

__all__ = ["OUTSIDE", "setup"]

OUTSIDE = {
    "numpy": "https://numpy.org/doc/stable/reference/generated/{}.html",
    "pandas": "https://pandas.pydata.org/docs/reference/api/{}.html",
    "matplotlib": "https://matplotlib.org/stable/api/",
    "torch": "https://docs.pytorch.org/docs/stable/generated/{}.html",
    "scipy": "https://docs.scipy.org/doc/scipy/reference/generated/{}.html",
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{}.html",
    "h5py": "https://docs.h5py.org/en/stable/",
    "click": "https://click.palletsprojects.com/en/stable/api/#{}",
    "transformers": "https://huggingface.co/docs/transformers/",
}
"""Documentation of others by the first part of a name. Nothing is fetched for it."""

BUILTIN = "https://docs.python.org/3/library/"


@cache
def _by_real_name() -> dict[str, tuple[str, str]]:
    """Return path and role of each public object, and of the methods of classes, by its real name."""
    found: dict[str, tuple[str, str]] = {}
    for path, name in public_names().items():
        for known in (name.real, path, *name.also):
            found.setdefault(known, (path, name.kind))
        if inspect.isclass(name.thing):
            for short in methods_of(name.thing):
                member = inspect.getattr_static(name.thing, short)
                plain = getattr(member, "__func__", getattr(member, "fget", member))
                for real in (f"{name.real}.{short}", _real(plain)):
                    if real:
                        found.setdefault(real, (f"{path}.{short}", "member"))
    return found


def _real(thing: Any) -> str:
    thing = inspect.unwrap(thing) if callable(thing) else thing
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    return f"{module}.{name}" if module and name else ""


def _found(path: str) -> tuple[bool, Any, str]:
    """Tell whether a dotted name exists, and return the object and its real name."""
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        except ValueError:
            return False, None, ""
        real = ".".join(parts[:cut])
        for part in parts[cut:]:
            if hasattr(thing, part):
                thing = getattr(thing, part)
            elif part in getattr(thing, "__annotations__", {}) or part in getattr(
                thing, "__slots__", ()
            ):
                return True, None, path
            else:
                return False, None, ""
        named = _real(thing) if not inspect.ismodule(thing) else thing.__name__
        if cut < len(parts) and not named:
            named = f"{constant_of(real, parts[-1])[0]}.{parts[-1]}"
        return True, thing, named or path
    return False, None, ""


def _places(node: nodes.Element) -> list[str]:
    """Return the prefixes under which a name may be meant, the nearest first."""
    module, owner = node.get("py:module"), node.get("py:class")
    places = []
    if module and owner:
        there, thing, real = _found(f"{module}.{owner}")
        if there and real:
            places += [real]
            kinds = getattr(thing, "__mro__", ())
            places += [
                f"{kind.__module__}" for kind in kinds if kind.__module__.startswith("esmkit")
            ]
    documented = node.get("esmkit:object")
    if documented:
        there, thing, real = _found(documented)
        if there and real:
            places.append(real.rpartition(".")[0])
            places.append(real.rpartition(".")[0].rpartition(".")[0])
            places.append(
                getattr(inspect.unwrap(thing) if callable(thing) else thing, "__module__", "")
            )
    if module:
        places.append(module)
    return [*(place for place in places if place), ""]


def _resolve(app: Sphinx, env: Any, node: Any, content: Any) -> nodes.Node | None:
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].strip().lstrip("~.").removesuffix("()")
    known = _by_real_name()
    for place in _places(node):
        path = f"{place}.{target}" if place else target
        there, _, real = _found(path)
        if not there:
            continue
        for name in (path, real):
            if name in known:
                return _link(env, node, content, known[name][0])
        if real in ROOMS or path in ROOMS:
            page = f"reference/python/{real if real in ROOMS else path}"
            return _to(app, node, content, page, "")
        if path.startswith("esmkit") or real.startswith("esmkit"):
            return content
        outside = OUTSIDE.get(path.partition(".")[0])
        address = outside.format(path) if outside else f"{BUILTIN}index.html"
        return nodes.reference("", "", content, internal=False, refuri=address)
    return None


def _link(env: Any, node: Any, content: Any, path: str) -> nodes.Node | None:
    entry = env.domains.python_domain.objects.get(path)
    if entry is None:
        return content
    return _to(env.app, node, content, entry.docname, entry.node_id)


def _to(app: Sphinx, node: Any, content: Any, page: str, anchor: str) -> nodes.Node:
    address = app.builder.get_relative_uri(node.get("refdoc", app.env.docname), page)
    return nodes.reference(
        "", "", content, internal=True, refuri=address + (f"#{anchor}" if anchor else "")
    )


def _remember(app: Sphinx, domain: str, kind: str, content: Any) -> None:
    """Tell each reference inside a documented object which object that is."""
    if domain != "py":
        return
    signature = content.parent[0]
    module, name = signature.get("module"), signature.get("fullname")
    for node in content.findall(lambda one: one.tagname == "pending_xref"):
        node["esmkit:object"] = f"{module}.{name}" if module else name


def _no_addresses(app: Sphinx, tree: nodes.document) -> None:
    """Make text of what docutils takes for an address because it begins with ``FILE:``."""
    for node in list(tree.findall(nodes.reference)):
        if node.get("refuri", "").lower().startswith("file:"):
            node.replace_self(nodes.Text(node.astext()))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register what looks for references that Sphinx does not find."""
    app.connect("object-description-transform", _remember)
    app.connect("missing-reference", _resolve)
    app.connect("doctree-read", _no_addresses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
