"""On a CUDA device: residues per second in float32 and bfloat16, and the share of its peak.

python -m benchmarks gpu
"""

import time
from typing import Any

import numpy as np

from benchmarks.proteome import proteome

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}
"""Dense bfloat16 operations per second, from NVIDIA's data sheets."""


def operations(model: Any, tokens: np.ndarray) -> float:
    """Return the multiplications and additions of the encoder for sequences of these tokens."""
    inner = model.network.encoder.layer[0].intermediate.dense.out_features
    products = 2 * tokens * (4 * model.width**2 + 2 * model.width * inner)
    attention = 4 * tokens**2 * model.width
    return float(model.layers * (products + attention).sum())


def gpu(rounds: int, *, count: int | None = None) -> list[str]:
    """Embed the proteome in memory, in each dtype, with several batch sizes."""
    import torch

    import esmkit

    if not torch.cuda.is_available():
        return ["Not run: there is no CUDA device."]
    proteins = proteome(count)
    tokens = np.array([len(p) + 2 for p in proteins], float)
    name = torch.cuda.get_device_name()
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    lines = [f"{name}, {len(proteins):,} proteins, {int(tokens.sum()):,} tokens:", ""]
    lines += ["| dtype | tokens a batch | residues/s | share of the bfloat16 peak |"]
    lines += ["|---|---|---|---|"]
    for dtype in ("float32", "bfloat16"):
        model = esmkit.load(device="cuda", dtype=dtype)
        for budget in (4_096, 32_768, 131_072):
            seconds = []
            for _ in range(rounds + 1):  # the first one warms up
                torch.cuda.synchronize()
                begun = time.perf_counter()
                for _ in model.embed(proteins, residues=False, batch_tokens=budget):
                    pass
                torch.cuda.synchronize()
                seconds.append(time.perf_counter() - begun)
            best = float(np.median(seconds[1:]))
            share = f"{operations(model, tokens) / best / peak:.1%}" if peak else "unknown"
            rate = (tokens - 2).sum() / best
            lines.append(f"| {dtype} | {budget:,} | {rate:,.0f} | {share} |")
    return lines
