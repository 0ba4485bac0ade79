"""Options that say which attention heads make a contact map, and what makes the head of them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from esmkit.cli.options import PATH, names_list

if TYPE_CHECKING:
    from esmkit.contacts import ContactHead
    from esmkit.encoder.encoder import Encoder

__all__ = ["head_maker", "head_options", "head_options_beside_pairs", "top_pairs"]


def head_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what decides which attention heads make the map."""
    return _add(function, "--top", "--top-heads", "top")


def head_options_beside_pairs(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same to a command whose ``--top`` counts pairs: here it is ``--top-heads``."""
    return _add(function, "--top-heads")


def _add(function: Callable[..., Any], *top: str) -> Callable[..., Any]:
    for option in (
        click.option(
            "--head-weights",
            type=PATH,
            help="Contact head written by `esmkit contacts fit`. [default: the checkpoint's own]",
        ),
        click.option(
            *top,
            type=click.IntRange(min=1),
            help="With --method heads: the best so many by long-range P@L/2 on TS50.",
        ),
        click.option(
            "--heads", callback=names_list, help="With --method heads: these, such as L5H4,L4H11."
        ),
        click.option(
            "--method",
            type=click.Choice(["regression", "heads"]),
            help="Contact head, or the mean of single heads. [default: heads if any are given]",
        ),
    ):
        function = option(function)
    return function


def top_pairs(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> "int | str | None":
    """Parse ``100``, ``L`` or ``L/2``."""
    from esmkit.contacts.top import parse_top
    from esmkit.errors import OptionError

    if text is None:
        return None
    if text and not text.strip("0"):
        raise click.BadParameter(f"{text} is not in the range x>=1.")
    try:
        parse_top(text)
    except OptionError as error:
        raise click.BadParameter(str(error)) from None
    return int(text) if text.isdecimal() else text


def head_maker(
    method: str | None,
    heads: Sequence[str] | None,
    top: int | None,
    head_weights: str | None,
    say: Callable[[str], None],
    option: str = "--top",
) -> "Callable[[Encoder], ContactHead] | None":
    """Return what makes the contact head once there is a model."""
    named = heads is not None or top is not None
    by_heads = method == "heads" or (method is None and named)
    if named and not by_heads:
        raise click.UsageError(f"--heads and {option} are for --method heads; leave --method out")
    if by_heads and head_weights:
        raise click.UsageError(f"--head-weights is a regression; leave --heads, {option} or it out")
    if heads is not None and top:
        raise click.UsageError(f"give --heads, or {option} to have them chosen, not both")
    if by_heads:

        def mean_of_heads(model: "Encoder") -> "ContactHead":
            from esmkit.contacts import ContactHead, best_heads, rank_heads
            from esmkit.data import ts50

            chosen = heads
            if chosen is None:
                count = top or 1
                say(f"choosing {count} head(s) by long-range P@L/2 on the 50 chains of TS50")
                chosen = best_heads(rank_heads(model, ts50()), count)
            return ContactHead.mean_of(model, chosen)

        return mean_of_heads
    if head_weights:

        def from_file(model: "Encoder") -> "ContactHead":
            from esmkit.contacts import ContactHead

            head = ContactHead.load(head_weights, model)
            fitted = head.provenance.get("checkpoint", {})
            if fitted.get("sha256") not in (None, model.checkpoint.sha256):
                say(
                    f"note: {head_weights} was fitted to {fitted.get('name')}, not to these weights"
                )
            return head

        return from_file
    return None
