"""Which page of the reference a piece of code names."""

import re

from _make.command_pages import commands, page_of
from _make.names import ROOMS, page_names, public_names

__all__ = ["page_named"]

_IN_ROOM = re.compile(r"(\w+(?:\.\w+)+)(?:\(.*\))?", re.S)
_NAME = re.compile(r"(esmkit(?:\.\w+)+)(?:\(.*\))?", re.S)
_TEXT = re.compile(r"docs/([\w/-]+)\.md")
_METHOD = re.compile(r"model\.(\w+)(?:\(.*\))?", re.S)


def page_named(code: str) -> tuple[str, str] | None:
    """Return the page that a piece of code names, and the anchor there, or nothing.

    >>> page_named("esmkit score variants x.fasta --all")
    ('reference/commands/esmkit-score-variants', '')
    >>> page_named("esmkit.errors.OptionError")[0]
    'reference/python/esmkit.errors.OptionError'
    >>> page_named("model.embed(proteins)")
    ('reference/python/esmkit.Esm2', 'esmkit.Esm2.embed')
    >>> page_named("esmkit.nothing")
    """
    if match := _TEXT.fullmatch(code):
        return match[1], ""
    if match := _METHOD.fullmatch(code):
        shown = hasattr(public_names()["esmkit.Esm2"].thing, match[1])
        return ("reference/python/esmkit.Esm2", f"esmkit.Esm2.{match[1]}") if shown else None
    if match := _NAME.fullmatch(code):
        return _python(match[1])
    if (match := _IN_ROOM.fullmatch(code)) and f"esmkit.{match[1].split('.')[0]}" in ROOMS:
        return _python(f"esmkit.{match[1]}")  # `plots.logo`
    words = code.split()
    if words[:1] == ["esmkit"] and len(words) > 1:
        for end in range(len(words), 1, -1):
            if " ".join(words[:end]) in commands():
                return f"reference/commands/{page_of(' '.join(words[:end]))}", ""
    return None


def _python(path: str) -> tuple[str, str] | None:
    pages = page_names()
    for known, name in public_names().items():
        for one in (known, *name.also):
            if path == one:
                return f"reference/python/{pages[known]}", ""
            if path.startswith(f"{one}.") and hasattr(name.thing, path.rpartition(".")[2]):
                return f"reference/python/{pages[known]}", f"{known}.{path.rpartition('.')[2]}"
    return None
