"""Scores of variants with real weights beside the formulas, and what a biologist expects of them."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import EsmForMaskedLM

from esmkit.data import demo_proteins
from esmkit.encoder.checkpoints.known import OFFLINE
from esmkit.encoder.checkpoints.lm_head import shipped_head
from esmkit.esm2 import Esm2
from esmkit.score.variants.mutations import parse_variant
from oracles.variant_scores import score

pytestmark = [
    pytest.mark.weights,
    pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning"),
]


@pytest.fixture(scope="module")
def other(real: Esm2) -> EsmForMaskedLM:
    """transformers' model with the fitted head, in float64."""
    fitted = shipped_head(OFFLINE.sha256)
    if fitted is None:
        pytest.skip("no masked-LM head comes with esmkit for the offline checkpoint")
    network = EsmForMaskedLM.from_pretrained(real.checkpoint.folder).eval()
    network.lm_head.load_state_dict(load_file(Path(fitted)), strict=False)
    return network.double()


@pytest.mark.parametrize("strategy", ["masked-marginals", "wt-marginals", "mutant-marginals"])
def test_scores_on_real_proteins_are_those_of_the_formulas(
    strategy, real: Esm2, other: EsmForMaskedLM
):
    for protein in demo_proteins():
        wild = protein.sequence
        if protein.id not in ("1UBI_A", "P0CK95"):  # the second is read in windows
            continue
        sites = [0, len(wild) // 2, len(wild) - 1]
        changes = [(s, wild[s], "W" if wild[s] != "W" else "A") for s in sites]
        names = [f"{old}{s + 1}{new}" for s, old, new in changes]
        wanted = [(names[1], changes[1:2]), (":".join(names[:2]), changes[:2])]
        found = real.score_variants(protein, [name for name, _ in wanted], strategy=strategy)
        expected = [
            score(other, wild, parse_variant(name).applied(wild), some, strategy)
            for name, some in wanted
        ]
        np.testing.assert_allclose(found.score, expected, atol=5e-5)


def test_pllr_of_a_short_protein(real: Esm2, other: EsmForMaskedLM):
    wild = next(p for p in demo_proteins() if p.id == "P60137").sequence
    variant = parse_variant(f"{wild[9]}10del")
    found = real.score_variants(wild, [str(variant)], strategy="pllr")
    expected = score(other, wild, variant.applied(wild), [], "pllr")
    np.testing.assert_allclose(found.score, expected, atol=2e-4)


def test_the_core_of_ubiquitin_tolerates_less_than_its_surface(real: Esm2, other: EsmForMaskedLM):
    wild = next(p for p in demo_proteins() if p.id == "1UBI_A")
    means = real.score_variants(wild).groupby("residue_number").score.mean()
    core, surface = [26, 30, 61, 67], [2, 20, 39, 60]  # buried, and exposed turns
    assert means[core].max() < means[surface].min() - 1
