"""Work in progress that survives a kill: a folder of small shards beside the output.

A shard is written under a temporary name, flushed to disk and renamed, so it is whole or not
there. It carries a checksum of its arrays. The folder also holds the fingerprint of input, options
and checkpoint: work that belongs to anything else is never mixed in. The output itself is written
inside the folder and moved to its place in one step when it is complete.
"""

import contextlib
import json
import os
import shutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from esmkit.errors import OutputError, ResumeError

__all__ = [
    "ShardReader",
    "WorkFolder",
    "check_output",
    "disk_errors",
    "finished_by_killed_run",
    "read_shard",
    "was_finishing",
    "write_durably",
]

FINGERPRINT = "fingerprint.json"

FINISHING = "finishing.json"
"""Names the finished output by inode, size and time just before it is moved to its place."""

Arrays = Mapping[int, NDArray[Any]]


def check_output(output: Path, *, force: bool) -> None:
    """Make sure, before anything is computed, that the output may and can be written.

    Raises
    ------
    OutputError
        If it exists and ``force`` is not set, or its folder is missing or not writable.
    """
    try:
        exists, is_folder = output.exists(), output.is_dir()
    except OSError as error:
        raise OutputError(
            f"{str(output)[:60]!r} cannot be a file name ({error.strerror}); give another with -o"
        ) from None
    if is_folder:
        raise OutputError(f"{str(output)!r} is a folder; give a file name with -o")
    if exists and not force:
        raise OutputError(
            f"{str(output)!r} exists already; --force overwrites it, or -o names another file"
        )
    parent = output.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"there is no folder {str(parent)!r}; make it, or choose another with -o")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {str(parent)!r} cannot be written; choose another with -o")


@contextlib.contextmanager
def disk_errors(where: Path | str) -> Iterator[None]:
    """Turn an error of the file system into one sentence that says how to go on."""
    try:
        yield
    except (OutputError, BrokenPipeError):
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write to {str(where)!r} ({error.strerror or error}); what was computed "
            "before is kept: make room or mend the cause, then run the same command again"
        ) from error


class WorkFolder:
    """The shards of one task on the way to one output.

    Parameters
    ----------
    output : Path
        Where the finished file will stand; the folder is ``<output>.work`` beside it.
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
        self.output = output
        self._force = force
        self.folder = _folder_of(output)
        self.fingerprint = fingerprint
        self.damaged = 0
        with disk_errors(self.folder):
            self.folder.mkdir(exist_ok=True)
            self._lock = self._take_lock()
        self.shard_of: dict[int, Path] = {}
        self._next = 0
        try:
            with disk_errors(self.folder):
                if restart:
                    self._empty()
                self._check_fingerprint()
                self._find_shards()
        except BaseException:
            self._lock.close()
            raise

    def _take_lock(self) -> IO[bytes]:
        handle = (self.folder / "lock").open("ab")
        try:
            import fcntl
        except ImportError:  # Windows refuses to delete files in use, which protects as well
            return handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.close()
            raise ResumeError(
                f"another process is writing {str(self.output)!r} just now; wait for it, or give "
                "another file with -o"
            ) from None
        return handle

    def _empty(self) -> None:
        """Delete what esmkit put here; anything else is somebody's, and stays."""
        foreign = [path for path in self.folder.iterdir() if not _is_ours(path)]
        if foreign:
            raise ResumeError(
                f"{str(self.folder)!r} holds files that are not esmkit's, such as "
                f"{foreign[0].name!r}; move them away, or give another output with -o"
            )
        for path in self.folder.iterdir():
            if path.name != "lock":
                path.unlink()

    def _check_fingerprint(self) -> None:
        path = self.folder / FINGERPRINT
        for leftover in [*self.folder.glob("*.tmp"), self.folder / FINISHING]:
            leftover.unlink(missing_ok=True)
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self._empty()
            write_durably(path, json.dumps(self.fingerprint).encode())
            return
        now = json.loads(json.dumps(self.fingerprint))
        changed = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
        if changed:
            what = "; ".join(
                f"{k} was {_brief(before.get(k))}, now {_brief(now.get(k))}" for k in changed
            )
            raise ResumeError(
                f"{str(self.folder)!r} holds unfinished work of another kind ({what}); run it to "
                "the end as it was begun, or --restart to throw it away"
            )

    def _find_shards(self) -> None:
        for path in sorted(self.folder.glob("*.safetensors")):
            self._next = max(self._next, int(path.stem) + 1)
            try:
                arrays = read_shard(path)
            except OutputError:
                path.unlink()
                self.damaged += 1
                continue
            self.shard_of.update(dict.fromkeys(arrays, path))

    def write(self, arrays: Arrays) -> None:
        """Add a shard: results under the number of their sequence.

        Raises
        ------
        OutputError
            If the disk is full or fails. Shards written before stay good.
        """
        path = self.folder / f"{self._next:06d}.safetensors"
        named = {str(number): np.ascontiguousarray(a) for number, a in arrays.items()}
        metadata = {"crc32": _checksum(named)}
        with disk_errors(self.folder):
            write_durably(path, save(named, metadata=metadata))
        self._next += 1
        self.shard_of.update(dict.fromkeys(arrays, path))

    def temporary(self) -> Path:
        """Return the path, inside the folder, at which to write the output."""
        return self.folder / "output.tmp"

    def finish(self, *, sidecar: tuple[Path, bytes] | None = None) -> None:
        """Move the written output to its place, then remove the folder.

        Parameters
        ----------
        sidecar : (Path, bytes), optional
            A small file that belongs beside the output, written just before it appears.

        Raises
        ------
        OutputError
            If a file of that name has appeared meanwhile and ``force`` is not set, or the disk
            fails. The finished work is kept.
        """
        temporary = self.temporary()
        with disk_errors(self.output):
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
            # A kill between the move and the removal must not look like somebody else's output.
            write_durably(self.folder / FINISHING, json.dumps(_identity(temporary)).encode())
            if self.output.exists() and not self._force:
                raise OutputError(
                    f"{str(self.output)!r} has appeared meanwhile; the same command with --force "
                    "overwrites it with the finished work, or move it away and run it again"
                )
            if sidecar is not None:
                write_durably(*sidecar)
            temporary.replace(self.output)
            _sync_folder(self.output.parent)
        self.remove()

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()  # last: until now nobody else may use the folder

    def close(self) -> None:
        """Let go of the lock; the shards stay for the next run."""
        self._lock.close()


def finished_by_killed_run(output: Path, fingerprint: dict[str, Any] | None = None) -> bool:
    """Tell whether a run was killed just after it had moved its output into place.

    Parameters
    ----------
    output : Path
    fingerprint : dict, optional
        If given, the run must have been the very same one; its work folder is removed then.

    Returns
    -------
    bool
        True if ``output`` is what that run wrote, whole.
    """
    folder = _folder_of(output)
    try:
        finished = json.loads((folder / FINISHING).read_bytes()) == _identity(output)
        before = json.loads((folder / FINGERPRINT).read_bytes())
    except (OSError, ValueError):
        return False
    if finished and fingerprint is not None:
        finished = before == json.loads(json.dumps(fingerprint))
        if finished:
            shutil.rmtree(folder, ignore_errors=True)
    return finished


def was_finishing(output: Path) -> bool:
    """Tell whether a run was stopped while it moved its output, or a file beside it, into place."""
    return (_folder_of(output) / FINISHING).exists()


def _is_ours(path: Path) -> bool:
    if path.name in ("lock", FINGERPRINT, FINISHING) or path.suffix == ".tmp":
        return path.is_file()
    return path.suffix == ".safetensors" and path.stem.isdigit()


def _folder_of(output: Path) -> Path:
    return output.with_name(output.name + ".work")


def _identity(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]


class ShardReader:
    """Looks up results by their number, holding a few shards in memory.

    Parameters
    ----------
    work : WorkFolder
    most_bytes : int
        Shards are let go of when those held exceed this; the last one read always stays.
    """

    def __init__(self, work: WorkFolder, most_bytes: int = 256 * 2**20) -> None:
        self._work = work
        self._most_bytes = most_bytes
        self._held: OrderedDict[Path, dict[int, NDArray[Any]]] = OrderedDict()
        self._bytes = 0

    def __getitem__(self, number: int) -> NDArray[Any]:
        path = self._work.shard_of[number]
        if path not in self._held:
            arrays = read_shard(path)
            self._held[path] = arrays
            self._bytes += _size(arrays)
            while self._bytes > self._most_bytes and len(self._held) > 1:
                _, old = self._held.popitem(last=False)
                self._bytes -= _size(old)
        self._held.move_to_end(path)
        return self._held[path][number]


def read_shard(path: Path) -> dict[int, NDArray[Any]]:
    """Read a shard and compare it with its checksum.

    Raises
    ------
    OutputError
        If it is truncated or a bit has flipped.
    """
    try:
        with safe_open(path, framework="numpy") as shard:
            expected = (shard.metadata() or {}).get("crc32")
            named = {name: shard.get_tensor(name) for name in shard.keys()}  # noqa: SIM118
        if _checksum(named) == expected:
            return {int(name): array for name, array in named.items()}
    except (SafetensorError, OSError, ValueError):
        pass
    raise OutputError(
        f"{str(path)!r} is damaged; run the same command again, and that part is computed anew"
    )


def _checksum(named: Mapping[str, NDArray[Any]]) -> str:
    """CRC-32 of names, shapes, types and bytes: finds any flipped bit and any truncation.

    ISA-L's runs at memory speed, where SHA-256 would take as long as computing the maps.
    """
    crc = 0
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        crc = isal_zlib.crc32(f"{name}{array.shape}{array.dtype}".encode(), crc)
        crc = isal_zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _size(arrays: Mapping[int, NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that it is whole, or as it was before."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system can, and none needs it for a mere kill."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _brief(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
