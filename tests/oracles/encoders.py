"""Seeded random ESM-2 checkpoints, and the implementations nobody here wrote that run them.

Expected values are computed at test time from the same random weights: by Hugging Face's `EsmModel`
with eager attention and by fair-esm 2.0.0's `ESM2`, in float64 and float32.

Neither is float64 throughout when asked for it. `EsmModel.double()` rounds query and key, the
rotary tables and the masked share to float32 (calls of `Tensor.float` in transformers 5.23);
fair-esm rounds the attention weights (its softmax has `dtype=torch.float32`). Measured on the
trained 8M weights and real proteins of 81 to 590 residues, against the float64 reference:

    Hugging Face `double()` as it is    hidden 2.7e-7 relative   attention 5.8e-7
    the same without the casts          hidden 6.6e-15           attention 1.3e-14
    Hugging Face float32                hidden 1.8e-6 relative   attention 3.5e-6

So the float64 oracles run with just those casts turned into float64 (`without_casts`), and the
casts as they are have a test of their own.
"""

from dataclasses import dataclass

import esm.multihead_attention
import numpy as np
import pytest
import torch
from esm.model.esm2 import ESM2
from transformers import EsmConfig, EsmModel

from esmkit.encoder.checkpoints.network import use_eager_attention
from esmkit.reference import encoder as reference

# Differences are divided by the largest magnitude of the array: hidden states grow to 45 inside a
# trained 8M, and a rounding error grows with them. The target is 1e-10 in float64; measured
# here 3e-14. float32 keeps 24 bits (6e-8 per operation), and sharp attention amplifies: measured
# here 2e-6 to 1.4e-5, as much between the reference's own two types as between implementations.
FLOAT64, FLOAT32 = 1e-12, 3e-5
CASTS = 1e-5  # float64 models that round to float32 in places; measured here 1e-6
MUTANT = 1e-4  # what a mutation must exceed; the faintest, tanh GELU, measures 6e-4

CLS, PAD, EOS, MASK = 0, 1, 2, 32
RESIDUES = np.arange(4, 24)  # the 20 amino acids


@dataclass(frozen=True)
class Shape:
    """Size of a random checkpoint; `half` rounds the rotary frequencies to float16, as old ones."""

    layers: int
    heads: int
    width: int
    hidden: int
    half: bool = False
    seed: int = 0


SHAPES = {
    "shallow": Shape(layers=2, heads=4, width=32, hidden=128),
    "deep": Shape(layers=7, heads=3, width=36, hidden=144, half=True, seed=1),
    "8M": Shape(layers=6, heads=20, width=320, hidden=1280, half=True, seed=2),
    "two-wide heads": Shape(layers=3, heads=8, width=16, hidden=40, seed=3),
}
FAIR_ESM_SHAPES = ["shallow", "deep", "8M"]  # its feed-forward network is always 4 D wide


@dataclass(frozen=True)
class Output:
    """What every implementation is asked for."""

    hidden_states: list[np.ndarray]
    attentions: list[np.ndarray]
    contacts: np.ndarray


def random_model(shape: Shape) -> EsmModel:
    """Build an `EsmModel` whose every weight, gain and bias is drawn anew and attention is sharp."""
    config = EsmConfig(
        vocab_size=33,
        mask_token_id=MASK,
        pad_token_id=PAD,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.hidden,
        layer_norm_eps=1e-5,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
    )
    model = EsmModel(config, add_pooling_layer=False).eval()
    use_eager_attention(model)
    generator = torch.Generator().manual_seed(shape.seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "LayerNorm" in name or "layer_norm" in name:
                parameter.copy_(1.0 + 0.3 * noise)
            elif "embeddings" in name:
                parameter.copy_(noise)
            else:  # queries and keys large, so that the softmax is far from uniform
                gain = 2.0 if "query" in name or "key" in name else 1.0
                gain = 20.0 if "contact_head" in name else gain  # probabilities over all of 0 to 1
                parameter.copy_(gain * noise / parameter.shape[-1] ** 0.5)
        if shape.half:
            buffers = [b for name, b in model.named_buffers() if name.endswith("inv_freq")]
            assert buffers  # one for all layers, before transformers 5.x one for each
            for frequencies in buffers:
                frequencies.copy_(frequencies.half())
    return model


def tensors_of(model: EsmModel) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def fair_esm_model(shape: Shape, tensors: dict[str, np.ndarray]) -> ESM2:
    """Give fair-esm's model the same weights under its own names."""
    layer_modules = {
        "attention.self.query": "self_attn.q_proj",
        "attention.self.key": "self_attn.k_proj",
        "attention.self.value": "self_attn.v_proj",
        "attention.output.dense": "self_attn.out_proj",
        "attention.LayerNorm": "self_attn_layer_norm",
        "intermediate.dense": "fc1",
        "output.dense": "fc2",
        "LayerNorm": "final_layer_norm",
    }
    names = {"embeddings.word_embeddings.weight": "embed_tokens.weight"}
    for kind in ("weight", "bias"):
        names[f"encoder.emb_layer_norm_after.{kind}"] = f"emb_layer_norm_after.{kind}"
        names[f"contact_head.regression.{kind}"] = f"contact_head.regression.{kind}"
        for i in range(shape.layers):
            for theirs, original in layer_modules.items():
                names[f"encoder.layer.{i}.{theirs}.{kind}"] = f"layers.{i}.{original}.{kind}"
    state = {names[name]: torch.tensor(tensors[name]) for name in names}
    for i in range(shape.layers):
        found = next(tensor for name, tensor in tensors.items() if name.endswith("inv_freq"))
        frequencies = torch.tensor(found)
        state[f"layers.{i}.self_attn.rot_emb.inv_freq"] = frequencies
    model = ESM2(shape.layers, shape.width, shape.heads).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert all(name.startswith("lm_head.") for name in missing)
    assert not unexpected
    return model


def run_hugging_face(model: EsmModel, ids: np.ndarray) -> Output:
    tokens, mask = torch.tensor(ids), torch.tensor((ids != PAD).astype(np.int64))
    with torch.no_grad():
        result = model(
            tokens, attention_mask=mask, output_hidden_states=True, output_attentions=True
        )
        contacts = model.predict_contacts(tokens, mask)
    return Output(
        [hidden.numpy() for hidden in result.hidden_states],
        [maps.numpy() for maps in result.attentions],
        contacts.numpy(),
    )


def run_fair_esm(model: ESM2, ids: np.ndarray) -> Output:
    with torch.no_grad():
        result = model(torch.tensor(ids), range(model.num_layers + 1), return_contacts=True)
    hidden = [result["representations"][i].numpy() for i in range(model.num_layers + 1)]
    maps = [result["attentions"][:, i].numpy() for i in range(model.num_layers)]
    return Output(hidden, maps, result["contacts"].numpy())


def run_reference(parameters: reference.Parameters, ids: np.ndarray) -> Output:
    encoding = reference.encode(parameters, ids, attentions=True)
    assert encoding.attentions is not None
    contacts = reference.contact_probabilities(parameters, encoding.attentions, ids)
    return Output(list(encoding.hidden_states), list(encoding.attentions), contacts)


def without_casts(patch: pytest.MonkeyPatch) -> None:
    """Turn both oracles' roundings to float32 into float64.

    Needs a fresh fair-esm model: it keeps the rotary tables of its first run, whatever their type.
    """
    patch.setattr(torch.Tensor, "float", torch.Tensor.double)
    patch.setattr(
        esm.multihead_attention,
        "utils_softmax",
        lambda x, dim, onnx_trace=False: torch.softmax(x, dim=dim),
    )


def assert_agree(actual: Output, expected: Output, ids: np.ndarray, tolerance: float) -> None:
    """Compare every hidden state, every map (of real queries) and the contacts of real residues."""
    assert len(actual.hidden_states) == len(expected.hidden_states) > 1
    assert len(actual.attentions) == len(expected.attentions) == len(actual.hidden_states) - 1
    for i, (ours, theirs) in enumerate(
        zip(actual.hidden_states, expected.hidden_states, strict=True)
    ):
        bound = tolerance * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound, err_msg=f"hidden state {i}")
    real = (ids != PAD)[:, None, :, None]  # fair-esm sets what padding asks for to 0
    for i, (ours, theirs) in enumerate(zip(actual.attentions, expected.attentions, strict=True)):
        np.testing.assert_allclose(
            ours * real, theirs * real, rtol=0, atol=tolerance, err_msg=f"attention of layer {i}"
        )
    residues = ~np.isin(ids, (PAD, EOS))[:, 1:-1]
    pairs = residues[:, :, None] & residues[:, None, :]
    assert pairs.any()
    np.testing.assert_array_equal(np.isnan(actual.contacts), ~pairs)
    np.testing.assert_allclose(
        actual.contacts[pairs], expected.contacts[pairs], rtol=0, atol=tolerance, err_msg="contacts"
    )


def batch(kind: str) -> np.ndarray:
    """Draw token ids (B, T): proteins of 30, 11 and 1 residues with masks and padding, or plain."""
    generator = np.random.default_rng(7)
    lengths = {"plain": [30], "masked": [30, 30], "padded": [30, 11, 1], "both": [30, 11, 1]}[kind]
    ids = np.full((len(lengths), max(lengths) + 2), PAD)
    for row, length in enumerate(lengths):
        ids[row, : length + 2] = [CLS, *generator.choice(RESIDUES, length), EOS]
        if kind in ("masked", "both"):  # another share in every row: 3, 2 and no masks
            ids[row, 2 : 5 - row] = MASK if length > 2 else ids[row, 2 : 5 - row]
    return ids


BATCHES = ["plain", "masked", "padded", "both"]
