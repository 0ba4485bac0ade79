"""The reference on the real checkpoint and real proteins, against both oracles in float64."""

import numpy as np
import pytest
import torch
from transformers import EsmModel

from esmkit.esm2 import Esm2
from esmkit.reference import encoder as reference
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import MASK, encode
from oracles.checkpoints import make_fair_esm
from oracles.encoders import (
    assert_agree,
    run_fair_esm,
    run_hugging_face,
    run_reference,
    without_casts,
)

pytestmark = pytest.mark.weights

TARGET = 1e-10  # relative to the largest value of an array; measured: 7e-15 to 4e-14

PROTEINS = ["1UBI_A", "P60615", "P69905", "P02585"]


@pytest.fixture(scope="module")
def network(real: Esm2) -> EsmModel:
    return EsmModel.from_pretrained(
        real.checkpoint.folder, add_pooling_layer=False, attn_implementation="eager"
    ).eval()


@pytest.fixture(scope="module")
def parameters(real: Esm2, network: EsmModel) -> reference.Parameters:
    tensors = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    return reference.read_parameters(tensors, real.heads)


@pytest.fixture(scope="module")
def batches(demo: list[Protein]) -> list[np.ndarray]:
    """Each protein alone; the last one with every tenth token masked."""
    chosen = [encode(p.sequence)[None] for p in demo if p.id in PROTEINS]
    assert len(chosen) == len(PROTEINS)
    chosen[-1][0, 5:-5:10] = MASK
    return chosen


def test_equals_hugging_face_in_float64(parameters, network, batches, monkeypatch):
    without_casts(monkeypatch)
    network.double()
    try:
        for ids in batches:
            assert_agree(
                run_reference(parameters, ids), run_hugging_face(network, ids), ids, TARGET
            )
    finally:
        network.to(torch.float32)  # exact: the weights came from float32


def test_equals_fair_esm_in_float64(real, parameters, batches, monkeypatch):
    oracle = make_fair_esm(real).double()
    without_casts(monkeypatch)
    for ids in batches:
        assert_agree(run_reference(parameters, ids), run_fair_esm(oracle, ids), ids, TARGET)


def test_hugging_face_in_float32_is_within_rounding(parameters, network, batches):
    """Last hidden state and maps within 1e-5; inside, values reach 45 and round accordingly."""
    for ids in batches:
        ours, theirs = run_reference(parameters, ids), run_hugging_face(network, ids)
        np.testing.assert_allclose(
            ours.hidden_states[-1], theirs.hidden_states[-1], rtol=0, atol=1.5e-5
        )
        for a, b in zip(ours.attentions, theirs.attentions, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
        assert_agree(ours, theirs, ids, 5e-5)
