"""A page of headings, paragraphs, tables and figures, as Markdown and as HTML of one file."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from esmkit.plots.profiles import one_line

__all__ = [
    "Block",
    "Figures",
    "Heading",
    "Link",
    "Paragraph",
    "Points",
    "Table",
    "to_html",
    "to_markdown",
]


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, its first words in bold if given; a ``warning`` stands out."""

    text: str
    bold: str = ""
    warning: bool = False


@dataclass(frozen=True)
class Link:
    """A sentence that begins with a link to a file beside the page."""

    target: str
    text: str
    after: str = ""


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table; the first column names its rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Figures:
    """Figures: title, path from the page, and the ``<img>`` that holds them; ``small`` go in pairs."""

    figures: Sequence[tuple[str, str, str]]
    small: bool = False


Block = Heading | Paragraph | Link | Points | Table | Figures

_SPECIAL = re.compile(r"[\\`*|$]|~(?=~)|(?<!\w)_|_(?!\w)|](?=[(\[:])|&(?=#?\w+;)|<(?=[A-Za-z/!?])")
"""Characters that Markdown would take for markup; the rest stays readable as plain text."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #666; --line: #d5d5d5; --paper: #fff;
  --warn: #fff4dd; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #a5a5a5; --line: #444;
  --paper: #161616; --warn: #3a2f12; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.45rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 1.3rem 0 .3rem; }
p, ul { margin: .35rem 0; } ul { padding-left: 1.2rem; }
.warning { background: var(--warn); padding: .4rem .7rem; border-radius: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .16rem .6rem .16rem 0;
  border-bottom: 1px solid var(--line); }
td:first-child { color: var(--soft); }
figure { margin: .6rem 0; } figure img { background: #fff; border-radius: 4px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: .4rem; }
@media print { body { font-size: 9pt; line-height: 1.3; margin: 0; max-width: none; }
  .pair { grid-template-columns: 1fr 1fr; } figure, tr { break-inside: avoid; }
  figure img { max-height: 24cm; } }
"""


def to_markdown(blocks: Iterable[Block]) -> str:
    """Return the page as Markdown (GitHub's); names are escaped."""
    parts: list[str] = []
    for block in blocks:
        match block:
            case Heading(level, text):
                parts.append(f"{'#' * level} {_md(text)}")
            case Paragraph(text, bold, warning):
                said = f"**{_md(bold)}** {_md(text)}" if bold else _md(text)
                parts.append(f"> {said}" if warning else said)
            case Link(target, text, after):
                parts.append(f"[{_md(text)}](<{target}>){' ' * bool(after)}{_md(after)}")
            case Points(items):
                parts.append("\n".join(f"- {_md(item)}" for item in items))
            case Table(columns, rows):
                lines = [columns, ["---"] * len(columns), *rows]
                parts.append(
                    "\n".join(
                        "| " + " | ".join(c if n == 1 else _md(c) for c in line) + " |"
                        for n, line in enumerate(lines)
                    )
                )
            case Figures(figures):
                parts += [f"![{_md(title)}](<{path}>)" for title, path, _ in figures]
    return "\n\n".join(parts) + "\n"


def to_html(blocks: Iterable[Block], title: str) -> str:
    """Return the page as one HTML file, in light and dark and for paper; names are escaped."""
    parts: list[str] = []
    for block in blocks:
        match block:
            case Heading(level, text):
                parts.append(f"<h{level}>{_html(text)}</h{level}>")
            case Paragraph(text, bold, warning):
                start = f"<strong>{_html(bold)}</strong> " if bold else ""
                kind = ' class="warning"' if warning else ""
                parts.append(f"<p{kind}>{start}{_html(text)}</p>")
            case Link(target, text, after):
                link = f'<a href="{_html(target)}">{_html(text)}</a>'
                parts.append(f"<p>{link}{' ' * bool(after)}{_html(after)}</p>")
            case Points(items):
                parts.append(f"<ul>{''.join(f'<li>{_html(item)}</li>' for item in items)}</ul>")
            case Table(columns, rows):
                head = "".join(f'<th scope="col">{_html(cell)}</th>' for cell in columns)
                lines = [
                    "<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>"
                    for row in rows
                ]
                parts.append(
                    f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
                    f"<tbody>{''.join(lines)}</tbody></table></div>"
                )
            case Figures(figures, small):
                inner = "".join(f"<figure>{image}</figure>" for _, _, image in figures)
                parts.append(f'<div class="pair">{inner}</div>' if small else inner)
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_html(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def _md(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", one_line(text))


def _html(text: str) -> str:
    return html.escape(one_line(text), quote=True)
