"""What can be asked of a trace that goes to a file. Nothing here needs PyTorch."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from esmkit.arguments import check_fields, items_of, what_is
from esmkit.encoder.activations import Activations
from esmkit.errors import OptionError
from esmkit.inside.edits import Edit
from esmkit.sequences.proteins import OnInvalid
from esmkit.sequences.windows import Long, check_choices

__all__ = ["TraceOptions", "described"]


@dataclass(frozen=True)
class TraceOptions:
    """Which activations go to a file, and how the proteins are read.

    Attributes
    ----------
    keep : tuple of str
        Names such as ``L5.residual`` and ``L5H4.output``, or patterns; see
        :mod:`esmkit.encoder.activations`.
    edit : mapping from str, optional
        What takes the place of activations: ``"zero"``, numbers, arrays or the means of
        :func:`esmkit.inside.mean_of`; see :mod:`esmkit.inside.edits`.
    dtype : {'float32', 'float16'}
        Precision in the file.
    long, on_invalid, batch_tokens
        As in :class:`esmkit.AttentionOptions`.

    Examples
    --------
    >>> options = TraceOptions(keep=["L5.residual", "L5H4.output"], edit={"L4H7.output": "zero"})
    >>> options.keep, options.dtype
    (('L5.residual', 'L5H4.output'), 'float32')
    """

    keep: tuple[str, ...] = ()
    edit: Mapping[str, Any] | None = None
    dtype: Literal["float32", "float16"] = "float32"
    long: Long = "window"
    on_invalid: OnInvalid = "error"
    batch_tokens: int = 2_048

    def __post_init__(self) -> None:
        names = [self.keep] if isinstance(self.keep, str) else items_of(self.keep)
        object.__setattr__(self, "keep", tuple(names or ()))
        if not names:
            raise OptionError("`keep` names what is kept, such as 'L5.residual' or 'L5H4.output'")
        for name in (*names, *(self.edit or ())):
            _check_step(name)
        check_choices(self, {"long": Long, "on_invalid": OnInvalid})
        if self.dtype not in ("float32", "float16"):
            raise OptionError(f"dtype is 'float32' or 'float16', not {what_is(self.dtype)}")
        check_fields(self)


def _check_step(name: Any) -> None:
    """Refuse a name that no model has, before one is loaded: layers and heads are looked at later."""
    text = re.sub(r"\[.*\]", "", name) if isinstance(name, str) else name
    place, _, step = text.rpartition(".") if isinstance(text, str) else ("", "", "")
    match = re.fullmatch(r"L(?:\d+|\*)(H(?:\d+|\*))?", place, re.IGNORECASE)
    there = "" if match is None else "L0H0" if match[1] else "L0"  # a place that all models have
    try:
        Activations(1, 1, 1, 1).choose(f"{there}.{step}" if match else [text])
    except OptionError as error:
        raise OptionError(str(error).replace(there, place) if match else str(error)) from None


def described(edits: tuple[Edit, ...]) -> list[str]:
    """Return what a file records of edits: names and values, of arrays their SHA-256.

    Raises
    ------
    OptionError
        If one is a function or another run, of which nothing can be recorded.
    """
    found = []
    for edit in edits:
        value = edit.value
        where = "" if edit.places is None else f"[{edit.places.text}]"
        if hasattr(value, "ids"):  # Means
            value = value.value_for(edit.activation)
        if isinstance(value, np.ndarray):
            digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            value = f"array {value.shape} sha256 {digest[:16]}"
        elif not isinstance(value, float):
            raise OptionError(
                f"{edit.name} is {what_is(value)}, of which a file can record nothing; give 'zero', a "
                "number, an array or means, or trace in memory"
            )
        found.append(f"{edit.activation.name}{where}={value}")
    return found
