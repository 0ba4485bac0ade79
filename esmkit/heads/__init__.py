"""Head specialisation: what each attention head looks at, with backgrounds and controls."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esmkit.heads.labels import Rules
    from esmkit.heads.profiling import profile
    from esmkit.heads.properties import Property, read_annotations, standard_properties
    from esmkit.heads.report.summary import write_report
    from esmkit.heads.result import HeadProfile

__all__ = [
    "HeadProfile",
    "Property",
    "Rules",
    "profile",
    "read_annotations",
    "standard_properties",
    "write_report",
]

# Imported when first used, so that a bad option is answered before PyTorch is loaded.
_HOME = {
    "HeadProfile": "result",
    "Property": "properties",
    "Rules": "labels",
    "profile": "profiling",
    "read_annotations": "properties",
    "standard_properties": "properties",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'esmkit.heads' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"esmkit.heads.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
