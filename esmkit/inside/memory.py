"""How much memory a trace takes, and whether it is there."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from esmkit.encoder.activations import Activation, Activations
from esmkit.errors import OptionError
from esmkit.inside.edits import Place
from esmkit.text import readable_bytes

__all__ = ["bytes_of", "check_map", "check_memory", "free_memory"]


def bytes_of(known: Activations, keep: Iterable[Activation], tokens: int) -> int:
    """Return the float32 bytes of activations of a sequence of so many tokens.

    >>> bytes_of(Activations(6, 20, 320, 1280), [Activation("residual", 5)], 100)
    128000
    """
    head = known.width // known.heads

    def per_token(one: Activation) -> int:
        if one.is_map:
            return tokens * (known.heads if one.head is None else 1)
        if one.head is not None:
            return head
        return {"feed_forward_hidden": known.hidden, "logits": 33}.get(one.step, known.width)

    return 4 * tokens * sum(map(per_token, keep))


def _bytes_held(known: Activations, keep: Sequence[Activation], tokens: int) -> int:
    """Return what is held of a sequence: of maps, made when they are asked for, the largest."""
    maps = [bytes_of(known, [one], tokens) for one in keep if one.is_map]
    rest = [one for one in keep if not one.is_map]
    turned = 8 * tokens * known.width * len({one.layer for one in keep if one.is_map})
    return bytes_of(known, rest, tokens) + turned + max(maps, default=0)


def check_map(name: str, shape: tuple[int, ...]) -> None:
    """Refuse to make a map of queries (h, T, K) that would not fit into memory."""
    size = 4 * shape[0] * shape[1] ** 2
    free = free_memory() if size > 2**28 else None
    if free is not None and size > free:
        raise OptionError(
            f"{name} takes {readable_bytes(size)}, and {readable_bytes(free)} are free; take single "
            "heads"
        )


def free_memory() -> int | None:
    """Return how much memory is free for a program, as Linux says; None elsewhere."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_memory(
    known: Activations, keep: Sequence[Activation], places: Sequence[Place], most: int | None
) -> None:
    """Refuse what would not fit, before it is computed.

    Parameters
    ----------
    known : Activations
    keep : sequence of Activation
    places : sequence of Place
        The sequences of one pass; of a protein in windows all windows are counted at once.
    most : int, optional
        Bytes that all arrays together may have; by default what is held has to fit into what is
        free, of scores and weights the largest.

    Raises
    ------
    OptionError
        With the size.
    """
    count = bytes_of if most is not None else _bytes_held
    sizes = [place.count * count(known, keep, place.stop - place.start + 2) for place in places]
    size, limit = sum(sizes), most
    if limit is None:
        if size < 64 * 2**20:  # what is free is not asked for each small pass
            return
        limit = free_memory()
    if limit is None or size <= limit:
        return
    largest = places[max(range(len(places)), key=sizes.__getitem__)]
    allowed = "are over `max_bytes`," if most is not None else "do not fit into memory, of which"
    free = readable_bytes(limit) + ("" if most is not None else " are free")
    what = f"a trace of {largest.name} ({largest.residues:,} residues)"
    if len(places) > 1:
        what = f"traces of {len(places)} sequences, {largest.name} the largest,"
    raise OptionError(
        f"{readable_bytes(size)} for {what} {allowed} {free}; keep fewer activations, or single heads"
    )
