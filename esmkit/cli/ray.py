"""The options of ``esmkit embed`` that are about a cluster, and the calls behind them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from esmkit.cli.options import PATH, run_of
from esmkit.cli.words import in_command_words
from esmkit.errors import OptionError
from esmkit.text import parse_bytes

if TYPE_CHECKING:
    from esmkit.embeddings.options import EmbedOptions
    from esmkit.files.run_options import Run

__all__ = ["embed_on_ray", "ray_options", "read_dataset", "refuse_ray_options"]

Function = TypeVar("Function", bound=Callable[..., Any])


def ray_options(function: Function) -> Function:
    """Add ``--engine`` and what belongs to it; all arrive in one keyword dictionary."""
    for option in (
        click.option(
            "--merge", "merge", type=PATH, metavar="FOLDER", help="Write a dataset to one file, -o."
        ),
        click.option(
            "--check",
            "check",
            type=PATH,
            metavar="FOLDER",
            help="Prove that a dataset has every record of its input once.",
        ),
        click.option(
            "--range-size",
            callback=_bytes,
            metavar="BYTES",
            help="Input in one part: what a dead worker loses. 4M is 4,000,000 bytes, 4MiB 4,194,304. "
            "[default: by size]",
        ),
        click.option(
            "--gpus-per-worker",
            type=float,
            help="GPUs of each worker. [default: 1 with --device cuda, or if there is one]",
        ),
        click.option("--cpus-per-worker", type=int, help="Processors of each worker. [default: 1]"),
        click.option(
            "--num-workers", type=int, help="Workers. [default: as many as there is room for]"
        ),
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="A Ray cluster to join, or auto. [default: one on this machine]",
        ),
        click.option(
            "--engine",
            type=click.Choice(["local", "ray"]),
            default="local",
            show_default=True,
            help="This process, or a cluster (extra ray; see docs/how-to/cluster.md).",
        ),
    ):
        function = option(function)
    return function


def _bytes(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Parse ``4M`` or ``4MiB``: at least one byte."""
    if text is None:
        return None
    count = parse_bytes(text)
    if count < 1:
        raise OptionError(f"--range-size is at least 1 byte, not {text!r}; give 64K or 4M, say")
    return count


def refuse_ray_options(ray: dict[str, Any]) -> None:
    """Refuse options that would do nothing here: they are a misunderstanding."""
    for name in ("address", "num_workers", "cpus_per_worker", "gpus_per_worker", "range_size"):
        if ray[name] is not None:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} is for --engine ray; add that, or leave {option} out")


def read_dataset(
    ray: dict[str, Any],
    fasta: Sequence[str],
    output: str | None,
    file_format: str | None,
    *,
    force: bool,
    quiet: bool,
) -> bool:
    """Carry out ``--check`` or ``--merge``, if asked for; tell whether they were."""
    if ray["check"] is not None and ray["merge"] is not None:
        raise click.UsageError("--check and --merge are two commands; give one")
    if ray["check"] is not None:
        if output is not None:
            raise click.UsageError("--check writes nothing; leave -o out")
        from esmkit.embeddings.cluster import check_dataset

        # The result is what was asked for, so it goes to standard output
        run = replace(
            run_of(force=force, quiet=quiet), say=lambda text: click.echo(in_command_words(text))
        )
        check_dataset(ray["check"], fasta, run=run)
        return True
    if ray["merge"] is not None:
        if output is None or fasta:
            raise click.UsageError("--merge FOLDER takes the file to write with -o, and no FASTA")
        from esmkit.embeddings.cluster import merge_dataset

        run = run_of(force=force, quiet=quiet)
        merge_dataset(ray["merge"], output, file_format=file_format, run=run)
        run.say(f"wrote {output}")
        return True
    return False


def embed_on_ray(
    ray: dict[str, Any],
    fasta: Sequence[str],
    output: str,
    options: "EmbedOptions",
    *,
    run: "Run",
    **settings: Any,
) -> None:
    """Run ``--engine ray``."""
    from esmkit.embeddings.cluster import Workers, embed_dataset

    cpus = 1 if ray["cpus_per_worker"] is None else ray["cpus_per_worker"]
    embed_dataset(
        fasta,
        output,
        options,
        workers=Workers(ray["address"], ray["num_workers"], cpus, ray["gpus_per_worker"]),
        range_bytes=ray["range_size"],
        run=run,
        **settings,
    )
