"""Work inside the model: read, edit, patch and differentiate what a pass computes.

``tracing`` runs the pass and ``result`` is what comes out; ``edits`` says what may take the place of an
activation, ``means`` makes one kind of it; ``tracer`` keeps and edits while the pass goes by;
``memory`` says how large a trace is. The names of activations are those of
:mod:`esmkit.encoder.activations`.

``components`` are the summands of the residual stream, ``decomposition`` and ``attribution`` say what
each writes, and adds to a logit or a contact's score; ``effects`` is the table of that. ``lens``
reads each layer as if it were the last. ``patching``
puts activations of one run into another, ``patched`` is what comes out, ``corruption``, ``runs``
and ``metrics`` make what goes in.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.inside.attribution import attribute_contact, attribute_logit
    from esmkit.inside.corruption import mutated, scrambled
    from esmkit.inside.decomposition import Decomposition, decompose
    from esmkit.inside.effects import Effects
    from esmkit.inside.lens import LogitLens, logit_lens
    from esmkit.inside.means import Means, mean_of
    from esmkit.inside.metrics import contact_score, log_odds
    from esmkit.inside.patched import Patching
    from esmkit.inside.patching import NothingToRestoreWarning, patch
    from esmkit.inside.result import Trace
    from esmkit.inside.tracing import trace

__all__ = [
    "Decomposition",
    "Effects",
    "LogitLens",
    "Means",
    "NothingToRestoreWarning",
    "Patching",
    "Trace",
    "attribute_contact",
    "attribute_logit",
    "contact_score",
    "decompose",
    "log_odds",
    "logit_lens",
    "mean_of",
    "mutated",
    "patch",
    "scrambled",
    "trace",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Decomposition": "decomposition",
            "Effects": "effects",
            "LogitLens": "lens",
            "Means": "means",
            "NothingToRestoreWarning": "patching",
            "Patching": "patched",
            "Trace": "result",
            "attribute_contact": "attribution",
            "attribute_logit": "attribution",
            "contact_score": "metrics",
            "decompose": "decomposition",
            "log_odds": "metrics",
            "logit_lens": "lens",
            "mean_of": "means",
            "mutated": "corruption",
            "patch": "patching",
            "scrambled": "corruption",
            "trace": "tracing",
        },
    )
