"""Links of Markdown files and notebooks: from where a file lies in the repository to the site.

A link from ``docs/explain/claims.md`` to ``../../notebooks/09_x.ipynb`` is right where the repository
is looked at; on the site that notebook is ``tutorials/09_x``. Links are rewritten when texts are laid
out, so both stay whole.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

__all__ = ["anchors_of", "links_of", "relative", "rewritten", "slug"]

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})[^\n]*\n.*?^\1\2[`~]*[ \t]*$", re.M | re.S)
_CODE = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", re.S)
_LINK = re.compile(
    r"(?P<before>\]\()(?P<target>[^()\s]+(?:\([^()\s]*\)[^()\s]*)*)(?P<after>(?:\s+\"[^\"]*\")?\))"
)
_HTML = re.compile(
    r"(?P<before><(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\")(?P<target>[^\"]+)(?P<after>\")"
)
_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.I)


def _covered(text: str) -> list[tuple[int, int]]:
    """Return the stretches that are code, in which nothing is a link."""
    fences = [match.span() for match in _FENCE.finditer(text)]
    rest = text
    for start, end in fences:
        rest = rest[:start] + re.sub(r"[^\n]", " ", text[start:end]) + rest[end:]
    return fences + [match.span() for match in _CODE.finditer(rest)]


def links_of(text: str) -> Iterator[re.Match[str]]:
    """Yield every link and image of a Markdown text that leads to a place of its own project."""
    covered = _covered(text)
    for pattern in (_LINK, _HTML):
        for match in pattern.finditer(text):
            place = match.start("target")
            if _EXTERNAL.match(match["target"]):
                continue
            if not any(start <= place < end for start, end in covered):
                yield match


def rewritten(text: str, change: Callable[[str], str]) -> str:
    """Return a Markdown text with the target of each of its links changed."""
    for match in sorted(links_of(text), key=lambda one: -one.start("target")):
        start, end = match.span("target")
        text = text[:start] + change(match["target"]) + text[end:]
    return text


def relative(target: str, page: str) -> str:
    """Return how one path is written from the folder of another, both from the same root."""
    folder = PurePosixPath(page).parent.as_posix()
    return PurePosixPath(os.path.relpath(target, folder)).as_posix()


def slug(heading: str) -> str:
    """Return the anchor that code hosts and MyST give to a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    plain = re.sub(r"[^\w\- ]", "", plain.lower().strip())
    return plain.replace(" ", "-")


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a Markdown text: of its headings, and those written in HTML."""
    covered = _covered(text)
    found: set[str] = set()
    for match in re.finditer(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", text, re.M):
        if any(start <= match.start() < end for start, end in covered):
            continue
        anchor = unique = slug(match[1])
        times = 0
        while unique in found:
            times += 1
            unique = f"{anchor}-{times}"
        found.add(unique)
    written = re.findall(r"<[a-z]+\b[^>]*?\b(?:id|name)=\"([^\"]+)\"", text)
    return found | set(written)
