"""Sequences too long for the model: cut into windows, whole, cut off, or refused."""

from typing import Any, Literal, get_args

from esmkit.errors import InputError, OptionError
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import SPECIALS

__all__ = ["MAX_RESIDUES", "Long", "check_choices", "cut_into_pieces", "tokens_of", "windows"]


MAX_RESIDUES = 1_022
"""Longest crop ESM-2 was trained on: 1,024 tokens less BOS and EOS (Lin et al. 2023)."""

WINDOW_OVERLAP = MAX_RESIDUES // 2
"""Residues shared by neighbouring windows of a long sequence."""

Long = Literal["window", "whole", "truncate", "error"]


def check_choices(options: Any, choices: dict[str, Any]) -> None:
    """Refuse options whose value is none of a ``Literal``'s, and an empty token budget.

    Parameters
    ----------
    options : object
        Has ``batch_tokens`` and the attributes named in ``choices``.
    choices : dict from str to Literal

    Raises
    ------
    OptionError
        Naming the option, its values and the one given.
    """
    for name, kind in choices.items():
        if getattr(options, name) not in get_args(kind):
            raise OptionError(
                f"{name} is {' or '.join(map(repr, get_args(kind)))}, not {getattr(options, name)!r}"
            )
    if options.batch_tokens < 1:
        raise OptionError(f"batch_tokens is at least 1, not {options.batch_tokens}")


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
