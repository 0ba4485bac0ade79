"""What each precision costs in accuracy, on real proteins with real weights, against float32.

    python -m benchmarks precision

The 50 chains of TS50: mean embeddings and residues (cosine), attention maps (largest difference),
contacts (long-range P@L, and its difference chain by chain), log-probabilities of single sites in one
pass, by the head that was fitted to these weights.

bfloat16 is that of ``encoder/halves.c``; where the processor has no products of bfloat16 the same file is
compiled in plain C, whose sums are rounded a little otherwise, and the table says so. 8-bit integers are
no option of esmkit. They are calculated here as products of integers would be: weights rounded for
each output, activations for each token, sums exact.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu

from esmkit.contacts import evaluate
from esmkit.data import ts50
from esmkit.encoder import halves
from esmkit.encoder.checkpoints.parts import LayerParts
from esmkit.encoder.operations import Operations
from esmkit.errors import OptionError
from esmkit.esm2 import Esm2, load


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Return rows as 8-bit integers keep them, with one scale for each row."""
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127
    return (x / scale).round() * scale


class EightBits(Operations):
    """Products as of 8-bit integers, in float32."""

    def __init__(self) -> None:
        self._weights: dict[nn.Linear, torch.Tensor] = {}

    def linear(
        self, x: torch.Tensor, dense: nn.Linear, *, add: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return W x + b of rounded W and x, plus ``add`` if it is given."""
        if dense not in self._weights:
            self._weights[dense] = rounded(dense.weight)
        product = rounded(x) @ self._weights[dense].T + dense.bias
        return product if add is None else product + add

    def expand(self, normed: torch.Tensor, layer: LayerParts) -> torch.Tensor:
        """Return GELU(W_1 x + b_1)."""
        return gelu(self.linear(normed, layer.expand))

    def contract(
        self, hidden: torch.Tensor, layer: LayerParts, *, add: torch.Tensor
    ) -> torch.Tensor:
        """Return W_2 h + b_2, plus ``add``."""
        return self.linear(hidden, layer.contract, add=add)


def in_bfloat16() -> tuple[str, Esm2]:
    """Return a model in compiled bfloat16, in plain C where the processor has no better."""
    try:
        return "bfloat16", load(dtype="bfloat16", compiled=True)
    except OptionError:
        halves.FLAGS = ("-DESMKIT_PLAIN",)
        halves.halves_library.cache_clear()
        return "bfloat16 (plain C)", load(dtype="bfloat16", compiled=True)


def in_eight_bits() -> tuple[str, Esm2]:
    """Return a model whose products are as of 8-bit integers."""
    model = load(compiled=False)
    model.operations = EightBits()
    return "int8 (calculated)", model


WAYS: tuple[Callable[[], tuple[str, Esm2]], ...] = (
    in_bfloat16,
    lambda: ("bfloat16, PyTorch's", load(dtype="bfloat16", compiled=False)),
    lambda: ("float16, PyTorch's", load(dtype="float16")),
    in_eight_bits,
)


def results(model: Esm2, chains: list[Any]) -> dict[str, Any]:
    """Return what is compared."""
    sequences = {chain.id: chain.protein.sequence for chain in chains}
    found: dict[str, Any] = {"embeddings": {e.id: e for e in model.embed(sequences)}}
    found["maps"] = {name: model.attention(text).maps for name, text in sequences.items()}
    found["logits"] = {
        name: model.log_probabilities(text, masked=False).to_numpy()
        for name, text in sequences.items()
    }
    found["contacts"] = evaluate(model, chains).chains.xs("long", level="range")["P@L"]
    return found


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each two rows."""
    a, b = a.astype(float), b.astype(float)
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def report(*, most: int | None = None) -> list[str]:
    """Return the table."""
    chains = ts50()[:most]
    exact = results(load(), chains)
    lines = [
        f"{len(chains)} chains of TS50, {sum(len(c.protein) for c in chains):,} residues, against "
        "float32:",
        "",
        "| precision | mean embeddings: least cosine | median | residues: least cosine "
        "| attention: largest difference | contacts: long-range P@L | difference of one chain, most "
        "| log-probabilities: mean difference | largest |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    of_exact = exact["contacts"]
    lines.append(f"| float32 | 1 | 1 | 1 | 0 | {of_exact.mean():.4f} | 0 | 0 | 0 |")
    for way in WAYS:
        name, model = way()
        found = results(model, chains)
        pairs = [(one, found["embeddings"][key]) for key, one in exact["embeddings"].items()]
        means = np.array([cosines(a.mean, b.mean) for a, b in pairs])
        least = min(float(cosines(a.residues, b.residues).min()) for a, b in pairs)
        apart = max(np.abs(a - found["maps"][key]).max() for key, a in exact["maps"].items())
        logits = [np.abs(a - found["logits"][key]) for key, a in exact["logits"].items()]
        contacts = found["contacts"]
        lines.append(
            f"| {name} | {means.min():.5f} | {np.median(means):.5f} | {least:.4f} | {apart:.3f} "
            f"| {contacts.mean():.4f} | {(contacts - of_exact).abs().max():.3f} "
            f"| {np.mean([x.mean() for x in logits]):.3f} | {max(x.max() for x in logits):.2f} |"
        )
    return lines
