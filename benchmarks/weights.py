"""The weights of the default checkpoint under the names that other programs want."""

from typing import Any

from esmkit.encoder.checkpoints import resolve

FAIR_ESM_NAMES = {
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


def fair_esm_state() -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Return (layers, width, heads) and the tensors under fair-esm's names."""
    import json

    from safetensors.torch import load_file

    folder = resolve("auto").folder
    config = json.loads((folder / "config.json").read_text())
    state = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        new = name.removeprefix("esm.").removeprefix("encoder.").replace("layer.", "layers.", 1)
        for theirs, wanted in FAIR_ESM_NAMES.items():
            if theirs in new:
                new = new.replace(theirs, wanted)
                break
        state[new] = tensor
    shape = (config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"])
    return shape, state
