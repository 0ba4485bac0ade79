"""Contact maps: predicted from attention, scored on structures, and fitted anew.

``prediction`` computes them, ``correction`` is the average product correction, ``map`` is what comes
out, ``head`` says which attention heads count how much and ``fitting`` fits that. ``scores`` and
``evaluation`` measure them, ``comparison`` two of them, ``ranking`` every head by itself, ``choosing``
the best of these on other chains; ``calibration`` compares scores with how often pairs touch.
``to_file`` writes them from FASTA to one file, ``to_files`` is what ``esmkit contacts`` does
around it, ``scores_to_files`` what ``evaluate`` and ``fit`` do; ``on_structure`` shows them on
structures.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.contacts.calibration import Reliability, reliability
    from esmkit.contacts.choosing import evaluate_best
    from esmkit.contacts.comparison import differences
    from esmkit.contacts.evaluation import Evaluation, evaluate
    from esmkit.contacts.fitting import fit
    from esmkit.contacts.head import ContactHead
    from esmkit.contacts.map import ContactMap
    from esmkit.contacts.prediction import contacts, corrected_maps, predict
    from esmkit.contacts.ranking import best_heads, rank_heads
    from esmkit.contacts.scores import bootstrap, precision_curves, score_map, summarize_scores
    from esmkit.contacts.to_file import contacts_file

__all__ = [
    "ContactHead",
    "ContactMap",
    "Evaluation",
    "Reliability",
    "best_heads",
    "bootstrap",
    "contacts",
    "contacts_file",
    "corrected_maps",
    "differences",
    "evaluate",
    "evaluate_best",
    "fit",
    "precision_curves",
    "predict",
    "rank_heads",
    "reliability",
    "score_map",
    "summarize_scores",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "ContactHead": "head",
            "ContactMap": "map",
            "Evaluation": "evaluation",
            "Reliability": "calibration",
            "best_heads": "ranking",
            "bootstrap": "scores",
            "contacts": "prediction",
            "contacts_file": "to_file",
            "corrected_maps": "prediction",
            "differences": "comparison",
            "evaluate": "evaluation",
            "evaluate_best": "choosing",
            "fit": "fitting",
            "precision_curves": "scores",
            "predict": "prediction",
            "rank_heads": "ranking",
            "reliability": "calibration",
            "score_map": "scores",
            "summarize_scores": "scores",
        },
    )
