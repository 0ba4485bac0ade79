"""The 2017 blueprint against PyTorch's own layers, in float64 and with the same random weights.

`torch.nn.TransformerEncoderLayer` and `TransformerDecoderLayer` default to the paper's form: ReLU,
post-LN. They stay in training mode with dropout 0, because evaluation mode takes a fused path that
zeroes padded positions. The agreement asked for is 1e-12; measured 3e-15.
"""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings

from esmkit.errors import InputError
from esmkit.reference import encoder as reference
from esmkit.reference import transformer as blueprint
from esmkit.reference.encoder import Affine, Attention, Layer
from esmkit.reference.transformer import layers

TOLERANCE = 1e-12
SIZES = [(24, 3, 40), (16, 8, 64), (30, 1, 30)]  # width, heads, hidden


def randomise(module: nn.Module) -> None:
    """Draw every weight, gain and bias: PyTorch starts with biases 0 and gains 1."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * (1.5 / parameter.shape[-1] ** 0.5 if noise.ndim > 1 else 0.5))


def affine(module: nn.Linear | nn.LayerNorm) -> Affine:
    return Affine(module.weight.detach().numpy(), module.bias.detach().numpy())


def attention(module: nn.MultiheadAttention) -> Attention:
    weights = module.in_proj_weight.detach().numpy().reshape(3, module.embed_dim, -1)
    biases = module.in_proj_bias.detach().numpy().reshape(3, -1)
    query, key, value = (Affine(w, b) for w, b in zip(weights, biases, strict=True))
    return Attention(query, key, value, affine(module.out_proj))


def encoder_pair(width, heads, hidden) -> tuple[nn.TransformerEncoderLayer, Layer]:
    module = nn.TransformerEncoderLayer(
        width, heads, hidden, dropout=0.0, batch_first=True, dtype=torch.float64
    )
    randomise(module)
    layer = Layer(
        attention_norm=affine(module.norm1),
        attention=attention(module.self_attn),
        feed_forward_norm=affine(module.norm2),
        expand=affine(module.linear1),
        contract=affine(module.linear2),
    )
    return module, layer


def decoder_pair(width, heads, hidden) -> tuple[nn.TransformerDecoderLayer, blueprint.DecoderLayer]:
    module = nn.TransformerDecoderLayer(
        width, heads, hidden, dropout=0.0, batch_first=True, dtype=torch.float64
    )
    randomise(module)
    layer = blueprint.DecoderLayer(
        attention=attention(module.self_attn),
        attention_norm=affine(module.norm1),
        cross_attention=attention(module.multihead_attn),
        cross_attention_norm=affine(module.norm2),
        expand=affine(module.linear1),
        contract=affine(module.linear2),
        feed_forward_norm=affine(module.norm3),
    )
    return module, layer


def tokens(batch: int, length: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(batch, length, width))


def present(lengths: list[int]) -> np.ndarray:
    return np.arange(max(lengths)) < np.array(lengths)[:, None]


@pytest.mark.parametrize(("width", "heads", "hidden"), SIZES)
@pytest.mark.parametrize("padded", [False, True])
def test_encoder_layer_equals_torch(width, heads, hidden, padded):
    module, layer = encoder_pair(width, heads, hidden)
    x, real = tokens(3, 9, width), present([9, 4, 1] if padded else [9, 9, 9])
    with torch.no_grad():
        expected = module(torch.tensor(x), src_key_padding_mask=torch.tensor(~real)).numpy()
        _, weights = module.self_attn(
            *[torch.tensor(x)] * 3,
            key_padding_mask=torch.tensor(~real),
            average_attn_weights=False,
        )
    steps = blueprint.encoder_layer(x, layer, heads, allowed=real[:, None, None, :])
    np.testing.assert_allclose(steps["output"], expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(steps["weights"], weights.numpy(), rtol=0, atol=TOLERANCE)
    assert steps["weights"].max(axis=-1).mean() > 1.5 / 9  # far from uniform


@pytest.mark.parametrize(("width", "heads", "hidden"), SIZES)
@pytest.mark.parametrize("padded", [False, True])
def test_decoder_layer_equals_torch(width, heads, hidden, padded):
    module, layer = decoder_pair(width, heads, hidden)
    x, memory = tokens(3, 6, width), tokens(3, 8, width, seed=1)
    real = present([6, 5, 2] if padded else [6, 6, 6])
    real_memory = present([3, 8, 1] if padded else [8, 8, 8])
    with torch.no_grad():
        expected = module(
            torch.tensor(x),
            torch.tensor(memory),
            tgt_mask=torch.triu(torch.ones(6, 6, dtype=torch.bool), diagonal=1),
            tgt_key_padding_mask=torch.tensor(~real),
            memory_key_padding_mask=torch.tensor(~real_memory),
        ).numpy()
    steps = blueprint.decoder_layer(
        x,
        memory,
        layer,
        heads,
        allowed=real[:, None, None, :],
        memory_allowed=real_memory[:, None, None, :],
    )
    np.testing.assert_allclose(steps["output"], expected, rtol=0, atol=TOLERANCE)
    assert steps["cross_weights"].shape == (3, heads, 6, 8)
    if not padded:
        plain = blueprint.decoder_layer(x, memory, layer, heads)["output"]
        np.testing.assert_array_equal(plain, steps["output"])


def test_decoder_sees_neither_the_future_nor_too_little():
    _, layer = decoder_pair(24, 3, 40)
    x, memory = tokens(1, 6, 24), tokens(1, 8, 24, seed=1)
    changed = x.copy()
    changed[0, 4] += 1.0
    before = blueprint.decoder_layer(x, memory, layer, 3)["output"]
    after = blueprint.decoder_layer(changed, memory, layer, 3)["output"]
    np.testing.assert_array_equal(before[0, :4], after[0, :4])
    assert np.abs(before[0, 4:] - after[0, 4:]).max(axis=-1).min() > 1e-3


MUTATIONS = {
    "causal mask missing": ("causal_mask", lambda tokens: np.ones((tokens, tokens), dtype=bool)),
    "causal mask hides the present": (
        "causal_mask",
        lambda tokens: np.tri(tokens, k=-1) + np.eye(1, tokens) > 0,
    ),
    "GELU for ReLU": ("relu", reference.gelu),
    "norm left out": ("layer_norm", lambda x, p: x * p.weight + p.bias),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutation_is_caught(mutation, monkeypatch):
    monkeypatch.setattr(layers, *MUTATIONS[mutation])
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        test_decoder_layer_equals_torch(24, 3, 40, padded=False)


def test_steps_of_both_layers_have_stable_names():
    attention_steps = {
        *("query", "key", "value", "rotated_query", "rotated_key", "scores", "weights"),
        *("head_output", "attention_output", "attention_residual"),
    }
    rest = {"feed_forward_input", "feed_forward_hidden", "feed_forward_output"}
    rest |= {"feed_forward_residual", "output"}
    x = tokens(1, 4, 24)
    steps = blueprint.encoder_layer(x, encoder_pair(24, 3, 40)[1], 3)
    assert set(steps) == attention_steps | rest
    steps = blueprint.decoder_layer(x, x, decoder_pair(24, 3, 40)[1], 3)
    cross = {f"cross_{name}" for name in attention_steps | {"attention_input"}}
    assert set(steps) == attention_steps | cross | rest


def test_float32_stays_float32():
    x = tokens(2, 5, 8).astype(np.float32)
    generator = np.random.default_rng(0)
    layer = blueprint.random_decoder_layer(generator, 8, 16)

    def single(p: Any) -> Any:
        if isinstance(p, np.ndarray):
            return p.astype(np.float32)
        return type(p)(*(single(getattr(p, name)) for name in p.__dataclass_fields__))

    steps = blueprint.decoder_layer(x, x, single(layer), 2)
    assert {step.dtype for step in steps.values()} == {np.dtype(np.float32)}


def test_random_layers_repeat_and_keep_the_scale():
    x = tokens(2, 20, 64)
    for draw in (blueprint.random_layer, blueprint.random_decoder_layer):
        first, again = (draw(np.random.default_rng(3), 64, 256) for _ in range(2))
        np.testing.assert_array_equal(first.expand.weight, again.expand.weight)
        np.testing.assert_allclose(first.attention.query.weight.std() * 8, 1.0, atol=0.05)
    layer = blueprint.random_layer(np.random.default_rng(3), 64, 256)
    output = blueprint.encoder_layer(x, layer, 4)["output"]
    np.testing.assert_allclose(output.std(axis=-1), 1.0, rtol=1e-4)  # the last norm


def test_sinusoidal_positions_equal_distilberts():
    expected = torch.empty(50, 32)
    create_sinusoidal_embeddings(50, 32, expected)
    actual = blueprint.sinusoidal_positions(50, 32)
    np.testing.assert_allclose(actual, expected.numpy(), rtol=0, atol=1e-7)  # oracle in float32
    assert blueprint.sinusoidal_positions(5, 4, dtype=np.float32).dtype == np.float32


def test_embedding_with_learned_positions_equals_torch():
    generator = np.random.default_rng(1)
    table, positions = generator.normal(size=(33, 16)), generator.normal(size=(10, 16))
    ids = generator.integers(0, 33, (2, 7))
    expected = nn.Embedding.from_pretrained(torch.tensor(table))(torch.tensor(ids)) * 4.0
    expected += nn.Embedding.from_pretrained(torch.tensor(positions))(torch.arange(7))
    actual = blueprint.embed(ids, table, blueprint.learned_positions(positions, 7))
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-15)


def test_bad_input_is_named():
    table = np.zeros((33, 16))
    with pytest.raises(InputError, match="11 tokens, but positions were learned for 10 only"):
        blueprint.learned_positions(np.zeros((10, 16)), 11)
    with pytest.raises(InputError, match="width 5: sinusoidal positions need an even width"):
        blueprint.sinusoidal_positions(3, 5)
    with pytest.raises(InputError, match="sequence 0, position 1: token id 33 is outside the voca"):
        blueprint.embed([[0, 33]], table, np.zeros((2, 16)))
    with pytest.raises(InputError, match=r"positions \(3, 16\): these ids need \(2, 16\)"):
        blueprint.embed([[0, 3]], table, np.zeros((3, 16)))
    with pytest.raises(InputError, match=r"give integers \(sequences, tokens\)"):
        blueprint.embed([0, 3], table, np.zeros((2, 16)))
