"""Files that are read protein by protein: open, closed, in other processes, by any name of an ID."""

import os
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from esmkit.errors import ClosedFileError, EsmkitError, OutputError
from esmkit.paths import no_name
from esmkit.sequences.ids import by_name, matching, unknown_id

__all__ = ["UNREADABLE", "ProteinFile", "damage", "file_state"]

Found = TypeVar("Found")


UNREADABLE = (
    *(OSError, EOFError, LookupError, TypeError, ValueError, RuntimeError, AttributeError),
    *(ArithmeticError, MemoryError, zipfile.BadZipFile, zlib.error),
)
"""What HDF5, zip, Parquet and JSON raise where a file is damaged: each bit of it another."""


def damage(path: Path, error: BaseException, remedy: str, what: str = "is damaged") -> OutputError:
    """Return the error for a file that could not be read: what is wrong, and the remedy.

    Too little memory is no damage, but a damaged file may ask for any amount of it.
    """
    if isinstance(error, MemoryError):
        what, remedy = "does not fit into memory, or is damaged", f"free memory, or {remedy}"
    return OutputError(f"{str(path)!r} {what} ({error}); {remedy}")


def file_state(path: Path) -> list[int] | None:
    """Return size and time of a file, which another machine sees alike; None if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


class ProteinFile(Mapping[str, Found]):
    """A file on disk as a mapping from ID to what it holds of each protein, in input order.

    A protein is found by its ID, or by another name that means no other: ``P69905`` finds
    ``sp|P69905|HBA_HUMAN``. Once closed, every access raises :class:`esmkit.errors.ClosedFileError`.
    The object may be pickled, copied, and used in a forked process: there the file is opened again
    by its absolute path, if it is still the same.

    Parameters
    ----------
    path : path

    Attributes
    ----------
    path : Path
    provenance : dict
        What the file records of its making; empty for a file that esmkit did not write.
    """

    provenance: dict[str, Any]
    _keys: dict[str, str]

    def __init__(self, path: str | Path) -> None:
        self.path: Path = Path(path)
        if (why := no_name(path)) is not None:
            raise OutputError(why)
        self._place = Path(path).absolute()
        self._closed = False
        self._meant: dict[str, list[str]] | None = None
        self._state = file_state(self._state_of())
        self._process = os.getpid()
        self._open()

    @abstractmethod
    def _open(self) -> None:
        """Open the file; set ``provenance``, and ``_keys``, the name in the file of each ID."""

    @abstractmethod
    def _release(self) -> None:
        """Close the file, if it is open."""

    @abstractmethod
    def _read(self, key: str) -> Found:
        """Return what the file holds under a name."""

    def _state_of(self) -> Path:
        """Return the file whose size and time tell whether it is still the same."""
        return self._place

    def _ready(self) -> None:
        """Make sure that the file is open, in this process.

        Raises
        ------
        ClosedFileError
            If it has been closed.
        OutputError
            If it has to be opened again, and is not the same any more.
        """
        if self._closed:
            raise ClosedFileError(
                f"{self.path.name!r} is closed; read it before the end of `with`, or open it again "
                f"with `esmkit.read({str(self.path)!r})`"
            )
        if self._process != os.getpid():  # two processes must not share one open file
            self._release()
            _check_state(self._state_of(), self._state)
            self._open()
            self._process = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        self._ready()
        return _open_again, (type(self), str(self._place), str(self._state_of()), self._state)

    def _find(self, name: object) -> str | None:
        """Return the ID that a name means, if it means one alone."""
        if not isinstance(name, str):
            return None
        if name in self._keys:
            return name
        found = self._candidates(name)
        return found[0] if len(found) == 1 else None

    def _candidates(self, name: str) -> list[str]:
        if self._meant is None:
            self._meant = by_name(self._keys)
        return matching(self._meant.get(name, ()), name)

    def __getitem__(self, name: str) -> Found:
        key = self._key(name)
        try:
            return self._read(key)
        except EsmkitError:
            raise
        except UNREADABLE as error:
            what = f"is damaged: {name!r} cannot be read"
            raise damage(self.path, error, "make it anew", what) from error

    def _key(self, name: str) -> str:
        """Return the name in the file of the protein that a name means.

        Raises
        ------
        UnknownIdError
            If it means none, with the near ones; or several.
        """
        self._ready()
        found = self._find(name)
        if found is None:
            several = self._candidates(name) if isinstance(name, str) else ()
            raise unknown_id(name, self._keys, several, f"in {self.path.name!r}")
        return self._keys[found]

    def get(self, name: str, default: Any = None) -> Any:
        """Return what the file holds of a protein, or ``default`` if the name does not mean one."""
        if name not in self:  # unlike `self[name]`, it looks for no near ones
            return default
        return self[name]

    def __iter__(self) -> Iterator[str]:
        self._ready()
        return self._names()

    def _names(self) -> Iterator[str]:
        for name in self._keys:
            self._ready()
            yield name

    def __len__(self) -> int:
        self._ready()
        return len(self._keys)

    def __contains__(self, name: object) -> bool:
        self._ready()
        return self._find(name) is not None

    @property
    def closed(self) -> bool:
        """Whether the file has been closed."""
        return self._closed

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._release()

    def __enter__(self) -> Self:
        self._ready()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        count = "closed" if self._closed else f"{len(self._keys):,} proteins"
        return f"{type(self).__name__}({self.path.name}: {count}, {self._said()})"

    @abstractmethod
    def _said(self) -> str:
        """Return what the repr says besides the name and the number of proteins."""


def _check_state(path: Path, before: list[int] | None) -> None:
    now = file_state(path)
    if now is None:
        raise OutputError(
            f"there is no file {str(path)!r} any more; an open file goes to another process by its "
            "path, so leave it there until that is done"
        )
    if now != before:
        raise OutputError(
            f"{str(path)!r} has changed since it was opened; open it again with `esmkit.read`"
        )


def _open_again(
    kind: type[ProteinFile[Any]], path: str, of_state: str, state: list[int] | None
) -> ProteinFile[Any]:
    """Open a file that was pickled."""
    _check_state(Path(of_state), state)
    return kind(path)
