"""The packed forward equals Hugging Face's own, one sequence at a time, and batching is sound."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import EsmModel

from esmkit.encoder import forward, packing, stream
from esmkit.errors import InputError
from esmkit.esm2 import Esm2, load
from esmkit.sequences.tokens import MASK, encode
from oracles.checkpoints import assert_close, random_sequence

LENGTHS = (50, 7, 120, 50, 1, 50, 33)


def eager(folder) -> EsmModel:
    """Hugging Face's own padded, eager forward: nothing of esmkit in it."""
    return EsmModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation="eager"
    ).eval()


def eager_states(network: EsmModel, ids: np.ndarray) -> np.ndarray:
    """All hidden states of one sequence, (N + 1, T, D)."""
    tokens = torch.from_numpy(ids)[None]
    with torch.no_grad():
        output = network(tokens, attention_mask=torch.ones_like(tokens), output_hidden_states=True)
    return torch.stack(output.hidden_states)[:, 0].numpy()


@pytest.fixture(scope="module")
def sequences() -> list[np.ndarray]:
    return [encode(random_sequence(n, seed)) for seed, n in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def masked(sequences: list[np.ndarray]) -> list[np.ndarray]:
    """Every second sequence with <mask> tokens, a different share in each."""
    result = [ids.copy() for ids in sequences]
    for number in (0, 2, 6):
        result[number][1 : 4 + 3 * number] = MASK
    return result


def test_every_hidden_state_equals_hugging_face(any_tiny_folder, sequences):
    model, network = load(any_tiny_folder, "cpu"), eager(any_tiny_folder)
    packed = model.hidden_states(sequences, "all")
    for ids, states in zip(sequences, packed, strict=True):
        assert states.shape == (model.layers + 1, len(ids), model.width)
        assert_close(states, eager_states(network, ids))


def test_masked_tokens_are_scaled_by_the_share_of_their_own_sequence(any_tiny_folder, masked):
    model, network = load(any_tiny_folder, "cpu"), eager(any_tiny_folder)
    packed = model.hidden_states(masked, "all")
    for ids, states in zip(masked, packed, strict=True):
        assert_close(states, eager_states(network, ids))


def test_result_does_not_depend_on_batch_order_or_neighbours(tiny: Esm2, masked):
    together = tiny.hidden_states(masked)
    reversed_ = tiny.hidden_states(masked[::-1])[::-1]
    alone = [tiny.hidden_states([ids])[0] for ids in masked]
    for a, b, c in zip(together, reversed_, alone, strict=True):
        assert_close(a, b)
        assert_close(a, c)


def test_layers_come_in_the_order_asked_for(tiny: Esm2, sequences):
    every = tiny.hidden_states(sequences[:1], "all")[0]
    some = tiny.hidden_states(sequences[:1], [2, 0])[0]
    np.testing.assert_array_equal(some, every[[2, 0]])


def test_input_is_not_changed(tiny: Esm2, masked):
    before = [ids.copy() for ids in masked]
    tiny.hidden_states(masked)
    for ids, copy in zip(masked, before, strict=True):
        np.testing.assert_array_equal(ids, copy)


class TestMutations:
    """Each trap of packing, walked into on purpose, moves the result far beyond the tolerance."""

    def difference(self, tiny_folder, ids: list[np.ndarray]) -> float:
        model, network = load(tiny_folder, "cpu"), eager(tiny_folder)
        packed = model.hidden_states(ids)
        return max(
            float(np.abs(states[-1] - eager_states(network, one)[-1]).max())
            for one, states in zip(ids, packed, strict=True)
        )

    def test_without_mutation(self, tiny_folder, masked):
        assert self.difference(tiny_folder, masked) < 1e-4

    def test_sequences_that_see_each_other(self, monkeypatch, tiny_folder, sequences):
        pack = packing.pack

        def one_group(ids, device="cpu"):
            p = pack(ids, device)
            whole = (packing.Group(0, 1, p.ids.shape[1]),)
            return _Swap(p, groups=whole)

        monkeypatch.setattr("esmkit.encoder.encoder.pack", one_group)
        assert self.difference(tiny_folder, sequences) > 1e-2

    def test_positions_that_do_not_restart_would_not_be_seen(
        self, monkeypatch, tiny_folder, sequences
    ):
        """Rotary attention is relative, so an offset of a whole sequence changes only rounding.

        That is why positions are tested themselves, below, and not through the result.
        """
        pack = packing.pack

        def running(ids, device="cpu"):
            p = pack(ids, device)
            return _Swap(p, positions=torch.arange(p.ids.shape[1])[None])

        monkeypatch.setattr("esmkit.encoder.encoder.pack", running)
        assert self.difference(tiny_folder, sequences) < 1e-3

    def test_positions_in_reverse(self, monkeypatch, tiny_folder, sequences):
        pack = packing.pack

        def reverse(ids, device="cpu"):
            p = pack(ids, device)
            return _Swap(p, positions=-p.positions)

        monkeypatch.setattr("esmkit.encoder.encoder.pack", reverse)
        assert self.difference(tiny_folder, sequences) > 1e-2

    def test_share_of_masks_over_the_whole_row(self, monkeypatch, tiny_folder, masked):
        embed = forward.embed_tokens

        def over_the_row(pack, parts):
            whole: Any = _Swap(pack, sequences=lambda: [(0, slice(None))])
            return embed(whole, parts)

        monkeypatch.setattr(forward, "embed_tokens", over_the_row)
        assert self.difference(tiny_folder, masked) > 1e-2

    def test_missing_token_dropout(self, monkeypatch, tiny_folder, sequences):
        monkeypatch.setattr(forward, "embed_tokens", lambda pack, parts: parts.embedding(pack.ids))
        assert self.difference(tiny_folder, sequences) > 1e-2


class _Swap:
    """A pack with some attributes replaced."""

    def __init__(self, original: packing.Pack, **replaced: object) -> None:
        self._original, self._replaced = original, replaced

    def __getattr__(self, name: str):
        replaced = self.__dict__["_replaced"]
        return replaced[name] if name in replaced else getattr(self._original, name)


def test_pack_lays_sequences_end_to_end_longest_first(sequences):
    pack = packing.pack(sequences)
    assert [(g.count, g.length) for g in pack.groups] == [
        (1, 122),
        (3, 52),
        (1, 35),
        (1, 9),
        (1, 3),
    ]
    seen = []
    for place, where in pack.sequences():
        seen.append(place)
        np.testing.assert_array_equal(pack.ids[0, where].numpy(), sequences[place])
        np.testing.assert_array_equal(
            pack.positions[0, where].numpy(), np.arange(len(sequences[place]))
        )
    assert seen == [2, 0, 3, 5, 6, 1, 4]  # equal lengths keep their order


def test_nothing_to_pack_is_an_error():
    message = "there is an empty sequence, or none at all, to pack"
    with pytest.raises(InputError, match=message):
        packing.pack([])
    with pytest.raises(InputError, match=message):
        packing.pack([np.array([], dtype=np.int64)])


@given(st.lists(st.integers(1, 50)), st.integers(1, 60))
def test_batches_hold_every_item_once_within_the_budget(tokens: list[int], budget: int):
    batches = packing.batches_by_tokens(tokens, budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(tokens)))
    for batch in batches:
        assert len(batch) == 1 or sum(tokens[i] for i in batch) <= budget
        lengths = [tokens[i] for i in batch]
        assert lengths == sorted(lengths, reverse=True)
    longest = [tokens[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)
    fits = [sum(tokens[i] for i in batch) for batch in batches if tokens[batch[0]] <= budget]
    # Of two batches that are half empty one could have held both
    assert sum(2 * filled <= budget for filled in fits) <= 1


def test_batches_are_full():
    """Next to nothing is left of a pass on lengths like those of proteins."""
    lengths = np.random.default_rng(0).gamma(2.5, 130, 400).astype(int).clip(30, 1022) + 2
    batches = packing.batches_by_tokens(lengths.tolist(), 1024)
    assert lengths.sum() / (1024 * len(batches)) > 0.98


@given(st.lists(st.integers(1, 50)), st.integers(1, 60))
def test_windows_keep_order_and_budget(costs: list[int], budget: int):
    items = list(enumerate(costs))
    windows = list(packing.look_ahead(((cost, (i, cost)) for i, cost in items), budget))
    assert [item for window in windows for item in window] == items
    for window in windows:
        assert len(window) == 1 or sum(cost for _, cost in window) <= budget
    for one, following in pairwise(windows):
        assert sum(cost for _, cost in one) + following[0][1] > budget  # no window ends early


def test_a_stream_hands_out_the_heads_asked_for_in_order(tiny: Esm2, sequences):
    every: dict[tuple[int, int, int], np.ndarray] = {}
    some: dict[tuple[int, int, int], np.ndarray] = {}

    def into(held: dict):
        def keep(layer, place, heads, maps):
            assert maps.dtype == torch.float32
            held.update({(layer, place, h): m.numpy() for h, m in zip(heads, maps, strict=True)})

        return keep

    pack = packing.pack(sequences)
    tiny.forward(pack, [2], sink=into(every))
    tiny.forward(pack, [2], sink=into(some), heads={1: [3, 0]})
    assert {(layer, head) for layer, _, head in some} == {(1, 3), (1, 0)}
    assert len(some) == 2 * len(sequences)
    for key, maps in some.items():
        np.testing.assert_array_equal(maps, every[key])


@given(st.integers(1, 40), st.integers(1, 3000))
def test_blocks_of_heads_hold_each_once_and_fit(heads: int, tokens: int):
    blocks = stream.head_blocks(range(heads), tokens)
    assert [head for block in blocks for head in block] == list(range(heads))
    for block in blocks:
        assert len(block) == 1 or len(block) * tokens * tokens * 4 <= stream.BLOCK_BYTES


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_maps_made_side_by_side_are_the_same_and_in_the_same_order(tiny, sequences, threads: int):
    """What is prepared comes to the sink as the maps themselves would, whatever the threads."""
    before = torch.get_num_threads()
    pack = packing.pack(sequences)
    wanted: list[tuple[int, int, list[int], np.ndarray]] = []
    found: list[tuple[int, int, list[int], np.ndarray]] = []
    inside = set()

    def prepare(maps: torch.Tensor) -> np.ndarray:
        inside.add((torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return 2 * maps.numpy()

    try:
        torch.set_num_threads(threads)
        tiny.forward(pack, [2], sink=lambda la, p, h, m: wanted.append((la, p, [*h], m.numpy())))
        tiny.forward(
            pack, [2], sink=lambda la, p, h, m: found.append((la, p, [*h], m)), prepare=prepare
        )
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert inside == {(1, True)}
    assert [x[:3] for x in found] == [x[:3] for x in wanted]
    assert len(found) == 2 * len(sequences)
    for (*_, ours), (*_, theirs) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, 2 * theirs, rtol=1e-6, atol=0)


def test_what_goes_wrong_side_by_side_ends_the_pass(tiny, sequences, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(stream, "BLOCK_BYTES", 1)  # a head a block
    taken = []

    def prepare(maps: torch.Tensor) -> torch.Tensor:
        if len(taken) >= 3:
            raise ValueError("no more")
        return maps

    with pytest.raises(ValueError, match="no more"):
        tiny.forward(
            packing.pack(sequences), [2], sink=lambda *what: taken.append(what), prepare=prepare
        )
    assert 3 <= len(taken) <= 6  # those already made
