"""Edits: what takes the place of an activation, and at which residues.

An edit is written ``{"L4H7.output": value}``, or ``{"L4H7.output[10:20]": value}`` at some residues
only, counted from 0 as in arrays; ``bos`` and ``eos`` name the special tokens. The value is

``"zero"``, or a number
    the same at every place;
an array
    of one token's shape, the same at every token; of residues, or of tokens with BOS and EOS, as
    a trace has them; or of as many residues as are named;
:class:`esmkit.inside.means.Means`
    the mean over named proteins;
:class:`esmkit.inside.result.Trace`
    what a run on another sequence of the same length, or with other edits, had there;
a function
    of the activation, a ``torch.Tensor`` with all tokens, BOS first and EOS last: it returns the new
    one.

Without places named, an edit holds at all tokens, BOS and EOS included; an array of residues leaves
those two as they are.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import what_is
from esmkit.encoder.activations import Activation, Activations
from esmkit.errors import InputError, OptionError

if TYPE_CHECKING:
    import torch

__all__ = ["Edit", "Edits", "Places", "read_edits"]


class Source(Protocol):
    """What knows the value of an activation: means, or another trace."""

    def value_for(self, activation: Activation, place: "Place | None" = None) -> Any: ...


Value: TypeAlias = Literal["zero"] | float | NDArray[np.floating] | Source | Callable[[Any], Any]
"""What may take the place of an activation."""

Edits: TypeAlias = Mapping[str, Any]
"""Values by the names of the activations that they replace, in the order in which they are made."""

_KEY = re.compile(r"([^\[\]]+)(?:\[([^\[\]]*)\])?")
_SLICE = re.compile(r"(-?\d{1,18})?:(-?\d{1,18})?(?::(-?\d{1,18}))?")


@dataclass(frozen=True)
class Places:
    """Where an edit holds.

    Attributes
    ----------
    text : str
        As it was written.
    residues : tuple of int or slice
        Residues, from 0 or, if negative, from the end.
    bos, eos : bool
        Whether it holds at these.
    """

    text: str
    residues: tuple[int | slice, ...]
    bos: bool = False
    eos: bool = False

    @classmethod
    def read(cls, text: str) -> "Places":
        """Read ``10:20``, ``3,7,9`` or ``bos,0:5``.

        Raises
        ------
        OptionError
            If it is none of these.

        Examples
        --------
        >>> Places.read("bos,3,10:20").residues
        (3, slice(10, 20, None))
        """
        found: list[int | slice] = []
        specials = set()
        for part in (one.strip().lower() for one in text.split(",")):
            match = _SLICE.fullmatch(part)
            if part in ("bos", "eos"):
                specials.add(part)
            elif part == "residues":
                found.append(slice(None))
            elif re.fullmatch(r"-?\d{1,18}", part):
                found.append(int(part))
            elif match and (match[3] is None or int(match[3])):
                found.append(slice(*(number and int(number) for number in match.groups())))
            else:
                raise OptionError(
                    f"places of an edit are residues such as [7], [10:20] or [3,7,bos], from 0, "
                    f"not [{text}]"
                )
        return cls(text, tuple(found), "bos" in specials, "eos" in specials)

    def of(self, residues: int, name: str) -> NDArray[np.int64]:
        """Return the residues, ascending, of a protein of so many.

        Raises
        ------
        InputError
            If the protein has no such residue; ``name`` is what to call it.
        """
        found: set[int] = set()
        for one in self.residues:
            if isinstance(one, slice):
                chosen = range(*one.indices(residues))
                outside = not chosen or (one.stop or 0) > residues
            else:
                chosen, outside = [one % residues], not -residues <= one < residues
            if outside:
                raise InputError(
                    f"an edit is to be made at [{self.text}], and {name} has residue indices 0 to "
                    f"{residues - 1}"
                )
            found.update(chosen)
        return np.array(sorted(found), np.int64)


@dataclass(frozen=True)
class Edit:
    """One edit.

    Attributes
    ----------
    activation : Activation
    value
        See the top of this module; ``"zero"`` is the number 0.
    places : Places, optional
        By default all tokens.
    sequence : int, optional
        Which sequence of a pack it is made in, in the order in which they were given to
        :func:`esmkit.encoder.packing.pack`; by default in all.
    """

    activation: Activation
    value: Any
    places: Places | None = None
    sequence: int | None = None

    @property
    def name(self) -> str:
        """What to call it in an error."""
        where = "" if self.places is None else f"[{self.places.text}]"
        return f"the edit of {self.activation.name}{where}"


def read_edits(edits: Edits | None, known: Activations) -> tuple[Edit, ...]:
    """Read edits by the names of what they change, and check what can be checked without a pass.

    Raises
    ------
    OptionError
        If there is no such activation, or a value is of no kind that is taken.
    """
    if edits is None:
        return ()
    if not isinstance(edits, Mapping):
        raise OptionError(
            "edits are a dict from names to what takes their place, such as "
            f"{{'L4H7.output': 'zero'}}, not {what_is(edits)}"
        )
    found = []
    for key, value in edits.items():
        match = _KEY.fullmatch(key.strip()) if isinstance(key, str) else None
        if match is None:
            known.find(key)  # which says what names are like
            raise OptionError(f"an edit is named like 'L4H7.output[10:20]', not {what_is(key)}")
        places = None if match[2] is None else Places.read(match[2])
        for activation in known.choose(match[1]):
            if activation.step == "logits":
                raise OptionError(
                    "logits are the end of the pass, and an edit of them changes nothing else; change "
                    "the array, or edit 'final'"
                )
            found.append(Edit(activation, _value(value, activation, key), places))
    return tuple(found)


def _value(value: Any, activation: Activation, key: str) -> Any:
    """Return what an edit puts in, checked as far as it can be."""
    if isinstance(value, str):
        if value != "zero":
            raise OptionError(
                f"the edit of {key} is 'zero', a number, an array, the means that "
                f"esmkit.inside.mean_of returns, a Trace or a function, not {what_is(value)}"
            )
        return 0.0
    if hasattr(value, "value_for"):  # Means, Trace
        value.value_for(activation)  # which it must have
        return value
    if isinstance(value, bool | np.bool_):
        raise OptionError(f"the edit of {key} is 'zero', a number or an array, not {value}")
    if isinstance(value, int | float | np.number):
        return float(value)
    if hasattr(value, "detach"):  # a torch.Tensor
        value = value.detach().float().cpu().numpy()
    if callable(value):
        return value
    try:
        array = np.asarray(value)
        numbers = array.dtype.kind in "fiu"
    except ValueError:
        numbers = False
    if not numbers:
        raise OptionError(
            f"the edit of {key} is 'zero', a number, an array, the means that "
            f"esmkit.inside.mean_of returns, a Trace or a function, not {what_is(value)}"
        )
    return np.asarray(value, np.float32)


@dataclass(frozen=True)
class Place:
    """The part of a protein that is one sequence of a pack.

    Attributes
    ----------
    name : str
        What to call the protein.
    residues : int
        R, of the whole protein.
    index, count : int
        Which of its pieces it is, of how many.
    start, stop : int
        The residues that it has.
    """

    name: str
    residues: int
    index: int
    count: int
    start: int
    stop: int


def edited(edit: Edit, own: "torch.Tensor", place: Place) -> "torch.Tensor":
    """Return what an activation of one sequence becomes.

    Parameters
    ----------
    edit : Edit
    own : torch.Tensor
        The activation, tokens on ``edit.activation.token_axis``, BOS first and EOS last.
    place : Place

    Raises
    ------
    OptionError
        If the edit's value does not have its shape.
    InputError
        If the value is of a sequence of another length, or the protein lacks residues named.
    """
    import torch

    axis = edit.activation.token_axis
    chosen = None if edit.places is None else edit.places.of(place.residues, place.name)
    if callable(edit.value) and not hasattr(edit.value, "value_for"):
        made = edit.value(own.clone())
        if isinstance(made, torch.Tensor):
            new = made.to(own)
        else:
            new = torch.as_tensor(np.asarray(made), dtype=own.dtype, device=own.device)
        if new.shape != own.shape:
            raise OptionError(
                f"{edit.name} returned {_shape(new)} for {place.name}, and was given {_shape(own)}, "
                "all tokens with BOS and EOS; return the same shape"
            )
    elif isinstance(edit.value, float):
        new = torch.full_like(own, edit.value)
    else:
        new = _from_array(edit, own, place, chosen)
    if edit.places is None or chosen is None:
        return new
    inside = chosen[(chosen >= place.start) & (chosen < place.stop)] - place.start + 1
    tokens = [0] * edit.places.bos + inside.tolist() + [own.shape[axis] - 1] * edit.places.eos
    index = torch.tensor(tokens, dtype=torch.int64, device=own.device)
    return own.index_copy(axis, index, new.index_select(axis, index))


def _from_array(
    edit: Edit, own: "torch.Tensor", place: Place, chosen: NDArray[np.int64] | None
) -> "torch.Tensor":
    """Return the whole activation, of all tokens of a sequence, with an array's values in it."""
    import torch

    activation, axis = edit.activation, edit.activation.token_axis
    value = edit.value
    if hasattr(value, "value_for"):
        value = value.value_for(activation, place)
    given = torch.as_tensor(value, dtype=own.dtype, device=own.device)
    one = (*own.shape[:axis], *own.shape[axis + 1 :])  # of one token
    if given.shape == one and not activation.is_map:
        return given.unsqueeze(axis).expand_as(own)
    if given.shape == own.shape and place.count == 1:
        return given
    if hasattr(edit.value, "value_for"):
        return given.reshape(own.shape)  # of this very piece
    new = own.clone()
    residues = place.residues

    def like(count: int) -> tuple[int, ...]:
        shape = list(own.shape)
        shape[axis] = count
        if activation.is_map:
            shape[axis + 1] = residues
        return tuple(shape)

    columns = slice(place.start, place.stop)
    if given.shape == like(residues):
        given = given.narrow(axis, place.start, place.stop - place.start)
        if activation.is_map:
            new[..., 1:-1, 1:-1] = given[..., columns]
        else:
            new.narrow(axis, 1, own.shape[axis] - 2).copy_(given)
        return new
    if chosen is not None and given.shape == like(len(chosen)):
        for row, residue in enumerate(chosen.tolist()):
            if place.start <= residue < place.stop:
                target = new.select(axis, residue - place.start + 1)
                source = given.select(axis, row)
                if activation.is_map:
                    target[..., 1:-1] = source[..., columns]
                else:
                    target.copy_(source)
        return new
    shapes = [] if activation.is_map else [f"{one} for the same at every token"]
    shapes.append(f"{like(residues)} for its residues")
    if place.count == 1:
        shapes.append(f"{tuple(own.shape)} with BOS and EOS")
    raise OptionError(
        f"{edit.name} is an array of shape {tuple(given.shape)}; of {place.name} it takes "
        f"{', '.join(shapes[:-1])} or {shapes[-1]}"
    )


def _shape(x: "torch.Tensor") -> str:
    return f"shape {tuple(x.shape)}"
