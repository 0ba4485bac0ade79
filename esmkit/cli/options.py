"""Options that every command shares, and how they turn into a model."""

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from esmkit.cli.waiting import waiting
from esmkit.cli.words import in_command_words
from esmkit.files.run_options import Run
from esmkit.text import silent, visible, working

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = [
    "PATH",
    "SEED",
    "ModelChoice",
    "attention_layers_option",
    "batch_tokens_option",
    "command_line",
    "default_output",
    "heads_option",
    "id_option",
    "layer_list",
    "lm_head_option",
    "long_option",
    "make_say",
    "model_options",
    "names_list",
    "on_invalid_option",
    "structures_of",
]

PATH = click.Path(readable=False)
"""Text that a shell completes as a path. Whether it exists and can be read is checked later."""

LISTED_NOTES = 20
"""How many notes on structures are said; a folder may have thousands."""

SEED = click.IntRange(0, 2**32 - 1)
"""Seed that NumPy and scikit-learn take."""


@dataclass(frozen=True)
class ModelChoice:
    """Model that ``--model``, ``--device``, ``--dtype``, ``--compile`` and ``--lm-head`` ask for."""

    name: str
    device: str
    dtype: str
    compiled: bool | None
    quiet: bool = False
    lm_head: str | None = None

    def load(self) -> "Encoder":
        """Load the model and print which weights it uses, whatever else is quiet."""
        from esmkit.encoder.checkpoints.trust import existing_head

        if self.lm_head is not None:
            existing_head(self.lm_head)
        say = make_say(quiet=False)
        with waiting("loading PyTorch", make_say(self.quiet)):
            from esmkit.esm2 import load
        with working(make_say(self.quiet), "loading the weights"):
            loaded = load(
                self.name,
                self.device,
                self.dtype,
                compiled=self.compiled,
                lm_head=self.lm_head,
                say=say,
            )
        how = f"{self.dtype} on {loaded.device}{', compiled' * loaded.compiled}"
        say(f"model: {loaded.checkpoint}, {how}")
        return loaded


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--quiet`` and the options that make a :class:`ModelChoice`, passed as ``model``.

    The choice of a command that has :data:`lm_head_option` too has the file of the head.
    """

    @functools.wraps(function)
    def with_choice(
        *args: Any, model: str, device: str, dtype: str, compiled: bool | None, **rest: Any
    ) -> Any:
        quiet = bool(rest.get("quiet"))
        choice = ModelChoice(model, device, dtype, compiled, quiet, rest.pop("lm_head", None))
        return function(*args, model=choice, **rest)

    changed: Callable[..., Any] = with_choice
    for option in (
        click.option("--quiet", "-q", is_flag=True, help="No progress and no report."),
        click.option(
            "--compile/--no-compile",
            "compiled",
            default=None,
            help="Compile attention for this CPU with its C compiler, once, or use PyTorch's. "
            "[default: compile where it can be]",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["float32", "bfloat16", "float16"]),
            default="float32",
            show_default=True,
            help="Number format of weights and activations; results are float32.",
        ),
        click.option(
            "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps."
        ),
        click.option(
            "--model",
            "-m",
            type=PATH,
            default="auto",
            show_default=True,
            help="auto, a Hub name, a model folder or an esm2_*.pt file.",
        ),
    ):
        changed = option(changed)
    return changed


def make_say(quiet: bool) -> Callable[[str], None]:
    """Return what reports a sentence on standard error, or nothing at all."""
    if quiet:
        return silent
    context = click.get_current_context(silent=True)  # other threads than this one have none
    return lambda text: click.echo(f"esmkit: {visible(in_command_words(text, context))}", err=True)


def layer_list(
    context: click.Context, parameter: click.Parameter, text: str
) -> tuple[int, ...] | Literal["all"]:
    """Parse ``6``, ``0,3,-1`` or ``all``."""
    if text == "all":
        return "all"
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a number, a list such as 0,3,-1, or all"
        ) from None


def names_list(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[str, ...] | None:
    """Parse ``L5H4,L4H11``."""
    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:  # as an empty variable of a shell leaves it
        raise click.BadParameter(f"{text!r} names nothing; name something, or leave the option out")
    return names


long_option: Final = click.option(
    "--long",
    type=click.Choice(["window", "whole", "truncate", "error"]),
    default="window",
    show_default=True,
    help="Over 1,022 residues: averaged windows, one pass, the beginning only, or an error. Windows "
    "differ from one pass, most near their ends.",
)

on_invalid_option: Final = click.option(
    "--on-invalid",
    type=click.Choice(["error", "replace", "skip", "degap"]),
    default="error",
    show_default=True,
    help="Unknown letters: stop, write X, or leave the record out and list it; degap removes gaps.",
)

id_option: Final = click.option(
    "--id",
    "ids",
    multiple=True,
    metavar="ID",
    help="Take this record only, such as P69905 for sp|P69905|HBA_HUMAN; may be given several times.",
)

lm_head_option: Final = click.option(
    "--lm-head",
    type=PATH,
    metavar="FILE",
    help="A masked-LM head that was fitted to these weights (esmkit score fit), in place of theirs.",
)

heads_option: Final = click.option(
    "--heads", callback=names_list, help="Only these: L5H4,L4H11, or L5 for a whole layer."
)

attention_layers_option: Final = click.option(
    "--layers",
    default="all",
    show_default=True,
    callback=layer_list,
    help="Attention layers, the first is 0: 5, 0,1 or -1 from the end.",
)


def batch_tokens_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add ``--batch-tokens``."""
    return click.option(
        "--batch-tokens",
        type=click.IntRange(min=1),
        default=default,
        show_default=True,
        help="Most tokens in one forward pass, on a CPU up to 1,024; less memory with fewer.",
    )


def structures_of(
    folder: str | None,
    say: Callable[[str], None],
    *,
    predicted: bool = False,
    min_plddt: float | None = None,
) -> "list[Structure]":
    """Return the chains of a folder, or TS50; what is left out or had to be decided is said."""
    from esmkit.data import ts50
    from esmkit.errors import InputError
    from esmkit.structure import read_structures

    if folder is None:
        if min_plddt is not None:
            raise InputError(
                "the chains of TS50 were determined by experiment and have no pLDDT; leave "
                "`min_plddt` out, or name a folder of predicted structures with `structures`"
            )
        return ts50()
    left_out: list[tuple[Any, str]] = []
    with working(say, f"reading the structures in {folder}"):
        found = list(read_structures(folder, report=left_out, predicted=predicted))
    if min_plddt is not None:
        found = [structure.confident(min_plddt) for structure in found]
    for path, reason in left_out:
        say(f"left out: {path}: {reason}")
    notes = [f"{structure.id}: {note}" for structure in found for note in structure.notes]
    for note in notes[:LISTED_NOTES]:
        say(note)
    if len(notes) > LISTED_NOTES:
        say(f"and {len(notes) - LISTED_NOTES:,} more notes like these")
    if not found:
        raise InputError(f"no protein chain in {folder!r} can be used; give PDB or mmCIF files")
    return found


def default_output(sources: tuple[str, ...], suffix: str) -> Path:
    """Name the output after the only input, in the current folder."""
    if len(sources) != 1 or sources[0] == "-":
        raise click.UsageError(
            "several inputs, or standard input, leave the output without a name; give one with -o"
        )
    from esmkit.sequences.fasta import stem_of

    return Path(f"{stem_of(sources[0]) or 'output'}{suffix}")


def run_of(
    *, force: bool, quiet: bool, restart: bool = False, then: Callable[[], None] = lambda: None
) -> "Run":
    """Return what ``--force``, ``--restart`` and ``--quiet`` say about a run."""
    from esmkit.files.run_options import Run

    return Run(force, restart, command_line(), not quiet, make_say(quiet), then)


def command_line() -> str:
    """Return the command as it was typed, for the provenance."""
    import shlex

    return shlex.join(["esmkit", *sys.argv[1:]])
