"""How many of a map's strongest pairs are wanted: a number, or a part or multiple of the length L."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from esmkit.arguments import what_is, whole_number
from esmkit.errors import OptionError

__all__ = ["GivenTop", "Top", "parse_top"]

GivenTop: TypeAlias = int | str
"""``100``, or ``"L"``, ``"L/2"``, ``"2L"``, L being the number of residues."""

_OF_LENGTH = re.compile(r"([0-9]{1,6})?\s*L\s*(?:/\s*([0-9]{1,6}))?", re.IGNORECASE)


@dataclass(frozen=True)
class Top:
    """So many pairs, or so many for each residue."""

    number: Fraction
    of_length: bool

    def of(self, residues: int) -> int:
        """Return how many pairs of a protein are wanted; a part of a pair is none.

        >>> parse_top("L/2").of(77), parse_top("2L").of(77), parse_top(100).of(77)
        (38, 154, 100)
        """
        return int(self.number * residues if self.of_length else self.number)

    def __str__(self) -> str:
        if not self.of_length:
            return str(self.number)
        part = f"/{self.number.denominator}" * (self.number.denominator > 1)
        return f"{self.number.numerator if self.number.numerator > 1 else ''}L{part}"


def parse_top(given: GivenTop, option: str = "top", *, least: int = 1) -> Top:
    """Read how many pairs are wanted.

    Parameters
    ----------
    given : int or str
        A whole number, or ``L``, ``L/2``, ``2L``.
    option : str
        Name of the argument, for errors.
    least : int
        The smallest number.

    Raises
    ------
    OptionError
        If it is something else.

    Examples
    --------
    >>> str(parse_top("l/5")), str(parse_top("10"))
    ('L/5', '10')
    """
    text = given.strip() if isinstance(given, str) else ""
    number = int(text) if re.fullmatch(r"[0-9]{1,400}", text) else whole_number(given)
    if number is not None:
        if number < least:
            raise OptionError(f"{option} is at least {least}, not {number}")
        return Top(Fraction(number), of_length=False)
    found = _OF_LENGTH.fullmatch(text)
    if found is None:
        raise OptionError(
            f"{option} is a number of pairs, or L, L/2 or 2L for a protein of L residues, not "
            f"{what_is(given)}"
        )
    times, part = int(found[1] or 1), int(found[2] or 1)
    if not times or not part:
        raise OptionError(f"{option} is more than no part of L, not {what_is(given)}")
    return Top(Fraction(times, part), of_length=True)
