"""One object for what every run can be told: what to overwrite, what to record, whom to tell."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from esmkit.arguments import check_fields
from esmkit.text import Say, silent

__all__ = ["Run"]


def _do_nothing() -> None:
    """Leave the output as it is."""


@dataclass(frozen=True, repr=False)
class Run:
    """Rules that every task which writes files follows, whatever it computes.

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
        Function that takes one sentence about what was found or done.
    then : callable
        Last step with the output where it stands, such as to draw it. If it is cut short, the same
        run again does only this.

    Examples
    --------
    >>> run = Run(force=True, say=print)
    >>> run.say("2 records")
    2 records
    >>> Run(then=lambda: print("drawn")).then()
    drawn

    It goes to any task that writes files:

    >>> demo = esmkit.data.demo_fasta()
    >>> esmkit.embed_file(esmkit.load, demo, "demo.h5", run=Run(force=True))  # doctest: +SKIP
    """

    force: bool = False
    restart: bool = False
    command: str = ""
    progress: bool = False
    say: Say = silent
    then: Callable[[], None] = _do_nothing

    def __post_init__(self) -> None:
        check_fields(self)

    def __repr__(self) -> str:
        """Show what is not the default.

        >>> Run(force=True)
        Run(force=True)
        """
        changed = (f for f in fields(self) if getattr(self, f.name) != f.default)
        return f"Run({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"
