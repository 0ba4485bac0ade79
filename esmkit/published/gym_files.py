"""ProteinGym's files as its authors give them: the reference file, the assays, published values.

Names are those of ProteinGym's own folders. Other files there have the same names: tables of cross
validation hold single substitutions alone, the supervised benchmark has a table of the same name with
other models. So a table is taken for its content where there are several.
"""

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

COUNT = "DMS_total_number_mutants"
"""Column of the reference file with the number of variants; not needed."""

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
    variants : int or None
        How many variants the reference file says there are.
    """

    id: str
    protein: str
    function: str
    sequence: str
    path: Path
    published: dict[str, float]
    variants: int | None = None

    def digest(self) -> str:
        """Return what identifies its numbers: the wild type and the bytes of the table.

        Raises
        ------
        InputError
            If the table cannot be read.
        """
        try:
            table = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{str(self.path)!r} cannot be read ({error})") from None
        return digest_of(self.sequence.encode(), table)


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
    there: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.csv"), key=lambda path: (len(path.parts), str(path))):
        if path.is_file():
            there.setdefault(path.name, []).append(path)
    packed = sorted(path.name for path in root.glob("*.zip"))
    unpack = f"; unpack {visible(shorten(packed[0], 60))!r} first" if packed else ""
    if REFERENCE not in there:
        raise InputError(
            f"there is no {REFERENCE} in {str(root)!r}; put ProteinGym's reference file of "
            f"substitutions there, beside the tables of its assays{unpack}"
        )
    reference = there[REFERENCE][0]
    listed = _rows(reference, COLUMNS, (COUNT,))
    seen: set[str] = set()
    for row in listed:
        if row["DMS_id"] in seen:
            raise InputError(
                f"{str(reference)!r}: assay {visible(shorten(row['DMS_id']))!r} comes twice; fetch it anew"
            )
        seen.add(row["DMS_id"])
    published = _published(there.get(PUBLISHED_TABLE, []))
    assays = [
        _assay(reference, row, there[row["DMS_filename"]], published.get(row["DMS_id"], {}))
        for row in listed
        if row["DMS_filename"] in there
    ]
    if not assays:
        raise InputError(
            f"none of the {len(listed)} assays of {REFERENCE} has its table in {str(root)!r}, such as "
            f"{visible(shorten(listed[0]['DMS_filename'], 60))!r}; put ProteinGym's tables of "
            f"substitutions there{unpack}"
        )
    return Gym(assays, len(listed))


def _assay(
    reference: Path, row: dict[str, str], tables: list[Path], published: dict[str, float]
) -> Assay:
    """Return the assay of a row of the reference file, with the table that has all its variants."""
    for column in COLUMNS:
        if not row[column].strip():
            raise InputError(
                f"{str(reference)!r}, assay {visible(shorten(row['DMS_id']))!r}: {column} is empty; "
                "fetch it anew"
            )
    count = row.get(COUNT, "").strip()
    variants = int(count) if count.isdecimal() and len(count) < 10 else None
    table = tables[0]
    if len(tables) > 1 and variants is not None:
        table = next((path for path in tables if _lines(path) == variants), table)
    return Assay(
        row["DMS_id"],
        row["UniProt_ID"],
        row["coarse_selection_type"],
        row["target_seq"].strip(),
        table,
        published,
        variants,
    )


def _lines(path: Path) -> int:
    """Return how many lines that are not empty a table has below its first."""
    try:
        with path.open("rb") as file:
            return sum(bool(line.strip()) for line in file) - 1
    except OSError:  # told where the table is read, if it is
        return -1


def _rows(
    path: Path, wanted: tuple[str, ...], welcome: tuple[str, ...] = ()
) -> list[dict[str, str]]:
    """Return the rows of a table, of some columns that it must have and others that it may have."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = [
                {name: (row.get(name) or "") for name in (*wanted, *welcome) if name in row}
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


def _published(paths: list[Path]) -> dict[str, dict[str, float]]:
    """Return the published Spearman of ESM-2 by assay and size, from the first table that has it."""
    from esmkit.published.known import SIZES

    names = {f"ESM2 ({size})": size for size in SIZES.values()}
    rows: list[dict[str, str]] = []
    for path in paths:
        try:
            rows = _rows(path, ("DMS ID", *names))
            break
        except InputError:
            if path == paths[-1]:
                raise
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        try:
            values = {size: float(row[name]) for name, size in names.items() if row[name]}
        except ValueError as error:
            raise InputError(
                f"{str(path)!r}, assay {visible(shorten(row['DMS ID']))!r}: {error}; give ProteinGym's "
                "file as it is"
            ) from None
        found[row["DMS ID"]] = values
    return found
