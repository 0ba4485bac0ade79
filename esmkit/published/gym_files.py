"""ProteinGym's files as its authors give them: the reference file, the assays, published values."""

import csv
from dataclasses import dataclass
from pathlib import Path

from esmkit.errors import InputError
from esmkit.published.keeping import digest_of
from esmkit.text import missing, shorten, visible

__all__ = ["ALL_ASSAYS", "PUBLISHED_TABLE", "REFERENCE", "Assay", "Gym", "read_gym"]

REFERENCE = "DMS_substitutions.csv"
"""The reference file: which assays there are, and of what."""

PUBLISHED_TABLE = "DMS_substitutions_Spearman_DMS_level.csv"
"""ProteinGym's own table of the Spearman correlation of every model on every assay."""

COLUMNS = ("DMS_id", "DMS_filename", "UniProt_ID", "target_seq", "coarse_selection_type")
"""Columns of the reference file that are read."""

ALL_ASSAYS = 217
"""Assays of substitutions in ProteinGym 1.x."""


@dataclass(frozen=True)
class Assay:
    """One assay of ProteinGym.

    Attributes
    ----------
    id, protein, function : str
        ``DMS_id``, ``UniProt_ID`` and ``coarse_selection_type`` of the reference file.
    sequence : str
        The wild type.
    path : Path
        Its table.
    published : dict from str to float
        Published Spearman by size of the model; empty if ProteinGym's table is not in the folder.
    """

    id: str
    protein: str
    function: str
    sequence: str
    path: Path
    published: dict[str, float]

    def digest(self) -> str:
        """Return what identifies its numbers: the wild type and the bytes of the table."""
        return digest_of(self.sequence.encode(), self.path.read_bytes())


@dataclass(frozen=True)
class Gym:
    """A folder of ProteinGym's files.

    Attributes
    ----------
    assays : list of Assay
        Those whose table is there, in the order of the reference file.
    listed : int
        How many the reference file lists.
    """

    assays: list[Assay]
    listed: int


def read_gym(folder: str | Path) -> Gym:
    """Read which assays a folder holds.

    Parameters
    ----------
    folder : str or Path
        With the reference file ``DMS_substitutions.csv`` and the tables it names, in it or in folders
        below. ``DMS_substitutions_Spearman_DMS_level.csv`` is read too if it is there: with it a part
        of the assays can be compared with what is published of the same.

    Raises
    ------
    InputError
        If there is no folder, reference file or assay, or a file is not ProteinGym's.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(missing(root, "folder"))
    there: dict[str, Path] = {}
    for path in sorted(root.rglob("*.csv"), key=lambda path: (len(path.parts), str(path))):
        there.setdefault(path.name, path)
    if REFERENCE not in there:
        raise InputError(
            f"there is no {REFERENCE} in {str(root)!r}; put ProteinGym's reference file of "
            "substitutions there, beside the tables of its assays"
        )
    listed = _rows(there[REFERENCE], COLUMNS)
    published = _published(there[PUBLISHED_TABLE]) if PUBLISHED_TABLE in there else {}
    assays = [
        Assay(
            row["DMS_id"],
            row["UniProt_ID"],
            row["coarse_selection_type"],
            row["target_seq"].strip(),
            there[row["DMS_filename"]],
            published.get(row["DMS_id"], {}),
        )
        for row in listed
        if row["DMS_filename"] in there
    ]
    if not assays:
        raise InputError(
            f"none of the {len(listed)} assays of {REFERENCE} has its table in {str(root)!r}, such as "
            f"{visible(shorten(listed[0]['DMS_filename'], 60))!r}; put ProteinGym's tables of "
            "substitutions there"
        )
    return Gym(assays, len(listed))


def _rows(path: Path, wanted: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of a table, of some columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = [
                {name: (row.get(name) or "") for name in wanted if name in row}
                for row in csv.DictReader(file)
            ]
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(
            f"{str(path)!r} cannot be read as a table ({error}); fetch it anew"
        ) from None
    if not found:
        raise InputError(f"{str(path)!r} has no rows; fetch it anew")
    lacking = [name for name in wanted if name not in found[0]]
    if lacking:
        raise InputError(
            f"{str(path)!r} has no column {lacking[0]!r}; give ProteinGym's file as it is"
        )
    return found


def _published(path: Path) -> dict[str, dict[str, float]]:
    """Return the published Spearman of ESM-2 by assay and size."""
    from esmkit.published.known import SIZES

    names = {f"ESM2 ({size})": size for size in SIZES.values()}
    found: dict[str, dict[str, float]] = {}
    for row in _rows(path, ("DMS ID", *names)):
        try:
            values = {size: float(row[name]) for name, size in names.items() if row[name]}
        except ValueError as error:
            raise InputError(
                f"{str(path)!r}, assay {visible(shorten(row['DMS ID']))!r}: {error}; give ProteinGym's "
                "file as it is"
            ) from None
        found[row["DMS ID"]] = values
    return found
