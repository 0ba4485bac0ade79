"""`esmkit verify` passes what is right, and catches and locates what is wrong."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EsmModel

from esmkit.encoder import packing
from esmkit.encoder.checkpoints import FittedHeadWarning
from esmkit.encoder.stream import MapStream
from esmkit.errors import CheckpointError, InputError, OptionError, VerificationError
from esmkit.esm2 import Esm2, load
from esmkit.reference import encoder as reference
from esmkit.reference import masked_lm
from esmkit.reference import verification as module
from esmkit.reference.implementations import Implementations
from esmkit.reference.verification import Verification, verify
from esmkit.sequences.proteins import Protein
from esmkit.sequences.tokens import encode
from oracles.checkpoints import SHAPES, make_checkpoint, random_sequence, write_head


@pytest.fixture(scope="module")
def proteins() -> list[Protein]:
    return [Protein(f"p{n}", random_sequence(n, n)) for n in (40, 9, 25)]


def failed(result: Verification) -> list[tuple[str, str]]:
    return [(c.compared, c.quantity) for c in result.checks if not c.passed]


def test_every_shape_passes_with_every_row(any_tiny_folder: Path, proteins):
    result = verify(load(any_tiny_folder, "cpu"), proteins)
    assert failed(result) == []
    assert result.passed
    assert result.proteins == ["p40", "p9", "p25"]
    rows = [(c.compared, c.quantity) for c in result.checks]
    assert len(rows) == len(set(rows)) == 15
    for suffix in ("", ", with masks", ", padded"):
        for what in ("hidden states", "attention maps", "contact map"):
            assert ("reference / Hugging Face", what + suffix) in rows
    for suffix in ("", ", with masks"):
        assert ("packed / Hugging Face", "hidden states" + suffix) in rows
        assert ("packed / one at a time", "hidden states" + suffix) in rows
        assert ("streamed / Hugging Face", "attention maps" + suffix) in rows
    result.raise_if_failed()


def test_every_value_is_compared(tiny: Esm2, proteins):
    counts = {(c.compared, c.quantity): c.values for c in verify(tiny, proteins).checks}
    tokens = np.array([len(p) + 2 for p in proteins])
    states = int(tokens.sum()) * (tiny.layers + 1) * tiny.width
    maps = int((tokens**2).sum()) * tiny.layers * tiny.heads
    contacts = int(((tokens - 2) ** 2).sum())
    for suffix in ("", ", with masks", ", padded"):
        assert counts["reference / Hugging Face", "hidden states" + suffix] == states
        assert counts["reference / Hugging Face", "attention maps" + suffix] == maps
        assert counts["reference / Hugging Face", "contact map" + suffix] == contacts


def test_a_wrong_reference_is_caught_everywhere(tiny: Esm2, proteins, monkeypatch):
    monkeypatch.setattr(reference, "scale_query", lambda query: query)
    wrong = failed(verify(tiny, proteins))
    assert {compared for compared, _ in wrong} == {"reference / Hugging Face"}
    assert len(wrong) == 9


def test_a_wrong_packed_forward_is_caught(tiny: Esm2, proteins, monkeypatch):
    def over_the_row(pack: packing.Pack, parts: Any) -> torch.Tensor:
        return tiny.network.embeddings(
            input_ids=pack.ids,
            attention_mask=torch.ones_like(pack.ids),
            position_ids=pack.positions,
        )

    monkeypatch.setattr("esmkit.encoder.forward.embed_tokens", over_the_row)
    wrong = failed(verify(tiny, proteins))
    # right without masks and for one sequence at a time: exactly the mixing of shares is found
    assert wrong == [
        ("packed / Hugging Face", "hidden states, with masks"),
        ("packed / one at a time", "hidden states, with masks"),
    ]


def test_a_wrong_map_is_caught_and_located(tiny: Esm2, proteins, monkeypatch):
    class Tampering(MapStream):
        def __init__(self, pack, sink, heads=None, **options):
            def tampered(layer: int, place: int, heads, maps: torch.Tensor) -> None:
                if layer == 1 and maps.shape[-1] == 27:
                    maps[list(heads).index(2), 5, 6] += 3e-5
                sink(layer, place, heads, maps)

            super().__init__(pack, tampered, heads, **options)

    monkeypatch.setattr("esmkit.encoder.encoder.MapStream", Tampering)
    result = verify(tiny, proteins)
    assert {compared for compared, _ in failed(result)} == {"streamed / Hugging Face"}
    worst = next(c for c in result.checks if c.compared == "streamed / Hugging Face")
    assert worst.where == "p25, L1H2"
    assert 2e-5 < worst.absolute < 4e-5
    with pytest.raises(
        VerificationError,
        match=r"streamed / Hugging Face, attention maps: the absolute difference 3\.\de-05 "
        r"at p25, L1H2 is over 1e-05; check the weights",
    ):
        result.raise_if_failed()


def test_nothing_compared_is_no_success():
    row = module.Comparison("a / b", "maps", "absolute", "absolute", 1e-5)
    assert not row.check().passed
    row.add(np.zeros(3), np.zeros(3), "here")
    assert row.check().passed
    for ours, theirs in (([np.nan], [0.0]), ([0.0], [np.nan]), ([0.0], [np.inf])):
        broken = module.Comparison("a / b", "maps", "relative", "relative", 1e-5)
        broken.add(np.zeros(3), np.ones(3) * 1e-9, "here")
        broken.add(np.array(ours), np.array(theirs), "there")
        assert not broken.check().passed
        assert broken.check().where == "there"
    with pytest.raises(VerificationError, match="at here the shapes differ"):
        row.add(np.zeros(3), np.zeros(4), "here")


def test_largest_absolute_and_relative_are_of_all_arrays():
    row = module.Comparison("a / b", "states", "relative", "relative", 1e-3)
    row.add(np.array([100.0]), np.array([100.0005]), "large")
    row.add(np.array([1.0]), np.array([1.00001]), "small")
    found = row.check()
    np.testing.assert_allclose([found.absolute, found.relative], [5e-4, 1e-5], rtol=1e-3)
    assert found.where == "small"


def test_every_padded_row_has_padding(tiny: Esm2, proteins, monkeypatch):
    widths = []
    original = Implementations.hugging_face

    def seen(self, ids):
        widths.append((ids == 1).sum(axis=1).min())
        return original(self, ids)

    monkeypatch.setattr(Implementations, "hugging_face", seen)
    verify(tiny, proteins[:1])
    assert widths == [0, 0, 3]


def test_long_proteins_take_part_with_their_beginning(tiny: Esm2, monkeypatch):
    monkeypatch.setattr(module, "MAX_RESIDUES", 20)
    result = verify(tiny, [Protein("long", random_sequence(30, 1))])
    assert result.passed
    assert result.truncated == result.to_dict()["truncated"] == ["long"]
    assert result.checks[2].values == 20**2


def test_without_contact_head_there_are_no_contact_rows(tiny_folder: Path, tmp_path, proteins):
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "headless"))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: t for name, t in tensors.items() if "contact_head" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    result = verify(load(folder, "cpu"), proteins[:1])
    assert result.passed
    assert not [c for c in result.checks if "contact" in c.quantity]


def logit_rows(result: Verification) -> list[tuple[str, str]]:
    return [(c.compared, c.quantity) for c in result.checks if "logits" in c.quantity]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_with_a_head_logits_are_compared_in_every_row(shape, tmp_path: Path, proteins):
    model = load(make_checkpoint(tmp_path / "lm", shape, lm_head=True), "cpu")
    result = verify(model, proteins)
    assert failed(result) == []
    implementations = ("reference / Hugging Face", "packed / Hugging Face", "packed / fair-esm")
    suffixes = ("", ", with masks", ", padded, with masks")
    assert logit_rows(result) == [(i, f"logits{s}") for s in suffixes for i in implementations]
    assert len(result.checks) == 15 + 9
    values = sum(len(p) + 2 for p in proteins) * 33
    assert {c.values for c in result.checks if "logits" in c.quantity} == {values}
    assert result.to_dict()["lm_head"] == {"source": "checkpoint"}
    assert result.notes == result.to_dict()["notes"] == []


def test_wrong_heads_are_caught_everywhere(tiny_lm: Esm2, proteins, monkeypatch):
    def of(result: Verification) -> set[str]:
        assert {quantity.partition(",")[0] for _, quantity in failed(result)} == {"logits"}
        return {compared for compared, _ in failed(result)}

    monkeypatch.setattr(masked_lm, "layer_norm", lambda x, _: x)
    wrong = verify(tiny_lm, proteins)
    assert of(wrong) == {"reference / Hugging Face"}
    assert len(failed(wrong)) == 3
    monkeypatch.undo()
    monkeypatch.setattr("esmkit.encoder.lm_head.gelu", torch.relu)
    wrong = verify(tiny_lm, proteins)
    assert of(wrong) == {"packed / Hugging Face", "packed / fair-esm"}
    assert len(failed(wrong)) == 6


def test_shares_of_masks_that_mix_are_caught_in_logits(tiny_lm: Esm2, proteins, monkeypatch):
    def over_the_row(pack: packing.Pack, parts: Any) -> torch.Tensor:
        return tiny_lm.network.embeddings(
            input_ids=pack.ids,
            attention_mask=torch.ones_like(pack.ids),
            position_ids=pack.positions,
        )

    monkeypatch.setattr("esmkit.encoder.forward.embed_tokens", over_the_row)
    wrong = [row for row in failed(verify(tiny_lm, proteins)) if "logits" in row[1]]
    assert wrong == [
        (f"packed / {name}", f"logits{suffix}")
        for suffix in (", with masks", ", padded, with masks")
        for name in ("Hugging Face", "fair-esm")
    ]


def test_a_fitted_head_is_verified(tiny: Esm2, tmp_path: Path, proteins):
    file = write_head(tmp_path / "head.safetensors", tiny.checkpoint.sha256, tiny.width)
    model = load(tiny.checkpoint.folder, "cpu", lm_head=file)
    with pytest.warns(FittedHeadWarning):
        result = verify(model, proteins[:2])
    assert failed(result) == []
    assert len(logit_rows(result)) == 9
    assert result.to_dict()["lm_head"]["name"] == "head"


def test_without_fair_esm_it_is_said(tiny_lm: Esm2, proteins, monkeypatch):
    monkeypatch.setitem(sys.modules, "esm.model.esm2", None)
    result = verify(tiny_lm, proteins[:2])
    assert result.passed
    assert not [row for row in logit_rows(result) if "fair-esm" in row[0]]
    assert len(logit_rows(result)) == 6
    assert result.notes == [
        "logits were not compared with fair-esm: it is not installed (pip install fair-esm), or has no "
        "network of this shape"
    ]


def test_a_head_that_is_amiss_is_not_passed_over(tiny_lm_folder: Path, tmp_path: Path, proteins):
    folder = Path(shutil.copytree(tiny_lm_folder, tmp_path / "half"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.bias"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="is incomplete: 1 of its tensors are missing"):
        verify(load(folder, "cpu"), proteins)


def test_results_in_every_form(tiny: Esm2, proteins):
    result = verify(tiny, proteins[:2])
    assert json.loads(json.dumps(result.to_dict()))["passed"] is True
    frame = result.to_frame()
    assert len(frame) == 15
    assert frame["reason"].str.len().min() > 20
    text = result.to_text()
    # head and rows, a blank line, three reasons, a note
    assert len(text.splitlines()) == 16 + 1 + 3 + 1
    assert result.notes == ["tiny-esm2 has no masked-LM head: no logits compared"]
    assert text.endswith(result.notes[0])
    assert result.to_dict()["lm_head"] is None
    assert "1e-05 abs.: values are 0 to 1; float32 rounds the scores" in text
    assert "OVER" not in text
    assert "<table" in result._repr_html_()


def test_what_cannot_be_verified(tiny: Esm2, tiny_folder: Path, proteins):
    with pytest.raises(InputError, match="there is no protein to verify with"):
        verify(tiny, [])
    with pytest.raises(OptionError, match="verification is about float32: load the model with"):
        verify(load(tiny_folder, "cpu", "bfloat16"), proteins)


def test_streamed_maps_are_those_of_hugging_face_and_change_nothing(
    any_tiny_folder: Path, monkeypatch
):
    model = load(any_tiny_folder, "cpu")
    network = EsmModel.from_pretrained(
        any_tiny_folder, add_pooling_layer=False, attn_implementation="eager"
    ).eval()
    sequences = [encode(random_sequence(n, n)) for n in (30, 12, 30, 44)]
    pack = packing.pack(sequences)
    found: dict[tuple[int, int], list[np.ndarray]] = {}

    def keep(layer: int, place: int, heads, maps: torch.Tensor) -> None:
        held = found.setdefault((layer, place), [])
        assert list(heads) == list(range(len(held), len(held) + len(maps)))
        held.extend(maps.numpy())

    monkeypatch.setattr(
        "esmkit.encoder.stream.BLOCK_BYTES", 2 * 32 * 32 * 4
    )  # blocks of one or two heads
    streamed = model.forward(pack, [model.layers], sink=keep)
    torch.testing.assert_close(streamed, model.forward(pack, [model.layers]), rtol=0, atol=0)
    assert set(found) == {(n, b) for n in range(model.layers) for b in range(4)}
    for place, ids in enumerate(sequences):
        tokens = torch.from_numpy(ids)[None]
        with torch.no_grad():
            theirs = network(tokens, output_attentions=True).attentions
        for layer, maps in enumerate(theirs):
            ours = np.stack(found[layer, place])
            assert ours.shape == (model.heads, len(ids), len(ids))
            np.testing.assert_allclose(ours, maps[0].numpy(), rtol=0, atol=1e-5)
            np.testing.assert_allclose(ours.sum(-1), 1, rtol=0, atol=1e-6)


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::esmkit.encoder.checkpoints.FittedHeadWarning")
def test_real_checkpoint_on_real_proteins(real: Esm2, demo: list[Protein]):
    """Ubiquitin, bungarotoxin, globin: every row, every head, within its tolerance."""
    chosen = [p for p in demo if p.id in ("1UBI_A", "P60615", "P69905")]
    result = verify(real, chosen)
    assert failed(result) == []
    last = next(c for c in result.checks if c.quantity == "hidden states")
    assert 0 < last.absolute < 5e-5
    assert len(logit_rows(result)) == 9 * real.has_lm_head
