"""bfloat16 on a CPU in C: written out in plain C it runs anywhere, and is held against PyTorch in float64."""

import itertools
import os
import pickle
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm

from esmkit.encoder import compiled, halves
from esmkit.encoder.halves import HalfOperations
from esmkit.encoder.operations import Operations
from esmkit.encoder.packing import Group, pack
from esmkit.encoder.rotary import rotary_tables, rotate
from esmkit.errors import NonFiniteError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.sequences import encode
from oracles.checkpoints import has_compiler, make_checkpoint, random_sequence

pytestmark = pytest.mark.skipif(not has_compiler(), reason="there is no C compiler here")

ROUNDING = 2**-8
"""Half of the distance of two bfloat16, relative to the larger."""

SHAPE = (2, 4, 64)


@pytest.fixture(scope="module", autouse=True)
def plain():
    """Compile ``halves.c`` in plain C, which any processor runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halves, "FLAGS", ("-DESMKIT_PLAIN", "-O2"))
        halves.halves_library.cache_clear()
        yield
    halves.halves_library.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("halves") / "tiny", SHAPE, lm_head=True)


@pytest.fixture(scope="module")
def exact(folder: Path) -> Esm2:
    return load(folder, "cpu")


@pytest.fixture
def model(folder: Path) -> Esm2:
    found = load(folder, "cpu", "bfloat16", compiled=True)
    assert isinstance(found.operations, HalfOperations)
    return found


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# ------------------------------------------------------------------------------- the library itself


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(1, 2, 16), (7, 32, 48), (6, 96, 64), (100, 64, 80), (97, 320, 128), (205, 66, 272)],
)
def test_products(rows: int, inputs: int, outputs: int, threads: int):
    """Rows that are no multiple of six, outputs that do not fill a panel, odd numbers of pairs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    x = drawn(rows, inputs).bfloat16()
    weight = (drawn(outputs, inputs, seed=1) / inputs**0.5).bfloat16()
    bias, add = drawn(outputs, seed=2), drawn(rows, outputs, seed=3)
    packed = halves._Packed.of(weight, bias)
    library = halves.halves_library()
    try:
        found = [
            halves._product(library, x, packed, kind, add=given)
            for kind, given in (
                (halves.HALVES, None),
                (halves.GELU, None),
                (halves.FLOATS, None),
                (halves.FLOATS, add),
            )
        ]
    finally:
        torch.set_num_threads(before)
    wanted = x.double() @ weight.double().T + bias.double()
    assert [y.dtype for y in found] == [torch.bfloat16] * 2 + [torch.float32] * 2
    bound = ROUNDING * wanted.abs() + 1e-6
    assert ((found[0].double() - wanted).abs() <= bound).all()
    assert ((found[1].double() - gelu(wanted)).abs() <= ROUNDING * gelu(wanted).abs() + 1e-6).all()
    torch.testing.assert_close(found[2].double(), wanted, rtol=0, atol=2e-5)
    torch.testing.assert_close(found[3].double(), wanted + add.double(), rtol=0, atol=2e-5)


def test_gelu_far_from_zero_and_of_what_is_no_number():
    x = torch.zeros(1, 2, dtype=torch.bfloat16)
    bias = torch.tensor([-100.0, -12, -3, -0.5, 0, 1e-3, 0.5, 3, 12, 100, torch.nan, *[1.0] * 5])
    packed = halves._Packed.of(torch.zeros(16, 2), bias)
    found = halves._product(halves.halves_library(), x, packed, halves.GELU)[0]
    torch.testing.assert_close(
        found.float(), gelu(bias), rtol=2 * ROUNDING, atol=1e-6, equal_nan=True
    )


@pytest.mark.parametrize("width", [16, 64, 320])
def test_norms(width: int):
    x = 30 * drawn(33, width) + 5
    scale, shift = drawn(width, seed=1), drawn(width, seed=2)
    found = halves._norm(halves.halves_library(), x, scale, shift, 1e-5)
    wanted = layer_norm(x.double(), (width,), scale.double(), shift.double(), 1e-5)
    assert ((found.double() - wanted).abs() <= ROUNDING * wanted.abs() + 1e-5).all()


@pytest.mark.parametrize("width", [2, 16, 20, 24, 64, 128])
def test_attention(width: int):
    """Sequences of several lengths, heads whose rows are no neighbours, NaN in one of them."""
    lengths, heads = [1, 7, 33, 65, 129], 3
    tokens = sum(lengths)
    query, key, value = drawn(3, tokens, heads, width).bfloat16().transpose(1, 2)
    positions = torch.cat([torch.arange(n) for n in lengths])
    turns = rotary_tables(positions, torch.rand(width // 2), torch.float32)
    starts = np.cumsum([0, *lengths]).tolist()
    library, scaling = halves.halves_library(), width**-0.5
    found = halves._attend(library, query, key, value, starts, scaling, turns)
    turned = [rotate(x[None].double(), *(t.double() for t in turns))[0] for x in (query, key)]
    for a, b in itertools.pairwise(starts):
        weights = (scaling * turned[0][:, a:b] @ turned[1][:, a:b].transpose(1, 2)).softmax(-1)
        wanted = (weights @ value[:, a:b].double()).transpose(0, 1)
        # Turned queries and keys, weights and the result are rounded to 8 bits, each by up to 1 in 256
        size = value[:, a:b].abs().max()
        torch.testing.assert_close(found[a:b].double(), wanted, rtol=0, atol=float(size) * 0.02)
    key[1, 20, 0] = torch.nan  # of the sequence from 8 to 41
    spread = halves._attend(library, query, key, value, starts, scaling, turns).isnan()
    assert spread[8:41, 1].all()
    assert spread.sum() == 33 * width


def test_the_instructions_are_those_of_the_processor(tmp_path: Path):
    """Where a compiler knows them: products of bfloat16, all sums in registers, and no warning."""
    if platform.machine() != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("there is no gcc for x86-64 here")
    command = ["gcc", "-march=sapphirerapids", "-O3", "-mprefer-vector-width=512", "-fopenmp"]
    command += ["-Wall", "-Wextra", "-S", "-o", "-", str(halves.SOURCE)]
    made = subprocess.run(command, capture_output=True, text=True)
    if "bad value" in made.stderr:
        pytest.skip("this gcc knows no processor with bfloat16")
    assert made.returncode == 0, made.stderr
    assert not made.stderr
    assert made.stdout.count("vdpbf16ps") >= 24
    assert made.stdout.count("vcvtneps2bf16") >= 4
    plain = [*command[:-1], "-DESMKIT_PLAIN", str(halves.SOURCE)]
    assert not subprocess.run(plain, capture_output=True, text=True).stderr


# ----------------------------------------------------------------------------------- a whole model


LENGTHS = (1, 2, 30, 77, 30, 200)


def test_hidden_states_are_those_of_float32_to_rounding(model: Esm2, exact: Esm2):
    tokens = [encode(random_sequence(n, n)) for n in LENGTHS]
    plain = load(model.checkpoint.folder, "cpu", "bfloat16", compiled=False)
    assert type(plain.operations) is Operations
    for a, b, c in zip(
        *(m.hidden_states(tokens, "all") for m in (exact, model, plain)), strict=True
    ):
        off, of_pytorch = (
            np.linalg.norm(x - a, axis=-1) / np.linalg.norm(a, axis=-1) for x in (b, c)
        )
        assert off.max() < 0.02  # five roundings of 1 in 256, of a token's vector
        assert off.mean() < 1.05 * of_pytorch.mean()  # the stream is float32


def test_the_stream_is_float32_and_results_are_not(model: Esm2):
    trace = model.trace("MKTVRQERLK", keep=["*"])
    assert {trace[name].dtype for name in trace} == {np.dtype(np.float32)}
    packed = pack([encode("MKTVRQERLK")])
    assert model.forward(packed, [0, 2]).dtype == torch.bfloat16
    parts = model.parts()
    stream = parts.embedding(packed.ids)
    assert stream.dtype == torch.float32
    assert parts.layers[0].attention_norm(stream).dtype == torch.bfloat16
    assert parts.embedding.weight is model.network.get_input_embeddings().weight


def test_neighbours_and_threads_change_nothing(model: Esm2):
    before = torch.get_num_threads()
    sequences = {str(n): random_sequence(n, n) for n in (30, 77, 200, 5)}
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append({e.id: e.mean for e in model.embed(sequences)})
    finally:
        torch.set_num_threads(before)
    for name, sequence in sequences.items():
        assert np.array_equal(found[0][name], found[1][name])
        assert np.array_equal(found[0][name], model.embed(sequence).mean)


def test_all_tasks_of_a_model(model: Esm2, exact: Esm2):
    sequence = random_sequence(40, 3)
    maps, wanted = model.attention(sequence), exact.attention(sequence)
    np.testing.assert_allclose(maps.maps, wanted.maps, rtol=0, atol=0.02)
    np.testing.assert_allclose(maps.maps.sum(-1) + maps.bos + maps.eos, 1, rtol=0, atol=1e-5)
    found, exactly = (m.contacts(sequence).probability for m in (model, exact))
    np.testing.assert_allclose(found, exactly, rtol=0, atol=0.02)
    plain = load(model.checkpoint.folder, "cpu", "bfloat16", compiled=False)
    for masked in (True, False):
        found, of_pytorch, exactly = (
            m.log_probabilities(sequence, masked=masked).to_numpy() for m in (model, plain, exact)
        )
        assert np.abs(found - exactly).mean() < 1.1 * np.abs(of_pytorch - exactly).mean()
    assert cosine(model.embed(sequence).mean, exact.embed(sequence).mean) > 0.9995
    long = random_sequence(1_100, 5)
    assert cosine(model.embed(long).mean, exact.embed(long).mean) > 0.9995


def test_edits_reach_it(model: Esm2, exact: Esm2):
    sequence = random_sequence(30, 2)
    edits = {"L1H2.output": "zero"}
    found, wanted = (m.trace(sequence, keep=["final"], edit=edits)["final"] for m in (model, exact))
    assert cosine(found.ravel(), wanted.ravel()) > 0.999
    untouched = model.trace(sequence, keep=["final"])["final"]
    assert cosine(found.ravel(), untouched.ravel()) < 0.9999


def test_a_changed_weight_is_seen(model: Esm2):
    before = model.embed("MKTVRQERLK").mean
    layer = model.parts().layers[0]
    with torch.no_grad():
        layer.expand.weight.mul_(0.5)
    halved = model.embed("MKTVRQERLK").mean
    assert not np.array_equal(before, halved)
    with torch.no_grad():
        layer.expand.weight.mul_(2)
    assert np.array_equal(model.embed("MKTVRQERLK").mean, before)
    with torch.no_grad():
        layer.output.bias.add_(1)
    assert not np.array_equal(model.embed("MKTVRQERLK").mean, before)


def test_weights_put_in_place_are_seen(model: Esm2):
    """Twice between two passes: the second may not be laid where the first weights were."""
    model.embed("MKTVRQERLK")
    dense = model.parts().layers[0].output
    shape, weight, bias = dense.weight.shape, dense.weight.data_ptr(), dense.bias.data_ptr()
    for _ in range(20):
        dense.weight = torch.nn.Parameter(torch.zeros(shape, dtype=torch.bfloat16), False)
        assert dense.weight.data_ptr() != weight
        dense.bias = torch.nn.Parameter(torch.zeros(shape[0], dtype=torch.bfloat16), False)
        assert dense.bias.data_ptr() != bias
    added = model.trace("MKTVRQERLK", keep=["L0.attention_output"])["L0.attention_output"]
    assert not added.any()


def test_what_stands_in_place_of_a_layer_is_called(model: Esm2):
    before = model.embed("MKTVRQERLK").mean
    layer = model.parts().layers[0]
    network: Any = model.network
    norm = network.encoder.layer[1].attention.LayerNorm
    for of_network in (layer.query, norm, network.get_input_embeddings()):
        calls: list[int] = []
        hook = of_network.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        hooked = model.embed("MKTVRQERLK").mean
        hook.remove()
        assert calls
        assert cosine(hooked, before) > 0.9995


def test_pickled_and_loaded_elsewhere(model: Esm2):
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again.operations, HalfOperations)
    assert np.array_equal(again.embed("MKTVRQERLK").mean, model.embed("MKTVRQERLK").mean)


def test_not_a_number_is_refused(model: Esm2):
    with torch.no_grad():
        model.parts().layers[1].contract.bias[3] = torch.nan
    with pytest.raises(
        NonFiniteError, match=r"'sequence_1'; load the model with `dtype=\"float32\"`"
    ):
        model.embed("MKTVRQERLK")


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::esmkit.errors.OfflineCheckpointWarning")
def test_real_proteins(real: Esm2):
    """Means of proteins have a cosine of 0.9998 to those of float32, or more."""
    from esmkit.data import demo_proteins

    model = load(real.checkpoint.folder, "cpu", "bfloat16", compiled=True)
    for protein in sorted(demo_proteins(), key=len)[:6]:
        assert cosine(model.embed(protein).mean, real.embed(protein).mean) > 0.9998


# ----------------------------------------------------------------------------------- if it cannot be


def test_a_processor_without_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch):
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text(errors="replace"):
        pytest.skip("this processor has products of bfloat16")
    monkeypatch.setattr(halves, "FLAGS", ())
    halves.halves_library.cache_clear()
    said: list[str] = []
    try:
        with pytest.raises(
            OptionError,
            match=r"`compiled=True`: this processor, or '.*', has no products of bfloat16 \(AVX512",
        ):
            load(folder, "cpu", "bfloat16", compiled=True)
        plain = load(folder, "cpu", "bfloat16", say=said.append)
        assert type(plain.operations) is Operations
        assert any("bfloat16 is PyTorch's, not compiled for this CPU: this proc" in s for s in said)
        said.clear()
        load(folder, "cpu", "bfloat16", compiled=False, say=said.append)
        assert not said
        with pytest.raises(OptionError, match="for float32 and bfloat16 on a CPU, not for float16"):
            load(folder, "cpu", "float16", compiled=True)
    finally:
        halves.halves_library.cache_clear()


@pytest.mark.parametrize("what", ["_product", "_attend", "_norm"])
def test_other_numbers_are_not_used(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    own = getattr(halves, what)
    monkeypatch.setattr(halves, what, lambda *given, **named: 1.1 * own(*given, **named))
    said: list[str] = []
    model = load(folder, "cpu", "bfloat16", say=said.append)
    assert type(model.operations) is Operations
    assert any("the numbers differ from PyTorch's by" in words for words in said)
    with pytest.raises(OptionError, match="the numbers differ from PyTorch's"):
        load(folder, "cpu", "bfloat16", compiled=True)


def test_what_does_not_fit_is_pytorchs(monkeypatch: pytest.MonkeyPatch):
    """Odd inputs, outputs that are no multiple of 16, a gradient, another data type."""
    operations = HalfOperations()
    layer = nn.Linear(32, 16).bfloat16()
    x = drawn(1, 5, 32).bfloat16()
    calls: list[int] = []
    own = halves._product
    monkeypatch.setattr(halves, "_product", lambda *a, **n: calls.append(1) or own(*a, **n))
    with torch.no_grad():
        operations.linear(x, layer)
        assert len(calls) == 1
        assert operations.linear(x.float(), layer).dtype == torch.bfloat16  # what a layer reads
        assert len(calls) == 2
        operations.linear(drawn(1, 5, 31).bfloat16(), nn.Linear(31, 16).bfloat16())
        operations.linear(x, nn.Linear(32, 20).bfloat16())
        operations.linear(x.float(), nn.Linear(32, 16))
        operations.linear(x, nn.Linear(32, 16, bias=False).bfloat16())
    operations.linear(x, layer)  # gradients are wanted
    assert len(calls) == 2


def test_groups_of_a_row_and_what_fills_it_up():
    """Padding at the end of a row is a sequence of its own, and of one thread or two the same."""
    operations = HalfOperations()
    groups = (Group(0, 2, 9), Group(18, 1, 5))
    query, key, value = drawn(3, 1, 30, 4, 16).bfloat16().transpose(2, 3)
    rotary = rotary_tables(torch.arange(30)[None], torch.rand(8), torch.float32)
    with torch.inference_mode():
        found = operations.attend(query, key, value, rotary, groups)
        wanted = Operations().attend(query, key, value, rotary, groups)
    torch.testing.assert_close(found[0, :23].float(), wanted[0, :23].float(), rtol=0, atol=0.03)


def test_a_library_is_tried_before_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ESMKIT_CACHE", str(tmp_path / "cache"))
    broken = tmp_path / "halves.c"
    source = halves.SOURCE.read_text(encoding="utf-8")
    reads = "const float *from = x + row * width;"
    assert reads in source
    broken.write_text(source.replace(reads, "const float *from = 0;"))
    monkeypatch.setattr(halves, "SOURCE", broken)
    halves.halves_library.cache_clear()
    try:
        with pytest.raises(compiled.CompileError, match="does not run"):
            halves.halves_library()
        assert not [*Path(os.environ["ESMKIT_CACHE"]).rglob("*.so")]
    finally:
        halves.halves_library.cache_clear()
