"""Which structures are predictions, and how sure the prediction is of each residue: pLDDT.

Programs of prediction write pLDDT where an experiment has its B-factors, so that the column says
nothing by itself. What says that a file is a prediction is its text (a local pLDDT of ModelCIF, the
name of a program in title, remarks or list of software) or, as many such files have no text but their
atoms, the name that the program gave it. Where a file tells of an experiment it is none: the title of
an experimental entry may name AlphaFold, with whose model it was solved.

References
----------
pLDDT: Jumper et al. 2021, Nature 596, 583. ModelCIF: Vallat et al. 2023, J. Mol. Biol. 435, 168021;
its category ``ma_qa_metric_local``.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esmkit.structure.cif import Block

__all__ = ["local_plddt", "program_of_mmcif", "program_of_pdb", "usable_plddt"]

PROGRAMS = ("AlphaFold", "ColabFold", "ESMFold", "OpenFold", "OmegaFold", "Boltz", "Chai-1")
"""Programs that write pLDDT in place of B-factors."""

_PROGRAM = re.compile(  # no part of another word: Boltzmann is none
    rf"(?<![A-Za-z])({'|'.join(p.replace('-', '[-_ ]?') for p in PROGRAMS)})(?![A-Za-z])",
    re.IGNORECASE,
)
_GIVEN_NAME = re.compile(
    r"AF-[A-Za-z0-9]+-F\d+[-_.]|(un)?relaxed_model_\d|ranked_\d+\.|.*_(un)?relaxed_rank_\d",
)
"""Names of files of the AlphaFold database, AlphaFold 2 and ColabFold."""

_SAYING = ("HEADER", "TITLE ", "COMPND", "KEYWDS", "AUTHOR", "REMARK", "EXPDTA")
_RESOLUTION = re.compile(r"REMARK   2 RESOLUTION\. +\d")
_UNKNOWN = frozenset((".", "?", ""))
_SMALLEST_CELL = 2.0
"""Å; a cell of 1 Å, which stands in many files for none, holds no protein."""

HIGHEST = 100.0


def program_of_pdb(lines: Sequence[str], path: Path) -> str:
    """Return the program that predicted a PDB file, ``""`` if it is none or not known to be one."""
    named = ""
    for line in lines:
        if line.startswith("EXPDTA") and "THEORETICAL" not in line and line[10:].strip():
            return ""
        if _RESOLUTION.match(line) or line.startswith("REMARK   3   PROGRAM"):
            return ""
        if line.startswith("CRYST1") and _is_cell(line[6:15]):
            return ""
        if not named and line.startswith(_SAYING):
            named = _program_in(line[6:])
    return named or _program_in_name(path)


def _is_cell(text: str) -> bool:
    try:
        return float(text) > _SMALLEST_CELL
    except ValueError:
        return False


def program_of_mmcif(table: Block, path: Path) -> str:
    """Return the program that predicted an mmCIF file, ``""`` if it is none or not known to be one."""
    for item in ("_exptl.method", "_refine.ls_d_res_high", "_em_3d_reconstruction.resolution"):
        for cell in table.get(item, []):
            if cell not in _UNKNOWN and "THEORETICAL" not in cell.upper():
                return ""
    items = ("_software.name", "_struct.title", "_struct.pdbx_descriptor", "_entry.id")
    for item in items:
        for cell in table.get(item, []):
            if named := _program_in(cell):
                return named
    if _local_metrics(table):
        return "ModelCIF"
    return _program_in_name(path)


def _program_in(text: str) -> str:
    found = _PROGRAM.search(text)
    if found is None:
        return ""
    same = re.sub(r"[-_ ]", "", found[0]).lower()
    return next(p for p in PROGRAMS if p.replace("-", "").lower() == same)


def _program_in_name(path: Path) -> str:
    return _program_in(path.name) or ("AlphaFold" if _GIVEN_NAME.match(path.name) else "")


def _local_metrics(table: Block) -> set[str]:
    """Return the numbers of the metrics that are a pLDDT of each residue."""
    rows = zip(
        *(table.get(f"_ma_qa_metric.{item}", []) for item in ("id", "type", "mode")), strict=False
    )
    return {number for number, kind, mode in rows if "plddt" in kind.lower() and mode == "local"}


def local_plddt(table: Block, model: int) -> dict[tuple[str, int], float]:
    """Return the pLDDT of residues that ModelCIF lists, by label of chain and position from 1."""
    metrics = _local_metrics(table)
    items = ("metric_id", "model_id", "label_asym_id", "label_seq_id", "metric_value")
    columns = [table.get(f"_ma_qa_metric_local.{item}", []) for item in items]
    found: dict[tuple[str, int], float] = {}
    for metric, of_model, asym, position, value in zip(*columns, strict=False):
        if metric in metrics and of_model in (str(model), *_UNKNOWN):
            try:
                found[asym, int(position)] = float(value)
            except ValueError:
                continue
    return found


def usable_plddt(values: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, str]:
    """Return values that stand in the column of B-factors as pLDDT, 0 to 100, and a note.

    Parameters
    ----------
    values : numpy.ndarray of float64, shape (R,)
        NaN for residues that have none.

    Returns
    -------
    plddt : numpy.ndarray of float64, shape (R,), or None
        None if the values cannot be pLDDT: over 100, below 0, or all one.
    note : str
        What was decided, a sentence; ``""`` if nothing was.

    Examples
    --------
    >>> usable_plddt(np.array([0.5, 0.75]))[0].tolist()
    [50.0, 75.0]
    >>> usable_plddt(np.array([0.0, 0.0]))
    (None, 'its B-factors are all 0, so that there is no pLDDT')
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return None, "its B-factors cannot be read, so that there is no pLDDT"
    if len(known) > 1 and known.min() == known.max():
        return None, f"its B-factors are all {known[0]:g}, so that there is no pLDDT"
    if known.min() < 0 or known.max() > HIGHEST:
        span = f"from {known.min():g} to {known.max():g}"
        return None, f"its B-factors go {span}, so that they are no pLDDT, which is from 0 to 100"
    if known.max() <= 1:
        return values * HIGHEST, "its pLDDT is given from 0 to 1, and taken from 0 to 100"
    return values, ""
