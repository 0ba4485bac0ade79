"""Somebody else's embeddings held against a model: are they its own, or what happened to them.

``check`` is the way in. ``reading`` opens any file, with ``arrays``, ``tables``, ``pytorch`` and
``pickled`` for the formats, as the parts of ``given``; ``naming`` finds whose each record is;
``examine`` looks at one part, in rounds: ``trial`` holds a hypothesis against every record, and
``search`` looks for the next, made of ``sources`` (what was fed to the model), hidden states,
``pooling`` and what was done afterwards (``hypotheses``), told apart by ``scoring`` and
``precision``; ``states`` computes, ``halves`` in half precision; ``expected`` and ``wording`` turn it into a verdict; ``geometry``
says what vectors are that nothing explains, ``rows`` how rows and records are ordered, and
``result`` shows it all.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.against.check import verify_against
    from esmkit.against.result import Cause, Diagnosis, PartDiagnosis

__all__ = ["Cause", "Diagnosis", "PartDiagnosis", "verify_against"]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Cause": "result",
            "Diagnosis": "result",
            "PartDiagnosis": "result",
            "verify_against": "check",
        },
    )
