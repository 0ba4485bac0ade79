"""Options of commands that take predicted structures: which residues are sure enough to count."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from esmkit.cli.options import make_say, structures_of

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["StructureReading", "plddt_options"]


@dataclass(frozen=True)
class StructureReading:
    """How structures are read, as ``--min-plddt`` and ``--predicted`` ask for."""

    min_plddt: float | None
    predicted: bool

    def given(self, texts: Sequence[str], say: Callable[[str], None]) -> "list[Structure]":
        """Return structures given as FILE or FILE:CHAIN."""
        from esmkit.structure.given import read_chains

        if not texts and (self.predicted or self.min_plddt is not None):
            option = "--predicted" if self.predicted else "--min-plddt"
            raise click.UsageError(f"{option} is about structures; name one with --structure")
        return read_chains(texts, say, predicted=self.predicted, min_plddt=self.min_plddt)

    def of_folder(self, folder: str | None) -> "list[Structure]":
        """Return the chains of a folder, or TS50."""
        say = make_say(quiet=False)
        return structures_of(folder, say, predicted=self.predicted, min_plddt=self.min_plddt)


def plddt_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--min-plddt`` and ``--predicted``, passed as ``reading``."""

    @functools.wraps(function)
    def with_reading(*args: Any, min_plddt: float | None, predicted: bool, **rest: Any) -> Any:
        return function(*args, reading=StructureReading(min_plddt, predicted), **rest)

    changed: Callable[..., Any] = with_reading
    for option in (
        click.option(
            "--predicted",
            is_flag=True,
            help="Take B-factors for pLDDT in structures that do not say they are predicted.",
        ),
        click.option(
            "--min-plddt",
            type=click.FloatRange(0, 100),
            help="Predicted structures (AlphaFold, ESMFold and others): residues of lower pLDDT, "
            "such as 70, count as not resolved. [all count]",
        ),
    ):
        changed = option(changed)
    return changed
