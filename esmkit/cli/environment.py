"""Libraries that do not load in the environment of a command: one sentence."""

import os
from types import TracebackType

from esmkit.errors import needed_package

__all__ = ["not_loaded"]

_OURS = {"esmkit", "__main__"}


def not_loaded(error: Exception) -> str | None:
    """Return what to say of an error raised while a library was loading, or else nothing.

    Libraries read the environment while they load, and some end with an error of Python if a
    variable holds what it cannot: ``TORCH_LOGS``, or any of tqdm's. Of a library that is missing,
    how to install it.
    """
    if isinstance(error, ImportError):
        said = needed_package(error)
        return None if said is None else str(said)
    loading = _loading(error.__traceback__)
    if not loading:
        return None
    beginnings = tuple(f"{name.upper()}_" for name in loading)
    given = [name for name in sorted(os.environ) if name.startswith(beginnings)]
    remedy = f"mend or unset {', '.join(given)}" if given else "install it anew"
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"{loading[-1]} does not load ({reason.strip().rstrip('.')}); {remedy}"


def _loading(trace: TracebackType | None) -> list[str]:
    """Return the libraries that were being imported, the outermost first."""
    found: list[str] = []
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == "<module>":
            name = str(frame.f_globals.get("__name__")).partition(".")[0]
            if name not in {*_OURS, *found}:
                found.append(name)
        trace = trace.tb_next
    return found
