"""Head specialisation: what each attention head looks at, with backgrounds and controls.

``profiling`` makes a profile, with ``measuring``, ``properties``, ``scores``, ``statistics``,
``labels`` and the control of ``untrained`` networks; ``result`` is what comes out, ``card`` one head of it, ``report`` a folder of
tables, figures and answers; ``ablation``, ``refit`` and ``circuits`` say what heads do;
``to_folder`` is what ``esmkit heads`` does, ``resume`` and ``made`` how it goes on, ``reading`` reads its folder.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.heads.labels import Rules
    from esmkit.heads.profiling import profile
    from esmkit.heads.properties import Property, read_annotations, standard_properties
    from esmkit.heads.reading import read_profile
    from esmkit.heads.repeats import repeat_scores
    from esmkit.heads.report.summary import write_report
    from esmkit.heads.result import HeadProfile

__all__ = [
    "HeadProfile",
    "Property",
    "Rules",
    "profile",
    "read_annotations",
    "read_profile",
    "repeat_scores",
    "standard_properties",
    "write_report",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "HeadProfile": "result",
        "Property": "properties",
        "Rules": "labels",
        "profile": "profiling",
        "read_annotations": "properties",
        "read_profile": "reading",
        "repeat_scores": "repeats",
        "standard_properties": "properties",
        "write_report": "report.summary",
    },
)
