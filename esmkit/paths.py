"""Names of files, also those that no file can have."""

import errno
from pathlib import Path

from esmkit.errors import visible
from esmkit.text import shorten

__all__ = ["is_file", "no_name"]


def no_name(path: str | Path) -> str | None:
    r"""Return what to say of a ``path`` that no file can have; None if one can.

    >>> no_name("x.h5")
    >>> no_name("a\0b")
    "'a[U+0000]b' cannot be a file name (embedded null byte); give another"
    """
    try:
        Path(path).stat()
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ):
            return None
        why = getattr(error, "strerror", None) or str(error)
        return f"{visible(shorten(str(path)))!r} cannot be a file name ({why}); give another"
    return None


def is_file(path: str | Path) -> bool:
    r"""Tell whether ``path`` is a file; none is where no file can have the name.

    >>> is_file("x" * 300), is_file("a\0b")
    (False, False)
    """
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long for a name, or with a sign that no name can have
        return False
