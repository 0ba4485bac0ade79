"""The errors esmkit raises on purpose, and the two warnings that say which weights are in use.

Every one is an :class:`EsmkitError` *and* the builtin that fits the mistake, so a caller may
catch either. The command line prints the message and exits with status 1; anything that is not
an :class:`EsmkitError` is a bug and keeps its traceback.
"""

import contextlib
import re
import unicodedata
from collections.abc import Iterator

__all__ = [
    "CheckpointError",
    "ClosedFileError",
    "EsmkitError",
    "FittedHeadWarning",
    "InputError",
    "MissingDependencyError",
    "NonFiniteError",
    "OfflineCheckpointWarning",
    "OptionError",
    "OutputError",
    "ResumeError",
    "UnknownIdError",
    "VerificationError",
]


HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories without a sign of their own: controls, formats (bidirectional ones among
them), lone surrogates, private and unassigned characters, separators of lines."""

_ENDLESS = re.compile(r"(\S{300})\S{100,}(\S{100})")
"""A word of a message that nobody reads to its end: a sequence or a file in place of a name."""

_LONGEST = 1_500
"""Letters of a message; of a longer one, which quotes a line of a file, the middle is left out."""


def visible(text: str) -> str:
    r"""Return text with every character that cannot be seen written as its number.

    Bidirectional controls would turn the words around them, a line break end a label, and a zero
    width space make two names look like one.

    >>> visible("a\u202eb")
    'a[U+202E]b'
    """
    if text.isprintable():
        return text
    return "".join(f"[U+{ord(c):04X}]" if unicodedata.category(c) in HIDDEN else c for c in text)


def _on_one_line(text: str) -> str:
    """Return a message as one line that can be read.

    Every line break, and the blanks around it, is one blank; what cannot be seen is written as its
    number, and of a word of hundreds of letters the middle is left out, as of what is longer than
    anybody reads. Its end, where the remedy stands, is kept.
    """
    if not text.isprintable():
        text = visible(" ".join(filter(None, map(str.strip, text.splitlines()))))
    text = _ENDLESS.sub(r"\1…\2", text)
    return text if len(text) <= _LONGEST else f"{text[:1_000]} … {text[-400:]}"


class EsmkitError(Exception):
    """Base of all errors that carry a remedy for the person at the keyboard.

    Examples
    --------
    >>> InputError("sequence 'P1' is empty; remove the record").reason
    "sequence 'P1' is empty"
    """

    def __str__(self) -> str:
        # Words of files and of other libraries may hold anything; an error is one line in any terminal
        return _on_one_line(super().__str__())

    @property
    def reason(self) -> str:
        """What is wrong, without the remedy after the last semicolon."""
        text = str(self)
        return text.rpartition("; ")[0] or text


class InputError(EsmkitError, ValueError):
    """A sequence, a FASTA file or a token id that esmkit cannot use as it is.

    Examples
    --------
    >>> esmkit.sequences.encode("MKJ")
    Traceback (most recent call last):
        ...
    esmkit.errors.InputError: ...'J'...
    """


class UnknownIdError(EsmkitError, KeyError):
    """An ID that no record has, or that may mean several.

    ``str()`` of a :class:`KeyError` is the repr of what it was given; of this one it is the
    sentence.

    Examples
    --------
    >>> list(esmkit.read_fasta(esmkit.data.demo_fasta(), ids=["P6990"]))
    Traceback (most recent call last):
        ...
    esmkit.errors.UnknownIdError: ...
    """

    def __str__(self) -> str:
        return _on_one_line(Exception.__str__(self))


class OptionError(EsmkitError, ValueError):
    """An option, layer, head or data type that does not exist for this model.

    Examples
    --------
    >>> esmkit.EmbedOptions(pool="max")
    Traceback (most recent call last):
        ...
    esmkit.errors.OptionError: ...
    """


class CheckpointError(EsmkitError, OSError):
    """Weights that are missing, incomplete, tampered with, or not an ESM-2.

    Examples
    --------
    >>> from esmkit.encoder.checkpoints import resolve
    >>> resolve("esm3")
    Traceback (most recent call last):
        ...
    esmkit.errors.CheckpointError: there is no model 'esm3': ...
    """


class OutputError(EsmkitError, OSError):
    """An output that exists already, cannot be written, or is not an esmkit file.

    Examples
    --------
    >>> with open("notes.txt", "w") as notes:
    ...     _ = notes.write("no embeddings")
    >>> esmkit.read("notes.txt")
    Traceback (most recent call last):
        ...
    esmkit.errors.OutputError: ...
    """


class ClosedFileError(EsmkitError, ValueError):
    """A file that was closed, and is asked for what it holds."""


class ResumeError(OutputError):
    """Unfinished work on disk that belongs to another input, option set or checkpoint."""


class NonFiniteError(EsmkitError, ArithmeticError):
    """The model returned NaN or infinity for a sequence."""


class VerificationError(EsmkitError, ArithmeticError):
    """Two implementations differ by more than rounding explains.

    Examples
    --------
    >>> issubclass(VerificationError, ArithmeticError)
    True
    """


class MissingDependencyError(EsmkitError, ImportError):
    """An optional package is not installed."""


class OfflineCheckpointWarning(UserWarning):
    """The weights in use are not the original ESM-2."""


class FittedHeadWarning(UserWarning):
    """The masked-LM head in use was fitted afterwards and is not ESM-2's own."""


_PROJECTS = {
    "bs4": "beautifulsoup4",
    "Bio": "biopython",
    "PIL": "pillow",
    "dateutil": "python-dateutil",
    "esm": "fair-esm",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Projects of the package index that are not called as their module is."""


def install_command(what: str) -> str:
    """Return the command that installs a project, or an extra of esmkit.

    In double quotes, which every shell takes around brackets: bash, zsh, PowerShell and cmd, for
    which single ones are part of the name.

    >>> install_command("torch"), install_command("esmkit[parquet]")
    ('pip install torch', 'pip install "esmkit[parquet]"')
    """
    return f'pip install "{what}"' if "[" in what else f"pip install {what}"


@contextlib.contextmanager
def needed(
    what: str, project: str, *, extra: str | None = None, instead: str = ""
) -> Iterator[None]:
    """Say how to install what is optional, if what is imported meanwhile is not there.

    Parameters
    ----------
    what : str
        What needs it, at the beginning of the sentence: ``"the explorer"``.
    project : str
        Its name on the package index.
    extra : str, optional
        The extra of esmkit that brings it.
    instead : str
        What works without it, if anything does.

    Raises
    ------
    MissingDependencyError
        With the command that installs it; and with its own error, if it is there and does not load.

    Examples
    --------
    >>> with needed("Parquet files", "pyarrow", extra="parquet"):
    ...     print("imported")
    imported
    """
    try:
        yield
    except ImportError as error:
        remedy = install_command(f"esmkit[{extra}]" if extra else project)
        verb = "need" if what.endswith("s") else "needs"
        # Of what it needs itself something may be missing, and fsspec says it in another error
        absent = any(
            isinstance(found, ModuleNotFoundError)
            and (found.name or "").partition(".")[0] == project
            for found in (error, error.__cause__)
        )
        why = "which is not installed" if absent else f"which does not load ({error})"
        choice = f", or {instead}" if instead else ""
        raise MissingDependencyError(
            f"{what} {verb} {project}, {why}; install it with `{remedy}`{choice}"
        ) from error


def needed_package(error: ImportError) -> MissingDependencyError | None:
    """Return what to say of a module that esmkit cannot do without and that is not there.

    None if the module is esmkit's own, or there is no telling which one it is.

    >>> print(needed_package(ModuleNotFoundError("No module named 'Bio'", name="Bio.PDB")))
    biopython is not installed, and esmkit cannot do without it; `pip install biopython` installs it
    """
    module = (error.name or "").partition(".")[0]
    if isinstance(error, MissingDependencyError) or module in ("", "esmkit"):
        return None
    if str(error).startswith("cannot import name"):  # a mistake of ours, or a version too old
        return None
    project = _PROJECTS.get(module, module)
    if isinstance(error, ModuleNotFoundError):
        what, first = "is not installed", ""
    else:
        what, first = f"does not load ({error})", f"after `pip uninstall {project}`, "
    return MissingDependencyError(
        f"{project} {what}, and esmkit cannot do without it; {first}`{install_command(project)}` "
        "installs it"
    )
