"""Backbone hydrogen bonds, secondary structure and beta bridges of one chain (DSSP).

Energies and letters are mdtraj's implementation of DSSP 2.2. The bridges, which it does not give,
are taken from the hydrogen bonds by the patterns of

    Kabsch W, Sander C (1983). Dictionary of protein secondary structure. Biopolymers 22, 2577.
"""

from typing import Any

import numpy as np

__all__ = ["UNRESOLVED", "bridges", "hydrogen_bonds_and_letters", "linked"]

UNRESOLVED = "."
"""The letter of a residue that lacks N, CA, C or O; ``-`` is coil."""

MAX_LINK = 2.5
"""Å between C and N; DSSP takes more for a chain break (``kMaxPeptideBondLength``)."""

MIN_BRIDGE_SEPARATION = 3
"""Residues; the two stretches of three that make a bridge do not overlap."""


def linked(backbone: np.ndarray) -> np.ndarray:
    """Return bool (R,): whether each residue is bonded to the one before it.

    Parameters
    ----------
    backbone : numpy.ndarray
        float64, (R, 4, 3), Å: N, CA, C, O; NaN where not resolved.
    """
    complete = np.asarray(np.isfinite(backbone).all(axis=(1, 2)))
    bonded = np.zeros(len(backbone), dtype=bool)
    lengths = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=1)
    bonded[1:] = complete[1:] & complete[:-1] & (lengths < MAX_LINK)
    return bonded


def hydrogen_bonds_and_letters(
    backbone: np.ndarray,
    sequence: str,
    around: np.ndarray | None = None,
    around_letters: str = "",
) -> tuple[np.ndarray, str]:
    """Return the backbone hydrogen bonds and the DSSP letters of a chain.

    Parameters
    ----------
    backbone : numpy.ndarray
        float64, (R, 4, 3), Å: N, CA, C, O; NaN where not resolved.
    sequence : str
        R letters.
    around : numpy.ndarray, optional
        float64, (M, 4, 3): the same atoms of residues of other chains, which it may be bonded to.
    around_letters : str
        Their M letters.

    Returns
    -------
    bonds : numpy.ndarray
        int64, (n, 2): donor (N-H) and acceptor (C=O) of this chain, sorted; the energy is below
        -0.5 kcal/mol, and of a donor the two strongest count, as in DSSP.
    letters : str
        R of H, E, G, B, I, T, S, ``-`` (coil) and ``.`` (backbone not complete).
    """
    import mdtraj

    own = len(backbone)
    is_linked = linked(backbone)
    if around is not None and len(around):
        is_linked = np.append(is_linked, linked(around))  # the first is bonded to none
        backbone = np.concatenate([backbone, around])
        sequence += around_letters
    complete = np.flatnonzero(np.isfinite(backbone).all(axis=(1, 2)))
    letters = np.full(len(backbone), UNRESOLVED)
    if not len(complete):
        return np.empty((0, 2), dtype=np.int64), "".join(letters)
    trajectory = _trajectory(backbone[complete], is_linked[complete], sequence, complete)
    codes = mdtraj.compute_dssp(trajectory, simplified=False)[0]
    letters[complete] = ["-" if code == " " else code for code in codes]
    # Rows of mdtraj's matrix are C=O, columns are N-H.
    energies = mdtraj.kabsch_sander(trajectory)[0].tocoo()
    bonds = np.stack([complete[energies.col], complete[energies.row]], axis=1).astype(np.int64)
    bonds = bonds[(bonds < own).all(axis=1)]
    return bonds[np.lexsort((bonds[:, 1], bonds[:, 0]))], "".join(letters[:own])


def _trajectory(backbone: np.ndarray, is_linked: np.ndarray, sequence: str, where: Any) -> Any:
    """Build mdtraj's view of the complete residues; a break of the chain begins a new chain.

    mdtraj places the amide hydrogen by the C=O of the residue before, whatever the chain. The
    first residue after a break has none that could be placed, so it is presented as a proline,
    which is mdtraj's name for a residue without an amide hydrogen.
    """
    import mdtraj
    from mdtraj.core.element import carbon, nitrogen, oxygen

    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for row, position in enumerate(where):
        if row and not is_linked[row]:
            chain = topology.add_chain()
        no_hydrogen = not is_linked[row] or sequence[position] == "P"
        residue = topology.add_residue("PRO" if no_hydrogen else "ALA", chain)
        for name, element in zip(
            ("N", "CA", "C", "O"), (nitrogen, carbon, carbon, oxygen), strict=True
        ):
            topology.add_atom(name, element, residue)
    nanometres = (backbone / 10).reshape(1, -1, 3).astype(np.float32)
    return mdtraj.Trajectory(nanometres, topology)


def bridges(bonds: np.ndarray, is_linked: np.ndarray) -> np.ndarray:
    """Return the pairs of residues in a beta bridge, parallel or antiparallel.

    With Hbond(i, j) for C=O of i to N-H of j, residues i and j are a parallel bridge if
    [Hbond(i-1, j) and Hbond(j, i+1)] or [Hbond(j-1, i) and Hbond(i, j+1)], and an antiparallel one
    if [Hbond(i, j) and Hbond(j, i)] or [Hbond(i-1, j+1) and Hbond(j-1, i+1)] (Kabsch and Sander
    1983, p. 2582). The stretches i-1..i+1 and j-1..j+1 do not overlap and hold no chain break.

    Parameters
    ----------
    bonds : numpy.ndarray
        int64, (n, 2): donor and acceptor.
    is_linked : numpy.ndarray
        bool, (R,): whether each residue is bonded to the one before it.

    Returns
    -------
    numpy.ndarray
        int64, (n, 2), i < j, sorted.
    """
    size = len(is_linked)
    bond = np.zeros((size + 2, size + 2), dtype=bool)  # [C=O, N-H], one wider on each side
    bond[bonds[:, 1] + 1, bonds[:, 0] + 1] = True

    def at(row: int, column: int) -> np.ndarray:
        """Return Hbond(i + row, j + column) for all i, j."""
        return bond[1 + row : 1 + row + size, 1 + column : 1 + column + size]

    # The patterns in which i and j change places are the transposes.
    parallel = at(-1, 0) & at(0, 1).T
    antiparallel = (at(0, 0) & at(0, 0).T) | (at(-1, 1) & at(-1, 1).T)
    paired = parallel | parallel.T | antiparallel
    inside = is_linked & np.append(is_linked[1:], False)
    paired &= inside[:, None] & inside[None, :]
    return np.argwhere(np.triu(paired, MIN_BRIDGE_SEPARATION)).astype(np.int64)
