"""What the masked-LM head says of proteins: probabilities of letters, and scores of variants.

``scoring`` has the methods of the model, ``protein_score`` what they return of one protein, ``to_file``
does so from FASTA to one file that survives a kill, ``reader`` reads it back; ``sites`` and ``passes``
say what goes through the model, ``probabilities`` what its logits mean.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.score.options import ScoreOptions
    from esmkit.score.protein_score import ProteinScore

__all__ = ["ProteinScore", "ScoreOptions"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ProteinScore": "protein_score",
        "ScoreOptions": "options",
    },
)
