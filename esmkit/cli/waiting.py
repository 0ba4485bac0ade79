"""A sign at the terminal that something goes on, from its first moment to its end."""

import contextlib
import itertools
import sys
import threading
from collections.abc import Iterator

import click

from esmkit.text import Say, silent, working

__all__ = ["waiting"]

SIGNS = "|/-\\"
"""Shown in turn."""

SECONDS = 0.25
"""Time of each sign."""


@contextlib.contextmanager
def waiting(text: str, say: Say) -> Iterator[None]:
    """Show what goes on, with a sign that turns; the line is gone afterwards.

    For work that says nothing of its own and cannot be counted. Where standard error is no terminal
    it is said as :func:`esmkit.text.working` does.

    Parameters
    ----------
    text : str
        What goes on, such as ``"loading PyTorch"``.
    say : callable
        With :data:`esmkit.text.silent` nothing is shown.

    Yields
    ------
    None
    """
    if say is silent or sys.stderr is None or not sys.stderr.isatty():
        with working(say, text):
            yield
        return
    line, ended = f"esmkit: {text} ... ", threading.Event()

    def turn() -> None:
        for sign in itertools.cycle(SIGNS):
            _show(f"\r{line}{sign}")
            if ended.wait(SECONDS):
                return

    _show(line)  # a library that is being loaded may keep other threads waiting
    turning = threading.Thread(target=turn, daemon=True)
    turning.start()
    try:
        yield
    finally:
        ended.set()
        turning.join()
        _show(f"\r{' ' * (len(line) + 1)}\r")


def _show(text: str) -> None:
    click.echo(text, nl=False, err=True)
