"""Pages of the docs: their fenced blocks, run in order, and what they print beside what they show."""

import contextlib
import io
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["NUMBER", "Block", "agree", "blocks_of", "commands_in", "missing_lines", "run_page"]

FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+?) -->\n)?^```(?P<language>[\w-]*)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
"""A fenced block, and the comment above it by which a page says that nobody runs it, and why."""

NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?%?")

SKIPPED = "..."
"""A line of a shown output in whose place anything was printed."""

RUN = ("python", "sh")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes
    ----------
    language, text : str
    why : str or None
        Why it is not run.
    shown : str or None
        The ``text`` block that comes directly after it: what it prints.
    """

    language: str
    text: str
    why: str | None
    shown: str | None


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of a page that could be run, each with the output below it."""
    found = list(FENCE.finditer(page))
    blocks = []
    for number, match in enumerate(found):
        if match["language"] not in RUN:
            continue
        shown = None
        for after in found[number + 1 : number + 2]:
            if after["language"] == "text" and not page[match.end() : after.start()].strip():
                shown = after["text"]
        blocks.append(Block(match["language"], match["text"], match["why"], shown))
    return blocks


def commands_in(text: str) -> list[list[str]]:
    """Return the arguments of each ``esmkit`` command of a shell block; other lines are an error."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != "esmkit" or {"|", ">", "&&"} & set(words):
            raise ValueError(f"only esmkit commands are run, not {line!r}")
        commands.append(words[1:])
    return commands


def run_page(
    page: str, name: str, command: Callable[[list[str]], str]
) -> Iterator[tuple[Block, str]]:
    """Run a page from top to bottom as a reader would; yield each block and what it printed.

    Python shares one set of names. ``command`` runs esmkit with arguments and returns all it said.
    """
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.why is not None:
            continue
        if block.language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, name, "exec"), names)
            yield block, printed.getvalue()
        else:
            yield block, "".join(command(words) for words in commands_in(block.text))


def _unit(number: str) -> float:
    """Return what the last digit of a number is worth."""
    mantissa, _, exponent = number.rstrip("%").partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def agree(shown: str, printed: str) -> bool:
    """Whether two lines say the same: words and whole numbers alike, others to their last digit.

    Another processor adds in another order, so a rounded number may be one step away.
    """
    if NUMBER.sub("#", shown).split() != NUMBER.sub("#", printed).split():
        return False
    for left, right in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True):
        a, b = (float(x.rstrip("%").replace(",", "")) for x in (left, right))
        whole = not re.search(r"[.e]", left)
        if (whole and left != right) or abs(a - b) > 1.5 * _unit(left):
            return False
    return True


def missing_lines(shown: str, printed: str, *, all_of_it: bool) -> list[str]:
    """Return the shown lines that were not printed, in order; with ``all_of_it`` extra ones too."""
    lines = [line for line in re.split(r"[\r\n]+", printed) if line.strip()]
    missing, at, loose = [], 0, not all_of_it
    for line in filter(str.strip, shown.splitlines()):
        if line.strip() == SKIPPED:
            loose = True
            continue
        ahead = range(at, len(lines)) if loose else range(at, min(at + 1, len(lines)))
        where = next((n for n in ahead if agree(line, lines[n])), None)
        if where is None:
            missing.append(line)
        else:
            at, loose = where + 1, not all_of_it
    if not loose and at < len(lines):
        missing.append(f"printed and not shown: {lines[at]}")
    return missing
