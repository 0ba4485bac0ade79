"""Contact maps: predicted from attention, scored on structures, and fitted anew.

``prediction`` computes them, ``correction`` is the average product correction, ``map`` is what comes out, ``head`` says which attention heads count how
much and ``fitting`` fits that; ``scores`` and ``evaluation`` measure them; ``to_file`` writes them from
FASTA to one file, ``to_files`` is what ``esmkit contacts`` does around it, ``on_structure`` shows
them on structures.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.contacts.evaluation import Evaluation, best_heads, evaluate, rank_heads
    from esmkit.contacts.fitting import fit
    from esmkit.contacts.head import ContactHead
    from esmkit.contacts.map import ContactMap
    from esmkit.contacts.prediction import contacts, corrected_maps, predict
    from esmkit.contacts.scores import bootstrap, precision_curves, score_map, summarize_scores
    from esmkit.contacts.to_file import contacts_file

__all__ = [
    "ContactHead",
    "ContactMap",
    "Evaluation",
    "best_heads",
    "bootstrap",
    "contacts",
    "contacts_file",
    "corrected_maps",
    "evaluate",
    "fit",
    "precision_curves",
    "predict",
    "rank_heads",
    "score_map",
    "summarize_scores",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ContactHead": "head",
        "ContactMap": "map",
        "Evaluation": "evaluation",
        "best_heads": "evaluation",
        "bootstrap": "scores",
        "contacts": "prediction",
        "contacts_file": "to_file",
        "corrected_maps": "prediction",
        "evaluate": "evaluation",
        "fit": "fitting",
        "precision_curves": "scores",
        "predict": "prediction",
        "rank_heads": "evaluation",
        "score_map": "scores",
        "summarize_scores": "scores",
    },
)
