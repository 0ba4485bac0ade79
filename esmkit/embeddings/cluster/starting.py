"""What keeps Ray from starting on this machine, in words, and before it is tried where possible."""

import contextlib
import os
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from esmkit.errors import OptionError
from esmkit.text import readable_bytes

__all__ = ["check_folders", "end_parts", "is_late", "not_started"]

SESSION = "/ray/session_2026-01-01_00-00-00_000000_{}/sockets/plasma_store"
"""What Ray adds to its folder, with the number of this process, to name the longest of its sockets."""

MOST_BYTES = 107 if sys.platform.startswith("linux") else 103
"""Longest name of a socket: ``sun_path`` of unix(7) and unix(4), less the zero at its end."""

MEMORY = Path("/dev/shm")
"""Where Ray keeps its object store on Linux; where there is no room, in its folder, slowly."""


def check_folders() -> None:
    """Make sure that Ray can keep its sockets and logs where the environment says.

    Raises
    ------
    OptionError
        If the folder has too long a name, is not there or cannot be written.
    """
    name = next((n for n in ("RAY_TMPDIR", "TMPDIR") if n in os.environ), None)
    if name is None or not sys.platform.startswith(("linux", "darwin")):
        return
    if name == "TMPDIR" and sys.platform == "darwin":  # where Ray does not look at it
        return
    folder = os.environ[name]
    longest = MOST_BYTES - len(SESSION.format(os.getpid()))
    remedy = "set RAY_TMPDIR to a folder of your own with a short name, such as /tmp/$USER"
    if len(os.fsencode(folder.rstrip("/"))) > longest:
        raise OptionError(
            f"Ray keeps sockets in the folder of the environment variable {name}, whose name must have "
            f"at most {longest} bytes, and {folder!r} has {len(os.fsencode(folder))}; {remedy}"
        )
    if not Path(folder).is_absolute():
        raise OptionError(
            f"the environment variable {name} is {folder!r}, and Ray needs a whole path there; {remedy}"
        )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)  # as Ray does
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OptionError(
            f"Ray cannot write to {folder!r} ({error.strerror}), the folder of the environment "
            f"variable {name}; {remedy}"
        ) from None


def is_late(said: str) -> bool:
    """Tell whether Ray gave up because its parts took longer to start than the 30 s it gives them."""
    return "timed out during startup" in said


def end_parts(error: BaseException) -> None:
    """End the programs of a Ray that did not start: ``ray.shutdown`` knows only of one that did.

    They would run beside the next one until this process ends. The object that started them is named
    nowhere but in the calls that the error came through.

    Parameters
    ----------
    error : BaseException
        From ``ray.init``.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        end = getattr(frame.f_locals.get("self"), "kill_all_processes", None)
        if end is not None:
            with contextlib.suppress(Exception):  # each of them may have ended by itself
                end(check_alive=False, allow_graceful=True)


def not_started(error: BaseException) -> OptionError:
    """Return one sentence for whatever Ray raised when it did not start.

    Parameters
    ----------
    error : BaseException
        From ``ray.init``.
    """
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    said = (text[:300] or type(error).__name__).rstrip(".")
    remedy = _remedy(text)
    return OptionError(f"Ray does not start on this machine: {said}; {remedy}")


def _remedy(text: str) -> str:
    if is_late(text):
        return (
            "twice it took longer than the 30 s that Ray allows, as on a busy machine; try again when "
            "less runs beside it, or compute without Ray"
        )
    if "AF_UNIX" in text:
        return "set RAY_TMPDIR to a folder with a short name"
    if "No space left" in text or "shm" in text:
        free = (
            f" (free: {readable_bytes(shutil.disk_usage(MEMORY).free)})" if MEMORY.is_dir() else ""
        )
        return (
            f"make room in {MEMORY}{free} and in the folder for temporary files, or set RAY_TMPDIR"
        )
    if "ddress already in use" in text or re.search(r"\b[Pp]orts?\b", text):
        return "end what uses the port (`ray stop` ends Ray), or try again"
    if "denied" in text:
        return "set RAY_TMPDIR to a folder that you can write to"
    return "environment variables that begin with RAY_ may be wrong; or compute without Ray"
