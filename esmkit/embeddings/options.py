"""What can be asked of the embed task. Nothing here needs PyTorch."""

from dataclasses import dataclass
from typing import Literal

from esmkit.errors import OptionError
from esmkit.sequences.proteins import OnInvalid
from esmkit.sequences.windows import Long, check_choices

__all__ = ["EmbedOptions", "Per", "Pool"]


Per = Literal["protein", "residue"]
Pool = Literal["mean", "bos"]


@dataclass(frozen=True)
class EmbedOptions:
    """What to compute.

    Attributes
    ----------
    layers : tuple of int, or 'all'
        Hidden states 0..N, or negatives from the end; -1 is the last layer after the final norm.
    per : {'protein', 'residue'}
        One pooled vector, or one vector per residue.
    pool : {'mean', 'bos'}
        Mean over residues (never over BOS or EOS), or the BOS token. For ``per='protein'``.
    long : {'window', 'whole', 'truncate', 'error'}
        Sequences over 1,022 residues: overlapping windows whose overlaps are averaged; one pass
        beyond the training length; the first 1,022 residues; or an error.
    on_invalid : {'error', 'replace', 'skip'}
        Letters that ESM-2 has no token for.
    batch_tokens : int
        Most tokens in one forward pass; on a CPU no more than 1,024 but for longer proteins.
    """

    layers: tuple[int, ...] | Literal["all"] = (-1,)
    per: Per = "protein"
    pool: Pool = "mean"
    long: Long = "window"
    on_invalid: OnInvalid = "error"
    batch_tokens: int = 4_096

    def __post_init__(self) -> None:
        if self.layers != "all" and not (
            isinstance(self.layers, tuple) and all(isinstance(n, int) for n in self.layers)
        ):
            raise OptionError(f"layers is a tuple of numbers, or 'all', not {self.layers!r}")
        check_choices(self, {"per": Per, "pool": Pool, "long": Long, "on_invalid": OnInvalid})
