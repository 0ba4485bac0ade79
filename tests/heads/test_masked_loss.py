"""The masked-LM loss without a head equals that of Hugging Face's own model without it."""

import dataclasses
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import EsmForMaskedLM

from esmkit.data import demo_structure, ts50
from esmkit.errors import CheckpointError, InputError, NonFiniteError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.heads import masked_loss
from esmkit.heads.hidden_rows import PARTS, HiddenRow, hidden_parts
from esmkit.heads.masked_loss import COLUMNS, loss_without
from esmkit.heads.resume import LOSS, Keeper, loss_keys
from esmkit.sequences.letters import AMINO_ACIDS
from esmkit.sequences.tokens import TOKENS, encode
from oracles.checkpoints import make_checkpoint

IDS = [TOKENS.index(letter) for letter in AMINO_ACIDS]


@pytest.fixture(scope="module")
def chains() -> Any:
    """Three chains of different lengths; one has an unknown residue."""
    first, second = sorted(ts50(), key=len)[:2]
    odd = dataclasses.replace(first, sequence="X" + first.sequence[1:])
    return [demo_structure(), odd, second]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("lm") / "m", (3, 2, 24), lm_head=True)


@pytest.fixture(scope="module")
def model(folder) -> Esm2:
    return load(folder, "cpu")


class Theirs:
    """Hugging Face's model; W^O of some heads zeroed, or their outputs set by a hook."""

    def __init__(self, folder) -> None:
        self.network: Any = EsmForMaskedLM.from_pretrained(folder, attn_implementation="eager")
        self.network.eval()
        self.width = 24 // 2

    def dense(self, layer: int) -> Any:
        return self.network.esm.encoder.layer[layer].attention.output.dense

    @torch.no_grad()
    def loss(self, chains, draws: int, seed: int) -> np.ndarray:
        """Loss of each chain, (chains,): one copy at a time, nothing of esmkit but what is hidden."""
        found = []
        for chain in chains:
            lost = []
            for part in hidden_parts(chain.sequence, seed)[:draws]:
                ids = torch.from_numpy(encode(chain.sequence, mask=part.tolist()))[None]
                logits = self.network(ids, attention_mask=torch.ones_like(ids)).logits[0].double()
                odds = logits[1 + part][:, IDS].log_softmax(-1)
                truth = [AMINO_ACIDS.index(chain.sequence[i]) for i in part]
                lost += [-float(row[place]) for row, place in zip(odds, truth, strict=True)]
            found.append(np.mean(lost))
        return np.array(found)

    def without(self, layer: int, heads: list[int], *given) -> np.ndarray:
        dense = self.dense(layer)
        kept = dense.weight.clone()
        with torch.no_grad():
            for head in heads:
                dense.weight[:, head * self.width : (head + 1) * self.width] = 0
            found = self.loss(*given)
            dense.weight.copy_(kept)
        return found

    def at_mean(self, layer: int, head: int, chains, draws: int, seed: int) -> np.ndarray:
        """The loss if a head says its mean over the residues of all hidden copies."""
        seen, where = [], slice(head * self.width, (head + 1) * self.width)
        dense: Any = self.dense(layer)
        handle = dense.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0][0, 1:-1, where].clone())
        )
        self.loss(chains, draws, seed)
        handle.remove()
        mean = torch.cat(seen).double().mean(0).float()

        def replace(module, inputs):
            joined = inputs[0].clone()
            joined[..., where] = mean
            return (joined,)

        handle = dense.register_forward_pre_hook(replace)
        found = self.loss(chains, draws, seed)
        handle.remove()
        return found


@pytest.mark.parametrize("draws", [2, 7])
def test_every_loss_equals_hugging_face_without_the_head(folder, model, chains, draws):
    table: Any = loss_without(model, chains, draws=draws, seed=3)
    theirs, given = Theirs(folder), (chains, draws, 3)
    intact = theirs.loss(*given)
    rows = table.set_index(["name", "mode"])
    for layer in range(3):
        whole = theirs.without(layer, [0, 1], *given)
        for head in range(2):
            zeroed = theirs.without(layer, [head], *given)
            row = rows.loc[(f"L{layer}H{head}", "zero")]
            np.testing.assert_allclose(row["masked_lm_loss"], zeroed.mean(), atol=1e-5)
            change = (zeroed - intact).mean()
            np.testing.assert_allclose(row["masked_lm_loss_change"], change, atol=1e-5)
            assert abs(change) > 1e-4  # so that there is something to compare
            change = (whole - intact).mean()
            np.testing.assert_allclose(row["layer_loss_change"], change, atol=1e-5)
            if draws == 2:
                mean = theirs.at_mean(layer, head, *given)
                row = rows.loc[(f"L{layer}H{head}", "mean")]
                np.testing.assert_allclose(row["masked_lm_loss"], mean.mean(), atol=1e-5)
    hidden = sum(sum(map(len, hidden_parts(c.sequence, 3)[:draws])) for c in chains)
    assert (table["masked_lm_residues"] == hidden).all()
    if draws == PARTS:
        assert hidden == sum(map(len, chains)) - 1


def without_output(folder, to, head: slice, layer: int = 1) -> Esm2:
    """The checkpoint with W^O of a head of a layer 0: what it says reaches nobody."""
    new = make_checkpoint(to, (3, 2, 24), lm_head=True)
    tensors = load_file(new / "model.safetensors")
    tensors[f"esm.encoder.layer.{layer}.attention.output.dense.weight"][:, head] = 0
    save_file(tensors, new / "model.safetensors", metadata={"format": "pt"})
    return load(new, "cpu")


@pytest.mark.parametrize("layer", [0, 2])
def test_a_head_that_nobody_hears_changes_nothing_to_the_last_bit(folder, tmp_path, chains, layer):
    deaf = without_output(folder, tmp_path / "m", slice(12, 24), layer)
    table: Any = loss_without(deaf, chains, heads=[f"L{layer}"])
    own = table[table["head"] == 1]
    for name in ("masked_lm_loss_change", "masked_lm_loss_low", "masked_lm_loss_high"):
        assert list(own[name]) == [0, 0]
    assert own[["masked_lm_loss_p", "masked_lm_loss_q"]].isna().all(axis=None)
    assert (table.loc[table["head"] == 0, "masked_lm_loss_change"] != 0).all()


def test_neither_order_nor_rows_nor_other_heads_matter(model, chains, monkeypatch):
    one = loss_without(model, chains)
    assert list(one.columns) == ["name", "layer", "head", "mode", *COLUMNS]
    pandas.testing.assert_frame_equal(loss_without(model, chains[::-1]), one)
    some: Any = loss_without(model, chains, heads=["L1H1"])
    alone: Any = one[one["name"] == "L1H1"].reset_index(drop=True)
    own = [name for name in alone.columns if not name.endswith("_q") and "layer_" not in name]
    pandas.testing.assert_frame_equal(some[own], alone[own])
    monkeypatch.setattr(masked_loss, "PASS_TOKENS", 1)
    pandas.testing.assert_frame_equal(loss_without(model, chains), one, rtol=0, atol=1e-4)


def test_intervals_are_over_chains_and_need_two(model, chains):
    table = loss_without(model, chains, modes="mean")
    for name in ("masked_lm_loss", "layer_loss"):
        assert (table[f"{name}_low"] <= table[f"{name}_change"]).all()
        assert (table[f"{name}_change"] <= table[f"{name}_high"]).all()
        assert (table[f"{name}_low"] < table[f"{name}_high"]).all()
    each = [loss_without(model, [c], modes="mean", heads=["L0H0"]) for c in chains]
    assert np.isnan(each[0]["masked_lm_loss_low"][0])
    assert list(table["mode"]) == ["mean"] * 6


def test_the_parts_cover_a_chain_once():
    parts = hidden_parts("MKTVRQXERLKSIVRILEBZ", seed=1)
    assert sorted(np.concatenate(parts)) == [i for i in range(20) if i not in (6, 18, 19)]
    assert len(parts) == 7
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [p.tolist() for p in parts] != [
        p.tolist() for p in hidden_parts("MKTVRQXERLKSIVRILEBZ", seed=2)
    ]
    assert hidden_parts("XXX", seed=0) == []


def test_a_chain_without_amino_acids_counts_for_nothing(model, chains):
    unknown = dataclasses.replace(chains[0], id="z", sequence="X" * len(chains[0]))
    alone: Any = loss_without(model, [unknown], modes="mean")
    assert alone["masked_lm_loss_change"].isna().all()
    both: Any = loss_without(model, [*chains, unknown], modes="zero")
    pandas.testing.assert_frame_equal(both, loss_without(model, chains, modes="zero"))


class Kept(Keeper):
    """Keeps in a dict."""

    def __init__(self) -> None:
        self.arrays: dict[Any, Any] = {}

    def get(self, stage, place, names):
        assert stage == LOSS
        return self.arrays.get(place)

    def put(self, stage, place, arrays):
        self.arrays[place] = dict(arrays)


def test_what_is_kept_is_not_measured_again(model, chains, monkeypatch):
    keep, told = Kept(), []
    first = loss_without(model, chains, keep=keep, progress=told.append)
    assert len(keep.arrays) == len(told) == len(set(told)) == 9
    assert told[0] == f"{min(c.id for c in chains)} L0"
    gone = [keep.arrays.pop(place) for place in (0, 4)]
    computed: list[int] = []
    losses = masked_loss._Hiding.losses

    def counted(self, place, layer, *rest):
        computed.append(place * 3 + layer)
        return losses(self, place, layer, *rest)

    monkeypatch.setattr(masked_loss._Hiding, "losses", counted)
    pandas.testing.assert_frame_equal(loss_without(model, chains, keep=keep), first)
    assert sorted(computed) == [0, 4]
    np.testing.assert_array_equal(keep.arrays[4]["loss"], gone[1]["loss"])


def test_what_is_kept_rests_on_chains_head_draws_and_seed(chains):
    facts = {"source": "checkpoint"}
    keys = [
        loss_keys(chains, facts, draws=4, seed=0),
        loss_keys(chains[::-1], facts, draws=4, seed=0),
        loss_keys(chains, {"source": "fitted"}, draws=4, seed=0),
        loss_keys(chains, facts, draws=7, seed=0),
        loss_keys(chains, facts, draws=4, seed=1),
    ]
    assert len({key(LOSS, 0) for key in keys} | {keys[0](LOSS, 1)}) == 6


def test_errors_say_what_to_do(model, tiny, chains, monkeypatch):
    with pytest.raises(CheckpointError, match="has no masked-LM head; fit one"):
        loss_without(tiny, chains)
    assert masked_loss.head_facts(tiny) is None
    assert masked_loss.head_facts(model) == {"source": "checkpoint"}
    for draws in (0, 8, 1.5, True):
        with pytest.raises(OptionError, match=r"`draws` are the parts of a chain .* 1 to 7, not"):
            loss_without(model, chains, draws=draws)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="modes are 'mean', 'zero' or both"):
        loss_without(model, chains, modes="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="comes twice"):
        loss_without(model, [chains[0]] * 2)
    monkeypatch.setattr(HiddenRow, "sums", lambda self: torch.full((3, 2, 12), torch.nan).double())
    with pytest.raises(NonFiniteError, match="without a head of layer 0 the model returns NaN"):
        loss_without(model, chains)
