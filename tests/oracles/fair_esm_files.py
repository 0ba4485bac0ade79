"""Files as fair-esm publishes them: ``esm2_*.pt`` and the contact regression beside it."""

import argparse
from pathlib import Path

import torch
from esm.model.esm2 import ESM2


def fair_esm_options(model: ESM2) -> argparse.Namespace:
    return argparse.Namespace(
        encoder_layers=model.num_layers,
        encoder_embed_dim=model.embed_dim,
        encoder_attention_heads=model.attention_heads,
        token_dropout=model.token_dropout,
    )


def write_fair_esm(
    folder: Path, shape: tuple[int, int, int], prefix: str, *, token_dropout: bool = True
) -> Path:
    """Write a random model as fair-esm's files are; see esm/pretrained.py for what it reads."""
    layers, heads, width = shape
    torch.manual_seed(layers)
    model = ESM2(layers, width, heads, "ESM-1b", token_dropout)
    state = {name: torch.randn_like(t) * 0.3 for name, t in model.state_dict().items()}
    for name in state:
        if name.endswith("inv_freq"):
            state[name] = model.state_dict()[name]
    state["lm_head.weight"] = state["embed_tokens.weight"]  # tied
    regression = {n: state.pop(n) for n in list(state) if n.startswith("contact_head.")}
    path = folder / f"esm2_t{layers}_test.pt"
    torch.save(
        {
            "cfg": {"model": fair_esm_options(model)},
            "model": {f"{prefix}{name}": tensor for name, tensor in state.items()},
        },
        path,
    )
    torch.save({"model": regression}, path.with_name(path.stem + "-contact-regression.pt"))
    return path
