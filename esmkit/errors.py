"""The errors esmkit raises on purpose, and the two warnings that say which weights are in use.

Every one is an :class:`EsmkitError` *and* the builtin that fits the mistake, so a caller may
catch either. The command line prints the message and exits with status 1; anything that is not
an :class:`EsmkitError` is a bug and keeps its traceback.
"""

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


class EsmkitError(Exception):
    """Base of all errors that carry a remedy for the person at the keyboard.

    Examples
    --------
    >>> InputError("sequence 'P1' is empty; remove the record").reason
    "sequence 'P1' is empty"
    """

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
        return Exception.__str__(self)


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
