"""What the library says, in the words of the command that was given.

The library names options as Python writes them, as code: `` `on_invalid="replace"` ``,
`` `run=Run(force=True)` ``, `` `heads` ``. A command says ``--on-invalid replace``, ``--force`` and
``--heads``. Which option is meant follows from the options that the command in hand has.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Any, TypeVar

import click

from esmkit.errors import EsmkitError

__all__ = ["in_command_words", "in_its_words"]

OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "output": ("output",),
    "path": ("output",),
    "folder": ("plot", "output"),
    "kind": ("plot_format",),
    "head": ("head_weights",),
    "sources": ("fasta",),
    "number": ("num_workers",),
    "cpus": ("cpus_per_worker",),
    "gpus": ("gpus_per_worker",),
    "range_bytes": ("range_size",),
}
"""Parameters that commands call otherwise: the first that the command has is meant."""

OPPOSITES = {"progress": "quiet", "masked": "one_pass"}
"""Parameters that commands have as their opposite."""

FUNCTIONS = {
    "esmkit.contacts.fit": "`esmkit contacts fit`",
    "esmkit.ContactHead.mean_of": "heads",
    "esmkit.contacts.evaluate_best": "top",
}
"""Functions that are a command, or a parameter."""

_CODE = re.compile(r"`(?P<code>[A-Za-z_][\w.]*(?:=[^`\n]*)?)`")
"""A name, or arguments with their values; other code, such as a whole command, stays as it is."""

_Command = TypeVar("_Command", bound=click.Command)


class _SpeakingContext(click.Context):
    """Puts the errors of the library, on their way out of a command, into its words."""

    def __exit__(self, exc_type: Any, exc_value: Any, tb: Any) -> Any:
        if isinstance(exc_value, EsmkitError):
            exc_value.args = (in_command_words(str(exc_value), self),)
        return super().__exit__(exc_type, exc_value, tb)


def in_its_words(command: _Command) -> _Command:
    """Have a command, and the commands in it, say errors in its own words."""
    command.context_class = _SpeakingContext
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            in_its_words(inner)
    return command


def in_command_words(text: str, context: click.Context | None = None) -> str:
    """Translate code that names options of Python into options of a command.

    Of several remedies, ``this, or that``, those are left out that the command has no option for.
    Where there is no other, the words of Python stay.

    Parameters
    ----------
    text : str
        What the library says.
    context : click.Context, optional
        The command; by default the one that is being carried out. Without one the text stays.

    Returns
    -------
    str

    Examples
    --------
    >>> from esmkit.cli.embed import command
    >>> said = "'x.h5' exists already; `run=Run(force=True)` overwrites it, or `output` names another"
    >>> in_command_words(said, click.Context(command))
    "'x.h5' exists already; --force overwrites it, or -o names another"
    """
    context = context or click.get_current_context(silent=True)
    if context is None:
        return text
    arrived, *remedies = text.split("; ")
    words = [_translate(arrived, context.command)[0]]
    for remedy in remedies:
        ways = [_translate(way, context.command) for way in remedy.split(", or ")]
        there = [way for way, has_all in ways if has_all] or [way for way, _ in ways]
        words.append(", or ".join(there))
    return "; ".join(words)


def _translate(text: str, command: click.Command) -> tuple[str, bool]:
    """Return a text in the words of a command, and whether it has options for all that is named."""
    has_all = True

    def words(found: re.Match[str]) -> str:
        nonlocal has_all
        code = FUNCTIONS.get(found["code"], found["code"])
        if code.startswith("`"):
            return code
        options = [_option(name, value, command) for name, value in _arguments(code)]
        if None in options:
            has_all = False
            return found[0]
        return " ".join(filter(None, options)) or found[0]

    return _CODE.sub(words, text), has_all


def _arguments(code: str) -> Iterator[tuple[str, Any]]:
    """Yield names and values of `` `name` `` and `` `name=value` ``; of objects those of their parts.

    A value that is no literal is ``...``, as is that of a bare name: the option is named without one.
    """
    if code.isidentifier():
        yield code, ...
        return
    try:
        call = ast.parse(f"f({code})", mode="eval").body
    except (SyntaxError, ValueError):  # ValueError: a zero byte, in Python 3.11
        return
    yield from _parts(call) if isinstance(call, ast.Call) else ()


def _parts(call: ast.Call) -> Iterator[tuple[str, Any]]:
    for keyword in call.keywords:
        if isinstance(keyword.value, ast.Call):
            yield from _parts(keyword.value)
            continue
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, TypeError):  # TypeError: such as a list as a key
            value = ...
        yield keyword.arg or "", value


def _option(name: str, value: Any, command: click.Command) -> str | None:
    """Return an argument as it is given to a command, or None if the command does not take it."""
    if name in OPPOSITES and isinstance(value, bool):
        name, value = OPPOSITES[name], not value
    found = _parameter(name, command)
    if found is None:
        return None
    if isinstance(found, click.Argument):
        return (found.metavar or str(found.name).upper()).strip("[].")
    values = list(value) if isinstance(value, list | tuple) else [value]
    allowed = map(str, found.type.choices) if isinstance(found.type, click.Choice) else None
    if allowed and not {str(v) for v in values if v not in (..., None)} <= set(allowed):
        return None
    option = found.opts[0]
    if value is ... or value is True:
        return option
    if value is False or value is None:
        return found.secondary_opts[0] if found.secondary_opts else f"no {option}"
    if found.multiple:
        return " ".join(f"{option} {shlex.quote(str(v))}" for v in values)
    return f"{option} {shlex.quote(','.join(map(str, values)))}"


def _parameter(name: str, command: click.Command) -> click.Parameter | None:
    """Return the option or argument of a command that is called so, or nearly so."""
    names = [*OTHER_NAMES.get(name, ()), name, f"{name}s", name.removesuffix("s")]
    for one in names:
        for parameter in command.params:
            if one == parameter.name or f"--{one.replace('_', '-')}" in parameter.opts:
                return parameter
    return None
