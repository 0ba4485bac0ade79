"""Work inside the model: read, edit, patch and differentiate what a pass computes.

``tracing`` runs the pass and ``result`` is what comes out; ``edits`` says what may take the place of an
activation, ``means`` makes one kind of it; ``tracer`` keeps and edits while the pass goes by;
``memory`` says how large a trace is. The names of activations are those of
:mod:`esmkit.encoder.activations`.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.inside.means import Means, mean_of
    from esmkit.inside.result import Trace
    from esmkit.inside.tracing import trace

__all__ = ["Means", "Trace", "mean_of", "trace"]

__getattr__, __dir__ = lazy_names(
    __name__, {"Means": "means", "Trace": "result", "mean_of": "means", "trace": "tracing"}
)
