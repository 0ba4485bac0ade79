"""Names of a package that are imported when they are first used."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from esmkit.errors import needed_package

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str], modules: Mapping[str, str] = {}
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that imports its names on demand.

    So bad input is answered before PyTorch, pandas or Matplotlib are loaded.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    homes : mapping from name to module
        Where each name is defined; the module's path begins below the package.
    modules : mapping from name to module
        Names that stand for a whole module.

    Returns
    -------
    tuple of two callables
        ``__getattr__``, and ``__dir__``, which lists the package's ``__all__``.

    Examples
    --------
    >>> get, names = lazy_names("esmkit", {"InputError": "errors"})
    >>> get("InputError").__name__, "load" in names()
    ('InputError', True)
    """

    def get(name: str) -> Any:
        try:
            if name in homes:
                value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
            elif name in modules:
                value = importlib.import_module(f"{package}.{modules[name]}")
            else:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
        except ImportError as error:  # PyTorch, say, of an installation without dependencies
            said = needed_package(error)
            if said is None:
                raise
            raise said from error
        vars(importlib.import_module(package))[name] = value
        return value

    def names() -> list[str]:
        return sorted(vars(importlib.import_module(package))["__all__"])

    return get, names
