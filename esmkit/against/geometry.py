"""What vectors say that no hypothesis explains: other weights, another model, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from esmkit.against.pooling import POOLINGS, ROWS
from esmkit.against.scoring import Candidate

__all__ = ["THIN", "Likeness", "all_alike", "likeness", "width_words"]

Array = NDArray[np.float64]

LEAST_RECORDS = 5
"""Records from which distances between proteins say something."""

THIN = "not known; other weights of the same shape would look like this"
"""How it begins if what there is of records is near this model's, and little."""

PERMUTATIONS = 999
RELATED = 0.01
"""Largest p-value at which two sets of distances are taken to be related."""

MOST_COORDINATES = 3
"""Numbers up to which vectors are places in a plane or in space."""

_WIDTHS = {
    320: "ESM-2 8M",
    480: "ESM-2 35M",
    640: "ESM-2 150M",
    768: "ESM-1 12-layer and many BERTs",
    960: "ESM-C 300M",
    1_024: "ProtT5 and ProtBert",
    1_152: "ESM-C 600M",
    1_280: "ESM-2 650M, ESM-1b and ESM-1v",
    1_536: "ESM-3 and Ankh large",
    2_560: "ESM-2 3B",
    5_120: "ESM-2 15B",
}


@dataclass(frozen=True)
class Likeness:
    """What the vectors of a file have in common with this model's.

    Attributes
    ----------
    kind : {'other weights', 'other model', 'random', 'unknown'}
    words : str
    evidence : list of str
    """

    kind: str
    words: str
    evidence: list[str] = field(default_factory=list)


def width_words(width: int, own: int, heads: int) -> str:
    """Say what a width may be that is not the model's.

    >>> width_words(480, 320, 120)
    'another model: vectors of width 480, that of ESM-2 35M; this model has 320'
    """
    known = f", that of {_WIDTHS[width]}" if width in _WIDTHS else ""
    if width == 33:
        return (
            f"no embeddings: 33 numbers, one for each token, as logits have; this model has {own}"
        )
    if width <= MOST_COORDINATES:
        return (
            f"no embeddings: {width} {'number' if width == 1 else 'numbers'}, as the coordinates of a "
            f"projection (PCA, UMAP, t-SNE) have; this model has {own}"
        )
    if width == heads:
        return f"no embeddings: {width} numbers, one for each head; this model has a width of {own}"
    return f"another model: vectors of width {width:,}{known}; this model has {own:,}"


def all_alike(vectors: Array) -> bool:
    """Tell whether all vectors are the same, to rounding."""
    size = np.abs(vectors).max()
    return len(vectors) > 1 and bool(np.abs(vectors - vectors[0]).max() <= 1e-4 * size)


def _distances(vectors: Array) -> Array:
    squares = (vectors**2).sum(axis=-1)
    found = squares[:, None] + squares - 2 * vectors @ vectors.T
    return np.sqrt(np.maximum(found, 0))


def _related(given: Array, own: Sequence[Array]) -> tuple[float, float]:
    """Return the largest correlation of distances between proteins, and its p-value.

    By permutation of the proteins, each time with the largest correlation of all of ``own``: so
    many as are tried are allowed for, and p may be as small as 1 / 1,000 however many there are.
    """
    rows, columns = np.triu_indices(len(given), 1)

    def standard(values: Array) -> Array:
        values = values - values.mean(axis=-1, keepdims=True)
        norms = np.linalg.norm(values, axis=-1, keepdims=True)
        return np.where(norms > 0, values / np.where(norms > 0, norms, 1), 0.0)

    first = _distances(given)
    second = standard(np.stack([_distances(one)[rows, columns] for one in own]))
    seen = float((second @ standard(first[rows, columns])).max())
    random = np.random.default_rng(0)
    higher = 0
    for _ in range(PERMUTATIONS):
        order = random.permutation(len(given))
        moved = standard(first[order[rows], order[columns]])
        higher += float((second @ moved).max()) >= seen
    return seen, (1 + higher) / (1 + PERMUTATIONS)


def _correlations(given: Array, own: Array) -> Array:
    """Return the correlation of every given with every own vector, less what all have in common."""

    def unit(values: Array) -> Array:
        values = values - values.mean(axis=0)
        norms = np.linalg.norm(values, axis=-1, keepdims=True)
        return values / np.where(norms > 0, norms, 1)

    return unit(given) @ unit(own).T


def looks_random(vectors: Array) -> bool:
    """Tell whether vectors, less their mean, are as far from each other as random ones.

    Whitened vectors are too, whatever model made them.

    >>> looks_random(np.random.default_rng(0).uniform(size=(8, 320)))
    True
    """
    count, width = vectors.shape
    if count < LEAST_RECORDS or width < 32:
        return False
    cosines = _correlations(vectors, vectors)[np.triu_indices(count, 1)]
    chance = 1 / np.sqrt(width)
    return bool(cosines.std() < 1.6 * chance and abs(cosines.mean() + 1 / (count - 1)) < chance)


def likeness(given: Array, own: Sequence[Candidate], *, same_width: bool) -> Likeness:
    """Say what K vectors have in common with this model's of the same proteins.

    Parameters
    ----------
    given : numpy.ndarray of float64, shape (K, C)
    own : sequence of Candidate
        This model's, of every layer and pooling.
    same_width : bool
    """
    count = len(given)
    own = [one for one in own if np.isfinite(one.own).all()]
    if same_width and own:
        found = _other_weights(given, own)
        if found is not None:
            return found
    if count < LEAST_RECORDS:
        return Likeness(
            "unknown",
            "not known",
            [f"{count} record{'s are' if count > 1 else ' is'} too few to compare distances"],
        )
    tried = [one.own for one in _few(own)]
    correlation, p = _related(given, tried) if tried else (0.0, 1.0)
    related = p <= RELATED and correlation > 0
    if looks_random(given) and not related:
        return Likeness(
            "random",
            "like random numbers, or whitened: no two records have more in common than chance gives",
            [f"{count} records, all equally far from each other"],
        )
    if not tried:
        return Likeness("unknown", "not known")
    evidence = f"distances between {count} proteins correlate {correlation:.2f} (p = {p:.3f})"
    if related:
        return Likeness(
            "other model",
            "another model's, or processed in a way that is not known: proteins that are alike here "
            "are alike there",
            [evidence],
        )
    return Likeness(
        "unknown",
        "not known: which proteins are alike here is not which are alike for this model",
        [evidence],
    )


def _few(own: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates whose distances are compared: means of single layers."""
    wanted = ("mean", "bos", "residues")
    return [one for one in own if one.pooling in wanted and len(one.layers) == 1]


def _pooled(name: str) -> str:
    return (POOLINGS.get(name) or ROWS[name]).words


def _other_weights(given: Array, own: Sequence[Candidate]) -> Likeness | None:
    """Return what speaks for other weights of the same shape: near, each record to its own."""

    def off(one: Candidate) -> float:
        return float(np.mean(((given - one.own) ** 2).sum(-1) / (one.own**2).sum(-1)))

    nearest = min(own, key=lambda one: off(one) * 1.02**one.cost)
    cosines = (given * nearest.own).sum(-1)
    norms = np.linalg.norm(given, axis=-1) * np.linalg.norm(nearest.own, axis=-1)
    cosines = cosines / np.where(norms > 0, norms, 1)
    median = float(np.median(cosines))
    away = given - nearest.own
    shift = away.mean(axis=0)
    total = float((away**2).sum())
    common = len(given) * float((shift**2).sum()) / total if total else 0.0
    layer = "+".join(map(str, nearest.layers))
    evidence = [
        f"nearest is hidden state {layer}, {_pooled(nearest.pooling)}: median cosine {median:.4f}",
        f"relative difference {off(nearest) ** 0.5:.2g}"
        + (f", of which {common:.0%} is the same in all records" if len(given) > 1 else ""),
    ]
    if len(given) < LEAST_RECORDS:
        if median > 0.9:
            return Likeness(
                "unknown",
                f"{THIN}, but {len(given)} {'record is' if len(given) == 1 else 'records are'} thin evidence",
                evidence,
            )
        return None
    correlations = _correlations(given, nearest.own)
    of_own = np.diagonal(correlations)
    # of copies of one sequence each is as much like the other
    right = float(np.mean(of_own >= correlations.max(axis=1) - 1e-6))
    mean = float(of_own.mean())
    if median > 0.8 and right >= 0.8:
        evidence.append(
            f"less the mean of all records, {right:.0%} of the records are most like their own "
            f"protein (mean correlation {mean:.2f})"
        )
        return Likeness(
            "other weights",
            "other weights of the same shape: another checkpoint, or one that was fine-tuned, or "
            "sequences, pooling or numbers altered in a way that is not known",
            evidence,
        )
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-correlations)
    matched = float(correlations[rows, columns].mean())
    if matched > 0.8 and right < 0.8 and median > 0.5:
        evidence.append(f"under other names the mean correlation is {matched:.2f}, not {mean:.2f}")
        return Likeness(
            "other weights",
            "other weights of the same shape, and records under wrong names",
            evidence,
        )
    return None
