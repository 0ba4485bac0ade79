"""Where a process can be killed: hooks that are set in a forked child, before its command begins."""

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir", "symlink")
"""Calls to the file system before and after which a child can be killed."""

WAYS = ("moment", "step", "writing", "size")
"""A random moment; a step to the file system; a while after the output is begun; a byte of a file
at which the system ends the process, in the middle of a write."""

WRITES = os.O_WRONLY | os.O_RDWR

Count = Callable[[], None]


def die() -> None:
    """End this process as SIGKILL does."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(way: str, at: float) -> None:
    """Make this process kill itself."""
    if way == "step":
        left = int(at)

        def tick() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                die()

        watch_steps(tick)
    if way == "writing":
        watch_writing(lambda: threading.Timer(at, die).start())
    if way == "size":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(at), resource.RLIM_INFINITY))


def watch_steps(tick: Count) -> None:
    """Call something before and after every step to the file system, and before a file is opened."""
    for name in STEPS:
        step = getattr(os, name)

        def watched(*args: Any, step: Any = step, **kwargs: Any) -> Any:
            tick()
            result = step(*args, **kwargs)
            tick()
            return result

        setattr(os, name, watched)
    _watch_opened(lambda path: tick())


def watch_writing(begun: Count) -> None:
    """Call something once, when the output is begun."""
    from esmkit.files.work_folder import WorkFolder

    temporary, done = WorkFolder.temporary, False

    def once() -> None:
        nonlocal done
        if not done:
            done = True
            begun()

    def watched(self: WorkFolder) -> Path:
        once()
        return temporary(self)

    WorkFolder.temporary = watched  # type: ignore[method-assign]

    def opened(path: str) -> None:
        folder = os.path.dirname(path)  # noqa: PTH120 - thousands of calls
        counts = folder.endswith(".files.work") or ".work" not in folder
        if counts and not path.endswith("lock"):
            once()

    _watch_opened(opened)


def _watch_opened(opened: Callable[[str], None]) -> None:
    """Call something with the path of each file in the current folder that is opened to be written."""
    here = str(Path.cwd())

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(args[0], str | bytes | os.PathLike):
            return
        if not (args[2] or 0) & WRITES:
            return
        path = os.path.join(here, os.fsdecode(args[0]))  # noqa: PTH118 - thousands of calls
        if path.startswith(here + os.sep) and not path.startswith(f"{here}{os.sep}tmp{os.sep}"):
            opened(path)

    sys.addaudithook(hook)


def watched(facts: dict[str, float]) -> None:
    """Count the steps of this process, and the seconds from the begin of the output to the end."""
    facts.update(steps=0, writing=0.0)

    def tick() -> None:
        facts["steps"] += 1

    def begun() -> None:
        facts["begun"] = time.monotonic()

    watch_steps(tick)
    watch_writing(begun)


def count_results() -> None:
    """Leave a byte in results.txt for each result that is computed, which a kill does not undo."""
    from esmkit.files.pending import Pending

    tally = os.open("results.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    add = Pending.add

    def counted(self: Pending, number: int, values: Any) -> None:
        os.write(tally, b".")
        add(self, number, values)

    Pending.add = counted  # type: ignore[method-assign]
