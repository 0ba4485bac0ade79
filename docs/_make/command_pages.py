"""Reference pages of the commands, from the same objects that print their help."""

import inspect
import re
from collections.abc import Iterator
from functools import cache

import click

from esmkit.cli import cli

__all__ = ["command_pages", "commands"]


@cache
def commands() -> dict[str, click.Command]:
    """Return every command and group by the words that call it, such as ``esmkit score fit``."""
    return dict(_walk("esmkit", cli))


def _walk(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=words)
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None
            yield from _walk(f"{words} {sub}", inner)


def page_of(words: str) -> str:
    """Return the file name of a command's page, without its ending."""
    return words.replace(" ", "-")


def command_pages() -> dict[str, str]:
    """Return the text of each page, in reStructuredText, by its file name without ending."""
    known = commands()
    pages = {page_of(words): _page(words, command) for words, command in known.items()}
    rows = [
        (f":doc:`{words} <{page_of(words)}>`", _escaped(_summary(command)))
        for words, command in known.items()
        if words != "esmkit"
    ]
    top = [page_of(words) for words in known if words.count(" ") <= 1]
    pages["index"] = "\n".join(
        [
            "Commands\n========\n",
            "Each command prints what stands here with ``--help``. Exit status: 0, or 1 after an error "
            "in one sentence, 2 after a mistake in the command line, 130 or 143 when stopped.\n",
            _table(rows),
            ".. toctree::\n   :hidden:\n\n" + "".join(f"   {page}\n" for page in top),
        ]
    )
    return pages


def _summary(command: click.Command) -> str:
    return (command.get_short_help_str(200) or "").strip()


def _table(rows: list[tuple[str, str]]) -> str:
    lines = [".. list-table::", "   :class: names", "   :widths: 35 65", ""]
    for first, second in rows:
        lines += [f"   * - {first}", f"     - {second}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return text with what reStructuredText would read as markup made plain; options are code."""
    text = re.sub(r"([\\*`|_])", r"\\\1", text)
    text = re.sub(r"(?<![\w-])(--?[a-zA-Z][\w-]*)(?![\w-])", r"``\1``", text)
    return re.sub(r"\bdocs/([\w/-]+)\.md\b", r":doc:`/\1`", text)


def _page(words: str, command: click.Command) -> str:
    context = click.Context(command, info_name=words, help_option_names=["-h", "--help"])
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"{words}\n{'=' * len(words)}\n", f".. program:: {words}\n"]
    lines += [".. code-block:: console\n", f"   $ {words} {usage}\n"]
    lines.append(_help(command))
    if isinstance(command, click.Group) and (subs := command.list_commands(context)):
        lines.append("Commands\n--------\n")
        rows = []
        for sub in subs:
            inner = command.get_command(context, sub)
            assert inner is not None
            said = _escaped(_summary(inner))
            rows.append((f":doc:`{words} {sub} <{page_of(f'{words} {sub}')}>`", said))
        lines.append(_table(rows))
        if words != "esmkit":
            lines.append(".. toctree::\n   :hidden:\n")
            lines += [f"   {page_of(f'{words} {sub}')}" for sub in subs]
            lines.append("")
    options = [
        p for p in command.get_params(context) if isinstance(p, click.Option) and not p.hidden
    ]
    if options:
        lines.append("Options\n-------\n")
        lines += [_option(option, context) for option in options]
    return "\n".join(lines)


def _help(command: click.Command) -> str:
    """Return a help text: paragraphs, and what is marked verbatim as code."""
    parts = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        verbatim = paragraph.startswith("\b")
        lines = [line for line in paragraph.splitlines() if line.strip() != "\b"]
        if not verbatim:
            parts.append(_escaped(" ".join(line.strip() for line in lines)) + "\n")
            continue
        heads = [line for line in lines if not line.startswith(" ")]
        code = [line[2:] for line in lines if line.startswith(" ")]
        if code and len(heads) <= 1:
            if heads and re.match("Examples?:$", heads[0]):
                parts.append(f".. rubric:: {heads[0].rstrip(':')}\n")
            elif heads:
                parts.append(_escaped(heads[0]) + "\n")
            language = "console" if heads and heads[0].startswith("Example") else "python"
            shown = [f"   $ {line}" if language == "console" else f"   {line}" for line in code]
            parts.append(f".. code-block:: {language}\n\n" + "\n".join(shown) + "\n")
        else:
            parts.append("::\n\n" + "\n".join(f"   {line}" for line in lines) + "\n")
    return "\n".join(parts)


def _option(option: click.Option, context: click.Context) -> str:
    names = list(option.opts) + list(option.secondary_opts)
    value = "" if option.is_flag or option.count else _value(option, context)
    shown = ", ".join(f"{name}{' ' + value if value else ''}" for name in names)
    record = option.get_help_record(context)
    said = " ".join((record[1] if record else "").split())
    text, _, facts = said.partition("  [") if "  [" in said else (said, "", "")
    match = re.search(r"\[(default|required|x[<>]=?|\d)[^\]]*\]$", text)
    if match:
        text, facts = text[: match.start()].strip(), match[0].strip("[]")
    lines = [f".. option:: {shown}\n", f"   {_escaped(text)}\n"]
    if facts:
        lines.append(f"   .. rst-class:: facts\n\n   {_escaped(facts.strip('[]'))}\n")
    return "\n".join(lines)


def _value(option: click.Option, context: click.Context) -> str:
    kind = option.type
    if isinstance(kind, click.Choice):
        return "<" + "|".join(map(str, kind.choices)) + ">"
    shown = option.make_metavar(context).strip("[]")
    return shown.replace(" ", "-")
