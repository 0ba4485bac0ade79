"""The folder that an earlier run of ``esmkit heads`` made: whose it is, and what it still lacks."""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from esmkit.errors import OutputError
from esmkit.files.disk import disk_errors, move_into_place, sync, sync_folder, write_durably
from esmkit.files.names import check_folder
from esmkit.files.run_options import Run
from esmkit.files.work_folder import was_finishing, work_folder_of

__all__ = [
    "ABLATED",
    "PAGES",
    "REPEATS",
    "TABLES",
    "Ablation",
    "Made",
    "add_to_folder",
    "check_open",
    "read_made",
    "record",
    "remove",
]

Ablation = Literal["done", "left out", "not done yet"]
"""What ``provenance.json`` says of the ablation of a report."""

PROVENANCE = "provenance.json"

ABLATED = "ablation.csv"
"""The table of the ablation."""

REPEATS = "repeats.csv"
"""The table of a folder that tells whether repeats were measured."""

TABLES = ("effects.csv", "heads.csv", "offsets.csv")
"""Files from which the profile is read back."""

PAGES = ("summary.md", "summary.html", "atlas.html")
"""Files that change when the ablation is added."""


@dataclass(frozen=True)
class Made:
    """What a run recorded of the folder that it wrote.

    Attributes
    ----------
    folder : Path
    identity : dict
        All that the files depend on, but for the ablation.
    files : dict of str to str
        SHA-256 by name of file, ``provenance.json`` left out.
    ablation : {'done', 'left out', 'not done yet'}
    masked_lm : bool
        Whether the run knew of the masked-LM loss.
    """

    folder: Path
    identity: Mapping[str, Any]
    files: Mapping[str, str]
    ablation: Ablation
    masked_lm: bool = True

    @property
    def lacks_loss(self) -> bool:
        """Whether an earlier version made the ablation, without the masked-LM loss."""
        return self.ablation == "done" and not self.masked_lm

    def changed(self, names: Collection[str] | None = None, *, missing: bool = True) -> list[str]:
        """Return the files that are no longer as they were written, or ``missing`` altogether."""
        wanted = self.files if names is None else [name for name in names if name in self.files]
        allowed = () if missing else (None,)
        found = {name: _digest(self.folder / name) for name in wanted}
        return [name for name in wanted if found[name] not in (self.files[name], *allowed)]


def read_made(folder: Path) -> Made | None:
    """Return what a run recorded of a folder; None if it is no run's, or an earlier version's."""
    try:
        facts = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        identity, files, ablation = facts["identity"], facts["files"], facts["ablation"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(identity, dict) or not isinstance(files, dict):
        return None
    if not all(_inside(name) for name in files):  # nobody may have us delete what lies elsewhere
        return None
    known: tuple[Ablation, ...] = ("done", "left out", "not done yet")
    if ablation not in known:
        return None
    return Made(folder, identity, files, ablation, "lm_head" in facts)


def check_open(folder: Path, ablation: bool, run: Run) -> None:
    """Refuse, before anything is loaded, a folder that holds what no run may add to or replace."""
    made = read_made(folder)
    open_ended = made is not None and (
        work_folder_of(folder).is_dir() or (ablation and made.ablation == "left out")
    )
    going_on = open_ended or (
        made is not None
        and (
            made.ablation == "not done yet"
            or REPEATS not in made.files
            or (ablation and made.lacks_loss)
        )
    )
    check_folder(folder, "folder", force=run.force or going_on or was_finishing(folder))


def record(
    staged: Path, identity: Mapping[str, Any], ablation: Ablation, files: Mapping[str, str]
) -> None:
    """Add to the provenance of a report whose folder it is, and how each of its files was written.

    Parameters
    ----------
    staged : Path
        Where the report, or what is added to it, has been written.
    identity : mapping
    ablation : {'done', 'left out', 'not done yet'}
    files : mapping of str to str
        SHA-256 of the files that stay as they are.
    """
    new = {name: _digest(staged / name) for name in _names(staged) if name != PROVENANCE}
    facts = json.loads((staged / PROVENANCE).read_text(encoding="utf-8"))
    facts |= {
        "ablation": ablation,
        "identity": dict(identity),
        "files": dict(sorted({**files, **new}.items())),
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    write_durably(staged / PROVENANCE, text.encode("utf-8", "replace"))


def add_to_folder(staged: Path, made: Made, *, force: bool) -> None:
    """Move files into a folder that a run made, each at once; the provenance last.

    Until that has moved, the same run again adds all of them once more, with the same result.

    Parameters
    ----------
    staged : Path
        The folder in which they have been written.
    made : Made
    force : bool
        Also over files that are neither as the run wrote them nor as they are to be.

    Raises
    ------
    OutputError
        If there are such files, or the disk fails.
    """
    folder, names = made.folder, sorted(_names(staged), key=lambda name: name == PROVENANCE)
    foreign = [
        name
        for name in names
        if name != PROVENANCE
        and _digest(folder / name) not in (None, made.files.get(name), _digest(staged / name))
    ]
    if foreign and not force:
        raise OutputError(
            f"{str(folder / foreign[0])!r} is not as it was written; what was measured is kept: "
            "move the file away and run the same again, or the same with `run=Run(force=True)` "
            "overwrites it"
        )
    with disk_errors(folder):
        for name in names:
            sync(staged / name)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            move_into_place(staged / name, folder / name)
        sync_folder(folder)


def remove(made: Made, kept: Iterable[str] = ()) -> None:
    """Delete what a run wrote, and nobody changed, of a folder; what says that it did last.

    Parameters
    ----------
    made : Made
    kept : iterable of str
        Files that stay, and with them ``provenance.json``.
    """
    kept = set(kept)
    for name in sorted(set(made.files) - kept - set(made.changed())):
        (made.folder / name).unlink(missing_ok=True)
        for above in (made.folder / name).parents:
            if above == made.folder:
                break
            with contextlib.suppress(OSError):  # of a folder in the folder if it is empty
                above.rmdir()
    if not kept:
        (made.folder / PROVENANCE).unlink(missing_ok=True)


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
