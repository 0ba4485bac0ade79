"""What the transformer replaced: a recurrent network, and a transformer of its size beside it.

Both read a protein from left to right and say which residue comes next, with the same letters,
steps and optimiser. ``letters`` turns residues into numbers and holds the guesses without a network,
``networks`` the two networks, ``learning`` trains and judges them; ``influence`` measures how much a
residue far back still counts, ``recall`` asks for a letter read long ago, and ``timing`` takes the
time as the length grows. All in PyTorch, which is imported when it is needed.
"""

from typing import TYPE_CHECKING

from esmkit._lazy import lazy_names

if TYPE_CHECKING:
    from esmkit.reference.recurrent.influence import influence, letter_spread
    from esmkit.reference.recurrent.learning import held_out_losses, train
    from esmkit.reference.recurrent.letters import (
        ASK,
        LETTERS,
        START,
        bigram_losses,
        letter_losses,
        letter_numbers,
    )
    from esmkit.reference.recurrent.networks import (
        RecurrentNetwork,
        TransformerNetwork,
        parameter_count,
    )
    from esmkit.reference.recurrent.recall import recall_accuracy, recall_batch, train_recall
    from esmkit.reference.recurrent.timing import growth, step_by_step_share, time_by_length

__all__ = [
    "ASK",
    "LETTERS",
    "START",
    "RecurrentNetwork",
    "TransformerNetwork",
    "bigram_losses",
    "growth",
    "held_out_losses",
    "influence",
    "letter_losses",
    "letter_numbers",
    "letter_spread",
    "parameter_count",
    "recall_accuracy",
    "recall_batch",
    "step_by_step_share",
    "time_by_length",
    "train",
    "train_recall",
]

if not TYPE_CHECKING:  # so that a type checker knows every name, and that there are no others
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "ASK": "letters",
            "LETTERS": "letters",
            "RecurrentNetwork": "networks",
            "START": "letters",
            "TransformerNetwork": "networks",
            "bigram_losses": "letters",
            "growth": "timing",
            "held_out_losses": "learning",
            "influence": "influence",
            "letter_losses": "letters",
            "letter_numbers": "letters",
            "letter_spread": "influence",
            "parameter_count": "networks",
            "recall_accuracy": "recall",
            "recall_batch": "recall",
            "step_by_step_share": "timing",
            "time_by_length": "timing",
            "train": "learning",
            "train_recall": "recall",
        },
    )
