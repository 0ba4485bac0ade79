"""Heads that copy: in a sequence that is written twice, they look at the aligned residue.

Random residues have no structure and no relatives. What is repeated in them is known exactly, and a
head that finds the other copy can only have compared the residues. So a segment of random residues
is written twice, and the repeat score of a head is its weight from each residue to the aligned one
of the other copy. Written after it are other random residues in the control, where a head that
merely likes the distance gives as much.

This is the test for heads of language models that copy (Olsson et al. 2022, In-context learning and
induction heads, arXiv:2209.11895). Those look at the residue after the aligned one, which is the
next word; a model that fills in hidden residues needs the aligned residue itself, so both are given.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from esmkit.arguments import checked
from esmkit.errors import OptionError
from esmkit.heads.resampling import interval, samples
from esmkit.heads.resume import Keeper, Key
from esmkit.sequences.proteins import AMINO_ACIDS, Protein
from esmkit.sequences.remarks import SWISS_PROT_PERCENT
from esmkit.sequences.windows import MAX_RESIDUES
from esmkit.text import Say, silent

if TYPE_CHECKING:
    import pandas

    from esmkit.encoder.encoder import Encoder
    from esmkit.encoder.names import HeadChoice

__all__ = [
    "REAL",
    "SEQUENCES",
    "STAGE",
    "copy_weights",
    "repeat_keys",
    "repeat_scores",
    "repeated_sequences",
]

SEQUENCES = 30
"""Repeated sequences, and as many controls."""

STAGE = 3_000
"""The first stage of a keeper; profiles, ablations and disulfides use lower ones."""

REAL = 3_100
"""The stage of real proteins."""

DIRECTIONS = ("to_first", "to_second", "next")
"""What is measured of each sequence, in this order; see :func:`repeat_scores`."""

Array = NDArray[np.float64]


@checked
def repeated_sequences(
    sequences: int = SEQUENCES, *, shortest: int = 40, longest: int = 80, seed: int = 0
) -> list[tuple[str, str]]:
    """Return random segments written twice, each with a control of two unrelated halves.

    Residues are drawn one by one with the frequencies of Swiss-Prot (release statistics,
    UniProtKB/Swiss-Prot 2024_01), and the length of a segment evenly.

    Parameters
    ----------
    sequences : int
        How many, at least 1.
    shortest, longest : int
        Length of a segment, residues, both included; at least 2 and at most 511.
    seed : int

    Returns
    -------
    list of (str, str)
        Repeated sequence and control. Both are as long, and begin with the same half.

    Raises
    ------
    OptionError
        If a number is out of range.

    Examples
    --------
    >>> twice, control = repeated_sequences(1, shortest=40, longest=40)[0]
    >>> twice[:40] == twice[40:], twice[:40] == control[:40], twice[40:] == control[40:]
    (True, True, False)
    """
    if sequences < 1:
        raise OptionError(f"at least 1 repeated sequence is needed, not {sequences}")
    if not 2 <= shortest <= longest <= MAX_RESIDUES // 2:
        raise OptionError(
            f"repeated segments are of 2 to {MAX_RESIDUES // 2} residues, the shortest not above the "
            f"longest, not of {shortest} to {longest}"
        )
    letters = np.array(list(AMINO_ACIDS))
    percent = np.array([SWISS_PROT_PERCENT[letter] for letter in AMINO_ACIDS])
    random, made = np.random.default_rng(seed), []
    for _ in range(sequences):
        length = int(random.integers(shortest, longest + 1))
        half, other = random.choice(letters, (2, length), p=percent / percent.sum())
        made.append(("".join([*half, *half]), "".join([*half, *other])))
    return made


@checked
def repeat_scores(
    model: "Encoder",
    *,
    sequences: int = SEQUENCES,
    shortest: int = 40,
    longest: int = 80,
    control: bool = True,
    resamples: int = 2_000,
    seed: int = 0,
    progress: Say = silent,
    keep: Keeper = Keeper(),  # noqa: B008 - keeps nothing
) -> "pandas.DataFrame":
    """Measure which heads look at the aligned residue of the other copy of a repeated segment.

    Parameters
    ----------
    model : Encoder
    sequences, shortest, longest
        Of :func:`repeated_sequences`.
    control : bool
        Measure untrained models of the same architecture as well, with random and with permuted
        weights (:func:`esmkit.heads.untrained.control_models`).
    resamples : int
        Bootstrap samples of sequences, at least 100.
    seed : int
        Seed of the sequences, of the bootstrap and of the untrained models.
    progress : callable
        Called with a name before each pair of a repeated sequence and its control, in each model.
    keep : Keeper
        Stores what was measured of each pair, and returns what it already has.

    Returns
    -------
    pandas.DataFrame
        A row for each head, by layer and head: ``name``, ``layer``, ``head``; ``repeat_score``, the
        mean attention weight (0 to 1, that on BOS and EOS not left out) from a residue to the
        aligned one of the other copy, over both directions, with the 95 % interval
        ``repeat_low`` and ``repeat_high`` of a bootstrap over sequences; ``repeat_control``, the
        same weight between two unrelated halves, with ``repeat_control_low`` and
        ``repeat_control_high``; ``repeat_difference``, the one less the other, with
        ``repeat_difference_low`` and ``repeat_difference_high``, sequences resampled for both
        together; ``to_first``, the score from the second copy to the first alone,
        and ``to_second``, that from the first to the second; ``next_score``, the weight on the
        residue after the aligned one, and ``next_control``, the same between unrelated halves;
        ``sequences`` and ``pairs`` (of residues, in both directions); with ``control`` also
        ``random_most`` and ``permuted_most``, the largest score of any head of the models with
        random and with permuted weights, and ``models``, how many there are of each kind.

    Raises
    ------
    OptionError
        If a number is out of range.
    NonFiniteError
        If a map is NaN or infinite.

    References
    ----------
    Olsson et al. 2022, In-context learning and induction heads, arXiv:2209.11895.

    Examples
    --------
    >>> found = repeat_scores(esmkit.load(), control=False)             # doctest: +SKIP
    >>> found.loc[found["repeat_score"] > 0.4, "name"].tolist()         # doctest: +SKIP
    ['L3H1', 'L3H13', 'L5H11', 'L5H15', 'L5H19']
    """
    import pandas

    from esmkit.encoder.names import choose_heads
    from esmkit.heads.controls import untrained_models

    if resamples < 100:
        raise OptionError(f"`resamples` is at least 100, not {resamples}")
    made = repeated_sequences(sequences, shortest=shortest, longest=longest, seed=seed)
    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    measured = _measure(model, made, choice, progress, keep, STAGE)
    table: dict[str, Any] = {
        "name": choice.names,
        "layer": [layer for layer, _ in choice.heads],
        "head": [head for _, head in choice.heads],
    }
    draws = samples(sequences, resamples, seed)
    score, unrelated = _both_ways(measured)
    found = {"repeat": score, "repeat_control": unrelated, "repeat_difference": score - unrelated}
    for name, values in found.items():
        low, high = interval(draws, values, np.ones_like(values))
        table["repeat_score" if name == "repeat" else name] = values.mean(0)
        table |= {f"{name}_low": low, f"{name}_high": high}
    means = dict(zip(DIRECTIONS, measured.mean(0).transpose(2, 0, 1), strict=True))
    table |= {name: means[name][0] for name in ("to_first", "to_second")}
    table |= {"next_score": means["next"][0], "next_control": means["next"][1]}
    table |= {"sequences": sequences, "pairs": sum(len(twice) for twice, _ in made)}
    if control:
        highest: dict[str, list[float]] = {"random": [], "permuted": []}
        for _, kind, stage, make in untrained_models(model, seed):
            scores = _both_ways(_measure(make(), made, choice, progress, keep, STAGE + stage))[0]
            highest[kind].append(float(scores.mean(0).max()))
        table |= {f"{kind}_most": max(of) for kind, of in highest.items()}
        table["models"] = len(highest["random"])
    return pandas.DataFrame(table)


def repeat_keys(
    made: Sequence[tuple[str, str]], proteins: "Sequence[Protein]", *, seed: int
) -> Key:
    """Return what weights between copies rest on: the sequences, and the seed of controls.

    Parameters
    ----------
    made : sequence of (str, str)
        What :func:`repeated_sequences` returned.
    proteins : sequence of Protein
        Those of :func:`esmkit.heads.real_repeats.real_repeat_scores`, which has a stage of its own.
    seed : int
        Seed of the untrained models.
    """

    def key(stage: int, place: int) -> str:
        said = (proteins[place].sequence,) if stage == REAL else made[place]
        digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
        return f"repeat {stage} {'' if stage in (STAGE, REAL) else seed} {digest}"

    return key


def copy_weights(maps: NDArray[np.floating[Any]]) -> Array:
    """Return the mean weights between the two halves of a sequence.

    Parameters
    ----------
    maps : numpy.ndarray of float, shape (h, R, R)
        Attention between the residues of two halves of R / 2 residues, ``[query, key]``.

    Returns
    -------
    numpy.ndarray of float64, shape (h, 3)
        Mean weight from a residue of the second half to the aligned one of the first; from one of
        the first half to that of the second; and, in both directions, to the residue after the
        aligned one, if the half has one.

    Examples
    --------
    >>> copies = np.roll(np.eye(6), 3, axis=1)[None]  # each residue looks three residues away
    >>> copy_weights(copies)
    array([[1., 1., 0.]])
    """
    half = maps.shape[1] // 2
    to_first, to_second = (
        maps[:, queries, keys].astype(np.float64)
        for queries, keys in (
            (slice(half, None), slice(half)),
            (slice(half), slice(half, None)),
        )
    )
    both = (to_first, to_second)
    aligned = [each.diagonal(0, 1, 2).mean(1) for each in both]
    after = [each.diagonal(1, 1, 2).mean(1) for each in both]
    return np.stack([*aligned, np.mean(after, axis=0)], axis=1)


def _both_ways(measured: Array) -> tuple[Array, Array]:
    """Return the scores of repeats and controls over both directions: (sequences, heads) each."""
    both = measured[..., :2].mean(3)  # the copies are of one length: as many pairs in either
    return both[:, 0], both[:, 1]


def _measure(
    model: "Encoder",
    made: Sequence[tuple[str, str]],
    choice: "HeadChoice",
    progress: Say,
    keep: Keeper,
    stage: int,
) -> Array:
    """Return the mean weights of each direction: (sequences, 2 for repeat and control, heads, 3)."""
    found = []
    for number, pair in enumerate(made):
        progress(f"repeat {number + 1}")
        kept = keep.get(stage, number, ("weights",))
        if kept is None:
            kept = {"weights": np.stack([_weights(model, each, choice) for each in pair])}
            keep.put(stage, number, kept)
        found.append(kept["weights"])
    return np.stack(found)


def _weights(model: "Encoder", sequence: str, choice: "HeadChoice") -> Array:
    """Return the mean weight of each direction between the halves of a sequence: (heads, 3)."""
    import torch

    from esmkit.attention.extract import compute
    from esmkit.attention.passes import Piece

    places = {head: place for place, head in enumerate(choice.heads)}
    blocks: dict[int, Array] = {}

    def prepare(maps: torch.Tensor) -> Array:
        return copy_weights(maps[:, 1:-1, 1:-1].cpu().numpy())

    def take(piece: Piece, layer: int, some: Sequence[int], got: Array) -> None:
        blocks[places[layer, some[0]]] = got

    items = [(0, Protein("repeat", sequence))]
    for _ in compute(model, items, choice, take, long="error", batch_tokens=1, prepare=prepare):
        pass
    return np.concatenate([blocks[first] for first in sorted(blocks)])
