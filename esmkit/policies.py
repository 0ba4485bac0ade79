"""What can be asked of the embed task, and how sequences too long for the model are cut.

Nothing here needs PyTorch, so that a bad option or a bad input is answered at once.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from esmkit.alphabet import SPECIALS
from esmkit.errors import InputError, OptionError
from esmkit.sequences import OnInvalid, Protein

__all__ = [
    "MAX_RESIDUES",
    "EmbedOptions",
    "Long",
    "Per",
    "Pool",
    "cut_into_pieces",
    "tokens_of",
    "windows",
]

MAX_RESIDUES = 1_022
"""Longest crop ESM-2 was trained on: 1,024 tokens less BOS and EOS (Lin et al. 2023)."""

WINDOW_OVERLAP = MAX_RESIDUES // 2
"""Residues shared by neighbouring windows of a long sequence."""

Per = Literal["protein", "residue"]
Pool = Literal["mean", "bos"]
Long = Literal["window", "whole", "truncate", "error"]


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
        Most tokens in one forward pass.
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
        choices = {"per": Per, "pool": Pool, "long": Long, "on_invalid": OnInvalid}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise OptionError(
                    f"{name} is {' or '.join(map(repr, get_args(kind)))}, "
                    f"not {getattr(self, name)!r}"
                )
        if self.batch_tokens < 1:
            raise OptionError(f"batch_tokens is at least 1, not {self.batch_tokens}")


def windows(residues: int, size: int = MAX_RESIDUES) -> list[tuple[int, int]]:
    """Return the (start, stop) of the windows over a sequence; neighbours share half a window.

    >>> windows(1500)
    [(0, 1022), (478, 1500)]
    """
    if residues <= size:
        return [(0, residues)]
    step = size - WINDOW_OVERLAP
    starts = [*range(0, residues - size, step), residues - size]
    return [(start, start + size) for start in starts]


def cut_into_pieces(protein: Protein, long: Long) -> list[tuple[int, int]]:
    """Return the (start, stop) of the parts of a protein that go through the model.

    Raises
    ------
    InputError
        If the policy is ``error`` and the protein is longer than the model was trained for.
    """
    if long == "window":
        return windows(len(protein))
    if long == "error" and len(protein) > MAX_RESIDUES:
        raise InputError(
            f"sequence {protein.id!r} has {len(protein):,} residues and the model was trained on "
            f"{MAX_RESIDUES:,}; --long window reads it in overlapping windows, --long whole at "
            "once, --long truncate only its beginning"
        )
    return [(0, min(len(protein), MAX_RESIDUES) if long == "truncate" else len(protein))]


def tokens_of(protein: Protein, long: Long) -> int:
    """Return how many tokens, BOS and EOS of every piece included, a protein costs."""
    return sum(stop - start + SPECIALS for start, stop in cut_into_pieces(protein, long))
