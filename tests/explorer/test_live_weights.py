"""Weights packed for a page, unpacked again."""

import json
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from esmkit.encoder.encoder import Encoder
from esmkit.errors import OptionError
from esmkit.esm2 import Esm2
from esmkit.explorer.live import weights
from esmkit.explorer.live.weights import Bits, pack_weights, unpack_weights
from esmkit.reference import encoder as reference
from oracles.live_engine import weights_of


def unpack(manifest: dict[str, Any], data: bytes, name: str) -> NDArray[np.float64]:
    tensor = manifest["tensors"][name]
    size = int(np.prod(tensor["shape"]))
    if tensor["bits"] == 24:
        whole = np.zeros((size, 4), np.uint8)
        codes = np.frombuffer(data, np.uint8, 3 * size, tensor["offset"])
        whole[:, 1:] = codes.reshape(size, 3)  # the upper bytes, so that the sign is right
        values = whole.view("<i4").reshape(tensor["shape"]) / 256
    else:
        kind = {32: "<f4", 16: "<i2", 8: "i1"}[tensor["bits"]]
        values = np.frombuffer(data, kind, size, tensor["offset"]).reshape(tensor["shape"])
    if tensor["bits"] == 32:
        return values.astype(np.float64)
    scales = np.frombuffer(data, "<f4", tensor["shape"][0], tensor["scales"])
    return values * scales[:, None].astype(np.float64)


@pytest.mark.parametrize("bits", [16, 8])
def test_every_weight_comes_back(tiny_lm: Esm2, bits: Bits):
    manifest, data = pack_weights(tiny_lm, bits)
    parameters, head = weights_of(tiny_lm)
    assert head is not None
    expected = {"embedding": parameters.embedding}
    affine = {"final_norm": parameters.final_norm, "lm_dense": head.dense, "lm_norm": head.norm}
    for number, layer in enumerate(parameters.layers):
        affine |= {
            f"L{number}.attention_norm": layer.attention_norm,
            f"L{number}.query": layer.attention.query,
            f"L{number}.key": layer.attention.key,
            f"L{number}.value": layer.attention.value,
            f"L{number}.output": layer.attention.output,
            f"L{number}.feed_forward_norm": layer.feed_forward_norm,
            f"L{number}.expand": layer.expand,
            f"L{number}.contract": layer.contract,
        }
    expected |= {f"{name}.weight": p.weight for name, p in affine.items()}
    expected |= {f"{name}.bias": p.bias for name, p in affine.items()}
    expected["lm_decoder.bias"] = head.decoder.bias
    assert set(manifest["tensors"]) == set(expected)  # the decoder is the embedding
    read = unpack_weights(manifest, data)
    assert set(read) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(read[name], unpack(manifest, data, name), rtol=2e-7, atol=0)
        found = unpack(manifest, data, name)
        if values.ndim == 1:
            np.testing.assert_array_equal(found, values)
            continue
        finer = name == "embedding" or name.endswith(("value.weight", "output.weight"))
        own = bits + 8 if finer else bits
        assert manifest["tensors"][name]["bits"] == own
        half = np.abs(values).max(axis=1, keepdims=True) / (2**own - 2)
        # Beyond half a step: float32's rounding of the scale, and of 24 bits
        assert (np.abs(found - values) <= half * (1 + 1e-3) + 1e-7 * np.abs(values)).all(), name
    assert manifest["bytes"] == len(data)
    assert manifest["bits"] == bits


def test_the_manifest_says_what_a_page_needs(tiny_lm: Esm2, tiny: Esm2):
    manifest, _ = pack_weights(tiny_lm)
    json.dumps(manifest, allow_nan=False)
    sizes = [manifest[name] for name in ("layers", "heads", "width", "hidden")]
    assert sizes == [2, 4, 32, 128]
    assert len(manifest["tokens"]) == 33
    assert manifest["tokens"][32] == "<mask>"
    assert manifest["keptInTraining"] == 0.88
    parameters, _ = weights_of(tiny_lm)
    # As stored, rounded to half precision; computed ones would be others
    np.testing.assert_array_equal(manifest["frequencies"], parameters.inverse_frequencies)
    assert (parameters.inverse_frequencies != reference.inverse_frequencies(8)).any()
    assert parameters.contact is not None
    np.testing.assert_array_equal(manifest["contact"]["weight"], parameters.contact.weight[0])
    assert manifest["contact"]["bias"] == parameters.contact.bias[0]
    assert manifest["lmHead"] == {"source": "checkpoint"}
    assert manifest["checkpoint"] == tiny_lm.checkpoint.to_dict()
    assert pack_weights(tiny)[0]["lmHead"] is None


def test_rows_of_zeros_and_weights_that_changed(tiny: Esm2):
    table: Any = tiny.network.embeddings.word_embeddings.weight
    kept = table.detach().clone()
    try:
        table.data[5] = 0
        table.data[6, 0] = 50
        manifest, data = pack_weights(tiny)
    finally:
        table.data[:] = kept
    found = unpack(manifest, data, "embedding")
    assert not found[5].any()
    assert found[6, 0] == pytest.approx(50, rel=1e-6)


@pytest.mark.parametrize("bits", [32, 4, "16", True, None])
def test_other_bits_are_refused(tiny: Esm2, bits: Any):
    with pytest.raises(OptionError, match=f"^weights take 16 or 8 bits, not {bits!r}$"):
        pack_weights(tiny, bits)


def test_what_is_too_large_is_refused(tiny: Esm2, monkeypatch: pytest.MonkeyPatch):
    count = sum(p.numel() for p in tiny.network.parameters())
    monkeypatch.setattr(weights, "LARGEST_BYTES", count)
    assert pack_weights(tiny, 8)[1]
    with pytest.raises(OptionError, match=re.escape("; pack them with `live_bits=8`")):
        pack_weights(tiny)
    monkeypatch.setattr(weights, "LARGEST_BYTES", 1)
    with pytest.raises(OptionError, match=r"weights of 8 bits are 0 MB, .*; take a smaller ESM-2"):
        pack_weights(tiny, 8)


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning")
def test_the_real_model_fits_into_a_page(real: Encoder):
    manifest, data = pack_weights(real)
    assert len(data) * 4 / 3 < 22e6  # base64; a page may have 25 MB
    assert manifest["lmHead"]["source"] == "fitted"
    assert "note" in manifest["lmHead"]
    assert len(pack_weights(real, 8)[1]) < len(data) * 0.55
