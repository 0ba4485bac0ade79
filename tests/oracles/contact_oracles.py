"""Contacts computed the plain way: NumPy on Hugging Face's attention, and scores by loops."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EsmModel

from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from esmkit.structure import Structure


def eager(folder: Path) -> EsmModel:
    """Hugging Face's own encoder."""
    return EsmModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation="eager"
    ).eval()


def predict_contacts(network: Any, sequence: str) -> np.ndarray:
    """``predict_contacts`` of Hugging Face or fair-esm for one sequence by itself: (R, R)."""
    ids = torch.from_numpy(encode(sequence))[None]
    extra = (torch.ones_like(ids),) if isinstance(network, EsmModel) else ()
    with torch.no_grad():
        return network.predict_contacts(ids, *extra)[0].numpy()


def numpy_corrected(network: EsmModel, sequence: str) -> np.ndarray:
    """Symmetrised and corrected maps of every head in float64: (N * H, R, R).

    The formula of Dunn et al. 2008, entry by entry from means; Hugging Face's code has sums.
    """
    ids = torch.from_numpy(encode(sequence))[None]
    with torch.no_grad():
        layers = network(ids, output_attentions=True).attentions
    found = []
    for a in torch.cat(layers, 1)[0].double().numpy():
        inner = a[1:-1, 1:-1]
        both = inner + inner.T
        found.append(both - np.outer(both.mean(0), both.mean(1)) / both.mean())
    return np.stack(found)


RANGES = {"short": (6, 11), "medium": (12, 23), "long": (24, 10**9)}


def plain_scores(
    values: np.ndarray, contacts: np.ndarray, resolved: np.ndarray, length: int | None = None
) -> dict[str, dict[str, float]]:
    """Everything that ``score_map`` gives, by loops over pairs."""
    if length is None:
        length = sum(map(bool, resolved))
    found = {}
    for name, (least, most) in RANGES.items():
        pairs = []
        for i in range(len(values)):
            for j in range(i + 1, len(values)):
                inside = least <= j - i <= most and resolved[i] and resolved[j]
                if inside and values[i, j] == values[i, j]:
                    pairs.append((-float(values[i, j]), i, j, bool(contacts[i, j])))
        pairs.sort()
        row: dict[str, float] = {"pairs": len(pairs), "contacts": sum(p[3] for p in pairs)}
        row["background"] = row["contacts"] / len(pairs) if pairs else np.nan
        row["AUC-PR"] = average_precision([(-p[0], p[3]) for p in pairs])
        for divisor, cut in ((1, "P@L"), (2, "P@L/2"), (5, "P@L/5")):
            count = length // divisor
            possible = bool(pairs) and count > 0
            right = sum(p[3] for p in pairs[:count])
            row[cut] = right / count if possible else np.nan
            row[f"ceiling {cut}"] = min(1.0, row["contacts"] / count) if possible else np.nan
        found[name] = row
    return found


def average_precision(pairs: Iterable[tuple[float, bool]]) -> float:
    """Sum of precision times gain in recall over the thresholds; equal values fall together."""
    pairs = list(pairs)
    total = sum(true for _, true in pairs)
    if not total:
        return np.nan
    area, before = 0.0, 0
    for threshold in sorted({value for value, _ in pairs}, reverse=True):
        above = [true for value, true in pairs if value >= threshold]
        area += sum(above) / len(above) * (sum(above) - before) / total
        before = sum(above)
    return area


class Planted:
    """A structure whose contacts are given, not measured."""

    def __init__(self, name: str, sequence: str, contacts: np.ndarray) -> None:
        self.id = name
        self.sequence = sequence
        self.protein = Protein(name, sequence, name)
        self.resolved = np.ones(len(sequence), bool)
        self._contacts = contacts

    def __len__(self) -> int:
        return len(self.sequence)

    def contacts(self) -> np.ndarray:
        return self._contacts


def plain_precision(values: np.ndarray, structure: Structure, divisor: int) -> float:
    """Long-range P@L/divisor, pair by pair."""
    contacts, resolved = structure.contacts(), structure.resolved
    size = len(structure)
    pairs = [
        (-values[i, j], i, j)
        for i in range(size)
        for j in range(i + 24, size)
        if resolved[i] and resolved[j]
    ]
    count = int(resolved.sum()) // divisor
    return sum(contacts[i, j] for _, i, j in sorted(pairs)[:count]) / count
