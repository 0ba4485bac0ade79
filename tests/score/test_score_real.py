"""Scores of real proteins with real weights: better than letters, and the same as transformers."""

import numpy as np
import pytest

from esmkit.data import demo_proteins
from esmkit.encoder.checkpoints import FittedHeadWarning
from esmkit.errors import CheckpointError
from esmkit.esm2 import Esm2, load
from esmkit.score.probabilities import log_softmax_20
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.tokens import MASK, encode

pytestmark = [
    pytest.mark.weights,
    pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning"),
]

LETTERS = 17.8
"""Perplexity of guessing by the frequencies of letters in UniProt."""

SHORT = 160
"""Residues of the longest demo protein that is scored: each is a pass of its own."""


def of_short_ones(model: Esm2) -> dict[str, float]:
    proteins = [protein for protein in demo_proteins() if len(protein) <= SHORT]
    assert len(proteins) >= 3
    found = model.pseudo_perplexity(proteins).to_frame()["pseudo_perplexity"]
    print("\npseudo-perplexity with", model.checkpoint.name, found.round(2).to_dict())
    return found.to_dict()


def together(found: dict[str, float]) -> float:
    """The perplexity over the residues of all proteins."""
    residues = {protein.id: len(protein) for protein in demo_proteins() if protein.id in found}
    logs = [np.log(found[name]) * count for name, count in residues.items()]
    return float(np.exp(sum(logs) / sum(residues.values())))


def test_demo_proteins_are_less_surprising_than_letters(real: Esm2):
    if not real.has_lm_head:
        pytest.skip("the offline checkpoint has no masked-LM head")
    found = of_short_ones(real)
    assert together(found) < LETTERS
    assert found["1UBI_A"] < LETTERS


def test_a_site_is_that_of_the_encoder_and_its_head(real: Esm2):
    """One residue hidden by hand, through the public hidden states."""
    if not real.has_lm_head:
        pytest.skip("the offline checkpoint has no masked-LM head")
    import torch

    sequence = demo_proteins()[0].sequence
    table = real.log_probabilities(sequence)
    for place in (0, 30, len(sequence) - 1):
        ids = encode(sequence)
        ids[place + 1] = MASK
        state = real.hidden_states([ids])[0][0, place + 1]
        expected = log_softmax_20(real.lm_head.logits(torch.from_numpy(state)))
        np.testing.assert_allclose(table.iloc[place], expected, atol=2e-4)


def test_the_fitted_head_is_said(real: Esm2):
    if not real.has_lm_head or real.lm_head.facts["source"] != "fitted":
        pytest.skip("the masked-LM head is the checkpoint's own")
    with pytest.warns(FittedHeadWarning):
        found = real.score("MKTVRQERLK")
    assert found.head
    assert set(found.expected) <= set(AMINO_ACIDS)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_official_weights_foresee_the_demo_proteins_better_than_letters():
    """Without published values to hold it against: below letters, and printed."""
    try:
        official = load("facebook/esm2_t6_8M_UR50D", "cpu")
    except CheckpointError as error:
        pytest.skip(f"the official weights are out of reach: {error}")
    assert official.checkpoint.official
    assert official.lm_head.facts == {"source": "checkpoint"}
    assert together(of_short_ones(official)) < LETTERS
