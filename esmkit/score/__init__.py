"""What the masked-LM head says of proteins: probabilities of letters, and scores of variants.

``scoring`` has the methods of the model, ``protein_score`` what they return of one protein, ``to_file``
does so from FASTA to one file that survives a kill, ``reader`` reads it back; ``sites`` and ``passes``
say what goes through the model, ``probabilities`` what its logits mean. ``fitting`` fits a head to an
encoder that has none, on ``hidden_states``, in ``fitting_steps``; ``fitted`` is what comes out, and
``held_out`` measures it.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.score.fitted import FittedHead
    from esmkit.score.fitting import fit_lm_head
    from esmkit.score.options import ScoreOptions
    from esmkit.score.probabilities import log_softmax_20
    from esmkit.score.protein_score import ProteinScore
    from esmkit.score.reader import ScoreFile
    from esmkit.score.to_file import score_file

__all__ = [
    "FittedHead",
    "ProteinScore",
    "ScoreFile",
    "ScoreOptions",
    "fit_lm_head",
    "log_softmax_20",
    "score_file",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "FittedHead": "fitted",
            "ProteinScore": "protein_score",
            "ScoreFile": "reader",
            "ScoreOptions": "options",
            "fit_lm_head": "fitting",
            "log_softmax_20": "probabilities",
            "score_file": "to_file",
        },
    )
