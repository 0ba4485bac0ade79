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


def _on_one_line(text: str) -> str:
    """Return a text with every line break, and the blanks around it, as one blank."""
    return text if text.isprintable() else " ".join(map(str.strip, text.splitlines())).strip()


class EsmkitError(Exception):
    """Base of all errors that carry a remedy for the person at the keyboard.

    Examples
    --------
    >>> InputError("sequence 'P1' is empty; remove the record").reason
    "sequence 'P1' is empty"
    """

    def __init__(self, *args: object) -> None:
        # Words of other libraries may come with line breaks; an error is one line in any terminal
        super().__init__(*(_on_one_line(arg) if isinstance(arg, str) else arg for arg in args))

    @property
    def reason(self) -> str:
        """What is wrong, without the remedy after the last semicolon."""
        text = str(self)
        return text.rpartition("; ")[0] or text


class InputError(EsmkitError, ValueError):
    """A sequence, a FASTA file or a token id that esmkit cannot use as it is."""


class UnknownIdError(EsmkitError, KeyError):
    """An ID that no record has, or that may mean several.

    ``str()`` of a :class:`KeyError` is the repr of what it was given; of this one it is the
    sentence.
    """

    def __str__(self) -> str:
        return Exception.__str__(self)


class OptionError(EsmkitError, ValueError):
    """An option, layer, head or data type that does not exist for this model."""


class CheckpointError(EsmkitError, OSError):
    """Weights that are missing, incomplete, tampered with, or not an ESM-2."""


class OutputError(EsmkitError, OSError):
    """An output that exists already, cannot be written, or is not an esmkit file."""


class ClosedFileError(EsmkitError, ValueError):
    """A file that was closed, and is asked for what it holds."""


class ResumeError(OutputError):
    """Unfinished work on disk that belongs to another input, option set or checkpoint."""


class NonFiniteError(EsmkitError, ArithmeticError):
    """The model returned NaN or infinity for a sequence."""


class VerificationError(EsmkitError, ArithmeticError):
    """Two implementations differ by more than rounding explains."""


class MissingDependencyError(EsmkitError, ImportError):
    """An optional package is not installed."""


class OfflineCheckpointWarning(UserWarning):
    """The weights in use are not the original ESM-2."""


class FittedHeadWarning(UserWarning):
    """The masked-LM head in use was fitted afterwards and is not ESM-2's own."""
