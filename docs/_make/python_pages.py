"""Reference pages of Python: the list by task, a page for each room, a page for each name."""

import importlib
import inspect
import re
from collections.abc import Iterable

from _make.names import ROOMS, Name, first_sentence, methods_of, page_names, public_names
from _make.tasks import TASKS, names_of

__all__ = ["python_pages"]


def python_pages() -> dict[str, str]:
    """Return the text of each page, in reStructuredText, by its file name without ending."""
    pages = {"index": _index()}
    names = page_names()
    for room in ROOMS:
        pages[room] = _room(room)
    for path, name in public_names().items():
        pages[names[path]] = _page(name)
    return pages


def _title(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n"


def _indented(text: str, by: int = 3) -> str:
    return "\n".join(" " * by + line if line else "" for line in text.splitlines())


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = [".. list-table::", "   :class: names", "   :widths: 35 65", ""]
    for first, second in rows:
        lines += [f"   * - {first}", f"     - {second}"]
    return "\n".join(lines) + "\n"


def _rows(paths: Iterable[str], shown: str | None = None) -> Iterable[tuple[str, str]]:
    known, pages = public_names(), page_names()
    for path in paths:
        text = path.removeprefix(f"{shown}.") if shown else path
        yield f":doc:`{text} </reference/python/{pages[path]}>`", _plain(known[path].summary)


def _plain(text: str) -> str:
    """Return a summary for a table of another module: its references as code."""
    text = re.sub(r":[\w:]+:`~(?:[\w.]*\.)?(\w+)`", r"``\1``", text)
    return re.sub(r":[\w:]+:`([^`]+)`", r"``\1``", text)


def _toctree(entries: Iterable[str]) -> str:
    return ".. toctree::\n   :hidden:\n\n" + "".join(f"   {entry}\n" for entry in entries)


def _index() -> str:
    parts = [
        _title("Python"),
        "Every public name, by what one wants to do. By module: "
        + ", ".join(f":doc:`{room} <{room}>`" for room in ROOMS)
        + ". By alphabet: :ref:`genindex`.\n",
        ".. code-block:: python\n\n   import esmkit\n\n   model = esmkit.load()\n"
        '   model.embed("MKTVRQERLKSIVRIL").residues.shape  # (16, 320)\n',
    ]
    for task in TASKS:
        parts += [_title(task, "-"), _table(_rows(names_of(task)))]
    return "\n".join([*parts, _toctree(ROOMS)])


def _room(room: str) -> str:
    known, pages = public_names(), page_names()
    here = importlib.import_module(room)
    # The overview of the whole package names what the tables below name, and is for `help()`
    said = first_sentence(here.__doc__) + "\n" if room == "esmkit" else f"{inspect.getdoc(here)}\n"
    parts = [_title(room), f".. py:module:: {room}\n", f".. currentmodule:: {room}\n", said]
    own = []
    for task in TASKS:
        inside = [path for path in names_of(task) if known[path].room == room]
        own += inside
        if inside:
            parts += [_title(task, "-"), _table(_rows(inside, room))]
    borrowed = [
        path
        for path, name in known.items()
        if any(also.rpartition(".")[0] == room for also in name.also)
    ]
    if borrowed:
        parts += [_title("Also here", "-"), _table(_rows(borrowed))]
    return "\n".join([*parts, _toctree(pages[path] for path in own)])


def _page(name: Name) -> str:
    parts = [_title(name.path), f".. currentmodule:: {name.room}\n"]
    if name.kind == "constant":
        parts.append(_constant(name))
    elif name.kind == "function":
        parts.append(f".. autofunction:: {name.path}{_signature_of_bound(name.thing)}\n")
    else:
        parts.append(f".. autoclass:: {name.path}\n")
        parts.append(_members(name))
    also = ", ".join(f"``{path}``" for path in name.also)
    room = f":doc:`{name.room} <{name.room}>`"
    parts.append(f"\n.. rst-class:: where\n\nIn {room}{f'; also {also}' if also else ''}.\n")
    return "\n".join(parts)


def _signature_of_bound(thing: object) -> str:
    """Return the signature of a class method that is public as a function, or nothing.

    Sphinx would take its first parameter for the class, though that is bound.
    """
    if not inspect.ismethod(thing):
        return ""
    shown = []
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and kind is not parameter.kind:
            shown.append("*")
        kind = parameter.kind
        default = parameter.default
        value = getattr(default, "__name__", repr(default))
        shown.append(parameter.name + (f"={value}" if default is not parameter.empty else ""))
    return f"({', '.join(shown)})"


def _constant(name: Name) -> str:
    from _make.names import constant_of

    value = repr(name.thing)
    shown = value if len(value) <= 300 else f"{value[:300]} ..."
    said = constant_of(name.room, name.short)[1]
    return (
        f".. py:data:: {name.path}\n   :type: {type(name.thing).__name__}\n\n"
        + _indented(f"{said}\n\n.. code-block:: python\n\n   {shown}\n")
        + "\n"
    )


def _members(name: Name) -> str:
    members = methods_of(name.thing)
    if not members:
        return ""
    rows = []
    for short in members:
        member = inspect.getattr_static(name.thing, short)
        called = callable(getattr(member, "__func__", member))
        role, brackets = ("meth", "()") if called else ("attr", "")
        said = _plain(
            first_sentence(inspect.getdoc(member if not called else getattr(name.thing, short)))
        )
        rows.append((f":py:{role}:`{short}{brackets} <{name.path}.{short}>`", said))
    parts = [_title("Methods and properties", "-"), _table(rows)]
    for short in members:
        member = inspect.getattr_static(name.thing, short)
        called = callable(getattr(member, "__func__", member))
        parts.append(f".. auto{'method' if called else 'property'}:: {name.path}.{short}\n")
    return "\n".join(parts)
