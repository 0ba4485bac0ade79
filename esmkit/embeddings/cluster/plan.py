"""Plan of a run: which ranges there are, which are finished, and which failed."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from esmkit.embeddings.cluster.cluster import WorkerPool
from esmkit.embeddings.cluster.dataset import (
    ERRORS,
    MANIFEST,
    PROVENANCE_FILE,
    Manifest,
    Part,
    held_parts,
    part_name,
    part_of_name,
    read_manifest,
)
from esmkit.embeddings.cluster.ranges import count_ranges
from esmkit.embeddings.cluster.storage import Folder
from esmkit.errors import EsmkitError, OutputError, ResumeError
from esmkit.files.provenance import change
from esmkit.files.run_options import Run
from esmkit.text import Say

__all__ = ["Failures", "RangePlan", "begin", "is_left_by_killed", "range_bytes_for"]

LEAST_RANGE, MOST_RANGE = 32 * 2**10, 2**20
"""Bounds of the input in one part, in bytes. On one core the 8M model takes minutes for the most."""

MOST_RESULT_BYTES = 64 * 2**20
"""Size of the vectors of one part, which a worker holds."""

SMALL_WEIGHTS = 31 * 2**20
"""Bytes of ESM-2 8M: a model ten times larger gets ranges a tenth as long."""


def range_bytes_for(total: int, pool: WorkerPool, weights: Path, values: int, per: str) -> int:
    """Choose how many bytes of input make one part.

    Parameters
    ----------
    total : int
        Bytes of the input.
    pool : WorkerPool
    weights : Path
        Folder of the checkpoint.
    values : int
        Numbers that are kept of each protein or residue: layers times width.
    per : {'protein', 'residue'}
    """
    most = MOST_RANGE
    if not pool.gpus:  # what a worker that dies loses should stay minutes
        size = sum(path.stat().st_size for path in weights.iterdir() if path.is_file())
        most = min(most, MOST_RANGE * SMALL_WEIGHTS // max(size, 1))
    if per == "residue":
        most = min(most, MOST_RESULT_BYTES // (4 * values))
    return max(min(LEAST_RANGE, MOST_RANGE), min(most, total // (4 * pool.number)))


class Failures:
    """Ranges that could not be done, and why."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, answer: dict[str, Any]) -> str:
        """Take one; return it in words."""
        self.found.append({key: answer[key] for key in ("file", "name", "range", "error")})
        return self.words(self.found[-1])

    @staticmethod
    def words(failure: dict[str, Any]) -> str:
        """Return file, range and reason in one line."""
        where = f", range {failure['range']}" if failure["range"] >= 0 else ""
        return f"{failure['name']}{where}: {failure['error']}"

    def save(self, folder: Folder) -> None:
        """Write them to their place, or take an old list away."""
        if self.found:
            # What to do about it depends on who asks, and when: the list gives reasons alone
            listed = [{**f, "error": EsmkitError(f["error"]).reason} for f in self.found]
            folder.write(ERRORS, (json.dumps(listed, indent=2) + "\n").encode())
        else:
            folder.remove(ERRORS)

    @staticmethod
    def files(folder: Folder) -> set[int]:
        """Return the numbers of the files in which the last run failed."""
        if not folder.exists(ERRORS):
            return set()
        try:
            return {int(failure["file"]) for failure in json.loads(folder.read(ERRORS))}
        except (ValueError, KeyError, TypeError):
            return set()

    def sentence(self, missing: int, held: int) -> str:
        """Say what is missing and how to go on."""
        shown = "; ".join(self.words(failure) for failure in self.found[:3])
        more = f"; and {len(self.found) - 3:,} more in {ERRORS}" if len(self.found) > 3 else ""
        what = shown + more or f"{missing:,} range(s) gave no answer"
        return (
            f"{held:,} range(s) are finished and {max(missing, len(self.found)):,} are not: {what}. "
            "Mend the input, or choose another `on_invalid`, and run the same again: only what is "
            "missing is computed"
        )


@dataclass
class RangePlan:
    """The ranges of a run.

    Attributes
    ----------
    folder : Folder
    manifest : Manifest
    held : dict
        Finished parts by (file, range).
    changed : set of int
        Numbers of files mended since the run before; their ranges are compared by digest.
    said : set of str
        Sentences of workers about the model they loaded, each of which is passed on once.
    """

    folder: Folder
    manifest: Manifest
    held: dict[tuple[int, int], Part]
    changed: set[int] = field(default_factory=set)
    said: set[str] = field(default_factory=set)

    def items(self) -> list[dict[str, Any]]:
        """Return what readers have to read: ranges of plain files, and whole gzip files."""
        items: list[dict[str, Any]] = []
        digests: dict[int, dict[str, str]] = {}
        for (number, k), part in self.held.items():
            digests.setdefault(number, {})[str(k)] = part.digest
        for number, file in enumerate(self.manifest.inputs):
            item = {"file": number, "name": file.name, "url": file.url, "gzip": file.gzip}
            held = digests.get(number, {})
            if file.gzip:
                whole = file.ranges is not None and len(held) >= file.ranges
                if not whole or number in self.changed:
                    items.append({**item, "range": -1, "held": json.dumps(held)})
                continue
            for k in range(file.ranges or 0):
                if str(k) not in held or number in self.changed:
                    known = {str(k): held[str(k)]} if str(k) in held else {}
                    items.append({**item, "range": k, "held": json.dumps(known)})
        return items

    def take(self, answer: dict[str, Any], failures: Failures, say: Say) -> None:
        """Enter the answer to one range."""
        for sentence in answer["said"].splitlines():
            if sentence not in self.said:
                self.said.add(sentence)
                say(f"a worker says: {sentence}")
        place = (answer["file"], answer["range"])
        file = self.manifest.inputs[answer["file"]]
        if answer["kind"] == "error":
            self.held.pop(place, None)
            say(failures.add(answer))
        elif answer["kind"] == "end":
            file.ranges = answer["range"]
            self.drop_beyond(answer["file"])
            self.manifest.save(self.folder)
        elif answer["kind"] == "held":
            answer["progress"] = 0
        else:
            self.held[place] = Part(**json.loads(answer["part"]))

    def drop_beyond(self, number: int) -> None:
        """Remove parts of ranges that a file, shorter than it was, has no more."""
        last = self.manifest.inputs[number].ranges or 0
        for place in [place for place in self.held if place[0] == number and place[1] >= last]:
            self.folder.remove(part_name(*place))
            del self.held[place]

    def missing(self) -> int:
        """Return how many ranges have no part; a gzip file not read to its end counts as one."""
        count = 0
        for number, file in enumerate(self.manifest.inputs):
            if file.ranges is None:
                count += 1
            else:
                count += sum((number, k) not in self.held for k in range(file.ranges))
        return count

    def bytes(self) -> tuple[int, int]:
        """Return (bytes of the input, bytes of ranges that are finished)."""
        done = 0
        for number, file in enumerate(self.manifest.inputs):
            count = sum(place[0] == number for place in self.held)
            if file.ranges:
                done += file.bytes * count // file.ranges
        return sum(file.bytes for file in self.manifest.inputs), done


def begin(
    folder: Folder,
    manifest: Manifest,
    run: Run = Run(),  # noqa: B008 - frozen
    *,
    asked_range: bool,
) -> RangePlan | None:
    """Make the folder ready, or go on with what is in it.

    Parameters
    ----------
    folder : Folder
        Where the dataset is, or will be.
    manifest : Manifest
        What the dataset shall be of.
    run : Run
        Options of the run: ``force`` replaces a dataset that is complete, ``restart`` throws
        unfinished work away.
    asked_range : bool
        Whether the manifest's range size was asked for; otherwise that of the work begun is kept.

    Returns
    -------
    RangePlan or None
        None if the dataset is complete already.

    Raises
    ------
    ResumeError
        If the folder is of another run; the message says what differs.
    OutputError
        If it holds files that are not esmkit's.
    """
    names = folder.names()
    before = None
    if run.restart or (run.force and PROVENANCE_FILE in names):
        _empty(folder, names)
    else:
        before = read_manifest(folder)
        if before is None:
            _empty(folder, names)
    for number, file in enumerate(manifest.inputs):
        if not file.gzip:
            file.ranges = count_ranges(file.bytes, manifest.range_bytes)
        elif before is not None and number < len(before.inputs):
            file.ranges = before.inputs[number].ranges
    changed: set[int] = set()
    if before is not None:
        changed = _compare(folder, before, manifest, asked_range)
        for file in manifest.inputs:
            if not file.gzip:
                file.ranges = count_ranges(file.bytes, manifest.range_bytes)
        if PROVENANCE_FILE in names and not changed:
            return None
        for name in names:  # of workers that were killed
            if name.endswith(".tmp") or name.startswith("_attempt-"):
                folder.remove(name)
    folder.make()
    folder.remove(PROVENANCE_FILE)
    manifest.save(folder)
    plan = RangePlan(folder, manifest, held_parts(folder, manifest.run), changed)
    for number in changed:
        if manifest.inputs[number].gzip:
            manifest.inputs[number].ranges = None
        else:
            plan.drop_beyond(number)
    if plan.held:
        run.say(f"going on after {len(plan.held):,} finished range(s)")
    return plan


def _empty(folder: Folder, names: list[str]) -> None:
    """Delete what esmkit put there; anything else is somebody's, and stays."""
    ours = [name for name in names if _is_ours(name)]
    foreign = [name for name in names if name not in ours]
    if foreign:
        raise OutputError(
            f"{folder.url!r} holds files that are not esmkit's, such as {foreign[0]!r}; name an "
            "empty folder, or a new one, with `output`"
        )
    for name in ours:
        folder.remove(name)


def _is_ours(name: str) -> bool:
    if name in (MANIFEST, ERRORS, PROVENANCE_FILE) or is_left_by_killed(name):
        return True
    return part_of_name(name) is not None


def is_left_by_killed(name: str) -> bool:
    """Say whether a file is what a worker was about when it was killed: nobody else deletes it."""
    return name.startswith("_attempt-") or (name.startswith(".") and name.endswith(".tmp"))


def _compare(folder: Folder, before: Manifest, now: Manifest, asked_range: bool) -> set[int]:
    """Make sure that unfinished work is of the same run; return the files mended since."""
    if not asked_range:
        now.range_bytes = before.range_bytes  # what was chosen then stays, whatever the workers
    old, new = ({**m.fingerprint, "range-size": m.range_bytes} for m in (before, now))
    old["inputs"], new["inputs"] = ([file.name for file in m.inputs] for m in (before, now))
    if old["on-invalid"] == "error":
        old["on-invalid"] = new["on-invalid"]  # what is finished has no invalid letters
    differs = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if differs:
        what = "; ".join(change(k, old.get(k), new.get(k)) for k in differs)
        raise ResumeError(
            f"{folder.url!r} holds a dataset of another kind ({what}); give another folder with "
            "`output`, or throw it away with `run=Run(restart=True)`"
        )
    changed = {
        number
        for number, (a, b) in enumerate(zip(before.inputs, now.inputs, strict=True))
        if a.sha256 != b.sha256
    }
    for number in sorted(changed - Failures.files(folder)):
        raise ResumeError(
            f"the input {now.inputs[number].name!r} is not what it was when {folder.url!r} was "
            "begun (another SHA-256); give the same file, or another folder with "
            "`output`, or begin anew with `run=Run(restart=True)`"
        )
    return changed
