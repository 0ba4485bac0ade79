"""The logit lens: the last layer is the model, the others its head on their streams."""

from typing import Any

import numpy as np
import pytest
import torch

from esmkit.errors import CheckpointError, InputError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.score.probabilities import log_softmax_20
from esmkit.sequences.letters import AMINO_ACIDS
from oracles.checkpoints import make_checkpoint, random_sequence


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Esm2:
    folder = make_checkpoint(tmp_path_factory.mktemp("lens") / "m", (3, 4, 32), lm_head=True)
    return load(folder, "cpu")


@pytest.mark.parametrize("mask", [None, [3, 9]])
def test_the_last_layer_is_the_model(model: Esm2, mask: Any):
    sequence = random_sequence(21, 1)
    lens = model.logit_lens(sequence, mask=mask)
    assert lens.layers == ("embedding", "L0", "L1", "L2")
    assert lens.logits.shape == (4, 21, 33)
    np.testing.assert_array_equal(lens.logits[-1], model.trace(sequence, mask=mask or []).logits)
    assert lens.hidden == ((4, 10) if mask else ())


def test_other_layers_are_read_through_norm_and_head(model: Esm2):
    sequence = random_sequence(21, 2)
    lens = model.logit_lens(sequence, mask=[5])
    seen = model.trace(sequence, mask=[5], keep=["embedding", "L*.residual"])
    parts, head = model.parts(), model.lm_head.weights
    embedding: Any = parts.embedding.weight
    for place, name in enumerate(["embedding", "L0.residual", "L1.residual", "L2.residual"]):
        with torch.no_grad():
            h = parts.final_norm(torch.from_numpy(seen[name]))
            h = head.norm(torch.nn.functional.gelu(head.dense(h)))
            wanted = (h @ embedding.T + head.bias).numpy()
        np.testing.assert_allclose(lens.logits[place], wanted, atol=2e-5 * np.abs(wanted).max())


def test_each_residue_is_hidden_in_turn(model: Esm2):
    sequence = random_sequence(13, 3)
    lens = model.logit_lens(sequence, batch_tokens=50)
    assert lens.hidden == tuple(range(1, 14))
    wanted = model.score(sequence).log_probabilities
    np.testing.assert_allclose(lens.log_probabilities[-1], wanted, atol=1e-4)
    alone = model.logit_lens(sequence, mask=[6])
    np.testing.assert_allclose(lens.logits[:, 6], alone.logits[:, 6], atol=1e-4)


def test_tables_and_figure(model: Esm2, tmp_path: Any):
    sequence = "MKTXAYIA"
    lens = model.logit_lens(sequence)
    table: Any = lens.to_frame()
    assert len(table) == 4 * 8
    last = table[table["layer"] == "L2"].reset_index(drop=True)
    logs = log_softmax_20(lens.logits[-1])
    for n, letter in enumerate(sequence):
        if letter == "X":
            assert np.isnan(last["log_probability"][n])
            assert last["rank"].isna()[n]
            continue
        own = logs[n, AMINO_ACIDS.index(letter)]
        assert last["log_probability"][n] == pytest.approx(own, abs=1e-6)
        assert last["rank"][n] == 1 + (logs[n] > own).sum()
        assert last["entropy_bits"][n] == pytest.approx(
            -(np.exp(logs[n]) * logs[n]).sum() / np.log(2), abs=1e-5
        )
        assert last["expected"][n] == AMINO_ACIDS[logs[n].argmax()]
    means: Any = lens.by_layer()
    assert means["perplexity"].iloc[-1] == pytest.approx(
        model.score(sequence).pseudo_perplexity, rel=1e-4
    )
    assert means["accuracy"].iloc[-1] == pytest.approx(model.score(sequence).accuracy)
    lens.plot(path=tmp_path / "lens.png")
    assert (tmp_path / "lens.png").stat().st_size > 5_000
    assert "<img" in lens._repr_html_()
    assert np.asarray(lens).shape == (4, 8, 20)
    with pytest.raises(OptionError, match="none of the 20"):
        model.logit_lens("XX").by_layer()
    model.logit_lens("XX").plot(path=tmp_path / "none.svg")


def test_what_is_refused(model: Esm2, tiny: Esm2):
    with pytest.raises(CheckpointError, match="no masked-LM head"):
        tiny.logit_lens("MKTV")
    with pytest.raises(OptionError, match="hidden is 'each'"):
        model.logit_lens("MKTV", mask="all")
    with pytest.raises(InputError, match="cannot mask residue index 7"):
        model.logit_lens("MKTV", mask=[7])
    with pytest.raises(InputError, match='long="whole"'):
        model.logit_lens("M" * 1_100)
