"""The masked-LM head gives the logits of transformers and fair-esm, wherever it comes from."""

import json
import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EsmForMaskedLM

from esmkit.encoder import packing
from esmkit.encoder.checkpoints import FittedHeadWarning, fetch
from esmkit.encoder.checkpoints.known import DEFAULT, OFFLINE, shipped_head
from esmkit.encoder.checkpoints.lm_head import read_fitted
from esmkit.errors import CheckpointError, InputError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from oracles.checkpoints import (
    SHAPES,
    make_checkpoint,
    make_fair_esm,
    random_head,
    random_sequence,
    write_head,
)

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a head, in three shapes."""
    return make_checkpoint(tmp_path_factory.mktemp("lm"), request.param, lm_head=True)


@pytest.fixture
def copied(tiny_lm_folder: Path, tmp_path: Path) -> Path:
    """A copy of a checkpoint with a head, to be changed."""
    return Path(shutil.copytree(tiny_lm_folder, tmp_path / "model"))


@pytest.fixture
def headless(tiny_folder: Path) -> Esm2:
    return load(tiny_folder, "cpu")


def change(folder: Path, how: Callable[[Tensors], Any], **config: Any) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    how(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    options = {**json.loads((folder / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(options))


def logits_of(model: Esm2, sequences: list[np.ndarray]) -> list[np.ndarray]:
    """Logits of sequences that share one pack."""
    head = model.lm_head
    states = model.hidden_states(sequences)
    return [head.logits(torch.from_numpy(each[0])).numpy() for each in states]


def sequences() -> list[np.ndarray]:
    """Token ids with no, few and many masks."""
    lengths = (1, 9, 70, 25)
    found = [encode(random_sequence(n, n)) for n in lengths]
    found[1] = encode(random_sequence(9, 9), mask=[0, 3, 4, 8])
    found[3] = encode(random_sequence(25, 25), mask=range(1, 25, 7))
    return found


def padded(rows: list[np.ndarray]) -> torch.Tensor:
    widest = max(map(len, rows)) + 2
    return torch.tensor(
        np.stack([np.pad(r, (0, widest - len(r)), constant_values=1) for r in rows])
    )


@torch.inference_mode()
def logits_of_transformers(network: EsmForMaskedLM, rows: list[np.ndarray]) -> list[np.ndarray]:
    tokens = padded(rows)
    found = network(tokens, attention_mask=(tokens != 1).long()).logits.numpy()
    return [each[: len(row)] for each, row in zip(found, rows, strict=True)]


# ------------------------------------------------------------------------------------ the numbers


def test_logits_are_those_of_transformers_and_fair_esm(folder: Path):
    model = load(folder, "cpu")
    rows = sequences()
    found = logits_of(model, rows)
    transformers = logits_of_transformers(EsmForMaskedLM.from_pretrained(folder).eval(), rows)
    fair_esm = make_fair_esm(model)
    with torch.inference_mode():
        theirs = fair_esm(padded(rows))["logits"].numpy()
    assert max(np.abs(each).max() for each in found) > 3  # they say something
    for ours, one, other, row in zip(found, transformers, theirs, rows, strict=True):
        assert ours.dtype == np.float32
        assert ours.shape == (len(row), 33)
        np.testing.assert_allclose(ours, one, rtol=0, atol=1e-4)
        np.testing.assert_allclose(ours, other[: len(row)], rtol=0, atol=1e-4)


def test_a_folder_that_transformers_wrote_is_read(folder: Path, tmp_path: Path):
    network = EsmForMaskedLM.from_pretrained(folder).eval()
    network.save_pretrained(tmp_path / "written", max_shard_size="20kB")
    assert len(list((tmp_path / "written").glob("*.safetensors"))) > 1
    model = load(tmp_path / "written", "cpu")
    for ours, theirs in zip(
        logits_of(model, sequences()), logits_of_transformers(network, sequences()), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "of 2019"])
def test_pickled_weights_are_read(copied: Path, tiny_lm: Esm2, zipped: bool):
    tensors = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    tensors["lm_head.decoder.weight"] = tensors["esm.embeddings.word_embeddings.weight"]
    torch.save(tensors, copied / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    for found, wanted in zip(
        logits_of(load(copied, "cpu"), sequences()), logits_of(tiny_lm, sequences()), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_pickled_weights_that_are_no_tensors_are_named(copied: Path):
    tensors: dict[str, Any] = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    tensors["lm_head.bias"] = 3
    torch.save(tensors, copied / "pytorch_model.bin")
    assert "'bias' is not a tensor" in error_of(load(copied, "cpu"))


def test_the_encoder_does_not_see_the_head(tiny: Esm2, tiny_lm: Esm2):
    for with_head, without in zip(
        tiny_lm.hidden_states(sequences(), "all"),
        tiny.hidden_states(sequences(), "all"),
        strict=True,
    ):
        np.testing.assert_array_equal(with_head, without)
    assert list(tiny_lm.network.state_dict()) == list(tiny.network.state_dict())
    assert tiny_lm.has_lm_head
    assert not tiny.has_lm_head


def test_states_of_any_shape(tiny_lm: Esm2):
    states = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 5, 32)))
    found = tiny_lm.lm_head.logits(states)
    assert found.shape == (2, 3, 5, 33)
    one = tiny_lm.lm_head.logits(states[1, 2, 3])
    torch.testing.assert_close(found[1, 2, 3], one, rtol=0, atol=1e-5)
    assert tiny_lm.lm_head.logits(states[:, :0]).shape == (2, 0, 5, 33)
    with pytest.raises(
        InputError, match=r"of shape \(2, 31\) do not fit a masked-LM head of width 32"
    ):
        tiny_lm.lm_head.logits(torch.zeros(2, 31))


def test_gradients_reach_the_states(tiny_lm: Esm2):
    states = torch.randn(1, 4, 32, requires_grad=True)
    logits = tiny_lm.lm_head.logits(states)
    logits[0, 2, 5].backward()
    assert states.grad is not None
    with torch.no_grad():
        fast = tiny_lm.lm_head.logits(states)
    torch.testing.assert_close(fast, logits, rtol=0, atol=1e-5)
    assert states.grad[0, 2].abs().max() > 0
    assert states.grad[0, [0, 1, 3]].abs().max() == 0
    # States of a pass without gradients are taken where gradients could be wanted
    packed = packing.pack([encode("MKV")])
    assert not tiny_lm.lm_head.logits(tiny_lm.forward(packed, [2])).requires_grad


def test_a_changed_embedding_is_seen(copied: Path):
    model = load(copied, "cpu")
    states = torch.randn(5, 32)
    head = model.lm_head
    before = head.logits(states)
    with torch.no_grad():
        model.network.embeddings.word_embeddings.weight[7] = 0
    after = head.logits(states)
    bias = head.weights.bias[7]
    torch.testing.assert_close(after[:, 7], bias.expand(5))
    assert torch.equal(after[:, 8:], before[:, 8:])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_logits_are_float32_in_any_data_type(tiny_lm: Esm2, tiny_lm_folder: Path, dtype: str):
    model = load(tiny_lm_folder, "cpu", dtype)
    assert model.lm_head.weights.dense.weight.dtype == torch.float32
    states = model.forward(packing.pack([encode("MKTVRQERL")]), [2])[0]
    rounded = tiny_lm.network.embeddings.word_embeddings.weight.to(states.dtype).float()
    head = tiny_lm.lm_head.weights
    hidden = head.norm(torch.nn.functional.gelu(head.dense(states.float())))
    found = model.lm_head.logits(states)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, hidden @ rounded.T + head.bias, rtol=0, atol=1e-5)


def test_the_head_travels(tiny_lm: Esm2, tiny_folder: Path, tmp_path: Path):
    again = pickle.loads(pickle.dumps(tiny_lm))
    assert again.lm_head.facts == {"source": "checkpoint"}
    for found, wanted in zip(
        logits_of(again, sequences()), logits_of(tiny_lm, sequences()), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    file = tmp_path / "head.safetensors"
    sha256 = load(tiny_folder, "cpu").checkpoint.sha256
    fitted = load(tiny_folder, "cpu", lm_head=write_head(file, sha256, 32))
    file.unlink()
    with pytest.warns(FittedHeadWarning, match="the masked-LM head 'head' is not ESM-2's own"):
        assert pickle.loads(pickle.dumps(fitted)).lm_head.facts["name"] == "head"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
def test_the_head_runs_on_a_gpu(tiny_lm: Esm2, tiny_lm_folder: Path):
    model = load(tiny_lm_folder, "cuda")
    states = model.forward(packing.pack(sequences(), model.device), [2])
    found = model.lm_head.logits(states).cpu()
    wanted = tiny_lm.lm_head.logits(states.cpu())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert pickle.loads(pickle.dumps(model)).lm_head.weights.bias.device.type == "cuda"


# --------------------------------------------------------------------------- a head that is amiss


def error_of(model: Esm2) -> str:
    assert model.has_lm_head
    with pytest.raises(CheckpointError) as caught:
        _ = model.lm_head
    return str(caught.value)


def _fill(name: str, value: float) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors[name].view(-1)[-1:].fill_(value)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda t: t.pop("lm_head.dense.bias"), "is incomplete: 1 of its tensors are missing ('dense.bias')"),
        (
            lambda t: [t.pop(f"lm_head.layer_norm.{n}") for n in ("weight", "bias")],
            "is incomplete: 2 of its tensors are missing ('layer_norm.bias', 'layer_norm.weight')",
        ),
        (
            lambda t: t.update({"lm_head.bias": torch.zeros(32)}),
            "tensor 'bias' is (32,) of float32, not (33,) of floating-point numbers",
        ),
        (
            lambda t: t.update({"lm_head.dense.weight": torch.zeros(32, 32, dtype=torch.int32)}),
            "tensor 'dense.weight' is (32, 32) of int32, not (32, 32) of floating-point numbers",
        ),
        (
            lambda t: t.update({"lm_head.decoder.weight": torch.zeros(20, 32)}),
            "tensor 'decoder.weight' is (20, 32) of float32, not (33, 32) of floating-point numbers",
        ),
        (
            lambda t: t.update({"lm_head.decoder.bias": torch.zeros(33)}),
            "holds a tensor 'decoder.bias', which the head of an ESM-2 does not have",
        ),
        (_fill("lm_head.layer_norm.weight", float("nan")), "tensor 'layer_norm.weight' holds NaN"),
        (_fill("lm_head.dense.weight", float("-inf")), "tensor 'dense.weight' holds NaN or infinity"),
    ],
)  # fmt: skip
def test_a_head_that_is_amiss_is_named_when_it_is_asked_for(
    copied: Path, tiny: Esm2, how: Callable[[Tensors], Any], said: str
):
    change(copied, how)
    model = load(copied, "cpu")
    text = error_of(model)
    assert said in text
    assert f"the masked-LM head of 'model' in {str(copied)!r}" in text
    assert "; " in text
    # The encoder is whole, and so are its embeddings
    np.testing.assert_array_equal(model.embed("MKTV").mean, tiny.embed("MKTV").mean)
    assert error_of(pickle.loads(pickle.dumps(model))) == text


@pytest.mark.parametrize("tied", [True, False])
def test_a_decoder_of_its_own_is_used(copied: Path, tied: bool):
    decoder = torch.randn(33, 32)
    change(
        copied, lambda t: t.update({"lm_head.decoder.weight": decoder}), tie_word_embeddings=tied
    )
    network = EsmForMaskedLM.from_pretrained(copied).eval()
    assert torch.equal(network.lm_head.decoder.weight, decoder)  # transformers uses it too
    for ours, theirs in zip(
        logits_of(load(copied, "cpu"), sequences()),
        logits_of_transformers(network, sequences()),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_a_decoder_that_the_config_promises_is_missed(copied: Path):
    change(copied, lambda _: None, tie_word_embeddings=False)
    assert "tensor 'lm_head.decoder.weight' is missing" in error_of(load(copied, "cpu"))


def test_half_precision_heads_are_read(copied: Path):
    def halve(tensors: Tensors) -> None:
        tensors.update({n: t.half() for n, t in tensors.items() if n.startswith("lm_head")})

    change(copied, halve)
    head = load(copied, "cpu").lm_head
    assert head.weights.dense.weight.dtype == torch.float32


def test_without_a_head_it_is_said_what_to_do(headless: Esm2):
    assert headless.has_lm_head is False
    with pytest.raises(CheckpointError) as caught:
        _ = headless.lm_head
    assert str(caught.value) == (
        "'tiny-esm2' has no masked-LM head; fit one to it with `esmkit score fit` and give its file "
        "with `lm_head`, or load facebook/esm2_t6_8M_UR50D, which brings its own"
    )


# ----------------------------------------------------------------------------------- fitted heads


def test_a_fitted_head_is_used_and_said(headless: Esm2, tmp_path: Path):
    sha256 = headless.checkpoint.sha256
    perplexity = {
        "one": {"perplexity": 12.34, "letters": 18},
        "two": {"perplexity": 9, "letters": 18},
    }
    told = {
        "trained_on": "12 proteins",
        "perplexity": perplexity,
        "sha256": "0",
    }
    path = write_head(tmp_path / "mine.safetensors", sha256, 32, 5, **told)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load(headless.checkpoint.folder, "cpu", lm_head=path)
        model.embed("MKTV")
    for _ in range(2):  # at every use
        with pytest.warns(FittedHeadWarning) as caught:
            head = model.lm_head
        assert [str(w.message) for w in caught] == [head.facts["note"]]
        assert caught[0].filename == __file__
    assert head.facts == {
        "source": "fitted",
        "name": "mine",
        "sha256": fetch.sha256_of_file(path),
        "trained_on": "12 proteins",
        "perplexity": perplexity,
        "note": "the masked-LM head 'mine' is not ESM-2's own: it was fitted on 12 proteins (masked "
        "perplexity 9.0 to 12.3 on 2 sets of proteins held out, letters alone 18.0); load "
        "facebook/esm2_t6_8M_UR50D with a network for the original",
    }
    assert repr(head) == "LmHead(mine, fitted, width 32)"
    network = EsmForMaskedLM.from_pretrained(headless.checkpoint.folder).eval()
    network.lm_head.load_state_dict(random_head(32, 5), strict=False)
    with pytest.warns(FittedHeadWarning):
        ours = logits_of(model, sequences())
    for one, other in zip(ours, logits_of_transformers(network, sequences()), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "facts",
    [
        {"perplexity": {}},
        {"perplexity": 12.5},
        {"perplexity": {"one": 12.5}},
        {"perplexity": {"one": {"perplexity": "12"}}},
        {"trained_on": ["x"], "name": 3, "note": 4},
    ],
)
def test_facts_of_any_kind_are_taken(headless: Esm2, tmp_path: Path, facts: dict[str, Any]):
    """They are anybody's to write; what is not understood is left out of the sentence."""
    path = write_head(tmp_path / "mine.safetensors", headless.checkpoint.sha256, 32, **facts)
    found = read_fitted(path, headless.checkpoint).facts
    assert found["note"] == (
        "the masked-LM head 'mine' is not ESM-2's own: it was fitted; load "
        "facebook/esm2_t6_8M_UR50D with a network for the original"
    )


def test_a_fitted_head_says_itself_what_it_is(headless: Esm2, tmp_path: Path):
    sha256 = headless.checkpoint.sha256
    path = write_head(tmp_path / "mine.safetensors", sha256, 32, note="it is no good: none")
    model = load(headless.checkpoint.folder, "cpu", lm_head=path)
    with pytest.warns(FittedHeadWarning, match="^it is no good: none$"):
        _ = model.lm_head


def test_a_fitted_head_takes_the_place_of_the_own(tiny_lm: Esm2, tmp_path: Path):
    path = write_head(tmp_path / "mine.safetensors", tiny_lm.checkpoint.sha256, 32, 5)
    model = load(tiny_lm.checkpoint.folder, "cpu", lm_head=path)
    with pytest.warns(FittedHeadWarning):
        weights = model.lm_head.weights
    assert torch.equal(weights.bias, random_head(32, 5)["bias"])


def test_a_fitted_head_of_another_encoder_is_refused(headless: Esm2, tmp_path: Path):
    path = write_head(tmp_path / "other.safetensors", "ab" * 32, 32)
    with pytest.raises(CheckpointError, match=r"\(SHA-256 abababababab…\) than 'tiny-esm2'"):
        load(headless.checkpoint.folder, "cpu", lm_head=path)


def rewritten(path: Path, how: Callable[[Tensors], Any], metadata: dict | None = None) -> None:
    tensors = load_file(path)
    how(tensors)
    save_file(tensors, path, metadata=metadata)


def test_a_fitted_file_that_is_amiss_is_refused_at_once(headless: Esm2, tmp_path: Path):
    sha256, folder = headless.checkpoint.sha256, headless.checkpoint.folder
    facts = {"facts": json.dumps({"name": "x", "encoder_sha256": sha256})}
    path = tmp_path / "head.safetensors"

    def said(how: Callable[[Tensors], Any], metadata: dict | None = facts) -> str:
        write_head(path, sha256, 32)
        rewritten(path, how, metadata)
        with pytest.raises(CheckpointError) as caught:
            load(folder, "cpu", lm_head=path)
        assert repr(str(path)) in str(caught.value)
        return str(caught.value)

    assert "is incomplete: 1 of its tensors are missing ('bias')" in said(lambda t: t.pop("bias"))
    assert "holds a tensor 'more'" in said(lambda t: t.update(more=torch.zeros(3)))
    text = said(lambda t: t.update({"dense.weight": torch.zeros(320, 320)}))
    assert "tensor 'dense.weight' is (320, 320), not (32, 32)" in text
    assert "tensor 'bias' holds NaN or infinity" in said(_fill("bias", float("nan")))
    for metadata in (None, {}, {"facts": "{"}, {"facts": "[1]"}):
        assert "does not say what it was fitted to" in said(lambda _: None, metadata)
    text = said(lambda _: None, {"facts": "{}"})
    assert "fitted to another encoder (not named)" in text
    for content in (b"", b"no safetensors", b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a masked-LM head, or it is damaged"):
            load(folder, "cpu", lm_head=path)
    with pytest.raises(
        CheckpointError, match=re.escape(f"there is no file {str(tmp_path / 'no')!r}")
    ):
        load(folder, "cpu", lm_head=tmp_path / "no")
    save_file({"other": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="is not a masked-LM head"):
        load(folder, "cpu", lm_head=path)


# ----------------------------------------------------------------------------------- real weights


@pytest.fixture(scope="module")
def fitted(real: Esm2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head that comes with esmkit for the offline checkpoint; while there is none, a random one."""
    random = tmp_path_factory.mktemp("head") / "head.safetensors"
    return shipped_head(OFFLINE.sha256) or write_head(random, OFFLINE.sha256, 320)


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning")
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.OfflineCheckpointWarning")
def test_a_fitted_head_in_transformers_gives_the_same_logits(
    real: Esm2, demo: list[Protein], fitted: Path
):
    model = load(real.checkpoint.folder, "cpu", lm_head=fitted)
    network = EsmForMaskedLM.from_pretrained(real.checkpoint.folder).eval()
    missing, extra = network.lm_head.load_state_dict(load_file(fitted), strict=False)
    assert (missing, extra) == (["decoder.weight"], [])
    rows = [encode(p.sequence[:400], mask=range(0, len(p) % 9)) for p in demo[:6]]
    for ours, theirs in zip(
        logits_of(model, rows), logits_of_transformers(network, rows), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.weights
def test_golden_logits_of_the_official_weights():
    """The numbers are those of transformers' own integration test of ``EsmForMaskedLM``."""
    folder = fetch.hub_cached(DEFAULT.repo, DEFAULT.revision)
    if folder is None:
        pytest.skip(f"{DEFAULT.repo} is not on this machine")
    model = load(DEFAULT.repo, "cpu")
    (found,) = logits_of(model, [np.arange(6)])  # <pad> among them, as in that test
    golden = [
        [8.9215, -10.5898, -6.4671],
        [-6.3967, -13.9114, -1.1212],
        [-7.7812, -13.9516, -3.7406],
    ]
    np.testing.assert_allclose(found[:3, :3], golden, rtol=0, atol=1e-4)
    assert model.lm_head.facts == {"source": "checkpoint"}
