"""Options of the score task. Nothing here needs PyTorch."""

from dataclasses import dataclass
from typing import Literal

from esmkit.arguments import check_fields
from esmkit.errors import OptionError
from esmkit.sequences.proteins import OnInvalid
from esmkit.sequences.windows import Long, check_choices

__all__ = ["Per", "ScoreOptions"]

Per = Literal["protein", "residue"]
"""One row of numbers per protein, or one per residue."""


@dataclass(frozen=True)
class ScoreOptions:
    """Options of the score task.

    Attributes
    ----------
    per : {'protein', 'residue'}
        One row of numbers per protein, or one per residue.
    masked : bool
        Hide each residue in turn, R passes for a protein of R residues, as pseudo-perplexity is
        defined; or read each protein once with nothing hidden, which is another quantity.
    all_letters : bool
        In tables per residue, the log-probabilities of all 20 amino acids too.
    long : {'window', 'whole', 'truncate', 'error'}
        Sequences over 1,022 residues: each residue in the window of 1,022 that has it as near its
        middle as the ends allow (with ``masked=False`` windows that overlap by half, whose logits
        are averaged); one pass beyond the training length; the first 1,022 residues; or an error.
    on_invalid : {'error', 'replace', 'skip', 'degap'}
        Letters that ESM-2 has no token for.
    batch_tokens : int
        Most tokens in one forward pass. On a CPU at most 2,560 while residues are hidden, 1,024
        with nothing hidden; a longer sequence is a pass of its own.

    Raises
    ------
    OptionError
        If an option has a value that it cannot have.

    Examples
    --------
    >>> ScoreOptions(per="residue").masked
    True
    """

    per: Per = "protein"
    masked: bool = True
    all_letters: bool = False
    long: Long = "window"
    on_invalid: OnInvalid = "error"
    batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        check_choices(self, {"per": Per, "long": Long, "on_invalid": OnInvalid})
        check_fields(self)
        if self.all_letters and self.per == "protein":
            raise OptionError(
                "`all_letters` is about residues, and one row per protein was asked for; ask for "
                '`per="residue"`, or leave `all_letters` out'
            )
