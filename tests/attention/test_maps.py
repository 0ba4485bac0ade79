"""Attention maps of a protein: names of heads, indexing, strongest pairs, rollout."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from esmkit.attention.maps import AttentionMaps
from esmkit.encoder.names import choose_heads, head_name, parse_head
from esmkit.errors import OptionError
from esmkit.esm2 import Esm2
from esmkit.sequences.tokens import encode
from oracles.checkpoints import random_sequence


def make(maps: np.ndarray, layers: int = 1, sequence: str | None = None) -> AttentionMaps:
    heads = len(maps) // layers
    choice = choose_heads(None, "all", of_layers=layers, of_heads=heads)
    rest = np.zeros(maps.shape[:2], np.float32)
    return AttentionMaps(
        id="p",
        header="p",
        sequence=sequence or "A" * maps.shape[1],
        choice=choice,
        bos=rest,
        eos=rest,
        get=maps.__getitem__,
    )


@given(st.integers(0, 99), st.integers(0, 99))
def test_names_of_heads_round_trip(layer: int, head: int):
    assert parse_head(head_name(layer, head)) == (layer, head)
    assert parse_head(head_name(layer, head).lower()) == (layer, head)


@pytest.mark.parametrize("name", ["", "5H4", "L5", "L5H", "LxH4", "L5H4x", "L-1H2", "H4L5"])
def test_what_is_no_name_of_a_head(name: str):
    with pytest.raises(OptionError, match="a head is named like L5H4"):
        parse_head(name)


def test_choosing_heads():
    every = choose_heads(None, "all", of_layers=2, of_heads=3)
    assert every.names == ("L0H0", "L0H1", "L0H2", "L1H0", "L1H1", "L1H2")
    assert every.whole_layers
    last = choose_heads(None, [-1], of_layers=2, of_heads=3)
    assert last.heads == ((1, 0), (1, 1), (1, 2))
    assert last.whole_layers
    # in the order of the model whatever the order asked for, each once
    some = choose_heads(["L1H2", " l0h1", "L1H2"], "all", of_layers=2, of_heads=3)
    assert some.heads == ((0, 1), (1, 2))
    assert some.by_layer == {0: (1,), 1: (2,)}
    assert not some.whole_layers
    assert choose_heads(["L0"], [1], of_layers=2, of_heads=3).heads == ((0, 0), (0, 1), (0, 2))


@pytest.mark.parametrize(
    ("heads", "layers", "message"),
    [
        (["L2H0"], "all", "there is no L2H0: the model has layers 0 to 1 with heads 0 to 2 each"),
        (["L0H3"], "all", "there is no L0H3: .* (L0H0 to L1H2)"),
        (["L7"], "all", "there is no L7: the model has layers 0 to 1"),
        (None, [2], "there is no attention layer 2: the model has layers 0 to 1"),
        (None, [-3], "there is no attention layer -3"),
        ([], "all", "give at least one head or layer"),
        (None, [], "give at least one head or layer"),
        (["H3"], "all", "a head is named like L5H4"),
    ],
)
def test_heads_that_are_not_there(heads, layers, message: str):
    with pytest.raises(OptionError, match=message.replace("(", r"\(").replace(")", r"\)")):
        choose_heads(heads, layers, of_layers=2, of_heads=3)


def test_indexing_by_name(tiny: Esm2):
    maps = tiny.attention(random_sequence(15, 1))
    assert maps.maps.shape == (8, 15, 15)
    assert maps.maps.dtype == np.float32
    assert list(maps) == [f"L{n}H{h}" for n in range(2) for h in range(4)]
    np.testing.assert_array_equal(maps["L1H2"], maps.maps[6])
    np.testing.assert_array_equal(maps["L1"], maps.maps[4:])
    some = tiny.attention(random_sequence(15, 1), heads=["L1H2", "L0H3"])
    assert some.heads == ("L0H3", "L1H2")
    np.testing.assert_array_equal(some["L1H2"], maps["L1H2"])
    np.testing.assert_array_equal(some.bos, maps.bos[[3, 6]])
    with pytest.raises(OptionError, match="head L1H1 is not here; there are L0H3, L1H2"):
        some["L1H1"]
    with pytest.raises(OptionError, match="no head of L2 is here"):
        some["L2"]
    with pytest.raises(OptionError, match="a head is named like L5H4"):
        some["attention"]
    assert repr(some) == "AttentionMaps(p: 15 residues, 2 head(s): L0H3, L1H2)".replace(
        "p:", f"{some.id}:"
    )
    assert repr(maps).endswith("L0H0, L0H1, L0H2, L0H3, L1H0, L1H1, L1H2, L1H3)")


def test_strongest_pairs():
    maps = np.zeros((2, 5, 5), np.float32)
    maps[0, 0, 4], maps[1, 3, 1], maps[1, 2, 2] = 0.5, 0.7, 0.9
    table = make(maps, sequence="ACDEF").top(3)
    assert table.to_dict("list") == {
        "head": ["L0H1", "L0H1", "L0H0"],
        "query_number": [3, 4, 1],
        "query": ["D", "E", "A"],
        "key_number": [3, 2, 5],
        "key": ["D", "C", "F"],
        "separation": [0, -2, 4],
        "weight": pytest.approx([0.9, 0.7, 0.5]),
    }
    assert next(iter(make(maps).top(2, min_separation=3)["separation"])) == 4
    assert set(make(maps).top(4, head="L0H0")["head"]) == {"L0H0"}
    assert make(maps).top(0).empty  # as contacts do
    assert list(make(maps).top(0).columns) == list(make(maps).top(1).columns)
    with pytest.raises(OptionError, match="count is at least 0, not -1"):
        make(maps).top(-1)


def test_ties_come_in_a_fixed_order_and_nan_never_comes():
    maps = np.full((1, 4, 4), 0.25, np.float32)
    maps[0, 0, 3] = np.nan
    table = make(maps).top(5)
    assert list(zip(table["query_number"], table["key_number"], strict=True)) == [
        *[(1, 1), (1, 2), (1, 3)],
        *[(2, 1), (2, 2)],
    ]
    assert len(make(maps).top(100)) == 15
    assert make(np.full((1, 2, 2), np.nan, np.float32)).top(3).empty


@given(st.integers(0, 5), st.integers(1, 12), st.integers(0, 3))
def test_top_equals_sorting_everything(seed: int, count: int, apart: int):
    maps = np.random.default_rng(seed).integers(0, 6, (2, 4, 4)).astype(np.float32)
    every = sorted(
        (-float(maps[h, i, j]), h, i, j)
        for h in range(2)
        for i in range(4)
        for j in range(4)
        if abs(i - j) >= apart
    )[:count]
    table = make(maps).top(count, min_separation=apart)
    found = zip(table["weight"], table["head"], table["query_number"], table["key_number"])  # noqa: B905
    assert [(-w, int(h[3:]), i - 1, j - 1) for w, h, i, j in found] == every


def test_layer_means_and_rollout(tiny: Esm2):
    sequence = random_sequence(20, 3)
    maps = tiny.attention(sequence)
    every = maps.maps.reshape(2, 4, 20, 20).astype(np.float64)
    np.testing.assert_allclose(maps.layer_mean(1), every[1].mean(0), rtol=1e-5)
    # Abnar & Zuidema 2020, equation 1, with the residual as half of each layer
    flow = np.eye(20)
    for layer in range(2):
        mean = every[layer].mean(0)
        mean /= mean.sum(1, keepdims=True)
        flow = (mean + np.eye(20)) / 2 @ flow
    np.testing.assert_allclose(maps.rollout(), flow, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(maps.rollout().sum(1), 1, rtol=1e-5)
    some = tiny.attention(sequence, heads=["L0", "L1H2"])
    np.testing.assert_array_equal(some.layer_mean(0), maps.layer_mean(0))
    for what in (some.rollout, lambda: some.layer_mean(1)):
        with pytest.raises(OptionError, match="layer 1 is here with 1 of its 4 heads; layer means"):
            what()


def test_rows_and_specials_sum_to_one_and_match_hugging_face(any_tiny_folder):
    from transformers import EsmModel

    from esmkit.esm2 import load

    model = load(any_tiny_folder, "cpu")
    network = EsmModel.from_pretrained(
        any_tiny_folder, add_pooling_layer=False, attn_implementation="eager"
    ).eval()
    sequences = [random_sequence(n, n) for n in (40, 7, 23, 1)]
    for sequence, maps in zip(sequences, model.attention(sequences), strict=True):
        with torch.no_grad():
            theirs = network(
                torch.from_numpy(encode(sequence))[None], output_attentions=True
            ).attentions
        whole = torch.stack(theirs, 1)[0].flatten(0, 1).numpy()  # (N * H, T, T)
        np.testing.assert_allclose(maps.maps, whole[:, 1:-1, 1:-1], rtol=0, atol=1e-5)
        np.testing.assert_allclose(maps.bos, whole[:, 1:-1, 0], rtol=0, atol=1e-5)
        np.testing.assert_allclose(maps.eos, whole[:, 1:-1, -1], rtol=0, atol=1e-5)
        np.testing.assert_allclose(maps.maps.sum(-1) + maps.bos + maps.eos, 1, rtol=0, atol=1e-5)
