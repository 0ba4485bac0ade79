"""Heads that copy, on real proteins: their weight between stretches that are repeated.

Repeats are found by sequence alone (:mod:`esmkit.sequences.repeated`), and give each residue
its aligned ones in other copies. A head's weight on these is held against its weight, from the same
residues, on others at like separations: 3 to 10 residues before and after the aligned ones. That
allows for a taste for a distance or a region, and for residues that attend to much or little.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import InputError, OptionError
from esmkit.heads.repeats import REAL
from esmkit.heads.resampling import interval, samples
from esmkit.heads.resume import Keeper
from esmkit.sequences.repeated import MARGIN, internal_repeats, near, residue_pairs
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.encoder.names import HeadChoice
    from esmkit.sequences.proteins import Protein

__all__ = ["across_proteins", "real_repeat_scores"]

AROUND = 10
"""Residues to both sides of an aligned one, up to which others are its background."""

Array = NDArray[np.float64]


@checked
def real_repeat_scores(
    model: "Encoder",
    proteins: "Iterable[Protein]",
    *,
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> "pandas.DataFrame":
    """Measure how much of each head's weight goes to the other copies of repeated stretches.

    Parameters
    ----------
    model : Encoder
    proteins : iterable of Protein
        Such as :func:`esmkit.data.repeat_proteins`. Those without a repeat and those over 1,022
        residues are left out.
    progress : callable
        Called with the ID of each protein before its turn.
    keep : Keeper
        Stores what was measured of each protein, and returns what it already has.

    Returns
    -------
    pandas.DataFrame
        A row for each protein and head: ``id``, ``name``, ``layer``, ``head``; ``repeats``, the
        alignments found; ``residues`` that have an aligned one; ``identity``, the share of aligned
        pairs of equal residues; ``weight`` (0 to 1), the mean over these residues of the weight on
        all that are aligned with it; ``background``, the weight on as many of the residues around.

    Raises
    ------
    InputError
        If no protein has a repeat.

    Examples
    --------
    >>> found = real_repeat_scores(esmkit.load(), esmkit.data.repeat_proteins())  # doctest: +SKIP
    >>> found["id"].nunique()                                                     # doctest: +SKIP
    14
    """
    import pandas

    from esmkit.encoder.names import choose_heads

    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    rows = []
    for number, protein in enumerate(proteins):
        progress(protein.id)
        repeats = internal_repeats(protein.sequence) if len(protein) <= MAX_RESIDUES else []
        if not repeats:
            continue
        pairs = residue_pairs(repeats)
        kept = keep.get(REAL, number, ("weights",))
        if kept is None:
            kept = {"weights": _weights(model, protein, pairs, choice)}
            keep.put(REAL, number, kept)
        letters = np.array(list(protein.sequence))
        weight, background = kept["weights"].T
        facts = {
            "repeats": len(repeats),
            "residues": len(np.unique(pairs)),
            "identity": float(np.mean(letters[pairs[:, 0]] == letters[pairs[:, 1]])),
        }
        table = {
            "name": choice.names,
            "layer": [layer for layer, _ in choice.heads],
            "head": [head for _, head in choice.heads],
            **facts,
            "weight": weight,
            "background": background,
        }
        rows.append(pandas.DataFrame({"id": protein.id, **table}))
    if not rows:
        raise InputError(
            "no protein has a repeat that is more than chance; esmkit.data.repeat_proteins() has some"
        )
    return pandas.concat(rows, ignore_index=True)


def across_proteins(
    table: "pandas.DataFrame", *, resamples: int = 2_000, seed: int = 0
) -> "pandas.DataFrame":
    """Return the mean over proteins for each head, with an interval over proteins.

    Parameters
    ----------
    table : pandas.DataFrame
        What :func:`real_repeat_scores` returned.
    resamples : int
        Bootstrap samples of proteins, at least 100.
    seed : int

    Returns
    -------
    pandas.DataFrame
        A row for each head: ``name``, ``layer``, ``head``; ``real_weight`` and ``real_background``,
        means over proteins; ``real_difference`` with its 95 % interval ``real_low`` and
        ``real_high`` (NaN of one protein); ``real_above``, the proteins in which the weight is above
        the background, and ``real_proteins``, all of them.

    Raises
    ------
    OptionError
        If there are fewer than 100 resamples.

    Examples
    --------
    >>> import pandas
    >>> made = {"name": "L0H0", "layer": 0, "head": 0, "weight": [0.5, 0.3], "background": 0.1}
    >>> across_proteins(pandas.DataFrame(made))["real_difference"].round(2).tolist()
    [0.3]
    """
    import pandas

    if resamples < 100:
        raise OptionError(f"`resamples` is at least 100, not {resamples}")
    rows: list[dict[str, Any]] = []
    for (name, layer, head), of in table.groupby(["name", "layer", "head"], sort=False):  # type: ignore[misc]
        weight, background = of["weight"].to_numpy(), of["background"].to_numpy()
        apart = weight - background
        low, high = interval(
            samples(len(of), resamples, seed), apart[:, None], np.ones((len(of), 1))
        )
        rows.append(
            {"name": name, "layer": layer, "head": head}
            | {"real_weight": weight.mean(), "real_background": background.mean()}
            | {"real_difference": apart.mean(), "real_low": low[0], "real_high": high[0]}
            | {"real_above": int((apart > 0).sum()), "real_proteins": len(of)}
        )
    return pandas.DataFrame(rows)


def copies_and_surroundings(
    pairs: NDArray[np.int64], size: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which pairs are aligned copies, and which are their background: (R, R) each.

    Both in both directions. Pairs next to an aligned one, the diagonal and what is near it are
    neither.

    Parameters
    ----------
    pairs : numpy.ndarray of int64, shape (n, 2)
    size : int
        R, residues of the protein.

    Examples
    --------
    >>> aligned, around = copies_and_surroundings(np.array([[0, 20]]), 40)
    >>> np.flatnonzero(aligned[0]).tolist(), np.flatnonzero(around[0]).tolist()
    ([20], [10, 11, 12, 13, 14, 15, 16, 17, 23, 24, 25, 26, 27, 28, 29, 30])
    """
    both = np.concatenate([pairs, pairs[:, ::-1]])
    beside = near(both, size, MARGIN)
    close = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= AROUND // 2
    return near(both, size, 0), near(both, size, AROUND) & ~beside & ~close


def on_copies(
    maps: NDArray[np.floating[Any]], aligned: NDArray[np.bool_], around: NDArray[np.bool_]
) -> Array:
    """Return the mean weight on aligned residues, and on as many around them: (h, 2).

    Parameters
    ----------
    maps : numpy.ndarray of float, shape (h, R, R)
        Attention between residues, ``[query, key]``.
    aligned, around : numpy.ndarray of bool, shape (R, R)
        As :func:`copies_and_surroundings` returns them. Queries without either do not count.

    Examples
    --------
    >>> aligned, around = copies_and_surroundings(np.array([[0, 20]]), 40)
    >>> on_copies(aligned[None].astype(float), aligned, around)
    array([[1., 0.]])
    """
    used = aligned.any(1) & around.any(1)
    copies, others = aligned[used], around[used]
    inner = maps[:, used].astype(np.float64)
    on = (inner * copies).sum(2)
    beside = (inner * others).sum(2) * (copies.sum(1) / others.sum(1))
    return np.stack([on.mean(1), beside.mean(1)], axis=1)


def _weights(
    model: "Encoder", protein: "Protein", pairs: NDArray[np.int64], choice: "HeadChoice"
) -> Array:
    """Return the weight on aligned residues, and on as many around them: (heads, 2)."""
    import torch

    from esmkit.attention.extract import compute
    from esmkit.attention.passes import Piece

    places = {head: place for place, head in enumerate(choice.heads)}
    blocks: dict[int, Array] = {}
    aligned, around = copies_and_surroundings(pairs, len(protein))

    def prepare(maps: torch.Tensor) -> Array:
        return on_copies(maps[:, 1:-1, 1:-1].cpu().numpy(), aligned, around)

    def take(piece: Piece, layer: int, some: Sequence[int], got: Array) -> None:
        blocks[places[layer, some[0]]] = got

    items = [(0, protein)]
    for _ in compute(model, items, choice, take, long="error", batch_tokens=1, prepare=prepare):
        pass
    return np.concatenate([blocks[first] for first in sorted(blocks)])
