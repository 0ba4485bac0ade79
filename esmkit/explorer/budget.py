"""Choice of what fits into a page of a given size: all heads, or those most worth seeing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from esmkit.attention.choosing import FAR_ENOUGH, reach
from esmkit.attention.extract import compute
from esmkit.attention.passes import Piece
from esmkit.encoder.names import HeadChoice, choose_heads, head_name
from esmkit.errors import OptionError
from esmkit.explorer.facts import THUMBNAIL
from esmkit.sequences.proteins import Protein
from esmkit.sequences.windows import MAX_RESIDUES

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.explorer.labels import Labels

__all__ = ["PagePlan", "plan_heads"]

FIXED = 1_700_000
"""Bytes of a page without data: Bokeh, scripts and styles."""

BASE64 = 4 / 3
"""Characters for each byte of data."""

HEAD_WORDS = 1_200
"""Bytes of what is said about a head."""


@dataclass(frozen=True)
class PagePlan:
    """The heads that a page holds, whether residual streams are in it, and what to say about it."""

    choice: HeadChoice
    strips: bool
    notes: list[str] = field(default_factory=list)


def plan_heads(
    model: "Encoder",
    protein: Protein,
    pieces: Sequence[tuple[int, int]],
    choice: HeadChoice,
    *,
    named: bool,
    max_bytes: int,
    labels: "Labels | None" = None,
) -> PagePlan:
    """Decide what goes into a page.

    Residual streams are left out first, for the step by step view can do with their lengths; then
    heads, unless they were named. Those are kept that a profile calls a kind of pair, then those
    whose residues look at each other from far away (:mod:`esmkit.attention.choosing`).

    Raises
    ------
    OptionError
        If not even one head fits, or not all that were named.
    """
    tokens = sum(stop - start + 2 for start, stop in pieces)
    residues = len(protein)
    width, depth = model.width, len(choice.by_layer)
    per_head = BASE64 * (tokens * (width // model.heads) * 6 + tokens * 4) + HEAD_WORDS
    per_head += BASE64 * min(residues, THUMBNAIL) ** 2
    strips = BASE64 * depth * (2 * tokens * (width + 4) + 2 * width**2)
    rest = FIXED + BASE64 * (residues**2 + 12 * residues + depth * tokens * 12)
    room = max_bytes - rest
    count = len(choice.heads)
    if count * per_head + strips <= room:
        return PagePlan(choice, True)
    notes = [
        "The residual stream itself is not in this page, only its length: it would have made the "
        f"file larger than {max_bytes / 1e6:,.0f} MB."
    ]
    if count * per_head <= room:
        return PagePlan(choice, False, notes)
    fits = int(room // per_head)
    if named or fits < 1:
        raise OptionError(
            f"a page with {count} head(s) of {protein.id!r} takes "
            f"{(rest + count * per_head) / 1e6:,.0f} MB and at most {max_bytes / 1e6:,.0f} MB are "
            "allowed; name fewer with `heads`, or allow more with `max_bytes`"
        )
    kept = _best(model, protein, choice, fits, labels)
    pairs = "those that the profile calls a kind of pair, and " if labels else ""
    notes.append(
        f"This page shows {fits} of {count} heads, {pairs}those in which residues far apart look at each other on "
        f"the first {min(residues, MAX_RESIDUES):,} residues, so that the file stays under "
        f"{max_bytes / 1e6:,.0f} MB; others can be asked for by name."
    )
    return PagePlan(kept, False, notes)


def _best(
    model: "Encoder", protein: Protein, choice: HeadChoice, count: int, labels: "Labels | None"
) -> HeadChoice:
    score: dict[tuple[int, int], float] = {}

    def take(piece: Piece, layer: int, heads: Sequence[int], maps: torch.Tensor) -> None:
        for head, of_head in zip(heads, maps.float().cpu().numpy(), strict=True):
            score[layer, head] = reach(of_head[1:-1, 1:-1])
            if labels is not None and labels.heads[head_name(layer, head)].family == "pair":
                score[layer, head] += FAR_ENOUGH  # more than any other can have

    items = [(0, protein)]
    for _ in compute(model, items, choice, take, long="truncate", batch_tokens=2_048):
        pass
    order = np.argsort([-score[head] for head in choice.heads], kind="stable")[:count]
    return choose_heads(
        [head_name(*choice.heads[i]) for i in order],
        "all",
        of_layers=choice.of_layers,
        of_heads=choice.of_heads,
    )
