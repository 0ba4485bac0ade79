"""What the reference encoder refuses, and how it says so; how it reads a checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
from transformers import EsmConfig, EsmModel

from esmkit.errors import CheckpointError, InputError, OptionError
from esmkit.reference import encoder as reference
from oracles.encoders import SHAPES, Shape, batch, random_model, tensors_of


@pytest.fixture(scope="module")
def shallow() -> tuple[Shape, EsmModel, dict[str, np.ndarray]]:
    model = random_model(SHAPES["shallow"])
    return SHAPES["shallow"], model, tensors_of(model)


@pytest.fixture(scope="module")
def parameters(shallow) -> reference.Parameters:
    return reference.read_parameters(shallow[2], shallow[0].heads)


# ---------------------------------------------------------------------- reading a checkpoint


def test_names_with_prefix_and_per_layer_frequencies_are_the_same_checkpoint(shallow, parameters):
    shape, _, tensors = shallow
    old = {f"esm.{name}": tensor for name, tensor in tensors.items()}
    frequencies = old.pop("esm.rotary_embeddings.inv_freq")
    for i in range(shape.layers):
        old[f"esm.encoder.layer.{i}.attention.self.rotary_embeddings.inv_freq"] = frequencies
    old["classifier.dense.weight"] = np.zeros((2, 2))
    again = reference.encode(reference.read_parameters(old, shape.heads), batch("both"))
    first = reference.encode(parameters, batch("both"))
    np.testing.assert_array_equal(again.hidden_states, first.hidden_states)


def test_stored_frequencies_are_taken_and_missing_ones_computed_as_upstream(shallow):
    shape, model, tensors = shallow
    exact = tensors["rotary_embeddings.inv_freq"]
    rounded = tensors | {"rotary_embeddings.inv_freq": exact.astype(np.float16)}
    taken = reference.read_parameters(rounded, shape.heads).inverse_frequencies
    np.testing.assert_array_equal(taken, exact.astype(np.float16).astype(np.float64))
    assert not np.array_equal(taken, exact)
    bare = {name: tensors[name] for name in tensors if "inv_freq" not in name}
    computed = reference.read_parameters(bare, shape.heads).inverse_frequencies
    np.testing.assert_allclose(computed, exact, rtol=2**-23)  # one unit in the last place
    expected, _ = model.rotary_embeddings.compute_default_rope_parameters(
        EsmConfig(hidden_size=64 * 2, num_attention_heads=2)
    )
    np.testing.assert_allclose(reference.inverse_frequencies(64), expected, rtol=2**-22)


def test_missing_tensors_are_named(shallow):
    shape, _, tensors = shallow
    lacking = {
        name: tensors[name]
        for name in tensors
        if name
        not in ("encoder.layer.1.output.dense.bias", "encoder.layer.0.intermediate.dense.weight")
    }
    with pytest.raises(
        CheckpointError, match=r"missing tensors: encoder\.layer\.0\.intermediate\.dense\.weight"
    ):
        reference.read_parameters(lacking, shape.heads)
    with pytest.raises(CheckpointError, match=r"encoder\.layer\.1\.output\.dense\.bias$"):
        reference.read_parameters(lacking, shape.heads)
    with pytest.raises(CheckpointError, match=r"missing tensors: .* and 14 more$"):
        reference.read_parameters({}, shape.heads)
    one_layer_short = {k: v for k, v in tensors.items() if not k.startswith("encoder.layer.0.")}
    with pytest.raises(CheckpointError, match=r"encoder\.layer\.0\.attention\.LayerNorm\.weight"):
        reference.read_parameters(one_layer_short, shape.heads)


@pytest.mark.parametrize(
    ("changes", "heads", "message"),
    [
        (
            {"encoder.layer.1.LayerNorm.bias": np.zeros(31, np.float32)},
            4,
            r"tensor encoder\.layer\.1\.LayerNorm\.bias is float32 \(31,\), not float \(32,\)",
        ),
        (
            {"embeddings.word_embeddings.weight": np.zeros((33, 32), np.int8)},
            4,
            r"tensor embeddings\.word_embeddings\.weight is int8 \(33, 32\), not float \(33, 32\)",
        ),
        ({}, 8, r"tensor rotary_embeddings\.inv_freq is float32 \(4,\), not float \(2,\)"),
        ({}, 5, "width 32 does not split into 5 heads of even width"),
        ({}, 32, "width 32 does not split into 32 heads of even width"),
        ({}, 0, "width 32 does not split into 0 heads of even width"),
        (
            {"encoder.layer.1.attention.self.rotary_embeddings.inv_freq": np.ones(4, np.float32)},
            4,
            "the layers' rotary_embeddings.inv_freq differ",
        ),
        (
            {"embeddings.word_embeddings.weight": np.zeros(33)},
            4,
            r"is \(33,\), not \(tokens, width\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(shallow, changes, heads, message):
    with pytest.raises(CheckpointError, match=message):
        reference.read_parameters(shallow[2] | changes, heads)


def test_only_float32_and_float64(shallow):
    with pytest.raises(OptionError, match="dtype float16: the reference runs in float32 or"):
        reference.read_parameters(shallow[2], 4, dtype=np.float16)


# --------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0, 5, 2], [0, 33, 2]], "sequence 1, position 1: token id 33 is outside the vocabulary"),
        ([[0, 5, -1]], "sequence 0, position 2: token id -1 is outside the vocabulary, 0 to 32"),
        ([[0, 5, 2], [0, 2, 1]], "sequence 1 is empty: it has no residue"),
        ([[0, 5, 2], [1, 1, 1]], "sequence 1 is empty: it has no residue"),
        ([[32, 32, 32]], "sequence 0 is all <mask>: leave at least one other token"),
        ([[]], r"token ids of shape \(1, 0\)"),
        ([0, 5, 2], r"token ids of shape \(3,\): give \(sequences, tokens\), none empty"),
        ([[0.0, 5.0, 2.0]], "token ids of type float64: give integers"),
    ],
)
def test_bad_ids_are_named(parameters, ids, message):
    with pytest.raises(InputError, match=message):
        reference.encode(parameters, ids)


def test_bad_attention_mask_is_refused(parameters):
    with pytest.raises(
        InputError, match=r"attention mask of shape \(1, 2\): the ids have \(1, 3\)"
    ):
        reference.encode(parameters, [[0, 5, 2]], attention_mask=[[1, 1]])


def test_contacts_refuse_what_they_cannot_use(parameters):
    ids = batch("plain")
    maps = reference.encode(parameters, ids, attentions=True).attentions
    assert maps is not None
    with pytest.raises(CheckpointError, match="these weights have no contact head"):
        reference.contact_probabilities(replace(parameters, contact=None), maps, ids)
    with pytest.raises(InputError, match=r"need 2 attention maps of shape \(1, 4, 32, 32\)"):
        reference.contact_probabilities(parameters, maps[:1], ids)
    with pytest.raises(InputError, match="need 2 attention maps"):
        reference.contact_probabilities(parameters, [m[:, :, 1:, 1:] for m in maps], ids)
    with pytest.raises(InputError, match="sequence 0: contacts need <cls> first and <eos> last"):
        reference.contact_probabilities(parameters, [m[:, :, 1:, 1:] for m in maps], ids[:, 1:])


def test_a_checkpoint_without_contact_head_still_encodes(shallow):
    shape, _, tensors = shallow
    bare = {name: tensors[name] for name in tensors if "contact" not in name}
    parameters = reference.read_parameters(bare, shape.heads)
    assert parameters.contact is None
    assert np.isfinite(reference.encode(parameters, batch("both")).hidden_states[-1]).all()


def test_attention_shapes_that_do_not_fit_are_refused(parameters):
    p, x = parameters.layers[0].attention, np.zeros((2, 3, 32))
    with pytest.raises(InputError, match=r"attention mask of shape \(2, 5\) does not fit"):
        reference.multi_head_attention(x, x, p, 4, allowed=np.ones((2, 5), bool))
    with pytest.raises(InputError, match="leaves a token with nothing to attend to"):
        reference.multi_head_attention(x, x, p, 4, allowed=np.zeros((3, 3), bool))
    with pytest.raises(InputError, match="2 sequences cannot attend to 1: give one for each"):
        reference.multi_head_attention(x, x[:1], p, 4)
    with pytest.raises(InputError, match=r"input of shape \(2, 3, 31\): the last axis must be 32"):
        reference.multi_head_attention(x[..., 1:], x, p, 4)
    with pytest.raises(InputError, match="width 32 does not split into 5 heads"):
        reference.multi_head_attention(x, x, p, 5)
