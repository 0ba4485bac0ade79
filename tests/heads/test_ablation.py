"""Ablation equals zeroing a slice inside Hugging Face's own eager model, and changes nothing else."""

import dataclasses
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.stats import permutation_test
from transformers import EsmModel

from esmkit.contacts import ContactHead, evaluate
from esmkit.data import demo_structure, ts50
from esmkit.encoder import packing
from esmkit.encoder.forward import encoder_layer, enter, remaining_layers
from esmkit.encoder.stream import MapStream
from esmkit.errors import InputError, NonFiniteError, OptionError
from esmkit.esm2 import Esm2, load
from esmkit.heads import ablation
from esmkit.heads.ablation import ablate
from esmkit.heads.changes import INTERVALS, REMOVED, flip_test, with_rates
from esmkit.sequences.tokens import encode
from esmkit.structure import Structure
from oracles.checkpoints import make_checkpoint
from oracles.contact_oracles import plain_precision

Chains = list[Structure]


@pytest.fixture(scope="module")
def chains() -> Chains:
    """Three chains of different lengths, 76 to 79 residues among them."""
    return [demo_structure(), *sorted(ts50(), key=len)[:2]]


class Eager:
    """Hugging Face's own model with one head taken out by a hook: nothing of esmkit in it."""

    def __init__(self, folder, layer: int, head: int) -> None:
        self.network: Any = EsmModel.from_pretrained(
            folder, add_pooling_layer=False, attn_implementation="eager"
        ).eval()
        config = self.network.config
        width = config.hidden_size // config.num_attention_heads
        self.slice = slice(head * width, (head + 1) * width)
        self.dense = self.network.encoder.layer[layer].attention.output.dense
        self.place = layer * config.num_attention_heads + head

    @torch.no_grad()
    def run(self, structure: Structure, value: torch.Tensor | None, remove_map: bool):
        """Last hidden state of residues (R, D), contacts (R, R), the head's output (R, K)."""
        seen = []

        def hook(module, inputs):
            (joined,) = inputs
            seen.append(joined[0, 1:-1, self.slice].clone())
            if value is not None:
                joined = joined.clone()
                joined[..., self.slice] = value
            return (joined,)

        tokens = torch.from_numpy(encode(structure.sequence))[None]
        handle = self.dense.register_forward_pre_hook(hook)
        output = self.network(
            tokens, attention_mask=torch.ones_like(tokens), output_attentions=True
        )
        handle.remove()
        regression = self.network.contact_head.regression
        kept = regression.weight.clone()
        if remove_map:
            regression.weight[0, self.place] = 0
        maps = torch.stack(output.attentions, dim=1)
        contacts = self.network.contact_head(tokens, maps)[0].numpy()
        regression.weight.copy_(kept)
        return output.last_hidden_state[0, 1:-1].double().numpy(), contacts, seen[0]


def changes(pairs: list[tuple[np.ndarray, np.ndarray]], chains: Chains, divisor: int):
    """Precisions without the head, and less those with it: (chains,) each."""
    scores = [
        [plain_precision(values, chain, divisor) for values in pair]
        for pair, chain in zip(pairs, chains, strict=True)
    ]
    intact, without = np.array(scores).T
    return without, without - intact


def expected(folder, chains: Chains, layer: int, head: int, mode: str) -> dict:
    """The row of one ablation, by the plainest way."""
    eager = Eager(folder, layer, head)
    intact = [eager.run(chain, None, False) for chain in chains]
    outputs = torch.cat([output for *_, output in intact])
    value = outputs.mean(0) if mode == "mean" else torch.zeros(outputs.shape[1])
    without = {
        "output_": [eager.run(chain, value, False) for chain in chains],
        "map_": [eager.run(chain, None, True) for chain in chains],
        "precision_": [eager.run(chain, value, True) for chain in chains],
    }
    row = {}
    for prefix, found in without.items():
        for half, divisor in (("", 1), ("half_", 2)):
            pairs = [(a[1], b[1]) for a, b in zip(intact, found, strict=True)]
            precision, change = changes(pairs, chains, divisor)
            row[f"{prefix}{half}change"] = change.mean()
            if prefix == "precision_":
                row[f"precision_{half}".rstrip("_")] = precision.mean()
    drifts = []
    for (states, *_), (new, *_) in zip(intact, without["output_"], strict=True):
        a, b = states.mean(0), new.mean(0)
        moved = np.linalg.norm(new - states, axis=1) / np.linalg.norm(states, axis=1)
        drifts.append([1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), moved.mean()])
    return row | dict(zip(("drift_cosine", "drift_relative"), np.mean(drifts, axis=0), strict=True))


def test_every_number_equals_hugging_face_with_a_hook(any_tiny_folder, chains):
    model = load(any_tiny_folder, "cpu")
    names = ["L0H1", f"L{model.layers - 1}H0"]
    table: Any = ablate(model, chains, heads=names)
    assert list(table["name"]) == [names[0], names[0], names[1], names[1]]
    for row in table.to_dict("records"):
        theirs = expected(any_tiny_folder, chains, row["layer"], row["head"], row["mode"])
        assert len(theirs) == 10
        for key, value in theirs.items():
            # Drifts are sums of float32 rounding, 1e-6; precisions count pairs and are equal
            tolerance = 1e-5 if key.startswith("drift") else 1e-9
            np.testing.assert_allclose(row[key], value, rtol=0, atol=tolerance, err_msg=key)
    assert table["drift_relative"].min() > 1e-3  # so that there was something to compare
    # In an earlier layer output and both are different questions; one map of 20 may move no pair
    first = table.iloc[0]
    assert first["output_change"] != 0
    assert model.layers > 3 or len({first[f"{p}change"] for p in REMOVED}) == 3


@pytest.mark.parametrize("layer", range(5))
def test_the_layers_from_one_on_are_the_model_to_the_last_bit(tmp_path, chains, layer):
    model = load(make_checkpoint(tmp_path / "m", (4, 5, 40)), "cpu")
    pack = packing.pack([encode(chain.sequence) for chain in chains])
    states = model.forward(pack, list(range(5)))  # the last after the final norm
    tokens = pack.ids.shape[1]
    with torch.inference_mode():
        parts = model.parts()
        entering, row = enter(pack, parts, model.operations)
        for number in range(layer):
            entering = encoder_layer(number, entering, parts.layers[number], row)
            if number < 3:  # hidden state 4 is normed already
                assert torch.equal(entering[0, :tokens], states[number + 1])
        final = remaining_layers(entering, parts, row, first=layer)
    assert torch.equal(final[0, :tokens], states[4])


def test_maps_of_a_pass_that_begins_later_have_the_numbers_of_their_layers(tiny: Esm2):
    pack = packing.pack([encode("MKTVRQ")])
    seen = []

    def sink(layer, place, heads, maps):
        seen.append((layer, list(heads), maps))

    with torch.inference_mode():
        parts = tiny.parts()
        whole = MapStream(pack, sink, {0: [3], 1: [0]})
        x, row = enter(pack, parts, tiny.operations, stream=whole)
        left = encoder_layer(0, x, parts.layers[0], row)
        remaining_layers(left, parts, row, first=1)
        remaining_layers(left, parts, row, first=1)
    (_, _, first), (layer, heads, second), (again, heads_again, third) = seen
    assert (layer, heads) == (again, heads_again) == (1, [0])
    assert torch.equal(second, third)
    assert not torch.equal(first, second)
    maps = tiny.attention("MKTVRQ")
    np.testing.assert_allclose(third[0, 1:-1, 1:-1], maps["L1H0"], rtol=0, atol=1e-6)


def test_neither_order_nor_rows_nor_neighbours_matter(tiny: Esm2, chains, monkeypatch):
    # Twins of equal length, so that rows do not sort them by it, and enough of them that the order
    # of the chains would show in the intervals
    chains = chains + [
        dataclasses.replace(chain, id=f"{chain.id}{shift}", sequence=_turned(chain.sequence, shift))
        for chain in chains
        for shift in (10, 30)
    ]
    one: Any = ablate(tiny, chains, heads=["L0H0"])
    other = ablate(tiny, chains[::-1], heads=["L0H0"])
    monkeypatch.setattr(ablation, "BATCH_TOKENS", 1)
    alone: Any = ablate(tiny, chains, heads=["L0H0"])
    for table in (other, alone):
        pandas.testing.assert_frame_equal(table, one, rtol=0, atol=1e-5)


def _turned(sequence: str, shift: int) -> str:
    return sequence[shift:] + sequence[:shift]


def test_the_model_is_left_as_it_was(tiny: Esm2, chains):
    before = {name: tensor.clone() for name, tensor in tiny.network.state_dict().items()}
    state = tiny.hidden_states([encode("MKTVRQERLK")])[0]
    ablate(tiny, chains[:1], heads=["L1H2"])
    after = tiny.network.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    np.testing.assert_array_equal(tiny.hidden_states([encode("MKTVRQERLK")])[0], state)


def edited_values(folder, tmp_path, bias: float) -> Esm2:
    """The tiny checkpoint with a head, L0H1, that writes the same whatever it reads."""
    new = make_checkpoint(tmp_path / "edited", (2, 4, 32))
    tensors = load_file(new / "model.safetensors")
    name = "esm.encoder.layer.0.attention.self.value."
    tensors[name + "weight"][8:16] = 0
    tensors[name + "bias"][8:16] = bias
    save_file(tensors, new / "model.safetensors", metadata={"format": "pt"})
    return load(new, "cpu")


def test_a_head_that_writes_nothing_is_not_missed(tiny_folder, tmp_path, chains):
    table: Any = ablate(edited_values(tiny_folder, tmp_path, 0.0), chains, heads=["L0H1"])
    assert list(table["drift_relative"]) == [0, 0]
    assert list(table["output_change"]) == [0, 0]
    assert (table["map_change"] != 0).all()
    assert list(table["precision_change"]) == list(table["map_change"])


def test_a_head_that_always_writes_the_same_is_missed_at_zero_alone(tiny_folder, tmp_path, chains):
    table: Any = ablate(edited_values(tiny_folder, tmp_path, 1.0), chains, heads=["L0H1"])
    mean, zero = table["drift_relative"]
    assert zero > 0.01
    assert mean < 1e-5  # attention weights sum to 1 up to rounding


def test_the_output_of_the_last_layer_touches_no_map(tiny: Esm2, chains):
    table: Any = ablate(tiny, chains, heads=["L1"])
    for column in ("change", "low", "high", "half_change", "half_low", "half_high"):
        assert (table[f"output_{column}"] == 0).all()
    assert table["output_q"].isna().all()  # nothing that could be tested
    assert (table["drift_cosine"] > 0).all()
    assert (table["precision_change"] != 0).any()
    # What is lost there is a term of the regression, the same whatever takes the output's place
    assert (table["precision_change"] == table["map_change"]).all()
    assert (table["q"].fillna(-1) == table["map_q"].fillna(-1)).all()
    by_mode: Any = table.set_index(["name", "mode"])["precision"].unstack()
    assert (by_mode["zero"] == by_mode["mean"]).all()


def test_the_map_of_a_head_without_weight_is_not_missed(tiny: Esm2, chains):
    weights = np.random.default_rng(0).normal(size=8)
    weights[[1, 5]] = 0
    head = ContactHead.regression(tiny, weights, 0.1, source="a test")
    table: Any = ablate(tiny, chains, heads=["L0H1", "L1H1"], contact_head=head)
    assert (table["map_change"] == 0).all()
    assert table["map_q"].isna().all()
    assert (table["precision_change"] == table["output_change"]).all()
    assert (table.loc[table["layer"] == 0, "output_change"] != 0).any()


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=12), st.integers(0, 3))
def test_flipped_signs_equal_scipy(counts: list[int], seed: int):
    """Counts of pairs over a length, as changes of precision are: ties are many."""
    values = np.array(counts) / 137
    ours = flip_test(np.append(values, np.nan), seed=seed)
    if not values.any():
        assert np.isnan(ours)
        return
    theirs = permutation_test(
        (values,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True
    ).pvalue  # exact: all signs of up to 12 chains
    # Five standard deviations of the share of 10,000 flips
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5 * np.sqrt(0.25 / 10_000))
    assert ours >= 1 / 10_001


def test_rates_are_over_the_heads_of_a_mode():
    p = [0.01, 0.5, 0.02, 0.04, np.nan, 0.03]
    columns = dict.fromkeys(("q", "output_q", "map_q"), p)
    table: Any = with_rates(
        pandas.DataFrame({"mode": ["mean", "zero", "mean", "zero", "mean", "zero"], **columns})
    )
    for name in columns:
        np.testing.assert_allclose(
            table[name], [0.02, 0.5, 0.02, 0.06, np.nan, 0.06], rtol=0, atol=1e-12
        )


def test_the_intact_precision_is_that_of_evaluate(tiny: Esm2, chains):
    row: Any = ablate(tiny, chains, heads=["L0H0"], modes="zero").iloc[0]
    summary: Any = evaluate(tiny, chains).summary
    for name, cut in (("precision", "P@L"), ("precision_half", "P@L/2")):
        intact = row[name] - row[f"{name}_change"]
        np.testing.assert_allclose(intact, summary.loc[("long", cut), "mean"], atol=1e-12)


def test_another_contact_head(tiny: Esm2, chains):
    """The mean of two maps: without one of them the other is left, in the same order of pairs."""
    two = ContactHead.mean_of(tiny, ["L1H0", "L1H1"])
    table: Any = ablate(tiny, chains, heads=["L1H0"], modes="zero", contact_head=two)
    alone: Any = evaluate(tiny, chains, ContactHead.mean_of(tiny, ["L1H1"])).summary
    np.testing.assert_allclose(
        table["precision"][0], alone.loc[("long", "P@L"), "mean"], atol=1e-12
    )


def test_without_contact_head_there_is_drift_alone(tmp_path, chains):
    folder = make_checkpoint(tmp_path / "m", (2, 4, 32))
    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "contact_head" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    table: Any = ablate(load(folder, "cpu"), chains, heads=["L0H0"])
    assert table.filter(like="precision").isna().all().all()
    assert (
        table[["low", "high", "q", "output_change", "output_q", "map_change", "map_q"]]
        .isna()
        .all()
        .all()
    )
    assert (table["drift_cosine_low"] > 0).all()
    assert list(table["chains"]) == [3, 3]
    assert list(table["scored"]) == [0, 0]


def test_intervals_hold_the_mean_and_need_two_chains(tiny: Esm2, chains):
    table: Any = ablate(tiny, chains, heads=["L0"])
    for name, prefix in INTERVALS.items():
        assert (table[f"{prefix}low"] <= table[name] + 1e-12).all()
        assert (table[f"{prefix}high"] >= table[name] - 1e-12).all()
    assert (table["drift_cosine_low"] < table["drift_cosine_high"]).all()
    one: Any = ablate(tiny, chains[:1], heads=["L0H0"], modes=["mean"])
    assert np.isnan(one["drift_cosine_low"][0])
    assert one["drift_cosine"][0] > 0


def test_heads_are_told_in_order_once(tiny: Esm2, chains):
    told: list[str] = []
    table: Any = ablate(tiny, chains[:1], heads=["L1H3", "L0H2"], progress=told.append)
    assert told == ["L0H2", "L1H3"]
    assert list(table["mode"]) == ["mean", "zero"] * 2


def test_errors_say_what_to_do(tiny: Esm2, chains, tmp_path):
    with pytest.raises(InputError, match="there is no structure to ablate heads on; give at least"):
        ablate(tiny, [])
    with pytest.raises(InputError, match="structure '1ubi_A' comes twice; give each chain once"):
        ablate(tiny, [chains[0], chains[0]])
    long = dataclasses.replace(chains[0], id="long", sequence="A" * 1_023)
    with pytest.raises(
        InputError, match="'long' has 1,023 residues, and heads are ablated on at most"
    ):
        ablate(tiny, [long])
    for modes in ("half", [], ["zero", "zero"]):
        with pytest.raises(OptionError, match="modes are 'mean', 'zero' or both, each once, not"):
            ablate(tiny, chains, modes=modes)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="there is no L7H0: the model has layers 0 to 1"):
        ablate(tiny, chains, heads=["L7H0"])
    other = load(make_checkpoint(tmp_path / "other", (3, 2, 24)), "cpu")
    with pytest.raises(OptionError, match="mean of L2H0, L2H1 is for a model of 3 layers with 2"):
        ablate(tiny, chains, contact_head=ContactHead.mean_of(other, ["L2"]))


def test_a_result_that_is_no_number_is_an_error(tiny_folder, chains, monkeypatch):
    model = load(tiny_folder, "cpu")

    def spoiled(x, *_, **__):
        return torch.full_like(x, torch.nan)

    monkeypatch.setattr(ablation, "remaining_layers", spoiled)
    with pytest.raises(
        NonFiniteError, match="without L0H0 the model returns NaN or infinity; check"
    ):
        ablate(model, chains, heads=["L0H0"])


@pytest.mark.weights
def test_the_contact_head_of_esm2_needs_l5h4(real: Esm2):
    """The best contact head by itself (science.md) is the one whose loss costs most here, too."""
    table: Any = ablate(real, ts50()[:20], heads=["L5H4", "L5H7"], modes="zero").set_index("name")
    assert table.loc["L5H4", "high"] < 0
    assert table.loc["L5H7", "low"] <= 0 <= table.loc["L5H7", "high"]
