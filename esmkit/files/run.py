"""How a run treats what is there already, what it records, and whom it tells."""

from collections.abc import Callable
from dataclasses import dataclass

from esmkit.text import Say

__all__ = ["Run"]


def _say_nothing(text: str) -> None:
    """Keep quiet."""


def _do_nothing() -> None:
    """Leave the output as it is."""


@dataclass(frozen=True)
class Run:
    """What every task that writes files can be told, whatever it computes.

    Attributes
    ----------
    force : bool
        Overwrite an output that exists, and exceed limits of size.
    restart : bool
        Throw unfinished work away instead of going on with it.
    command : str
        The command line, recorded in the provenance.
    progress : bool
        Show a progress bar on standard error.
    say : callable
        Told what was found and done, a sentence at a time.
    then : callable
        What is still to be done with the output where it stands, such as to draw it. If it is cut
        short, the same run again does only this.

    Examples
    --------
    >>> esmkit.embed_file(model, "seqs.fasta", "seqs.h5", run=Run(force=True, say=print))  # doctest: +SKIP
    """

    force: bool = False
    restart: bool = False
    command: str = ""
    progress: bool = False
    say: Say = _say_nothing
    then: Callable[[], None] = _do_nothing
