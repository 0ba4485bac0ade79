"""Matplotlib loaded whatever a user's settings for it are: figures here need none of them."""

import importlib
import os
import threading

from esmkit.errors import OptionError

__all__ = ["load_matplotlib"]

BACKEND = "MPLBACKEND"
"""Environment variable that names what opens windows: Matplotlib does not load with a wrong one.

Jupyter sets it for all that is started from a notebook, also where its own backend is not
installed."""

_lock = threading.Lock()


def load_matplotlib() -> None:
    """Load Matplotlib, if need be without the backend that the environment names.

    Raises
    ------
    OptionError
        If it does not load with the user's ``matplotlibrc``.
    """
    with _lock:
        try:
            importlib.import_module("matplotlib")
        except ValueError:
            _load_without_backend()


def _load_without_backend() -> None:
    backend = os.environ.pop(BACKEND, None)
    try:
        importlib.import_module("matplotlib")
    except ValueError as error:
        raise OptionError(
            f"Matplotlib does not load with your settings ({error}); mend or remove the file "
            "matplotlibrc in this folder or in Matplotlib's own"
        ) from None
    finally:
        if backend is not None:
            os.environ[BACKEND] = backend
