"""Contact maps: predicted from attention, scored on structures, and fitted anew."""

from esmkit.contacts.head import ContactHead
from esmkit.contacts.regression import contacts, corrected_maps, predict
from esmkit.contacts.result import ContactMap
from esmkit.contacts.scores import bootstrap, precision_curves, score_map, summarize_scores

__all__ = [
    "ContactHead",
    "ContactMap",
    "bootstrap",
    "contacts",
    "corrected_maps",
    "precision_curves",
    "predict",
    "score_map",
    "summarize_scores",
]
