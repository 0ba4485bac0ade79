"""Names of files made from the names of proteins, and folders that files can go into."""

import hashlib
import os
import re
from pathlib import Path

from esmkit.errors import OutputError
from esmkit.files.disk import disk_errors, named_place, through_links
from esmkit.files.outputs import is_stream

__all__ = [
    "FIGURE_FORMATS",
    "FileNames",
    "check_folder",
    "file_name",
    "folder_beside",
    "is_unfinished",
    "remove_unfinished",
    "with_ending",
]


FIGURE_FORMATS = ("png", "svg", "pdf")
"""Kinds of figures, by the end of their file's name."""

_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{n}{i}" for n in ("COM", "LPT") for i in range(10))}


def file_name(name: str) -> str:
    """Return a name that any file system takes and that stays in its folder, for a protein's ID.

    Letters other than ASCII letters, digits, ``.``, ``_`` and ``-`` become ``_``; a name that had
    to be changed ends in a few digits of its hash, so that no two become one.

    >>> file_name("sp|P69905|HBA_HUMAN")
    'sp_P69905_HBA_HUMAN-8afa1a6c'
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80].lstrip(".-") or "protein"
    if safe.split(".")[0].upper() in _RESERVED:
        safe = f"_{safe}"
    if safe != name:
        safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return safe


class FileNames:
    """Gives the proteins of a folder names that differ in more than the case of their letters.

    Chains of one PDB entry may be ``A`` and ``a``, and macOS and Windows keep one file for both.

    >>> names = FileNames()
    >>> names("1abc_A"), names("1abc_a")
    ('1abc_A', '1abc_a-1f2b159f')
    """

    def __init__(self) -> None:
        self._owner: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """Return :func:`file_name`, with its hash if another ID has that name but for case."""
        safe = file_name(name)
        if self._owner.setdefault(safe.casefold(), name) != name:
            safe += "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
        return safe


def check_folder(
    folder: Path,
    named: str,
    *,
    force: bool,
    forced: str = "run=Run(force=True)",
    beside: Path | None = None,
) -> None:
    """Make sure, before anything is computed, that files can go into a folder.

    Parameters
    ----------
    folder : Path
    named : str
        Argument that names the folder, for the message.
    force : bool
        Whether files may be written among others.
    forced : str
        Argument that allows that, for the message.
    beside : Path, optional
        File that the same run writes first, and that would be in the way.

    Raises
    ------
    OutputError
        If it is a file or a stream, is named like a picture, is to be the other output, or cannot be
        written; or if it
        holds something and ``force`` is not set.
    """
    if is_stream(folder):
        raise OutputError(
            f"{str(folder)!r} is a stream, and what is written is a folder of files; name a folder "
            f"with `{named}`"
        )
    folder = through_links(folder)
    ending = folder.suffix.lower().removeprefix(".")
    if ending in FIGURE_FORMATS and not folder.is_dir():
        raise OutputError(
            f"{str(folder)!r} is named like one picture, and what is written is a folder of files; "
            f"name a folder, such as {folder.stem!r}, with `{named}`"
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{str(folder)!r} is a file; name a folder with `{named}`")
    if beside is not None and not is_stream(beside):
        place, other = Path(os.path.realpath(folder)), Path(os.path.realpath(beside))
        if place == other:
            raise OutputError(
                f"{str(folder)!r} is the file to be written; name a folder for figures with `{named}`"
            )
        if place == other.parent and not force:
            raise OutputError(
                f"the folder {str(folder)!r} will hold {other.name!r}; `{forced}` writes figures "
                f"beside it, or `{named}` names another folder"
            )
    there = folder.absolute()
    while not there.exists():
        there = there.parent  # mkdir will make the rest
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(
            f"the folder {str(folder)!r} cannot be written (see {str(there)!r}); choose another "
            f"with `{named}`"
        )
    with disk_errors(folder):
        if folder.is_dir():
            taken = any(not is_unfinished(path) for path in folder.iterdir())
            if taken and not force:
                raise OutputError(
                    f"the folder {str(folder)!r} is not empty; `{forced}` writes into it all "
                    f"the same, or `{named}` names another"
                )


def folder_beside(output: Path) -> Path:
    """Return the folder for the figures of an output if none is named: its name without suffix.

    >>> folder_beside(Path("seqs.attention.h5")).name, folder_beside(Path("maps")).name
    ('seqs.attention', 'maps.figures')
    """
    folder = with_ending(output, "")
    return folder.with_name(f"{folder.name}.figures") if folder == output else folder


def with_ending(output: Path, ending: str) -> Path:
    """Return the file beside an output that is named as it is up to its ending.

    Raises
    ------
    OutputError
        If the output is the root of all folders, which has no name.

    Examples
    --------
    >>> with_ending(Path("seqs.tsv"), ".scores.tsv").name
    'seqs.scores.tsv'
    >>> with_ending(Path("."), ".tsv").parent == Path.cwd().parent  # which will be refused as output
    True
    """
    return (output if output.name not in ("", "..") else named_place(output)).with_suffix(ending)


def remove_unfinished(folder: str | Path, of: str | None = None) -> None:
    """Delete what killed runs left of figures that they were writing into a folder.

    Parameters
    ----------
    folder : path
    of : str, optional
        Of the figure of this name only, and not what a process that still runs is writing.
    """
    start = "." if of is None else f".{of}."
    for path in Path(folder).iterdir():
        if not path.name.startswith(start) or not is_unfinished(path):
            continue
        if of is None or not _runs(int(path.suffixes[-2][1:])):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Tell whether there is a process of that number on this machine, as far as can be told."""
    if os.name != "posix":  # there the question would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def is_unfinished(path: Path) -> bool:
    """Tell whether a file is a figure on its way to its name, or what a killed run left of one."""
    return re.fullmatch(rf"\..+\.({'|'.join(FIGURE_FORMATS)})\.\d+\.part", path.name) is not None
