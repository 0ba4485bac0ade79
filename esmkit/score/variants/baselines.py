"""What a variant is worth without a model: letters alone, and how undecided the model is of a site.

A model that does not beat these has learnt nothing of the protein that its letters do not say.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esmkit.score.variants.mutations import Variant
from esmkit.sequences.letters import AMINO_ACIDS

__all__ = ["BASELINES", "baselines_of", "blosum62", "hydropathy_change"]

KYTE_DOOLITTLE = {
    **{"A": 1.8, "R": -4.5, "N": -3.5, "D": -3.5, "C": 2.5, "Q": -3.5, "E": -3.5, "G": -0.4},
    **{"H": -3.2, "I": 4.5, "L": 3.8, "K": -3.9, "M": 1.9, "F": 2.8, "P": -1.6, "S": -0.8},
    **{"T": -0.7, "W": -0.9, "Y": -1.3, "V": 4.2},
}
"""Hydropathy index (Kyte and Doolittle 1982, doi:10.1016/0022-2836(82)90515-0)."""

BASELINES = {
    "blosum62": "BLOSUM62 of both letters, summed",
    "hydropathy": "minus the size of the change of Kyte-Doolittle hydropathy, summed",
    "site_entropy": "entropy of the model at the site less log 20, summed",
}
"""Columns of baselines and what they are; more is better in each."""


@functools.cache
def _blosum62() -> NDArray[np.float64]:
    from Bio.Align import substitution_matrices

    matrix: Any = substitution_matrices.load("BLOSUM62")
    return np.array([[matrix[a][b] for b in AMINO_ACIDS] for a in AMINO_ACIDS], float)


def blosum62(old: str, new: str) -> float:
    """Return the BLOSUM62 score of two amino acids, -4 to 11.

    >>> blosum62("A", "G"), blosum62("W", "D")
    (0.0, -4.0)
    """
    return float(_blosum62()[AMINO_ACIDS.index(old), AMINO_ACIDS.index(new)])


def hydropathy_change(old: str, new: str) -> float:
    """Return by how much the hydropathy changes, 0 to 9, whichever way.

    >>> hydropathy_change("I", "R")
    9.0
    """
    # The scale has one decimal: changes that are equal in it are to tie, whatever they are in binary
    return round(abs(KYTE_DOOLITTLE[old] - KYTE_DOOLITTLE[new]), 1)


def baselines_of(variant: Variant, entropies: Mapping[int, float]) -> dict[str, float]:
    """Return the baselines of a variant; NaN where it is not of substitutions alone.

    Parameters
    ----------
    variant : Variant
    entropies : mapping from int to float
        Entropy of the model at each site, in nats, by the number of the residue from 1.

    Examples
    --------
    >>> from esmkit.score.variants.mutations import parse_variant
    >>> found = baselines_of(parse_variant("A24G"), {24: 2.0})
    >>> {name: round(value, 2) for name, value in found.items()}
    {'blosum62': 0.0, 'hydropathy': -2.2, 'site_entropy': -1.0}
    """
    if not variant.substitutions_only:
        return dict.fromkeys(BASELINES, math.nan)
    changes = [(edit.first, edit.new) for edit in variant.edits]
    return {
        "blosum62": sum(blosum62(*change) for change in changes),
        "hydropathy": -round(sum(hydropathy_change(*change) for change in changes), 1) + 0.0,
        "site_entropy": sum(
            entropies.get(edit.start, math.nan) - math.log(len(AMINO_ACIDS))
            for edit in variant.edits
        ),
    }
