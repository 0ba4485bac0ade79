"""Every link of a built site: pages, anchors, images, styles, scripts. And those of Markdown files."""

import posixpath
import re
from collections.abc import Iterable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from _make.links import anchors_of, links_of

__all__ = ["broken_links", "broken_links_of_markdown"]

_LOADED = {
    ("img", "src"),
    ("script", "src"),
    ("iframe", "src"),
    ("source", "src"),
    ("link", "href"),
}
"""What a page loads by itself: it must come from the site, or it is missing without a network."""

_POINTERS = ("canonical", "next", "prev", "search", "author", "index")
"""Relations of ``link`` that load nothing."""


class _Page(HTMLParser):
    """Links and anchors of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, bool]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what a tag names and where it leads."""
        given = dict(attrs)
        for anchor in (given.get("id"), given.get("name") if tag == "a" else None):
            if anchor:
                self.anchors.add(anchor)
        pointer = tag == "link" and (given.get("rel") or "") in _POINTERS
        for name in ("href", "src"):
            target = given.get(name)
            if target:
                self.links.append((target, (tag, name) in _LOADED and not pointer))

    handle_startendtag = handle_starttag


def broken_links(site: Path) -> list[str]:
    """Return a sentence for each link of a site that leads nowhere, or out of what travels with it.

    Parameters
    ----------
    site : Path
        Folder of the built HTML.
    """
    made = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    pages = {path.relative_to(site).as_posix(): _read(path) for path in made}
    said = []
    for name, page in pages.items():
        for target, loaded in page.links:
            if wrong := _wrong(site, pages, name, target, loaded):
                said.append(f"{name}: {target}: {wrong}")
    for style in sorted(site.rglob("*.css")):
        for target in re.findall(r"url\(\s*['\"]?([^'\")]+)", style.read_text(encoding="utf-8")):
            if not target.startswith(("data:", "#")):
                name = style.relative_to(site).as_posix()
                if wrong := _wrong(site, pages, name, target, True):
                    said.append(f"{name}: {target}: {wrong}")
    return sorted(set(said))


def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def _wrong(site: Path, pages: dict[str, _Page], name: str, target: str, loaded: bool) -> str:
    """Return what is wrong with one link, or nothing."""
    parts = urlsplit(target)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        if loaded:
            return "is loaded from a network"
        return "" if parts.scheme in ("https", "mailto", "http") else "is no address of the web"
    if parts.path.startswith("/"):
        return "begins at the root of a server; the site may lie in a folder"
    there = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path)))
    there = name if not parts.path else there
    if there.startswith(".."):
        return "leads out of the site"
    if not (site / there).is_file():
        return "there is no such file"
    anchor = unquote(parts.fragment)
    if anchor and anchor != "top" and there in pages and anchor not in pages[there].anchors:
        return f"there is no anchor {anchor!r} in {there}"
    return ""


def broken_links_of_markdown(root: Path, files: Iterable[Path]) -> list[str]:
    """Return a sentence for each relative link of Markdown files that leads nowhere.

    Parameters
    ----------
    root : Path
        The repository; no link may leave it.
    files : iterable of Path
        The files.
    """
    said = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        for match in links_of(text):
            address, _, anchor = match["target"].partition("#")
            there = (path.parent / unquote(address)).resolve() if address else path
            line = text.count("\n", 0, match.start()) + 1
            where = f"{path.relative_to(root)}:{line}: {match['target']}"
            if not there.is_relative_to(root.resolve()) and there != path:
                said.append(f"{where}: leads out of the repository")
            elif not there.exists():
                said.append(f"{where}: there is no such file")
            elif anchor and there.suffix == ".md" and anchor not in _anchors(there):
                said.append(f"{where}: there is no such heading")
    return said


@cache
def _anchors(path: Path) -> set[str]:
    return anchors_of(path.read_text(encoding="utf-8"))
