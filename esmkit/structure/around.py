"""The backbones of other protein chains around one, which its strands may pair with."""

from collections.abc import Iterable, Sequence

import numpy as np

from esmkit.structure.letters import letter_of
from esmkit.structure.residues import BACKBONE, Residue

__all__ = ["REACH", "around"]

REACH = 30.0
"""Å between Cα. A hydrogen bond spans 9 at most; a residue that is bonded to the chain may have a
better bond to a third, and the amide hydrogen of each is placed by the residue before it."""

MIN_APART = 2.0
"""Å between Cα; those of residues that are not the same keep 2.9 apart or more."""

MAX_SAME = 0.1
"""Part of a chain that may be nearer; of more, it is another model of the chain in its place."""


def around(
    backbone: np.ndarray, others: Iterable[Sequence[Residue]], parents: dict[str, str]
) -> tuple[np.ndarray, str, int]:
    """Return what of other chains is near enough to change the secondary structure of one.

    A chain that lies where this one is does not count: some files have models, or the states of a
    residue, as chains.

    Parameters
    ----------
    backbone : numpy.ndarray
        float64, (R, 4, 3), Å: N, CA, C, O of the chain; NaN where not resolved.
    others : iterable of sequence of Residue
        The residues of each other protein chain, in order.
    parents : dict of str
        Name of a modified residue to that of its parent.

    Returns
    -------
    backbone : numpy.ndarray
        float64, (M, 4, 3), Å: of residues with all four atoms and Cα within 30 Å.
    letters : str
        M letters.
    left_out : int
        How many chains lie where this one is.
    """
    from scipy.spatial import KDTree

    own = backbone[np.isfinite(backbone).all(axis=(1, 2)), 1]
    found: list[np.ndarray] = []
    letters: list[str] = []
    left_out = 0
    if not len(own):
        return np.empty((0, 4, 3)), "", 0
    tree = KDTree(own)
    for chain in others:
        residues = [r for r in chain if all(name in r.atoms for name in BACKBONE)]
        if not residues:
            continue
        positions = np.array([[r.atoms[name] for name in BACKBONE] for r in residues], np.float64)
        gaps = tree.query(positions[:, 1], distance_upper_bound=REACH)[0]
        if (gaps < MIN_APART).mean() > MAX_SAME:
            left_out += 1
            continue
        near = gaps < REACH
        found.append(positions[near])
        letters += [letter_of(residues[i].name, parents) for i in np.flatnonzero(near)]
    return np.concatenate([np.empty((0, 4, 3)), *found]), "".join(letters), left_out
