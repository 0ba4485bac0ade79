"""Work in progress that survives a kill: a folder of small shards beside the output.

A shard is written under a temporary name, flushed to disk and renamed, so it is whole or not
there. It carries a checksum of its arrays. The folder also holds the fingerprint of input, options
and checkpoint: work that belongs to anything else is never mixed in. The output itself is written
inside the folder and moved to its place in one step when it is complete.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from esmkit.errors import OutputError, ResumeError
from esmkit.files.disk import (
    delete,
    delete_folder,
    disk_errors,
    file_identity,
    move_into_place,
    named_place,
    sync,
    sync_folder,
    through_links,
    write_durably,
)
from esmkit.files.locks import take_lock
from esmkit.files.provenance import change
from esmkit.files.shards import ShardPaths, numbers_in, pack_shard

__all__ = [
    "ADDED",
    "WorkFolder",
    "finished_by_killed_run",
    "scratch_file",
    "tidy_up",
    "was_finishing",
    "work_folder_of",
]

FINGERPRINT = "fingerprint.json"
"""File of the values that must be equal for old shards to be used."""

OUTPUT = "output.tmp"
"""File, or folder, in which the output is written before it is moved."""

FINISHING = "finishing.json"
"""Names the finished output by inode, size and time, or each of its files if it is a folder, just
before it is moved to its place. It holds the fingerprint too, for it is the last file to go."""

ADDED = "added.way"
"""Note that what was still to come is measured too, and on its way into the output."""

_WAYS = {True: "compiled", False: "plain"}
"""Names of the notes on how attention was computed, by whether it was compiled."""


class WorkFolder:
    """The shards of one task on the way to one output.

    Parameters
    ----------
    output : Path
        Place of the finished file, through links; the folder is ``<output>.work`` beside it.
    fingerprint : dict
        JSON-ready values that must all be equal for old shards to be used.
    restart : bool
        Throw old shards away.
    force : bool
        Overwrite an output that exists when the work is finished.

    Raises
    ------
    ResumeError
        If unfinished work with another fingerprint is there (the message says what changed), or
        another process is at work on the same output.
    OutputError
        If the folder cannot be made.
    """

    def __init__(
        self,
        output: Path,
        fingerprint: dict[str, Any],
        *,
        restart: bool = False,
        force: bool = False,
    ) -> None:
        self.output: Path = through_links(output)
        self._force, self._next = force, 0
        self.folder: Path = work_folder_of(output)
        self.fingerprint: dict[str, Any] = fingerprint
        self.damaged: int = 0
        with disk_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            self._lock = take_lock(work_folder_of(output) / "lock", output)
        self.shard_of: ShardPaths = ShardPaths()
        try:
            with disk_errors(self.folder):
                if restart:
                    self._empty()
                self._check_fingerprint()
                self._find_shards()
        except BaseException:
            self._lock.close()
            raise

    def _empty(self) -> None:
        """Delete what esmkit put here; anything else is somebody's, and stays."""
        foreign = [path for path in self.folder.iterdir() if not _is_ours(path)]
        if foreign:
            raise ResumeError(
                f"{str(self.folder)!r} holds files that are not esmkit's, such as "
                f"{foreign[0].name!r}; move them away, or give the output another name"
            )
        self._take_back()
        for path in self.folder.iterdir():
            if path.name != "lock":
                delete(path)

    def _check_fingerprint(self) -> None:
        path = self.folder / FINGERPRINT
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self._empty()
            write_durably(path, json.dumps(self.fingerprint).encode())
            return
        now = json.loads(json.dumps(self.fingerprint))
        changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
        if changed:
            what = "; ".join(change(k, before.get(k), now.get(k)) for k in changed)
            raise ResumeError(
                f"{str(self.folder)!r} holds unfinished work of another kind ({what}); run it to "
                "the end as it was begun, or throw it away with `run=Run(restart=True)`"
            )
        self._take_back()
        for leftover in [*self.folder.glob("*.tmp"), self.folder / FINISHING]:
            delete(leftover)

    def _take_back(self) -> None:
        """Delete what a killed run had moved of a folder: it will be moved whole, or not at all."""
        finished, _ = _finishing(self.output)
        if isinstance(finished, dict):
            for name, identity in finished.items():
                if file_identity(self.output / name) == identity:
                    (self.output / name).unlink()
                    with contextlib.suppress(OSError):  # of a folder in the folder if it is empty
                        if (self.output / name).parent != self.output:
                            (self.output / name).parent.rmdir()

    def _find_shards(self) -> None:
        for path in sorted(self.folder.glob("*.safetensors")):
            self._next = max(self._next, int(path.stem) + 1)
            try:
                self.shard_of.add(numbers_in(path), path)
            except OutputError:
                path.unlink()
                self.damaged += 1

    def note_attention(self, *, compiled: bool) -> None:
        """Note how attention is computed for the results that are added from now on."""
        self.note(f"{_WAYS[compiled]}.way")

    def note(self, name: str) -> None:
        """Leave an empty file of that name, which ends in ``.way``, until the work is finished."""
        with disk_errors(self.folder):
            write_durably(self.folder / name)

    def compiled(self, otherwise: bool) -> bool | str:
        """Say for which results here attention was compiled, whichever process computed them.

        Parameters
        ----------
        otherwise : bool
            The answer if nothing was noted.

        Returns
        -------
        bool or 'in part'
            True for all of them, False for none.
        """
        with disk_errors(self.folder):
            noted = {path.stem for path in self.folder.glob("*.way")}
        ways = noted.intersection(_WAYS.values()) or {_WAYS[otherwise]}
        return "in part" if len(ways) > 1 else ways == {_WAYS[True]}

    def write(self, arrays: Mapping[int, NDArray[Any]]) -> None:
        """Add a shard: results under the number of their sequence.

        Raises
        ------
        OutputError
            If the disk is full or fails. Shards written before stay good.
        """
        path = self.folder / f"{self._next:06d}.safetensors"
        with disk_errors(self.folder):
            write_durably(path, *pack_shard(arrays))
        self._next += 1
        self.shard_of.add(arrays, path)

    def temporary(self) -> Path:
        """Return the path, inside the folder, at which to write the output."""
        return self.folder / OUTPUT

    def finish(
        self,
        *,
        sidecar: tuple[Path, bytes] | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Move the written output to its place, then remove the folder.

        Parameters
        ----------
        sidecar : (Path, bytes), optional
            A small file that belongs beside the output, written just before it appears.
        then : callable
            Last step with the output where it stands, such as to draw it. If it is cut short,
            :func:`finished_by_killed_run` knows the output as that of this run.

        Raises
        ------
        OutputError
            If a file of that name has appeared meanwhile and ``force`` is not set, or the disk
            fails. The finished work is kept.
        """
        temporary = self.temporary()
        with disk_errors(self.output):
            sync(temporary)
            # A kill between the move and the removal must not look like somebody else's output.
            self._announce(file_identity(temporary))
            if self.output.exists() and not self._force:
                raise OutputError(
                    f"{str(self.output)!r} has appeared meanwhile; the same again with "
                    "`run=Run(force=True)` puts the finished work in its place, or move it away and run "
                    "the same again"
                )
            if sidecar is not None:
                write_durably(*sidecar)
            move_into_place(temporary, self.output)
            sync_folder(self.output.parent)
        self._drop_shards()
        then()
        self.remove()

    def finish_folder(
        self, then: Callable[[], None] = lambda: None, *, more: bool = False
    ) -> list[Path]:
        """Move a folder of files, written at :meth:`temporary`, to its place.

        At once if there is nothing, or an empty folder; file by file into one that holds others.

        Parameters
        ----------
        then : callable
            Last step with the output where it stands, as for :meth:`finish`.
        more : bool
            There is more to come: the work stays as it is, and the last step is not yet done.

        Returns
        -------
        list of Path
            The files, where they stand now.

        Raises
        ------
        OutputError
            If files have appeared there meanwhile and ``force`` is not set, or the disk fails. The
            finished work is kept.
        """
        staged = self.temporary()
        with disk_errors(self.output):
            names = sorted(p.relative_to(staged) for p in staged.rglob("*") if p.is_file())
            for name in names:
                sync(staged / name)
            self._announce({name.as_posix(): file_identity(staged / name) for name in names})
            if not self._force and self.output.is_dir() and any(self.output.iterdir()):
                raise OutputError(
                    f"files have appeared in {str(self.output)!r} meanwhile; the same again with "
                    "`run=Run(force=True)` writes among them, or move them away and run the same again"
                )
            try:
                staged.rename(self.output)
            except OSError:  # it holds something, is where a disk is mounted, or this is Windows
                for name in names:
                    (self.output / name).parent.mkdir(parents=True, exist_ok=True)
                    move_into_place(staged / name, self.output / name)
            sync_folder(self.output.parent)
        if more:
            (self.folder / FINISHING).unlink()
        else:
            then()
            self.remove()
        return [self.output / name for name in names]

    def _announce(self, identity: "list[int] | dict[str, Any] | None") -> None:
        facts = {"output": identity, "fingerprint": self.fingerprint}
        write_durably(self.folder / FINISHING, json.dumps(facts).encode())

    def _drop_shards(self) -> None:
        for path in self.shard_of.paths():
            path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        delete_folder(self.folder, last=(FINISHING, ADDED), lock=self._lock)
        self._lock.close()  # last: until now nobody else may use the folder

    def close(self) -> None:
        """Let go of the lock; the shards stay for the next run, half an output does not."""
        if not self._lock.closed:
            moved = (self.folder / FINISHING).exists()  # then scratch files wait for ``then``
            for half in [self.temporary()] if moved else self.folder.glob("*.tmp"):
                with contextlib.suppress(OSError):
                    delete(half)
        self._lock.close()


def scratch_file(output: Path, name: str) -> Path:
    """Return where a task may keep a file of its own until its run is over.

    The file is thrown away with what is left of the output when an unfinished run goes on; it is
    there for ``then`` of :meth:`WorkFolder.finish`, also if that is cut short and done again.
    """
    return work_folder_of(output) / f"{name}.tmp"


def finished_by_killed_run(output: Path, fingerprint: dict[str, Any] | None = None) -> bool:
    """Tell whether a run was killed just after it had moved its output into place.

    Parameters
    ----------
    output : Path
    fingerprint : dict, optional
        If given, the run must have been the very same one.

    Returns
    -------
    bool
        True if ``output`` is what that run wrote, whole; :func:`tidy_up` removes what is left.
    """
    finished, before = _finishing(output)
    whole = finished is not None and (
        all(file_identity(output / name) == identity for name, identity in finished.items())
        if isinstance(finished, dict)
        else file_identity(output) == finished
    )
    return whole and (fingerprint is None or before == json.loads(json.dumps(fingerprint)))


def tidy_up(output: Path, then: Callable[[], None] = lambda: None) -> None:
    """Remove the work folder of a run that :func:`finished_by_killed_run` has recognised.

    Parameters
    ----------
    output : Path
    then : callable
        Last step of that run with its output; it is done first.

    Raises
    ------
    ResumeError
        If it has not been killed, and is still at it.
    """
    folder = work_folder_of(output)
    with disk_errors(folder), take_lock(folder / "lock", output) as lock:
        then()
        delete_folder(folder, last=(FINISHING, ADDED), lock=lock)


def was_finishing(output: Path) -> bool:
    """Tell whether a run was stopped while it moved its output, or a file beside it, into place."""
    return _finishing(output)[0] is not None


def _finishing(output: Path) -> tuple[Any, dict[str, Any]]:
    """Return what a run was about to move into place, and its fingerprint."""
    try:
        facts = json.loads((work_folder_of(output) / FINISHING).read_bytes())
        return facts["output"], facts["fingerprint"]
    except (OSError, ValueError, LookupError, TypeError):
        with contextlib.suppress(OSError):  # killed when all but the empty folder was gone
            work_folder_of(output).rmdir()
        return None, {}


def _is_ours(path: Path) -> bool:
    if path.name in ("lock", FINGERPRINT, FINISHING) or path.suffix in (".tmp", ".way"):
        return path.name == OUTPUT or path.is_file()  # of some commands it is a folder
    return path.suffix == ".safetensors" and path.stem.isdigit()


def work_folder_of(output: Path) -> Path:
    """Return the folder of the work on the way to an output, whether it is there or not."""
    return (real := named_place(output)).with_name(f"{real.name}.work")
