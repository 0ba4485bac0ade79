"""Loss and gradients of a whole ESM-2 against PyTorch's, through transformers' `EsmForMaskedLM`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import EsmForMaskedLM

from esmkit.errors import InputError, OptionError
from esmkit.reference import encoder as reference
from esmkit.reference import masked_lm, training
from esmkit.reference.training import MaskedLm
from oracles.checkpoints import random_head
from oracles.encoders import CLS, EOS, MASK, PAD, RESIDUES, SHAPES, random_model, without_casts

GRADIENTS = 1e-10  # of values up to some 10; measured 1e-14
LENGTHS = (9, 14, 11)


def batch(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids with padding, masks and replaced letters; targets; which places count."""
    generator = np.random.default_rng(seed)
    targets = np.full((len(LENGTHS), max(LENGTHS)), PAD)
    for row, length in zip(targets, LENGTHS, strict=True):
        row[:length] = [CLS, *generator.choice(RESIDUES, length - 2), EOS]
    ids, chosen = targets.copy(), np.zeros(targets.shape, bool)
    chosen[[0, 0, 1, 1, 2, 2], [2, 5, 3, 9, 4, 7]] = True
    ids[[0, 1, 1, 2], [2, 3, 9, 4]] = MASK
    ids[0, 5] = 7
    return ids, targets, chosen


@pytest.fixture(scope="module", params=["shallow", "deep", "two-wide heads"])
def both(request: pytest.FixtureRequest) -> tuple[EsmForMaskedLM, MaskedLm]:
    """One random model, as transformers has it and as the reference has it."""
    encoder = random_model(SHAPES[request.param])
    model = EsmForMaskedLM(encoder.config).eval()
    model.esm = encoder
    embedding = encoder.embeddings.word_embeddings.weight
    head = random_head(encoder.config.hidden_size, 1)
    model.lm_head.load_state_dict({**head, "decoder.weight": embedding}, assign=True)
    model.lm_head.decoder.weight = embedding  # one parameter, used twice
    tensors = {name: t.detach().numpy().copy() for name, t in model.state_dict().items()}
    ours = masked_lm.read_masked_lm_head(tensors)
    parameters = reference.read_parameters(tensors, encoder.config.num_attention_heads)
    return model, MaskedLm(parameters, ours.dense, ours.norm, ours.decoder.bias)


def test_every_gradient_equals_that_of_pytorch(both, monkeypatch):
    model, ours = both
    ids, targets, chosen = batch()
    loss, gradients = training.masked_lm_loss_and_gradients(ours, ids, targets, chosen)

    without_casts(monkeypatch)
    labels = torch.tensor(np.where(chosen, targets, -100))
    real = torch.tensor(ids != PAD).long()
    for tensor in model.parameters():
        tensor.requires_grad_()
    try:
        theirs = model.double()(torch.tensor(ids), attention_mask=real, labels=labels).loss
        model.zero_grad()
        theirs.backward()
        named = {
            name: np.zeros(tuple(tensor.shape)) if tensor.grad is None else tensor.grad.numpy()
            for name, tensor in model.named_parameters()
        }
    finally:
        model.to(torch.float32)  # exact: the weights came from float32
    assert theirs.dtype == torch.float64
    assert loss == pytest.approx(theirs.item(), rel=1e-13)
    assert training.masked_lm_loss(ours, ids, targets, chosen) == loss

    heads = ours.encoder.heads
    expected = replace(
        reference.read_parameters(named, heads), inverse_frequencies=np.zeros(0), contact=None
    )
    head = masked_lm.read_masked_lm_head(
        {**named, "lm_head.bias": named.get("lm_head.bias", named.get("lm_head.decoder.bias"))}
    )
    names = training.tree_arrays(MaskedLm(expected, head.dense, head.norm, head.decoder.bias))
    found = training.tree_arrays(gradients)
    assert found.keys() == names.keys()
    assert len(found) == 2 + 16 * len(ours.encoder.layers) + 2 + 4 + 1
    for name, array in names.items():
        if name.endswith("inverse_frequencies"):
            assert not found[name].any()
            continue
        np.testing.assert_allclose(found[name], array, rtol=0, atol=GRADIENTS, err_msg=name)
        # a bias of the keys adds the same to every score of a query: no effect, but for rotation
        assert np.abs(array).max() > 1e-6, name


def test_every_kind_of_parameter_by_small_steps(both):
    """Central differences: the loss itself, a little above and below, needs no other library."""
    _, ours = both
    ids, targets, chosen = batch(1)
    _, gradients = training.masked_lm_loss_and_gradients(ours, ids, targets, chosen)
    generator = np.random.default_rng(2)
    direction = training.tree_map(lambda a: generator.normal(size=a.shape), ours)
    direction = replace(
        direction,
        encoder=replace(
            direction.encoder,
            inverse_frequencies=np.zeros_like(ours.encoder.inverse_frequencies),
            contact=None,
        ),
    )
    ours = replace(ours, encoder=replace(ours.encoder, contact=None))

    def loss(step: float) -> float:
        moved = training.tree_map(lambda a, d: a + step * d, ours, direction)
        return training.masked_lm_loss(moved, ids, targets, chosen)

    measured = (loss(1e-5) - loss(-1e-5)) / 2e-5
    products = training.tree_map(lambda g, d: np.array((g * d).sum()), gradients, direction)
    predicted = sum(float(a) for a in training.tree_arrays(products).values())
    assert abs(predicted) > 0.01
    assert measured == pytest.approx(predicted, rel=1e-5)


def test_padding_changes_nothing():
    model = training.random_masked_lm(0, layers=2, heads=2, width=8, hidden=12, dtype=np.float64)
    ids, targets, chosen = batch()
    more = [
        np.pad(a, ((0, 0), (0, 3)), constant_values=v)
        for a, v in ((ids, PAD), (targets, PAD), (chosen, False))
    ]
    loss, gradients = training.masked_lm_loss_and_gradients(model, ids, targets, chosen)
    again, others = training.masked_lm_loss_and_gradients(model, *more)
    assert again == pytest.approx(loss, rel=1e-13)
    arrays = training.tree_arrays(others)
    for name, array in training.tree_arrays(gradients).items():
        np.testing.assert_allclose(arrays[name], array, rtol=0, atol=1e-12, err_msg=name)


def test_float32_stays_float32():
    model = training.random_masked_lm(0, layers=1, heads=2, width=8, hidden=12)
    _, gradients = training.masked_lm_loss_and_gradients(model, *batch())
    for name, array in training.tree_arrays(gradients).items():
        assert array.dtype == np.float32, name


def test_an_untrained_model_knows_nothing():
    """Random logits, of size 0.8: a little worse than 1 / 33 for each of the 33 tokens."""
    losses = [training.masked_lm_loss(training.random_masked_lm(n), *batch()) for n in range(8)]
    assert np.log(33) < np.mean(losses) < np.log(33) + 0.6  # ln 33 + 0.8^2 / 2 in the mean


def test_what_a_model_refuses():
    model = training.random_masked_lm(0, layers=1, heads=1, width=4, hidden=4)
    ids, targets, chosen = batch()
    with pytest.raises(InputError, match=r"^targets \(2, 14\) and chosen \(3, 14\): the ids are"):
        training.masked_lm_loss(model, ids, targets[:2], chosen)
    with pytest.raises(
        OptionError, match=r"^width 12 with 4 heads: give a width that is a multiple"
    ):
        training.random_masked_lm(0, layers=1, heads=4, width=12, hidden=8)
