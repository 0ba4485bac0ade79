"""fair-esm's own network, where it is installed, with weights in Hugging Face's format."""

import re
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["fair_esm_network"]

NAMES = [
    (r"embeddings\.word_embeddings\.", "embed_tokens."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.query\.", r"layers.\1.self_attn.q_proj."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.key\.", r"layers.\1.self_attn.k_proj."),
    (r"encoder\.layer\.(\d+)\.attention\.self\.value\.", r"layers.\1.self_attn.v_proj."),
    (r"encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"layers.\1.self_attn.out_proj."),
    (r"encoder\.layer\.(\d+)\.attention\.LayerNorm\.", r"layers.\1.self_attn_layer_norm."),
    (r"encoder\.layer\.(\d+)\.intermediate\.dense\.", r"layers.\1.fc1."),
    (r"encoder\.layer\.(\d+)\.output\.dense\.", r"layers.\1.fc2."),
    (r"encoder\.layer\.(\d+)\.LayerNorm\.", r"layers.\1.final_layer_norm."),
    (r"encoder\.emb_layer_norm_after\.", "emb_layer_norm_after."),
    (r"contact_head\.regression\.", "contact_head.regression."),
    (r"lm_head\.decoder\.weight", "lm_head.weight"),
    (r"lm_head\.", "lm_head."),
]


def fair_esm_network(tensors: Mapping[str, torch.Tensor], config: Any) -> torch.nn.Module | None:
    """Return fair-esm's ESM2 with the weights of an ``EsmForMaskedLM``.

    None if fair-esm is not installed, or has no network of that shape.

    Parameters
    ----------
    tensors : mapping of str to torch.Tensor
        State of the whole ``EsmForMaskedLM``.
    config : transformers.EsmConfig
    """
    try:
        from esm.model.esm2 import ESM2
    except ImportError:  # nor is it there in the packages of others that are called esm too
        return None
    if config.intermediate_size != 4 * config.hidden_size:
        return None
    with torch.device("meta"):  # draws no random numbers
        network = ESM2(
            config.num_hidden_layers,
            config.hidden_size,
            config.num_attention_heads,
            token_dropout=config.token_dropout,
        )
    state, frequencies = {}, None
    for name, tensor in tensors.items():
        short = name.removeprefix("esm.")
        if short.endswith("inv_freq"):
            frequencies = tensor
            continue
        for pattern, replacement in NAMES:
            if re.match(pattern, short):
                state[re.sub("^" + pattern, replacement, short)] = tensor
                break
    for name in network.state_dict():
        if name.endswith("inv_freq"):
            state[name] = frequencies
    network.load_state_dict(state, assign=True)
    return network.eval()
