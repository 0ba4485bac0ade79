"""Forked processes: what a child may do with a model that its parent has loaded.

A fork copies the memory of a process, and of its threads only the one that asked for it. The OpenMP
library of PyTorch and of the compiled attention goes on believing in the pool of threads that this
one had, and waits for them for ever. With one thread it asks for no pool. So a child computes with
one, which is also what several children beside each other are fastest with. Numbers do not change:
no sum is split between threads.

A process that was forked before esmkit was there is asked, when a model is loaded, whether PyTorch can
still compute in it: one that computed before the fork lost its threads all the same.

CUDA and Apple's GPUs do not survive a fork at all: there a child is told what to do instead.
"""

import logging
import mmap
import multiprocessing
import os
import signal
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch

from esmkit.errors import OptionError

__all__ = ["expect_forks", "make_ready"]

FORKED = 0x40
"""``PF_FORKNOEXEC`` of Linux: the process was forked and has not become another program since.

Bit of the ninth field of ``/proc/self/stat``, see proc(5) and ``include/linux/sched.h``."""

SHARED = 1 << 17
"""Numbers that PyTorch shares between threads to add: 32,768 make it use two."""

PATIENCE = 1.0
"""Seconds in which a child adds them, which takes it a thousandth of that."""


@dataclass
class _State:
    """What this process knows about forks.

    Attributes
    ----------
    expects : bool
        Whether the function that runs in children is registered.
    used : set of str
        Types of devices that hold models of this process, such as ``cuda``.
    lost : set of str
        Those that a process before this one had used when it forked.
    thread : int, optional
        The thread that this process was forked with, if it was forked from one with a model or
        from one whose threads it lacks.
    said : mmap.mmap, optional
        One byte that a process shares with its children: whether one of them has said that it
        computes with one thread.
    slower : bool
        Whether this process was given fewer threads than its parent, and has to say so.
    """

    expects: bool = False
    used: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    thread: int | None = None
    said: mmap.mmap | None = None
    slower: bool = False


_state = _State()


def expect_forks(device: torch.device) -> None:
    """Prepare for children of this process, which holds a model on a device.

    In each child, right after the fork, PyTorch is set to one thread: there also whatever else
    computes with PyTorch would wait for ever. Nothing changes in this process.

    Raises
    ------
    OptionError
        If the device was lost in a fork.
    """
    if device.type == "cuda" and torch.cuda._is_in_bad_fork():  # used before esmkit was there
        raise _lost(device)
    make_ready(device)
    if not _state.expects and hasattr(os, "register_at_fork"):  # Windows has no fork
        _state.expects = True
        _state.said = mmap.mmap(-1, 1)
        if _was_forked() and not _can_share():  # before it is registered, which would help the copy
            _after_fork()
        os.register_at_fork(after_in_child=_after_fork)
    _state.used.add(device.type)


def _was_forked() -> bool:
    """Say whether this process may be the copy of another: on Linux, whose OpenMP is lost in it."""
    try:
        fields = Path("/proc/self/stat").read_text("ascii", "replace").rpartition(") ")[2].split()
        flags = int(fields[6])
    except (OSError, ValueError, IndexError):
        return False
    # Where Linux is imitated the flags are 0
    return bool(flags & FORKED) or multiprocessing.parent_process() is not None


def _can_share() -> bool:
    """Say whether PyTorch's threads answer, which a copy of this process finds out.

    It waits for ever where they do not. It also does if they are alive here, since they are not
    there: then this process has computed after the fork, and one thread costs it time only.
    """
    if torch.get_num_threads() == 1:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks while there are threads
        child = os.fork()
    if not child:
        try:
            torch.ones(SHARED).add_(1)
        finally:
            os._exit(0)  # whatever happens, the copy does not go on with the program
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            if os.waitpid(child, os.WNOHANG)[0]:
                return True
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except ChildProcessError:  # it has ended, and the program ignores SIGCHLD
        return time.monotonic() < end
    return False


def _after_fork() -> None:
    """Give the child one thread; it has no others yet, so nothing else is computing."""
    _state.thread = threading.get_ident()
    _state.lost |= _state.used - {"cpu"}
    _state.used.clear()
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _state.slower = True


def make_ready(device: torch.device) -> None:
    """Make sure that a pass on a device can end; called before each.

    Raises
    ------
    OptionError
        If the device was lost in a fork.
    """
    if _state.thread is None:
        return
    if device.type in _state.lost:
        raise _lost(device)
    if _state.slower:
        _state.slower = False
        _say_once()
    # Somebody has set another number since; in threads started by this process any number works
    if threading.get_ident() == _state.thread and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


def _lost(device: torch.device) -> OptionError:
    return OptionError(
        f"this process was forked from one that uses {device.type!r}, which does not work in "
        "forked processes; start processes with "
        '`multiprocessing.get_context("spawn")`, or load the model in them only'
    )


def _say_once() -> None:
    """Say, in one of all children, that it computes with one thread."""
    if torch.utils.data.get_worker_info() is not None:  # where that is PyTorch's own custom
        return
    if _state.said is not None and not _state.said[0]:
        _state.said[0] = 1
        # Not a warning, which may be an error
        logging.getLogger("esmkit").warning(
            "esmkit: this process was forked from one that computes with PyTorch, and computes with "
            "one thread, as all such processes do; to use more, start it with "
            'multiprocessing.get_context("spawn")'
        )
