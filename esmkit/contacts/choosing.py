"""The best heads, scored on chains that took no part in choosing them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.contacts.evaluation import Evaluation, Scored
from esmkit.contacts.head import ContactHead
from esmkit.contacts.ranking import BestHeads, chosen_on, precisions_of_heads
from esmkit.contacts.scores import CUTS, Length, check_choice
from esmkit.errors import InputError, OptionError
from esmkit.text import Say, silent

if TYPE_CHECKING:
    from esmkit.encoder.encoder import Encoder
    from esmkit.structure import Structure

__all__ = ["best_of", "evaluate_best", "halves"]


def best_of(values: NDArray[np.float64], count: int, heads: int) -> list[str]:
    """Return the names of the heads with the highest mean P@L/2 over some chains.

    Parameters
    ----------
    values : numpy.ndarray of float64, shape (chains, N * H, 3)
        As :func:`precisions_of_heads` gives them for a range.
    count, heads : int
        How many to take, and how many there are in a layer. Ties go to the first in the model, as
        in :func:`best_heads`.

    Raises
    ------
    OptionError
        If no chain has a value.
    """
    from esmkit.encoder.names import head_name

    known = values[~np.isnan(values).any((1, 2))]
    if not len(known):
        raise OptionError(
            f"none of {len(values)} chain(s) is long enough for pairs at long range; give longer "
            "ones to choose heads on"
        )
    means = known[:, :, list(CUTS).index("P@L/2")].mean(0)
    return [head_name(*divmod(int(k), heads)) for k in np.argsort(-means, kind="stable")[:count]]


@checked
def halves(sequences: Sequence[str], *, seed: int = 0) -> NDArray[np.int64]:
    """Split chains into two halves, relatives into the same one.

    Parameters
    ----------
    sequences : sequence of str
    seed : int
        Seed of the draw.

    Returns
    -------
    numpy.ndarray of int64, shape (chains,)
        0 or 1. As near to halves as families of chains allow.

    Raises
    ------
    OptionError
        If all chains are relatives of each other.

    Examples
    --------
    >>> halves([s.sequence for s in esmkit.data.ts50()]).sum()
    np.int64(25)
    """
    from esmkit.sequences.likeness import are_alike

    family = np.arange(len(sequences))
    for one, sequence in enumerate(sequences):
        for other in range(one):
            if family[one] != family[other] and are_alike(sequence, sequences[other]):
                family[family == family[one]] = family[other]
    names, sizes = np.unique(family, return_counts=True)
    if len(names) < 2:
        raise OptionError(
            f"{len(sequences)} chain(s) of one family cannot be split into halves, one to choose "
            "heads on and one to score them on; give chains of at least two families"
        )
    draw = np.random.default_rng(seed).permutation(len(names))
    half = np.zeros(len(sequences), np.int64)
    counts = [0, 0]
    for place in sorted(draw, key=lambda p: -sizes[p]):  # large families first; the sort is stable
        side = int(counts[1] < counts[0])
        half[family == names[place]] = side
        counts[side] += int(sizes[place])
    return half


@checked
def evaluate_best(
    model: "Encoder",
    structures: Iterable["Structure"],
    count: int = 1,
    *,
    choose_on: Iterable["Structure"] | None = None,
    length: Length = "resolved",
    seed: int = 0,
    progress: Say = silent,
) -> Evaluation:
    """Score the mean of the best heads on chains that took no part in choosing them.

    The chains to choose on are split into halves, relatives into the same one. A chain that is in
    one half, or is a relative of one that is, is scored with the heads that are best on the other;
    a chain that has nothing to do with either is scored with those that are best on all.

    Parameters
    ----------
    model : Encoder
    structures : iterable of Structure
        Chains to score on.
    count : int
        How many heads, those of the highest long-range P@L/2.
    choose_on : iterable of Structure, optional
        Chains to choose on; by default those to score on.
    length
        As in :func:`evaluate`.
    seed : int
        Seed of the split and of the bootstrap.
    progress : callable
        Called with the ID of each chain before its turn: those to choose on, then those to score.

    Returns
    -------
    Evaluation
        ``left_out`` are relatives of chains in both halves.

    Raises
    ------
    InputError
        If there are no structures, or two have the same ID.
    OptionError
        If there are fewer heads than ``count``, or the chains to choose on cannot be split, or those
        of one half are too short to have pairs at long range.

    See Also
    --------
    esmkit.contacts.rank_heads : All heads, without a choice.

    Examples
    --------
    >>> chains = sorted(esmkit.data.ts50(), key=len)[:4]  # doctest: +SKIP
    >>> found = esmkit.contacts.evaluate_best(esmkit.load(), chains, 1)  # doctest: +SKIP
    >>> sorted({head.source for head in found.heads.values()})  # doctest: +SKIP
    ['head L5H4']
    """
    check_choice("length", length, Length)
    if not 1 <= count <= model.layers * model.heads:
        raise OptionError(
            f"the best of {model.layers * model.heads} heads are 1 to {model.layers * model.heads} "
            f"of them, not {count}"
        )
    wanted = list(structures)
    pool = wanted if choose_on is None else list(choose_on)
    if not wanted or not pool:
        raise InputError("there is no structure to score on; give at least one chain")
    side = halves([structure.sequence for structure in pool], seed=seed)
    found, _ = precisions_of_heads(model, pool, length=length, progress=progress)

    def best(which: NDArray[np.bool_]) -> ContactHead:
        chains = [s.protein for s, there in zip(pool, which, strict=True) if there]
        names = best_of(found["long"][which], count, model.heads)
        return ContactHead.mean_of(model, BestHeads(names, chosen_on(chains)))

    all_of_them = best(np.ones(len(pool), bool))
    by_half = [best(side == which) for which in (0, 1)]
    left_out: dict[str, str] = {}
    used: set[str] = set()

    def head_for(structure: "Structure") -> ContactHead | None:
        relatives = [head.learnt_from(structure.protein) for head in by_half]
        if None not in relatives:
            left_out[structure.id] = str(relatives[0])
            return None
        if relatives == [None, None]:
            used.add("all")
            return all_of_them
        used.add("halves")
        return by_half[0] if relatives[0] is None else by_half[1]

    scored = Scored(model, length, progress)
    scored.add_all(wanted, head_for)
    if not scored.tables:
        raise InputError(
            f"each of these {len(left_out)} chain(s) has relatives in both halves of those to "
            "choose on; give other structures"
        )
    chosen = _words_of_choice(count, len(pool), all_of_them, by_half, used)
    return scored.evaluation(all_of_them, left_out=left_out, in_sample={}, chosen=chosen, seed=seed)


def _words_of_choice(
    count: int, chains: int, of_all: ContactHead, by_half: list[ContactHead], used: set[str]
) -> str:
    """Say which heads were chosen on what, and what was scored with them."""
    which = "best head" if count == 1 else f"mean of the {count} best heads"
    if used == {"all"}:
        return f"{which} on {chains} other chain(s) ({' '.join(of_all.choice.names)})"
    names = "; ".join(" ".join(head.choice.names) for head in by_half)
    text = f"{which}, chosen on one half of {chains} chains and scored on the other, both ways"
    text += f" ({names})"
    if "all" in used:
        text += f", other chains with the best on all ({' '.join(of_all.choice.names)})"
    return text
