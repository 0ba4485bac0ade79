"""One file from a server, in as many pieces as the network makes of it.

What has arrived stays when a connection is cut, when a command is interrupted and when it is
killed: the next one asks for the rest only. A file gets its name when its bytes have been held
against its hash, so that half a file, or another one, is never used.
"""

import contextlib
import errno
import hashlib
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esmkit.encoder.checkpoints.web import named, open_at, seconds_to_wait
from esmkit.errors import CheckpointError
from esmkit.locks import try_lock
from esmkit.text import Say, readable_bytes, shorten

__all__ = ["AGAIN", "LONGEST_WAIT", "STALL_SECONDS", "RemoteFile", "bring"]

STALL_SECONDS = 10.0
"""Without a byte for so long, a connection counts as cut."""

WINDOW_SECONDS, WINDOW_BYTES = 20.0, 20_000
"""Fewer bytes than that in this time: the same. A modem of 1990 was faster."""

TRIES = 3
"""How many connections in succession may bring next to nothing before the command gives up."""

FIRST_WAIT = 0.5
"""Seconds before the second try; they double."""

LONGEST_WAIT = 10.0
"""Seconds that a server may ask to wait (``Retry-After``); beyond that, people are told."""

PIECE = 2**16
"""Bytes that count as getting on."""

AGAIN = "; try again, or download it elsewhere and give its folder with `model`"

SHOWN_FROM = 2**20
"""Files from a megabyte on show how far they are."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as the server announces it.

    Attributes
    ----------
    name : str
    url : str
    etag : str
        SHA-256 of a large file, Git's hash of a small one; of other servers, anything.
    size : int or None
        In bytes, where it is announced.
    commit : str
    """

    name: str
    url: str
    etag: str
    size: int | None
    commit: str


class _Again(Exception):
    """A connection failed; the next may not. ``wait`` in seconds, where the server says so."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def bring(file: RemoteFile, place: Path, sha256: str | None, say: Say) -> None:
    """Bring a file to its place, unless it is there.

    Parameters
    ----------
    file : RemoteFile
    place : Path
        In the folder ``blobs`` of a model in the Hugging Face cache. Beside it stands what has
        arrived so far, to which one process at a time adds.
    sha256 : str or None
        What its bytes have to hash to, where that is known better than by the server.
    say : callable
        Told that an earlier download goes on, or that another process is at it.

    Raises
    ------
    CheckpointError
        If it does not arrive, is another file than was announced, or cannot be written.
    """
    part = place.with_name(f"{place.name}.esmkit.incomplete")
    lock = place.parents[2] / ".locks" / place.parents[1].name / f"{place.name}.esmkit.lock"
    with _writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with _alone(lock, part, file, say):
            if place.exists():  # another process was first
                return
            _have_room(file, part)
            for last in (False, True):
                _collect(file, part, say)
                if not _size(part):
                    part.unlink(missing_ok=True)
                    raise CheckpointError(f"{file.name} on the Hub is empty; give another model")
                wrong = _difference(file, part, sha256)
                if not wrong:
                    part.replace(place)
                    return
                part.unlink()
                if last:
                    raise CheckpointError(
                        f"{file.name} arrived twice as another file than the server announces "
                        f"({wrong}), and was thrown away; try another network, or download it "
                        "elsewhere and give its folder with `model`"
                    )


@contextlib.contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Turn what the disk says into a sentence."""
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        advice = "set HF_HOME to a folder that can be written"
        if error.errno == errno.ENOLCK:
            advice = "set HF_HOME to a folder on a disk whose files can be locked"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "free some space, or set HF_HOME to a folder on another disk"
        raise CheckpointError(
            f"cannot write to the Hugging Face cache {str(place.parent)!r} "
            f"({error.strerror or error}); {advice}"
        ) from None


@contextlib.contextmanager
def _alone(path: Path, part: Path, file: RemoteFile, say: Say) -> Iterator[None]:
    """Wait while another process brings the same file, as long as it gets on."""
    patience = 2 * WINDOW_SECONDS
    seen, since, told = -1, time.monotonic(), False
    while (lock := try_lock(path)) is None:
        if not told:
            say(f"another process is downloading {file.name}; waiting for it")
            told = True
        if (size := _size(part)) != seen:
            seen, since = size, time.monotonic()
        if time.monotonic() - since > patience:
            raise CheckpointError(
                f"another process is downloading {file.name} and has not got on for "
                f"{patience:.0f} s ({str(part)!r}); end it, and try again"
            )
        time.sleep(0.2)
    with lock:
        yield


def _have_room(file: RemoteFile, part: Path) -> None:
    missing = (file.size or 0) - _size(part)
    free = shutil.disk_usage(part.parent).free
    if missing > free:
        raise OSError(
            errno.ENOSPC,
            f"{file.name} needs {readable_bytes(missing)}, and {readable_bytes(free)} are free",
        )


def _size(path: Path) -> int:
    """Return the size of a file, which another process may be taking away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _collect(file: RemoteFile, part: Path, say: Say) -> None:
    """Go on until all bytes are there, or nothing more comes."""
    before = _size(part)
    if file.size is not None and 0 < before < file.size:
        say(f"{file.name}: {readable_bytes(before)} of {readable_bytes(file.size)} are here")
    failed, waits = 0, FIRST_WAIT
    with _bar(file, before) as bar:
        while True:
            start = _size(part)
            if file.size is not None and start > file.size:
                part.unlink()
                start = 0
            if start == file.size and part.exists():
                return
            try:
                _connect(file, part, start, bar)
            except _Again as error:
                brought = _size(part) - start
                failed = 1 if brought >= PIECE else failed + 1
                if failed >= TRIES or (error.wait or 0) > LONGEST_WAIT:
                    raise CheckpointError(_gives_up(file, part, error)) from None
                waits = FIRST_WAIT if brought >= PIECE else waits
                time.sleep(error.wait if error.wait is not None else waits)
                waits *= 2
            else:
                if file.size is None:
                    return


def _gives_up(file: RemoteFile, part: Path, error: _Again) -> str:
    here = _size(part)
    of = f" of {readable_bytes(file.size)}" if file.size else ""
    rest = f"; {readable_bytes(here)}{of} are kept, and the next try asks for the rest" * (here > 0)
    wait = error.wait or 0
    later = f" in {wait:.0f} s" * (wait > LONGEST_WAIT)
    return (
        f"could not download {file.name} ({error}){rest}; try again{later}, or download it "
        "elsewhere and give its folder with `model`"
    )


def _bar(file: RemoteFile, before: int) -> Any:
    from huggingface_hub.utils import tqdm

    small = file.size is not None and file.size < SHOWN_FROM
    options: dict[str, Any] = {"unit": "B", "unit_scale": True, "desc": shorten(file.name)}
    # None: only where there is a terminal
    return tqdm(total=file.size, initial=before, disable=True if small else None, **options)


def _connect(file: RemoteFile, part: Path, start: int, bar: Any) -> None:
    """Ask for what is missing, and add it."""
    try:
        with open_at(file.url, start, STALL_SECONDS) as (status, headers, pieces):
            _look_at(status, headers, file, start, part)
            if status == 200:  # whole, whatever was asked for
                start = 0
            whole = _announced(headers, start)
            if file.size is not None and whole not in (None, file.size):
                raise _Again(f"the server sends {whole:,} bytes instead of {file.size:,}")
            with part.open("r+b" if start else "wb") as handle:
                handle.seek(start)
                _pour(pieces, handle, bar, file.size)
        now = _size(part)
        if file.size is not None and now < file.size:
            raise _Again("the connection was cut")
    except (_Again, CheckpointError):
        raise
    except Exception as error:  # the libraries beneath have many kinds, and change them
        if isinstance(error, OSError) and error.errno in (
            *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
            errno.EFBIG,
        ):
            raise
        if type(error).__name__ == "TooManyRedirects":
            raise CheckpointError(
                f"could not download {file.name} ({named(error)}){AGAIN}"
            ) from None
        raise _Again(named(error)) from None


def _pour(pieces: Iterator[bytes], handle: Any, bar: Any, most: int | None) -> None:
    """Write what comes; an answer without a length of its own may never end."""
    since, bytes_since = time.monotonic(), 0
    for piece in pieces:
        if most is not None and handle.tell() + len(piece) > most:
            handle.truncate(0)  # of another file; nor is it counted as getting on
            raise _Again(f"the server sends more than the {most:,} bytes of the file")
        handle.write(piece)
        handle.flush()  # a kill loses what is on its way, and no more
        bar.update(len(piece))
        bytes_since += len(piece)
        if bytes_since >= WINDOW_BYTES:
            since, bytes_since = time.monotonic(), 0
        elif time.monotonic() - since > WINDOW_SECONDS:
            raise _Again(
                f"the server sent {bytes_since:,} bytes in {WINDOW_SECONDS:.0f} s, too few to go on"
            )


def _look_at(
    status: int, headers: Mapping[str, str], file: RemoteFile, start: int, part: Path
) -> None:
    """Say what is wrong with an answer, if anything is."""
    if status == 206:
        found = re.match(r"bytes (\d+)-", headers.get("Content-Range", ""))
        if found is None or int(found[1]) != start:
            part.unlink(missing_ok=True)
            raise _Again("the server sent another piece than was asked for")
    elif status == 416:
        part.unlink(missing_ok=True)
        raise _Again("the server has no such piece (HTTP 416)")
    elif status in (408, 429) or status >= 500:
        raise _Again(f"HTTP {status}", seconds_to_wait(headers))
    elif status != 200:
        raise CheckpointError(f"could not download {file.name} (HTTP {status}){AGAIN}")


def _announced(headers: Mapping[str, str], start: int) -> int | None:
    if headers.get("Content-Encoding", "identity") != "identity":
        return None
    text = headers.get("Content-Length", "")
    return start + int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _difference(file: RemoteFile, part: Path, sha256: str | None) -> str:
    """Return how the bytes that came differ from those that were announced; empty if they do not."""
    with part.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    for wanted in (sha256, file.etag if re.fullmatch(r"[0-9a-f]{64}", file.etag) else None):
        if wanted and found != wanted:
            return f"SHA-256 {found[:12]}…, not {wanted[:12]}…"
    if re.fullmatch(r"[0-9a-f]{40}", file.etag):
        # As Git names a file, or as some mirrors do
        hashes = [_sha1(part, before) for before in (b"blob %d\0" % _size(part), b"")]
        if file.etag not in hashes:
            return f"Git's hash {hashes[0][:12]}…, not {file.etag[:12]}…"
    return ""


def _sha1(path: Path, before: bytes) -> str:
    """Hash some bytes and then a file, which may be larger than the memory."""
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, lambda: hashlib.sha1(before, usedforsecurity=False))
    return found.hexdigest()
