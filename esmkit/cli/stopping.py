"""Ctrl-C and its relatives: a command ends within two seconds and says how to go on.

A signal handler of Python runs between two steps of Python, and leaves by an exception so that what
is pending is written on the way out. Neither need happen soon: one call into a library may take
minutes, and an exception that strikes in a callback (of a weak reference, say) is dropped. So one
that was dropped is raised again, and a thread is told of the signal as well, by the interpreter
itself, and ends the process when its time is up. That is safe at any moment, as a kill is: what is
on disk is whole.
"""

import _thread
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

__all__ = ["kept", "stoppable"]

GRACE_SECONDS = 1.2
"""Time that a stopped command may take to write what is pending."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that stop a command; Windows has no SIGHUP."""

ONCE_MORE = "give the same command again to run it"
GOES_ON = "finished work is kept, the same command again goes on from there"

_state: dict[str, Any] = {"how": ONCE_MORE, "said": False, "again": False, "code": 0}


@contextlib.contextmanager
def kept(resumes: bool = True) -> Iterator[None]:
    """While this lasts, a stopped command says that its finished work is kept."""
    before, _state["how"] = _state["how"], GOES_ON if resumes else ONCE_MORE
    try:
        yield
    finally:
        _state["how"] = before


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """While this lasts, signals that stop a command end it with exit code 128 + their number."""
    numbers = []
    for name in SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            # An exception of our own for SIGINT as well: a KeyboardInterrupt that strikes inside an
            # exec() makes Python end itself by that signal, whatever exit code was asked for.
            signal.signal(number, _stop)
            numbers.append(int(number))
    here, there = socket.socketpair()
    there.setblocking(False)
    old = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(here, numbers), daemon=True).start()
    try:
        yield
    finally:
        if _state["said"]:  # C code may have made another exception of ours, or none
            raise SystemExit(_state["code"])
        signal.set_wakeup_fd(old)  # else until the end of the interpreter
        there.close()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    if _state["said"] and not _state["again"]:  # asked twice
        os._exit(128 + number)
    _state.update(again=False, code=128 + number)
    _say()
    other = sys.unraisablehook

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if what.exc_type is SystemExit:
            _state["again"] = True
        else:
            other(what)

    sys.unraisablehook = dropped
    raise SystemExit(128 + number)


def _end_in_time(told: socket.socket, numbers: list[int]) -> None:
    """Wait for a signal, then for the process to end; end it if it does not."""
    with told:
        while data := told.recv(1):
            if data[0] in numbers:
                until = time.monotonic() + GRACE_SECONDS
                while time.monotonic() < until:
                    time.sleep(0.02)
                    if _state["again"]:
                        _thread.interrupt_main(signal.Signals(data[0]))
                _say()
                os._exit(128 + data[0])


def _say() -> None:
    if _state["said"]:
        return
    _state["said"] = True
    # Not through sys.stderr, which may be in the middle of a line; and a terminal may be gone.
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"esmkit: stopped; {_state['how']}\n".encode())
