"""Lay out what Sphinx reads: the texts of ``docs``, the notebooks, and pages made from code.

Texts that others link to, such as ``data/README.md``, come along as pages of their own; so do
modules of esmkit that a text names, as their source.
"""

import json
from pathlib import Path, PurePosixPath

from _make.activation_page import activation_page
from _make.command_pages import command_pages
from _make.links import relative, rewritten
from _make.names import ROOMS
from _make.python_pages import python_pages

__all__ = ["Layout", "assemble"]

FIRST = {"CHANGELOG.md": "changelog", "README.md": "index"}
"""Texts of the root that have a place of their own on the site."""

LANGUAGES = {".py": "python", ".c": "c", ".js": "javascript", ".toml": "toml", ".sh": "bash"}


class Layout:
    """Where files of the repository lie on the site.

    Attributes
    ----------
    root : Path
        The repository.
    more : dict
        Pages that are here because a text links to their file, by that file's path in the repository.
    broken : list of str
        A sentence for each link that leads to no file.
    written : set of Path
        What was laid out.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.more: dict[str, str] = {}
        self.broken: list[str] = []
        self.written: set[Path] = set()

    def write(self, path: Path, given: str | bytes) -> None:
        """Write a file, unless it is there and the same."""
        content = given.encode() if isinstance(given, str) else given
        self.written.add(path)
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def page_of(self, path: str) -> str:
        """Return where a file of the repository is on the site, with its ending there.

        Parameters
        ----------
        path : str
            From the root of the repository, such as ``docs/explain/claims.md``.

        Raises
        ------
        FileNotFoundError
            If there is no such file, so that no link to it can be right.
        """
        if not (self.root / path).exists():
            raise FileNotFoundError(path)
        parts = PurePosixPath(path)
        if path in FIRST:
            return FIRST[path] + ".md"
        if parts.parts[0] == "docs":
            return parts.relative_to("docs").as_posix()
        if parts.parts[0] == "notebooks":
            return f"tutorials/{parts.relative_to('notebooks').as_posix()}"
        if (self.root / path).is_dir():
            room = path.strip("/").replace("/", ".")
            if room in ROOMS:
                return f"reference/python/{room}.rst"
            for index in ("README.md", "__init__.py"):
                if (self.root / path / index).exists():
                    return self.page_of(f"{path.strip('/')}/{index}")
            raise FileNotFoundError(f"{path} (a folder without a README)")
        if parts.suffix in (".md", *LANGUAGES):
            kind = "" if parts.suffix == ".md" else parts.suffix.replace(".", "-")
            page = f"project/{parts.with_suffix('').as_posix().replace('/', '-').lower()}{kind}.md"
            self.more.setdefault(path, page)
            return page
        raise FileNotFoundError(f"{path} (a file for which the site has no place)")

    def link(self, target: str, path: str, page: str) -> str:
        """Return a link of a file of the repository as its page on the site has it."""
        address, _, anchor = target.partition("#")
        if not address:
            return target
        whole = (PurePosixPath(path).parent / address).as_posix()
        try:
            there = self.page_of(_plain(whole))
        except FileNotFoundError as error:
            self.broken.append(f"{path}: {target}: there is no file {error}")
            return target
        if FIRST.get(_plain(whole)) == "index":
            anchor = ""
        return relative(there, page) + (f"#{anchor}" if anchor else "")


def _plain(path: str) -> str:
    """Return a path without ``.`` and ``..``."""
    parts: list[str] = []
    for part in PurePosixPath(path).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def assemble(root: Path, source: Path) -> Layout:
    """Write everything that Sphinx reads into a folder, anew.

    Parameters
    ----------
    root : Path
        The repository.
    source : Path
        The folder. What did not change is left alone, so that Sphinx need not read it again; what
        does not belong there goes.
    """
    layout = Layout(root)
    before = {path for path in source.rglob("*") if path.is_file()}
    files = sorted(
        path.relative_to(root).as_posix()
        for path in [*(root / "docs").rglob("*"), *(root / "notebooks").rglob("*")]
        if path.is_file()
        and not any(part.startswith(("_", ".")) for part in path.relative_to(root).parts)
    )
    for path in [*files, "CHANGELOG.md"]:
        if path == "docs/conf.py":
            continue
        _lay(layout, path, layout.page_of(path), source)
    done: set[str] = set()
    while wanted := set(layout.more) - done:
        for path in sorted(wanted):
            _lay(layout, path, layout.more[path], source)
        done |= wanted
    layout.write(source / "project/index.md", _project(layout))
    for folder, pages in (("python", python_pages()), ("commands", command_pages())):
        for name, text in pages.items():
            layout.write(source / "reference" / folder / f"{name}.rst", text)
    layout.write(source / "reference/activations.rst", activation_page())
    for path in before - layout.written:
        path.unlink()
    return layout


def _lay(layout: Layout, path: str, page: str, source: Path) -> None:
    """Copy one file to its place, with its links rewritten."""
    given, target = layout.root / path, source / page
    if given.suffix == ".md":
        text = given.read_text(encoding="utf-8")
        layout.write(target, rewritten(text, lambda link: layout.link(link, path, page)))
    elif given.suffix == ".ipynb":
        notebook = json.loads(given.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                text = "".join(cell["source"])
                cell["source"] = rewritten(text, lambda link: layout.link(link, path, page))
        layout.write(target, json.dumps(notebook))
    elif given.suffix in LANGUAGES:
        text = given.read_text(encoding="utf-8").rstrip()
        layout.write(target, f"# {path}\n\n``````{LANGUAGES[given.suffix]}\n{text}\n``````\n")
    else:
        layout.write(target, given.read_bytes())


def _project(layout: Layout) -> str:
    """Return the page that lists what came along because a text links to it."""
    pages = sorted(layout.more.items())
    rows = "".join(f"- [{path}]({PurePosixPath(page).name})\n" for path, page in pages)
    tree = "".join(f"{PurePosixPath(page).stem}\n" for _, page in pages)
    return (
        "# Files of the project\n\nWhat pages of this site refer to, as it stands in the repository.\n\n"
        f"{rows}\n```{{toctree}}\n:hidden:\n\n{tree}```\n"
    )
