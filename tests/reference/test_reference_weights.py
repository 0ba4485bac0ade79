"""Weights of a loaded model, sorted for the reference."""

import numpy as np
import pytest
import torch

from esmkit import reference
from esmkit.encoder.checkpoints import FittedHeadWarning
from esmkit.errors import CheckpointError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences import encode

IDS = encode("MKTAYIAKQRQISFVKSHFS")


def test_the_reference_computes_what_the_model_does(tiny_lm: Esm2):
    """Hidden states and logits, in float64 and in float32 against transformers' own modules.

    1e-5 of hidden states of magnitude 1 to 5, and 1e-4 of logits up to 20, is what float32 leaves.
    """
    for dtype in ("float64", "float32"):
        parameters = reference.parameters_of(tiny_lm, dtype)
        head = reference.masked_lm_head_of(tiny_lm, dtype)
        assert parameters.embedding.dtype == head.decoder.weight.dtype == np.dtype(dtype)
        encoding = reference.encode(parameters, IDS[None])
        with torch.inference_mode():
            theirs = tiny_lm.network(torch.from_numpy(IDS)[None]).last_hidden_state
        np.testing.assert_allclose(encoding.hidden_states[-1], theirs.numpy(), atol=1e-5, rtol=0)
        logits = reference.masked_lm_logits(encoding, head)
        assert logits.shape == (1, len(IDS), 33)
        again = tiny_lm.lm_head.logits(theirs).detach().numpy()
        np.testing.assert_allclose(logits, again, atol=1e-4, rtol=0)


def test_weights_are_copies(tiny_lm: Esm2):
    before = tiny_lm.network.state_dict()["embeddings.word_embeddings.weight"].clone()
    reference.parameters_of(tiny_lm, "float32").embedding[:] = 0
    reference.masked_lm_head_of(tiny_lm, "float32").decoder.weight[:] = 0
    after = tiny_lm.network.state_dict()["embeddings.word_embeddings.weight"]
    assert torch.equal(before, after)


def test_there_is_a_contact_head_only_where_the_checkpoint_has_one(tiny: Esm2):
    assert (reference.parameters_of(tiny).contact is None) == (not tiny.has_contact_head)


def test_weights_of_half_precision(tiny_lm_folder):
    model = load(tiny_lm_folder, "cpu", dtype="bfloat16")
    assert reference.parameters_of(model).embedding.dtype == np.float64


def test_what_is_not_there_is_said(tiny: Esm2):
    with pytest.raises(CheckpointError, match="has no masked-LM head"):
        reference.masked_lm_head_of(tiny)
    with pytest.raises(OptionError, match="dtype float16: the reference runs in float32 or"):
        reference.parameters_of(tiny, "float16")


@pytest.mark.weights
def test_a_fitted_head_says_so(real: Esm2):
    with pytest.warns(FittedHeadWarning):
        head = reference.masked_lm_head_of(real)
    parameters = reference.parameters_of(real)
    np.testing.assert_array_equal(head.decoder.weight, parameters.embedding)
