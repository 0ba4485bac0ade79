"""Chains and maps made for tests of heads, and the definitions of esmkit.heads in plain loops."""

from pathlib import Path

import numpy as np

from esmkit.heads.properties import Property
from esmkit.structure import Structure


def made(
    sequence: str,
    *,
    name: str = "made_A",
    unresolved: tuple[int, ...] = (),
    places: np.ndarray | None = None,
) -> Structure:
    """A chain whose Cβ lie where they are told to, or anywhere; it has no backbone."""
    residues = len(sequence)
    random = np.random.default_rng(residues)
    cb = random.normal(0, 6, (residues, 3)) if places is None else np.array(places, float)
    cb[list(unresolved)] = np.nan
    return Structure(
        id=name,
        path=Path(f"{name}.pdb"),
        chain="A",
        model=1,
        sequence=sequence,
        residue_numbers=tuple(str(i + 1) for i in range(residues)),
        backbone=np.full((residues, 4, 3), np.nan),
        cb=cb,
        sg=np.full((residues, 3), np.nan),
    )


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def offsets_of(residues: int) -> np.ndarray:
    """[query, key]: key - query."""
    return np.arange(residues)[None, :] - np.arange(residues)[:, None]


def naive_scores(
    a: np.ndarray, structure: Structure, of: Property, background: np.ndarray
) -> dict[str, float]:
    """The scores of one map for one property, term by term; the background is (S, S)."""
    kept = [int(i) for i in np.flatnonzero(structure.resolved)]
    size = len(kept)
    labels = of.of(structure)
    if of.kind == "residue":
        labels = np.array([[labels[j] for j in range(len(labels))] for _ in range(len(labels))])
    f = np.array([[float(labels[i, j]) for j in kept] for i in kept])
    total = sum(a[i, j] for i in kept for j in kept)
    offset = of.kind == "offset"
    b = np.full((size, size), total / size**2) if offset else background
    excess = []
    for shift in range(size):
        # an offset that is shifted along the chain stays the same offset: only keys move
        rolled = np.roll(f, shift, 1) if of.kind == "offset" else np.roll(f, (shift, shift), (0, 1))
        hits = sum(a[kept[i], kept[j]] * rolled[i, j] for i in range(size) for j in range(size))
        even = sum(b[i, j] * rolled[i, j] for i in range(size) for j in range(size))
        excess.append((hits, even))
    gaps = [hits - even for hits, even in excess]
    mean = sum(gaps) / size
    arcs = [(i, j) for i in range(size) for j in range(size) if a[kept[i], kept[j]] >= 0.3]
    arc_expected = 0.0
    for i, j in arcs:
        alike = [
            f[x, y]
            for x in range(size)
            for y in range(size)
            if of.kind == "offset" or kept[y] - kept[x] == kept[j] - kept[i]
        ]
        arc_expected += sum(alike) / len(alike)
    return {
        "mass": total,
        "hits": excess[0][0],
        "expected": excess[0][1],
        "mean": mean,
        "variance": sum((gap - mean) ** 2 for gap in gaps) / size,
        "third": sum((gap - mean) ** 3 for gap in gaps) / size,
        "arcs": len(arcs),
        "arc_hits": sum(f[i, j] for i, j in arcs),
        "arc_expected": arc_expected,
    }
