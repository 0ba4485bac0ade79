"""Options of the embed task. Nothing here needs PyTorch."""

from dataclasses import dataclass
from typing import Literal

from esmkit.arguments import check_fields, items_of, what_is
from esmkit.encoder.names import layer_numbers
from esmkit.errors import OptionError
from esmkit.sequences.proteins import OnInvalid
from esmkit.sequences.windows import Long, check_choices

__all__ = ["EmbedOptions", "Per", "Pool"]


Per = Literal["protein", "residue"]
"""One vector per protein, or one per residue."""

Pool = Literal["mean", "bos"]
"""Pooling of the residues of a protein: their mean, or the BOS token."""


@dataclass(frozen=True)
class EmbedOptions:
    """Options of the embed task.

    Attributes
    ----------
    layers : tuple of int, or 'all'
        Hidden states 0..N, or negatives from the end; -1 is the last layer after the final norm. A
        number, a list or an array becomes a tuple.
    per : {'protein', 'residue'}
        One pooled vector, or one vector per residue.
    pool : {'mean', 'bos'}
        With ``per='protein'``, the mean over residues (never over BOS or EOS), or the BOS token.
    long : {'window', 'whole', 'truncate', 'error'}
        Sequences over 1,022 residues: overlapping windows whose overlaps are averaged; one pass
        beyond the training length; the first 1,022 residues; or an error.
    on_invalid : {'error', 'replace', 'skip', 'degap'}
        Letters that ESM-2 has no token for.
    batch_tokens : int
        Most tokens in one forward pass. On a CPU at most 1,024 tokens per pass, or with more than 16
        cores a multiple of that; a longer sequence is a pass of its own.

    Raises
    ------
    OptionError
        If an option has a value that it cannot have.

    Examples
    --------
    >>> EmbedOptions(layers=(0, -1), per="residue").pool
    'mean'
    """

    layers: tuple[int, ...] | Literal["all"] = (-1,)
    per: Per = "protein"
    pool: Pool = "mean"
    long: Long = "window"
    on_invalid: OnInvalid = "error"
    batch_tokens: int = 4_096

    def __post_init__(self) -> None:
        if not (isinstance(self.layers, str) and self.layers == "all") and not items_of(
            self.layers
        ):
            raise OptionError(f"layers is a tuple of numbers, or 'all', not {what_is(self.layers)}")
        layers = layer_numbers(self.layers)
        object.__setattr__(self, "layers", "all" if layers == "all" else tuple(layers))
        check_choices(self, {"per": Per, "pool": Pool, "long": Long, "on_invalid": OnInvalid})
        check_fields(self)
