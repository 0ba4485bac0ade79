"""Scores of variants from their formulas, sequence by sequence, with transformers' own model.

Nothing is shared with esmkit but the order of the amino acids in the results of the head: tokens
come from transformers' tokenizer, windows and sums are written out.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import EsmForMaskedLM

from esmkit.esm2 import Esm2, load
from oracles.checkpoints import make_checkpoint, random_tensors

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
VOCABULARY = [
    "<cls>",
    "<pad>",
    "<eos>",
    "<unk>",
    *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
    "<null_1>",
    "<mask>",
]


def make_with_head(folder: Path, shape: tuple[int, int, int], seed: int = 0) -> Path:
    """Write a random checkpoint that has a masked-LM head, its logits as large as real ones."""
    make_checkpoint(folder, shape, seed)
    random = np.random.default_rng(seed + 100)
    width = shape[2]
    tensors = random_tensors(*shape, seed)
    tensors |= {
        "lm_head.dense.weight": random.normal(0, 1.5 / np.sqrt(width), (width, width)),
        "lm_head.dense.bias": random.normal(0, 0.1, width),
        "lm_head.layer_norm.weight": random.normal(0.2, 0.02, width),
        "lm_head.layer_norm.bias": random.normal(0, 0.1, width),
        "lm_head.bias": random.normal(0, 1, 33),
    }
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def load_both(folder: Path) -> tuple[Esm2, EsmForMaskedLM]:
    """Load a checkpoint as esmkit's model and as transformers', the latter in float64."""
    return load(folder, compiled=False), EsmForMaskedLM.from_pretrained(folder).eval().double()


def log_p(model: EsmForMaskedLM, sequence: str, hidden: int | None) -> np.ndarray:
    """log p (R, 20) of one sequence by itself, with one residue hidden or none."""
    tokens = ["<cls>", *sequence, "<eos>"]
    if hidden is not None:
        tokens[hidden + 1] = "<mask>"
    ids = torch.tensor([[VOCABULARY.index(token) for token in tokens]])
    with torch.inference_mode():
        logits: Any = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    chosen = logits[0, 1:-1, [VOCABULARY.index(letter) for letter in LETTERS]].double()
    return torch.log_softmax(chosen, -1).numpy()


def window_of(sequence: str, site: int, size: int) -> tuple[str, int]:
    """The stretch that has a site in its middle, moved inside at the ends, and the site in it."""
    if len(sequence) <= size:
        return sequence, site
    half = size // 2
    start = site - half
    if start < 0:
        start = 0
    if start + size > len(sequence):
        start = len(sequence) - size
    return sequence[start : start + size], site - start


def at_site(
    model: EsmForMaskedLM, sequence: str, site: int, *, hide: bool, size: int
) -> np.ndarray:
    window, place = window_of(sequence, site, size)
    return log_p(model, window, place if hide else None)[place]


def pseudo_log_likelihood(model: EsmForMaskedLM, sequence: str, size: int) -> float:
    total = 0.0
    for site, letter in enumerate(sequence):
        if letter in LETTERS:
            row = at_site(model, sequence, site, hide=True, size=size)
            total += row[LETTERS.index(letter)]
    return total


def score(
    model: EsmForMaskedLM,
    wild: str,
    mutated: str,
    changes: list[tuple[int, str, str]],
    strategy: str,
    size: int = 1_022,
) -> float:
    """Score of one variant; changes are (index, old, new), of substitutions."""
    if strategy == "pllr":
        return pseudo_log_likelihood(model, mutated, size) - pseudo_log_likelihood(
            model, wild, size
        )
    of, hide = (mutated, False) if strategy == "mutant-marginals" else (wild, "masked" in strategy)
    total = 0.0
    for site, old, new in changes:
        row = at_site(model, of, site, hide=hide, size=size)
        total += row[LETTERS.index(new)] - row[LETTERS.index(old)]
    return total
