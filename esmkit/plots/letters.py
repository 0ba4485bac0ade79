"""Letters that the font of the figures lacks: another font has them, or it is said once."""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

__all__ = ["MissingLetterWarning", "families_for", "letters_shown", "no_glyph_warnings"]

FONT = "DejaVu Sans"
"""The font of the figures, which comes with Matplotlib: some 6,000 letters, none of East Asia."""

MOST_NAMED = 5
"""Most letters that a warning names."""


class MissingLetterWarning(UserWarning):
    """A figure has text with letters that no font of this machine has."""


_told: set[str] = set()
"""Scripts that have been warned of in this process."""


@contextmanager
def no_glyph_warnings() -> Iterator[None]:
    """Silence Matplotlib's warnings of missing letters: one for each letter of each figure."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        yield


@contextmanager
def letters_shown(figure: Figure, *, tell: bool) -> Iterator[None]:
    """Draw a figure with other fonts beside its own where these have letters that it lacks.

    Text without such letters is drawn as ever.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    tell : bool
        Whether to warn of letters that no font has, once in a process for each script.
    """
    lacking = [
        (text, missing)
        for text in figure.findobj(Text)
        if isinstance(text, Text) and (missing := missing_letters(text.get_text()))
    ]
    for text, _ in lacking:
        text.set_fontfamily(families_for(text.get_text()))
    if tell:
        _warn([(text.get_text(), missing) for text, missing in lacking])
    with no_glyph_warnings():
        yield


def families_for(text: str) -> list[str]:
    """Return the font of the figures, and after it what has letters of a text that it lacks."""
    found = (_font_with(letter) for letter in missing_letters(text))
    return list(dict.fromkeys([FONT, *(font[0] for font in found if font is not None)]))


def missing_letters(text: str) -> list[str]:
    """Return the letters that the font of the figures lacks, each once, in the order of the text."""
    if text.isascii():
        return []
    own = font_manager.get_font(font_manager.findfont(FONT))
    return [c for c in dict.fromkeys(text) if not c.isspace() and not own.get_char_index(ord(c))]


@cache
def _font_with(letter: str) -> tuple[str, str] | None:
    """Return name and file of an installed font with a letter, if there is one."""
    for name, file in _fonts():
        try:
            if font_manager.get_font(file).get_char_index(ord(letter)):
                return name, file
        except (OSError, RuntimeError):  # a file that is gone or damaged
            continue
    return None


@cache
def _fonts() -> list[tuple[str, str]]:
    """Return the installed fonts, those that are made to stand in for others first."""
    kinds = ("noto sans", "noto", "source han sans", "droid sans", "arial unicode")

    def order(font: font_manager.FontEntry) -> tuple[object, ...]:
        name = font.name.lower()
        kind = next(
            (place for place, kind in enumerate(kinds) if name.startswith(kind)), len(kinds)
        )
        regular = font.style == "normal" and font.weight in (400, "normal", "regular", "book")
        return not regular, kind, name, font.fname

    # Matplotlib's own others are for formulas, whose letters stand elsewhere, or of last resort:
    # a sign for each script, and no letter
    own = Path(matplotlib.get_data_path())
    installed = [
        font for font in font_manager.fontManager.ttflist if own not in Path(font.fname).parents
    ]
    first: dict[str, str] = {}
    for font in sorted(installed, key=order):
        first.setdefault(font.name, font.fname)
    return list(first.items())


def script_of(letter: str) -> str:
    """Return the script of a letter, from its Unicode name.

    >>> script_of("蛋"), script_of("か"), script_of("🧬")
    ('CJK', 'HIRAGANA', 'symbols')
    """
    if not unicodedata.category(letter).startswith("L"):
        return "symbols"
    return unicodedata.name(letter, "other").partition(" ")[0]


def _warn(lacking: Iterable[tuple[str, list[str]]]) -> None:
    """Say which letters no font has, in scripts that nothing has been said of."""
    letters: list[str] = []
    example = ""
    for text, missing in lacking:
        new = [c for c in missing if _font_with(c) is None and script_of(c) not in _told]
        example = example or (text if new else "")
        letters += new
    if not letters:
        return
    letters = list(dict.fromkeys(letters))
    scripts = list(dict.fromkeys(map(script_of, letters)))
    _told.update(scripts)
    named = " ".join(letters[:MOST_NAMED]) + " and others" * (len(letters) > MOST_NAMED)
    warnings.warn(
        f"no font on this machine has {named} ({', '.join(scripts)}), as in {example!r}: figures "
        "show boxes instead; install a font with these letters, such as Noto Sans CJK for Chinese, "
        "Japanese and Korean, or give the proteins other IDs",
        MissingLetterWarning,
        stacklevel=2,
    )
