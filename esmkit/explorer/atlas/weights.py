"""What the atlas computes with the model: amino-acid matrices, and links of example chains."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from esmkit.attention.choosing import FAR
from esmkit.attention.extract import compute
from esmkit.attention.passes import Piece
from esmkit.encoder.encoder import Encoder
from esmkit.encoder.names import choose_heads
from esmkit.explorer.atlas.chains import Example
from esmkit.explorer.atlas.page import LINKS, Weights
from esmkit.explorer.facts import thumbnail
from esmkit.explorer.structure import truth_of
from esmkit.explorer.trace import quantise

if TYPE_CHECKING:
    from esmkit.structure import Structure

__all__ = ["links_of", "matrices", "of_examples"]

EMPTY = 65_535
"""Residue of a place without a link."""

MANY_HEADS = 240
"""With more heads, QK matrices are kept at fewer offsets, so that the page stays small."""


def matrices(model: Encoder) -> Weights:
    """Return the OV and QK matrices of all heads, in 8 bits.

    Of QK the mean over keys is taken off each query: the softmax does not see it. A value is off by
    at most 1/254 of the largest of its matrix (of its head, for QK).
    """
    from esmkit.heads.circuits import OFFSETS, circuits

    many = model.layers * model.heads > MANY_HEADS
    offsets = range(-4, 5) if many else OFFSETS
    # no test is asked for here: the tables have them
    found = circuits(model, offsets=offsets, permutations=1, controls=1)
    heads = model.layers * model.heads
    ov = found.ov.reshape(heads, *found.ov.shape[2:])
    qk = found.qk.reshape(heads, *found.qk.shape[2:])
    qk = qk - qk.mean(axis=-1, keepdims=True)
    arrays = {}
    for name, values in (("ov", ov), ("qk", qk)):
        packed = [quantise(matrix, np.int8) for matrix in values]
        arrays[name] = np.stack([codes for codes, _ in packed]).tobytes()
        arrays[f"{name}-scales"] = np.array([scale for _, scale in packed], "<f4").tobytes()
    said = {"letters": found.amino_acids, "offsets": [int(offset) for offset in found.offsets]}
    return {"circuits": said}, arrays


def of_examples(model: Encoder, examples: Sequence[Example]) -> Weights:
    """Return the strongest links of all heads on example chains, and pictures of the first one's maps.

    Returns
    -------
    dict
        ``examples``: for each chain its ``id``, ``sequence``, ``secondary`` (DSSP), ``contacts``
        (pairs at least six apart closer than 8 Å) of ``pairs``, and ``why`` it was taken.
    dict of str to bytes
        ``links-k``, uint16 (n, 2, 40, 3): query, key and weight times 65,535, strongest first, of
        any separation but 0 and of six or more; ``coordinates-k``, float32 (R, 3), Å; and
        ``thumbnails``, uint8 (n, s, s).
    """
    said: list[dict[str, Any]] = []
    arrays: dict[str, bytes] = {}
    for place, example in enumerate(examples):
        protein = example.structure.protein
        truth = truth_of(protein, example.structure)
        links, pictures = _measured(model, example.structure, pictures=place == 0)
        arrays[f"links-{place}"] = links.tobytes()
        arrays[f"coordinates-{place}"] = truth.cb.astype("<f4").tobytes()
        if place == 0:
            arrays["thumbnails"] = pictures.tobytes()
        far = np.triu(np.ones((len(protein), len(protein)), bool), FAR)
        known = far & truth.resolved[:, None] & truth.resolved
        said.append(
            {
                "id": protein.id,
                "why": example.why,
                "sequence": protein.sequence,
                "secondary": truth.secondary,
                "contacts": int((truth.contacts & known).sum()),
                "pairs": int(known.sum()),
            }
        )
    return {"examples": said}, arrays


def _measured(
    model: Encoder, structure: "Structure", *, pictures: bool
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Run one chain and keep little of each map as it comes: memory does not grow with heads."""
    choice = choose_heads(None, "all", of_layers=model.layers, of_heads=model.heads)
    heads = model.layers * model.heads
    links = np.full((heads, 2, LINKS, 3), EMPTY, "<u2")
    small: list[NDArray[np.uint8]] = [np.zeros((0, 0), np.uint8)] * heads

    def take(piece: Piece, layer: int, of_layer: Sequence[int], maps: torch.Tensor) -> None:
        for head, found in zip(of_layer, maps.float().cpu().numpy(), strict=True):
            weights, place = found[1:-1, 1:-1], layer * model.heads + head
            for least, kept in ((1, links[place, 0]), (FAR, links[place, 1])):
                rows = links_of(weights, least)
                kept[: len(rows)] = rows
            if pictures:
                small[place] = thumbnail(weights)[0]

    protein = structure.protein
    for _ in compute(model, [(0, protein)], choice, take, long="truncate", batch_tokens=1):
        pass
    return links, np.stack(small) if pictures else np.zeros((0, 0, 0), np.uint8)


def links_of(weights: NDArray[np.float32], least: int) -> NDArray[np.uint16]:
    """Return the strongest links of a map that are at least so far apart.

    Parameters
    ----------
    weights : numpy.ndarray of float32, shape (R, R)
        ``[query, key]``.
    least : int
        Least separation, residues.

    Returns
    -------
    numpy.ndarray of uint16, shape (up to 40, 3)
        Query and key from 0, and the weight times 65,535; ties by query and key.

    Examples
    --------
    >>> links_of(np.float32([[0, 0.5], [1, 0]]), 1).tolist()
    [[1, 0, 65535], [0, 1, 32768]]
    """
    residues = np.arange(len(weights))
    query, key = np.nonzero(np.abs(np.subtract.outer(residues, residues)) >= least)
    values = weights[query, key]
    if len(values) > LINKS:  # sorting is for those that can be among the first
        kept = values >= np.partition(values, len(values) - LINKS)[len(values) - LINKS]
        query, key, values = query[kept], key[kept], values[kept]
    order = np.lexsort((key, query, -values))[:LINKS]
    order = order[values[order] > 0]
    codes = np.round(values[order].astype(np.float64) * 65_535)
    return np.stack([query[order], key[order], codes], axis=1).astype("<u2")
