"""Contact maps: predicted from attention, scored on structures, and fitted anew."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esmkit.contacts.evaluation import Evaluation, best_heads, evaluate, rank_heads
    from esmkit.contacts.fitting import fit
    from esmkit.contacts.head import ContactHead
    from esmkit.contacts.map import ContactMap
    from esmkit.contacts.prediction import contacts, corrected_maps, predict
    from esmkit.contacts.scores import (
        bootstrap,
        precision_curves,
        score_map,
        summarize_scores,
    )
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

# Imported when first used, so that bad input is answered before PyTorch is loaded.
_HOME = {
    "ContactHead": "head",
    "ContactMap": "result",
    "Evaluation": "evaluation",
    "best_heads": "evaluation",
    "bootstrap": "scores",
    "contacts": "regression",
    "contacts_file": "files",
    "corrected_maps": "regression",
    "evaluate": "evaluation",
    "fit": "fitting",
    "precision_curves": "scores",
    "predict": "regression",
    "rank_heads": "evaluation",
    "score_map": "scores",
    "summarize_scores": "scores",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'esmkit.contacts' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"esmkit.contacts.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
