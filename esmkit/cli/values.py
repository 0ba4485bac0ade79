"""Options whose value may be left out, and words that are no value of the option before them."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from esmkit.text import did_you_mean, near

__all__ = [
    "Command",
    "Group",
    "GroupWithDefault",
    "is_folder_for_figures",
    "is_input",
    "optional",
]

_INPUT = re.compile(
    r".*\.(fasta|fas|fa|faa|fna|ffn|pep|seq|mpfa|a2m|a3m|aln|txt|pdb|ent|cif|mmcif|h5|hdf5?)(\.gz)?",
    re.IGNORECASE,
)
"""Names that people give to inputs, and not to folders of figures."""

_MARK = "esmkit_optional"
"""Attribute of an option whose value may be left out: what tells its values from other words."""


def is_input(word: str) -> bool:
    """Tell whether a word of the command line is an input: ``-``, a file or pipe, or named so.

    >>> is_input("-"), is_input("missing.fasta.gz"), is_input("figures")
    (True, True, False)
    """
    if word == "-":
        return True
    try:
        there = Path(word).exists()
        folder = there and Path(word).is_dir()
    except (OSError, ValueError):
        return False
    return not folder and (there or _INPUT.fullmatch(word) is not None)


def is_folder_for_figures(word: str) -> bool:
    """Tell whether a word after ``--plot`` is its folder, or meant for it: ``x.png``."""
    return not is_input(word) or Path(word).suffix.lower() in (".png", ".svg", ".pdf")


def optional(
    *names: str, without: str, takes: Callable[[str], bool], **settings: Any
) -> Callable[..., Any]:
    """Add an option whose value may be left out.

    Parameters
    ----------
    *names : str
        Names, as for :func:`click.option`.
    without : str
        Value of the option given without one.
    takes : callable
        Tells whether the word after the option is its value; if not, it is read by itself.
    **settings
        Passed to :func:`click.option`.
    """

    def add(function: Any) -> Any:
        changed = click.option(*names, is_flag=False, flag_value=without, **settings)(function)
        option = changed.__click_params__[-1]
        setattr(option, _MARK, takes)
        return changed

    return add


def _nothing(word: str) -> str:
    """Return what to say of an empty word, which as a name would mean the folder one is in."""
    what = f"Option {word!r} has an empty value" if word else "An argument is empty"
    return f"{what}; write what is meant (a variable of the shell that is not set gives nothing)."


class Group(click.Group):
    """Commands of which a near one is named where there is none of that name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names."""
        word, known = args[0], self.list_commands(ctx)
        if word not in known and not word.startswith("-") and not ctx.resilient_parsing:
            meant = did_you_mean(word, known)
            if not meant and is_input(word):
                meant = f"; a command comes first: {ctx.command_path} {known[0]} {word}"
            raise click.UsageError(
                f"No such command {word!r}{meant or '; there are ' + ', '.join(known)}", ctx
            )
        return super().resolve_command(ctx, args)


class Command(click.Command):
    """A command in which no option takes for its value what is none.

    An option whose value may be left out (:func:`optional`) takes the next word only if that can be
    its value. Any other option never takes the name of an option: ``-o --force`` is an error, and
    no file called ``--force``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of the command line."""
        return super().parse_args(ctx, self._with_values(ctx, args))

    def _with_values(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        options = {
            name: option
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag and not option.count
            for name in option.opts
        }
        names = {
            name
            for option in self.params
            if isinstance(option, click.Option)
            for name in (*option.opts, *option.secondary_opts)
        }
        words = list(args)
        done: list[str] = []
        while words:
            word = words.pop(0)
            if word == "--":
                return [*done, word, *words]
            option = options.get(word)
            following = words[0] if words else None
            if not word or (option is not None and following == ""):
                raise click.UsageError(_nothing(word), ctx)
            if word.endswith("=") and word[:-1] in options:
                raise click.UsageError(_nothing(word[:-1]), ctx)
            takes = getattr(option, _MARK, None)
            if option is None:
                done.append(word)
            elif takes is not None:
                if following is not None and not following.startswith("-") and takes(following):
                    done.append(f"{word}={words.pop(0)}")
                else:
                    done.append(f"{word}={option.flag_value}")
            elif following in names:
                raise click.UsageError(
                    f"Option {word!r} requires an argument; {following!r} is the next option.", ctx
                )
            else:
                done.append(word)
                if words:
                    done.append(words.pop(0))
        return done


class GroupWithDefault(Group):
    """A group whose first word may be missing: then it is that of its ``default``.

    Attributes
    ----------
    default : str
        The command that is meant, given to :func:`click.group`.
    """

    command_class: type[click.Command] | None = Command

    def __init__(self, *args: Any, default: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the word of the default before words that begin with no command."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            meant = near(args[0], self.commands) if not is_input(args[0]) else []
            if meant:
                raise click.UsageError(
                    f"{args[0]!r} is neither a file nor a command; did you mean {meant[0]!r}?", ctx
                )
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands, and what the default takes."""
        inner = click.Context(self.commands[self.default], parent=ctx, info_name=self.default)
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            return inner.command.shell_complete(inner, incomplete)
        # A shell completes files if no word is left; bash wants to be told of that first
        return [CompletionItem(incomplete, type="file"), *found]
