"""The pass is written out over a network that stays transformers' own."""

import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EsmModel

import esmkit
from esmkit.data import demo_structure
from esmkit.encoder import forward as module
from esmkit.encoder.checkpoints.network import use_eager_attention
from esmkit.encoder.forward import embed_tokens, encoder_layer, enter, forward, remaining_layers
from esmkit.encoder.packing import pack
from esmkit.esm2 import Esm2, load
from esmkit.heads.ablation import ablate
from esmkit.sequences.tokens import encode
from oracles.checkpoints import random_sequence


@pytest.fixture(scope="module")
def sequences() -> list[np.ndarray]:
    return [encode(random_sequence(n, n)) for n in (50, 7, 120, 50, 1)]


@torch.inference_mode()
def test_the_pass_is_its_layers_one_after_the_other(tiny: Esm2, sequences):
    parts, operations = tiny.parts(), tiny.operations
    packed = pack(sequences)
    states = forward(packed, parts, operations, layers=[0, 1, 2])
    x, row = enter(packed, parts, operations)
    tokens = packed.ids.shape[1]
    assert torch.equal(x[0, :tokens], embed_tokens(packed, parts)[0])
    for number, layer in enumerate(parts.layers):
        assert torch.equal(states[number], x[0, :tokens])
        rest = remaining_layers(x, parts, row, first=number)
        assert torch.equal(rest[0, :tokens], states[2])
        x = encoder_layer(number, x, layer, row)
    assert torch.equal(parts.final_norm(x)[0, :tokens], states[2])


@torch.inference_mode()
def test_a_layer_is_the_layer_of_the_network(tiny: Esm2, sequences):
    """For one sequence: transformers' own layer, its attention masks and positions."""
    packed = pack(sequences[2:3])
    x, row = enter(packed, tiny.parts(), tiny.operations)
    ours = encoder_layer(0, x, tiny.parts().layers[0], row)[:, : packed.ids.shape[1]]
    output: Any = tiny.network(packed.ids, output_hidden_states=True)
    np.testing.assert_allclose(ours.numpy(), output.hidden_states[1].numpy(), rtol=1e-5, atol=1e-5)


def plain(folder: Path) -> EsmModel:
    return EsmModel.from_pretrained(folder, add_pooling_layer=False).eval()


def everything(network: EsmModel) -> list[torch.Tensor]:
    """What transformers gives for a padded batch: states, maps, the gradients of a sum."""
    ids = torch.tensor([[0, 20, 15, 11, 7, 2], [0, 5, 32, 2, 1, 1]])
    mask = (ids != 1).long()
    use_eager_attention(network)
    output: Any = network(
        ids, attention_mask=mask, output_attentions=True, output_hidden_states=True
    )
    contacts = network.predict_contacts(ids[:1], mask[:1])
    if hasattr(network, "set_attn_implementation"):  # transformers before 4.54 has eager only
        network.set_attn_implementation("sdpa")
    fast: Any = network(ids, attention_mask=mask)
    network.zero_grad()
    fast.last_hidden_state[0].square().sum().backward()
    gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    assert len(gradients) > 20
    return [
        *output.hidden_states,
        *output.attentions,
        fast.last_hidden_state,
        contacts,
        *gradients,
    ]


def test_the_network_gives_what_plain_transformers_gives_after_any_use(tiny_folder, tmp_path):
    """To the last bit: states, maps, both attentions, contacts, gradients, and what is saved."""
    model = load(tiny_folder, "cpu")
    sequence = random_sequence(60, 1)
    model.embed(sequence, layers="all")
    model.attention(sequence)
    model.contacts(sequence)
    list(model.embed([sequence, random_sequence(9, 2)]))
    ablate(model, [demo_structure()], heads=["L0H1"])
    esmkit.heads.profile(model, [demo_structure()], control=False, resamples=100)
    wanted, found = everything(plain(tiny_folder)), everything(model.network)
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)
    model.network.save_pretrained(tmp_path / "saved")
    again = EsmModel.from_pretrained(tmp_path / "saved", add_pooling_layer=False)
    for name, tensor in plain(tiny_folder).state_dict().items():
        if name == "embeddings.position_embeddings.weight":
            continue  # of transformers before 5, which nothing reads: it is not in the file
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.weights
@pytest.mark.slow
def test_the_same_with_the_real_weights(real: Esm2, demo):
    real.embed(demo[0])
    wanted, found = everything(plain(real.checkpoint.folder)), everything(real.network)
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_a_trained_network_is_read_as_it_is(tiny_folder):
    """A step of training on ``model.network``, and an adapter in it, change what esmkit reads."""
    model = load(tiny_folder, "cpu")
    sequence = random_sequence(40, 5)
    before = model.embed(sequence).mean
    optimizer = torch.optim.SGD(model.network.parameters(), lr=0.1)
    loss = model.network(torch.from_numpy(encode(sequence))[None]).last_hidden_state.square().mean()
    loss.backward()
    optimizer.step()
    trained = model.embed(sequence).mean
    assert np.abs(trained - before).max() > 1e-3

    class Doubled(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.inner(x)

    attention: Any = model.network.encoder.layer[0].attention.self  # type: ignore[union-attr,index]
    attention.value = Doubled(attention.value)
    adapted = model.embed(sequence).mean
    assert np.abs(adapted - trained).max() > 1e-3
    with torch.no_grad():
        theirs: Any = model.network(torch.from_numpy(encode(sequence))[None])
    wanted = theirs.last_hidden_state[0, 1:-1].mean(0).numpy()
    np.testing.assert_allclose(adapted, wanted, rtol=0, atol=2e-5)


def test_nothing_is_registered_with_transformers(tiny: Esm2):
    masks = pytest.importorskip(
        "transformers.masking_utils", reason="transformers before 4.53 has no such registries"
    )
    from transformers import AttentionInterface

    tiny.embed("MKTVRQ")
    for registry in (AttentionInterface(), masks.AttentionMaskInterface()):
        assert not [name for name in registry if "esmkit" in str(name)]


def test_no_class_is_assigned_and_nothing_private_of_transformers_is_imported():
    package = Path(esmkit.__file__).parent
    looked_at = 0
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                assert node.attr != "__class__", path
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("transformers"):
                assert node.module in ("transformers", "transformers.utils"), path
                assert not [alias.name for alias in node.names if alias.name.startswith("_")]
                looked_at += 1
    assert looked_at >= 3


def test_the_page_is_short_and_says_the_shapes():
    source = inspect.getsource(module)
    assert len(source.splitlines()) < 250
    assert source.count("(1, T, D)") >= 8
