"""The ``esmkit`` command. One file per subcommand: parse, one library call, write.

Subcommands are imported when they run, so that ``esmkit --help`` loads neither PyTorch nor
Biopython. A new command is a module here with a ``command`` in it, and a line in ``_COMMANDS``.
"""

import contextlib
import errno
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import NoReturn

import click

from esmkit._version import __version__
from esmkit.cli.environment import not_loaded
from esmkit.cli.once import told_today
from esmkit.cli.stopping import stoppable
from esmkit.cli.streams import mend_streams, refused_by_stdout
from esmkit.cli.values import Group
from esmkit.cli.words import in_command_words, in_its_words

__all__ = ["cli", "main"]

_COMMANDS = {
    "embed": "Embed proteins of FASTA files, pooled or per residue.",
    "attention": "Extract per-head attention maps, draw them, or reduce them to numbers.",
    "contacts": "Predict contact maps, score them on structures, or fit a contact head.",
    "score": "Score proteins by what the model expects at each residue.",
    "heads": "Measure what each attention head looks at, with controls.",
    "trace": "Read what the model computes inside, by name.",
    "explore": "Make an interactive page about a protein's attention.",
    "verify": "Compare esmkit with Hugging Face and the reference encoder.",
    "reproduce": "Compare published results with what is measured here.",
    "weights": "Show, fetch and check model weights.",
}
"""Subcommands and their one-line help, in the order of ``esmkit --help``."""


class _LazyGroup(Group):
    """Imports a subcommand only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return in_its_words(importlib.import_module(f"esmkit.cli.{cmd_name}").command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="esmkit")
def cli() -> None:
    """Look inside a protein language model: ESM-2 on your own FASTA files.

    \b
    Examples:
      esmkit embed seqs.fasta    # one vector per protein, in seqs.h5
      esmkit attention --plot    # which head looks where in ubiquitin
    """


def main() -> NoReturn:
    """Run the command: exit 0, 1 (an error, in one sentence), 2 (usage), 130 or 143 (stopped)."""
    mend_streams()
    warnings.showwarning = _show_warning
    _show_all_warnings()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # its settings do not matter here
    with stoppable(), _drawing_to_files():
        _run()
    sys.exit(0)


def _show_all_warnings() -> None:
    """Show warnings that the environment makes errors, for tests of the user's own for one."""
    if any(option.startswith("e") for option in sys.warnoptions):
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)


@contextlib.contextmanager
def _drawing_to_files() -> Iterator[None]:
    """Draw with no backend of the user's, or of a notebook, whose shell commands inherit it."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


def _run() -> None:
    from esmkit.errors import EsmkitError, MissingDependencyError
    from esmkit.text import shorten, visible, visible_lines

    try:
        if sys.flags.optimize > 1:
            raise MissingDependencyError(
                "transformers does not load without its docstrings, which PYTHONOPTIMIZE=2 and "
                "python -OO leave out; run the command without them"
            )
        with refused_by_stdout():
            cli.main(prog_name="esmkit", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        text = io.StringIO()
        error.show(text)
        click.echo(visible_lines(text.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left: nothing to add
        sys.exit(1)
    except EsmkitError as error:
        click.echo(f"esmkit: error: {visible(str(error))}", err=True)
        sys.exit(1)
    except OSError as error:
        if "No usable temporary directory" in str(error):
            click.echo(
                "esmkit: error: there is no folder for temporary files; set TMPDIR to one that can be "
                "written",
                err=True,
            )
            sys.exit(1)
        if error.errno != errno.ENAMETOOLONG:  # what any look at a path may meet
            raise
        name = visible(shorten(str(error.filename)))
        click.echo(
            f"esmkit: error: {name!r} cannot be a file name ({error.strerror}); give a shorter one",
            err=True,
        )
        sys.exit(1)
    except Exception as error:
        if (said := not_loaded(error)) is None:
            raise
        click.echo(f"esmkit: error: {visible(said)}", err=True)
        sys.exit(1)


TOLD_ONCE = {
    "OfflineCheckpointWarning": "; `esmkit weights check` says more",
    "FittedHeadWarning": ", but fitted",
}
"""Warnings that are said in full once a day, and how their first words end later that day."""

_letters_told: list[Warning | str] = []
"""Warnings of letters that no font has: of one run, one is enough."""


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    from esmkit.text import visible_lines

    if type(message).__name__ == "MissingLetterWarning":  # its module imports Matplotlib
        context = click.get_current_context(silent=True)
        if _letters_told or (context is not None and context.params.get("quiet")):
            return
        _letters_told.append(message)
    text = in_command_words(str(message))
    short = TOLD_ONCE.get(type(message).__name__)
    if short and told_today(text):
        text = text.partition(":")[0] + short
    click.echo(f"esmkit: warning: {visible_lines(text)}", err=True)
