"""Files and folders wherever they are: a disk, a shared file system, or an object store.

fsspec gives them one interface; a file appears whole or not at all on each of them.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from esmkit.errors import (
    EsmkitError,
    InputError,
    MissingDependencyError,
    OptionError,
    OutputError,
    needed,
)
from esmkit.files.disk import through_links

__all__ = ["Folder", "absolute", "open_input", "size_of"]

_PUT_IS_ATOMIC = ("s3", "s3a", "gs", "gcs", "abfs", "az", "adl", "memory")
"""Stores in which an object appears when its upload is complete."""

_CLIENTS = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "az"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
}
"""Projects of the package index by the beginning of the addresses that they are for."""


def absolute(source: str | Path) -> str:
    """Return a name that means the same on every machine with the same file systems."""
    text = str(source)
    return text if "://" in text else str(Path(text).expanduser().absolute())


def _file_system(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    kind = url.partition("://")[0]
    project = _CLIENTS.get(kind)
    try:
        if project is None:
            return url_to_fs(url)
        with needed(f"{kind}://", project, extra="s3" if project == "s3fs" else None):
            return url_to_fs(url)
    except MissingDependencyError:
        raise
    except ImportError as error:  # fsspec names the package
        raise MissingDependencyError(
            f"{url!r} needs a package that is not installed; install it with pip: {error}"
        ) from None
    except ValueError as error:
        raise OptionError(f"{url!r} is on no file system that fsspec knows ({error})") from None


def size_of(url: str) -> int:
    """Return the bytes of an input file.

    Raises
    ------
    InputError
        If it is missing, or is not a file.
    """
    with _reading(url):
        files, path = _file_system(url)
        facts = files.info(path)
        if facts["type"] == "directory":
            raise InputError(f"{url!r} is a folder; name the FASTA files in it")
        if facts["type"] != "file" or (_is_local(files) and not Path(path).is_file()):
            raise InputError(
                f"{url!r} is not a file that several workers can read; write the records to a file"
            )
        return int(facts["size"])


@contextlib.contextmanager
def open_input(url: str) -> Iterator[IO[bytes]]:
    """Open an input file, wherever it is, for reading bytes.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    with _reading(url):
        files, path = _file_system(url)
        with files.open(path, "rb") as handle:
            yield handle


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except (EsmkitError, EOFError):
        raise
    except FileNotFoundError:
        raise InputError(f"there is no file {url!r}; check the path") from None
    except _store_errors() as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {url!r}: {why}") from None


def _store_errors() -> tuple[type[Exception], ...]:
    """Return what disks and stores raise; of the S3 client's errors some are no OSError."""
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return (OSError,)
    return (OSError, BotoCoreError)


def _is_local(files: Any) -> bool:
    protocol = files.protocol
    return "file" in ([protocol] if isinstance(protocol, str) else protocol)


class Folder:
    """A flat folder of files on a disk or in an object store.

    Parameters
    ----------
    url : str or Path
        ``embeddings/``, ``/shared/embeddings``, ``s3://bucket/embeddings``.
    """

    def __init__(self, url: str | Path) -> None:
        self.url: str = absolute(url).rstrip("/")
        self._files, self._path = _file_system(self.url)
        self.is_local: bool = _is_local(self._files)

    def __reduce__(self) -> tuple[type["Folder"], tuple[str]]:
        return Folder, (self.url,)

    def _of(self, name: str) -> str:
        return f"{self._path}/{name}"

    def names(self) -> list[str]:
        """Return the names of the files in it, sorted; none if there is no such folder."""
        with self._errors("read"):
            if self.is_local and Path(self._path).exists() and not Path(self._path).is_dir():
                raise OutputError(f"{self.url!r} is a file; give a folder")
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._path, detail=False)
            except FileNotFoundError:
                return []
            base = self._path.rstrip("/")
            return sorted(str(p).rsplit("/", 1)[-1] for p in found if str(p).rstrip("/") != base)

    def make(self) -> None:
        """Make the folder; an object store has none to make."""
        if self.is_local:
            with self._errors("write to"):
                through_links(Path(self._path)).mkdir(parents=True, exist_ok=True)

    def exists(self, name: str) -> bool:
        """Tell whether there is such a file."""
        with self._errors("read"):
            self._files.invalidate_cache()
            return bool(self._files.exists(self._of(name)))

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        with self._errors("read"):
            return self._files.cat_file(self._of(name))

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Any]:
        """Open a file for reading."""
        with self._errors("read"), self._files.open(self._of(name), "rb") as handle:
            yield handle

    def write(self, name: str, data: bytes) -> None:
        """Write a file that is whole whenever it is there, whoever else writes it too.

        Raises
        ------
        OutputError
            If the disk is full or fails.
        """
        target = self._of(name)
        protocol = self._files.protocol
        protocols = [protocol] if isinstance(protocol, str) else protocol
        with self._errors("write to"):
            if any(kind in _PUT_IS_ATOMIC for kind in protocols):
                self._files.pipe_file(target, data)
                return
            temporary = self._of(f".{name}.{uuid.uuid4().hex}.tmp")  # two workers may write it
            if self.is_local:
                _write_local(temporary, target, data)
                return
            self._files.pipe_file(temporary, data)
            self._files.mv(temporary, target)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with self._errors("write to"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._of(name))

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except EsmkitError:
            raise
        except _store_errors() as error:
            why = getattr(error, "strerror", None) or error
            raise OutputError(
                f"cannot {what} {self.url!r} ({why}); finished ranges are kept: mend the cause, "
                "then run the same again"
            ) from error


def _write_local(temporary: str, target: str, data: bytes) -> None:
    try:
        with Path(temporary).open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        Path(temporary).replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
