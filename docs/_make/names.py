"""Every public name of esmkit: where it stands, what it is, and which page it has."""

import ast
import importlib
import inspect
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

ROOMS = (
    "esmkit",
    "esmkit.embeddings",
    "esmkit.embeddings.cluster",
    "esmkit.against",
    "esmkit.attention",
    "esmkit.contacts",
    "esmkit.score",
    "esmkit.score.variants",
    "esmkit.heads",
    "esmkit.inside",
    "esmkit.published",
    "esmkit.explorer",
    "esmkit.plots",
    "esmkit.sequences",
    "esmkit.structure",
    "esmkit.structure.views",
    "esmkit.data",
    "esmkit.reference",
    "esmkit.reference.transformer",
    "esmkit.reference.training",
    "esmkit.reference.recurrent",
    "esmkit.errors",
)
"""Modules with a public ``__all__``. A name that several of them have belongs to the first."""

KINDS = ("class", "exception", "function", "constant")


@dataclass
class Name:
    """One public object.

    Attributes
    ----------
    path : str
        The shortest name to import it by, such as ``esmkit.embed_file``.
    thing : object
        The object.
    also : list of str
        Further names of the same object.
    """

    path: str
    thing: Any
    also: list[str] = field(default_factory=list)

    @property
    def room(self) -> str:
        """The module that the path begins with."""
        return self.path.rpartition(".")[0]

    @property
    def short(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def kind(self) -> str:
        """One of ``KINDS``."""
        if inspect.isclass(self.thing):
            return "exception" if issubclass(self.thing, BaseException) else "class"
        return "function" if callable(self.thing) else "constant"

    @property
    def real(self) -> str:
        """The name where it is defined, such as ``esmkit.embeddings.to_file.embed_file``."""
        if self.kind == "constant":
            return f"{constant_of(self.room, self.short)[0]}.{self.short}"
        bound = inspect.unwrap(getattr(self.thing, "__func__", self.thing))
        return f"{bound.__module__}.{bound.__qualname__}"

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        if self.kind == "constant":
            return first_sentence(constant_of(self.room, self.short)[1])
        return first_sentence(inspect.getdoc(self.thing))


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring or a paragraph, on one line."""
    paragraph = " ".join((text or "").strip().partition("\n\n")[0].split())
    for place, letter in enumerate(paragraph):
        if letter != "." or paragraph[place + 1 : place + 2] not in ("", " "):
            continue
        before = paragraph[:place]
        if before.replace("``", "`").count("`") % 2 or before.endswith(
            ("e.g", "i.e", "et al", " vs", "fig", " v")
        ):
            continue
        return f"{before}."
    return f"{paragraph[:-1]}." if paragraph.endswith(":") else paragraph


@cache
def constant_of(room: str, name: str) -> tuple[str, str]:
    """Return where a constant is assigned, and the text in quotes below it.

    Parameters
    ----------
    room : str
        A module that has the name, by itself or from another.
    name : str
        The constant.
    """
    seen = {room}
    at = [room]
    while at:
        module = importlib.import_module(at.pop(0))
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        body = ast.parse(text).body
        for place, node in enumerate(body):
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            parts = [part for one in targets for part in getattr(one, "elts", [one])]
            if any(isinstance(one, ast.Name) and one.id == name for one in parts):
                after = body[place + 1] if place + 1 < len(body) else None
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                    return module.__name__, inspect.cleandoc(str(after.value.value))
                comment = text.splitlines()[node.lineno - 1].partition("  # ")[2]
                return module.__name__, comment[:1].upper() + comment[1:]
        for node in ast.walk(ast.Module(body, [])):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                source = next((a.name for a in node.names if (a.asname or a.name) == name), None)
                if source is not None and node.module.startswith("esmkit"):
                    if source != name:
                        return constant_of(node.module, source)
                    if node.module not in seen:
                        seen.add(node.module)
                        at.append(node.module)
    return room, ""


@cache
def public_names() -> dict[str, Name]:
    """Return every public object by its path, modules left out."""
    found: dict[str, Name] = {}
    by_identity: dict[tuple[int, str], Name] = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for short in module.__all__:
            thing = getattr(module, short)
            path = f"{room}.{short}"
            if isinstance(thing, ModuleType):
                continue
            # Small numbers and texts are one object in Python whatever they stand for
            known = by_identity.get((id(thing), short)) if callable(thing) else None
            if known is not None:
                known.also.append(path)
                continue
            found[path] = by_identity[id(thing), short] = Name(path, thing)
    return found


@cache
def page_names() -> dict[str, str]:
    """Return the file name of each public name's page, without its ending.

    Names that differ by capitals only get different files where file names do not know capitals.
    """
    pages: dict[str, str] = {}
    taken: set[str] = {room.lower() for room in ROOMS} | {"index"}
    for path, name in public_names().items():
        page = path if path.lower() not in taken else f"{path}-{name.kind}"
        taken.add(page.lower())
        pages[path] = page
    return pages


def methods_of(thing: type) -> list[str]:
    """Return the public methods and properties of a class that are esmkit's own and described."""
    found: dict[str, Any] = {}
    for owner in reversed(thing.__mro__):
        if not owner.__module__.startswith("esmkit"):
            continue
        for short, member in vars(owner).items():
            described = isinstance(member, (property, classmethod, staticmethod)) or (
                inspect.isfunction(member) or hasattr(member, "func")  # cached properties
            )
            if not short.startswith("_") and described:
                found[short] = member
    return [short for short in found if inspect.getdoc(getattr(thing, short, None)) or found[short]]
