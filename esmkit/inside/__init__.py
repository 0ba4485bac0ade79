"""Work inside the model: read, edit, patch and differentiate what a pass computes.

``tracing`` runs the pass and ``result`` is what comes out; ``edits`` says what may take the place of an
activation, ``means`` makes one kind of it; ``tracer`` keeps and edits while the pass goes by;
``memory`` says how large a trace is. The names of activations are those of
:mod:`esmkit.encoder.activations`.

``components`` are the summands of the residual stream, ``decomposition`` and ``attribution`` say what
each writes, and adds to a logit or a contact's score; ``effects`` is the table of that.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.inside.attribution import attribute_contact, attribute_logit
    from esmkit.inside.decomposition import Decomposition, decompose
    from esmkit.inside.effects import Effects
    from esmkit.inside.means import Means, mean_of
    from esmkit.inside.result import Trace
    from esmkit.inside.tracing import trace

__all__ = [
    "Decomposition",
    "Effects",
    "Means",
    "Trace",
    "attribute_contact",
    "attribute_logit",
    "decompose",
    "mean_of",
    "trace",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Decomposition": "decomposition",
        "Effects": "effects",
        "Means": "means",
        "Trace": "result",
        "attribute_contact": "attribution",
        "attribute_logit": "attribution",
        "decompose": "decomposition",
        "mean_of": "means",
        "trace": "tracing",
    },
)
