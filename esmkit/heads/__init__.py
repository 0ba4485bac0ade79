"""Head specialisation: what each attention head looks at, with backgrounds and controls.

``profiling`` makes a profile, with ``measuring``, ``properties``, ``scores``, ``statistics``,
``labels`` and the control of ``untrained`` networks; ``result`` is what comes out, ``card`` one head of it, ``report`` a folder of
tables, figures and answers; ``ablation``, ``refit`` and ``circuits`` say what heads do;
``to_folder`` is what ``esmkit heads`` does, ``resume`` and ``made`` how it goes on, ``reading`` reads its folder.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.heads.ablation import ablate
    from esmkit.heads.disulfides import within_chains
    from esmkit.heads.labels import Rules
    from esmkit.heads.profiling import profile
    from esmkit.heads.properties import Property, read_annotations, standard_properties
    from esmkit.heads.reading import read_profile
    from esmkit.heads.real_repeats import across_proteins, real_repeat_scores
    from esmkit.heads.refit import refit_without
    from esmkit.heads.repeats import copy_weights, repeat_scores, repeated_sequences
    from esmkit.heads.report.answers import QUESTIONS, answer
    from esmkit.heads.report.summary import write_report
    from esmkit.heads.result import HeadProfile
    from esmkit.heads.untrained import with_permuted_weights, with_random_weights

__all__ = [
    "QUESTIONS",
    "HeadProfile",
    "Property",
    "Rules",
    "ablate",
    "across_proteins",
    "answer",
    "copy_weights",
    "profile",
    "read_annotations",
    "read_profile",
    "real_repeat_scores",
    "refit_without",
    "repeat_scores",
    "repeated_sequences",
    "standard_properties",
    "with_permuted_weights",
    "with_random_weights",
    "within_chains",
    "write_report",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "HeadProfile": "result",
            "Property": "properties",
            "QUESTIONS": "report.answers",
            "Rules": "labels",
            "ablate": "ablation",
            "across_proteins": "real_repeats",
            "answer": "report.answers",
            "copy_weights": "repeats",
            "profile": "profiling",
            "read_annotations": "properties",
            "read_profile": "reading",
            "real_repeat_scores": "real_repeats",
            "refit_without": "refit",
            "repeat_scores": "repeats",
            "repeated_sequences": "repeats",
            "standard_properties": "properties",
            "with_permuted_weights": "untrained",
            "with_random_weights": "untrained",
            "within_chains": "disulfides",
            "write_report": "report.summary",
        },
    )
